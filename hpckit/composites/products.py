"""What a composite consists of: the arrays that its methods give, and the files that they are written to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from hpckit.composites.settings import CHOOSING, Composite
from hpckit.reduce.expression import Expression
from hpckit.scenes.bands import BandRef

INDEX_OFFSET: Final = -3.2768
"""Stored indices: value = number * 1e-4 - 3.2768, so that -3.2767 to 3.2767 fit beside nodata."""

Content = Literal["values", "deviations", "count", "date"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One array of a composite."""

    name: str
    """`B04_median`, `NDVI_p10`, `median_count`, `best_date`, `geomad_smad`: its name in the Zarr group."""
    method: str
    content: Content
    band: str
    """`B04`, `NDVI`, `count`, `date`, `smad`."""
    resolution_m: int
    dtype: Literal["uint16", "float32"] = "uint16"
    nodata: float | None = 0
    scale: float = 1.0
    offset: float = 0.0

    @property
    def group(self) -> str:
        """`r10m`."""
        return f"r{self.resolution_m}m"

    @property
    def file(self) -> str:
        """What tells the file of a tile and period that holds it: `median_r10m`."""
        suffix = "" if self.content == "values" or self.method == self.content else f"-{self.content}"
        return f"{self.method}{suffix}_{self.group}"


@dataclass(frozen=True, slots=True)
class Group:
    """What is computed together: bands and indices of one resolution."""

    resolution_m: int
    bands: tuple[BandRef, ...]
    indices: tuple[str, ...]


def groups(composite: Composite, ref: Callable[[str], BandRef]) -> list[Group]:
    """Groups of a composite, finest resolution first.

    Parameters
    ----------
    ref : callable
        Band of the campaign's cube by its text: `Campaign.ref`.
    """
    refs = [ref(text) for text in composite.bands]
    of_index = {
        name: min(ref(band).resolution_m for band in Expression.parse(text).bands)
        for name, text in composite.indices.items()
    }
    return [
        Group(
            resolution_m,
            tuple(dict.fromkeys(band for band in refs if band.resolution_m == resolution_m)),
            tuple(name for name, where in of_index.items() if where == resolution_m),
        )
        for resolution_m in sorted({band.resolution_m for band in refs} | set(of_index.values()))
    ]


def layers(composite: Composite, group: Group) -> list[Layer]:
    """Arrays of a group, those of one file side by side."""
    found: list[Layer] = []
    for method in composite.methods:
        found += list(_of_method(method, group))
    return found


def of_files(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """Layers by the file that they go into."""
    files: dict[str, list[Layer]] = {}
    for layer in layers:
        files.setdefault(layer.file, []).append(layer)
    return files


def _of_method(method: str, group: Group) -> Iterator[Layer]:
    metres = group.resolution_m
    if method == "count":
        yield Layer("count", method, "count", "count", metres, nodata=None)
        return
    for ref in group.bands:
        scale, offset = ref.coding
        yield Layer(f"{ref.name}_{method}", method, "values", ref.name, metres, scale=scale, offset=offset)
    if method == "geomad":
        for name in ("smad", "emad", "bcmad"):
            yield Layer(f"geomad_{name}", method, "deviations", name, metres, "float32", float("nan"))
        yield Layer("geomad_count", method, "count", "count", metres, nodata=None)
        return
    for name in group.indices:
        yield Layer(f"{name}_{method}", method, "values", name, metres, scale=1e-4, offset=INDEX_OFFSET)
    if method in CHOOSING:
        yield Layer(f"{method}_date", method, "date", "date", metres)

"""What a composite consists of: the arrays that its methods give, and the files that they are written to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from hpckit.campaign.composite import CHOOSING, Composite
from hpckit.campaign.expression import Expression
from hpckit.sensors.bands import Band, BandRef

_STEP: Final = 1e-4
_NUMBERS: Final = 65535
_INDEX_OFFSET: Final = -3.2768
"""With which -3.2767 to 3.2767 fit beside nodata."""

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
    of: Band | None = None
    """Band that it is made from; None for indices, counts, dates and deviations."""

    @property
    def group(self) -> str:
        """`r10m`."""
        return f"r{self.resolution_m}m"

    @property
    def file(self) -> str:
        """The part of a file's name that identifies it within a tile and period: `median_r10m`."""
        suffix = "" if self.content == "values" or self.method == self.content else f"-{self.content}"
        return f"{self.method}{suffix}_{self.group}"


@dataclass(frozen=True, slots=True)
class Coding:
    """How an index is stored."""

    dtype: Literal["uint16", "float32"]
    scale: float = 1.0
    offset: float = 0.0

    @property
    def nodata(self) -> float:
        """What stands for no value."""
        return float("nan") if self.dtype == "float32" else 0


def index_coding(text: str, ref: Callable[[str], BandRef], *, overshooting: bool = False) -> Coding:
    """How the values of an expression are stored, so that each of them fits.

    As numbers of 16 bits with steps of 1e-4 where they provably stay within 65535 of those, else as float32.

    Parameters
    ----------
    ref : callable
        Band of the campaign's cube by its text.
    overshooting : bool
        Whether a method may give values beyond those of the observations.
    """
    ranges = tuple((name, *_range(ref(name))) for name in sorted(Expression.parse(text).bands))
    return _index_coding(text, ranges, overshooting)


@lru_cache(maxsize=256)
def _index_coding(text: str, ranges: tuple[tuple[str, float, float], ...], overshooting: bool) -> Coding:
    low, high = Expression.parse(text).bounds({name: (least, most) for name, least, most in ranges})
    if overshooting or not high - low <= (_NUMBERS - 2) * _STEP:
        return Coding("float32")
    fits = low >= _INDEX_OFFSET + _STEP and high <= -_INDEX_OFFSET - _STEP
    return Coding("uint16", _STEP, _INDEX_OFFSET if fits else math.floor(low / _STEP - 1) * _STEP)


def _range(ref: BandRef) -> tuple[float, float]:
    """Least and greatest value that a cube can hold of a band."""
    scale, offset = ref.coding
    return scale + offset, _NUMBERS * scale + offset


def codings(composite: Composite, ref: Callable[[str], BandRef]) -> dict[str, Coding]:
    """How each index of a composite is stored.

    Parameters
    ----------
    ref : callable
        Band of the campaign's cube by its text.
    """
    smooth = "smooth" in composite.methods
    return {name: index_coding(text, ref, overshooting=smooth) for name, text in composite.indices.items()}


@dataclass(frozen=True, slots=True)
class Group:
    """What is computed together: bands and indices of one resolution."""

    resolution_m: int
    bands: tuple[BandRef, ...]
    indices: tuple[str, ...]
    codings: tuple[Coding, ...] = ()
    """How each index is stored."""
    ndvi: tuple[BandRef, BandRef] | None = None
    """Red and near infrared, where dates are chosen by them."""

    @property
    def names(self) -> list[str]:
        """Bands and indices, as the arrays of observations are called."""
        return [*(ref.name for ref in self.bands), *self.indices]


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
    coded = codings(composite, ref)
    return [
        Group(
            resolution_m,
            tuple(dict.fromkeys(band for band in refs if band.resolution_m == resolution_m)),
            tuple(name for name, where in of_index.items() if where == resolution_m),
            tuple(coded[name] for name, where in of_index.items() if where == resolution_m),
            composite.red_and_infrared(ref),
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
    """Layers by the file that they go into, as they are in it: all of one data type."""
    files: dict[str, list[Layer]] = {}
    for layer in layers:
        files.setdefault(layer.file, []).append(layer)
    return {name: _of_one_type(found) for name, found in files.items()}


def _of_one_type(layers: Sequence[Layer]) -> list[Layer]:
    """Beside an index in float32, bands keep their numbers, scale and offset, with NaN for nodata."""
    if len({layer.dtype for layer in layers}) == 1:
        return list(layers)
    return [replace(layer, dtype="float32", nodata=float("nan")) for layer in layers]


def _of_method(method: str, group: Group) -> Iterator[Layer]:
    metres = group.resolution_m
    if method == "count":
        yield Layer("count", method, "count", "count", metres, nodata=None)
        return
    for ref in group.bands:
        scale, offset = ref.coding
        yield Layer(
            f"{ref.name}_{method}", method, "values", ref.name, metres, scale=scale, offset=offset, of=ref.band
        )
    if method == "geomad":
        for name in ("smad", "emad", "bcmad"):
            yield Layer(f"geomad_{name}", method, "deviations", name, metres, "float32", float("nan"))
        yield Layer("geomad_count", method, "count", "count", metres, nodata=None)
        return
    for name, coding in zip(group.indices, group.codings, strict=True):
        yield Layer(
            f"{name}_{method}",
            method,
            "values",
            name,
            metres,
            coding.dtype,
            coding.nodata,
            coding.scale,
            coding.offset,
        )
    if method in CHOOSING:
        yield Layer(f"{method}_date", method, "date", "date", metres)

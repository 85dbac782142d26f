"""GeoTIFFs of composites: one Cloud-Optimised file per tile, period and kind of layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from hpckit.cubes.arrays import Array, read_array
from hpckit.cubes.objects import Objects
from hpckit.cubes.region import read_region
from hpckit.reduce.cog import cog
from hpckit.reduce.composites.products import Layer
from hpckit.space.box import Box
from hpckit.space.windows import Windows

_COLOURS: Final = {"red": ColorInterp.red, "green": ColorInterp.green, "blue": ColorInterp.blue}
_BEYOND: Final = {
    "coastal": ColorInterp.coastal,
    "rededge": ColorInterp.rededge,
    "nir": ColorInterp.nir,
    "nir08": ColorInterp.nir,
    "swir16": ColorInterp.swir,
    "swir22": ColorInterp.swir,
}
"""By the common name of a band."""


def in_order(layers: Sequence[Layer]) -> list[Layer]:
    """Layers of a file as they stand in it: red, green and blue first where all are there, as viewers expect."""
    names = [_common_name(layer) for layer in layers]
    if not set(_COLOURS) <= set(names):
        return list(layers)
    first = [layers[names.index(name)] for name in _COLOURS]
    return [*first, *(layer for layer in layers if layer not in first)]


def write_cog(
    path: Path,
    objects: Objects,
    group: str,
    layers: Sequence[Layer],
    period: int,
    epsg: int,
    transform: Affine,
    windows: Windows,
    *,
    compress: str,
    threads: int,
) -> None:
    """Write layers of one period, as they stand in a Zarr group, to a GeoTIFF.

    Parameters
    ----------
    group : str
        Key of the group.
    period : int
        Position on its time axis.
    windows : ndarray of bool
        Windows that are composed; what lies outside has no data.
    """
    arrays = [read_array(objects, f"{group}/{layer.name}") for layer in layers]
    rows, columns = arrays[0].shape[1:]
    first = layers[0]
    profile = {
        "driver": "GTiff",
        "width": columns,
        "height": rows,
        "count": len(layers),
        "dtype": first.dtype,
        "crs": f"EPSG:{epsg}",
        "transform": transform,
        "nodata": first.nodata,
    }
    edge = arrays[0].grid.window
    with as_cog(path, profile, layers, compress=compress, threads=threads) as target:
        for top in range(0, rows, edge):
            box = Box(top, 0, min(top + edge, rows), columns)
            for number, (layer, array) in enumerate(zip(layers, arrays, strict=True), 1):
                target.write(
                    _read(layer, array, box, windows, period, threads),
                    number,
                    window=Window(0, top, columns, box.bottom - top),
                )


def _read(layer: Layer, array: Array, box: Box, windows: Windows, period: int, threads: int) -> npt.NDArray[Any]:
    """Pixels of a layer of a Zarr group, in the data type of the file; windows that are not composed have no data."""
    values = read_region(array, box, range(period, period + 1), windows=windows, threads=threads)[0]
    if array.dtype != "float32" and layer.dtype == "float32":
        return np.where(values == 0, np.float32(np.nan), values.astype(np.float32))
    return np.asarray(values)


@contextmanager
def as_cog(
    path: Path, profile: dict[str, Any], layers: Sequence[Layer], *, compress: str, threads: int
) -> Iterator[Any]:
    """Yield a dataset to write to; it becomes a Cloud-Optimised GeoTIFF with overviews when the block ends."""
    continuous = layers[0].content in ("values", "deviations")
    resampling = "AVERAGE" if continuous else "NEAREST"
    with cog(
        path,
        profile,
        lambda target: describe(target, layers),
        compress=compress,
        resampling=resampling,
        threads=threads,
    ) as target:
        yield target


def describe(target: Any, layers: Sequence[Layer]) -> None:
    """Name the bands, and say what their numbers mean."""
    target.descriptions = tuple(layer.band for layer in layers)
    target.scales = tuple(layer.scale for layer in layers)
    target.offsets = tuple(layer.offset for layer in layers)
    target.colorinterp = colours(layers)
    first = layers[0]
    target.update_tags(METHOD=first.method)
    if first.content == "date":
        target.update_tags(1, UNITS="days since 1970-01-01")


def _common_name(layer: Layer) -> str:
    return layer.of.common_name if layer.of else ""


def colours(layers: Sequence[Layer]) -> tuple[ColorInterp, ...]:
    """Colour interpretation of the bands of a file."""
    names = [_common_name(layer) for layer in layers]
    known = {**_COLOURS, **_BEYOND} if set(_COLOURS) <= set(names) else _BEYOND
    found = tuple(known.get(name, ColorInterp.undefined) for name in names)
    return (ColorInterp.gray,) if len(names) == 1 else found

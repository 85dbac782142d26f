"""Windows of Sentinel-1 products on a tile's pixels, as cubes store them.

A geocoded product is resampled once, in linear power, from its own pixels to the tile's. Cubes hold power as uint16,
`DN = round(power / 1e-4)`, 0 for nodata: so that the same kernels that select on integers serve both missions. The
loss is at most 5e-5 per pixel, a hundredth of the instrument's noise (-22 dB); power above 6.5535 (+8.2 dB), which
only point targets reach, is stored as 6.5535.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numba
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpckit.cube.border import CLEAN_SINCE, OLD_DEPTH, erode, mask_border
from hpckit.cube.grd import grd_on_target
from hpckit.cube.radar_reading import RadarReading
from hpckit.cube.warp import needed, warp
from hpckit.errors import SceneError
from hpckit.scenes.bands import RADAR_SCALE, WINDOW, BandRef
from hpckit.scenes.model import Scene
from hpckit.scenes.radar import Radar

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Power = npt.NDArray[np.float32]
Stored = npt.NDArray[np.uint16]

_LEAST: Final = 1e-9
"""What a valid pixel without power is taken for, so that it does not become nodata."""


def read_strip(
    reading: RadarReading, scene: Scene, ref: BandRef, row: int, columns: Sequence[int]
) -> dict[int, Stored]:
    """Windows of one window row of a tile, from one product.

    Parameters
    ----------
    scene : Scene
        On a tile.
    columns : sequence of int
        Window columns that are wanted.

    Returns
    -------
    dict of int to ndarray of uint16
        By window column; one that the product does not reach is all 0.

    Raises
    ------
    SceneError
        If the product lacks the band, or cannot be read.
    """
    from odc.geo.geobox import GeoBox

    if ref.key not in scene.assets:
        raise SceneError(f"{scene.id}: the product has no band {ref.name}")
    edge, (height, width) = WINDOW[ref.resolution_m], scene.shapes[ref.resolution_m]
    first, last = min(columns), max(columns)
    top, left = row * edge, first * edge
    shape = (min(edge, height - top), min((last + 1) * edge, width) - left)
    transform = scene.transform(ref.resolution_m)
    target = GeoBox(shape, transform * transform.translation(left, top), f"EPSG:{scene.epsg}")
    stored = encode(_on_target(reading, scene, ref, target), ref)
    return {column: stored[:, (column - first) * edge : (column + 1 - first) * edge] for column in columns}


def encode(values: Power, ref: BandRef) -> Stored:
    """Stored integers of physical values; 0 stays nodata, and what is valid never becomes it."""
    stored = np.empty(values.shape, dtype=np.uint16)
    _encode(values.ravel(), 1 / RADAR_SCALE[ref.band.kind], stored.ravel())
    return stored


def _on_target(reading: RadarReading, scene: Scene, ref: BandRef, target: GeoBox) -> Power:
    """Linear values on the pixels of a target, 0 for nodata."""
    radar = _radar(scene)
    if not radar.geocoded:
        return grd_on_target(reading, scene, ref, target)
    from odc.geo.geobox import GeoBox

    source = GeoBox(radar.shape, radar.affine, radar.crs)
    window = needed(source, target, reading.resampling)
    if window is None:
        return np.zeros(tuple(target.shape), dtype=np.float32)
    depth = OLD_DEPTH if ref.band.kind == "power" and 0 < float(scene.baseline) < CLEAN_SINCE else 0
    rows, columns = (
        slice(max(0, part.start - depth - reading.erode_px), min(size, part.stop + depth + reading.erode_px))
        for part, size in zip(window, radar.shape, strict=True)
    )
    values = _read(scene, ref, radar, rows, columns)
    mask_border(values, depth)
    erode(values, reading.erode_px)
    return warp(values, source[rows, columns], target, reading.resampling, nodata=0.0)


def _read(scene: Scene, ref: BandRef, radar: Radar, rows: slice, columns: slice) -> Power:
    """Pixels of a product in linear units, 0 for nodata."""
    name = scene.assets[ref.key].rpartition("/")[2]
    window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    try:
        with rasterio.open(scene.gdal_path(ref.key)) as source:
            if source.shape != radar.shape:
                raise SceneError(f"{scene.id}: {name} has another size than when it was catalogued; scan it again")
            values: Power = source.read(radar.bands.get(ref.name, 1), window=window).astype(np.float32, copy=False)
            nodata = source.nodata
    except RasterioError as error:
        raise SceneError(f"{scene.id}: {name} cannot be read") from error
    _clean(values, np.float32(0 if nodata is None else nodata))
    return values


@numba.njit(cache=True, nogil=True)
def _clean(values, nodata):  # type: ignore[no-untyped-def]
    """One value for all that is no data, in place; what is not positive else is as little as can be."""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value = values[row, column]
            if not np.isfinite(value) or value == nodata:
                values[row, column] = 0
            elif value < _LEAST and value != 0:
                values[row, column] = _LEAST


@numba.njit(cache=True, nogil=True)
def _encode(values, factor, stored):  # type: ignore[no-untyped-def]
    for place in range(values.size):
        value = values[place]
        number = np.floor(value * factor + 0.5)
        stored[place] = 0 if value == 0 else min(max(number, 1.0), 65535.0)


def _radar(scene: Scene) -> Radar:
    if scene.radar is None:
        raise TypeError(f"{scene.id} is no Sentinel-1 scene")
    return scene.radar

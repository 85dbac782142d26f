"""Windows of Sentinel-1 products on a tile's pixels, as cubes store them.

A geocoded product is resampled once, in linear power, from its own pixels to the tile's. Cubes hold power as uint16,
`DN = round(power / 1e-4)`, 0 for nodata: so that the same kernels that select on integers serve both missions. The
loss is at most 5e-5 per pixel, a hundredth of the instrument's noise (-22 dB); power above 6.5535 (+8.2 dB), which
only point targets reach, is stored as 6.5535.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
import shapely
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpckit.cube.border import CLEAN_SINCE, OLD_DEPTH, erode, mask_border
from hpckit.cube.granules import runs
from hpckit.cube.grd import grd_on_target
from hpckit.cube.layout import CubeSpec
from hpckit.cube.radar_reading import RadarReading
from hpckit.cube.source import verify_file
from hpckit.cube.warp import needed, warp
from hpckit.errors import SceneError
from hpckit.frame import Frame
from hpckit.scenes.bands import RADAR_SCALE, BandRef
from hpckit.scenes.model import Acquisition, Scene
from hpckit.scenes.radar import Radar

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from hpckit.cube.ingest import IngestResult, IngestUnit

Power = npt.NDArray[np.float32]
Stored = npt.NDArray[np.uint16]

_SLACK_DEGREES: Final = 0.1
_LEAST: Final = 1e-9
"""What a valid pixel without power is taken for, so that it does not become nodata."""


def radar_windows(
    spec: CubeSpec, unit: IngestUnit, acquisition: Acquisition, columns: Collection[int], result: IngestResult
) -> dict[int, npt.NDArray[Any]]:
    """Windows of a unit's row, by column, from all frames of a pass; those that hold nothing are left out.

    Raises
    ------
    SceneError
        If a product lacks the band, or cannot be read.
    """
    if spec.radar is None:
        raise TypeError("the cube is not of Sentinel-1")
    frame = spec.frame(unit.tile, (acquisition,))
    decoded: dict[int, npt.NDArray[Any]] = {}
    start = time.perf_counter()
    for scene in acquisition.scenes:
        touched = reached(scene, frame, unit.band.resolution_m, unit.row)
        wanted = [n for n in sorted(columns) if touched[n] and not (n in decoded and decoded[n].all())]
        if wanted and spec.verify and scene.level == "GRD":
            verify_file(scene, file_key(scene, unit.band))
        for first, last in runs(wanted) if wanted else ():
            strip = read_strip(spec.radar, scene, unit.band, frame, unit.row, range(first, last + 1))
            result.decoded_pixels += sum(window.size for window in strip.values())
            for column, window in strip.items():
                if column in decoded:
                    decoded[column] = np.where(decoded[column] == 0, window, decoded[column])
                elif window.any():
                    decoded[column] = window
    result.decode_s += time.perf_counter() - start
    return decoded


def reached(scene: Scene, frame: Frame, resolution_m: int, row: int) -> npt.NDArray[np.bool_]:
    """Windows of a row that touch a product's footprint, widened: heights and rounded corners move its edge."""
    edge = frame.edges[resolution_m] * resolution_m
    west = frame.ulx + edge * np.arange(frame.windows(resolution_m)[1])
    north = frame.uly - edge * row
    boxes = shapely.segmentize(shapely.box(west, north - edge, west + edge, north), edge / 2)
    to_degrees = pyproj.Transformer.from_crs(frame.epsg, 4326, always_xy=True)
    centre = to_degrees.transform(frame.ulx, frame.uly)[0]

    def degrees(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        longitude, latitude = to_degrees.transform(xy[:, 0], xy[:, 1])
        return np.column_stack([_near(longitude, centre), latitude])

    def unrolled(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack([_near(xy[:, 0], centre), xy[:, 1]])

    outline = shapely.transform(shapely.geometry.shape(scene.footprint), unrolled).buffer(_SLACK_DEGREES)
    touched: npt.NDArray[np.bool_] = shapely.intersects(shapely.transform(boxes, degrees), outline)
    return touched


def _near(longitude: npt.NDArray[np.float64], centre: float) -> npt.NDArray[np.float64]:
    """Longitudes within 180 degrees of another one: nothing is cut at the antimeridian."""
    return centre + (longitude - centre + 180) % 360 - 180


def file_key(scene: Scene, ref: BandRef) -> str:
    """Key of the file of a band: products have each once, for pixels of any size.

    Raises
    ------
    SceneError
        If the product lacks the band.
    """
    key = next((key for key in scene.assets if key.partition("@")[0] == ref.name), None)
    if key is None:
        raise SceneError(f"{scene.id}: the product has no band {ref.name}")
    return key


def read_strip(
    reading: RadarReading, scene: Scene, ref: BandRef, frame: Frame, row: int, columns: Sequence[int]
) -> dict[int, Stored]:
    """Windows of one window row of a tile, from one product.

    Parameters
    ----------
    frame : Frame
        The tile.
    columns : sequence of int
        Window columns that are wanted, without gaps.

    Returns
    -------
    dict of int to ndarray of uint16
        By window column; one that the product does not reach is all 0.

    Raises
    ------
    SceneError
        If the product lacks the band, or cannot be read.
    """
    edge, box = frame.edges[ref.resolution_m], frame.geobox(ref.resolution_m)
    first, last = min(columns), max(columns)
    part = box[row * edge : min((row + 1) * edge, box.shape[0]), first * edge : min((last + 1) * edge, box.shape[1])]
    stored = encode(_on_target(reading, scene, ref, part), ref)
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
    key = file_key(scene, ref)
    name = scene.assets[key].rpartition("/")[2]
    window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    try:
        with rasterio.open(scene.gdal_path(key)) as source:
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

"""Windows of Sentinel-1 products on a tile's pixels, as cubes store them.

A geocoded product is resampled once, in linear power, from its own pixels to the tile's. Cubes hold power as uint16,
`DN = round(power / 1e-4)`, 0 for nodata: so that the same kernels that select on integers serve both missions. The
loss is at most 5e-5 per pixel, a hundredth of the instrument's noise (-22 dB); power above 6.5535 (+8.2 dB), which
only point targets reach, is stored as 6.5535.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from rasterio.windows import Window

from hpckit.base.compiled import compiled
from hpckit.errors import SceneError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.reader import WindowAnswer, WindowRequest, runs
from hpckit.sensors.sentinel1.border import CLEAN_SINCE, OLD_DEPTH, erode, mask_border
from hpckit.sensors.sentinel1.opening import open_image
from hpckit.sensors.sentinel1.raw import grd_on_target
from hpckit.sensors.sentinel1.reading import RadarReading
from hpckit.sensors.verified import verify_file
from hpckit.space.frame import Frame
from hpckit.space.warp import needed, warp

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Power = npt.NDArray[np.float32]
Stored = npt.NDArray[np.uint16]

_SLACK_DEGREES: Final = 0.1
_LEAST: Final = 1e-9
"""What a valid pixel without power is taken for, so that it does not become nodata."""


def radar_windows(request: WindowRequest) -> WindowAnswer:
    """Windows from all frames of a pass; those that hold nothing are left out.

    Raises
    ------
    SceneError
        If a product lacks the band, or cannot be read.
    """
    frame, ref, reading = request.frame, request.band, request.treatment.options
    answer = WindowAnswer()
    decoded, start = answer.windows, time.perf_counter()
    for scene in request.acquisition.scenes:
        touched = reached(scene, frame, ref.resolution_m, request.row)
        wanted = [n for n in sorted(request.columns) if touched[n] and not (n in decoded and decoded[n].all())]
        if wanted and request.treatment.verify and scene.level == "GRD":
            verify_file(scene, file_key(scene, ref))
        for first, last in runs(wanted):
            strip = read_strip(reading, scene, ref, frame, request.row, range(first, last + 1))
            answer.decoded_pixels += sum(window.size for window in strip.values())
            for column, window in strip.items():
                if column in decoded:
                    decoded[column] = np.where(decoded[column] == 0, window, decoded[column])
                elif window.any():
                    decoded[column] = window
    answer.decode_s += time.perf_counter() - start
    return answer


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

    outline = shapely.transform(scene.footprint, unrolled).buffer(_SLACK_DEGREES)
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
    sizes = scene.sizes(ref.name)
    if not sizes:
        raise SceneError(f"{scene.id}: the product has no band {ref.name}")
    return ref.at(sizes[0]).key


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
    _encode(values.ravel(), 1 / ref.band.scale, stored.ravel())
    return stored


def _on_target(reading: RadarReading, scene: Scene, ref: BandRef, target: GeoBox) -> Power:
    """Linear values on the pixels of a target, 0 for nodata."""
    raster = scene.assets[file_key(scene, ref)]
    if not raster.crs:
        return grd_on_target(reading, scene, ref, target)
    source = raster.geobox
    window = needed(source, target, reading.resampling)
    if window is None:
        return np.zeros(tuple(target.shape), dtype=np.float32)
    depth = OLD_DEPTH if ref.band.kind == "power" and 0 < float(scene.baseline) < CLEAN_SINCE else 0
    rows, columns = (
        slice(max(0, part.start - depth - reading.erode_px), min(size, part.stop + depth + reading.erode_px))
        for part, size in zip(window, raster.shape, strict=True)
    )
    values = _read(scene, raster, rows, columns)
    mask_border(values, depth)
    erode(values, reading.erode_px)
    return warp(values, source[rows, columns], target, reading.resampling, nodata=0.0)


def _read(scene: Scene, raster: Asset, rows: slice, columns: slice) -> Power:
    """Pixels of a product in linear units, 0 for nodata."""
    name = raster.name
    window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    with open_image(scene, raster) as source:
        if source.shape != raster.shape:
            raise SceneError(f"{scene.id}: {name} has another size than when it was catalogued; scan it again")
        values: Power = source.read(raster.layer, window=window).astype(np.float32, copy=False)
        nodata = source.nodata if raster.nodata is None else raster.nodata
    _clean(values, np.float32(0 if nodata is None else nodata))
    return values if raster.scale == 1 else values * np.float32(raster.scale)


@compiled(nogil=True)
def _clean(values, nodata):  # type: ignore[no-untyped-def]
    """One value for all that is no data, in place; what is not positive else is as little as can be."""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value = values[row, column]
            if not np.isfinite(value) or value == nodata:
                values[row, column] = 0
            elif value < _LEAST and value != 0:
                values[row, column] = _LEAST


@compiled(nogil=True)
def _encode(values, factor, stored):  # type: ignore[no-untyped-def]
    for place in range(values.size):
        value = values[place]
        number = np.floor(value * factor + 0.5)
        stored[place] = 0 if value == 0 else min(max(number, 1.0), 65535.0)

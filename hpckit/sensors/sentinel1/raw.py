"""Raw Sentinel-1 GRD on a tile's pixels: calibrated, noise taken off, corrected for terrain, resampled once.

For each target pixel, its height gives the place in the image where it was seen; the image is calibrated there and
read bilinearly. The area of the slope is not divided out (no terrain flattening), and layover and shadow are kept.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpckit.errors import SceneError
from hpckit.inputs.fetched import Copy
from hpckit.inputs.files import Files
from hpckit.inputs.heights import fault_behind_heights, open_heights, read_heights
from hpckit.inputs.stored import files_at
from hpckit.inputs.uri import is_remote
from hpckit.inputs.zarr_raster import ZarrRaster
from hpckit.sensors.bands import BandRef
from hpckit.sensors.copies import copy_of
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel1.border import CLEAN_SINCE, OLD_DEPTH, erode, mask_border
from hpckit.sensors.sentinel1.calibration import Noise, Table, calibrate, read_calibration, read_noise
from hpckit.sensors.sentinel1.eopf import tables
from hpckit.sensors.sentinel1.grd import folder_of, sidecars
from hpckit.sensors.sentinel1.opening import open_image
from hpckit.sensors.sentinel1.reading import RadarReading
from hpckit.sensors.sentinel1.terrain import RadarGeometry, locate_pixels, read_geometry, sample
from hpckit.sensors.source import told
from hpckit.sensors.stac.files import file_of
from hpckit.space.warp import needed, warp

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Power = npt.NDArray[np.float32]

_FINEST_M: Final = 10
"""Pixels of GRD in high resolution; coarser targets are means of such."""


def grd_on_target(reading: RadarReading, scene: Scene, ref: BandRef, target: GeoBox) -> Power:
    """Linear sigma0 or gamma0 on the pixels of a target; 0 for nodata.

    Raises
    ------
    SceneError
        If annotation files are missing or broken, the image cannot be read, or the DEM does not cover it.
    """
    sizes = scene.sizes(ref.name)
    if not sizes:
        raise SceneError(f"{scene.id}: the product has no band {ref.name}")
    measurement = scene.assets[ref.at(sizes[0]).key]
    geometry = _geometry_of(scene, measurement)
    fold = max(1, ref.resolution_m // _FINEST_M)
    fine = target.zoom_out(1 / fold) if fold > 1 else target
    lines, samples = _locate(reading, scene, geometry, fine)
    window = _window(geometry, lines, samples)
    if window is None:
        return np.zeros(tuple(target.shape), dtype=np.float32)
    rows, columns = window
    power = _calibrated(reading, scene, measurement, rows, columns)
    nearest = reading.resampling == "nearest"
    found = sample(power, lines - np.float32(rows.start), samples - np.float32(columns.start), nearest)
    return found if fold == 1 else _fold(found, fold)


def _locate(
    reading: RadarReading, scene: Scene, geometry: RadarGeometry, target: GeoBox
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Line and sample of each target pixel."""
    crs = str(target.crs)
    x = np.asarray(target.coordinates["x"].values, dtype=np.float64)
    y = np.asarray(target.coordinates["y"].values, dtype=np.float64)
    if reading.ellipsoid:
        heights = np.full(tuple(target.shape), geometry.mean_height_m, dtype=np.float32)
        return locate_pixels(geometry, x, y, crs, heights)
    heights = _heights(reading, target)
    unknown = np.isnan(heights)
    if unknown.any():
        heights[unknown] = geometry.mean_height_m
    lines, samples = locate_pixels(geometry, x, y, crs, heights)
    seen = (lines >= 0) & (lines < geometry.shape[0]) & (samples >= 0) & (samples < geometry.shape[1])
    lacking = int((unknown & seen).sum())
    if lacking:
        row, column = np.argwhere(unknown & seen)[0]
        raise SceneError(
            f"{scene.id}: the DEM {Path(str(reading.dem)).name} does not cover the scene: {lacking} pixels "
            f"have no height, the first at {x[column]:.0f} {y[row]:.0f} ({crs})",
            hint="extend scenes.radar.dem (a VRT can join files; give sea the height 0), or make the AOI smaller",
        )
    return lines, samples


def _heights(reading: RadarReading, target: GeoBox) -> Power:
    """Heights above the ellipsoid on a target's pixels; NaN where the DEM has none."""
    heights = _raster_on(str(reading.dem), target)
    heights += reading.geoid if isinstance(reading.geoid, float) else _raster_on(reading.geoid, target)
    return heights


def _raster_on(path: str, target: GeoBox) -> Power:
    """A raster of heights on a target's pixels, bilinear; NaN where it has none."""
    from odc.geo.geobox import GeoBox

    try:
        with open_heights(Path(path)) as raster:
            if raster.crs is None:
                raise SceneError(f"{Path(path).name} has no CRS; it cannot serve as a DEM")
            source = GeoBox(raster.shape, raster.transform, str(raster.crs))
            window = needed(source, target, "bilinear")
            if window is None:
                return np.full(tuple(target.shape), np.nan, dtype=np.float32)
            rows, columns = window
            part = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            values = read_heights(raster, part)
    except RasterioError as error:
        hint = "correct `scenes.radar.dem` or `geoid`"
        raise SceneError(f"{path}: the heights cannot be read", hint=hint) from fault_behind_heights(
            Path(path), error
        )
    return warp(values, source[rows, columns], target, "bilinear", nodata=np.nan)


def _window(
    geometry: RadarGeometry, lines: npt.NDArray[np.float32], samples: npt.NDArray[np.float32]
) -> tuple[slice, slice] | None:
    """Part of the image that holds all pixels of a target; None if it holds none."""
    inside = (lines > -1) & (lines < geometry.shape[0]) & (samples > -1) & (samples < geometry.shape[1])
    if not inside.any():
        return None
    return (
        slice(max(0, int(lines[inside].min()) - 2), min(geometry.shape[0], int(lines[inside].max()) + 3)),
        slice(max(0, int(samples[inside].min()) - 2), min(geometry.shape[1], int(samples[inside].max()) + 3)),
    )


def _calibrated(reading: RadarReading, scene: Scene, measurement: Asset, rows: slice, columns: slice) -> Power:
    """Linear power of a window of the image, without its border noise."""
    depth = OLD_DEPTH if 0 < float(scene.baseline) < CLEAN_SINCE else 0
    margin = depth + reading.erode_px
    shape = _geometry_of(scene, measurement).shape
    wide_rows, wide_columns = (
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, size in zip((rows, columns), shape, strict=True)
    )
    table, noise = _tables_of(reading, scene, measurement)
    dn = _read(scene, measurement, shape, wide_rows, wide_columns)
    power = calibrate(dn, table, noise, wide_rows, wide_columns)
    mask_border(power, depth)
    erode(power, reading.erode_px)
    top, left = rows.start - wide_rows.start, columns.start - wide_columns.start
    return power[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]


def _read(
    scene: Scene, measurement: Asset, shape: tuple[int, int], rows: slice, columns: slice
) -> npt.NDArray[np.uint16]:
    name = measurement.name
    if measurement.array:
        return _read_array(scene, measurement, rows, columns)
    window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    with open_image(scene, measurement) as source:
        if source.shape != shape:
            raise SceneError(f"{scene.id}: {name} has another size than its annotation says; it was cut or edited")
        values: npt.NDArray[np.uint16] = source.read(1, window=window)
    return values


def _read_array(scene: Scene, measurement: Asset, rows: slice, columns: slice) -> npt.NDArray[np.uint16]:
    try:
        raster = ZarrRaster(measurement.hierarchy, measurement.array)
        if raster.shape != measurement.shape or raster.dtype != np.uint16:
            raise SceneError(f"{measurement.array} is not as it was when it was catalogued; scan it again")
        values: npt.NDArray[np.uint16] = raster.read(rows, columns)
    except SceneError as error:
        raise SceneError(f"{scene.id}: {error.message}", hint=error.hint) from error.__cause__
    return values


def _fold(power: Power, fold: int) -> Power:
    """Mean of the valid ones of `fold` x `fold` pixels."""
    rows, columns = power.shape
    blocks = power.reshape(rows // fold, fold, columns // fold, fold)
    count = (blocks > 0).sum(axis=(1, 3))
    return np.asarray(blocks.sum(axis=(1, 3)) / np.maximum(count, 1), dtype=np.float32)


def _geometry_of(scene: Scene, measurement: Asset) -> RadarGeometry:
    """Geometry of an image, by its annotation, or by the arrays beside it."""
    if measurement.array:
        return _array_geometry(measurement.hierarchy, measurement.array.partition("/")[0])
    return _geometry(*_sidecar_of(scene, measurement, "product"))


def _tables_of(reading: RadarReading, scene: Scene, measurement: Asset) -> tuple[Table, Noise | None]:
    """Calibration and noise of an image; None where no noise is taken off."""
    if measurement.array:
        place, group = measurement.hierarchy, measurement.array.partition("/")[0]
        table = _array_table(place, group, reading.radiometry)
        return table, _array_noise(place, group) if reading.noise else None
    table = _table(*_sidecar_of(scene, measurement, "calibration"), reading.radiometry)
    return table, _noise(*_sidecar_of(scene, measurement, "noise")) if reading.noise else None


def _sidecar_of(scene: Scene, measurement: Asset, kind: str) -> tuple[str, str, Copy]:
    """Place of the product, name in it of an annotation file of an image, and the copy that was fetched of that."""
    name = sidecars(measurement.name)[kind]
    return _place_of(scene, measurement), name, _copy_of(scene, name.rpartition("/")[2])


def _copy_of(scene: Scene, name: str) -> Copy:
    for key, asset in scene.beside.items():
        if asset.name == name:
            return copy_of(scene, key, asset)
    return Copy(None)


def _place_of(scene: Scene, measurement: Asset) -> str:
    """Where the product lies; of a STAC item it is where its images are."""
    return scene.href if file_of(scene.href) is None else folder_of(measurement.uri)


_array_geometry = lru_cache(maxsize=32)(tables.read_geometry)
_array_table = lru_cache(maxsize=32)(tables.read_calibration)
_array_noise = lru_cache(maxsize=32)(tables.read_noise)


@lru_cache(maxsize=32)
def _geometry(href: str, name: str, copy: Copy) -> RadarGeometry:
    return read_geometry(name.rpartition("/")[2], _sidecar(href, name, copy))


@lru_cache(maxsize=32)
def _table(href: str, name: str, copy: Copy, radiometry: str) -> Table:
    return read_calibration(name.rpartition("/")[2], _sidecar(href, name, copy), radiometry)


@lru_cache(maxsize=32)
def _noise(href: str, name: str, copy: Copy) -> Noise:
    return read_noise(name.rpartition("/")[2], _sidecar(href, name, copy))


def _sidecar(href: str, name: str, copy: Copy) -> bytes:
    if copy.path is not None:
        try:
            return copy.path.read_bytes()
        except OSError as error:
            raise SceneError(f"{copy.path} cannot be read") from error
    with told(copy.fault):
        files = _files(href)
        if name not in files:
            raise SceneError(
                f"{files.name}: {name.rpartition('/')[2]} is missing: the product cannot be calibrated",
                hint="fetch the product again, with its folder annotation/calibration",
            )
        return files.read(name)


def _files(href: str) -> Files:
    return _stored(href) if is_remote(href) else files_at(href)


@lru_cache(maxsize=8)
def _stored(href: str) -> Files:
    try:
        return files_at(href)
    except OSError as error:
        raise SceneError(f"{href} cannot be listed") from error

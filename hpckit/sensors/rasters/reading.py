"""Reading what the headers of images say: one scene for each date and tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rasterio.errors import RasterioError

from hpckit.base.quantities import format_count
from hpckit.errors import SceneError
from hpckit.inputs.opening import fault_behind, open_raster
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.rasters.bands import BandFile
from hpckit.sensors.rasters.lattice import frame_of, size_m
from hpckit.sensors.rasters.pattern import Found, Pattern
from hpckit.space.footprint import outline

ONLY_TILE: Final = "images"
"""Tile of images whose names have none."""
_LISTED: Final = 3


def read_scene(
    pattern: Pattern, bands: Sequence[BandFile], path: Path, *, sensor: str, level: str, digest: str
) -> Scene:
    """Read the headers of all images that are of one date and tile with one of them.

    Parameters
    ----------
    path : Path
        One of the images.
    sensor, level : str
        Of the scene.
    digest : str
        Of what the campaign says of names and bands; `details` of the scene.

    Raises
    ------
    SceneError
        If the name has no date, two images are of one band, or one of them cannot be used.
    """
    found = pattern.match(path)
    if found is None:
        raise SceneError(f"{path.name} is not as `rasters.pattern` {pattern.text!r} has it")
    try:
        sensed = found.sensed()
    except ValueError as error:
        raise SceneError(f"{path.name}: {error}") from None
    try:
        files = _files(pattern, found)
    except OSError as error:
        raise SceneError(f"{path.name}: cannot be read") from error
    assets = dict(asset for band, file in files.items() for asset in _assets(bands, band, file))
    tile, moment = found.tile or ONLY_TILE, f"{sensed:%Y%m%dT%H%M%S}"
    first = next(iter(assets.values()))
    return Scene(
        id=moment.removesuffix("T000000") + (f"_{found.tile}" if found.tile else ""),
        sensor=sensor,
        href=str(path),
        level=level,
        platform="",
        sensed=sensed,
        datatake=moment,
        part=tile,
        baseline="0",
        frame=_frame(tile, assets),
        assets=assets,
        footprint=outline(first.crs, first.transform, first.shape),
        details=digest,
    )


def misnamed(pattern: Pattern, folder: Path, names: Sequence[str]) -> SceneError:
    """What to say of a folder with images of which no name is as the pattern has it."""
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    bands = f" ({{band}} is {', '.join(pattern.bands)})" if pattern.has_band else ""
    return SceneError(
        f"{folder}: no image has a name like {pattern.example()}, which is what `rasters.pattern` {pattern.text!r} "
        f"says{bands}; there are {listed}"
    )


def _files(pattern: Pattern, found: Found) -> dict[str, Path]:
    """Image of each text that stands for bands."""
    files: dict[str, Path] = {}
    for band, path in pattern.beside(found):
        if band in files:
            raise SceneError(
                f"{files[band].name} and {path.name} are images of one date and band: remove one, or tell them apart "
                "by {time} or {tile} in `rasters.pattern`"
            )
        files[band] = path
    return files


def _assets(bands: Sequence[BandFile], text: str, path: Path) -> Iterator[tuple[str, Asset]]:
    """Bands in an image, by key."""
    with open_raster(str(path)) as source:
        try:
            for wanted in bands:
                if wanted.file == text:
                    asset = _asset(wanted, path, source)
                    yield f"{wanted.band.name}@{size_m(asset)}m", asset
        except RasterioError as error:
            raise SceneError(f"{path.name} cannot be read") from fault_behind(str(path), error)


def _asset(wanted: BandFile, path: Path, source: Any) -> Asset:
    """Where an image lies, and what its numbers mean."""
    name, layer = wanted.band.name, wanted.layer
    if layer > source.count:
        raise SceneError(f"{path.name} has {format_count(source.count, 'layer')}, and band {name} is layer {layer}")
    _require_place(path, source)
    _require_numbers(wanted, path, source)
    epsg = source.crs.to_epsg()
    return Asset(
        str(path),
        crs=f"EPSG:{epsg}" if epsg else source.crs.to_wkt(),
        transform=tuple(source.transform)[:6],
        shape=source.shape,
        layer=layer,
        dtype=source.dtypes[layer - 1],
        nodata=_nodata(wanted, source),
        scale=wanted.scale,
        offset=wanted.offset,
    )


def _nodata(wanted: BandFile, source: Any) -> float | None:
    """Number that is no value, as the campaign or else the file says."""
    if wanted.nodata == "none":
        return None
    value = wanted.nodata if wanted.nodata is not None else source.nodatavals[wanted.layer - 1]
    return None if value is None or math.isnan(value) else float(value)


def _require_place(path: Path, source: Any) -> None:
    a, b, _, d, e, _ = tuple(source.transform)[:6]
    if source.crs is None:
        raise SceneError(f"{path.name} has no CRS: `gdal_edit.py -a_srs EPSG:CODE {path.name}` writes one")
    if b or d or a <= 0 or e >= 0 or source.transform.is_identity:
        raise SceneError(f"{path.name} is not north up, or has no place on the ground: `gdalwarp` gives it one")


def _require_numbers(wanted: BandFile, path: Path, source: Any) -> None:
    """Refuse numbers whose meaning is not known."""
    name, place = wanted.band.name, wanted.layer - 1
    dtype, own = source.dtypes[place], (source.scales[place], source.offsets[place])
    if dtype.startswith("complex"):
        raise SceneError(f"{path.name} holds complex numbers, which have no statistics")
    if dtype.startswith("float") and not wanted.takes_fractions:
        raise SceneError(f"{path.name} holds fractions ({dtype}): write `valid: [LEAST, GREATEST]` of band {name}")
    if own != (1.0, 0.0) and not wanted.says_scale:
        raise SceneError(
            f"{path.name} states that its values are number * {own[0]:g} + {own[1]:g}: write `scale` and `offset` of "
            f"band {name}"
        )
    flags = {flag.name for flag in source.mask_flag_enums[place]}
    if "per_dataset" in flags and wanted.nodata is None:
        raise SceneError(
            f"{path.name} has a mask or alpha layer, which hpckit does not read: write the number of pixels without "
            f"data as `nodata` of band {name}, or `nodata: none`"
        )


def _frame(tile: str, assets: dict[str, Asset]) -> Any:
    try:
        return frame_of(tile, assets)
    except ValueError:
        return None  # it can be resampled, and `place` says what keeps it from lying on a tile

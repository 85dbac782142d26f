"""Images of STAC items that no program for Sentinel-2 wrote: any single-band GeoTIFF with a place and a meaning.

They become scenes of a user's own images (`hpckit.sensors.rasters`), whose bands are the keys of assets. Where pixels
lie is what the files say; scale, offset and nodata are what the item says, else the file. Numbers of 8 and 16 bits
are stored as they are; others need the range that `raster:bands` states, and are stored in some 65,000 steps of it.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import shapely.geometry

from hpckit.base.frozendict import frozen
from hpckit.errors import HpckitError, SceneError
from hpckit.inputs.remote import opened
from hpckit.inputs.transfer import digest_of_tag
from hpckit.inputs.uri import is_remote
from hpckit.sensors.content import content_of
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.rasters.lattice import frame_of, size_m
from hpckit.sensors.rasters.options import RasterOptions
from hpckit.sensors.rasters.sensor import RASTERS
from hpckit.sensors.stac.files import href_of, uri_of
from hpckit.sensors.stac.headers import Header, read_header
from hpckit.sensors.stac.item import digest_of, moment, number
from hpckit.sensors.stac.radiometry import declared
from hpckit.space.footprint import outline

_log: Final = logging.getLogger(__name__)
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_ENDINGS: Final = (".tif", ".tiff")
_NO_DATA_ROLES: Final = {"thumbnail", "overview", "visual", "metadata"}
_RANGES: Final = {"int8": (-128, 127), "int16": (-32767, 32767)}
"""Of types with a sign: one number less than there are, since a cube keeps one for "no data"."""
_WHOLE: Final = ("uint8", "uint16")
_PATTERN: Final = "{date}_{band}.tif"
"""Names of files, which options of images must have; no file is looked for."""
LEVEL: Final = RASTERS.collections[RASTERS.name]


_Place = tuple[str, float, float, float, float]


class Images(NamedTuple):
    """What items came down to."""

    rasters: dict[str, Any]
    """`scenes.rasters` of a campaign."""
    scenes: list[Scene]


@dataclass(frozen=True, slots=True)
class _Image:
    """An asset whose numbers can be read."""

    item: str
    band: str
    uri: str
    header: Header
    asset: Mapping[str, Any]
    scale: float
    offset: float
    nodata: float | None

    @property
    def place(self) -> _Place:
        """CRS, upper left corner, height and width."""
        (edge, _, left, _, _, top), (rows, columns) = self.header.transform, self.header.shape
        return self.header.crs, left, top, rows * edge, columns * edge


def is_plain(item: Mapping[str, Any]) -> bool:
    """Whether an item has an image that may be read here."""
    return any(True for _ in _tiffs(item))


def images_of(items: Sequence[Mapping[str, Any]], path: Path) -> Images:
    """Bands and scenes of items.

    Parameters
    ----------
    items : sequence of JSON
        Of which `is_plain` holds.
    path : Path
        File that holds them.

    Raises
    ------
    SceneError
        If none of them can be used; the reason of the first one.
    """
    found: list[tuple[Mapping[str, Any], list[_Image]]] = []
    fault: SceneError | None = None
    for item in items:
        try:
            found.append((item, _images(item, path)))
        except SceneError as error:
            fault = fault or error
            _log.warning("an item is left out: %s", error)
    if fault is not None and not found:
        raise fault
    bands: dict[str, dict[str, Any]] = {}
    for name in sorted({image.band for _, images in found for image in images}):
        try:
            bands[name] = _band(name, [image for _, images in found for image in images if image.band == name])
        except SceneError as error:
            fault = fault or error
            _log.warning("band %s is left out: %s", name, error)
    if fault is not None and not bands:
        raise fault
    found = [(item, [image for image in images if image.band in bands]) for item, images in found]
    rasters = {"pattern": _PATTERN, "bands": bands, "source": "Images of STAC items"}
    sensor = RasterOptions.model_validate(rasters).made
    scenes, _ = sensor.place(_scenes([one for one in found if one[1]], path, sensor.digest), None, None)
    return Images(rasters, scenes)


def _tiffs(item: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Key and asset of GeoTIFF files that are no previews."""
    assets = item.get("assets")
    for key, asset in sorted(assets.items()) if isinstance(assets, Mapping) else ():
        if not isinstance(asset, Mapping) or not isinstance(asset.get("href"), str):
            continue
        kind, roles = str(asset.get("type") or ""), asset.get("roles")
        is_tiff = "tiff" in kind if kind else urlsplit(asset["href"]).path.lower().endswith(_ENDINGS)
        if is_tiff and not (isinstance(roles, list) and _NO_DATA_ROLES & set(map(str, roles))):
            yield key, asset


def _images(item: Mapping[str, Any], path: Path) -> list[_Image]:
    """Images of an item; those that cannot be used are left out if there are others.

    Raises
    ------
    SceneError
        If there is none; the reason of the first one.
    """
    name = str(item.get("id") or "an item without id")
    found: list[_Image] = []
    fault: SceneError | None = None
    for key, asset in _tiffs(item):
        try:
            found.append(_image(item, key, asset, path))
        except (SceneError, ValueError, TypeError, LookupError, AttributeError) as error:
            said = error if isinstance(error, SceneError) else SceneError(f"asset {key} is malformed: {error}")
            fault = fault or SceneError(f"{name}: {said.message}", hint=said.hint)
            fault.__cause__ = fault.__cause__ or said.__cause__
            _log.warning("%s: asset %s is left out: %s", name, key, said)
    if found:
        return found
    raise fault or SceneError(f"{name}: it has no GeoTIFF file on an allowed host")


def _image(item: Mapping[str, Any], key: str, asset: Mapping[str, Any], path: Path) -> _Image:
    if not _NAME.fullmatch(key):
        raise SceneError(
            f"asset {key!r} cannot be a band", hint="keys of bands are at most 31 letters, digits and underscores"
        )
    uri = uri_of(asset, path.parent)
    assert uri is not None
    header = read_header(item, key, uri)
    said = declared(asset, "scale"), declared(asset, "offset")
    own = header.scale, header.offset
    if said != (None, None) and own not in ((1.0, 0.0), (said[0] or 1.0, said[1] or 0.0)):
        raise SceneError(
            f"asset {key}: its item says number * {said[0] or 1.0:g} + {said[1] or 0.0:g}, its file number * "
            f"{own[0]:g} + {own[1]:g}"
        )
    scale, offset = own if said == (None, None) else (said[0] or 1.0, said[1] or 0.0)
    if scale <= 0:
        raise SceneError(f"asset {key} has the scale {scale:g}; it must be above 0")
    nodata = declared(asset, "nodata")
    nodata = header.nodata if nodata is None else nodata
    if nodata is None and header.has_mask:
        raise SceneError(
            f"the file of asset {key} has a mask or alpha layer, which hpckit does not read",
            hint="its item needs `nodata`: the number of pixels without data",
        )
    return _Image(
        str(item.get("id")),
        key,
        uri,
        header,
        asset,
        scale,
        offset,
        None if nodata is None or math.isnan(nodata) else float(nodata),
    )


def _band(name: str, images: Sequence[_Image]) -> dict[str, Any]:
    """A band of `scenes.rasters`, which stores the numbers of all its images."""
    first = images[0]
    coded = {(image.header.dtype, image.scale, image.offset, image.nodata) for image in images}
    units, common = _told(first.asset, "unit"), _told(first.asset, "common_name", "eo:common_name")
    band: dict[str, Any] = {
        "pixel": min(size_m(_asset(image)) for image in images),
        "units": str(units or "1"),
        "title": str(first.asset.get("title") or name),
        "common_name": str(common or ""),
    }
    if len(coded) == 1 and first.header.dtype in _WHOLE:
        return {**band, "scale": first.scale, "offset": first.offset, "nodata": _or_none(first.nodata)}
    if len(coded) == 1 and first.header.dtype in _RANGES:
        least, most = (number * first.scale + first.offset for number in _RANGES[first.header.dtype])
        return {**band, "scale": first.scale, "offset": first.offset, "valid": [least, most], "strict": True}
    ranges = [_range(image) for image in images]
    return {**band, "valid": [min(least for least, _ in ranges), max(most for _, most in ranges)], "strict": True}


def _range(image: _Image) -> tuple[float, float]:
    """Least and greatest physical value of an image.

    Raises
    ------
    SceneError
        If nothing tells them.
    """
    dtype = image.header.dtype
    least: float
    most: float
    if dtype in _WHOLE or dtype in _RANGES:
        least, most = _RANGES.get(dtype, (0, 255 if dtype == "uint8" else 65535))
    else:
        told = _told(image.asset, "statistics")
        known = told if isinstance(told, Mapping) else {}
        lowest, highest = number(known.get("minimum")), number(known.get("maximum"))
        if lowest is None or highest is None or lowest >= highest:
            raise SceneError(
                f"{image.item}: asset {image.band} holds numbers of the type {dtype}, and nothing tells their range",
                hint="its item needs `statistics` with `minimum` and `maximum` in `raster:bands`; or make a campaign "
                "of the images, with `valid` of the band",
            )
        least, most = lowest, highest  # of the numbers in the file, as GDAL computes them
    return least * image.scale + image.offset, most * image.scale + image.offset


def _told(asset: Mapping[str, Any], *names: str) -> Any:
    """The first of some fields that an asset, or its only band, has."""
    listed = [asset.get(kind) for kind in ("raster:bands", "bands", "eo:bands")]
    bands = [bands[0] for bands in listed if isinstance(bands, list) and bands and isinstance(bands[0], Mapping)]
    return next((each[name] for each in (asset, *bands) for name in names if each.get(name) is not None), None)


def _or_none(nodata: float | None) -> float | str:
    return "none" if nodata is None else nodata


def _asset(image: _Image) -> Asset:
    header = image.header
    return Asset(
        image.uri,
        header.crs,
        header.transform,
        header.shape,
        dtype=header.dtype,
        nodata=image.nodata,
        scale=image.scale,
        offset=image.offset,
        digest=digest_of(str(image.asset.get("file:checksum") or "")),
    )


def _with_file(asset: Asset) -> Asset:
    """With the size and version that the server tells."""
    if not is_remote(asset.uri):
        return asset
    file = opened(asset.uri)
    return replace(asset, nbytes=file.size, digest=asset.digest or digest_of_tag(file.tag))


def _scenes(found: Sequence[tuple[Mapping[str, Any], list[_Image]]], path: Path, digest: str) -> list[Scene]:
    """A scene of each item; items at the same place are dates of one tile.

    Raises
    ------
    SceneError
        If no item has one; the reason of the first one.
    """
    places = sorted({_finest(images).place for _, images in found})
    scenes: list[Scene] = []
    fault: SceneError | None = None
    for item, images in found:
        try:
            scenes.append(_scene(item, images, path, digest, f"t{places.index(_finest(images).place) + 1:04d}"))
        except SceneError as error:
            fault = fault or error
            _log.warning("an item is left out: %s", error)
    if fault is not None and not scenes:
        raise fault
    return scenes


def _finest(images: Sequence[_Image]) -> _Image:
    return min(images, key=lambda image: image.header.transform[0])


def _scene(item: Mapping[str, Any], images: Sequence[_Image], path: Path, digest: str, tile: str) -> Scene:
    name, properties = str(item.get("id")), item["properties"]
    assets = {f"{image.band}@{size_m(_asset(image))}m": _with_file(_asset(image)) for image in images}
    try:
        frame = frame_of(tile, assets)
        sensed = moment(properties.get("datetime") or properties.get("start_datetime"))
    except ValueError as error:
        raise SceneError(f"{name}: {error}") from error
    geometry, first = item.get("geometry"), images[0].header
    scene = Scene(
        id=name,
        sensor=RASTERS.name,
        href=href_of(path, name),
        level=LEVEL,
        platform="",
        sensed=sensed,
        datatake=f"{sensed:%Y%m%dT%H%M%S}",
        part=tile,
        baseline="0",
        cloud_cover=number(properties.get("eo:cloud_cover")),
        frame=frame,
        assets=frozen(assets),
        footprint=shapely.make_valid(shapely.geometry.shape(geometry))
        if geometry
        else outline(first.crs, first.transform, first.shape),
        details=digest,
    )
    try:
        return replace(scene, content=content_of(scene))
    except HpckitError as error:
        raise SceneError(f"{name}: {error.message}", hint=error.hint) from error

"""Scenes of Sentinel-1 from STAC items: raw GRD by the product that an item refers to, geocoded rasters by the item.

Items of raw GRD tell positions that hold for no pixel, so they only say where the product is: manifest and annotation
say what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import shapely
import shapely.geometry

from hpckit.errors import SceneError
from hpckit.inputs.files import Files, LocalFiles
from hpckit.inputs.remote import opened
from hpckit.inputs.stored import StoredFiles
from hpckit.inputs.transfer import digest_of_tag, without_secrets
from hpckit.inputs.uri import is_remote
from hpckit.inputs.webfiles import WebFiles
from hpckit.sensors.content import content_of
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel1.grd import MANIFEST, beside, folder_of
from hpckit.sensors.sentinel1.naming import from_name
from hpckit.sensors.sentinel1.product import read_files, read_product
from hpckit.sensors.sentinel1.rasters import RasterGrid, is_series_file, product_scene, told_by_item
from hpckit.sensors.stac.dialects import RADAR_ANGLE, RADAR_KEY, SOURCE_NAMES
from hpckit.sensors.stac.files import hierarchy_of, href_of, uri_of
from hpckit.sensors.stac.headers import Header, read_header
from hpckit.sensors.stac.options import ItemOptions
from hpckit.sensors.stac.radiometry import declared
from hpckit.sensors.stored import read_hierarchy, read_stored

_ANGLE: Final = "INC"
_NRB: Final = re.compile(r"(?<![A-Za-z])nrb(?![A-Za-z])", re.IGNORECASE)
_SIZES: Final = (10, 20)
_COPY: Final = "copy the product as its provider delivers it, and name its folder in `scenes.paths`"
_EARTH: Final = shapely.box(-180.0, -90.0, 180.0, 90.0)


class _Image(NamedTuple):
    """An asset that holds a band."""

    key: str
    uri: str

    @property
    def is_there(self) -> bool:
        """Whether it is on a server, or a file of this machine."""
        return is_remote(self.uri) or Path(self.uri).is_file()


def read_radar(item: Mapping[str, Any], path: Path, options: ItemOptions) -> Scene:
    """Scene of an item.

    Parameters
    ----------
    path : Path
        File that holds the item.

    Raises
    ------
    SceneError
        If none of its images can be read, or they contradict one another or the item.
    """
    place = hierarchy_of(item, path.parent)
    if place is not None and options.assets is None:
        scene = read_hierarchy(place) if isinstance(place, str) else read_product(place)
        return replace(scene, href=href_of(path, str(item["id"])))
    images = _images(item, path.parent, options)
    found = {band: image for band, image in images.items() if image.is_there}
    if not found.keys() - {_ANGLE}:
        what = without_secrets(next(iter(images.values())).uri) if images else "it has no asset vv, vh, hh or hv"
        raise SceneError(f"none of its images can be read: {what}", hint="copy the files, and the item beside them")
    missing = tuple(Path(image.uri).name for band, image in images.items() if band not in found)
    radiometry = _radiometry(item, found)
    scene = (
        _of_rasters(item, path, found, radiometry, options, missing)
        if radiometry or options.is_radar
        else _of_product(found)
    )
    return replace(scene, href=href_of(path, str(item["id"])))


def is_needed(item: Mapping[str, Any], folder: Path) -> bool:
    """Whether an item gives a product that a search of its folder does not find without it.

    An item beside geocoded files is a note on these, wherever its assets lie (`rasters.read_series`).
    """
    uris = [image.uri for image in _images(item, folder, ItemOptions()).values()]
    here = [image for image in map(Path, uris) if image.is_relative_to(folder)]
    return bool(uris) and not any(map(_is_series, (folder, folder / "measurement"))) and not any(map(_is_found, here))


def _is_series(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_series_file, folder.iterdir()))


def _is_found(image: Path) -> bool:
    return image.is_file() and ((image.parent.parent / MANIFEST).is_file() or is_series_file(image))


def _images(item: Mapping[str, Any], folder: Path, options: ItemOptions) -> dict[str, _Image]:
    """Assets that hold a band, by band, wherever they lie."""
    found: dict[str, _Image] = {}
    for band, key in _keys(item, options):
        asset = item["assets"].get(key)
        uri = uri_of(asset, folder) if isinstance(asset, Mapping) else None
        if uri is not None:
            found.setdefault(band, _Image(key, uri))
    return found


def _keys(item: Mapping[str, Any], options: ItemOptions) -> Iterator[tuple[str, str]]:
    """Band and key of the assets that are images."""
    if options.assets is not None:
        yield from options.assets.items()
        return
    for key in item["assets"]:
        match = RADAR_KEY.fullmatch(key)
        if match:
            yield match["band"].upper(), key
        elif RADAR_ANGLE.fullmatch(key):
            yield _ANGLE, key


def _radiometry(item: Mapping[str, Any], images: Mapping[str, _Image]) -> str:
    """`gamma0` or `sigma0` of a geocoded product; empty for raw GRD."""
    roles = (role for image in images.values() for role in item["assets"][image.key].get("roles", ()))
    told = from_name(str(item["id"]), str(item.get("collection")), *(image.key for image in images.values()), *roles)
    return told.radiometry


def _of_product(images: Mapping[str, _Image]) -> Scene:
    """Scene of the raw GRD product that images belong to, the same as of its folder."""
    uris = [image.uri for band, image in images.items() if band != _ANGLE]
    try:
        places = {folder_of(uri) for uri in uris}
    except ValueError:
        raise SceneError(f"{without_secrets(uris[0])} lies in no product", hint=_COPY) from None
    if len(places) > 1:
        raise SceneError(f"its images are of several products: {' and '.join(map(without_secrets, sorted(places)))}")
    (place,) = places
    try:
        if place.startswith("s3://"):
            (scene,) = read_stored(StoredFiles(place))
            return scene
        names = (f"measurement/{uri.partition('?')[0].rpartition('/')[2]}" for uri in uris)
        files = WebFiles(place, names) if is_remote(place) else LocalFiles(Path(place))
        return _described(files)
    except OSError as error:
        raise SceneError(f"{without_secrets(place)} cannot be read") from error


def _described(files: Files) -> Scene:
    """Scene of a product, with sizes and entity tags of images where a server tells them."""
    if MANIFEST not in files:
        raise SceneError(f"{without_secrets(files.href)} has no {MANIFEST}", hint=_COPY)
    scene = read_files(files)
    content = content_of(scene, files)
    if not isinstance(files, WebFiles):
        return replace(scene, content=content)
    assets = {key: _of_version(asset, files) for key, asset in scene.assets.items()}
    annotation = {key: _of_version(Asset(files.uri(name)), files) for key, name in beside(scene, files).items()}
    return replace(scene, assets=assets, beside=annotation, content=content)


def _of_version(asset: Asset, files: WebFiles) -> Asset:
    """A file with its size, and what its server calls this version."""
    name = files.name_of(asset.uri)
    return replace(asset, nbytes=files.size(name), digest=digest_of_tag(files.tag(name)))


def _of_rasters(
    item: Mapping[str, Any],
    path: Path,
    images: Mapping[str, _Image],
    radiometry: str,
    options: ItemOptions,
    missing: tuple[str, ...],
) -> Scene:
    """Scene of a geocoded product: size and place by its files, all else by the item."""
    headers = {band: read_header(item, image.key, image.uri) for band, image in images.items()}
    grids = {band: _grid(header) for band, header in headers.items()}
    first = next(band for band in grids if band != _ANGLE)
    for band, grid in grids.items():
        if grid.place != grids[first].place:
            raise SceneError(f"asset {images[band].key} lies on another grid than {images[first].key}")
    told = told_by_item(item).over(from_name(*_sources(item), str(item["id"])))
    if told.footprint and not _is_on_earth(told.footprint):
        told = replace(told, footprint=None)
    level = "NRB" if _NRB.search(f"{item['id']} {item.get('collection')}") else "RTC"
    kind = radiometry or told.radiometry
    scene = product_scene(path, level, told, grids[first], dict.fromkeys(images, ""), kind, missing=missing)
    assets = {band: _asset(item, image, headers[band], options) for band, image in images.items()}
    return replace(scene, assets={f"{band}@{size}m": asset for band, asset in assets.items() for size in _SIZES})


def _grid(header: Header) -> RasterGrid:
    return RasterGrid(header.crs, header.transform, header.shape, 1, np.dtype(header.dtype).itemsize)


def _sources(item: Mapping[str, Any]) -> list[str]:
    """Names of the products of ESA from which that of the item was made."""
    found = [item["properties"].get(name) for name in SOURCE_NAMES]
    return [str(name) for value in found if value for name in (value if isinstance(value, list) else [value])]


def _is_on_earth(geometry: Mapping[str, Any]) -> bool:
    """Whether a geometry is in degrees; the first items of the Planetary Computer have metres."""
    return bool(shapely.covers(_EARTH, shapely.box(*shapely.geometry.shape(geometry).bounds)))


def _asset(item: Mapping[str, Any], image: _Image, header: Header, options: ItemOptions) -> Asset:
    """Raster of a band, with what the item says of its numbers where the file says nothing."""
    described = item["assets"][image.key]
    scale = options.scale or declared(described, "scale") or header.scale
    offset = options.offset or declared(described, "offset") or header.offset
    if offset:
        raise SceneError(f"asset {image.key} has an offset of {offset:g}: it is no linear power")
    nodata = options.nodata if options.nodata is not None else header.nodata
    nodata = declared(described, "nodata") if nodata is None else nodata
    nbytes, digest = None, ""
    if is_remote(image.uri):
        file = opened(image.uri)
        nbytes, digest = file.size, digest_of_tag(file.tag)
    return Asset(
        image.uri,
        header.crs,
        header.transform,
        header.shape,
        nodata=None if nodata is None else float(nodata),
        scale=scale,
        nbytes=nbytes,
        digest=digest,
    )

"""Scenes from STAC items; of Sentinel-2 identity by the item, place and size of rasters by their files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
import shapely.geometry

from hpckit.errors import SceneError
from hpckit.inputs.remote import opened
from hpckit.inputs.transfer import digest_of_tag, without_secrets
from hpckit.inputs.uri import is_remote, name_of
from hpckit.sensors.bands import Band
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel2.bands import BANDS
from hpckit.sensors.sentinel2.details import Details, lost_file
from hpckit.sensors.sentinel2.eopf.product import read_scene
from hpckit.sensors.stac.dialects import (
    PRODUCT_NAMES,
    Dialect,
    band_of_key,
    dialect_of,
    is_original,
    is_radar,
    other_mission,
)
from hpckit.sensors.stac.files import hierarchy_of, href_of, uri_of, zip_of
from hpckit.sensors.stac.headers import Header, read_header
from hpckit.sensors.stac.options import ItemOptions
from hpckit.sensors.stac.radar import read_radar
from hpckit.sensors.stac.radiometry import declared, reflectance
from hpckit.space import footprint
from hpckit.space.frame import Frame

_NAME: Final = re.compile(
    r"(?P<platform>S2[A-Z])_MSIL(?P<level>1C|2A)_(?P<start>\d{8}T\d{6})_(?:N(?P<baseline>\d{4})_)?R(?P<orbit>\d{3})_"
    r"T(?P<tile>\d{2}[A-Z]{3})_\d{8}T\d{6}"
)
"""Names of products; the Planetary Computer leaves the baseline out in its ids."""
_TILE: Final = re.compile(r"(?:MGRS-|T)?(?P<tile>\d{1,2}[C-HJ-NP-X][A-Z]{2})")
_SIZES: Final = (10, 20, 60)
_RADAR: Final = "leave out `scenes.items.assets`, or describe bands of Sentinel-1 there: `{VV: vv}`"
_IMAGES: Final = "copy its images to a folder, and describe their names in `scenes.rasters`"
_DIGESTS: Final = {"1220": ("sha256", 64), "1620": ("sha3_256", 64), "d50110": ("md5", 32)}
"""Kinds of `file:checksum` by their first bytes (multihash), with the number of digits of the digest."""


def read_item(item: Mapping[str, Any], path: Path, options: ItemOptions) -> Scene:
    """Scene of an item.

    Parameters
    ----------
    path : Path
        File that holds the item.

    Raises
    ------
    SceneError
        If it is of an unknown catalogue, contradicts itself or its files, or none of its files is on this machine.
    """
    name = str(item.get("id", "")) or path.name
    try:
        if options.assets is None:
            _require_images(item, path.parent)
        if options.is_radar or (is_radar(item) and options.assets is None):
            return read_radar(item, path, options)
        place = hierarchy_of(item, path.parent)
        if place is not None and options.assets is None:
            return _of_hierarchy(item, path, place)
        return _Reader(item, path, options).scene()
    except SceneError as error:
        raise SceneError(f"{name}: {error.message}", hint=error.hint) from error.__cause__
    except (ValueError, LookupError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise SceneError(f"{name}: its STAC item is malformed ({type(error).__name__}: {error})") from error


def _require_images(item: Mapping[str, Any], folder: Path) -> None:
    """Refuse an item whose only file with pixels is a zip file of the product.

    Raises
    ------
    SceneError
        If it is one.
    """
    whole = zip_of(item, folder)
    if whole is None:
        return
    if is_remote(whole):
        raise SceneError(
            f"its only image is a zip file of the whole product on a server, {without_secrets(whole)}: download it, "
            "and name its folder in `scenes.paths` instead of the item"
        )
    raise SceneError(
        f"its only image is a zip file of the whole product, {whole}: name its folder in `scenes.paths` instead of "
        "the item"
    )


def _of_hierarchy(item: Mapping[str, Any], path: Path, place: Path | str) -> Scene:
    """Scene of the product of EOPF Zarr that an item refers to: the item says where it is, the product what it is."""
    scene = read_scene(place)
    said = _NAME.match(str(item["id"]))
    told = _NAME.match(scene.id)
    if said and told and any(said[part] != told[part] for part in ("platform", "level", "start", "tile")):
        where = without_secrets(place) if isinstance(place, str) else place
        raise SceneError(f"the product at {where} is {scene.id}")
    return replace(scene, href=href_of(path, str(item["id"])))


class _Reader:
    """One item."""

    def __init__(self, item: Mapping[str, Any], path: Path, options: ItemOptions) -> None:
        self._item = item
        self._path = path
        self._options = options
        self._properties: Mapping[str, Any] = item["properties"]
        self._dialect: Dialect | None = dialect_of(item)
        self._told = self._product_name()
        mission = other_mission(item)
        if mission and self._told is None:
            if is_radar(item):
                raise SceneError(f"its STAC item is of {mission}, not of Sentinel-2", hint=_RADAR)
            raise SceneError(
                f"its STAC item is of {mission}, and items are read of Sentinel-2 and Sentinel-1 only", hint=_IMAGES
            )
        if self._dialect is None and options.assets is None:
            raise SceneError(
                "its STAC item is of no catalogue that hpckit knows",
                hint="describe it in `scenes.items`: the key of the asset of each band, scale and offset",
            )

    def scene(self) -> Scene:
        """The scene of the item."""
        baseline, level = self._baseline(), self._level()
        reasons: dict[str, str] = {}
        missing: list[str] = []
        assets: dict[str, Asset] = {}
        for band, key, uri in self._files(missing):
            try:
                raster = read_header(self._item, key, uri)
            except SceneError as error:
                if is_remote(uri) and isinstance(error.__cause__, FileNotFoundError):
                    missing.append(lost_file(band.name, name_of(uri)))
                    continue
                raise
            size = self._size_of(band, raster, key)
            assets.setdefault(f"{band.name}@{size}m", self._asset(band, key, uri, raster, baseline, reasons))
        if not assets:
            raise SceneError(f"none of its images is there: {', '.join(missing)}")
        frame = self._frame(assets)
        geometry = self._item.get("geometry")
        finest = min(assets.values(), key=lambda asset: asset.transform[0])
        outline = (
            shapely.make_valid(shapely.geometry.shape(geometry))
            if geometry
            else footprint.outline(finest.crs, finest.transform, finest.shape)
        )
        return Scene(
            id=self._told[0] if self._told else str(self._item["id"]),
            sensor="sentinel-2",
            href=href_of(self._path, str(self._item["id"])),
            level=level,
            platform=self._platform(),
            sensed=moment(self._properties["datetime"] or self._properties["start_datetime"]),
            datatake=self._datatake(baseline),
            part=self._text("s2:datastrip_id", "eopf:datastrip_id"),
            baseline=baseline or "00.00",
            relative_orbit=self._orbit(),
            cloud_cover=number(self._properties.get("eo:cloud_cover")),
            nodata=number(self._properties.get("s2:nodata_pixel_percentage")),
            frame=frame,
            assets=assets,
            footprint=outline,
            missing=tuple(missing),
            details=Details(self._text("s2:granule_id", "s2:tile_id"), "; ".join(sorted(set(reasons.values())))),
        )

    def _text(self, *names: str) -> str:
        """The first of some properties that the item has."""
        return next((str(self._properties[name]) for name in names if self._properties.get(name)), "")

    def _product_name(self) -> re.Match[str] | None:
        """Name of ESA's product; the full one, if it is anywhere."""
        names = (*map(self._properties.get, PRODUCT_NAMES), self._item["id"])
        found = [_NAME.match(str(name)) for name in names if name]
        return next((match for match in found if match), None)

    def _baseline(self) -> str:
        """`05.11`; empty if it is not known."""
        said = self._text("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
        if re.fullmatch(r"\d\d\.\d\d", said):
            return said
        digits = self._told["baseline"] if self._told else None
        return f"{digits[:2]}.{digits[2:]}" if digits else ""

    def _level(self) -> str:
        if self._told:
            return f"L{self._told['level']}"
        text = f"{self._item.get('collection')} {self._item['id']} {self._text('processing:level')}".upper()
        return "L1C" if "L1C" in text else "L2A"

    def _platform(self) -> str:
        match = re.fullmatch(r"sentinel[-_ ]?2([a-z])", self._text("platform").lower())
        if match:
            return f"S2{match[1].upper()}"
        if self._told:
            return self._told["platform"]
        raise SceneError("neither its platform nor its name tells the satellite")

    def _orbit(self) -> int:
        said = self._text("sat:relative_orbit")
        return int(float(said)) if said else int(self._told["orbit"]) if self._told else 0

    def _tile(self) -> str:
        properties = self._properties
        parts = [
            [properties.get(f"{prefix}:{name}") for name in ("utm_zone", "latitude_band", "grid_square")]
            for prefix in ("mgrs", "sentinel")
        ]
        said = [self._text("grid:code", "s2:mgrs_tile"), *("".join(map(str, part)) for part in parts if all(part))]
        said += [self._told["tile"]] if self._told else []
        match = next((match for text in said if (match := _TILE.fullmatch(text))), None)
        if match is None:
            raise SceneError("nothing tells its tile: no grid:code, s2:mgrs_tile or mgrs:utm_zone in its item")
        return match["tile"].zfill(5)

    def _datatake(self, baseline: str) -> str:
        said = self._text("s2:datatake_id", "eopf:datatake_id", "eopf:data_take_id")
        if said:
            return said
        start = self._told["start"] if self._told else f"{moment(self._properties['datetime']):%Y%m%dT%H%M%S}"
        return f"G{self._platform()}_{start}_000000_N{baseline or '00.00'}"

    def _files(self, missing: list[str]) -> Iterator[tuple[Band, str, str]]:
        """Band, key and URI of each asset whose file can be read; converted files before their originals."""
        assets: Mapping[str, Any] = self._item["assets"]
        wanted = self._options.assets
        keys = (
            {key: band_of_key(key) for key in sorted(assets, key=lambda key: (is_original(key), key))}
            if wanted is None
            else {key: band for band, key in wanted.items()}
        )
        elsewhere, found = "", set[str]()
        for key, name in keys.items():
            asset = assets.get(key)
            if name is None or not isinstance(asset, Mapping) or not asset.get("href"):
                continue
            if is_original(key) and name in found:
                continue  # the converted file beside it is cheaper to read
            uri = uri_of(asset, self._path.parent)
            if uri is None:
                elsewhere = elsewhere or str(asset["href"])
            elif not is_remote(uri) and not Path(uri).is_file():
                missing.append(lost_file(name, Path(uri).name))
            else:
                found.add(name)
                yield BANDS[name], key, uri
        if not found:
            what = (
                f"{missing[0]} is missing"
                if missing
                else f"they are at {without_secrets(elsewhere)}"
                if elsewhere
                else ""
            )
            raise SceneError(
                f"none of its images can be read{f': {what}' if what else ''}",
                hint="copy the files, and the item with relative names of them",
            )

    def _size_of(self, band: Band, raster: Header, key: str) -> int:
        if raster.pixel_m != raster.transform[0] or raster.pixel_m not in band.resolutions_m:
            raise SceneError(
                f"asset {key} has pixels of {raster.transform[0]:g} m; {band.name} comes at {band.resolutions_m} m"
            )
        return raster.pixel_m

    def _asset(self, band: Band, key: str, uri: str, raster: Header, baseline: str, reasons: dict[str, str]) -> Asset:
        item, options = self._item["assets"][key], self._options
        scale, offset = band.scale, band.offset
        if band.kind == "reflectance":
            told = reflectance(
                self._item,
                key,
                self._dialect,
                float(baseline) if baseline else None,
                options,
                is_original=is_original(key),
            )
            scale, offset = told.scale, told.offset
            reasons[key] = f"offset {offset:g}: {told.why}"
        elif not band.is_mask:
            scale, offset = declared(item, "scale") or scale, declared(item, "offset") or offset
        nodata = options.nodata if options.nodata is not None else raster.nodata
        nodata = nodata if nodata is not None else declared(item, "nodata")
        nodata = None if nodata is None or nodata == 0 or math.isnan(nodata) else float(nodata)
        nbytes = int(item["file:size"]) if item.get("file:size") else None
        digest = digest_of(str(item.get("file:checksum") or ""))
        if is_remote(uri):
            file = opened(uri)
            if nbytes not in (None, file.size):
                raise SceneError(f"{without_secrets(uri)} has {file.size} bytes, its item says {nbytes}")
            nbytes, digest = file.size, digest or digest_of_tag(file.tag)
        is_stored = raster.dtype == band.dtype and nodata is None and math.isclose(scale, band.scale)
        return Asset(
            uri,
            raster.crs,
            raster.transform,
            raster.shape,
            dtype="" if is_stored else raster.dtype,
            nodata=nodata,
            scale=scale,
            offset=offset,
            nbytes=nbytes,
            digest=digest,
        )

    def _frame(self, assets: Mapping[str, Asset]) -> Frame:
        """The tile: all rasters have one upper left corner."""
        finest = min(assets.values(), key=lambda asset: asset.transform[0])
        for asset in assets.values():
            place = (asset.crs, asset.transform[2], asset.transform[5])
            if place != (finest.crs, finest.transform[2], finest.transform[5]):
                raise SceneError(f"{asset.name} lies elsewhere than {finest.name}: their corners differ")
        edge, (rows, columns) = finest.transform[0], finest.shape
        known = {round(asset.transform[0]): asset.shape for asset in assets.values()}
        shapes = {
            size: known.get(size, (math.ceil(rows * edge / size), math.ceil(columns * edge / size)))
            for size in _SIZES
        }
        for key, asset in assets.items():
            if asset.shape != shapes[round(asset.transform[0])]:
                raise SceneError(f"{asset.name} ({key}) has another size than other files with its pixels")
        epsg = int(finest.crs.removeprefix("EPSG:"))
        return Frame(self._tile(), epsg, finest.transform[2], finest.transform[5], shapes, {})


def moment(value: Any) -> datetime:
    """Time of a property, UTC.

    Raises
    ------
    ValueError
        If it is no time.
    """
    told = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)


def number(value: Any) -> float | None:
    """A finite number; None if a property is none."""
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None


def digest_of(checksum: str) -> str:
    """Digest as assets have it; empty for kinds that are not known, or that have the wrong length."""
    for prefix, (kind, digits) in _DIGESTS.items():
        if checksum.startswith(prefix) and len(checksum) == len(prefix) + digits:
            return f"{kind}:{checksum.removeprefix(prefix)}"
    return ""

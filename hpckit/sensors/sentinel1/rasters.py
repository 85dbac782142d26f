"""Geocoded Sentinel-1 rasters: where they lie, and scenes made of them.

Series of GeoTIFF or COG files, one per polarisation: gamma0 or sigma0 of any maker, S1-NRB. What they are is told by
a STAC item beside them, by GeoTIFF tags, or by their names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import shapely
from rasterio.errors import RasterioError

from hpckit.errors import SceneError
from hpckit.inputs.opening import fault_behind, open_raster
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel1.model import (
    OrbitState,
    Radar,
    Radiometry,
    frame_id,
    moment,
    orbit_state_at,
    pass_id,
    polarisations_of,
    relative_orbit,
)
from hpckit.sensors.sentinel1.naming import Told, from_name
from hpckit.space import footprint

POLARISATION: Final = re.compile(r"(?<![A-Za-z])(vv|vh|hh|hv)(?![A-Za-z])", re.IGNORECASE)
_MOST_JSON: Final = 4 * 2**20
_ANGLE: Final = re.compile(
    r"(?<![A-Za-z])(ei|incidence[_-]?angle|local_incident_angle|inc)(?![A-Za-z])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class RasterGrid:
    """Where a raster lies."""

    crs: str
    """`EPSG:32631`, or WKT where there is no code."""
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    count: int
    itemsize: int
    """Bytes of a pixel of one band."""
    descriptions: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path) -> RasterGrid:
        """Read the header of a raster.

        Raises
        ------
        SceneError
            If it cannot be read, or is not geocoded.
        """
        try:
            with open_raster(str(path)) as source:
                crs, has_points = source.crs, bool(source.gcps[0])
                transform = tuple(source.transform)[:6]
                shape, count = source.shape, source.count
                itemsize = np.dtype(source.dtypes[0]).itemsize
                descriptions = tuple(text or "" for text in source.descriptions)
        except RasterioError as error:
            raise SceneError(f"{path.name} cannot be read") from fault_behind(str(path), error)
        if has_points and crs is None:
            raise SceneError(
                f"{path.name} has ground control points only: it is in radar geometry",
                hint="take a terrain-corrected product, or the whole GRD product as SAFE folder or zip",
            )
        if crs is None:
            raise SceneError(f"{path.name} has no CRS", hint="its header (.hdr, or GeoTIFF keys) was lost or edited")
        code = crs.to_epsg()
        return cls(
            crs=f"EPSG:{code}" if code else crs.to_wkt(),
            transform=cast(tuple[float, float, float, float, float, float], transform),
            shape=(shape[0], shape[1]),
            count=count,
            itemsize=itemsize,
            descriptions=descriptions,
        )

    @property
    def place(self) -> tuple[str, tuple[float, ...], tuple[int, int]]:
        """What must agree between the bands of a product."""
        return self.crs, self.transform, self.shape


def stem_of(path: Path) -> str:
    """Name of a file without its polarisation and its extensions: what the files of one product share."""
    return POLARISATION.sub("*", path.name.removesuffix(path.suffix)).lower()


def is_series_file(path: Path) -> bool:
    """Whether a file looks like one polarisation of a Sentinel-1 product."""
    if path.suffix.lower() not in (".tif", ".tiff") or not POLARISATION.search(path.name):
        return False
    return bool(from_name(*_names(path)).platform)


def read_series(path: Path) -> Scene:
    """Read the product that a GeoTIFF file belongs to: all polarisations that lie beside it.

    Raises
    ------
    SceneError
        If a file cannot be read or is not geocoded, or nothing tells when the product was taken or what it is.
    """
    files = sorted(other for other in _siblings(path) if stem_of(other) == stem_of(path))
    grid, assets, numbers = _bands(files)
    told = _from_item(path, files).over(_from_tags(files[0])).over(from_name(*_names(path)))
    is_coherence = any(name.startswith("COH") for name in assets)
    level = "CARD-COH6" if is_coherence else "NRB" if "nrb" in f"{path.parent}{path.name}".lower() else "RTC"
    angle = _angle_file(path)
    if angle is not None and not is_coherence and RasterGrid.of(angle).place == grid.place:
        assets["INC"] = _relative(path, angle)
    radiometry = "coherence" if is_coherence else told.radiometry
    return product_scene(path, level, told, grid, assets, radiometry, numbers=numbers)


def product_scene(
    path: Path,
    level: str,
    told: Told,
    grid: RasterGrid,
    assets: Mapping[str, str],
    radiometry: str,
    *,
    numbers: Mapping[str, int] | None = None,
    missing: tuple[str, ...] = (),
) -> Scene:
    """Scene of a geocoded product; `assets` are files by band, relative to the folder of `path`.

    Raises
    ------
    SceneError
        If nothing tells when it was taken, by which satellite, or what its values are.
    """
    if not told.start or not told.platform:
        what = "when it was taken" if told.platform else "which satellite took it"
        raise SceneError(f"neither its name nor its metadata tell {what}", hint="put its STAC item (.json) beside it")
    if radiometry not in ("gamma0", "sigma0", "coherence"):
        raise SceneError(
            "neither its name nor its metadata tell whether it is gamma0 or sigma0",
            hint="put gamma0 or sigma0 into the name of its files or their folder",
        )
    start = moment(told.start)
    shape = (
        shapely.geometry.shape(told.footprint)
        if told.footprint
        else footprint.outline(grid.crs, grid.transform, grid.shape)
    )
    longitude = float(shape.representative_point().x)
    state = cast(OrbitState, told.state or orbit_state_at(start, longitude))
    name = told.identifier or POLARISATION.sub("", path.stem).strip("_-.") or path.stem
    polarisations = tuple(band.removeprefix("COH_") for band in assets if band != "INC")
    radar = Radar(
        mode=told.mode or "IW",
        polarisations=polarisations,
        radiometry=cast(Radiometry, radiometry),
        orbit_state=state,
        absolute_orbit=told.absolute_orbit,
        start=start,
        stop=moment(told.stop) if told.stop else start,
        incidence=told.incidence,
    )
    folder = path.absolute().parent
    rasters = {
        band: Asset(f"{folder}/{file}", grid.crs, grid.transform, grid.shape, (numbers or {}).get(band, 1))
        for band, file in assets.items()
    }
    return Scene(
        id=name,
        sensor="sentinel-1",
        href=str(path.absolute()),
        level=level,
        platform=told.platform,
        sensed=start,
        datatake=pass_id(told.platform, state, told.datatake, told.absolute_orbit, start),
        part=frame_id(radar),
        baseline=told.version or "0.00",
        relative_orbit=told.relative_orbit or relative_orbit(told.platform, told.absolute_orbit),
        assets={f"{band}@{res}m": raster for band, raster in rasters.items() for res in (10, 20)},
        footprint=shape,
        missing=missing,
        details=radar,
    )


def _names(path: Path) -> list[str]:
    """Names that may tell what a file is: its own, and those of the folders around it."""
    return [path.name, path.parent.name, path.parent.parent.name]


def _siblings(path: Path) -> Iterable[Path]:
    return (other for other in path.parent.iterdir() if other.suffix.lower() in (".tif", ".tiff"))


def _relative(path: Path, other: Path) -> str:
    return other.name if other.parent == path.parent else f"../{other.parent.name}/{other.name}"


def _bands(files: list[Path]) -> tuple[RasterGrid, dict[str, str], dict[str, int]]:
    """Grid, file and number in it of each band."""
    first = RasterGrid.of(files[0])
    assets: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for file in files:
        grid = RasterGrid.of(file)
        if grid.place != first.place:
            raise SceneError(f"{file.name} lies on another grid than {files[0].name}")
        for number, band in _bands_in(file, grid):
            assets[band] = file.name
            if number > 1:
                numbers[band] = number
    if not assets:
        raise SceneError(f"{files[0].name}: nothing tells which polarisation it is")
    return first, assets, numbers


def _bands_in(file: Path, grid: RasterGrid) -> list[tuple[int, str]]:
    prefix = "COH_" if "coh" in f"{file.parent.name}/{file.name}".lower() else ""
    named = POLARISATION.search(file.name)
    if grid.count == 1 and named:
        return [(1, f"{prefix}{named[1].upper()}")]
    described = [POLARISATION.search(text) for text in grid.descriptions]
    if any(described):
        return [(number, f"{prefix}{found[1].upper()}") for number, found in enumerate(described, 1) if found]
    code = from_name(*_names(file)).polarisations or (polarisations_of("DV") if prefix else ())
    return [(number, f"{prefix}{pol}") for number, pol in enumerate(code[: grid.count], 1)]


def _angle_file(path: Path) -> Path | None:
    """Incidence angles of the product: beside its bands, or in the folder `annotation` of S1-NRB."""
    folders = [path.parent, path.parent.parent / "annotation"] if path.parent.name == "measurement" else [path.parent]
    marks = {match.start() for match in [POLARISATION.search(path.name)] if match}
    lead = path.name[: min(marks)].lower() if marks else path.stem.lower()
    for folder in folders:
        for other in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not other.suffix.lower().startswith(".tif"):
                continue
            if other.name.lower().startswith(lead) and _ANGLE.search(other.name[len(lead) - 1 :]):
                return other
    return None


def _from_tags(file: Path) -> Told:
    """GeoTIFF tags as S1Tiling writes them."""
    with open_raster(str(file)) as source:
        tags = {name.upper(): str(value) for name, value in source.tags().items()}
    calibration = tags.get("CALIBRATION", "").lower()
    state = {"A": "ascending", "D": "descending"}.get(tags.get("ORBIT_DIRECTION", "")[:1].upper(), "")
    return Told(
        radiometry={"sigma": "sigma0", "sigma0": "sigma0", "gamma": "gamma0", "gamma0": "gamma0"}.get(
            calibration, ""
        ),
        state=state,
        relative_orbit=_whole(tags.get("RELATIVE_ORBIT_NUMBER", "")),
        absolute_orbit=_whole(tags.get("ORBIT_NUMBER", "")),
    )


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _from_item(path: Path, files: list[Path]) -> Told:
    """What a STAC item beside the files tells."""
    for candidate in _items(path, files):
        try:
            item = json.loads(candidate.read_text()) if candidate.stat().st_size <= _MOST_JSON else {}
            if isinstance(item, dict) and item.get("type") == "Feature":
                return told_by_item(item)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SceneError(f"{candidate.name} is no STAC item that can be read") from error
    return Told()


def _items(path: Path, files: list[Path]) -> list[Path]:
    """Where an item may lie: named as the files or their folder, or the only one there is."""
    stem = stem_of(path).partition("*")[0].rstrip("_-.")
    found = [path.parent / f"{file.stem}.json" for file in files]
    for folder in (path.parent, path.parent.parent):
        found += [folder / f"{folder.name.removesuffix('.SAFE')}.json"]
        alone = [other for other in folder.iterdir() if other.suffix == ".json"]
        found += alone if len(alone) == 1 else [other for other in alone if stem and other.stem.lower() == stem]
    return [candidate for candidate in dict.fromkeys(found) if candidate.is_file()]


def told_by_item(item: Mapping[str, Any]) -> Told:
    """What a STAC item tells of a product.

    Raises
    ------
    SceneError
        If its values are in decibels.
    """
    properties = item["properties"]
    units = [band.get("unit") for asset in item["assets"].values() for band in asset.get("raster:bands", ())]
    if any(str(unit).lower() == "db" for unit in units):
        raise SceneError("its values are in dB", hint="hpckit takes linear power; convert it: 10 ** (dB / 10)")
    platform = re.fullmatch(r"sentinel-?1([a-z])", str(properties.get("platform", "")).lower())
    angle = properties.get("view:incidence_angle")
    datatake = str(properties.get("s1:datatake_id", ""))
    return Told(
        identifier=str(item.get("id", "")),
        platform=f"S1{platform[1].upper()}" if platform else "",
        mode=str(properties.get("sar:instrument_mode", "")),
        start=str(properties.get("start_datetime") or properties.get("datetime") or ""),
        stop=str(properties.get("end_datetime") or ""),
        absolute_orbit=int(properties.get("sat:absolute_orbit") or 0),
        relative_orbit=int(properties.get("sat:relative_orbit") or 0),
        datatake=f"{int(datatake):06X}" if datatake.isdigit() else datatake,
        state=str(properties.get("sat:orbit_state") or "").lower(),
        radiometry=from_name(
            *item["assets"], *(role for a in item["assets"].values() for role in a.get("roles", ()))
        ).radiometry,
        incidence=(float(angle), float(angle)) if angle else None,
        footprint=item.get("geometry"),
    )

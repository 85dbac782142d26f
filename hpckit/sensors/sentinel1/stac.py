"""Sentinel-1 scenes as STAC items, and back.

Items follow STAC 1.0 with the extensions sar, sat, projection (for geocoded products) and, for scenes that were
put on a tile, grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from hpckit.base.reading import typed
from hpckit.sensors.bands import split_key
from hpckit.sensors.items import feature, scene_of, stamp
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel1.model import Radar, radar_of

_SAR: Final = "https://stac-extensions.github.io/sar/v1.0.0/schema.json"
_SAT: Final = "https://stac-extensions.github.io/sat/v1.0.0/schema.json"
_PROJECTION: Final = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_GRID: Final = "https://stac-extensions.github.io/grid/v1.1.0/schema.json"
_FREQUENCY_GHZ: Final = 5.405
_RESOLUTION: Final = {"IW": (20.0, 22.0, 5, 1, 4.4)}
"""Range and azimuth resolution in metres, looks in range and azimuth, equivalent looks of GRD in high resolution
(Sentinel-1 Product Definition, S1-RS-MDA-52-7440)."""


def to_item(scene: Scene) -> dict[str, Any]:
    """STAC item of a Sentinel-1 scene, as a JSON object."""
    radar, raster = radar_of(scene), next(iter(scene.assets.values()), None)
    properties = {
        "datetime": stamp(radar.start),
        "start_datetime": stamp(radar.start),
        "end_datetime": stamp(radar.stop),
        "platform": f"sentinel-{scene.platform[1:].lower()}",
        "instruments": ["c-sar"],
        **_sar(scene, radar),
        "sat:orbit_state": radar.orbit_state,
        "sat:absolute_orbit": radar.absolute_orbit or None,
        "sat:relative_orbit": scene.relative_orbit or None,
        **_projection(raster),
        "grid:code": f"MGRS-{scene.tile}" if scene.tile else None,
    }
    is_geocoded = raster is not None and bool(raster.crs)
    extensions = [_SAR, _SAT, *([_PROJECTION] if is_geocoded else []), *([_GRID] if scene.tile else [])]
    name = f"{scene.id}_T{scene.tile}" if scene.tile else scene.id
    return feature(scene, properties, _assets(scene, radar), extensions, name=name, details=_told(radar))


def from_item(item: Mapping[str, Any]) -> Scene:
    """Scene of an item that `to_item` made.

    Raises
    ------
    KeyError
        If the item is of another origin.
    """
    return scene_of(item, lambda told: typed(Radar, told))


def _told(radar: Radar) -> dict[str, Any]:
    """All of it, as JSON values."""
    return asdict(radar) | {"start": radar.start.isoformat(), "stop": radar.stop.isoformat()}


def _sar(scene: Scene, radar: Radar) -> dict[str, Any]:
    polarisations = [pol for pol in radar.polarisations if pol in ("VV", "VH", "HH", "HV")]
    described: dict[str, Any] = {
        "sar:instrument_mode": radar.mode,
        "sar:frequency_band": "C",
        "sar:center_frequency": _FREQUENCY_GHZ,
        "sar:polarizations": polarisations,
        "sar:product_type": scene.level,
        "sar:observation_direction": "right",
    }
    if scene.level != "CARD-COH6" and radar.mode in _RESOLUTION:
        in_range, in_azimuth, looks_range, looks_azimuth, looks = _RESOLUTION[radar.mode]
        described |= {
            "sar:resolution_range": in_range,
            "sar:resolution_azimuth": in_azimuth,
            "sar:looks_range": looks_range,
            "sar:looks_azimuth": looks_azimuth,
            "sar:looks_equivalent_number": looks,
        }
    return described


def _projection(raster: Asset | None) -> dict[str, Any]:
    """Of geocoded products; the projection extension wants a code, or else WKT."""
    if raster is None or not raster.crs:
        return {}
    crs = {"proj:code": raster.crs} if raster.crs.startswith("EPSG:") else {"proj:wkt2": raster.crs}
    return {**crs, "proj:shape": list(raster.shape), "proj:transform": list(raster.transform)}


def _assets(scene: Scene, radar: Radar) -> dict[str, Any]:
    kind = "image/tiff; application=geotiff"
    assets = {}
    for key, raster in sorted(scene.assets.items()):
        band, _ = split_key(key)
        if band.lower() in assets:
            continue
        path = raster.uri
        roles = ["data", radar.radiometry] if band != "INC" else ["data", "incidence-angle"]
        asset: dict[str, Any] = {"href": path, "roles": roles, "title": f"{radar.radiometry} {band}"}
        if path.lower().endswith((".tif", ".tiff")):
            asset["type"] = kind
        assets[band.lower()] = asset
    return assets

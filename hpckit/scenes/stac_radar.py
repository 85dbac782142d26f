"""Sentinel-1 scenes as STAC items, and back.

Items follow STAC 1.0 with the extensions sar, sat, projection (for geocoded products) and, for scenes that were
put on a tile, grid. What only hpckit needs is in properties as JSON text: a catalogue's columns have one type.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

import shapely

from hpckit.scenes.footprint import bbox
from hpckit.scenes.model import Scene
from hpckit.scenes.radar import Radar

PASS: Final = "hpckit:pass"
"""Property that holds the pass: `Scene.datatake`."""

_SAR: Final = "https://stac-extensions.github.io/sar/v1.0.0/schema.json"
_SAT: Final = "https://stac-extensions.github.io/sat/v1.0.0/schema.json"
_PROJECTION: Final = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_GRID: Final = "https://stac-extensions.github.io/grid/v1.1.0/schema.json"
_FREQUENCY_GHZ: Final = 5.405
_RESOLUTION: Final = {"IW": (20.0, 22.0, 5, 1, 4.4)}
"""Range and azimuth resolution in metres, looks in range and azimuth, equivalent looks of GRD in high resolution
(Sentinel-1 Product Definition, S1-RS-MDA-52-7440)."""


_NOWHERE: Final[dict[str, Any]] = {"epsg": 0, "ulx": 0.0, "uly": 0.0, "shapes": []}


def to_item(scene: Scene) -> dict[str, Any]:
    """STAC item of a Sentinel-1 scene, as a JSON object."""
    radar = _radar(scene)
    properties = {
        "datetime": _text(radar.start),
        "start_datetime": _text(radar.start),
        "end_datetime": _text(radar.stop),
        "platform": f"sentinel-{scene.platform[1:].lower()}",
        "constellation": "sentinel-1",
        "instruments": ["c-sar"],
        **_sar(scene, radar),
        "sat:orbit_state": radar.orbit_state,
        "sat:absolute_orbit": radar.absolute_orbit or None,
        "sat:relative_orbit": scene.relative_orbit or None,
        **_projection(radar),
        "grid:code": f"MGRS-{scene.tile}" if scene.tile else None,
        PASS: scene.datatake,
        "hpckit:product": scene.id,
        "hpckit:level": scene.level,
        "hpckit:baseline": scene.baseline,
        "hpckit:frame": scene.datastrip,
        "hpckit:root": scene.root,
        "hpckit:missing": json.dumps(scene.missing),
        "hpckit:placed": json.dumps(_placed(scene)) if scene.tile else None,
        "hpckit:radar": json.dumps(radar.to_json()),
        "hpckit:files": json.dumps(dict(sorted(scene.assets.items()))),
    }
    extensions = [_SAR, _SAT, *([_PROJECTION] if radar.geocoded else []), *([_GRID] if scene.tile else [])]
    geometry = dict(scene.footprint)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": extensions,
        "id": f"{scene.id}_T{scene.tile}" if scene.tile else scene.id,
        "geometry": geometry or None,
        **({"bbox": bbox(geometry)} if geometry else {}),
        "properties": {name: value for name, value in properties.items() if value is not None},
        "links": [],
        "assets": {"product": {"href": scene.href, "roles": ["archive"]}, **_assets(scene, radar)},
    }


def is_radar_item(item: dict[str, Any]) -> bool:
    """Whether `to_item` made an item."""
    return "hpckit:radar" in item["properties"] and item["properties"]["hpckit:radar"] is not None


def from_item(item: dict[str, Any]) -> Scene:
    """Scene of an item that `to_item` made.

    Raises
    ------
    KeyError
        If the item is of another origin.
    """
    properties = item["properties"]
    radar = Radar.from_json(json.loads(properties["hpckit:radar"]))
    code = properties.get("grid:code")
    placed: dict[str, Any] = json.loads(properties["hpckit:placed"]) if code else _NOWHERE
    geometry = item.get("geometry")
    return Scene(
        id=properties["hpckit:product"],
        href=item["assets"]["product"]["href"],
        root=properties["hpckit:root"],
        level=properties["hpckit:level"],
        platform=f"S{properties['platform'].removeprefix('sentinel-').upper()}",
        sensed=radar.start,
        datatake=properties[PASS],
        datastrip=properties["hpckit:frame"],
        granule="",
        tile=code.removeprefix("MGRS-") if code else "",
        epsg=placed["epsg"],
        baseline=properties["hpckit:baseline"],
        relative_orbit=int(properties.get("sat:relative_orbit") or 0),
        cloud_cover=None,
        nodata=None,
        quantification=1.0,
        offsets={},
        ulx=placed["ulx"],
        uly=placed["uly"],
        shapes={res: (rows, columns) for res, rows, columns in placed["shapes"]},
        assets=json.loads(properties["hpckit:files"]),
        footprint=dict(shapely.geometry.mapping(shapely.geometry.shape(geometry))) if geometry else {},
        missing=tuple(json.loads(properties["hpckit:missing"])),
        radar=radar,
    )


def _radar(scene: Scene) -> Radar:
    if scene.radar is None:
        raise TypeError(f"{scene.id} is no Sentinel-1 scene")
    return scene.radar


def _placed(scene: Scene) -> dict[str, Any]:
    shapes = [(res, *shape) for res, shape in scene.shapes.items()]
    return {"epsg": scene.epsg, "ulx": scene.ulx, "uly": scene.uly, "shapes": shapes}


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


def _projection(radar: Radar) -> dict[str, Any]:
    """Of geocoded products; the projection extension wants a code, or else WKT."""
    if not radar.geocoded:
        return {}
    crs = {"proj:code": radar.crs} if radar.crs.startswith("EPSG:") else {"proj:wkt2": radar.crs}
    return {**crs, "proj:shape": list(radar.shape), "proj:transform": list(radar.transform)}


def _assets(scene: Scene, radar: Radar) -> dict[str, Any]:
    kind = "image/tiff; application=geotiff"
    assets = {}
    for key in sorted(scene.assets):
        band = key.partition("@")[0]
        if band.lower() in assets:
            continue
        path = scene.gdal_path(key)
        roles = ["data", radar.radiometry] if band != "INC" else ["data", "incidence-angle"]
        asset: dict[str, Any] = {"href": path, "roles": roles, "title": f"{radar.radiometry} {band}"}
        if path.lower().endswith((".tif", ".tiff")):
            asset["type"] = kind
        assets[band.lower()] = asset
    return assets


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

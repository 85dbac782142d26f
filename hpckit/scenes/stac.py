"""Scenes as STAC items, and back: those of Sentinel-2 here, those of Sentinel-1 in `stac_radar`.

Items follow STAC 1.0 with the extensions eo, projection, raster, sat, grid and the properties `s2:*`.
Properties whose value is unknown are left out, since extensions allow no nulls.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any, Final

import shapely

from hpckit.scenes import stac_radar
from hpckit.scenes.bands import BANDS, Band, BandRef
from hpckit.scenes.footprint import bbox
from hpckit.scenes.model import Scene

_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
]
COMMON_NAMES: Final = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge",
    "B06": "rededge",
    "B07": "rededge",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B10": "cirrus",
    "B11": "swir16",
    "B12": "swir22",
}
"""Of the extension eo."""


def to_item(scene: Scene) -> dict[str, Any]:
    """STAC item of a scene, as a JSON object."""
    if scene.radar is not None:
        return stac_radar.to_item(scene)
    geometry = dict(scene.footprint)
    properties = {
        "datetime": scene.sensed.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "platform": f"sentinel-{scene.platform[1:].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": scene.cloud_cover,
        "proj:code": f"EPSG:{scene.epsg}",
        "sat:relative_orbit": scene.relative_orbit,
        "grid:code": f"MGRS-{scene.tile}",
        "s2:processing_baseline": scene.baseline,
        "s2:datatake_id": scene.datatake,
        "s2:datastrip_id": scene.datastrip,
        "s2:granule_id": scene.granule,
        "s2:product_level": scene.level,
        "s2:nodata_pixel_percentage": scene.nodata,
        "s2:quantification": scene.quantification,
        "hpckit:root": scene.root,
        "hpckit:missing": json.dumps(scene.missing),
        # As text: a catalogue's columns have one type, whatever the resolutions.
        "hpckit:shapes": json.dumps([(resolution, *shape) for resolution, shape in scene.shapes.items()]),
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _EXTENSIONS,
        "id": scene.id,
        "geometry": geometry or None,
        **({"bbox": bbox(geometry)} if geometry else {}),
        "properties": {name: value for name, value in properties.items() if value is not None},
        "links": [],
        "assets": {
            "product": {"href": scene.href, "roles": ["archive"]},
            **{key.replace("@", "_"): _asset(scene, key) for key in sorted(scene.assets)},
        },
    }


def from_item(item: dict[str, Any]) -> Scene:
    """Scene of an item that `to_item` made.

    Raises
    ------
    KeyError
        If the item is of another origin.
    """
    if stac_radar.is_radar_item(item):
        return stac_radar.from_item(item)
    properties, assets = item["properties"], item["assets"]
    bands = {"@".join(name.rsplit("_", 1)): asset for name, asset in assets.items() if name != "product" and asset}
    if not bands:
        raise KeyError("assets")
    transform = next(iter(bands.values()))["proj:transform"]
    return Scene(
        id=item["id"],
        href=assets["product"]["href"],
        root=properties["hpckit:root"],
        level=properties["s2:product_level"],
        platform=f"S{properties['platform'].removeprefix('sentinel-').upper()}",
        sensed=_moment(properties["datetime"]),
        datatake=properties["s2:datatake_id"],
        datastrip=properties["s2:datastrip_id"],
        granule=properties["s2:granule_id"],
        tile=properties["grid:code"].removeprefix("MGRS-"),
        epsg=int(properties["proj:code"].removeprefix("EPSG:")),
        baseline=properties["s2:processing_baseline"],
        relative_orbit=int(properties["sat:relative_orbit"]),
        cloud_cover=_number(properties.get("eo:cloud_cover")),
        nodata=_number(properties.get("s2:nodata_pixel_percentage")),
        quantification=float(properties["s2:quantification"]),
        offsets=_offsets(bands),
        ulx=float(transform[2]),
        uly=float(transform[5]),
        shapes={res: (rows, columns) for res, rows, columns in json.loads(properties["hpckit:shapes"])},
        assets={key: asset["hpckit:path"] for key, asset in bands.items()},
        footprint=_geometry(item.get("geometry")),
        missing=tuple(json.loads(properties["hpckit:missing"])),
    )


def _asset(scene: Scene, key: str) -> dict[str, Any]:
    name, _, resolution = key.partition("@")
    ref = BandRef(name, int(resolution.removesuffix("m")))
    asset: dict[str, Any] = {
        "href": scene.gdal_path(key),
        "type": "image/jp2",
        "roles": ["data"],
        "proj:shape": list(scene.shapes[ref.resolution_m]),
        "proj:transform": [float(value) for value in list(scene.transform(ref.resolution_m))[:6]],
        "hpckit:path": scene.assets[key],
    }
    if BANDS[name].kind == "reflectance":
        asset["eo:bands"] = [_eo_band(BANDS[name])]
        offset = scene.offsets.get(name, 0)
        asset["raster:bands"] = [
            {
                "nodata": 0.0,
                "data_type": "uint16",
                "spatial_resolution": float(ref.resolution_m),
                "scale": 1 / scene.quantification,
                "offset": offset / scene.quantification,
            }
        ]
        asset["hpckit:offset"] = offset
    return asset


def _eo_band(band: Band) -> dict[str, Any]:
    described: dict[str, Any] = {"name": band.name, "center_wavelength": (band.wavelength_nm or 0) / 1000}
    common = COMMON_NAMES.get(band.name)
    return {**described, "common_name": common} if common else described


def _offsets(bands: dict[str, Any]) -> dict[str, int]:
    offsets = {
        key.partition("@")[0]: int(asset["hpckit:offset"])
        for key, asset in bands.items()
        if _number(asset.get("hpckit:offset"))
    }
    return {name: offsets[name] for name in BANDS if name in offsets}


def _number(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _moment(value: str | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value.replace("Z", "+00:00"))


def _geometry(value: Any) -> dict[str, Any]:
    return dict(shapely.geometry.mapping(shapely.geometry.shape(value))) if value else {}

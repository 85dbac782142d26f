"""Sentinel-2 scenes as STAC items, and back.

Items follow STAC 1.0 with the extensions eo, projection, raster, sat, grid and the properties `s2:*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hpckit.sensors.bands import Band, BandRef
from hpckit.sensors.items import feature, scene_of, stamp
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel2.bands import BANDS
from hpckit.sensors.sentinel2.details import Details, details_of

_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
]


def to_item(scene: Scene) -> dict[str, Any]:
    """STAC item of a scene, as a JSON object."""
    frame, details = scene.frame, details_of(scene)
    properties = {
        "datetime": stamp(scene.sensed),
        "platform": f"sentinel-{scene.platform[1:].lower()}",
        "instruments": ["msi"],
        "eo:cloud_cover": scene.cloud_cover,
        "proj:code": None if frame is None else f"EPSG:{frame.epsg}",
        "sat:relative_orbit": scene.relative_orbit,
        "grid:code": None if frame is None else f"MGRS-{frame.tile}",
        "s2:processing_baseline": scene.baseline,
        "s2:datatake_id": scene.datatake,
        "s2:datastrip_id": scene.part,
        "s2:granule_id": details.granule,
        "s2:product_level": scene.level,
        "s2:nodata_pixel_percentage": scene.nodata,
    }
    assets = {key.replace("@", "_"): _described(key, asset) for key, asset in sorted(scene.assets.items())}
    return feature(scene, properties, assets, _EXTENSIONS, details=list(details))


def from_item(item: Mapping[str, Any]) -> Scene:
    """Scene of an item that `to_item` made.

    Raises
    ------
    KeyError
        If the item is of another origin.
    """
    return scene_of(item, lambda told: Details(*told))


def _described(key: str, asset: Asset) -> dict[str, Any]:
    ref = BandRef.from_key(key, BANDS)
    described: dict[str, Any] = {
        "href": asset.uri,
        "type": _media_type(asset),
        "roles": ["data"],
        "proj:shape": list(asset.shape),
        "proj:transform": list(asset.transform),
    }
    if ref.band.kind == "reflectance":
        described["eo:bands"] = [_eo_band(ref.band)]
        described["raster:bands"] = [
            {
                "nodata": 0.0,
                "data_type": "uint16",
                "spatial_resolution": float(ref.resolution_m),
                "scale": asset.scale,
                "offset": asset.offset,
            }
        ]
    return described


def _media_type(asset: Asset) -> str:
    if asset.array:
        return "application/vnd+zarr"
    return "image/jp2" if asset.name.lower().endswith(".jp2") else "image/tiff; application=geotiff"


def _eo_band(band: Band) -> dict[str, Any]:
    described: dict[str, Any] = {"name": band.name, "center_wavelength": (band.wavelength_nm or 0) / 1000}
    return {**described, "common_name": band.common_name} if band.common_name else described

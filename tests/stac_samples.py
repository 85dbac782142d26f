"""Products of Sentinel-2 as catalogues keep them: GeoTIFF files, and STAC items that describe them in their way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from hpckit.sensors.bands import split_key
from hpckit.space.footprint import bbox, geojson, square

DIALECTS = ("earth-search", "collection-1", "planetary-computer", "data-space", "stactools", "earth-search-v0")
COMMON = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B11": "swir16", "SCL": "scl"}
ULX, ULY, EPSG, TILE = 600_000.0, 5_700_000.0, 32631, "31UFU"
SENSED = datetime(2024, 5, 1, 10, 50, 31, tzinfo=UTC)


def write_raster(path: Path, array: np.ndarray, pixel_m: int, **profile: Any) -> Path:
    """Write a tiled GeoTIFF file, or another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {"crs": f"EPSG:{EPSG}", "transform": Affine(pixel_m, 0, ULX, 0, -pixel_m, ULY)}
    tiles = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    shape = {"height": array.shape[0], "width": array.shape[1], "count": 1, "dtype": array.dtype}
    with rasterio.open(path, "w", **{**tiles, **shape, **place, **profile}) as target:
        target.write(array, 1)
    return path


def product_name(sensed: datetime = SENSED, baseline: str = "05.10", tile: str = TILE) -> str:
    digits = baseline.replace(".", "")
    return f"S2A_MSIL2A_{sensed:%Y%m%dT%H%M%S}_N{digits}_R051_T{tile}_{sensed:%Y%m%dT}120000"


def write_item(
    folder: Path,
    arrays: Mapping[str, np.ndarray],
    dialect: str,
    *,
    sensed: datetime = SENSED,
    baseline: str = "05.10",
    applied: bool = True,
    **changes: Any,
) -> Path:
    """Write files and their item into a folder of its own.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Digital numbers by `BandRef.key`, as ESA's product has them; Earth Search subtracts 1000 from reflectance.
    applied : bool
        Whether Earth Search did so.
    **changes
        Properties of the item that are different; None leaves one out.
    """
    name = product_name(sensed, baseline)
    place = folder / name
    item = described(name, arrays, dialect, sensed=sensed, baseline=baseline, applied=applied)
    for (key, asset), (ref, array) in zip(item["assets"].items(), arrays.items(), strict=True):
        band, size = split_key(ref)
        pixels = array
        if dialect.startswith("earth-search") and applied and float(baseline) >= 4 and band.startswith("B"):
            pixels = np.where(array == 0, 0, np.maximum(array, 1001) - 1000).astype(np.uint16)
        path = write_raster(place / f"{key}.tif", pixels, size)
        asset["href"] = f"./{path.name}"
        if "file:checksum" in asset:
            asset["file:checksum"] = f"1220{hashlib.sha256(path.read_bytes()).hexdigest()}"
            asset["file:size"] = path.stat().st_size
    properties = {**item["properties"], **changes}
    item["properties"] = {key: value for key, value in properties.items() if value is not None}
    path = place / f"{item['id']}.json"
    path.write_text(json.dumps(item))
    return path


def described(
    name: str, arrays: Mapping[str, np.ndarray], dialect: str, *, sensed: datetime, baseline: str, applied: bool
) -> dict[str, Any]:
    """Item of a product, as one catalogue writes it."""
    finest, shape = min((split_key(key)[1], array.shape) for key, array in arrays.items())
    outline = square(EPSG, ULX, ULY, (shape[0] * finest // 10, shape[1] * finest // 10))
    offset = -0.1 if float(baseline) >= 4 else 0
    datatake, strip = f"GS2A_{sensed:%Y%m%dT%H%M%S}_046000_N{baseline}", f"S2A_OPER_DS_S{sensed:%Y%m%dT%H%M%S}"
    common = {
        "datetime": f"{sensed:%Y-%m-%dT%H:%M:%S.024Z}",
        "platform": "sentinel-2a",
        "constellation": "sentinel-2",
        "eo:cloud_cover": 12.5,
    }
    s2 = {
        "s2:product_uri": f"{name}.SAFE",
        "s2:datatake_id": datatake,
        "s2:datastrip_id": strip,
        "s2:processing_baseline": baseline,
    }
    grid = {"grid:code": f"MGRS-{TILE}", "proj:epsg": EPSG}
    properties, identifier, collection = {
        "earth-search": (
            {**s2, **grid, "earthsearch:boa_offset_applied": applied},
            f"S2A_{TILE}_L2A",
            "sentinel-2-l2a",
        ),
        "collection-1": ({**s2, **grid}, f"S2A_T{TILE}_{sensed:%Y%m%dT%H%M%S}_L2A", "sentinel-2-c1-l2a"),
        "planetary-computer": (
            {**s2, "s2:mgrs_tile": TILE, "proj:epsg": EPSG, "platform": "Sentinel-2A"},
            name.replace(f"_N{baseline.replace('.', '')}", ""),
            "sentinel-2-l2a",
        ),
        "data-space": (
            {
                "grid:code": f"MGRS-{TILE}",
                "eopf:datatake_id": datatake,
                "eopf:datastrip_id": strip,
                "processing:version": baseline,
            },
            name,
            "sentinel-2-l2a",
        ),
        "stactools": ({**s2, "grid:code": f"MGRS-{TILE}", "proj:code": f"EPSG:{EPSG}"}, name, None),
        "earth-search-v0": (
            {
                "sentinel:product_id": name,
                "sentinel:utm_zone": int(TILE[:2]),
                "sentinel:latitude_band": TILE[2],
                "sentinel:grid_square": TILE[3:],
                "sentinel:boa_offset_applied": applied,
                "proj:epsg": EPSG,
            },
            f"S2A_{TILE}_0_L2A",
            "sentinel-s2-l2a-cogs",
        ),
    }[dialect]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": identifier,
        "collection": collection,
        "geometry": geojson(outline),
        "bbox": bbox(outline),
        "properties": {**common, **properties},
        "links": [],
        "assets": dict(_asset(dialect, key, offset) for key in arrays),
    }


def _asset(dialect: str, ref: str, offset: float) -> tuple[str, dict[str, Any]]:
    band, size = split_key(ref)
    asset: dict[str, Any] = {
        "href": "",
        "roles": ["data"],
        "proj:shape": [1, 1],
        "proj:transform": [7, 0, 0, 0, -7, 0],
    }
    if dialect in ("planetary-computer", "earth-search-v0"):
        return band, asset
    if dialect == "data-space":
        numbers = {"raster:scale": 0.0001, "raster:offset": offset} if band.startswith("B") else {}
        return f"{band}_{size}m", {**asset, **numbers, "nodata": 0, "proj:code": f"EPSG:{EPSG}"}
    numbers = {"scale": 0.0001, "offset": offset} if band.startswith("B") else {}
    asset["raster:bands"] = [{"nodata": 0, "data_type": "uint16", "spatial_resolution": size, **numbers}]
    if dialect == "collection-1":
        asset |= {"file:checksum": "", "file:size": 0}
    return COMMON[band], asset

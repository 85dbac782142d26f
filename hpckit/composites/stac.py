"""STAC items of tiles and periods, and the collection that lists them (STAC 1.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyproj
import shapely

from hpckit.composites.periods import Interval
from hpckit.composites.products import Layer
from hpckit.composites.settings import Composite
from hpckit.files import write_json
from hpckit.scenes.bands import BANDS
from hpckit.scenes.model import Scene
from hpckit.scenes.stac import COMMON_NAMES

_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
]
COG_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
_SEGMENT_M: Final = 20_000


def item(
    identifier: str,
    scene: Scene,
    composite: Composite,
    period: Interval,
    files: Mapping[str, Sequence[Layer]],
    made_from: str,
    dates: int,
) -> dict[str, Any]:
    """STAC item of one tile and period.

    Parameters
    ----------
    scene : Scene
        Any of the tile: it tells the grid.
    files : mapping
        Layers, in their order, of each file beside the item.
    made_from : str
        Digest of what the files were made from.
    dates : int
        Acquisitions in the period.
    """
    footprint = _footprint(scene)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": identifier,
        "collection": composite.name,
        "geometry": json.loads(shapely.to_geojson(footprint)),
        "bbox": list(footprint.bounds),
        "properties": {
            "title": f"{composite.name}, tile {scene.tile}, {period.label}",
            "datetime": None,
            "start_datetime": f"{period.start}T00:00:00Z",
            "end_datetime": f"{period.end}T23:59:59Z",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "proj:code": f"EPSG:{scene.epsg}",
            "grid:code": f"MGRS-{scene.tile}",
            "hpckit:period": period.label,
            "hpckit:acquisitions": dates,
            "hpckit:inputs": made_from,
        },
        "links": [
            {"rel": "collection", "href": "../../collection.json", "type": "application/json"},
            {"rel": "parent", "href": "../../collection.json", "type": "application/json"},
            {"rel": "root", "href": "../../collection.json", "type": "application/json"},
        ],
        "assets": {layers[0].file: {"href": f"./{name}", **_asset(scene, layers)} for name, layers in files.items()},
    }


def write_collection(folder: Path, composite: Composite, items: Sequence[tuple[Path, Mapping[str, Any]]]) -> Path:
    """Write the collection over items, in their folder; return its path."""
    boxes = [found["bbox"] for _, found in items]
    whole = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    starts = [found["properties"]["start_datetime"] for _, found in items]
    ends = [found["properties"]["end_datetime"] for _, found in items]
    collection = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/item-assets/v1.0.0/schema.json"],
        "id": composite.name,
        "title": f"Sentinel-2 composites: {composite.name}",
        "description": _description(composite),
        "license": "other",
        "providers": [{"name": "Copernicus", "roles": ["producer"], "url": "https://dataspace.copernicus.eu"}],
        "extent": {
            "spatial": {"bbox": [whole]},
            "temporal": {"interval": [[min(starts), max(ends)]]},
        },
        "summaries": {
            "constellation": ["sentinel-2"],
            "proj:code": sorted({found["properties"]["proj:code"] for _, found in items}),
            "grid:code": sorted({found["properties"]["grid:code"] for _, found in items}),
        },
        "item_assets": {
            key: {name: asset[name] for name in ("title", "type", "roles", "bands")}
            for _, found in items[:1]
            for key, asset in found["assets"].items()
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            {
                "rel": "license",
                "href": "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice",
                "type": "application/pdf",
            },
            *(
                {"rel": "item", "href": f"./{path.relative_to(folder).as_posix()}", "type": "application/geo+json"}
                for path, _ in items
            ),
        ],
    }
    path = folder / "collection.json"
    write_json(path, collection)
    return path


def _description(composite: Composite) -> str:
    kind = composite.period if isinstance(composite.period, str) else "rolling"
    return f"{', '.join(composite.methods)} of {', '.join(composite.bands)} per {kind}; made with hpckit"


def _footprint(scene: Scene) -> shapely.Geometry:
    resolution_m, (rows, columns) = min(scene.shapes.items())
    box = shapely.box(
        scene.ulx, scene.uly - rows * resolution_m, scene.ulx + columns * resolution_m, scene.uly
    ).segmentize(_SEGMENT_M)
    to_degrees = pyproj.Transformer.from_crs(scene.epsg, 4326, always_xy=True)
    corners = shapely.get_coordinates(box)
    longitude, latitude = to_degrees.transform(corners[:, 0], corners[:, 1])
    return shapely.orient_polygons(shapely.polygons(list(zip(longitude.round(7), latitude.round(7), strict=True))))


def _asset(scene: Scene, layers: Sequence[Layer]) -> dict[str, Any]:
    first = layers[0]
    return {
        "title": f"{first.method}, {first.content}, {first.resolution_m} m",
        "type": COG_TYPE,
        "roles": ["data"] if first.content in ("values", "deviations") else ["metadata"],
        "gsd": first.resolution_m,
        "proj:shape": list(scene.shapes[first.resolution_m]),
        "proj:transform": list(scene.transform(first.resolution_m))[:6],
        "bands": [_band(layer) for layer in layers],
    }


def _band(layer: Layer) -> dict[str, Any]:
    band: dict[str, Any] = {"name": layer.band, "data_type": layer.dtype}
    if layer.nodata is not None:
        band["nodata"] = "nan" if layer.nodata != layer.nodata else layer.nodata
    if layer.content == "date":
        band["unit"] = "days since 1970-01-01"
    if layer.content == "values":
        band |= {"raster:scale": layer.scale, "raster:offset": layer.offset}
    known = BANDS.get(layer.band)
    if known is not None and known.wavelength_nm is not None:
        band["eo:common_name"] = COMMON_NAMES.get(layer.band)
        band["eo:center_wavelength"] = known.wavelength_nm / 1000
    return {name: value for name, value in band.items() if value is not None}


def read_items(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Items below a folder, with their paths, in order of tile and period."""
    found = []
    for path in sorted(folder.glob("*/*/*.json")):
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # written anew by the next run
        if content.get("type") == "Feature":
            found.append((path, content))
    return found

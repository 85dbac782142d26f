"""STAC items of tiles and periods, and the collection that lists them (STAC 1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.reading import read_json
from hpckit.base.version import __version__
from hpckit.campaign.composite import Composite
from hpckit.errors import DamagedFileError
from hpckit.reduce.composites.lineage import derived_from, lineage
from hpckit.reduce.composites.periods import Interval
from hpckit.reduce.composites.products import Layer
from hpckit.sensors.model import Acquisition
from hpckit.sensors.sensor import Origin
from hpckit.space.footprint import around, bbox, geojson, of_box
from hpckit.space.frame import Frame

if TYPE_CHECKING:
    from hpckit.campaign.campaign import Campaign

_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
]
COG_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"


def item(
    identifier: str,
    frame: Frame,
    campaign: Campaign,
    composite: Composite,
    period: Interval,
    files: Mapping[str, Sequence[Layer]],
    made_from: str,
    acquisitions: Sequence[Acquisition],
) -> dict[str, Any]:
    """STAC item of one tile and period.

    Parameters
    ----------
    frame : Frame
        Of the tile.
    files : mapping
        Layers, in their order, of each file beside the item.
    made_from : str
        Digest of what the files were made from.
    acquisitions : sequence of Acquisition
        In the period.
    """
    footprint, sensor = of_box(frame.bounds, frame.epsg), campaign.sensor
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": identifier,
        "collection": composite.name,
        "geometry": geojson(footprint),
        "bbox": bbox(footprint),
        "properties": {
            "title": f"{composite.name}, tile {frame.tile}, {period.label}",
            "datetime": None,
            "start_datetime": f"{period.start}T00:00:00Z",
            "end_datetime": f"{period.end}T23:59:59Z",
            "constellation": sensor.name,
            **({"instruments": [sensor.origin.instrument]} if sensor.origin.instrument else {}),
            "proj:code": f"EPSG:{frame.epsg}",
            **campaign.grid.attributes(frame.tile, pixels=True),
            "hpckit:period": period.label,
            "processing:level": "L3",
            "processing:lineage": lineage(composite, period, acquisitions),
            "processing:software": {"hpckit": __version__},
            "hpckit:acquisitions": len(acquisitions),
            "hpckit:inputs": made_from,
        },
        "links": [
            {"rel": "collection", "href": "../../collection.json", "type": "application/json"},
            {"rel": "parent", "href": "../../collection.json", "type": "application/json"},
            {"rel": "root", "href": "../../collection.json", "type": "application/json"},
            *derived_from(acquisitions),
        ],
        "assets": {layers[0].file: {"href": f"./{name}", **_asset(frame, layers)} for name, layers in files.items()},
    }


def collection(
    folder: Path, composite: Composite, items: Sequence[tuple[Path, Mapping[str, Any]]], origin: Origin
) -> dict[str, Any]:
    """The collection over items, which lies in their folder."""
    starts = [found["properties"]["start_datetime"] for _, found in items]
    ends = [found["properties"]["end_datetime"] for _, found in items]
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/item-assets/v1.0.0/schema.json"],
        "id": composite.name,
        "title": f"Composites: {composite.name}",
        "description": _description(composite),
        "license": "other",
        **({"providers": _providers(origin)} if origin.provider else {}),
        "extent": {
            "spatial": {"bbox": [around([found["bbox"] for _, found in items])]},
            "temporal": {"interval": [[min(starts), max(ends)]]},
        },
        "summaries": {
            "constellation": sorted({found["properties"]["constellation"] for _, found in items}),
            "proj:code": sorted({found["properties"]["proj:code"] for _, found in items}),
            **_grids(items),
        },
        "item_assets": {
            key: {name: asset[name] for name in ("title", "type", "roles", "bands")}
            for _, found in items[:1]
            for key, asset in found["assets"].items()
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *(
                [{"rel": "license", "href": origin.licence_url, "type": "application/pdf"}]
                if origin.licence_url
                else []
            ),
            *(
                {"rel": "item", "href": f"./{path.relative_to(folder).as_posix()}", "type": "application/geo+json"}
                for path, _ in items
            ),
        ],
    }


def _providers(origin: Origin) -> list[dict[str, Any]]:
    return [{"name": origin.provider, "roles": ["producer"], "url": origin.provider_url}]


def _description(composite: Composite) -> str:
    kind = composite.period if isinstance(composite.period, str) else "rolling"
    return f"{', '.join(composite.methods)} of {', '.join(composite.bands)} per {kind}; made with hpckit"


def _grids(items: Sequence[tuple[Path, Mapping[str, Any]]]) -> dict[str, Any]:
    """Names of the tiles' grid, by whichever of the two fields there is."""
    for name in ("grid:code", "hpckit:grid"):
        found = sorted({item["properties"][name] for _, item in items if name in item["properties"]})
        if found:
            return {name: found}
    return {}


def _asset(frame: Frame, layers: Sequence[Layer]) -> dict[str, Any]:
    first = layers[0]
    return {
        "title": f"{first.method}, {first.content}, {first.resolution_m} m",
        "type": COG_TYPE,
        "roles": ["data"] if first.content in ("values", "deviations") else ["metadata"],
        "gsd": first.resolution_m,
        "proj:shape": list(frame.shapes[first.resolution_m]),
        "proj:transform": list(frame.transform(first.resolution_m))[:6],
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
    if layer.of is not None and layer.of.wavelength_nm is not None:
        band["eo:common_name"] = layer.of.common_name or None
        band["eo:center_wavelength"] = layer.of.wavelength_nm / 1000
    return {name: value for name, value in band.items() if value is not None}


def read_items(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Items below a folder, with their paths, in order of tile and period."""
    found = []
    for path in sorted(folder.glob("*/*/*.json")):
        try:
            content = read_json(path)
        except (FileNotFoundError, DamagedFileError):
            continue  # the next run writes it again
        if content.get("type") == "Feature" and _is_ours(content):
            found.append((path, content))
    return found


def _is_ours(item: Mapping[str, Any]) -> bool:
    """Whether an item has what collections and mosaics are made of."""
    properties, assets = item.get("properties"), item.get("assets")
    if not isinstance(properties, dict) or not isinstance(assets, dict):
        return False
    named = all(isinstance(properties.get(name), str) for name in ("hpckit:period", "hpckit:inputs"))
    return named and all(isinstance(asset, dict) and isinstance(asset.get("href"), str) for asset in assets.values())

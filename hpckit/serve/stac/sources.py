"""What our own STAC API shows of a data set: products, cube, composites and series, a collection each.

Items are made with addresses that do not say where files lie: `hpckit:file/ROOT/PATH` is answered as a signed link,
and `hpckit:item/COLLECTION/ID` as the address of another item.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import shapely

from hpckit.base.files import digest_json
from hpckit.campaign.campaign import SignatureReduction
from hpckit.campaign.composite import Composite
from hpckit.catalogue.items import items_of
from hpckit.catalogue.moments import microseconds, moment
from hpckit.cubes.read import Geometry, bands, geometry, tiles
from hpckit.errors import HpckitError
from hpckit.reduce.composites import stac
from hpckit.reduce.composites.units import files_path
from hpckit.runs.run import Run, read_run_json
from hpckit.sensors.bands import BandRef
from hpckit.sensors.items import SCENE
from hpckit.serve.dataset import Dataset, Edition
from hpckit.serve.files import product_folders
from hpckit.space.footprint import bbox, geojson, of_box

FILE: Final = "hpckit:file/"
ITEM: Final = "hpckit:item/"
API: Final = "hpckit:api/"
"""Of the viewer's description of the data set."""
VERSION: Final = 1
"""Grows when the same files give other items."""
_BATCH: Final = 500
_PROCESSING: Final = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
_TABLE: Final = "https://stac-extensions.github.io/table/v1.2.0/schema.json"
_CUBE: Final = "https://stac-extensions.github.io/datacube/v2.3.0/schema.json"
_PROJECTION: Final = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_ZARR: Final = "application/vnd.zarr; version=3"
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+")
_MOST_FOLDERS: Final = 10_000
_HIDDEN: Final = (SCENE, "hpckit:stamp")
"""Properties with places of files, which are nobody's business."""


@dataclass(frozen=True, slots=True)
class Source:
    """A collection of items, and where they are from."""

    dataset: str
    collection: str
    title: str
    description: str
    digest: str
    """Of the state of what items are made from."""
    items: Callable[[], Iterator[dict[str, Any]]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the collection."""


def sources(dataset: Dataset) -> list[Source]:
    """Collections of a data set, as far as it has them."""
    edition = dataset.edition
    found = [_products(dataset, edition), _cube(dataset, edition), _series(dataset, edition)]
    found += [_composite(dataset, edition, composite) for composite in edition.campaign.composites]
    return [one for one in found if one is not None]


def catalogue(name: str, title: str, path: Path, roots: Mapping[str, Path]) -> Source:
    """Items of a stac-geoparquet file as one collection.

    Parameters
    ----------
    roots : mapping
        Folders whose files may be served, by name; local files elsewhere are left out.
    """
    description = "Products in a catalogue of this site."
    return Source(name, name, title, description, _state(path), lambda: _catalogued(path, name, roots))


def _products(dataset: Dataset, edition: Edition) -> Source | None:
    run = edition.run
    if run is None or not run.frozen or not run.selected.is_file():
        return None
    roots, name = product_folders(dataset), f"{dataset.name}-products"
    return Source(
        dataset.name,
        name,
        f"{dataset.title}: products",
        f"{edition.campaign.sensor.origin.mission} products that the results are made from.",
        digest_json([run.frozen, _state(run.selected)]),
        lambda: _catalogued(run.selected, name, roots),
        _licence(edition),
    )


def _catalogued(path: Path, collection: str, roots: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    places = _Places(roots)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH):
            for item in items_of(pa.Table.from_batches([batch])):
                yield _shown({**item, "collection": collection}, places)


def _shown(item: dict[str, Any], places: _Places) -> dict[str, Any]:
    """An item of a catalogue without what it lacks, and without places of files."""
    properties = _filled(item["properties"])
    known = properties.get(SCENE)
    if known is not None:
        told = _scene(known)
        properties.setdefault("processing:level", told.get("level"))
        properties.setdefault("processing:version", told.get("baseline"))
        item["stac_extensions"] = [*(item.get("stac_extensions") or []), _PROCESSING]
    properties = {name: value for name, value in properties.items() if name not in _HIDDEN and value is not None}
    properties.setdefault("datetime", None)
    assets = {key: _filled(asset) for key, asset in (item.get("assets") or {}).items() if asset}
    links = [_filled(link) for link in item.get("links") or [] if link and link.get("rel") in ("derived_from", "via")]
    return {
        **{name: value for name, value in item.items() if value is not None},
        "type": "Feature",
        "stac_version": "1.1.0",
        "geometry": item.get("geometry"),
        "properties": properties,
        "assets": {key: asset for key, asset in ((k, places.placed(a)) for k, a in assets.items()) if asset},
        "links": [link for link in links if str(link.get("href", "")).startswith(("https://", "http://"))],
    }


def _scene(text: str) -> dict[str, Any]:
    import orjson

    try:
        found = orjson.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _filled(value: Any) -> Any:
    """A value without the empty fields that a table has for all items."""
    if isinstance(value, dict):
        return {
            name: _filled(inner) if isinstance(inner, (dict, list)) else inner
            for name, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        return [_filled(inner) if isinstance(inner, (dict, list)) else inner for inner in value]
    return value


@dataclass(slots=True)
class _Places:
    """Addresses for the web of local files, as far as they lie in folders that may be served."""

    roots: Mapping[str, Path]
    _known: dict[str, str | None] = field(default_factory=dict)
    """By folder, since a product has many files in few."""

    def placed(self, asset: dict[str, Any]) -> dict[str, Any] | None:
        """An asset with an address for the web; None if its file lies where no reader may look."""
        href = str(asset.get("href", ""))
        if not href.startswith("/"):
            return asset if href.startswith(("https://", "http://", "s3://")) else None
        folder, _, name = href.rpartition("/")
        if folder not in self._known:
            if len(self._known) > _MOST_FOLDERS:
                self._known.clear()
            self._known[folder] = self._address(folder)
        address = self._known[folder]
        if address is None or name in ("", ".", ".."):
            return None
        return {**asset, "href": f"{address}/{name if _PLAIN.fullmatch(name) else quote(name)}"}

    def _address(self, folder: str) -> str | None:
        path = f"{os.path.normpath(folder)}/"
        for root, served in self.roots.items():
            if not folder.startswith("/vsi") and path.startswith(f"{served}/"):
                return f"{FILE}{root}/{quote(path[len(str(served)) + 1 :])}".rstrip("/")
        return None


def _cube(dataset: Dataset, edition: Edition) -> Source | None:
    campaign = edition.campaign
    if not campaign.cube.keep:
        return None
    cube, name = campaign.cube_path, f"{dataset.name}-cube"
    names = tiles(cube)
    if not names:
        return None
    stamps = [_state(path) for tile in names for path in sorted((cube / tile).glob("r*m/zarr.json"))]
    return Source(
        dataset.name,
        name,
        f"{dataset.title}: cube",
        f"Cube of {campaign.sensor.origin.mission} bands by time, y and x: one item for each tile.",
        digest_json([edition.digest, stamps]),
        lambda: (_cube_item(dataset, edition, tile, name) for tile in names),
        _licence(edition),
    )


def _cube_item(dataset: Dataset, edition: Edition, tile: str, collection: str) -> dict[str, Any]:
    cube = edition.campaign.cube_path
    refs = bands(cube, tile)
    sizes = sorted({ref.resolution_m for ref in refs})
    grid = geometry(cube, tile, sizes[0])
    acquisitions = grid.acquisitions
    times = sorted(found for one in acquisitions if (found := microseconds(one.get("time"))) is not None)
    products = list(dict.fromkeys(str(name) for one in acquisitions for name in one.get("products", ())))
    rows, columns = grid.shape
    left, top = grid.transform.c, grid.transform.f
    corner = (left + columns * grid.transform.a, top + rows * grid.transform.e)
    outline = of_box((left, corner[1], corner[0], top), grid.epsg)
    described = {
        "datetime": None,
        "start_datetime": moment(times[0]) if times else None,
        "end_datetime": moment(times[-1]) if times else None,
        "title": f"{dataset.title}, tile {tile}",
        "constellation": edition.campaign.sensor.name,
        "proj:code": f"EPSG:{grid.epsg}",
        **edition.campaign.grid.attributes(tile, pixels=True),
        **_made(edition),
        "hpckit:acquisitions": len(acquisitions),
        "hpckit:baselines": sorted({str(one.get("processing_baseline")) for one in acquisitions}),
        **_dimensions(grid, times, refs),
    }
    assets = {
        f"r{size}m": {
            "href": f"{FILE}cube/{tile}/r{size}m",
            "type": _ZARR,
            "roles": ["data"],
            "title": f"Bands at {size} m (Zarr group)",
            "gsd": size,
        }
        for size in sizes
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [_PROCESSING, _CUBE, _PROJECTION],
        "id": f"{collection}-{tile}",
        "collection": collection,
        "geometry": geojson(outline),
        "bbox": bbox(outline),
        "properties": described,
        "links": [_derived(f"{dataset.name}-products", product) for product in products],
        "assets": assets,
    }


def _dimensions(grid: Geometry, times: list[int], refs: list[BandRef]) -> dict[str, Any]:
    rows, columns = grid.shape
    left, top = grid.transform.c, grid.transform.f
    plane = {"type": "spatial", "reference_system": grid.epsg}
    return {
        "cube:dimensions": {
            "time": {"type": "temporal", "values": [moment(time) for time in times]},
            "x": {**plane, "axis": "x", "extent": [left, left + columns * grid.transform.a]},
            "y": {**plane, "axis": "y", "extent": [top + rows * grid.transform.e, top]},
        },
        "cube:variables": {
            f"r{ref.resolution_m}m/{ref.name}": {"type": "data", "dimensions": ["time", "y", "x"]} for ref in refs
        },
    }


def _composite(dataset: Dataset, edition: Edition, composite: Composite) -> Source | None:
    folder, name = files_path(edition.campaign, composite), f"{dataset.name}-{composite.name}"
    stamps = [_state(path) for path in sorted(folder.glob("*/*/*.json"))]
    if not stamps:
        return None
    return Source(
        dataset.name,
        name,
        f"{dataset.title}: {composite.name}",
        f"Composites ({', '.join(composite.methods)}) of {edition.campaign.sensor.origin.mission}:"
        " one item for each tile and period.",
        digest_json([edition.digest, stamps]),
        lambda: _composite_items(dataset, edition, composite, folder, name),
        _licence(edition),
    )


def _composite_items(
    dataset: Dataset, edition: Edition, composite: Composite, folder: Path, collection: str
) -> Iterator[dict[str, Any]]:
    for path, item in stac.read_items(folder):
        place = quote(path.parent.relative_to(folder).as_posix())
        item["collection"] = collection
        item["links"] = [_derived(f"{dataset.name}-cube", f"{dataset.name}-cube-{path.relative_to(folder).parts[0]}")]
        item["properties"] |= _made(edition)
        item["stac_extensions"] = [*item.get("stac_extensions", []), _PROCESSING]
        for asset in item["assets"].values():
            asset["href"] = f"{FILE}files-{composite.name}/{place}/{quote(asset['href'].removeprefix('./'))}"
        yield item


def _series(dataset: Dataset, edition: Edition) -> Source | None:
    run, campaign = edition.run, edition.campaign
    reductions = [one for one in campaign.reductions if isinstance(one, SignatureReduction)]
    if run is None or not run.selected.is_file() or not reductions:
        return None
    name = f"{dataset.name}-series"
    return Source(
        dataset.name,
        name,
        f"{dataset.title}: series of zones",
        f"Statistics of zones by time, of {campaign.sensor.origin.mission}: one item for each reduction.",
        digest_json([run.frozen, _state(run.selected)]),
        lambda: (_series_item(dataset, edition, run, one, name) for one in reductions),
        _licence(edition),
    )


def _series_item(
    dataset: Dataset, edition: Edition, run: Run, reduction: SignatureReduction, collection: str
) -> dict[str, Any]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    zones = edition.zones(reduction.name)
    outline = shapely.box(*zones.bounds)
    scenes = pq.read_table(run.selected, columns=["id", "datetime"])
    span = pc.min_max(scenes.column("datetime")).as_py()
    statistics = ["mean", "std", "min", "max", *(f"p{rank:g}" for rank in reduction.percentiles)]
    columns = [("zone", "string"), ("time", "datetime"), ("band", "string"), ("valid", "int"), ("total", "int")]
    described = {
        "datetime": None,
        "start_datetime": span["min"].isoformat(),
        "end_datetime": span["max"].isoformat(),
        "title": f"{dataset.title}, {reduction.name}",
        "constellation": edition.campaign.sensor.name,
        **_made(edition),
        "hpckit:zones": len(zones),
        "hpckit:bands": [*reduction.bands, *reduction.indices],
        "hpckit:indices": dict(reduction.indices),
        "table:columns": [
            *({"name": name, "type": kind} for name, kind in columns),
            *({"name": name, "type": "double"} for name in statistics),
        ],
    }
    series = {
        "href": f"{API}?reduction={quote(reduction.name)}",
        "type": "application/json",
        "roles": ["metadata"],
        "title": f"Description; a zone's series is at …/series?reduction={reduction.name}&zone=ID, with a login",
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [_PROCESSING, _TABLE],
        "id": f"{collection}-{reduction.name}",
        "collection": collection,
        "geometry": geojson(outline),
        "bbox": bbox(outline),
        "properties": described,
        "links": [_derived(f"{dataset.name}-products", str(one)) for one in scenes.column("id").to_pylist()],
        "assets": {"series": series},
    }


def _made(edition: Edition) -> dict[str, Any]:
    """Software and run that made results."""
    run = edition.run
    if run is None:
        return {}
    try:
        told = read_run_json(run.path)
    except HpckitError:
        return {"hpckit:run": run.run_id}
    versions = {"hpckit": told.get("hpckit"), **(told.get("packages") or {})}
    return {
        "processing:software": {name: str(version) for name, version in versions.items() if version},
        "hpckit:run": run.run_id,
        "hpckit:frozen": run.frozen,
    }


def _licence(edition: Edition) -> dict[str, Any]:
    origin = edition.campaign.sensor.origin
    found: dict[str, Any] = {}
    if origin.licence_url:
        link = {"rel": "license", "href": origin.licence_url, "title": "Licence of the data", "type": "text/html"}
        found["links"] = [link]
    if origin.provider:
        provider = {"name": origin.provider, "roles": ["producer", "licensor"]}
        found["providers"] = [{**provider, **({"url": origin.provider_url} if origin.provider_url else {})}]
    return found


def _derived(collection: str, identifier: str) -> dict[str, Any]:
    href = f"{ITEM}{quote(collection, safe='')}/{quote(identifier, safe='')}"
    return {"rel": "derived_from", "href": href, "type": "application/geo+json"}


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"

"""Items of results: cubes, composites and series of zones, and how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import shapely

from hpckit.base.files import digest_json
from hpckit.campaign.composite import Composite
from hpckit.campaign.signatures import SignatureReduction
from hpckit.catalogue.moments import microseconds, moment
from hpckit.cubes.read import Geometry, bands, geometry, tiles
from hpckit.errors import HpckitError
from hpckit.reduce.composites import stac
from hpckit.reduce.composites.units import files_path
from hpckit.runs.run import Run, read_run_json
from hpckit.sensors.bands import BandRef
from hpckit.serve.dataset import Dataset, Edition
from hpckit.serve.stac.sources import API, FILE, PROCESSING, Source, derived_from, licence, state_of
from hpckit.space.footprint import bbox, geojson, of_box

_TABLE: Final = "https://stac-extensions.github.io/table/v1.2.0/schema.json"
_CUBE: Final = "https://stac-extensions.github.io/datacube/v2.3.0/schema.json"
_PROJECTION: Final = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_ZARR: Final = "application/vnd.zarr; version=3"


def results(dataset: Dataset) -> list[Source]:
    """Collections of the results of a campaign, as far as it has them."""
    edition = dataset.edition
    found = [_cube(dataset, edition), _series(dataset, edition)]
    found += [_composite(dataset, edition, composite) for composite in edition.campaign.composites]
    return [one for one in found if one is not None]


def _cube(dataset: Dataset, edition: Edition) -> Source | None:
    campaign = edition.campaign
    if not campaign.cube.keep:
        return None
    cube, name = campaign.cube_path, f"{dataset.name}-cube"
    names = tiles(cube)
    if not names:
        return None
    stamps = [state_of(path) for tile in names for path in sorted((cube / tile).glob("r*m/zarr.json"))]
    return Source(
        dataset.name,
        name,
        f"{dataset.title}: cube",
        f"Cube of {campaign.sensor.origin.mission} bands by time, y and x: one item for each tile.",
        digest_json([edition.digest, stamps]),
        lambda: (_cube_item(dataset, edition, tile, name) for tile in names),
        licence(edition),
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
        "stac_extensions": [PROCESSING, _CUBE, _PROJECTION],
        "id": f"{collection}-{tile}",
        "collection": collection,
        "geometry": geojson(outline),
        "bbox": bbox(outline),
        "properties": described,
        "links": [derived_from(f"{dataset.name}-products", product) for product in products],
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
    stamps = [state_of(path) for path in sorted(folder.glob("*/*/*.json"))]
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
        licence(edition),
    )


def _composite_items(
    dataset: Dataset, edition: Edition, composite: Composite, folder: Path, collection: str
) -> Iterator[dict[str, Any]]:
    for path, item in stac.read_items(folder):
        place = quote(path.parent.relative_to(folder).as_posix())
        item["collection"] = collection
        item["links"] = [
            derived_from(f"{dataset.name}-cube", f"{dataset.name}-cube-{path.relative_to(folder).parts[0]}")
        ]
        item["properties"] |= _made(edition)
        item["stac_extensions"] = list(dict.fromkeys([*item.get("stac_extensions", []), PROCESSING]))
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
        digest_json([run.frozen, state_of(run.selected)]),
        lambda: (_series_item(dataset, edition, run, one, name) for one in reductions),
        licence(edition),
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
        "stac_extensions": [PROCESSING, _TABLE],
        "id": f"{collection}-{reduction.name}",
        "collection": collection,
        "geometry": geojson(outline),
        "bbox": bbox(outline),
        "properties": described,
        "links": [derived_from(f"{dataset.name}-products", str(one)) for one in scenes.column("id").to_pylist()],
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

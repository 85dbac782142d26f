"""What a run was made from: products by id and digest, zones, area, graphs, code, and other files by digest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import shapely

from hpckit.base.files import digest_file, digest_json
from hpckit.base.reading import files_below, read_bytes
from hpckit.campaign.blocks import BlockReduction, FunctionReduction, PredictReduction
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.graph import GraphReduction
from hpckit.cubes.tiles import Tiles
from hpckit.errors import CrateError
from hpckit.production.provenance.places import portable
from hpckit.reduce.graphs import frozen
from hpckit.reduce.graphs.collection import Collection
from hpckit.runs.run import Run
from hpckit.sensors.model import Scene
from hpckit.sensors.stac.files import file_of
from hpckit.space.aoi import read_aoi
from hpckit.space.zones import ZoneLayer, load_zones

AOI: Final = "inputs/aoi.geojson"
"""Area of interest in a crate, where the campaign has it in a file."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product that was used."""

    id: str
    digest: str
    """`hpckit.sensors.content.content_of` it; empty where its list of files was damaged."""
    place: str
    """Where it lay; see `places.portable`. Of an item, the file or address of the item."""
    sensed: str
    platform: str
    tile: str


@dataclass(frozen=True, slots=True)
class OtherFile:
    """A file that the campaign names and that a crate does not hold: a model, a terrain model."""

    field: str
    """`reductions.classes.model`, `scenes.radar.dem`."""
    name: str
    digest: str
    """BLAKE2b of its bytes (`base.files.digest_file`); of options of a sensor, what the plan froze."""
    place: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a process graph loaded from a server when it was planned."""

    field: str
    """`reductions.water`."""
    process: str
    """`load_url` or `load_stac`."""
    place: str
    """Address, without what follows `?`."""
    digest: str
    """Of the geometries; of a catalogue, of ids and digests of its products."""
    products: tuple[Product, ...] = ()
    """Of a catalogue."""


def products(tiles: Tiles) -> list[Product]:
    """Products that a run used, each once, by id."""
    folder = tiles.campaign.folder
    scenes = {scene.id: scene for items in tiles.acquisitions.values() for item in items for scene in item.scenes}
    return [_product(scenes[name], folder) for name in sorted(scenes)]


def _product(scene: Scene, folder: Path) -> Product:
    item = file_of(scene.href)
    place = portable(str(item) if item is not None else scene.href, folder)
    return Product(scene.id, scene.content, place, scene.sensed.isoformat(), scene.platform, scene.tile)


def other_files(run: Run) -> list[OtherFile]:
    """Files that a run depends on and that a crate does not hold, with their digests.

    Raises
    ------
    CrateError
        If a model is not the one that the run used.
    """
    campaign, found = run.campaign, []
    for reduction in campaign.reductions:
        if isinstance(reduction, PredictReduction):
            known = str(frozen.document(run, reduction)["digest"])
            path = campaign.resolve(reduction.model)
            _require_same(path, known)
            place = portable(str(path), campaign.folder)
            found.append(OtherFile(f"reductions.{reduction.name}.model", path.name, known, place))
    option = campaign.sensor.option
    for name, value in campaign.scenes.options.files().items():
        path = campaign.resolve(value)
        place, digest = portable(str(path), campaign.folder), str(campaign.contents.get(name, ""))
        found.append(OtherFile(f"scenes.{option}.{name}", path.name, digest, place))
    return found


def loaded(run: Run) -> list[Loaded]:
    """What the process graphs of a run loaded from servers, by field and address.

    Raises
    ------
    PlanError
        If frozen inputs are missing, or do not fit this version.
    """
    found = []
    for reduction in run.campaign.graphs:
        if isinstance(reduction, GraphReduction):
            where = f"reductions.{reduction.name}"
            for url, digest in frozen.addresses_of(run, reduction):
                found.append(Loaded(where, "load_url", portable(url, run.campaign.folder), digest))
            for collection in frozen.loaded_of(run, reduction)[0].values():
                found.append(_catalogue(where, collection))
    return sorted(found, key=lambda item: (item.field, item.place, item.digest))


def _catalogue(where: str, collection: Collection) -> Loaded:
    chosen = products(collection.tiles)
    digest = digest_json([[product.id, product.digest] for product in chosen])
    place = portable(collection.name, collection.tiles.campaign.folder)
    return Loaded(where, "load_stac", place, digest, tuple(chosen))


def _require_same(path: Path, known: str) -> None:
    try:
        same = digest_file(path) == known
    except OSError:
        return  # it is named by its digest, and may lie elsewhere by now
    if not same:
        raise CrateError(
            f"{path} was changed since the run used it", hint="run the campaign again, then make the crate"
        )


def files(run: Run) -> Iterator[tuple[str, bytes]]:
    """Inputs that a crate holds, with their paths in it.

    Of zones and the area there are outlines and identifiers, and none of their other fields, which may be private.
    """
    campaign = run.campaign
    for signature in campaign.signatures:
        yield zones_path(signature.name), _geoparquet(load_zones(run.zones(signature.name)))
    if campaign.aoi_path is not None:
        yield AOI, _geojson(read_aoi(campaign.aoi, campaign.folder))
    for reduction in campaign.graphs:
        if isinstance(reduction, GraphReduction):
            yield graph_path(reduction.name), _json(frozen.document(run, reduction))
        if isinstance(reduction, FunctionReduction):
            code = frozen.code(run, reduction)
            for path in files_below(code, ".py") if code.is_dir() else []:
                yield code_path(reduction.name) + str(path.relative_to(code)), read_bytes(path)


def zones_path(reduction: str) -> str:
    """Zones of a reduction in a crate."""
    return f"inputs/zones/{reduction}.parquet"


def graph_path(reduction: str) -> str:
    """Graph of a reduction in a crate."""
    return f"inputs/graphs/{reduction}.json"


def code_path(reduction: str) -> str:
    """Folder of the code of a function in a crate."""
    return f"inputs/code/{reduction}/"


def collections(campaign: Campaign) -> dict[str, str]:
    """Other campaigns that a campaign reads, by the field that names them."""
    found = {}
    for reduction in campaign.graphs:
        for name, path in reduction.collections.items():
            own = "collection" if isinstance(reduction, BlockReduction) else f"collections.{name}"
            found[f"reductions.{reduction.name}.{own}"] = portable(str(campaign.resolve(path)), campaign.folder)
    return found


def described(
    found: Iterable[Product], others: Iterable[OtherFile], campaigns: Mapping[str, str], served: Iterable[Loaded]
) -> dict[str, Any]:
    """Content of `inputs.json`."""
    return {
        "products": [asdict(product) for product in found],
        "files": [asdict(other) for other in others],
        "campaigns": dict(campaigns),
        "loaded": [asdict(item) for item in served],
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _geojson(area: shapely.Geometry) -> bytes:
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(area)}
    return _json({"type": "FeatureCollection", "features": [feature]})


def _geoparquet(zones: ZoneLayer) -> bytes:
    """Identifiers and outlines as GeoParquet 1.1."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyproj

    column = {
        "encoding": "WKB",
        "geometry_types": ["MultiPolygon"],
        "crs": pyproj.CRS(zones.crs).to_json_dict(),
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    outlines = pa.array(shapely.to_wkb(zones.geometries), pa.binary())
    table = pa.table({"id": pa.array(zones.ids, pa.string()), "geometry": outlines})
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), sink, compression="zstd")
    return bytes(sink.getvalue())

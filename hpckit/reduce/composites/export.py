"""A unit of the stage `export`: the GeoTIFFs of one tile and period, and then their STAC item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpckit.base.files import write_json
from hpckit.base.quantities import format_count
from hpckit.base.seen import note
from hpckit.campaign.composite import Composite
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.objects import objects_at
from hpckit.errors import CubeError
from hpckit.reduce.composites import checksums, stac
from hpckit.reduce.composites.geotiff import in_order, write_cog
from hpckit.reduce.composites.lineage import PRODUCTS, products
from hpckit.reduce.composites.products import groups, of_files
from hpckit.reduce.composites.units import (
    all_layers,
    files_path,
    inputs,
    intervals,
    item_id,
    item_path,
    shard_keys,
    zarr_path,
)
from hpckit.runs.plan import Unit

if TYPE_CHECKING:
    from hpckit.cubes.tiles import Tiles


def export(tiles: Tiles, unit: Unit, writer: str, threads: int) -> dict[str, float]:
    """Do a unit of the stage `export`; return its metrics.

    Raises
    ------
    CubeError
        If the composite of the tile is not whole.
    """
    campaign, tile = tiles.campaign, str(unit.args["tile"])
    composite = next(c for c in campaign.composites if c.name == unit.args["reduction"])
    _require_composed(tiles, composite, tile)
    number = int(unit.args["period"])
    period = intervals(tiles, composite, tile)[number]
    acquisitions = tiles.acquisitions[tile]
    frame = tiles.frame(tile)
    item = item_path(files_path(campaign, composite), composite, tile, period)
    named = {
        f"{item_id(composite, tile, period)}_{file}.tif": in_order(layers)
        for file, layers in of_files(all_layers(campaign, composite)).items()
    }
    for name, layers in named.items():
        first = layers[0]
        write_cog(
            item.parent / name,
            objects_at(zarr_path(campaign, composite)),
            f"{tile}/{first.group}",
            layers,
            number,
            frame.epsg,
            frame.transform(first.resolution_m),
            tiles.held.wanted(frame, first.resolution_m),
            compress=composite.outputs.compress,
            threads=threads,
        )
    used = [acquisitions[position] for position in period.positions(acquisitions)]
    content = stac.item(
        item_id(composite, tile, period), frame, campaign, composite, period, named, unit.inputs, used
    )
    for asset in content["assets"].values():
        path = item.parent / asset["href"]
        asset |= checksums.facts(path)
        note(tiles.run.seen_folder("files"), writer, path, asset[checksums.CHECKSUM])
    write_json(item.parents[1] / PRODUCTS, products(acquisitions))
    write_json(item, content)
    return {"files": float(len(named)), "written_bytes": float(sum((item.parent / n).stat().st_size for n in named))}


def _require_composed(tiles: Tiles, composite: Composite, tile: str) -> None:
    campaign = tiles.campaign
    manifest = Manifest.load(zarr_path(campaign, composite), [tile])
    made_from = inputs(tiles, composite, tile)
    missing = 0
    for group in groups(composite, campaign.ref):
        for row in range(tiles.frame(tile).windows(group.resolution_m)[0]):
            for *_, key in shard_keys(tiles, composite, group, tile, row):
                record = manifest.get(key)
                missing += record is None or record.inputs != (made_from,)
    if missing:
        shards = format_count(missing, "shard")
        raise CubeError(
            f"composite {composite.name!r} of tile {tile}: {shards} not made yet, or without dates",
            hint="see why in the failures of the stages before; the next run tries again",
        )

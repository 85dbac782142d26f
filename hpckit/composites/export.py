"""A unit of the stage `export`: the GeoTIFFs of one tile and period, and then their STAC item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpckit.composites import checksums, stac
from hpckit.composites.geotiff import in_order, write_cog
from hpckit.composites.products import groups, of_files
from hpckit.composites.settings import Composite
from hpckit.composites.units import (
    all_layers,
    files_path,
    inputs,
    intervals,
    item_id,
    item_path,
    shard_keys,
    store_path,
)
from hpckit.cube.manifest import Manifest
from hpckit.errors import CubeError
from hpckit.files import write_json
from hpckit.plan import Unit

if TYPE_CHECKING:
    from hpckit.production import Prepared


def export(prepared: Prepared, unit: Unit, threads: int) -> dict[str, float]:
    """Do a unit of the stage `export`; return its metrics.

    Raises
    ------
    CubeError
        If the composite of the tile is not whole.
    """
    campaign, tile = prepared.run.campaign, str(unit.args["tile"])
    composite = next(c for c in campaign.composites if c.name == unit.args["reduction"])
    _require_composed(prepared, composite, tile)
    number = int(unit.args["period"])
    period = intervals(campaign, composite)[number]
    acquisitions = prepared.acquisitions[tile]
    frame = prepared.frame(tile)
    item = item_path(files_path(campaign, composite), composite, tile, period)
    named = {
        f"{item_id(composite, tile, period)}_{file}.tif": in_order(layers)
        for file, layers in of_files(all_layers(campaign, composite)).items()
    }
    for name, layers in named.items():
        first = layers[0]
        write_cog(
            item.parent / name,
            store_path(campaign, composite) / tile / first.group,
            layers,
            number,
            frame.epsg,
            frame.transform(first.resolution_m),
            compress=composite.outputs.compress,
            threads=threads,
        )
    dates = len(period.positions(acquisitions))
    content = stac.item(
        item_id(composite, tile, period), frame, campaign, composite, period, named, unit.inputs, dates
    )
    for asset in content["assets"].values():
        asset |= checksums.facts(item.parent / asset["href"])
    write_json(item, content)
    return {"files": float(len(named)), "written_bytes": float(sum((item.parent / n).stat().st_size for n in named))}


def _require_composed(prepared: Prepared, composite: Composite, tile: str) -> None:
    campaign = prepared.run.campaign
    manifest = Manifest.load(store_path(campaign, composite), [tile])
    made_from = inputs(prepared, composite, tile)
    missing = 0
    for group in groups(composite, campaign.ref):
        for row in range(prepared.frame(tile).windows(group.resolution_m)[0]):
            for *_, key in shard_keys(prepared, composite, group, tile, row):
                record = manifest.get(key)
                missing += record is None or record.inputs != (made_from,)
    if missing:
        raise CubeError(
            f"{missing} shards of composite {composite.name!r} of tile {tile} are not made yet, or lack dates",
            hint="see why in the failures of the stages before; the next run tries again",
        )

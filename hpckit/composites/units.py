"""Units of composites: a row of windows of one resolution, and the files of one tile and period."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpckit.composites import store
from hpckit.composites.periods import Interval, periods
from hpckit.composites.products import Group, Layer, groups, layers
from hpckit.composites.settings import STEPPING, Composite
from hpckit.cube.ingest import date_inputs
from hpckit.cube.manifest import Manifest
from hpckit.files import digest_json
from hpckit.plan import Unit

if TYPE_CHECKING:
    from hpckit.campaign import Campaign
    from hpckit.estimate import Rates
    from hpckit.production import Prepared

_VERSION: Final = 1
"""Grows when the same settings and scenes give other numbers."""
_COG_RATE: Final = 12e6
"""Pixels per second and band written as GeoTIFF."""


def store_path(campaign: Campaign, composite: Composite) -> Path:
    """Zarr group of a composite."""
    return campaign.resolve(composite.outputs.path) / f"{composite.name}.zarr"


def files_path(campaign: Campaign, composite: Composite) -> Path:
    """Folder of the GeoTIFFs, STAC items and mosaics of a composite."""
    return campaign.resolve(composite.outputs.path) / composite.name


def intervals(campaign: Campaign, composite: Composite) -> list[Interval]:
    """Periods of a composite."""
    return periods(campaign.period.start, campaign.period.end, composite.period)


def units(prepared: Prepared, rates: Rates) -> Iterable[tuple[Unit, bool]]:
    """All units of composites, each with whether it is done."""
    for composite in prepared.run.campaign.composites:
        manifest = Manifest.load(store_path(prepared.run.campaign, composite))
        for tile in sorted(prepared.acquisitions):
            yield from _rows(prepared, composite, tile, manifest, rates)
    for composite in prepared.run.campaign.composites:
        if composite.outputs.cog:
            for unit in export_units(prepared, composite):
                yield unit, marked(item_file(prepared, composite, unit)) == unit.inputs


def prepare_stores(prepared: Prepared) -> None:
    """Write the metadata of all Zarr groups."""
    campaign = prepared.run.campaign
    for composite in campaign.composites:
        steps = intervals(campaign, composite)
        for tile in prepared.acquisitions:
            wanted = all_layers(campaign, composite)
            store.prepare(store_path(campaign, composite), prepared.spec, prepared.frame(tile), wanted, steps)


def all_layers(campaign: Campaign, composite: Composite) -> list[Layer]:
    """Layers of all groups of a composite."""
    return [layer for group in groups(composite, campaign.ref) for layer in layers(composite, group)]


def inputs(prepared: Prepared, composite: Composite, tile: str) -> str:
    """Digest of what all rows of a tile depend on: settings, period, and what each date was made from."""
    campaign = prepared.run.campaign
    unused = set() if "smooth" in composite.methods else {"smooth"}
    settings = composite.model_dump(mode="json", exclude={"device", "outputs", "name"} | unused)
    dates = [date_inputs(prepared.spec, item) for item in prepared.acquisitions[tile]]
    days = [item.time.isoformat() for item in prepared.acquisitions[tile]]
    return digest_json([_VERSION, settings, str(campaign.period), dates, days])[:16]


def shard_keys(
    prepared: Prepared, composite: Composite, group: Group, tile: str, row: int
) -> Iterator[tuple[Layer, int, int, str]]:
    """Layer, block of periods, column and key of every shard of a row."""
    columns = prepared.frame(tile).windows(group.resolution_m)[1]
    blocks = -(-len(intervals(prepared.run.campaign, composite)) // store.PERIODS_PER_SHARD)
    for column in range(columns):
        for layer in layers(composite, group):
            for block in range(blocks):
                yield layer, block, column, store.shard_key(tile, layer, block, row, column)


def _rows(
    prepared: Prepared, composite: Composite, tile: str, manifest: Manifest, rates: Rates
) -> Iterator[tuple[Unit, bool]]:
    made_from = inputs(prepared, composite, tile)
    acquisitions = prepared.acquisitions[tile]
    frame = prepared.frame(tile)
    for group in groups(composite, prepared.run.campaign.ref):
        shape, edge = frame.shapes[group.resolution_m], frame.edges[group.resolution_m]
        bands = len(group.bands) + len(group.indices)
        for row in range(frame.windows(group.resolution_m)[0]):
            pixels = min(edge, shape[0] - row * edge) * shape[1] * len(acquisitions) * bands
            unit_id = row_id(composite, tile, group, row)
            args = {"reduction": composite.name, "tile": tile, "resolution": group.resolution_m, "row": row}
            keys = shard_keys(prepared, composite, group, tile, row)
            done = manifest.has(tile) and all(
                (record := manifest.get(key)) is not None and record.inputs == (made_from,) for *_, key in keys
            )
            yield Unit(unit_id, "composite", rates.composite_s(pixels, composite.methods), made_from, args), done


def row_id(composite: Composite, tile: str, group: Group, row: int) -> str:
    """Name of the unit that composes a row of windows."""
    return f"composite/{composite.name}/{tile}/r{group.resolution_m}m/w{row:02d}"


def export_units(prepared: Prepared, composite: Composite) -> Iterator[Unit]:
    """Units that write GeoTIFFs, done or not."""
    for tile in sorted(prepared.acquisitions):
        yield from _files(prepared, composite, tile)


def _files(prepared: Prepared, composite: Composite, tile: str) -> Iterator[Unit]:
    campaign = prepared.run.campaign
    shapes = prepared.frame(tile).shapes
    wanted = all_layers(campaign, composite)
    pixels = sum(shapes[layer.resolution_m][0] * shapes[layer.resolution_m][1] for layer in wanted)
    outputs = composite.outputs.model_dump(mode="json", exclude={"mosaic"})
    made_from = digest_json([inputs(prepared, composite, tile), outputs])[:16]
    for number, period in enumerate(intervals(campaign, composite)):
        if not period.positions(prepared.acquisitions[tile]) and not set(STEPPING) & set(composite.methods):
            continue  # a period without any scene has no files
        args = {"reduction": composite.name, "tile": tile, "period": number}
        unit_id = f"export/{composite.name}/{tile}/{period.label}"
        yield Unit(unit_id, "export", 1 + pixels / _COG_RATE, made_from, args)


def item_file(prepared: Prepared, composite: Composite, unit: Unit) -> Path:
    """STAC item that a unit of the stage `export` writes."""
    campaign = prepared.run.campaign
    period = intervals(campaign, composite)[int(unit.args["period"])]
    return item_path(files_path(campaign, composite), composite, str(unit.args["tile"]), period)


def item_path(folder: Path, composite: Composite, tile: str, period: Interval) -> Path:
    """STAC item of a tile and period; it is written last."""
    return folder / tile / period.label / f"{item_id(composite, tile, period)}.json"


def item_id(composite: Composite, tile: str, period: Interval) -> str:
    """Name of a tile and period: `monthly_31UFT_2024-05`."""
    return f"{composite.name}_{tile}_{period.label}"


def marked(path: Path) -> str | None:
    """What the files of an item were made from; None if it is not there."""
    try:
        return str(json.loads(path.read_text())["properties"]["hpckit:inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""Units of composites: a row of windows of one resolution, and the files of one tile and period."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpckit.base.files import digest_json
from hpckit.base.reading import read_json
from hpckit.base.seen import Seen
from hpckit.campaign.composite import STEPPING, Composite
from hpckit.cubes.arrays import shard_key
from hpckit.cubes.audit import sound
from hpckit.cubes.held import Held, row_counts
from hpckit.cubes.ingest import date_inputs
from hpckit.cubes.manifest import Manifest
from hpckit.errors import DamagedFileError
from hpckit.reduce.composites import checksums
from hpckit.reduce.composites.hierarchy import PERIODS_PER_SHARD
from hpckit.reduce.composites.periods import Interval, periods
from hpckit.reduce.composites.products import Group, Layer, codings, groups, layers
from hpckit.runs.plan import Unit
from hpckit.space.windows import covering

if TYPE_CHECKING:
    from hpckit.campaign.campaign import Campaign
    from hpckit.cubes.tiles import Tiles
    from hpckit.sensors.model import Acquisition

_VERSION: Final = 2
"""Grows when the same settings and scenes give other numbers."""
_SLOW_METHODS: Final = {"geomad": 6, "medoid": 4, "smooth": 3}
"""Time of slow methods, over that of reading."""
_COG_RATE: Final = 12e6
"""Pixels per second and band written as GeoTIFF."""


def zarr_path(campaign: Campaign, composite: Composite) -> Path:
    """Zarr group of a composite."""
    return campaign.resolve(composite.outputs.path) / f"{composite.name}.zarr"


def files_path(campaign: Campaign, composite: Composite) -> Path:
    """Folder of the GeoTIFFs, STAC items and mosaics of a composite."""
    return campaign.resolve(composite.outputs.path) / composite.name


def intervals(tiles: Tiles, composite: Composite, tile: str) -> tuple[Interval, ...]:
    """Periods of a composite on a tile: those of the campaign, or as far as acquisitions go if that has no end."""
    start, end = tiles.campaign.period.start, tiles.campaign.period.end
    last = end or tiles.acquisitions[tile][-1].time.date()
    return _periods(start, last, composite.period, end is None)


@lru_cache
def _periods(start: dt.date, end: dt.date, kind: Any, is_open: bool) -> tuple[Interval, ...]:
    """Cut once: every unit that writes files asks for its own of them."""
    return tuple(periods(start, end, kind, is_open=is_open))


def all_layers(campaign: Campaign, composite: Composite) -> list[Layer]:
    """Layers of all groups of a composite."""
    return [layer for group in groups(composite, campaign.ref) for layer in layers(composite, group)]


def inputs(tiles: Tiles, composite: Composite, tile: str) -> str:
    """Digest of what all rows of a tile depend on: settings, period, and what each date was made from."""
    settings = _settings(tiles.campaign, composite)
    return _digest(tiles, settings, str(tiles.campaign.period), tiles.acquisitions[tile])


def _settings(campaign: Campaign, composite: Composite) -> dict[str, Any]:
    """Settings that numbers depend on."""
    unused = set() if "smooth" in composite.methods else {"smooth"}
    settings = composite.model_dump(mode="json", exclude={"device", "outputs", "name"} | unused)
    if composite.indices:
        settings["codings"] = {name: str(coding) for name, coding in codings(composite, campaign.ref).items()}
    return settings


def _digest(tiles: Tiles, settings: Mapping[str, Any], days: str, acquisitions: Sequence[Acquisition]) -> str:
    dates = [date_inputs(tiles.spec, item) for item in acquisitions]
    times = [item.time.isoformat() for item in acquisitions]
    return digest_json([_VERSION, settings, days, dates, times])[:16]


def around(tiles: Tiles) -> Held:
    """Windows that a cube holds, with those of masks that cover what is composed and its surroundings."""
    held, ref = tiles.held, tiles.campaign.ref
    for composite in tiles.campaign.composites if not held.is_whole else ():
        if composite.mask is None:
            continue
        mask, reach = ref(composite.mask.band), composite.reach(ref(composite.mask.band).resolution_m)
        for size in {group.resolution_m for group in groups(composite, ref)}:
            for tile in tiles.acquisitions:
                frame = tiles.frame(tile)
                windows = covering(frame, held.wanted(frame, size), size, mask.resolution_m, reach)
                held = held.with_around(tile, mask, windows)
    return held


def columns(tiles: Tiles, group: Group, tile: str, row: int) -> list[int]:
    """Columns of the windows of a row that are composed."""
    composed: list[int] = np.flatnonzero(tiles.held.wanted(tiles.frame(tile), group.resolution_m)[row]).tolist()
    return composed


def shard_keys(
    tiles: Tiles, composite: Composite, group: Group, tile: str, row: int
) -> Iterator[tuple[Layer, int, int, str]]:
    """Layer, block of periods, column and key of every shard of a row."""
    yield from _keys(tiles, composite, group, tile, row, columns(tiles, group, tile, row))


def outdated(
    tiles: Tiles, composite: Composite, group: Group, tile: str, row: int, manifest: Manifest, made_from: str
) -> list[str]:
    """Shards of a row from before that are not asked for any more, and are not what they would be now.

    Unlike windows of the cube they can be computed at any time, and must not stand beside periods, dates and settings
    that they are not made of.

    Parameters
    ----------
    made_from : str
        `inputs` of the tile.
    """
    composed, (_, count) = columns(tiles, group, tile, row), tiles.frame(tile).windows(group.resolution_m)
    others = [column for column in range(count) if column not in composed] if manifest.has(tile) else []
    records = (manifest.latest(key) for *_, key in _keys(tiles, composite, group, tile, row, others))
    known = [record for record in records if record is not None and record.inputs != (made_from,)]
    return [record.key for record in known if record.nbytes or not record.inputs]


def _keys(
    tiles: Tiles, composite: Composite, group: Group, tile: str, row: int, columns: Iterable[int]
) -> Iterator[tuple[Layer, int, int, str]]:
    blocks = -(-len(intervals(tiles, composite, tile)) // PERIODS_PER_SHARD)
    for column in columns:
        for layer in layers(composite, group):
            for block in range(blocks):
                yield layer, block, column, shard_key(tile, layer, block, row, column)


def row_units(tiles: Tiles, composite: Composite, stage: str, pixels_per_s: float) -> Iterator[tuple[Unit, bool]]:
    """Units that compose a row of windows each, with whether they are done.

    Parameters
    ----------
    stage : str
        Name of the stage.
    pixels_per_s : float
        Pixels that one core reads from the cube and composes by a fast method.
    """
    path, seen = zarr_path(tiles.campaign, composite), tiles.run.seen("shards", "plan")
    manifest = sound(path, tiles.acquisitions, seen)
    pace = pixels_per_s / (1 + sum(_SLOW_METHODS.get(method, 0) for method in composite.methods))
    for tile in sorted(tiles.acquisitions):
        yield from _rows(tiles, composite, tile, manifest, stage, pace)


def _rows(
    tiles: Tiles, composite: Composite, tile: str, manifest: Manifest, stage: str, pace: float
) -> Iterator[tuple[Unit, bool]]:
    made_from = inputs(tiles, composite, tile)
    acquisitions = tiles.acquisitions[tile]
    frame = tiles.frame(tile)
    for group in groups(composite, tiles.campaign.ref):
        windows = tiles.held.wanted(frame, group.resolution_m)
        bands = len(group.bands) + len(group.indices)
        for row, count in enumerate(row_counts(frame, windows, group.resolution_m)):
            late = outdated(tiles, composite, group, tile, row, manifest, made_from)
            if not windows[row].any() and not late:
                continue
            pixels = count * len(acquisitions) * bands
            args = {"reduction": composite.name, "tile": tile, "resolution": group.resolution_m, "row": row}
            keys = shard_keys(tiles, composite, group, tile, row)
            done = manifest.has(tile) and all(
                (record := manifest.get(key)) is not None and record.inputs == (made_from,) for *_, key in keys
            )
            whole = made_from if windows[row].all() else digest_json([made_from, windows[row].tolist()])[:16]
            cost = max(1, pixels) / pace
            yield Unit(row_id(composite, tile, group, row), stage, cost, whole, args), done and not late


def row_id(composite: Composite, tile: str, group: Group, row: int) -> str:
    """Name of the unit that composes a row of windows."""
    return f"composites/{composite.name}/{tile}/r{group.resolution_m}m/w{row:02d}"


def export_units(tiles: Tiles, composite: Composite, stage: str = "export") -> Iterator[Unit]:
    """Units that write GeoTIFFs, done or not."""
    settings = _settings(tiles.campaign, composite)
    for tile in sorted(tiles.acquisitions):
        yield from _files(tiles, composite, settings, tile, stage)


def _files(tiles: Tiles, composite: Composite, settings: Mapping[str, Any], tile: str, stage: str) -> Iterator[Unit]:
    frame, acquisitions = tiles.frame(tile), tiles.acquisitions[tile]
    shapes = frame.shapes
    wanted = all_layers(tiles.campaign, composite)
    windows = {size: tiles.held.wanted(frame, size) for size in sorted({layer.resolution_m for layer in wanted})}
    if not any(held.any() for held in windows.values()):
        return  # a tile of which nothing is composed
    pixels = sum(shapes[layer.resolution_m][0] * shapes[layer.resolution_m][1] for layer in wanted)
    outputs = composite.outputs.model_dump(mode="json", exclude={"mosaic"})
    part = [] if all(held.all() for held in windows.values()) else [held.tolist() for held in windows.values()]
    # Methods that step in time look at dates outside of a period, too, and give values without any in it.
    steps = bool(set(STEPPING) & set(composite.methods))
    all_dates = _digest(tiles, settings, str(tiles.campaign.period), acquisitions) if steps else ""
    for number, period in enumerate(intervals(tiles, composite, tile)):
        inside = period.positions(acquisitions)
        if not inside and not steps:
            continue  # a period without any scene has no files
        days = f"{period.start}/{period.end}"
        made_from = all_dates or _digest(tiles, settings, days, [acquisitions[place] for place in inside])
        args = {"reduction": composite.name, "tile": tile, "period": number}
        unit_id = f"export/{composite.name}/{tile}/{period.label}"
        yield Unit(unit_id, stage, 1 + pixels / _COG_RATE, digest_json([made_from, outputs, *part])[:16], args)


def item_file(tiles: Tiles, composite: Composite, unit: Unit) -> Path:
    """STAC item that a unit of the stage `export` writes."""
    tile = str(unit.args["tile"])
    period = intervals(tiles, composite, tile)[int(unit.args["period"])]
    return item_path(files_path(tiles.campaign, composite), composite, tile, period)


def item_path(folder: Path, composite: Composite, tile: str, period: Interval) -> Path:
    """STAC item of a tile and period; it is written last."""
    return folder / tile / period.label / f"{item_id(composite, tile, period)}.json"


def item_id(composite: Composite, tile: str, period: Interval) -> str:
    """Name of a tile and period: `monthly_31UFT_2024-05`."""
    return f"{composite.name}_{tile}_{period.label}"


def is_whole(item: Path, made_from: str, seen: Seen) -> bool:
    """Whether an item is made from that, and its files are those that it describes."""
    if marked(item) != made_from:
        return False
    try:
        assets = read_json(item)["assets"].values()
        return all(checksums.is_sound(item.parent / asset["href"], asset, seen) for asset in assets)
    except (FileNotFoundError, DamagedFileError, KeyError, TypeError, AttributeError):
        return False


def marked(path: Path) -> str | None:
    """What the files of an item were made from; None if it is not there, or damaged.

    Raises
    ------
    FileUnavailableError
        If that cannot be read at the moment.
    """
    try:
        item = read_json(path)
        return str(item["properties"]["hpckit:inputs"])
    except (FileNotFoundError, DamagedFileError, KeyError, TypeError):
        return None

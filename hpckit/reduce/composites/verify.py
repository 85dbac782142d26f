"""Verify composites: shards against their manifest, GeoTIFFs and mosaics against the checksums that were kept.

Faulty files are marked, so that the next run makes them again: shards in the manifest, GeoTIFFs by taking away their
STAC item, which is written last and says that they are whole, and mosaics by taking away their mark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.reading import read_json
from hpckit.campaign.composite import Composite
from hpckit.cubes.arrays import Metadata, holds
from hpckit.cubes.audit import damage
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.objects import Objects, get, objects_at
from hpckit.cubes.verify import Fault, Kind, look_at, remove_leftovers
from hpckit.errors import DamagedFileError, FileUnavailableError
from hpckit.reduce.composites import checksums, hierarchy
from hpckit.reduce.composites.products import groups
from hpckit.reduce.composites.publish import by_period, mosaic_inputs, mosaic_mark, read_mark
from hpckit.reduce.composites.stac import read_items
from hpckit.reduce.composites.units import (
    all_layers,
    export_units,
    files_path,
    inputs,
    intervals,
    item_file,
    marked,
    row_id,
    shard_keys,
    zarr_path,
)

if TYPE_CHECKING:
    from hpckit.cubes.tiles import Tiles

_CHANGED: Final = "made from other dates or settings than the campaign now has"
_NOT_MADE: Final = "never written, or found faulty before"


@dataclass(frozen=True, slots=True)
class _Check:
    """One file, how it is looked at, and what takes its mark away."""

    path: Path
    unit: str
    look: Callable[[], tuple[Kind, str] | None]
    disown: Callable[[], object] = lambda: None


def verify_composites(tiles: Tiles, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Fault]:
    """Check shards, metadata, GeoTIFFs and mosaics of all composites of a campaign, and mark what is faulty.

    Parameters
    ----------
    progress : callable
        Called with the number of files checked and of all.

    Returns
    -------
    list of Fault
        *missing*: never made, or gone. *corrupt*: other bytes than were written. *stale*: made from other dates or
        settings than the campaign now has. Paths are relative to the campaign's folder where they lie below it.
    """
    campaign, faults = tiles.campaign, list[Fault]()
    checks = [check for composite in campaign.composites for check in _checks(tiles, composite)]
    for check, found in look_at(checks, lambda check: check.look(), progress):
        if found is not None:
            below = check.path.is_relative_to(campaign.folder)
            shown = check.path.relative_to(campaign.folder) if below else check.path
            kind, detail = found
            faults.append(Fault(str(shown), kind, detail, check.unit))
            # What is stale is made again anyway, unless the settings are what they were before.
            if kind in ("missing", "corrupt"):
                check.disown()
    for composite in campaign.composites:
        remove_leftovers(zarr_path(campaign, composite))
        remove_leftovers(files_path(campaign, composite))
    return faults


def _checks(tiles: Tiles, composite: Composite) -> Iterator[_Check]:
    yield from _shards(tiles, composite)
    yield from _metadata(tiles, composite)
    if composite.outputs.cog:
        yield from _files(tiles, composite)
        yield from _mosaics(tiles, composite)


def _shards(tiles: Tiles, composite: Composite) -> Iterator[_Check]:
    path = zarr_path(tiles.campaign, composite)
    objects = objects_at(path)
    manifest = Manifest.load(path)
    for tile in sorted(tiles.acquisitions):
        made_from = inputs(tiles, composite, tile)
        for group in groups(composite, tiles.campaign.ref):
            for row in range(tiles.frame(tile).windows(group.resolution_m)[0]):
                for *_, key in shard_keys(tiles, composite, group, tile, row):
                    look = partial(_look_at_shard, objects, key, manifest, made_from)
                    disown = partial(manifest.disown, [key], "verify")
                    yield _Check(path / key, row_id(composite, tile, group, row), look, disown)


def _look_at_shard(objects: Objects, key: str, manifest: Manifest, made_from: str) -> tuple[Kind, str] | None:
    record = manifest.get(key)
    if record is None or not any(record.inputs):
        return "missing", f"{_NOT_MADE}, or without dates that were not ingested"
    found = damage(objects, record)
    return ("stale", _CHANGED) if found is None and record.inputs != (made_from,) else found


def _metadata(tiles: Tiles, composite: Composite) -> Iterator[_Check]:
    """Metadata and coordinates of the Zarr group, which every run repairs by itself."""
    campaign = tiles.campaign
    layers = all_layers(campaign, composite)
    objects, contents = objects_at(zarr_path(campaign, composite)), dict[str, bytes | Metadata]()
    for tile in sorted(tiles.acquisitions):
        frame, steps = tiles.frame(tile), intervals(tiles, composite, tile)
        contents |= hierarchy.files(objects, tiles.spec, frame, layers, steps, tiles.held)
    for key, content in contents.items():
        yield _Check(objects.path / key, "", partial(_look_at_metadata, objects, key, content))


def _look_at_metadata(objects: Objects, key: str, content: bytes | Metadata) -> tuple[Kind, str] | None:
    try:
        found = get(objects, key)
    except FileNotFoundError:
        return "missing", "the file is gone"
    except FileUnavailableError as error:
        return "unread", error.message
    return None if holds(found, content) else ("corrupt", "not what the campaign says of tiles, layers and periods")


def _files(tiles: Tiles, composite: Composite) -> Iterator[_Check]:
    for unit in export_units(tiles, composite):
        item = item_file(tiles, composite, unit)
        made_from = marked(item)
        if made_from != unit.inputs:
            yield _Check(item, unit.id, partial(_no_item, item, made_from))
            continue
        for asset in _assets(item):
            path = item.parent / asset["href"]
            yield _Check(path, unit.id, partial(checksums.damage, path, asset), partial(item.unlink, missing_ok=True))


def _assets(item: Path) -> list[dict[str, Any]]:
    """Files of an item; one that is damaged has a nameless one, which is not there."""
    try:
        return [{**asset, "href": str(asset["href"])} for asset in read_json(item)["assets"].values()]
    except (FileNotFoundError, DamagedFileError, KeyError, TypeError, AttributeError):
        return [{"href": item.name}]


def _no_item(item: Path, made_from: str | None) -> tuple[Kind, str]:
    if made_from is not None:
        return "stale", _CHANGED
    return ("corrupt", "cannot be read") if item.exists() else ("missing", _NOT_MADE)


def _mosaics(tiles: Tiles, composite: Composite) -> Iterator[_Check]:
    folder = files_path(tiles.campaign, composite)
    items = read_items(folder)
    if items:
        collection = folder / "collection.json"
        yield _Check(collection, "", partial(_look_at_collection, collection))
    for period, mine in by_period(items).items() if composite.outputs.mosaic != "none" else ():
        mark = mosaic_mark(folder, period)
        known = read_mark(mark)
        if known.get("made_from") != mosaic_inputs(composite, mine):
            yield _Check(mark, "", partial(_no_item, mark, known.get("made_from")))
            continue
        for name, wanted in known["files"].items():
            path = mark.parent / name
            yield _Check(path, "", partial(checksums.damage, path, wanted), partial(mark.unlink, missing_ok=True))


def _look_at_collection(path: Path) -> tuple[Kind, str] | None:
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return "missing", "the file is gone"
    except OSError as error:
        return "unread", error.strerror or str(error)
    except (ValueError, RecursionError) as error:
        return "corrupt", str(error)
    return None

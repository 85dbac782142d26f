"""Verify composites: shards against their manifest, GeoTIFFs and mosaics against the checksums that were kept.

What is faulty is marked, so that the next run makes it anew: shards in the manifest, GeoTIFFs by taking away their
STAC item, which is written last and says that they are whole, and mosaics by taking away their mark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpckit.composites import checksums, store
from hpckit.composites.products import groups
from hpckit.composites.publish import by_period, mosaic_inputs, mosaic_mark, read_mark
from hpckit.composites.settings import Composite
from hpckit.composites.stac import read_items
from hpckit.composites.units import (
    all_layers,
    export_units,
    files_path,
    inputs,
    intervals,
    item_file,
    marked,
    row_id,
    shard_keys,
    store_path,
)
from hpckit.cube.manifest import Manifest
from hpckit.cube.verify import Fault, Kind, leftovers, shard_damage

if TYPE_CHECKING:
    from hpckit.production import Prepared

_THREADS: Final = 4
_CHANGED: Final = "made from other dates or settings than the campaign now has"
_NOT_MADE: Final = "never written, or found faulty before"


@dataclass(frozen=True, slots=True)
class _Check:
    """One file, how it is looked at, and what takes its mark away."""

    path: Path
    unit: str
    look: Callable[[], tuple[Kind, str] | None]
    disown: Callable[[], object] = lambda: None


def verify_composites(
    prepared: Prepared, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Fault]:
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
    campaign, faults = prepared.run.campaign, list[Fault]()
    checks = [check for composite in campaign.composites for check in _checks(prepared, composite)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, (check, found) in enumerate(zip(checks, pool.map(lambda c: c.look(), checks), strict=True), 1):
            progress(done, len(checks))
            if found is not None:
                below = check.path.is_relative_to(campaign.folder)
                shown = check.path.relative_to(campaign.folder) if below else check.path
                kind, detail = found
                faults.append(Fault(str(shown), kind, detail, check.unit))
                if kind != "stale":  # that is made anew anyway, unless the settings are what they were before
                    check.disown()
    for composite in campaign.composites:
        for folder in (store_path(campaign, composite), files_path(campaign, composite)):
            for path in leftovers(folder):
                path.unlink(missing_ok=True)
    return faults


def _checks(prepared: Prepared, composite: Composite) -> Iterator[_Check]:
    yield from _shards(prepared, composite)
    yield from _metadata(prepared, composite)
    if composite.outputs.cog:
        yield from _files(prepared, composite)
        yield from _mosaics(prepared, composite)


def _shards(prepared: Prepared, composite: Composite) -> Iterator[_Check]:
    path = store_path(prepared.run.campaign, composite)
    manifest = Manifest.load(path)
    for tile in sorted(prepared.acquisitions):
        made_from = inputs(prepared, composite, tile)
        for group in groups(composite, prepared.run.campaign.ref):
            for row in range(prepared.frame(tile).windows(group.resolution_m)[0]):
                for *_, key in shard_keys(prepared, composite, group, tile, row):
                    look = partial(_look_at_shard, path / key, key, manifest, made_from)
                    disown = partial(manifest.disown, [key], "verify")
                    yield _Check(path / key, row_id(composite, tile, group, row), look, disown)


def _look_at_shard(path: Path, key: str, manifest: Manifest, made_from: str) -> tuple[Kind, str] | None:
    record = manifest.get(key)
    if record is None:
        return "missing", f"{_NOT_MADE}, or without dates that were not ingested"
    damage = shard_damage(path, record)
    if damage is None and record.inputs != (made_from,):
        return "stale", _CHANGED
    return damage


def _metadata(prepared: Prepared, composite: Composite) -> Iterator[_Check]:
    """Metadata and coordinates of the Zarr group, which every run mends by itself."""
    campaign = prepared.run.campaign
    steps, layers = intervals(campaign, composite), all_layers(campaign, composite)
    contents: dict[Path, bytes] = {}
    for tile in sorted(prepared.acquisitions):
        frame = prepared.frame(tile)
        contents |= store.metadata(store_path(campaign, composite), prepared.spec, frame, layers, steps)
    for path, content in contents.items():
        yield _Check(path, "", partial(_look_at_metadata, path, content))


def _look_at_metadata(path: Path, content: bytes) -> tuple[Kind, str] | None:
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return "missing", "the file is gone"
    except OSError as error:
        return "corrupt", str(error)
    return None if found == content else ("corrupt", "not what the campaign says of tiles, layers and periods")


def _files(prepared: Prepared, composite: Composite) -> Iterator[_Check]:
    for unit in export_units(prepared, composite):
        item = item_file(prepared, composite, unit)
        made_from = marked(item)
        if made_from != unit.inputs:
            yield _Check(item, unit.id, partial(_no_item, item, made_from))
            continue
        for asset in json.loads(item.read_text())["assets"].values():
            path = item.parent / asset["href"]
            yield _Check(path, unit.id, partial(checksums.damage, path, asset), partial(item.unlink, missing_ok=True))


def _no_item(item: Path, made_from: str | None) -> tuple[Kind, str]:
    if made_from is not None:
        return "stale", _CHANGED
    return ("corrupt", "cannot be read") if item.exists() else ("missing", _NOT_MADE)


def _mosaics(prepared: Prepared, composite: Composite) -> Iterator[_Check]:
    folder = files_path(prepared.run.campaign, composite)
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
        json.loads(path.read_text())
    except FileNotFoundError:
        return "missing", "the file is gone"
    except (OSError, ValueError) as error:
        return "corrupt", str(error)
    return None

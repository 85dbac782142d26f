"""Sync: make the store equal to what a run last worked from.

Of each unit of the plan the journal says which segment holds its result, and the store what its rows were made from.
What differs is loaded, what is planned no longer is removed, what is equal stays: whatever happened in between, to
campaign, run directory or store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpckit.base.console import Console
from hpckit.base.quantities import format_count
from hpckit.base.reading import is_there
from hpckit.campaign.campaign import Campaign
from hpckit.errors import EX_FAILED, EX_TEMPFAIL, FileUnavailableError, SpoolError, SpoolFormatError, StoreError
from hpckit.production.markers import MarkerReport, are_current, refresh
from hpckit.reduce.composites.publish import is_published
from hpckit.reduce.signatures.cleaned import forget_cleaned, keep_cleaned
from hpckit.reduce.signatures.results import UnitResult, planned_inputs, results, results_of, set_aside
from hpckit.reduce.signatures.spool import Segment, read_segment, segments
from hpckit.runs.journal import read_journal
from hpckit.runs.part import require_no_part
from hpckit.runs.run import Run
from hpckit.space.crops import zone_labels
from hpckit.space.zones import ZoneLayer, load_zones
from hpckit.store import Store, open_store
from hpckit.store.owner import StoreOwner, require_own
from hpckit.store.upgrade import require_asked

_AGAIN = "the next `hpckit run` computes it again"


@dataclass(slots=True)
class SyncReport:
    """What a sync did."""

    loaded: int = 0
    """Segments loaded now, at least in part."""
    known: int = 0
    """Results that the store had already."""
    removed: int = 0
    """Results that are planned no longer, or were made from other inputs."""
    rows: int = 0
    """Zones times acquisitions loaded now."""
    markers: MarkerReport | None = None
    """What was done to the markers; None for a campaign that has no rules, and had none."""
    failures: list[str] = field(default_factory=list)
    """Segments that are damaged or gone."""
    unread: list[str] = field(default_factory=list)
    """Segments that could not be read just now; the next sync loads them."""

    @property
    def exit_code(self) -> int:
        """1 if segments are damaged or gone, 75 if some could only not be read just now, else 0."""
        return EX_FAILED if self.failures else EX_TEMPFAIL if self.unread else 0

    def describe(self) -> str:
        """One line for people, and one about markers."""
        parts = [f"{format_count(self.loaded, 'spool file')} loaded ({format_count(self.rows, 'zone observation')})"]
        if self.known:
            parts.append(f"{format_count(self.known, 'result')} known already")
        if self.removed:
            parts.append(f"{format_count(self.removed, 'outdated result')} removed")
        counts = {"damaged or gone": len(self.failures), "not readable at the moment": len(self.unread)}
        line = ", ".join([*parts, *(f"{count:,} {what}" for what, count in counts.items() if count)])
        return line if self.markers is None else f"{line}\n{self.markers.describe()}"


def sync(campaign: Campaign, run: Run, console: Console) -> SyncReport:
    """Make the store hold the results of a run's plan: all that are there, and no others.

    A segment that is damaged, or cannot be read at the moment, is reported and does not keep the others back.

    Parameters
    ----------
    campaign : Campaign
        Whose store it is.
    run : Run
        Whose frozen plan counts.

    Raises
    ------
    StoreUnavailableError
        If the store cannot be reached, or breaks off; what was loaded stays, the rest stays spooled.
    StoreError
        If the store refuses, or has results of another campaign under these names.
    """
    require_no_part(run.path, campaign.path)
    report = SyncReport()
    store, owner = open_store(campaign, console.warn), StoreOwner.of(run, campaign)
    try:
        require_asked(store, owner)
        store.prepare()
        known = store.owners()
        require_own(run, campaign, known)
        planned = planned_inputs(run)
        wanted = results(read_journal(run.path), planned)
        keep_cleaned(run, planned)
        names = [reduction.name for reduction in run.campaign.signatures]
        for name in known.keys() - set(names):
            if known[name].campaign and known[name].is_same(owner):
                report.removed += len(store.made_from(name))
                store.remove(name)
        for name in names:
            mine = {unit: result for unit, result in wanted.items() if unit.split("/")[1] == name}
            zones = load_zones(run.zones(name))
            store.load_zones(name, zones, owner)
            store.note_attributes(name, zones.attributes)
            store.note_crops(name, _crops(run.campaign, name, zones))
            _make_equal(store, run, name, mine, report, console)
        made = refresh(store, campaign.markers, names, console)
        report.markers = made if campaign.markers or not made.is_empty else None
    finally:
        store.close()
    for failure in [*report.failures, *report.unread]:
        console.warn(failure)
    return report


def _crops(campaign: Campaign, name: str, zones: ZoneLayer) -> list[str | None]:
    """Crops of the zones as their layer says now; none where it is gone, or says nothing of crops."""
    if (field := zones.attributes.crop) is not None:
        return zones.attributes.texts(field)
    reduction = next(item for item in campaign.signatures if item.name == name)
    return zone_labels(campaign.resolve(reduction.zones), reduction.id, reduction.layer, zones.ids)


def is_synced(campaign: Campaign, run: Run) -> bool | None:
    """Whether a sync would change nothing; None if the store does not say at the moment what it holds.

    Raises
    ------
    StoreError
        If the store has results of another campaign under these names.
    """
    if not is_published(campaign):
        return False
    if campaign.store.is_file and not is_there(campaign.store_path):
        return not campaign.signatures
    try:
        store = open_store(campaign)
        try:
            known, layers = (store.owners(), store.layers()) if store.is_made() else ({}, {})
            have = {name: store.made_from(name) for name in layers}
            names = {reduction.name for reduction in run.campaign.signatures}
            has_markers = not layers or are_current(store, campaign.markers, names)
            attributes = store.attributes() if layers else {}
        finally:
            store.close()
    except StoreError:
        return None
    require_own(run, campaign, known)
    mine = StoreOwner.of(run, campaign)
    if any(known[name].campaign and known[name].is_same(mine) for name in known.keys() - names):
        return False
    return has_markers and _is_equal(run, names, layers, attributes, have)


def layer_digests(run: Run) -> dict[str, str]:
    """Digest of the frozen zone layer of each reduction."""
    return {item.name: load_zones(run.zones(item.name)).digest for item in run.campaign.signatures}


def _is_equal(
    run: Run,
    names: Collection[str],
    layers: Mapping[str, str],
    attributes: Mapping[str, str],
    have: Mapping[str, Mapping[str, str]],
) -> bool:
    """Whether a store has the zones, their attributes and the results of a run's plan, and no others."""
    for name in names:
        zones = load_zones(run.zones(name))
        if (layers.get(name), attributes.get(name, "")) != (zones.digest, zones.attributes.digest):
            return False
    wanted = results_of(run)
    found = {unit: inputs for name in names for unit, inputs in have[name].items()}
    lacks = any(result.segments and found.get(unit) != result.inputs for unit, result in wanted.items())
    return not lacks and all(unit in wanted and wanted[unit].inputs == made for unit, made in found.items())


def _make_equal(
    store: Store, run: Run, reduction: str, wanted: Mapping[str, UnitResult], report: SyncReport, console: Console
) -> None:
    have = store.made_from(reduction)
    missing = {unit: result for unit, result in wanted.items() if have.get(unit) != result.inputs}
    stale = {unit for unit, inputs in have.items() if unit not in wanted or wanted[unit].inputs != inputs}
    report.known += len(have) - len(stale)
    report.removed += len(stale)
    changed = bool(stale)
    if "" in stale:  # loaded before stores knew units: it may stand in the way of any
        store.drop(reduction, [""])
        stale.discard("")
    paths = _paths(run, missing, report)
    with console.progress(f"sync {reduction}", total=len(paths)) as progress:
        for done, (units, item) in enumerate(zip(paths.values(), read_ahead(list(paths)), strict=True), 1):
            # Zones may have moved between units of an acquisition: all that is outdated of it goes at once.
            passes = {unit.rpartition("/")[2] for unit in units}
            outdated = {unit for unit in stale if unit.rpartition("/")[2] in passes}
            if _load(store, _said(item, units), units, outdated, report):
                stale -= outdated
            progress(done, len(paths))
    if changed:
        store.drop(reduction, stale)


def _paths(run: Run, missing: Mapping[str, UnitResult], report: SyncReport) -> dict[Path, dict[str, str]]:
    """Segments to load, each with the units to take from it and their inputs."""
    present = {path.name for path in segments(run.spool)} if missing else set()
    paths: dict[Path, dict[str, str]] = {}
    gone: dict[str, str] = {}
    lacking: list[str] = []
    for unit, result in sorted(missing.items()):
        name = next((name for name in result.segments if name in present), None)
        if name is not None:
            paths.setdefault(run.spool / name, {})[unit] = result.inputs
        elif result.segments:
            gone.setdefault(result.segments[0], unit)
            lacking.append(unit)
    if gone:
        forget_cleaned(run, {unit: missing[unit].inputs for unit in lacking})
    report.failures += [
        f"{run.spool / name}: gone, with the result of {unit}; {_AGAIN}" for name, unit in gone.items()
    ]
    return paths


def _said(
    item: Segment | SpoolError | FileUnavailableError, units: Mapping[str, str]
) -> Segment | SpoolError | FileUnavailableError:
    """A segment with what the journal says of its batches; an error if the segment says otherwise."""
    if not isinstance(item, Segment):
        return item
    found = {batch.unit: batch for batch in item.batches if batch.inputs in ("", units.get(batch.unit))}
    if units.keys() - found.keys():
        set_aside(item.path)
        lacks = min(units.keys() - found.keys())
        return SpoolError(f"{item.path}: it does not hold the result of {lacks} that the journal names; {_AGAIN}")
    return replace(item, batches=tuple(replace(found[unit], inputs=inputs) for unit, inputs in units.items()))


def read_ahead(paths: Sequence[Path]) -> Iterator[Segment | SpoolError | FileUnavailableError]:
    """Read and verify segments, one while the store is busy with the one before; errors stand in their place."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(_read, path) for path in paths[:1]]
        for path in [*paths[1:], None]:
            if waiting:
                ready = waiting.pop().result()
                if path is not None:
                    waiting.append(pool.submit(_read, path))
                yield ready


def _read(path: Path) -> Segment | SpoolError | FileUnavailableError:
    try:
        return read_segment(path)
    except (SpoolFormatError, FileUnavailableError) as error:
        return error
    except SpoolError as error:
        set_aside(path)
        return error


def _load(
    store: Store,
    item: Segment | SpoolError | FileUnavailableError,
    units: Collection[str],
    outdated: Collection[str],
    report: SyncReport,
) -> bool:
    if isinstance(item, SpoolError):
        report.failures.append(str(item))
    elif isinstance(item, FileUnavailableError):
        report.unread.append(str(item))
    else:
        try:
            report.rows += store.load_segment(item, units, outdated)
        except SpoolError as error:
            report.failures.append(str(error))
        else:
            report.loaded += 1
            return True
    return False

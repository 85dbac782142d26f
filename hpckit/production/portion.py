"""What of a plan can be done now where copies of remote files have a quota, and which copies make room for it.

A portion is the units of `fetch` whose files fit beside the copies that are still needed, and all units that wait for
none of the others. When its units are done, its copies are needed no more, and the next plan has the next portion.
Only copies that hpckit itself fetched for the run count, and only these are removed: the longest unused first, and
never one that a unit has still to open.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpckit.base.quantities import format_bytes
from hpckit.campaign.stages import FETCH
from hpckit.cubes.tiles import Tiles
from hpckit.errors import PlanError
from hpckit.inputs.fetched import group_of
from hpckit.production.fetch_stage import unit_of_date, used_by
from hpckit.production.fetchable import Note, all_files, discard, read_notes
from hpckit.production.planning import Planned
from hpckit.production.transfer import alone
from hpckit.runs.journal import Entry, read_journal
from hpckit.runs.plan import Unit, tiles_of


@dataclass(frozen=True, slots=True)
class Portion:
    """What can be done now."""

    planned: Planned
    """The plan, in which only these units are pending."""
    later: int = 0
    """Units of `fetch` that wait for room."""
    spent: tuple[str, ...] = ()
    """Copies that are removed before, relative to the folder."""

    def make_room(self) -> None:
        """Remove copies that are not needed any more. Only under the run's claim, and while no job works.

        Raises
        ------
        BusyError
            If another process works in the folder.
        """
        if not self.spent:
            return
        folder = self.planned.run.campaign.fetched_path
        with alone(folder):
            notes = read_notes(folder)
            discard(folder, notes, {name for name in self.spent if name in _own(folder, notes, self.planned)})

    def says(self) -> str:
        """What waits, for people; empty if nothing does."""
        quota = self.planned.run.campaign.scenes.fetch
        if not self.later or quota is None or quota.quota is None:
            return ""
        waits = "1 unit of fetch waits" if self.later == 1 else f"{self.later:,} units of fetch wait"
        return f"{waits} for room within `scenes.fetch.quota` of {format_bytes(quota.quota)}"


def portion(planned: Planned) -> Portion:
    """Choose what can be done now; nothing is removed yet.

    Raises
    ------
    PlanError
        If no unit fits into the quota.
    """
    how, units = planned.run.campaign.scenes.fetch, planned.plan.of(FETCH)
    if how is None or how.quota is None or planned.tiles is None:
        return Portion(planned)
    folder = planned.run.campaign.fetched_path
    own = _own(folder, read_notes(folder), planned)
    needed = {group for unit in units for group in unit.args["files"]}
    groups = _by_group(own)
    kept = sum(nbytes for group, nbytes in groups.items() if group in needed)
    pending = [unit for unit in units if unit.id in planned.plan.pending]
    chosen, nbytes = fitting(pending, how.quota - kept, groups)
    later = {unit.id for unit in pending} - chosen
    if later and not chosen and len(pending) == len(units):
        least = min(int(unit.args["nbytes"]) for unit in pending)
        raise PlanError(
            f"{planned.run.campaign.path}: scenes.fetch.quota: {format_bytes(how.quota)} hold none of the units of "
            f"fetch, of which the smallest has {format_bytes(least)}",
            hint="give copies more room, or set fewer `dates_per_block`",
        )
    spent = {name: size for name, size in own.items() if group_of(name) not in needed}
    excess = sum(own.values()) + nbytes - how.quota
    gone = oldest(spent, last_used(planned.tiles, planned.plan.units), excess) if spent and excess > 0 else []
    waiting = waits_for(planned.tiles, planned.plan.units, later)
    plan = replace(planned.plan, pending=planned.plan.pending - waiting)
    return Portion(replace(planned, plan=plan), len(later), tuple(gone))


def fitting(pending: Iterable[Unit], room: int, own: Mapping[str, int]) -> tuple[set[str], int]:
    """Units of `fetch` whose files fit, in the order of the plan, and the bytes that they still bring.

    Parameters
    ----------
    room : int
        Bytes.
    own : mapping of str to int
        Bytes of copies that are there, by group: a unit brings the rest of its own.
    """
    chosen: set[str] = set()
    nbytes = 0
    for unit in pending:
        there = sum(own.get(name, 0) for name in unit.args["files"])
        wanted = max(0, int(unit.args["nbytes"]) - there)
        if nbytes + wanted <= room:
            chosen.add(unit.id)
            nbytes += wanted
    return chosen, nbytes


def _by_group(own: Mapping[str, int]) -> dict[str, int]:
    found = Counter[str]()
    for name, nbytes in own.items():
        found[group_of(name)] += nbytes
    return found


def oldest(spent: Mapping[str, int], used: Mapping[str, str], excess: int) -> list[str]:
    """Copies to remove until `excess` bytes are free: those never used first, then the longest unused."""
    gone = []
    for name in sorted(spent, key=lambda name: (used.get(name, ""), name)):
        if excess <= 0:
            break
        gone.append(name)
        excess -= spent[name]
    return gone


def last_used(tiles: Tiles, units: Sequence[Unit], entries: Iterable[Entry] | None = None) -> dict[str, str]:
    """When copies were last of use, by name: start of the last unit that may have opened them, ISO 8601."""
    started = {entry.unit: entry.start for entry in entries or read_journal(tiles.run.path)}
    by_unit: dict[str, str] = {}
    for unit in units:
        if unit.id in started and unit.stage != FETCH:
            for identifier in used_by(tiles, unit):
                by_unit[identifier] = max(by_unit.get(identifier, ""), started[unit.id])
    used: dict[str, str] = {}
    for tile, acquisitions in tiles.acquisitions.items():
        for position, item in enumerate(acquisitions):
            moment = by_unit.get(unit_of_date(tiles, tile, position), "")
            for file in all_files(tiles, tile, item.scenes):
                used[file.name] = max(used.get(file.name, ""), moment)
    return used


def waits_for(tiles: Tiles, units: Iterable[Unit], later: Collection[str]) -> set[str]:
    """Ids of units that cannot be done before these of `fetch`: they too, what opens their files, and what reads it.

    What reads a cube waits until all dates of its tiles are there.
    """
    if not later:
        return set()
    places = {identifier.split("/")[1] for identifier in later}
    found = set(later)
    for unit in units:
        opens = set(used_by(tiles, unit))
        if unit.stage != FETCH and (not opens.isdisjoint(later) or (not opens and _reads(tiles, unit, places))):
            found.add(unit.id)
    return found


def _reads(tiles: Tiles, unit: Unit, places: set[str]) -> bool:
    return tiles.campaign.cube.keep and not places.isdisjoint(tiles_of(unit))


def _own(folder: Path, notes: Mapping[str, Note], planned: Planned) -> dict[str, int]:
    """Bytes of the copies that hpckit fetched for the run, by name, as far as they are what it noted."""
    mine = [note for note in notes.values() if note.run == planned.run.run_id and not note.moved]
    return {note.name: note.nbytes for note in mine if _is_as_noted(folder / note.name, note)}


def _is_as_noted(path: Path, note: Note) -> bool:
    try:
        known = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(known.st_mode) and known.st_size == note.nbytes

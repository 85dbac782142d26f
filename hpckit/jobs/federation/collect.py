"""Bring home what a site has done of its part: journal lines, and the segments that they name.

Only under the claim of the run, and only of a grant that holds: so nothing that a site did after its tiles were given
to others gets here, whenever and however it answers. What came before stays, since the tiles were its own then.
A line counts if it is of a unit of the grant's tiles, made from the inputs that the home planned, and its segment has
arrived and is sound. From then on the run at home is like any other: `status`, `report` and `sync` know no sites.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hpckit.base.files import PARTIAL, flush_folder, make_folder, write_bytes, write_text
from hpckit.base.reading import is_there, read_bytes
from hpckit.errors import SpoolError
from hpckit.jobs.federation.ledger import Grant
from hpckit.jobs.federation.member import Member
from hpckit.reduce.signatures.results import lost, results_of
from hpckit.reduce.signatures.spool import read_segment
from hpckit.runs.journal import Entry, line_of, read_journal
from hpckit.runs.part import is_of
from hpckit.runs.plan import Unit
from hpckit.runs.run import Run

_MIRROR: Final = Path("federation") / "mirror"


@dataclass(slots=True)
class Collected:
    """What a visit brought."""

    units: int = 0
    """Lines of the journal that are new here."""
    segments: int = 0
    """Segments that are new here."""
    faults: list[str] = field(default_factory=list)
    """Segments that did not arrive as they were written."""


def visit(run: Run, units: Iterable[Unit], grant: Grant, member: Member) -> Collected:
    """Copy the journals and segments of a grant, and take in what counts.

    Parameters
    ----------
    units : iterable of Unit
        The plan of the home.

    Raises
    ------
    MemberUnavailableError
        If the site does not answer; nothing is taken then.
    """
    mirror = run.path / _MIRROR / f"{grant.epoch:04d}"
    there = f"{folder_name(grant)}/{run.campaign.name}.run"
    # In this order: what journals name is there before they name it.
    for name in ("journal", "spool"):
        member.pull([f"{there}/{name}"], mirror)
    return take_in(run, planned_inputs(units, grant), grant, mirror)


def folder_name(grant: Grant) -> str:
    """Folder of a grant, below that of the federation."""
    return f"{grant.epoch:04d}"


def take_in(run: Run, planned: Mapping[str, str], grant: Grant, mirror: Path) -> Collected:
    """Take in what counts of a copy of a site's journals and segments.

    Parameters
    ----------
    planned : mapping of str to str
        Digests of the inputs of the grant's units, by unit.
    mirror : Path
        Folder with `journal` and `spool`.

    Raises
    ------
    ValueError
        If the grant was revoked.
    """
    if grant.revoked is not None:
        raise ValueError(f"grant {grant.epoch} was revoked")
    found, known = Collected(), _known_lines(run, grant)
    lines, there = dict.fromkeys(known), dict[str, bool]()
    for entry in read_journal(mirror):
        if planned.get(entry.unit) != entry.inputs:
            continue
        renamed = _renamed(entry, grant)
        if entry.segment is not None:
            if entry.segment not in there:
                there[entry.segment] = _bring(run, mirror, entry.segment, str(renamed.segment), found)
            if not there[entry.segment]:
                continue
        line = line_of(renamed)
        if line in lines:
            continue
        lines[line] = None
        found.units += 1
    if found.units:
        if found.segments:
            flush_folder(run.spool)
        write_text(_journal(run, grant), "".join(f"{line}\n" for line in lines))
    return found


def planned_inputs(units: Iterable[Unit], grant: Grant) -> dict[str, str]:
    """Digests of the inputs of those units of a plan that are of a grant, by unit."""
    tiles = frozenset(grant.tiles)
    return {unit.id: unit.inputs for unit in units if is_of(unit, tiles)}


def _renamed(entry: Entry, grant: Grant) -> Entry:
    """An entry in words of the home: sites give the same names to their writers."""
    mark = f"g{grant.epoch:04d}"
    segment = None if entry.segment is None else f"{mark}-{entry.segment}"
    return replace(entry, writer=f"{mark}/{entry.writer}", segment=segment)


def _journal(run: Run, grant: Grant) -> Path:
    return run.path / "journal" / f"g{grant.epoch:04d}-{grant.member}.jsonl"


def _known_lines(run: Run, grant: Grant) -> list[str]:
    path = _journal(run, grant)
    if not is_there(path):
        return []
    return [line for line in read_bytes(path).decode(errors="replace").split("\n") if line]


def _bring(run: Run, mirror: Path, name: str, target_name: str, found: Collected) -> bool:
    """Bring a segment to the spool of the home; whether it is there and sound."""
    if "/" in name:
        return False
    source, target = mirror / "spool" / name, run.spool / target_name
    if is_there(target):
        return True
    if not is_there(source):
        return False  # the next visit brings it
    try:
        read_segment(source)
    except SpoolError as error:
        found.faults.append(str(error))
        with suppress(OSError):
            source.unlink()  # so that the next visit copies it again
        return False
    make_folder(run.spool)
    _link(source, target)
    found.segments += 1
    return True


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, flushed to disk; a copy where the file system has no such names."""
    partial = target.with_name(f".{target.name}{PARTIAL}")
    with source.open("rb") as file:
        os.fsync(file.fileno())
    with suppress(FileNotFoundError):
        partial.unlink()
    try:
        partial.hardlink_to(source)
    except OSError:
        write_bytes(target, read_bytes(source))
        return
    partial.replace(target)


def done_of(run: Run, units: Iterable[Unit], grant: Grant) -> dict[str, str]:
    """Units of a grant whose results are at home already, with the digests of their inputs."""
    planned = planned_inputs(units, grant)
    known = {unit: result for unit, result in results_of(run).items() if unit in planned}
    gone = lost(run, known)
    return {unit: result.inputs for unit, result in known.items() if unit not in gone}

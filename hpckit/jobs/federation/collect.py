"""Bring home what a site has done of its part: journal lines, and the segments and composites that they stand for.

Only under the claim of the run, and only of a grant that holds: so nothing that a site did after its tiles were given
to others gets here, whenever and however it answers. What came before stays, since the tiles were its own then.
A line counts if it is of a unit of the grant's tiles, made from the inputs that the home planned, and its results
have arrived and are sound. From then on the run at home is like any other: `status`, `report` and `sync` know no
sites.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hpckit.base.files import flush_folder, link, make_folder, write_text
from hpckit.base.reading import is_there, read_bytes
from hpckit.errors import SpoolError
from hpckit.jobs.federation.files import CompositeFiles, folders, whole_at_home
from hpckit.jobs.federation.ledger import Grant
from hpckit.jobs.federation.member import Member
from hpckit.reduce.signatures.results import lost, results_of
from hpckit.reduce.signatures.spool import read_segment
from hpckit.runs.journal import Entry, line_of, read_journal
from hpckit.runs.part import is_of
from hpckit.runs.plan import Unit
from hpckit.runs.run import Run

_MIRROR: Final = Path("federation") / "mirror"
_COMPOSITES: Final = "composites"


@dataclass(slots=True)
class Collected:
    """What a visit brought."""

    units: int = 0
    """Lines of the journal that are new here."""
    segments: int = 0
    """Segments that are new here."""
    faults: list[str] = field(default_factory=list)
    """Segments and files that did not arrive as they were written."""


def visit(run: Run, units: Iterable[Unit], grant: Grant, member: Member) -> Collected:
    """Copy the journals and results of a grant, and take in what counts.

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
    composites = [
        f"{folder_name(grant)}/{path.relative_to(run.campaign.folder.absolute())}" for path in folders(run.campaign)
    ]
    if composites:
        member.pull(composites, mirror / _COMPOSITES)
    return take_in(run, planned(units, grant), grant, mirror)


def folder_name(grant: Grant) -> str:
    """Folder of a grant, below that of the federation."""
    return f"{grant.epoch:04d}"


def take_in(run: Run, mine: Mapping[str, Unit], grant: Grant, mirror: Path) -> Collected:
    """Take in what counts of a copy of a site's journals and results.

    Parameters
    ----------
    mine : mapping of str to Unit
        Units of the grant, by their ids.
    mirror : Path
        Folder with `journal`, `spool` and `composites`.

    Raises
    ------
    ValueError
        If the grant was revoked.
    """
    if grant.revoked is not None:
        raise ValueError(f"grant {grant.epoch} was revoked")
    found = Collected()
    lines = dict.fromkeys(_known_lines(run, grant))
    bringer = _Bringer(run, mirror, grant, found)
    for entry in read_journal(mirror):
        unit = mine.get(entry.unit)
        if unit is None or unit.inputs != entry.inputs or not bringer.bring(unit, entry):
            continue
        line = line_of(_renamed(entry, grant))
        if line not in lines:
            lines[line] = None
            found.units += 1
    if found.units:
        if found.segments:
            flush_folder(run.spool)
        write_text(_journal(run, grant), "".join(f"{line}\n" for line in lines))
    return found


class _Bringer:
    """Brings what journal lines stand for; each segment is looked at once."""

    def __init__(self, run: Run, mirror: Path, grant: Grant, found: Collected) -> None:
        self._run = run
        self._mirror = mirror
        self._grant = grant
        self._found = found
        self._segments: dict[str, bool] = {}
        self._composites = CompositeFiles(run, mirror / _COMPOSITES, f"g{grant.epoch:04d}")

    def bring(self, unit: Unit, entry: Entry) -> bool:
        """Bring the results of an attempt; whether they are at home and sound, or there are none."""
        if entry.segment is not None:
            if entry.segment not in self._segments:
                name = str(_renamed(entry, self._grant).segment)
                self._segments[entry.segment] = _bring(self._run, self._mirror, entry.segment, name, self._found)
            return self._segments[entry.segment]
        if entry.state == "done" and self._composites.has(unit):
            return self._composites.bring(unit, self._found.faults)
        return True


def planned(units: Iterable[Unit], grant: Grant) -> dict[str, Unit]:
    """Those units of a plan that are of a grant, by their ids."""
    tiles = frozenset(grant.tiles)
    return {unit.id: unit for unit in units if is_of(unit, tiles)}


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
    link(source, target)
    found.segments += 1
    return True


def done_of(run: Run, units: Iterable[Unit], grant: Grant) -> dict[str, str]:
    """Units of a grant whose results are at home already, with the digests of their inputs."""
    mine = planned(units, grant)
    known = {unit: result for unit, result in results_of(run).items() if unit in mine}
    gone = lost(run, known)
    done = {unit: result.inputs for unit, result in known.items() if unit not in gone}
    return done | (whole_at_home(run, grant.tiles) if run.campaign.composites else {})

"""What is known of a run: when, where, by what, from what, and what it made, with digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hpckit.base.quantities import format_count
from hpckit.cubes.made import Made
from hpckit.cubes.tiles import Tiles, read_tiles
from hpckit.errors import CrateError
from hpckit.production.provenance.inputs import (
    Loaded,
    OtherFile,
    Product,
    collections,
    loaded,
    other_files,
    products,
)
from hpckit.production.provenance.places import portable
from hpckit.production.provenance.software import Software, software
from hpckit.production.stages import stages_of
from hpckit.runs.journal import Entry, outcomes, read_journal
from hpckit.runs.plan import Unit, read_plan
from hpckit.runs.run import Run
from hpckit.sites.parts import Energy
from hpckit.submissions.energy import EnergyUse, by_writer, energy
from hpckit.submissions.submission import Submission, submissions
from hpckit.submissions.usage import usage


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs ran."""

    site: str
    title: str
    scheduler: str
    partitions: tuple[str, ...]
    jobs: int
    core_hours: float | None
    """Allocated; None where the scheduler did not say."""
    max_rss: int | None
    """Largest memory of a task, bytes."""


@dataclass(frozen=True, slots=True)
class Record:
    """A run, as its crate describes it."""

    run: Run
    tiles: Tiles
    start: datetime
    end: datetime
    units: Mapping[str, int]
    """Done, by stage."""
    lacks: str
    """What is not done, as half a sentence; empty if all is."""
    worker_s: float
    """Sum over all units, those that failed too, of the seconds that a worker spent on them."""
    software: Software
    places: tuple[Place, ...]
    energy: EnergyUse
    products: tuple[Product, ...]
    others: tuple[OtherFile, ...]
    campaigns: Mapping[str, str]
    loaded: tuple[Loaded, ...]
    outputs: tuple[Made, ...]

    def described(self) -> dict[str, Any]:
        """Content of `run.json`."""
        return {
            "run": self.run.run_id,
            "campaign": self.run.campaign.name,
            "folder": portable(str(self.run.campaign.folder), Path("/nonexistent")),
            "frozen": self.run.frozen,
            "start": text_of(self.start),
            "end": text_of(self.end),
            "units": dict(self.units),
            "lacks": self.lacks,
            "worker_s": round(self.worker_s, 1),
            "software": asdict(self.software),
            "sites": [asdict(place) for place in self.places],
            "energy": asdict(self.energy) | {"basis": self.energy.basis},
        }


def text_of(moment: datetime) -> str:
    """Moment as crates have it, to the second: `2026-11-30T21:00:00+00:00`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def record(run: Run, figures: Mapping[str, Energy] | None = None) -> Record:
    """Gather what is known of a run.

    Parameters
    ----------
    figures : mapping of str to Energy, optional
        As of `hpckit.submissions.energy.energy`.

    Raises
    ------
    CrateError
        If no unit is done yet, or a file is not the one that the run used.
    """
    entries, units = read_journal(run.path), read_plan(run.plan)
    known = outcomes(entries, {unit.id: unit.inputs for unit in units})
    done = [entry for entry in known.values() if entry.state == "done"]
    if not done:
        raise CrateError(f"{run.path}: no unit is done yet", hint="`hpckit run CAMPAIGN` computes them")
    tiles, jobs = read_tiles(run), submissions(run.path)
    start, end = _period(done)
    return Record(
        run=run,
        tiles=tiles,
        start=start,
        end=end,
        units=_by_stage(done),
        lacks=_lacks(units, known),
        worker_s=sum(entry.seconds for entry in entries),
        software=software(run, jobs, end.timestamp()),
        places=tuple(_places(jobs, entries)),
        energy=energy(jobs, by_writer(entries), figures),
        products=tuple(products(tiles)),
        others=tuple(other_files(run)),
        campaigns=collections(run.campaign),
        loaded=tuple(loaded(run)),
        outputs=tuple(outputs(tiles)),
    )


def outputs(tiles: Tiles) -> list[Made]:
    """What a run made, by name."""
    made = [item for stage in stages_of(tiles.campaign) for item in stage.made(tiles)]
    return sorted(made, key=lambda item: item.name)


def _period(done: Sequence[Entry]) -> tuple[datetime, datetime]:
    """From the start of the first unit to the end of the last one."""
    starts = [(datetime.fromisoformat(entry.start), entry.seconds) for entry in done]
    return min(start for start, _ in starts), max(start + timedelta(seconds=lasted) for start, lasted in starts)


def _by_stage(done: Iterable[Entry]) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in done:
        found[entry.stage] = found.get(entry.stage, 0) + 1
    return dict(sorted(found.items()))


def _lacks(units: Sequence[Unit], known: Mapping[str, Entry]) -> str:
    failed = sum(entry.state == "failed" for entry in known.values())
    waiting = len(units) - len(known)
    parts = [f"{format_count(failed, 'unit')} failed"] if failed else []
    parts += [f"{format_count(waiting, 'unit')} not done"] if waiting else []
    return ", ".join(parts)


def _places(jobs: Sequence[Submission], entries: Sequence[Entry]) -> Iterable[Place]:
    by_site: dict[str, list[Submission]] = {}
    for submission in jobs:
        by_site.setdefault(submission.site.name, []).append(submission)
    for name, mine in by_site.items():
        used = [item for submission in mine for item in usage(submission, entries)]
        rss = [
            item.memory * stage.resources.memory_mib * 2**20
            for submission in mine
            for item in usage(submission, entries)
            if item.memory is not None and (stage := submission.stage(item.stage)) is not None
        ]
        yield Place(
            site=name,
            title=mine[0].site.title,
            scheduler=mine[0].site.scheduler,
            partitions=tuple(sorted({stage.resources.partition for item in mine for stage in item.stages} - {""})),
            jobs=sum(len(item.submitted()) for item in mine),
            core_hours=round(sum(item.core_hours for item in used), 3) if used else None,
            max_rss=int(max(rss)) if rss else None,
        )

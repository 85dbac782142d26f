"""What a stage is: how it cuts its work into units, what a unit needs, and what it does.

A production knows a list of stages and nothing of what they do; each stage lies in one module beside the code that it
calls. `production/stages.py` lists those of hpckit, and other packages add theirs by the entry point `hpckit.stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from hpckit.campaign.campaign import Campaign
from hpckit.cubes.held import Held
from hpckit.cubes.made import Made
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.tiles import Tiles
from hpckit.cubes.verify import Fault
from hpckit.runs.journal import Entry, read_journal
from hpckit.runs.plan import Plan, Unit
from hpckit.runs.run import Run
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition

_LEAST_COUNT: Final = 10_000_000
"""Of pixels or zones, below which a measured pace says little."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a unit gave."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    records: Sequence[Any] = ()
    """Results in memory, that `Stage.seal` writes together with those of other units."""
    reason: str | None = None
    """Why it failed in part; what could be done is done."""
    temporary: bool = False
    """The reason may pass by itself: a file system or server refused."""


@dataclass(frozen=True, slots=True)
class Written:
    """What pending units will write to a folder."""

    what: Literal["cube", "composites", "graphs", "results", "copies"]
    folder: Path
    nbytes: int
    files: int = 0


@dataclass(slots=True)
class Planning:
    """What stages plan from: the tiles, the journal, and the units of the stages before."""

    tiles: Tiles
    entries: Sequence[Entry]
    """The journal."""
    units: list[Unit] = field(default_factory=list)
    """Of the stages before."""
    pending: set[str] = field(default_factory=set)
    """Ids of those of them that have no valid result yet."""

    def pace(self, stage: str, metric: str, default: float) -> float:
        """Count of a metric per second of one core in the done units of a stage; the default where these are few."""
        done = [e for e in self.entries if e.stage == stage and e.state == "done" and metric in e.metrics]
        count, seconds = sum(e.metrics[metric] for e in done), sum(e.seconds for e in done)
        return count / seconds if count > _LEAST_COUNT and seconds > 0 else default


class Context:
    """What a worker needs of the run directory, read when it is first needed.

    Parameters
    ----------
    read_tiles : callable
        Reads the tiles that were frozen.
    stages : mapping of str to Stage
        Stages of the campaign by name.
    writer : str
        Name of this process in manifests and files.
    threads : int
        That it may use.
    names : sequence of str, optional
        Tiles that its units concern, where these are not all.
    """

    def __init__(
        self,
        run: Run,
        read_tiles: Callable[[], Tiles],
        stages: Mapping[str, Stage],
        writer: str,
        threads: int,
        names: Sequence[str] | None = None,
    ) -> None:
        self.run = run
        self.stages = stages
        self.writer = writer
        self.threads = threads
        self._read_tiles = read_tiles
        self._names = names

    @cached_property
    def tiles(self) -> Tiles:
        """What the campaign came down to; steps that make its products work before that is known."""
        return self._read_tiles()

    @cached_property
    def manifest(self) -> Manifest:
        """What is in the cube."""
        return Manifest.load(self.tiles.spec.path, self._names)

    @cached_property
    def finished(self) -> frozenset[tuple[str, str]]:
        """Ids and inputs of units that were done before this stage began."""
        entries = read_journal(self.run.path)
        return frozenset((entry.unit, entry.inputs) for entry in entries if entry.state == "done")

    def acquisition(self, tile: str, identifier: str) -> tuple[int, Acquisition] | None:
        """Position on the tile's time axis, and the acquisition; None if the tile does not have it."""
        for position, item in enumerate(self.tiles.acquisitions[tile]):
            if item.id == identifier:
                return position, item
        return None


class Stage(Protocol):
    """One kind of work. Classes that name this one as their base need to write only what they do otherwise."""

    name: str
    """In plans, journals, site files and names of units; unique."""
    follows: tuple[str, ...] = ()
    """Stages whose units must have ended before those of this one begin."""
    gated: bool = False
    """On a cluster, a gate reads the journals of the stages before, and lets this one work or not."""
    mirrors: str | None = None
    """Stage with the same tiles in the same elements, so that each element can wait for its namesake only."""
    reads_cube: bool = True
    """It reads the cube; campaigns that keep none are refused if a stage of another package does."""
    in_store: bool = False
    """Its results are loaded into the store: the last job waits for it."""
    uses_gpu: bool = False
    """It computes on a GPU, where a reduction asks for `device: cuda`."""
    cores: int | None = None
    """Of one process, where that is fixed."""
    memory_mib: int | None = None
    """Of one unit, where that is declared and not estimated."""
    gpus: int = 0
    """Of an element, where that is declared."""
    alone: bool = False
    """Elements are started without MPI: its units start other programs."""
    transfers: bool = False
    """It brings files from servers: one process at a time, unless the site file says otherwise, and in a partition
    with a network, if there is one."""
    shorter: str = "set fewer `dates_per_block`"
    """How its longest unit becomes shorter."""
    colour: str = "#6b6b6b"
    """In pictures."""

    def freeze(self, tiles: Tiles) -> Iterable[str]:
        """Freeze what this stage alone needs, in the draft of frozen inputs; return what a person is warned of."""
        return ()

    def hold(self, tiles: Tiles) -> Held:
        """Windows that the cube must hold: those that the stages before need, and those that this one needs."""
        return tiles.held

    def lay_out(self, tiles: Tiles) -> None:
        """Lay stores out, as work begins."""
        return

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """All units, each with whether it is done."""
        ...

    def decodes(self, planning: Planning) -> Mapping[tuple[str, int], Set[BandRef]]:
        """Bands of products that what is left of it will read, by tile and position on its time axis."""
        return {}

    def memory(self, tiles: Tiles) -> int:
        """Peak bytes of a process that works through units, apart from the interpreter and libraries."""
        return 0

    def writes(self, tiles: Tiles, plan: Plan, workers: int) -> Iterable[Written]:
        """What the pending units will write."""
        return ()

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Do a unit.

        Raises
        ------
        HpckitError
            If it cannot be done; the message says why.
        """
        ...

    def execute_bundle(self, context: Context, units: Sequence[Unit]) -> Sequence[Outcome]:
        """Do units of one bundle (`Unit.bundle`), which read the same, together.

        Returns
        -------
        sequence of Outcome
            Of each unit. One that cannot be done has a reason and no records; the others are done all the same.

        Raises
        ------
        HpckitError
            If none of them can be done.
        """
        return [self.execute(context, unit) for unit in units]

    def nbytes(self, record: Any) -> int:
        """Memory that a record takes."""
        return 0

    def seal(self, context: Context, records: Sequence[Any]) -> Mapping[str, str]:
        """Write records to a file; return the name of the file that holds each unit."""
        return {}

    def verify(self, tiles: Tiles, progress: Callable[[int, int], None]) -> list[Fault]:
        """Look at what was written; what is faulty is marked, so that the next run makes it again."""
        return []

    def made(self, tiles: Tiles) -> Iterable[Made]:
        """What was made, with digests of its content, as far as it is recorded: no file is read for that."""
        return ()

    def finish(self, campaign: Campaign) -> None:
        """Write what stands over all units, once they have ended on this machine or in the last job of a chain."""
        return

"""A whole production on this machine: prepare, plan, run the stages, sync."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from hpckit.base import seen
from hpckit.base.card import card
from hpckit.base.collector import with_collector, without_collector
from hpckit.base.console import Console
from hpckit.base.filelocks import gdal_without_locks, locks_work
from hpckit.base.files import PARTIAL
from hpckit.base.quantities import available_cores, format_count
from hpckit.base.reading import is_there
from hpckit.campaign.campaign import Campaign
from hpckit.cubes.tiles import read_tiles
from hpckit.cubes.verify import Fault
from hpckit.errors import CubeError
from hpckit.inputs import partnotes
from hpckit.production.compiling import compile_kernels, lacking
from hpckit.production.estimate import Estimate, estimate, workers_of
from hpckit.production.kernels import of_campaign
from hpckit.production.local import run_units
from hpckit.production.planning import Planned, lay_stores_out, plan_all, plan_products, working
from hpckit.production.portion import portion
from hpckit.production.stages import stages_of
from hpckit.production.sync import SyncReport, sync
from hpckit.production.workerprocess import make_ready
from hpckit.runs.frozen import adopt, prune
from hpckit.runs.journal import Entry
from hpckit.runs.part import AT_SITES, is_home, require_no_ledger, require_no_part
from hpckit.runs.plan import Unit, tiles_of_all
from hpckit.runs.run import Run, campaign_digest, claim, find_run, open_run
from hpckit.steps.command import scratch_prefix
from hpckit.submissions.idle import require_no_jobs, submitted

_SHOWN: Final = 8
"""Failures that notebooks list."""


@dataclass(slots=True)
class Result:
    """Result of a run."""

    run: Run
    done: dict[str, int] = field(default_factory=dict)
    """Units done in this run, by stage."""
    failed: list[Entry] = field(default_factory=list)
    stopped: bool = False
    """The user stopped it before its end."""
    sync: SyncReport | None = None
    unread: int = 0
    """Products and folders that could not be read because of a temporary fault of the file system."""

    @property
    def exit_code(self) -> int:
        """0: all went well, 1: units failed, 75: only files could not be read at the moment, 130: it was stopped."""
        if self.stopped:
            return 130
        # What failed in later stages may only follow from the first one, and is tried again with it.
        if not all(entry.temporary for entry in self.failed if entry.stage == self.failed[0].stage):
            return 1
        return (self.sync.exit_code if self.sync is not None else 0) or (75 if self.unread or self.failed else 0)

    def _repr_html_(self) -> str:
        rows = [(stage, f"{format_count(count, 'unit')} done") for stage, count in self.done.items()]
        rows = rows or [("units", "nothing was left to do" if not self.failed else "none done")]
        rows += [(entry.unit, f"failed: {entry.reason}") for entry in self.failed[:_SHOWN]]
        if len(self.failed) > _SHOWN:
            rows.append(("", f"{len(self.failed) - _SHOWN:,} more failed: `status` lists them"))
        if self.stopped:
            rows.append(("stopped", "before the end; call `run` again to continue"))
        return card(f"Run of {self.run.campaign.name}", rows)


def plan_campaign(campaign: Campaign, console: Console, workers: int | None = None) -> tuple[Planned, Estimate]:
    """Read the inputs of the campaign and plan its units; compute nothing.

    Raises
    ------
    PlanError
        If the plan cannot fit into memory or on the disk.
    """
    run = open_run(campaign)
    with claim(run), gdal_without_locks(not locks_work(run.path)):
        products = plan_products(run, console)
        planned = products if products is not None and products.plan.pending else plan_all(run, console, products)
        adopt(planned.run, works=False)
        prune(planned.run, submitted(run))
    if planned.tiles is None:
        console.say("the products that steps make come first; what is made from them is planned when they are there")
    return planned, estimate(planned, workers or available_cores())


def run_campaign(
    campaign: Campaign, console: Console, *, workers: int | None = None, with_sync: bool = True
) -> Result:
    """Run the unfinished units of all stages, and sync.

    Parameters
    ----------
    workers : int, optional
        Processes; the cores of this machine if not given.
    with_sync : bool
        Load the results into the store at the end.

    Raises
    ------
    BusyError
        If another process works on the same run.
    """
    workers = workers or available_cores()
    run = open_run(campaign)
    require_no_ledger(run.path, campaign.path)
    require_no_part(run.path, campaign.path)
    if not is_there(run.path / "journal"):  # else perhaps nothing is left to do
        make_ready(_threads(workers))
    with claim(run), gdal_without_locks(not locks_work(run.path)), without_collector():
        require_no_jobs(run)
        tidy(run)
        result = Result(run)
        products = plan_products(run, console)
        if products is not None and products.plan.pending:
            _run_stages(products, workers, console, result)
            if result.stopped:
                return result
        planned = _run_portions(run, products, workers, console, result)
        for stage in planned.stages:
            stage.finish(campaign)
        if with_sync and not result.stopped and campaign.signatures:
            with with_collector():
                result.sync = sync(campaign, planned.run, console)
    return result


def verify_campaign(campaign: Campaign, console: Console) -> list[Fault]:
    """Check the files of all stages; faulty files are marked, so that the next run writes them again.

    Raises
    ------
    CubeError
        If nothing was computed yet.
    """
    run = open_run(campaign)
    if not run.tiles.exists():
        raise CubeError(f"{campaign.path}: nothing was computed yet", hint="`hpckit run` does that")
    run = find_run(run.path)
    # A home of a federation has frozen a catalogue of all sites in the place of its own products.
    if not is_home(run.path) and campaign_digest(run.campaign) != campaign_digest(campaign):
        console.warn(f"{campaign.path} was edited since; what is verified is what the run last worked on")
    with claim(run), console.progress("verify") as progress:
        require_no_jobs(run)
        tiles = read_tiles(run)
        away = AT_SITES if is_home(run.path) else ()
        stages = [stage for stage in stages_of(run.campaign) if stage.name not in away]
        return [fault for stage in stages for fault in stage.verify(tiles, progress)]


def _run_portions(run: Run, products: Planned | None, workers: int, console: Console, result: Result) -> Planned:
    """Plan, and do the unfinished units; where copies have a quota, portion by portion, as long as that helps."""
    while True:
        planned = plan_all(run, console, products)
        result.unread = planned.unread
        now, before = portion(planned), (sum(result.done.values()), len(result.failed))
        now.make_room()
        _run_stages(now.planned, workers, console, result)
        if not now.later or result.stopped:
            return planned
        if (sum(result.done.values()), len(result.failed)) == before:
            console.warn(f"{now.says()}, which copies for units that failed take: repair these, or give it more room")
            return planned


def _run_stages(planned: Planned, workers: int, console: Console, result: Result) -> None:
    """Do the unfinished units of a plan, stage by stage."""
    result.run = working(planned.run)
    if planned.plan.pending:
        make_ready(_threads(workers))
        estimate(planned, workers).require_fit()
    lay_stores_out(planned)
    tried = {entry.unit for entry in result.failed}
    names = of_campaign(planned.run.campaign)
    if planned.plan.pending and lacking(names):
        with console.progress("compile kernels"):
            compile_kernels(names, processes=workers)
    for stage in planned.with_units:
        units = [unit for unit in planned.plan.todo(stage.name) if unit.id not in tried]
        if not units or result.stopped:
            continue
        total = sum(unit.cost for unit in units)
        with with_collector(), console.progress(stage.name, total=total, unit="core-s") as progress:
            cost = {unit.id: unit.cost for unit in units}
            left = run_units(
                planned.run.path,
                units,
                workers=workers_of(stage, workers),
                threads=stage.cores or _threads(workers),
                report=_reporter(result, console, cost, progress),
                tiles=_tiles(planned, units),
                frozen=planned.run.frozen,
            )
        result.stopped = bool(left)


def _tiles(planned: Planned, units: Sequence[Unit]) -> list[str] | None:
    """Tiles that units concern, where these are not all: a worker reads the scenes of no others."""
    tiles = tiles_of_all(units)
    return None if planned.tiles is None or len(tiles) == len(planned.tiles.acquisitions) else tiles


def _threads(workers: int) -> int:
    """Threads of each of some worker processes on this machine."""
    return max(1, available_cores() // workers)


def _reporter(
    result: Result, console: Console, cost: dict[str, float], progress: Callable[[float, float], None]
) -> Callable[[Entry], None]:
    total, done = sum(cost.values()), 0.0

    def report(entry: Entry) -> None:
        nonlocal done
        done += cost.get(entry.unit, 0.0)
        if entry.state == "done":
            result.done[entry.stage] = result.done.get(entry.stage, 0) + 1
        else:
            result.failed.append(entry)
            console.warn(f"{entry.unit} failed: {entry.reason}")
        progress(done, total)

    return report


def tidy(run: Run) -> None:
    """Remove what killed writers left in the run directory and among the outputs of steps; nobody else works now."""
    mine = f"{scratch_prefix(run)}*{PARTIAL}"
    folders = {run.campaign.resolve(step.folder) for step in run.campaign.steps}
    paths = [*run.path.rglob(f".*{PARTIAL}*"), *(path for folder in folders for path in folder.glob(mine))]
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.unlink(missing_ok=True)
    for folder in (run.path / "seen").glob("*"):
        with suppress(OSError):
            seen.compact(folder)
    with suppress(OSError):
        partnotes.compact(run.tile_parts)

"""A whole production on this machine: prepare, plan, run the stages, sync."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from hpckit import tiling
from hpckit.campaign import Campaign
from hpckit.composites.publish import publish
from hpckit.composites.verify import verify_composites
from hpckit.console import Console
from hpckit.cube.layout import CubeSpec
from hpckit.cube.manifest import Manifest
from hpckit.cube.verify import Fault, leftovers
from hpckit.cube.verify import verify as verify_cube
from hpckit.errors import CubeError
from hpckit.estimate import Estimate, estimate, measured_rates, require_fit, workers_of
from hpckit.files import PARTIAL
from hpckit.journal import Entry
from hpckit.local import run_units
from hpckit.plan import Plan
from hpckit.production import Prepared, make_plan, nothing_yet, plan_products, prepare
from hpckit.quantities import available_cores
from hpckit.run import Run, claim, open_run
from hpckit.scenes import catalogue
from hpckit.steps.command import scratch_prefix
from hpckit.store.sync import SyncReport, sync


@dataclass(slots=True)
class Result:
    """What a run did."""

    run: Run
    done: dict[str, int] = field(default_factory=dict)
    """Units done in this run, by stage."""
    failed: list[Entry] = field(default_factory=list)
    stopped: bool = False
    """The user stopped it before its end."""
    sync: SyncReport | None = None

    @property
    def exit_code(self) -> int:
        """0 if all went well, 1 if units failed, 130 if it was stopped."""
        if self.stopped:
            return 130
        return 1 if self.failed or (self.sync is not None and self.sync.failures) else 0


def plan_campaign(
    campaign: Campaign, console: Console, workers: int | None = None
) -> tuple[Prepared, Plan, Estimate]:
    """Read what the campaign points to and plan its units; compute nothing.

    Raises
    ------
    PlanError
        If the plan cannot fit into memory or on the disk.
    """
    run = open_run(campaign)
    with claim(run):
        prepared, plan = _plan(run, console)
    if not prepared.acquisitions:
        console.say("the products that steps make come first; what is made from them is planned when they are there")
    return prepared, plan, estimate(prepared, plan, workers or available_cores())


def run_campaign(
    campaign: Campaign, console: Console, *, workers: int | None = None, with_sync: bool = True
) -> Result:
    """Run all stages and sync; what was done before is not done again.

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
    with claim(run):
        require_no_jobs(run)
        tidy(run)
        result = Result(run)
        prepared, plan = _plan(run, console)
        if not prepared.acquisitions:  # the steps that make its products come first
            require_fit(estimate(prepared, plan, workers))
            _run_stages(prepared, plan, workers, console, result)
            if result.stopped:
                return result
            prepared, plan = plan_all(run, console)
        require_fit(estimate(prepared, plan, workers))
        _run_stages(prepared, plan, workers, console, result)
        Manifest.load(prepared.spec.path).compact()
        publish(campaign)
        if with_sync and not result.stopped and campaign.signatures:
            result.sync = sync(campaign, run, console)
    return result


def verify_campaign(campaign: Campaign, console: Console) -> list[Fault]:
    """Check cube and composites of a campaign; what is faulty is marked, so that the next run writes it anew.

    Raises
    ------
    CubeError
        If nothing was ingested yet.
    """
    run = open_run(campaign)
    if not run.selected.exists():
        raise CubeError(f"{campaign.cube_path}: nothing was ingested yet", hint="`hpckit run` does that")
    spec = CubeSpec.of(campaign)
    with claim(run), console.progress("verify") as progress:
        require_no_jobs(run)
        tiles, _ = tiling.group(campaign, catalogue.read(run.selected))
        manifest = Manifest.load(spec.path)
        faults = verify_cube(spec, tiles, manifest, progress)
        manifest.disown((fault.key for fault in faults if fault.kind != "stale"), "verify")
        for path in leftovers(spec.path):
            path.unlink(missing_ok=True)
        faults += verify_composites(Prepared(run, tiles, (), (), {}, {}, {}), progress)
    return faults


def _plan(run: Run, console: Console) -> tuple[Prepared, Plan]:
    """Plan what can be planned now: while products are to be made, only that."""
    first = plan_first(run, console)
    return plan_all(run, console) if first is None else (nothing_yet(run), first[0])


def plan_first(run: Run, console: Console) -> tuple[Plan, frozenset[str]] | None:
    """Plan the steps that make the campaign's products: units, and ids of those that failed; None if all are done."""
    if not any(step.makes_products for step in run.campaign.steps):
        return None
    with console.progress("scan products") as progress:
        return plan_products(run, lambda _what, done, total: progress(done, total), console.warn)


def plan_all(run: Run, console: Console) -> tuple[Prepared, Plan]:
    """Choose scenes and plan all units."""
    with console.progress("scan products") as progress:
        prepared = prepare(run, lambda _what, done, total: progress(done, total))
    for failure in prepared.failures:
        console.warn(failure.reason)
    return prepared, make_plan(prepared, measured_rates(run.path))


def _run_stages(prepared: Prepared, plan: Plan, workers: int, console: Console, result: Result) -> None:
    tried = {entry.unit for entry in result.failed}
    for stage in plan.stages:
        units = [unit for unit in plan.todo(stage) if unit.id not in tried]
        if not units or result.stopped:
            continue
        with console.progress(stage, total=sum(unit.cost for unit in units), unit="core-s") as progress:
            cost = {unit.id: unit.cost for unit in units}
            report = _reporter(result, console, cost, progress)
            at_once, step = workers_of(prepared.run.campaign, stage, workers), prepared.run.campaign.step(stage)
            threads = step.cores if step else max(1, available_cores() // workers)
            left = run_units(prepared.run.path, units, workers=at_once, threads=threads, report=report)
        result.stopped = bool(left)


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


def require_no_jobs(run: Run) -> None:
    """Refuse to touch a run while jobs of a cluster may work on it.

    Raises
    ------
    BusyError
        If they do.
    """
    from hpckit.submission import latest

    last = latest(run.path)
    if last is not None and not last.is_over:
        from hpckit.scheduler import scheduler_of
        from hpckit.submit import require_idle, runner_of

        scheduler = scheduler_of(last.site)
        require_idle(run, scheduler, runner_of(last.site, scheduler))


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

"""Plan a production: what all stages have to do, and what of it is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpckit.base.collector import without_collector
from hpckit.base.console import Console
from hpckit.campaign import owner
from hpckit.catalogue.catalogue import Failure
from hpckit.cubes import held
from hpckit.cubes.stage import Planning, Stage
from hpckit.cubes.tiles import Tiles
from hpckit.production.extent import require_windows
from hpckit.production.prepare import prepare
from hpckit.production.stages import stages_of
from hpckit.runs.frozen import adopt, begin, prune, seal
from hpckit.runs.journal import read_journal
from hpckit.runs.plan import Plan, Unit, write_plan
from hpckit.runs.run import Run
from hpckit.sensors.model import Dropped
from hpckit.steps import stage as steps
from hpckit.steps.units import pending, product_units, scan_products
from hpckit.store.free import require_free
from hpckit.submissions.idle import submitted


@dataclass(frozen=True, slots=True)
class Planned:
    """Units of a campaign, frozen with all that they are made from."""

    run: Run
    stages: tuple[Stage, ...]
    """In the order in which they run."""
    plan: Plan
    tiles: Tiles | None
    """None while only the products that steps make are planned: the rest is planned when they are there."""
    failed: frozenset[str] = frozenset()
    """Ids of pending units of products that failed when they were last tried."""
    dropped: Sequence[Dropped] = ()
    """Scenes that are not used."""
    failures: Sequence[Failure] = ()
    """Products that could not be read, and folders that could not be seen."""

    @property
    def unread(self) -> int:
        """Products and folders that could not be read because of a temporary fault of the file system."""
        return sum(failure.passes for failure in self.failures)

    def stage(self, name: str) -> Stage:
        """Stage by name."""
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def with_units(self) -> list[Stage]:
        """Stages that have units."""
        names = set(self.plan.stages)
        return [stage for stage in self.stages if stage.name in names]


def plan_products(run: Run, console: Console) -> Planned | None:
    """Plan the steps that make the campaign's products, which come before all that is made from them.

    Returns
    -------
    Planned or None
        None if there is no such step. If all units are done, nothing is frozen for them.
    """
    stages = steps.products(run.campaign)
    if not stages:
        return None
    with console.progress("scan products") as progress:
        failures = scan_products(run, progress)
    for failure in failures:
        console.warn(failure.reason)
    entries = read_journal(run.path)
    units = [unit for stage in stages for unit in product_units(run, stage.step, entries)]
    left, failed = pending(run, entries, units)
    if left:
        draft = begin(run)
        write_plan(draft.plan, units)
        run = seal(draft)
    return Planned(run, tuple(stages), Plan(units, left), None, failed, failures=failures)


@without_collector()
def plan_all(run: Run, console: Console, products: Planned | None = None) -> Planned:
    """Choose scenes, plan the units of all stages, and freeze what they are made from.

    Parameters
    ----------
    products : Planned, optional
        Plan of the steps that made the products: what could not be read for it is also missing here.
    """
    require_free(run)
    with console.progress("scan products") as progress:
        prepared = prepare(run, lambda _what, done, total: progress(done, total))
    for failure in prepared.failures:
        console.warn(failure.reason)
    tiles, stages = prepared.tiles, stages_of(run.campaign)
    for stage in stages:
        for warning in stage.freeze(tiles):
            console.warn(warning)
    again = stages if run.campaign.extensions else []  # these may ask for windows after the others
    for stage in [*stages, *again]:
        tiles = replace(tiles, held=stage.hold(tiles))
    require_windows(tiles)
    held.write(tiles.run.windows, tiles.held)
    plan = make_plan(tiles, stages)
    write_plan(tiles.run.plan, plan.units)
    sealed = seal(tiles.run)
    tiles = replace(tiles, run=sealed)
    failures = [*(() if products is None else products.failures), *prepared.failures]
    return Planned(sealed, tuple(stages), plan, tiles, dropped=prepared.dropped, failures=failures)


@without_collector()
def make_plan(tiles: Tiles, stages: Sequence[Stage]) -> Plan:
    """Cut the work into units, and find those that are left."""
    planning = Planning(tiles, read_journal(tiles.run.path))
    for stage in stages:
        units: list[Unit] = []
        left: set[str] = set()
        for unit, done in stage.units(planning):
            units.append(unit)
            if not done:
                left.add(unit.id)
        planning.units += units
        planning.pending |= left
    return Plan(planning.units, frozenset(planning.pending))


@without_collector()
def lay_stores_out(planned: Planned) -> None:
    """Lay cube and composites out, as work on them begins; from then on they belong to the campaign.

    Raises
    ------
    CubeError
        If they belong to another one.
    """
    if planned.tiles is None:
        return
    owner.take(planned.run.campaign)
    for stage in planned.stages:
        stage.lay_out(planned.tiles)


def working(run: Run) -> Run:
    """The run, which works from these frozen inputs from now on: status, report and sync go by them."""
    adopt(run, works=True)
    prune(run, submitted(run))
    return run

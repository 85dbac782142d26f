"""The stages of a campaign, and what a worker does with a unit of any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from hpckit.base.plugins import added, load
from hpckit.campaign.campaign import Campaign
from hpckit.cubes import ingest_stage
from hpckit.cubes.records import disown
from hpckit.cubes.stage import Context, Outcome, Stage
from hpckit.errors import CubeError, PlanError, ShardError
from hpckit.production.prepare import read_tiles
from hpckit.reduce.composites import stage as composites
from hpckit.reduce.signatures import stage as signatures
from hpckit.runs.plan import Unit
from hpckit.runs.run import find_run, open_frozen
from hpckit.steps import stage as steps

GROUP: Final = "hpckit.stages"
"""Group of the entry points by which other packages add stages: functions from a campaign to its stages.

The name of the entry point is that of the extension in campaign files.
"""

_OWN: Final = (ingest_stage.stages, signatures.stages, composites.stages)


def stages_of(campaign: Campaign) -> list[Stage]:
    """Stages that a campaign may have, in the order in which they run.

    Raises
    ------
    PlanError
        If two have one name, or one of another package is not installed or cannot be loaded.
    """
    found: list[Stage] = [*steps.products(campaign)]
    for make in (*_OWN, *_foreign(campaign), steps.stages):
        found += make(campaign)
    names = [stage.name for stage in found]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"two stages are called {name!r}", hint=f"see the entry points {GROUP}")
    return found


def load_context(
    run_dir: Path, writer: str, threads: int, names: Sequence[str] | None = None, frozen: str | None = None
) -> Context:
    """What a worker needs, read from what was frozen.

    Parameters
    ----------
    names : sequence of str, optional
        Tiles that its units concern, where these are not all.
    """
    run = find_run(run_dir) if frozen is None else open_frozen(run_dir, frozen)
    stages = {stage.name: stage for stage in stages_of(run.campaign)}
    return Context(run, lambda: read_tiles(run, names), stages, writer, threads, names)


def execute(context: Context, unit: Unit) -> Outcome:
    """Do a unit.

    Raises
    ------
    HpckitError
        If it cannot be done; the message says why. A shard that is found gone or damaged is marked for the next run.
    """
    stage = context.stages.get(unit.stage)
    if stage is None:
        raise PlanError(f"unit {unit.id}: the campaign has no such stage", hint="`hpckit plan` makes the plan again")
    try:
        return stage.execute(context, unit)
    except ShardError as fault:
        disown(fault, context.writer)
        raise CubeError(f"{fault.message}; it is marked, and the next run writes it again") from None


def _foreign(campaign: Campaign) -> Iterator[Callable[[Campaign], Sequence[Stage]]]:
    """Functions of other packages, for the extensions that a campaign names."""
    known = added(GROUP) if campaign.extensions else {}
    for name in campaign.extensions:
        if name not in known:
            raise PlanError(
                f"{campaign.path}: extensions.{name}: no installed package adds such a stage",
                hint=f"there is {', '.join(known) or 'none'}; install it where hpckit is, also for the jobs",
            )
        yield load(f"extensions.{name}", known[name], PlanError)

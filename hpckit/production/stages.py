"""The stages of a campaign, and what a worker does with a unit of any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hpckit.base.plugins import added, load
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.cubeless import REMEDY
from hpckit.cubes import ingest_stage
from hpckit.cubes.records import disown
from hpckit.cubes.stage import Context, Outcome, Stage
from hpckit.cubes.tiles import read_tiles
from hpckit.errors import CubeError, PlanError, ShardError
from hpckit.production import fetch_stage
from hpckit.reduce.composites import stage as composites
from hpckit.reduce.graphs import stage as graphs
from hpckit.reduce.graphs.ondemand import stage as ondemand
from hpckit.reduce.signatures import stages as signatures
from hpckit.runs.plan import Bundle, Unit
from hpckit.runs.run import find_run, open_frozen
from hpckit.steps import stage as steps

GROUP: Final = "hpckit.stages"
"""Group of the entry points by which other packages add stages: functions from a campaign to its stages.

The name of the entry point is that of the extension in campaign files.
"""

_OWN: Final = (ingest_stage.stages, signatures.stages, composites.stages, ondemand.stages, graphs.stages)


def stages_of(campaign: Campaign) -> list[Stage]:
    """Stages that a campaign may have, in the order in which they run.

    Raises
    ------
    PlanError
        If two have one name, or one of another package is not installed, cannot be loaded, or reads a cube that the
        campaign does not keep.
    """
    found: list[Stage] = [*steps.products(campaign)]
    readers = [stage for own in _OWN for stage in own(campaign)]
    for extension, make in _foreign(campaign):
        readers += _require_no_reader(campaign, extension, make(campaign))
    found += [*fetch_stage.stages(campaign, readers), *readers]
    found += steps.stages(campaign)
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
    with _marking(context):
        return _stage(context, unit).execute(context, unit)


def execute_bundle(context: Context, bundle: Bundle) -> Sequence[Outcome]:
    """Do the units of a bundle together.

    Returns
    -------
    sequence of Outcome
        Of each unit.

    Raises
    ------
    HpckitError
        If none of them can be done.
    """
    with _marking(context):
        return _stage(context, bundle[0]).execute_bundle(context, bundle)


def _stage(context: Context, unit: Unit) -> Stage:
    stage = context.stages.get(unit.stage)
    if stage is None:
        raise PlanError(f"unit {unit.id}: the campaign has no such stage", hint="`hpckit plan` makes the plan again")
    return stage


@contextmanager
def _marking(context: Context) -> Iterator[None]:
    try:
        yield
    except ShardError as fault:
        disown(fault, context.writer)
        raise CubeError(f"{fault.message}; it is marked, and the next run writes it again") from None


def _foreign(campaign: Campaign) -> Iterator[tuple[str, Callable[[Campaign], Sequence[Stage]]]]:
    """Functions of other packages, by the extensions that a campaign names."""
    known = added(GROUP) if campaign.extensions else {}
    for name in campaign.extensions:
        if name not in known:
            raise PlanError(
                f"{campaign.path}: extensions.{name}: no installed package adds such a stage",
                hint=f"there is {', '.join(known) or 'none'}; install it where hpckit is, also for the jobs",
            )
        yield name, load(f"extensions.{name}", known[name], PlanError)


def _require_no_reader(campaign: Campaign, name: str, stages: Sequence[Stage]) -> Sequence[Stage]:
    """Stages of an extension; refused if they read a cube that the campaign does not keep."""
    for stage in stages:
        if not campaign.cube.keep and stage.reads_cube:
            raise PlanError(
                f"{campaign.path}: extensions.{name}: {stage.name} reads the cube, and `cube.keep: false` keeps none",
                hint=REMEDY,
            )
    return stages

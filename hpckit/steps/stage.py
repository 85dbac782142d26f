"""Stages of a user's own: one for each step of the campaign file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hpckit.base.quantities import format_count
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.step import Step
from hpckit.cubes.audit import damaged
from hpckit.cubes.ingest import ingest_units, is_done, shards
from hpckit.cubes.stage import Context, Outcome, Planning, Stage
from hpckit.cubes.tiles import Tiles
from hpckit.errors import CubeError
from hpckit.runs.plan import Unit
from hpckit.steps.command import run_command
from hpckit.steps.units import pending, product_units, units


class StepStage(Stage):
    """Run a command line for each product or tile."""

    alone = True
    shorter = "correct `seconds` of the step"

    def __init__(self, step: Step, campaign: Campaign) -> None:
        self.step = step
        self.name = step.stage
        self.before = step.waits_for(campaign.extensions)
        self.follows = () if self.before is None else (self.before,)
        self.cores, self.memory_mib, self.gpus = step.cores, step.memory_mib, step.gpus

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each product or tile."""
        run = planning.tiles.run
        made = (
            product_units(run, self.step, planning.entries)
            if self.step.makes_products
            else units(planning, self.step)
        )
        left, _ = pending(run, planning.entries, made)
        return [(unit, unit.id not in left) for unit in made]

    def memory(self, tiles: Tiles) -> int:
        """What the step declares."""
        return self.step.memory_mib * 2**20

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Run the command line."""
        if self.before == "ingest":
            reason = _without(context, str(unit.args["words"]["tile"]))
        else:
            reason = _too_early(context, unit)
        return Outcome(run_command(context.run, self.step, unit, context.threads), reason=reason)


def products(campaign: Campaign) -> Sequence[StepStage]:
    """Stages that make the campaign's products."""
    return [StepStage(step, campaign) for step in campaign.steps if step.makes_products]


def stages(campaign: Campaign) -> Sequence[StepStage]:
    """Stages that work on products, tiles, or what other stages make from them."""
    return [StepStage(step, campaign) for step in campaign.steps if not step.makes_products]


def _too_early(context: Context, unit: Unit) -> str | None:
    """Why a result must not count: the first unit that had not finished when this one ran."""
    late = [str(name) for name, inputs in unit.args.get("waits", ()) if (name, inputs) not in context.finished]
    if not late:
        return None
    return f"done before what it waits for, which failed ({late[0]}{', …' if late[1:] else ''}); it will run again"


def _without(context: Context, tile: str) -> str | None:
    """What a cube lacks since dates of it could not be ingested; None if it is whole.

    Raises
    ------
    CubeError
        If parts of it were not ingested at all.
    """
    spec, acquisitions = context.tiles.spec, context.tiles.acquisitions[tile]
    units = ingest_units(spec, tile, acquisitions, context.tiles.held)
    wanted = [shard for unit in units for shard in shards(spec, unit, acquisitions)]
    known = [record for shard in wanted if (record := context.manifest.get(shard.key)) is not None]
    context.manifest.forget(damaged(spec.path, known, context.run.seen("shards", context.writer)))
    absent = sum(context.manifest.get(shard.key) is None for shard in wanted)
    if absent:
        raise CubeError(
            f"tile {tile} is not wholly ingested: {absent} of {format_count(len(wanted), 'shard')} not there",
            hint="see why in the failures of the ingest stage; the next run tries again",
        )
    partial = sum(not is_done([shard], context.manifest) for shard in wanted)
    where = f"{partial} of {format_count(len(wanted), 'shard')}"
    return f"done without dates that could not be ingested, in {where}" if partial else None

"""The stage `fill`: what graphs want of collections that are filled on demand is decoded before they are computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from hpckit.campaign.campaign import Campaign
from hpckit.campaign.graph import GraphReduction
from hpckit.cubes.audit import sound
from hpckit.cubes.ingest_stage import PIXELS_PER_S, Ingest
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.stage import Context, Outcome, Planning, Stage, Written
from hpckit.cubes.tiles import Tiles
from hpckit.errors import PlanError
from hpckit.reduce.graphs import frozen
from hpckit.reduce.graphs.ondemand.fill import Filler, Piece, lacks, made_from, pieces
from hpckit.reduce.graphs.ondemand.wants import Want, wants_of
from hpckit.reduce.graphs.work import Work
from hpckit.runs.plan import Plan, Unit


class Fill(Stage):
    """Decode windows that cubes on demand lack. A product that cannot be decoded costs its date, and no unit."""

    name = "fill"
    reads_cube = False
    shorter = "give the graph a smaller `spatial_extent`"
    colour = "#2166ac"

    def __init__(self) -> None:
        self._wants: tuple[Tiles | None, list[tuple[GraphReduction, list[Want]]]] = (None, [])
        self._fillers: dict[tuple[str, str], Filler] = {}

    def wants(self, tiles: Tiles) -> list[tuple[GraphReduction, list[Want]]]:
        """What each graph of a campaign wants."""
        if self._wants[0] is not tiles:
            found = [(item, wants_of(Work(tiles, item).job)) for item in _filling(tiles.campaign)]
            self._wants = tiles, found
        return self._wants[1]

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each row of windows of a band and some dates of which the cube lacks something.

        What it holds was done by other jobs, or a synchronous result: that is no work of this run.
        """
        pixels_per_s = planning.pace(self.name, "decoded_pixels", PIXELS_PER_S)
        manifests: dict[tuple[str, str], Manifest] = {}
        for reduction, wants in self.wants(planning.tiles):
            for want in wants:
                name, seen = want.collection.name, planning.tiles.run.seen("fill", "plan")
                if (name, want.tile) not in manifests:
                    manifests[name, want.tile] = sound(want.spec.path, [want.tile], seen)
                window = want.frame.edges[want.ref.resolution_m] ** 2
                for piece in pieces(want):
                    left = lacks(piece, want.inputs, manifests[name, want.tile])
                    if not left:
                        continue
                    cost = max(1, sum(map(len, left.values())) * window) / pixels_per_s
                    args = {"reduction": reduction.name, **piece.to_args()}
                    unit_id = f"{self.name}/{reduction.name}/{name}/{piece.name}"
                    yield Unit(unit_id, self.name, cost, made_from(piece, want.inputs), args), False

    def memory(self, tiles: Tiles) -> int:
        """As of ingest: one row of windows decoded, and one date of it compressed."""
        known = {want.collection.name: want.collection.tiles for _, wants in self.wants(tiles) for want in wants}
        return max((Ingest().memory(item) for item in known.values()), default=0)

    def writes(self, tiles: Tiles, plan: Plan, workers: int) -> Iterable[Written]:
        """Shards of the pending units."""
        for reduction, wants in self.wants(tiles):
            for want in wants:
                own = {
                    f"{self.name}/{reduction.name}/{want.collection.name}/{item.name}": item for item in pieces(want)
                }
                count = sum(piece.count for unit, piece in own.items() if unit in plan.pending)
                yield Written("cube", want.spec.path, int(count * want.cell_bytes), count)

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Decode what the cube lacks by now."""
        reduction = next(item for item in context.tiles.campaign.graphs if item.name == unit.args["reduction"])
        name = str(unit.args["collection"])
        key = reduction.name, name
        if key not in self._fillers:
            collection = frozen.collections(context.tiles, reduction)[name]
            self._fillers[key] = Filler(collection, context.writer)
        filler = self._fillers[key]
        piece = Piece.from_args(unit.args, filler.collection)
        want = _want_of(filler, piece)
        if made_from(piece, want.inputs) != unit.inputs:
            raise PlanError(f"unit {unit.id}: it was planned from other products", hint="plan again")
        made = filler.fill(want, piece)
        filler.note_lost(want, made, context.run.path)
        reasons = sorted({str(error) for error in made.failed.values()})
        return Outcome(
            {
                "decoded_pixels": float(made.decoded_pixels),
                "shards": float(made.shards),
                "written_bytes": float(made.written_bytes),
                "lost_dates": float(len(made.lost)),
            },
            reason="; ".join(reasons) or None,
            temporary=bool(reasons),
        )


def _want_of(filler: Filler, piece: Piece) -> Want:
    """The band of a piece, of which nothing else is wanted."""
    want = Want(filler.collection, piece.tile, piece.ref, np.zeros((0, 0, 0), np.bool_))
    shape = len(want.inputs), *want.frame.windows(piece.ref.resolution_m)
    return replace(want, cells=np.zeros(shape, np.bool_))


def _filling(campaign: Campaign) -> list[GraphReduction]:
    return [item for item in campaign.graphs if isinstance(item, GraphReduction) and item.on_demand]


def stages(campaign: Campaign) -> Sequence[Stage]:
    """The stage of campaigns with graphs that read collections on demand."""
    return [Fill()] if _filling(campaign) else []

"""The stages `graph` and `results`: parts of a process graph's results, and the files that they become."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from hpckit.base.quantities import format_count
from hpckit.campaign.blocks import BlockReduction, OfWindows
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.graph import described
from hpckit.cubes.arrays import write_changed
from hpckit.cubes.audit import sound
from hpckit.cubes.made import Made
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.stage import Context, Outcome, Planning, Stage, Written
from hpckit.cubes.tiles import Tiles
from hpckit.cubes.verify import Fault
from hpckit.errors import CubeError, GraphError, PlanError
from hpckit.reduce.blocks.trial import require_tried
from hpckit.reduce.graphs import frozen
from hpckit.reduce.graphs.estimating import BYTES_PER_S, UNIT_S
from hpckit.reduce.graphs.job import Output, require_computable
from hpckit.reduce.graphs.rasters import RasterResult
from hpckit.reduce.graphs.work import Work, files_path, zarr_path
from hpckit.runs.plan import Plan, Unit

_COMPRESSED: Final = 0.7
"""Compressed over raw bytes, at most."""
_WRITER_BYTES: Final = 512 * 2**20
"""Windows of a result, and the caches of its writer."""


Works = dict[tuple[str, str], Work]
"""By digest of the frozen inputs, and name of the reduction."""


class _OfGraphs(Stage):
    """A stage of the graphs of a campaign."""

    def __init__(self, follows: tuple[str, ...], works: Works | None = None) -> None:
        self.follows = follows
        self._works = {} if works is None else works

    def work(self, tiles: Tiles, reduction: OfWindows) -> Work:
        """A graph on frozen inputs; one object for all units of a process, and for both stages."""
        key = tiles.run.frozen, reduction.name
        if key not in self._works or self._works[key].tiles is not tiles:
            self._works[key] = Work(tiles, reduction)
        return self._works[key]

    def of_unit(self, tiles: Tiles, unit: Unit) -> tuple[Work, Output]:
        """Graph and result of a unit."""
        name = unit.args["reduction"]
        work = self.work(tiles, next(item for item in tiles.campaign.graphs if item.name == name))
        return work, work.output(str(unit.args["output"]))


class Graphs(_OfGraphs):
    """Evaluate process graphs, functions and models, part by part."""

    name = "graph"
    reads_cube = False
    shorter = "give the graph a smaller `spatial_extent`"
    colour = "#008837"

    def freeze(self, tiles: Tiles) -> Iterable[str]:
        """Freeze graphs and their collections."""
        for reduction in tiles.campaign.graphs:
            frozen.freeze(tiles.run, reduction)
        return ()

    def lay_out(self, tiles: Tiles) -> None:
        """Write the metadata of raster results."""
        for reduction in tiles.campaign.graphs:
            work = self.work(tiles, reduction)
            for output in work.job.outputs:
                stored = work.stored(output)
                if isinstance(stored, RasterResult):
                    write_changed(stored.objects, stored.files())

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each window of pixels, or group of geometries."""
        tiles = planning.tiles
        for reduction in tiles.campaign.graphs:
            work = self.work(tiles, reduction)
            found = _outputs(work)
            if isinstance(reduction, BlockReduction):
                pixels = max((piece.pixels for output in found for piece in work.pieces(output)), default=0.0)
                require_tried(work.job, tiles.run.path / "trials", work.budget, pixels)
            seen = tiles.run.seen("shards", "plan")
            for output in found:
                manifest = sound(work.path, [output.key], seen)
                cost = work.job.shape(output).nbytes / planning.pace(self.name, "computed_bytes", BYTES_PER_S)
                for piece in work.pieces(output):
                    args = {
                        "reduction": reduction.name,
                        "output": output.key,
                        "place": list(piece.place),
                        "tiles": work.own_tiles,
                    }
                    name = f"{self.name}/{reduction.name}/{output.key}/{piece.name}"
                    unit = Unit(name, self.name, round(UNIT_S + piece.pixels * cost, 3), work.inputs, args)
                    yield unit, work.is_done(output, piece, manifest)

    def memory(self, tiles: Tiles) -> int:
        """Nodes of a block that live at once."""
        most = 0.0
        for reduction in tiles.campaign.graphs:
            work = self.work(tiles, reduction)
            for output in work.job.outputs:
                pieces = work.pieces(output)
                sizes = (work.job.nbytes_of(output, piece.asked, piece.pixels) for piece in pieces)
                most = max(most, max(sizes, default=0.0) + work.job.user_bytes)
        return int(most)

    def writes(self, tiles: Tiles, plan: Plan, workers: int) -> Iterable[Written]:
        """Shards and parts of the pending units, and the files that are made of them."""
        left = {unit.id for unit in plan.todo(self.name)}
        for reduction in tiles.campaign.graphs:
            work = self.work(tiles, reduction)
            nbytes = files = 0
            for output in work.job.outputs:
                size = work.job.shape(output).result_bytes * _COMPRESSED
                for piece in work.pieces(output):
                    if f"{self.name}/{reduction.name}/{output.key}/{piece.name}" in left:
                        nbytes += int(piece.pixels * size) * (2 if output.format else 1)
                        files += len(work.keys(output, piece))
            yield Written("graphs", files_path(tiles.campaign, reduction), nbytes, files)

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Compute a part."""
        work, output = self.of_unit(context.tiles, unit)
        start = time.perf_counter()
        piece = work.piece(output, unit.args["place"])
        try:
            records = work.compute(output, piece)
        except GraphError as error:
            raise PlanError(described(error)) from error
        Manifest.load(work.path, [output.key]).append(records, context.writer)
        return Outcome(
            {
                "pixels": piece.pixels,
                "computed_bytes": piece.pixels * work.job.shape(output).nbytes,
                "lowered_nodes": 0.0 if work.job.lowered is None else float(len(work.job.lowered.faster)),
                "written_bytes": float(sum(record.nbytes for record in records)),
                "compute_s": round(time.perf_counter() - start, 3),
            }
        )

    def verify(self, tiles: Tiles, progress: Callable[[int, int], None]) -> list[Fault]:
        """Look at metadata, shards, parts and result files; what is faulty is marked."""
        from hpckit.reduce.graphs.verify import verify_graphs

        return verify_graphs([self.work(tiles, item) for item in tiles.campaign.graphs], progress)

    def made(self, tiles: Tiles) -> Iterable[Made]:
        """What units stored, and the result files."""
        from hpckit.reduce.graphs.outputs import made

        return made([self.work(tiles, item) for item in tiles.campaign.graphs])

    def finish(self, campaign: Campaign) -> None:
        """Join the manifests of all writers."""
        for reduction in campaign.graphs:
            Manifest.load(zarr_path(campaign, reduction)).compact()


class Results(_OfGraphs):
    """Write the files of `save_result`."""

    name = "results"
    reads_cube = False
    colour = "#a6dba0"

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each `save_result`."""
        from hpckit.reduce.graphs.files import are_there, made_from, note_path, noted

        tiles = planning.tiles
        for reduction in tiles.campaign.graphs:
            work = self.work(tiles, reduction)
            for output in _outputs(work):
                if not output.format:
                    continue
                inputs, note = made_from(work.inputs, output), note_path(tiles.campaign, reduction, output)
                args = {"reduction": reduction.name, "output": output.key, "tiles": work.own_tiles}
                pixels = sum(piece.pixels for piece in work.pieces(output))
                cost = round(0.1 + pixels * max(4.0, work.job.shape(output).result_bytes) / BYTES_PER_S, 3)
                unit = Unit(f"{self.name}/{reduction.name}/{output.key}", self.name, cost, inputs, args)
                yield unit, noted(note)[0] == inputs and are_there(note)

    def memory(self, tiles: Tiles) -> int:
        """Windows of a result, and the caches of its writer."""
        return _WRITER_BYTES

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Write the files of a result."""
        from hpckit.reduce.graphs import files

        work, output = self.of_unit(context.tiles, unit)
        _require_computed(work, output)
        campaign = context.tiles.campaign
        path = files.note_path(campaign, work.reduction, output)
        path.unlink(missing_ok=True)
        try:
            made = files.write_files(work.result(output), output, path.parent)
        except GraphError as error:
            raise PlanError(described(error)) from error
        files.note(path, made, unit.inputs)
        return Outcome({"files": float(len(made))})


def _outputs(work: Work) -> Sequence[Output]:
    """Results of a graph.

    Raises
    ------
    PlanError
        With all faults of the graph.
    """
    faults = work.faults
    if faults:
        place = f"{work.tiles.campaign.path}: reduction {work.reduction.name!r}"
        raise PlanError("\n".join(f"{place}: {described(fault)}" for fault in faults))
    for output in work.job.outputs:
        require_computable(output)
    return work.job.outputs


def _require_computed(work: Work, output: Output) -> None:
    manifest = Manifest.load(work.path, [output.key])
    missing = sum(not work.is_done(output, piece, manifest) for piece in work.pieces(output))
    if missing:
        raise CubeError(
            f"graph {work.reduction.name!r}: {format_count(missing, 'part')} of the result not computed yet",
            hint="see why in the failures of the stage before; the next run tries again",
        )


def stages(campaign: Campaign) -> Sequence[Stage]:
    """Stages of a campaign that has process graphs."""
    if not campaign.graphs:
        return []
    waits = any(item.composite is not None and item.collection is None for item in campaign.of_blocks)
    fills = any(getattr(item, "on_demand", ()) for item in campaign.graphs)
    before = ("composites",) if waits else ("ingest",)
    works: Works = {}
    return [Graphs((*before, "fill") if fills else before, works), Results(("graph",), works)]

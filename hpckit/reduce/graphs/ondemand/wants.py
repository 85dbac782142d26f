"""What a graph wants of collections that are filled on demand: windows of dates, by tile and band.

Wants come from the types of the graph: extents, periods and bands of `load_collection`, narrowed by filters, and by
where the results lie. What a graph reads beyond them is decoded from products, as of any other collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.cubes.arrays import array_key, shard_key
from hpckit.cubes.ingest import inputs_of_dates
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Grid
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.extents import bounds_in
from hpckit.processgraph.graph import Graph
from hpckit.reduce.graphs.collection import Collection
from hpckit.reduce.graphs.job import Job, Output
from hpckit.reduce.graphs.lowering import Lowered
from hpckit.reduce.graphs.ondemand.version import is_on_demand
from hpckit.reduce.graphs.source import CollectionSource
from hpckit.sensors.bands import BandRef
from hpckit.space.frame import Frame
from hpckit.space.vector.project import project
from hpckit.space.windows import holding

Cells = npt.NDArray[np.bool_]
"""Shape (acquisitions of the tile, window rows, window columns)."""
_MARGIN: Final = 32
"""Pixels around a result that kernels and warps may read; what they read beyond is decoded."""
_COMPRESSED: Final = 0.8
"""Compressed over raw bytes, at most."""


@dataclass(frozen=True, eq=False)
class Want:
    """Windows of the dates of a band of a tile."""

    collection: Collection
    tile: str
    ref: BandRef
    cells: Cells

    @property
    def spec(self) -> CubeSpec:
        """Layout of the cube."""
        return self.collection.tiles.spec

    @property
    def key(self) -> tuple[str, str, str]:
        """Collection, tile and band."""
        return self.collection.name, self.tile, self.ref.key

    @property
    def array(self) -> str:
        """Path of the array in the cube."""
        return array_key(self.tile, self.ref)

    @cached_property
    def frame(self) -> Frame:
        """Where the rasters of the tile lie."""
        return self.collection.tiles.frame(self.tile)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Digest of what each date is made from."""
        return inputs_of_dates(self.spec, self.collection.tiles.acquisitions[self.tile])

    @property
    def cell_bytes(self) -> float:
        """Bytes of one window of one date in the cube, at most; of windows at the borders of a tile on average."""
        return self.pixels / max(1, int(self.cells.sum())) * np.dtype(self.ref.dtype).itemsize * _COMPRESSED

    @cached_property
    def pixels(self) -> float:
        """Pixels of all windows of all dates."""
        edge, shape = self.frame.edges[self.ref.resolution_m], self.frame.shapes[self.ref.resolution_m]
        rows, columns = (np.minimum(edge, size - np.arange(0, size, edge)) for size in shape)
        return float((self.cells.sum(axis=0) * rows[:, None] * columns).sum())

    def places(self) -> Iterator[tuple[int, int, int]]:
        """Date, row and column of each window."""
        yield from map(tuple, np.argwhere(self.cells).tolist())

    def shard(self, date: int, row: int, column: int) -> str:
        """Path of the shard of a window in the cube."""
        return shard_key(self.tile, self.ref, date, row, column)

    def without(self, held: Mapping[str, str]) -> Want:
        """Only those windows that a cube lacks; `held` has the inputs of its shards by path."""
        left = np.zeros_like(self.cells)
        for place in self.places():
            left[place] = held.get(self.shard(*place)) != self.inputs[place[0]]
        return replace(self, cells=left)


def wants_of(job: Job) -> list[Want]:
    """What a graph wants of its collections that are filled on demand; one for each band of a tile.

    Raises
    ------
    GraphError
        The first fault of types.
    """
    outputs = job.outputs
    if not any(is_on_demand(one.tiles.run.path) for one in job.environment.opened.values()):
        return []
    found: dict[tuple[str, str, str], Want] = {}
    for source, grid, refs, steps in _loads(job):
        if is_on_demand(source.collection.tiles.run.path):
            for want in _of_source(source, grid, refs, steps, outputs):
                known = found.get(want.key)
                found[want.key] = want if known is None else replace(want, cells=want.cells | known.cells)
    return [found[key] for key in sorted(found) if found[key].cells.any()]


def lacking(wants: Sequence[Want]) -> list[Want]:
    """Those windows of wants that the cubes lack, as their manifests say."""
    found, held = [], dict[tuple[Path, str], dict[str, str]]()
    for want in wants:
        place = want.spec.path, want.tile
        if place not in held:
            records = Manifest.load(want.spec.path, [want.tile]).records()
            held[place] = {record.key: record.inputs[0] for record in records}
        left = want.without(held[place])
        if left.cells.any():
            found.append(left)
    return found


_Load = tuple[CollectionSource, Grid, Sequence[BandRef], Sequence[int]]
"""A source, the pixels of it that are read, its bands, and the positions of its times."""


def _loads(job: Job) -> Iterator[_Load]:
    """What the nodes of a graph that compute pixels load."""
    lowered, graph = job.lowered or Lowered(job.graph, {}), job.computing.graph
    for name, node in graph.nodes.items():
        pattern = lowered.faster.get(name)
        if pattern is not None:
            kind: Any = getattr(pattern, "data", pattern.type)
            wanted = pattern.source.wanted
            refs = getattr(pattern, "bands", None) or [getattr(pattern, "ref", None)]
            refs = [ref for _, ref in wanted.bands] if refs == [None] else refs
            steps = getattr(pattern, "steps", range(len(wanted.dates)))
            yield pattern.source, kind.grid, refs, steps
        elif node.process == "load_collection":
            yield from _of_node(job, Evaluation(graph, job.environment), name)


def _of_node(job: Job, evaluation: Evaluation, name: str) -> Iterator[_Load]:
    before = len(job.environment.sources)
    kind = Evaluation(Graph(dict(evaluation.graph.nodes), name), job.environment).type_of(name)
    for source in job.environment.sources[before:][-1:]:
        if isinstance(kind, Cube) and kind.grid is not None:
            refs = [ref for _, ref in source.wanted.bands]
            yield source, kind.grid, refs, range(len(source.wanted.dates))


def _of_source(
    source: CollectionSource, grid: Grid, refs: Sequence[BandRef], steps: Sequence[int], outputs: Sequence[Output]
) -> Iterator[Want]:
    collection, wanted = source.collection, source.wanted
    own = collection.tiles.spec.bands
    for placed in source.placing.tiles:
        dates = [wanted.dates[step][1][placed.tile] for step in steps if placed.tile in wanted.dates[step][1]]
        frame = collection.tiles.frame(placed.tile)
        for ref in refs:
            if ref in own and dates:  # other bands are decoded, as of any collection
                windows = placed.windows[ref.key] & _around(frame, ref, [_outline(grid)], str(grid.crs))
                windows &= _of_results(frame, ref, outputs)
                cells = np.zeros((len(collection.tiles.acquisitions[placed.tile]), *windows.shape), np.bool_)
                cells[dates] = windows
                yield Want(collection, placed.tile, ref, cells)


def _of_results(frame: Frame, ref: BandRef, outputs: Sequence[Output]) -> Cells:
    """Windows around the results of a graph; all windows if one has no place."""
    found = np.zeros(frame.windows(ref.resolution_m), np.bool_)
    for output in outputs:
        kind = output.type
        if output.is_raster:
            found |= _around(frame, ref, [_outline(kind.grid)], str(kind.grid.crs))
        elif output.is_vector:
            found |= _around(frame, ref, kind.geometries.shapes, str(kind.geometries.crs))
        else:
            return np.ones_like(found)
    return found


def _outline(grid: Grid) -> shapely.Geometry:
    left, bottom, right, top = grid.bounds
    return shapely.box(left, bottom, right, top)


def _around(frame: Frame, ref: BandRef, shapes: Sequence[shapely.Geometry], crs: str) -> Cells:
    """Windows of a tile that hold shapes in any CRS, or pixels near them; all of them if shapes have no place."""
    target, reach = f"EPSG:{frame.epsg}", _MARGIN * float(ref.resolution_m)
    try:
        if len(shapes) == 1:
            local = np.asarray([shapely.box(*bounds_in(shapes[0], crs, target))], object)
        else:
            local = np.asarray(
                project(np.asarray(shapes, object), pyproj.CRS(crs), pyproj.CRS.from_epsg(frame.epsg)), object
            )
    except (GraphError, ValueError, TypeError):
        return np.ones(frame.windows(ref.resolution_m), np.bool_)
    return holding(frame, ref.resolution_m, local, reach)

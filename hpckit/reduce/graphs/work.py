"""Units of a graph's results: windows of pixels, groups of neighbouring geometries, or one for anything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from hpckit.base.files import digest_json
from hpckit.campaign.blocks import BlockReduction, OfWindows
from hpckit.campaign.campaign import Campaign
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.objects import objects_at
from hpckit.cubes.tiles import Tiles
from hpckit.errors import GraphError, PlanError
from hpckit.processgraph.cube import Grid
from hpckit.processgraph.neighbours import neighbours
from hpckit.processgraph.process import Asked, Value
from hpckit.reduce.blocks.job import block_job_of
from hpckit.reduce.graphs import frozen
from hpckit.reduce.graphs.job import Job, Output, job_of
from hpckit.reduce.graphs.parts import PartResult
from hpckit.reduce.graphs.rasters import RasterResult
from hpckit.space.box import Box

_EDGES: Final = (1024, 512, 256, 128, 64)
"""Edges of windows; the largest one that fits into memory is taken."""
_MOST_PIXELS: Final = 2**22
"""Pixels around the geometries of a unit: as many as a few windows have."""
_LEAST_PIXELS: Final = 2**12
_COPIES: Final = 4
"""Of the pixels around geometries, that processes before the statistics make."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a result that one unit computes."""

    name: str
    """In the unit's id."""
    place: tuple[int, int]
    """Row and column of a window; 0 and the number of a part."""
    asked: Asked
    pixels: float
    """That are computed."""


@dataclass(eq=False)
class Work:
    """A graph of a campaign as work.

    Parameters
    ----------
    tiles : Tiles
        Of the campaign, with its frozen inputs.
    reduction : OfWindows
    """

    tiles: Tiles
    reduction: OfWindows

    @cached_property
    def job(self) -> Job:
        """The graph, on the collections that were frozen."""
        if isinstance(self.reduction, BlockReduction):
            return block_job_of(self.tiles, self.reduction)
        return job_of(self.tiles, self.reduction)

    @cached_property
    def faults(self) -> Sequence[GraphError]:
        """Faults of the types of its cubes."""
        return self.job.evaluation.faults()

    @cached_property
    def path(self) -> Path:
        """Hierarchy of what units compute."""
        return zarr_path(self.tiles.campaign, self.reduction)

    @property
    def budget(self) -> int:
        """Bytes that the nodes of one unit may take."""
        return self.reduction.memory_mib * 2**20

    @cached_property
    def inputs(self) -> str:
        """Digest of the graph, and of what its collections give."""
        return digest_json([frozen.inputs_of(self.tiles, self.reduction), self.job.inputs])[:16]

    @cached_property
    def own_tiles(self) -> list[str]:
        """Tiles of the campaign itself that the graph reads."""
        known = self.job.inputs and self.job.environment.sources
        mine = [source for source in known or () if source.collection.tiles is self.tiles]
        return sorted({placed.tile for source in mine for placed in source.placing.tiles})

    def output(self, key: str) -> Output:
        """A result by its key."""
        return next(output for output in self.job.outputs if output.key == key)

    def stored(self, output: Output) -> RasterResult | PartResult:
        """Where a result is stored."""
        if output.key not in self._stored:
            self._stored[output.key] = self._store(output)
        return self._stored[output.key]

    @cached_property
    def _stored(self) -> dict[str, RasterResult | PartResult]:
        return {}

    def _store(self, output: Output) -> RasterResult | PartResult:
        objects = objects_at(self.path)
        if output.is_raster:
            return RasterResult(objects, output.key, output.type, self._edge(output))
        return PartResult(objects, output.key, output.type, self._groups(output))

    def _edge(self, output: Output) -> int:
        """Edge of a window whose nodes fit into memory."""
        nbytes = self.job.shape(output).nbytes
        return next((edge for edge in _EDGES if edge**2 * nbytes <= self.budget), _EDGES[-1])

    def _groups(self, output: Output) -> Sequence[Sequence[int]]:
        if not output.is_vector:
            return [()]
        geometries, grid = output.type.geometries, self._grid
        if grid is None:
            return [range(len(geometries))]
        nbytes = max(1.0, _COPIES * self.job.shape(output).source_bytes)
        most = int(min(_MOST_PIXELS, max(_LEAST_PIXELS, self.budget / nbytes)))
        return [group.tolist() for group in neighbours(geometries, grid, most)]

    @cached_property
    def _grid(self) -> Grid | None:
        """Grid of the first collection that the graph reads."""
        sources = self.job.outputs and self.job.environment.sources
        return sources[0].grid if sources else None

    def pieces(self, output: Output) -> Iterator[Piece]:
        """Parts of a result, one for each unit."""
        stored = self.stored(output)
        if isinstance(stored, RasterResult):
            rows, columns = stored.windows
            yield from (_window(stored, row, column) for row in range(rows) for column in range(columns))
        else:
            yield from (_group(stored, output, number) for number in range(len(stored.groups)))

    def piece(self, output: Output, place: Sequence[int]) -> Piece:
        """A part of a result by its place.

        Raises
        ------
        PlanError
            If results are not cut as they were when the unit was planned.
        """
        stored, (row, column) = self.stored(output), place
        if isinstance(stored, RasterResult):
            rows, columns = stored.windows
            if 0 <= row < rows and 0 <= column < columns:
                return _window(stored, row, column)
        elif row == 0 and 0 <= column < len(stored.groups):
            return _group(stored, output, column)
        raise PlanError(
            f"graph {self.reduction.name!r}: {output.node} has no part {place}", hint="plan again with this version"
        )

    def keys(self, output: Output, piece: Piece) -> list[str]:
        """Files that a part is stored in."""
        stored = self.stored(output)
        if isinstance(stored, RasterResult):
            return [key for _, _, key in stored.shards(*piece.place)]
        return [stored.part_key(piece.place[1])]

    def is_done(self, output: Output, piece: Piece, manifest: Manifest) -> bool:
        """Whether a part is stored, made from what it should be made from."""
        wanted = (self.inputs,)
        return all(
            (record := manifest.get(key)) is not None and record.inputs == wanted for key in self.keys(output, piece)
        )

    def compute(self, output: Output, piece: Piece) -> list[ShardRecord]:
        """Compute a part and store it."""
        found = self.job.evaluate(output, piece.asked)
        stored = self.stored(output)
        if isinstance(stored, RasterResult):
            return stored.write(found, *piece.place, self.inputs)
        return [stored.write(piece.place[1], found, self.inputs)]

    def result(self, output: Output) -> StoredResult:
        """A result to be read, once all of it is stored."""
        return StoredResult(output.type, self.stored(output), Manifest.load(self.path, [output.key]))


def _window(stored: RasterResult, row: int, column: int) -> Piece:
    box = stored.box(row, column)
    return Piece(f"w{row:03d}-{column:03d}", (row, column), box, float(box.shape[0] * box.shape[1]))


def _group(stored: PartResult, output: Output, number: int) -> Piece:
    asked = tuple(stored.groups[number]) if output.is_vector else None
    return Piece(f"p{number:06d}", (0, number), asked, float(_MOST_PIXELS / 4))


@dataclass(frozen=True)
class StoredResult:
    """A result that units have stored, read part by part."""

    type: Value
    stored: RasterResult | PartResult
    manifest: Manifest

    def read(self, asked: Asked) -> Value:
        """A part: pixels of the grid, some geometries, or all (None)."""
        if isinstance(self.stored, RasterResult):
            return self.stored.read(asked if isinstance(asked, Box) else self.stored.grid.box)
        return self.stored.read(asked, self.manifest)


def zarr_path(campaign: Campaign, reduction: OfWindows) -> Path:
    """Hierarchy of what units of a graph compute."""
    return campaign.resolve(reduction.outputs.path) / f"{reduction.name}.zarr"


def files_path(campaign: Campaign, reduction: OfWindows) -> Path:
    """Folder of the result files of a graph."""
    return campaign.resolve(reduction.outputs.path) / reduction.name

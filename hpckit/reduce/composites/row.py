"""A unit of the stage `composite`: one row of windows of a tile, read, composed, and written as shards."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hpckit.base.quantities import format_count
from hpckit.campaign.composite import Composite
from hpckit.campaign.expression import Expression
from hpckit.cubes.arrays import shard_key
from hpckit.cubes.held import row_pixels
from hpckit.cubes.ingest import date_inputs
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.objects import Objects, objects_at
from hpckit.cubes.read import band_array
from hpckit.cubes.region import read_region
from hpckit.cubes.shards import ChunkGrid, encode_chunk
from hpckit.cubes.shardwriter import write_shard
from hpckit.reduce.composites.clouds import Clouds
from hpckit.reduce.composites.compute import Observations, compose, index_stack
from hpckit.reduce.composites.hierarchy import LEVEL, PERIODS_PER_SHARD, chunk_grid
from hpckit.reduce.composites.products import Group, Layer, groups
from hpckit.reduce.composites.units import columns, inputs, intervals, outdated, shard_keys, zarr_path
from hpckit.runs.plan import Unit
from hpckit.sensors.bands import BandRef
from hpckit.space.box import Box

if TYPE_CHECKING:
    from hpckit.cubes.tiles import Tiles

BLOCK_BYTES: Final = 192 * 2**20
"""Stacks of a block; a block is at least one chunk."""

_Chunks = dict[tuple[str, int], dict[int, bytes | None]]
"""Encoded chunks by layer and period, then by place in the window."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """What a unit did."""

    metrics: dict[str, float]
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Row:
    """All that a row is made from."""

    tiles: Tiles
    composite: Composite
    group: Group
    tile: str
    row: int
    threads: int

    @property
    def refs(self) -> list[BandRef]:
        """Bands to read."""
        ref = self.tiles.campaign.ref
        names = [self.composite.indices[name] for name in self.group.indices]
        texts = [band for text in names for band in sorted(Expression.parse(text).bands)]
        return list(dict.fromkeys([*self.group.bands, *map(ref, texts), *(self.group.ndvi or ())]))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the tile."""
        return self.tiles.frame(self.tile).shapes[self.group.resolution_m]

    @property
    def columns(self) -> list[int]:
        """Windows of the row that are composed."""
        return columns(self.tiles, self.group, self.tile, self.row)

    @property
    def pixels(self) -> int:
        """Pixels of one date and band of these windows."""
        frame, size = self.tiles.frame(self.tile), self.group.resolution_m
        return row_pixels(frame, self.tiles.held.wanted(frame, size), size, self.row)

    @property
    def grid(self) -> ChunkGrid:
        """How its windows are cut."""
        return chunk_grid(self.tiles.spec, self.group.resolution_m)

    @property
    def clouds(self) -> Clouds | None:
        """The class band, if there is a mask."""
        if self.composite.mask is None:
            return None
        ref = self.tiles.campaign.ref(self.composite.mask.band)
        return Clouds(band_array(self.tiles.spec.path, self.tile, ref), ref, self.composite.mask)


def compose_row(tiles: Tiles, cube: Manifest, unit: Unit, writer: str, threads: int) -> RowResult:
    """Do a unit of the stage `composite`.

    Dates that could not be ingested are left out; the unit then counts as failed, so that it is done again when
    they can.
    """
    work = _work(tiles, unit, threads)
    lacking = _lacking(work, cube)
    wanted = inputs(tiles, work.composite, work.tile)
    made_from = wanted if not lacking else ""
    path = zarr_path(tiles.campaign, work.composite)
    objects, manifest = objects_at(path), Manifest.load(path, [work.tile])
    start, written = time.perf_counter(), 0
    keys = list(shard_keys(tiles, work.composite, work.group, work.tile, work.row))
    for column in work.columns:
        mine = [(layer, block, key) for layer, block, where, key in keys if where == column]
        records = _write(objects, mine, _window(work, column), work.grid.per_date, made_from)
        manifest.append(records, writer)
        written += sum(record.nbytes for record in records)
    late = outdated(tiles, work.composite, work.group, work.tile, work.row, manifest, wanted)
    manifest.append(empty_shards(tiles, work.group, objects, late), writer)
    metrics = {
        "pixels": float(work.pixels * len(work.refs) * len(tiles.acquisitions[work.tile])),
        "written_bytes": float(written),
        "compose_s": round(time.perf_counter() - start, 3),
        "lacking_dates": float(len(lacking)),
    }
    shown = ", ".join(sorted(lacking)[:3])
    dates = format_count(len(lacking), "date that is", "dates that are")
    reason = f"without {dates} not ingested ({shown}); the rest is there" if lacking else None
    return RowResult(metrics, reason)


def empty_shards(tiles: Tiles, group: Group, objects: Objects, keys: Iterable[str]) -> list[ShardRecord]:
    """Empty shards that must not stand beside those of present settings; their records."""
    nothing = [None] * (chunk_grid(tiles.spec, group.resolution_m).per_date * PERIODS_PER_SHARD)
    return [write_shard(objects, key, nothing, ("",)) for key in keys]


def composed_by(tiles: Tiles, unit: Unit) -> tuple[Composite, Group]:
    """Composite of a unit, and the bands of its resolution."""
    composite = next(c for c in tiles.campaign.composites if c.name == unit.args["reduction"])
    wanted = int(unit.args["resolution"])
    found = groups(composite, tiles.campaign.ref)
    return composite, next(group for group in found if group.resolution_m == wanted)


def _work(tiles: Tiles, unit: Unit, threads: int) -> _Row:
    composite, group = composed_by(tiles, unit)
    return _Row(tiles, composite, group, str(unit.args["tile"]), int(unit.args["row"]), threads)


def _lacking(work: _Row, cube: Manifest) -> set[str]:
    """Acquisitions that some shard of the row lacks."""
    spec, lacking = work.tiles.spec, set[str]()
    for position, acquisition in enumerate(work.tiles.acquisitions[work.tile]):
        wanted = date_inputs(spec, acquisition)
        block, date = divmod(position, spec.dates_per_shard)
        for ref in work.refs:
            for column in work.columns:
                record = cube.get(shard_key(work.tile, ref, block, work.row, column))
                if record is None or len(record.inputs) <= date or record.inputs[date] != wanted:
                    lacking.add(acquisition.id)
    return lacking


def _window(work: _Row, column: int) -> _Chunks:
    """Compose one window, block by block; every block is encoded at once."""
    grid = work.grid
    steps = intervals(work.tiles, work.composite, work.tile)
    acquisitions = work.tiles.acquisitions[work.tile]
    chunks: _Chunks = {}
    for box in _blocks(work, column):
        observations = _read(work, box)
        for name, period, values in compose(observations, work.composite, work.group, steps, acquisitions):
            for place, part in _places(box, work, column):
                encoded = encode_chunk(values[part], grid.chunk, LEVEL)
                chunks.setdefault((name, period), {})[place] = encoded
    return chunks


def _blocks(work: _Row, column: int) -> Iterator[Box]:
    """Cut a window into blocks of whole chunks that fit into memory."""
    grid = work.grid
    dates = len(work.tiles.acquisitions[work.tile])
    per_chunk = grid.chunk**2 * dates * (2 * len(work.refs) + 4 * len(work.group.indices) + 2)
    fitting = max(1, BLOCK_BYTES // max(1, per_chunk))
    along = min(grid.per_side, fitting)
    down = max(1, min(grid.per_side, fitting // along))
    top, left = work.row * grid.window, column * grid.window
    for first in range(0, grid.per_side, down):
        for start in range(0, grid.per_side, along):
            box = Box(
                top + first * grid.chunk,
                left + start * grid.chunk,
                top + min(first + down, grid.per_side) * grid.chunk,
                left + min(start + along, grid.per_side) * grid.chunk,
            ).within(work.shape)
            if box.top < box.bottom and box.left < box.right:
                yield box


def _read(work: _Row, box: Box) -> Observations:
    """Read all dates of a block: bands, indices, what is left out, and the distance to clouds."""
    cube = work.tiles.spec.path
    bands = {
        ref.name: read_region(band_array(cube, work.tile, ref), box, threads=work.threads).astype(
            np.uint16, copy=False
        )
        for ref in work.refs
    }
    of_index, ref = dict(zip(work.group.indices, work.group.codings, strict=True)), work.tiles.campaign.ref
    for name in work.group.indices:
        text = work.composite.indices[name]
        held = {band: bands[ref(band).name] for band in Expression.parse(text).bands}
        bands[name] = index_stack(text, held, of_index[name], ref)
    clouds, metres = work.clouds, work.group.resolution_m
    excluded = distance = None
    if clouds is not None:
        excluded = clouds.excluded(box, metres, work.threads)
        if "best" in work.composite.methods:
            distance = clouds.distance(box, metres, work.composite.score, work.threads)
    return Observations(bands, excluded, distance, 20 if clouds is None else clouds.resolution_m)


def _places(box: Box, work: _Row, column: int) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Place in the window of each chunk of a block, and its part of the block."""
    grid = work.grid
    for top in range(box.top, box.bottom, grid.chunk):
        for left in range(box.left, box.right, grid.chunk):
            down = (top - work.row * grid.window) // grid.chunk
            along = (left - column * grid.window) // grid.chunk
            rows = slice(top - box.top, min(top + grid.chunk, box.bottom) - box.top)
            columns = slice(left - box.left, min(left + grid.chunk, box.right) - box.left)
            yield down * grid.per_side + along, (rows, columns)


def _write(
    objects: Objects,
    shards: Sequence[tuple[Layer, int, str]],
    chunks: _Chunks,
    per_date: int,
    made_from: str,
) -> list[ShardRecord]:
    """Write the shards of a window; where `made_from` is empty, they are to be made again."""
    records = []
    for layer, block, key in shards:
        first = block * PERIODS_PER_SHARD
        flat = [
            chunks.get((layer.name, period), {}).get(place)
            for period in range(first, first + PERIODS_PER_SHARD)
            for place in range(per_date)
        ]
        records.append(write_shard(objects, key, flat, (made_from,)))
    return records

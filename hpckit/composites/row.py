"""A unit of the stage `composite`: one row of windows of a tile, read, composed, and written as shards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hpckit.composites import store
from hpckit.composites.clouds import Clouds
from hpckit.composites.compute import Observations, compose, index_stack
from hpckit.composites.products import Group, Layer, groups, layers
from hpckit.composites.settings import Composite
from hpckit.composites.units import intervals, shard_keys, store_path
from hpckit.cube.ingest import date_inputs
from hpckit.cube.layout import shard_key
from hpckit.cube.manifest import Manifest, ShardRecord
from hpckit.cube.read import array_info
from hpckit.cube.region import Box, read_region
from hpckit.cube.shards import ChunkGrid
from hpckit.files import digest
from hpckit.plan import Unit
from hpckit.reduce.expression import Expression
from hpckit.scenes.bands import BandRef

if TYPE_CHECKING:
    from hpckit.production import Prepared

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

    prepared: Prepared
    composite: Composite
    group: Group
    tile: str
    row: int
    threads: int

    @property
    def refs(self) -> list[BandRef]:
        """Bands to read."""
        ref = self.prepared.run.campaign.ref
        names = [self.composite.indices[name] for name in self.group.indices]
        texts = [band for text in names for band in sorted(Expression.parse(text).bands)]
        joint = self.composite.red_and_infrared() or ()
        return list(dict.fromkeys([*self.group.bands, *(ref(text) for text in (*texts, *joint))]))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the tile."""
        return self.prepared.frame(self.tile).shapes[self.group.resolution_m]

    @property
    def columns(self) -> int:
        """Windows in the row."""
        return self.prepared.frame(self.tile).windows(self.group.resolution_m)[1]

    @property
    def grid(self) -> ChunkGrid:
        """How its windows are cut."""
        return store.chunk_grid(self.prepared.spec, self.group.resolution_m)

    @property
    def clouds(self) -> Clouds | None:
        """The class band, if there is a mask."""
        if self.composite.mask is None:
            return None
        ref = self.prepared.run.campaign.ref(self.composite.mask.band)
        info = array_info(self.prepared.spec.path, self.tile, ref)
        return Clouds(info, ref.resolution_m, self.composite.mask)


def compose_row(prepared: Prepared, cube: Manifest, unit: Unit, writer: str, threads: int) -> RowResult:
    """Do a unit of the stage `composite`.

    Dates that could not be ingested are left out; the unit then counts as failed, so that it is done again when
    they can.
    """
    work = _work(prepared, unit, threads)
    lacking = _lacking(work, cube)
    made_from = unit.inputs if not lacking else ""
    path = store_path(prepared.run.campaign, work.composite)
    manifest = Manifest.load(path, [work.tile])
    start, written = time.perf_counter(), 0
    keys = list(shard_keys(prepared, work.composite, work.group, work.tile, work.row))
    for column in range(work.columns):
        mine = [(layer, block, key) for layer, block, where, key in keys if where == column]
        records = _write(path, mine, _window(work, column), work.grid.per_date, made_from)
        manifest.append(records, writer)
        written += sum(record.nbytes for record in records)
    pixels = min(work.grid.window, work.shape[0]) * work.shape[1] * len(work.refs)
    metrics = {
        "pixels": float(pixels * len(prepared.acquisitions[work.tile])),
        "written_bytes": float(written),
        "compose_s": round(time.perf_counter() - start, 3),
        "lacking_dates": float(len(lacking)),
    }
    shown = ", ".join(sorted(lacking)[:3])
    reason = f"without {len(lacking)} dates that are not ingested ({shown}); the rest is there" if lacking else None
    return RowResult(metrics, reason)


def _work(prepared: Prepared, unit: Unit, threads: int) -> _Row:
    args = unit.args
    composite = next(c for c in prepared.run.campaign.composites if c.name == args["reduction"])
    wanted = int(args["resolution"])
    found = groups(composite, prepared.run.campaign.ref)
    group = next(group for group in found if group.resolution_m == wanted)
    return _Row(prepared, composite, group, str(args["tile"]), int(args["row"]), threads)


def _lacking(work: _Row, cube: Manifest) -> set[str]:
    """Acquisitions that some shard of the row lacks."""
    spec, lacking = work.prepared.spec, set[str]()
    for position, acquisition in enumerate(work.prepared.acquisitions[work.tile]):
        wanted = date_inputs(spec, acquisition)
        block, date = divmod(position, spec.dates_per_shard)
        for ref in work.refs:
            for column in range(work.columns):
                record = cube.get(shard_key(work.tile, ref, block, work.row, column))
                if record is None or len(record.inputs) <= date or record.inputs[date] != wanted:
                    lacking.add(acquisition.id)
    return lacking


def _window(work: _Row, column: int) -> _Chunks:
    """Compose one window, block by block; every block is encoded at once."""
    grid = work.grid
    by_name = {layer.name: layer for layer in layers(work.composite, work.group)}
    steps = intervals(work.prepared.run.campaign, work.composite)
    acquisitions = work.prepared.acquisitions[work.tile]
    chunks: _Chunks = {}
    for box in _blocks(work, column):
        observations = _read(work, box)
        for name, period, values in compose(observations, work.composite, work.group, steps, acquisitions):
            for place, part in _places(box, work, column):
                encoded = store.encode_chunk(values[part], grid.chunk, by_name[name].nodata)
                chunks.setdefault((name, period), {})[place] = encoded
    return chunks


def _blocks(work: _Row, column: int) -> Iterator[Box]:
    """Cut a window into blocks of whole chunks that fit into memory."""
    grid = work.grid
    dates, bands = len(work.prepared.acquisitions[work.tile]), len(work.refs) + len(work.group.indices)
    per_chunk = grid.chunk**2 * dates * (2 * bands + 2)
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
    cube = work.prepared.spec.path
    bands = {
        ref.name: read_region(array_info(cube, work.tile, ref), box, threads=work.threads).astype(
            np.uint16, copy=False
        )
        for ref in work.refs
    }
    for name in work.group.indices:
        text = work.composite.indices[name]
        held = {band: bands[band.partition("@")[0]] for band in Expression.parse(text).bands}
        bands[name] = index_stack(text, held)
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
    path: Path,
    shards: Sequence[tuple[Layer, int, str]],
    chunks: _Chunks,
    per_date: int,
    made_from: str,
) -> list[ShardRecord]:
    """Write the shards of a window; a record without inputs is one that is to be made anew."""
    records = []
    for layer, block, key in shards:
        first = block * store.PERIODS_PER_SHARD
        flat = [
            chunks.get((layer.name, period), {}).get(place)
            for period in range(first, first + store.PERIODS_PER_SHARD)
            for place in range(per_date)
        ]
        data = store.write_shard(path / key, flat)
        records.append(ShardRecord(key, len(data), digest(data) if data else "", (made_from,) if made_from else ()))
    return records

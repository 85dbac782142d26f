"""Ingest: windows of scenes to shards of a cube.

A unit is one row of windows of one band for one block of dates. Each window of each date is decoded once (or
resampled, on a grid that is not the product's own), brought to common radiometry, compressed and dropped; the
compressed chunks of all dates of a shard are then written at once, under a temporary name, and renamed. Dates
that an older shard holds already, made from the same inputs, are taken over as they are.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy.typing as npt

from hpckit.cube.granules import decode_windows
from hpckit.cube.layout import CubeSpec, shard_key
from hpckit.cube.manifest import Manifest, ShardRecord
from hpckit.cube.shards import assemble, encode_window, split
from hpckit.errors import CubeError, SceneError
from hpckit.files import digest, digest_json, write_bytes
from hpckit.scenes.bands import BandRef
from hpckit.scenes.model import Acquisition

Chunks = list[bytes | None]


@dataclass(frozen=True, slots=True)
class IngestUnit:
    """One row of windows, one band, one block of dates."""

    tile: str
    band: BandRef
    block: int
    row: int

    @property
    def id(self) -> str:
        """`ingest/31UFU/r10m/B04/b0000/w03`"""
        return f"ingest/{self.tile}/{self.band.group}/{self.band.name}/b{self.block:04d}/w{self.row:02d}"


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of the cube: where it is and what it should be made from."""

    key: str
    column: int
    dates: range
    """Positions on the time axis."""
    inputs: tuple[str, ...]


@dataclass(slots=True)
class IngestResult:
    """What a unit did."""

    failures: list[tuple[str, str]] = field(default_factory=list)
    """Acquisitions that could not be decoded, and why; their dates stay nodata in the shards."""
    shards: int = 0
    decoded_pixels: int = 0
    skipped_windows: int = 0
    reused_chunks: int = 0
    written_bytes: int = 0
    decode_s: float = 0.0


def ingest_units(spec: CubeSpec, tile: str, acquisitions: Sequence[Acquisition]) -> Iterator[IngestUnit]:
    """All units of a tile."""
    blocks = -(-len(acquisitions) // spec.dates_per_block)
    frame = spec.frame(tile, acquisitions)
    for ref in spec.bands:
        rows, _ = frame.windows(ref.resolution_m)
        for block in range(blocks):
            for row in range(rows):
                yield IngestUnit(tile, ref, block, row)


def shards(spec: CubeSpec, unit: IngestUnit, acquisitions: Sequence[Acquisition]) -> list[Shard]:
    """Files that a unit writes."""
    _, columns = spec.frame(unit.tile, acquisitions).windows(unit.band.resolution_m)
    first = unit.block * spec.dates_per_block
    last = min(first + spec.dates_per_block, len(acquisitions))
    step = spec.dates_per_shard
    found = []
    for start in range(first, last, step):
        dates = range(start, min(start + step, last))
        inputs = tuple(date_inputs(spec, acquisitions[date]) for date in dates)
        found += [
            Shard(shard_key(unit.tile, unit.band, start // step, unit.row, column), column, dates, inputs)
            for column in range(columns)
        ]
    return found


def date_inputs(spec: CubeSpec, acquisition: Acquisition) -> str:
    """Digest of what one date of any shard is made from."""
    return _date_inputs(tuple(scene.id for scene in acquisition.scenes), json.dumps(spec.treatment))


@lru_cache(maxsize=100_000)
def _date_inputs(scenes: tuple[str, ...], treatment: str) -> str:
    return digest_json([scenes, *json.loads(treatment)])[:16]


def is_done(shards: Sequence[Shard], manifest: Manifest) -> bool:
    """Whether the manifest has all shards of a unit, made from what they should be made from."""
    return all((record := manifest.get(shard.key)) is not None and record.inputs == shard.inputs for shard in shards)


def ingest(
    spec: CubeSpec, unit: IngestUnit, acquisitions: Sequence[Acquisition], manifest: Manifest, writer: str
) -> IngestResult:
    """Write those shards of a unit that the manifest does not have.

    A scene that cannot be read leaves its date empty and is reported; the other dates are written.

    Parameters
    ----------
    acquisitions : sequence of Acquisition
        All of the tile, as they stand on the time axis.
    manifest : Manifest
        Gets a record of each shard written.
    writer : str
        Name of this process in the manifest.

    Raises
    ------
    OSError
        If the file system refuses (full, quota, gone); no shard is left half written.
    """
    wanted = shards(spec, unit, acquisitions)
    pending = [shard for shard in wanted if not is_done([shard], manifest)]
    result = IngestResult()
    drafts = [_Draft(spec, unit, shard, manifest) for shard in pending]
    for position in sorted({date for shard in pending for date in shard.dates}):
        missing = [draft for draft in drafts if position in draft.shard.dates and not draft.has(position)]
        if missing:
            _decode_date(spec, unit, acquisitions[position], position, missing, result)
    records = []
    try:
        for draft in drafts:
            records.append(draft.write(result))
    finally:
        manifest.append(records, writer)
    return result


class _Draft:
    """A shard in the making: compressed chunks per date."""

    def __init__(self, spec: CubeSpec, unit: IngestUnit, shard: Shard, manifest: Manifest) -> None:
        self.spec = spec
        self.unit = unit
        self.shard = shard
        self.grid = spec.chunks(unit.band.resolution_m)
        self.chunks: dict[int, Chunks] = {}
        self.failed: set[int] = set()
        self._take_over(manifest.get(shard.key))

    def has(self, position: int) -> bool:
        """Whether a date is there."""
        return position in self.chunks

    def encode(self, position: int, window: npt.NDArray[Any] | None) -> None:
        """Add a date; None for one that holds nothing."""
        if window is None:
            self.chunks[position] = [None] * self.grid.per_date
        else:
            self.chunks[position] = encode_window(window, self.grid, self.spec.compression)

    def write(self, result: IngestResult) -> ShardRecord:
        """Write the shard, and tell what was written."""
        empty: Chunks = [None] * self.grid.per_date
        per_date = [self.chunks.get(position, empty) for position in self.shard.dates]
        per_date += [empty] * (self.spec.dates_per_shard - len(per_date))
        flat = [chunk for chunks in per_date for chunk in chunks]
        data = assemble(flat) if self.spec.sharding else flat[0]
        path = self.spec.path / self.shard.key
        if data is None:
            path.unlink(missing_ok=True)
        else:
            write_bytes(path, data)
        result.shards += 1
        result.written_bytes += len(data or b"")
        inputs = tuple(
            "" if position in self.failed else digest_
            for position, digest_ in zip(self.shard.dates, self.shard.inputs, strict=True)
        )
        return ShardRecord(self.shard.key, len(data or b""), digest(data) if data else "", inputs)

    def _take_over(self, old: ShardRecord | None) -> None:
        """Take dates from the shard that is there, if it is sound and they were made from the same inputs."""
        if old is None or not set(old.inputs) & set(self.shard.inputs):
            return
        chunks: Chunks = [None] * (self.grid.per_date * self.spec.dates_per_shard)
        if old.nbytes:
            try:
                data = (self.spec.path / self.shard.key).read_bytes()
                if digest(data) != old.digest:
                    return
                chunks = split(data, len(chunks)) if self.spec.sharding else [data]
            except (OSError, CubeError):
                return
        count = self.grid.per_date
        of_inputs = {inputs: chunks[n * count : (n + 1) * count] for n, inputs in enumerate(old.inputs) if inputs}
        for position, inputs in zip(self.shard.dates, self.shard.inputs, strict=True):
            if inputs in of_inputs:
                self.chunks[position] = of_inputs[inputs]


def _decode_date(
    spec: CubeSpec,
    unit: IngestUnit,
    acquisition: Acquisition,
    position: int,
    drafts: Sequence[_Draft],
    result: IngestResult,
) -> None:
    """Decode, or resample, what `drafts` need of one acquisition."""
    columns = {draft.shard.column: draft for draft in drafts}
    try:
        decoded = _windows(spec, unit, acquisition, columns, result)
    except SceneError as error:
        result.failures.append((acquisition.id, str(error)))
        for draft in drafts:
            draft.failed.add(position)
        return
    result.skipped_windows += sum(column not in decoded for column in columns)
    for column, draft in columns.items():
        draft.encode(position, decoded.get(column))


def _windows(
    spec: CubeSpec, unit: IngestUnit, acquisition: Acquisition, columns: Collection[int], result: IngestResult
) -> dict[int, npt.NDArray[Any]]:
    """Windows of one acquisition, by column: those of the granule, or resampled onto the grid."""
    if spec.radar is not None:
        from hpckit.cube.radar import radar_windows

        return radar_windows(spec, unit, acquisition, columns, result)
    if spec.grid is None:
        return decode_windows(spec, unit, acquisition, columns, result)
    from hpckit.cube.regrid import resample_windows  # takes time to import, which granules need not wait for

    return resample_windows(spec, unit, acquisition, columns, result)

"""Ingest: windows of scenes to shards of a cube.

A unit is one row of windows of one band for one block of dates, with those of its columns that the cube holds. Each
window of each date is decoded once (or resampled, on a grid that is not the product's own), brought to common
radiometry, compressed and dropped; the compressed chunks of all dates of a shard are then written at once, under a
temporary name, and renamed. Dates that an older shard holds already, made from the same inputs, are taken over as
they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.files import digest_json
from hpckit.base.seen import Seen
from hpckit.cubes.arrays import shard_key
from hpckit.cubes.audit import damaged
from hpckit.cubes.decode import decode_row, in_turn, reads_ahead
from hpckit.cubes.held import WHOLE, Held
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.shardreader import stored_chunks
from hpckit.cubes.shards import encode_window
from hpckit.cubes.shardwriter import write_shard
from hpckit.errors import SceneError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition
from hpckit.sensors.reader import WindowAnswer
from hpckit.sensors.verified import verify_ahead
from hpckit.space.windows import Windows

Chunks = list[bytes | None]


@dataclass(frozen=True, slots=True)
class IngestUnit:
    """One row of windows, one band, one block of dates."""

    tile: str
    band: BandRef
    block: int
    row: int
    columns: tuple[int, ...]
    """Windows of the row that the cube holds."""
    others: tuple[int, ...] = ()
    """All others."""

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
    is_kept: bool = False
    """The campaign does not ask for it any more: its dates follow the time axis, and nothing is decoded for it."""


@dataclass(slots=True)
class IngestResult:
    """What a unit did."""

    failures: list[tuple[str, SceneError]] = field(default_factory=list)
    """Acquisitions that could not be decoded, and why; their dates stay nodata in the shards."""
    shards: int = 0
    decoded_pixels: int = 0
    skipped_windows: int = 0
    reused_chunks: int = 0
    written_bytes: int = 0
    decode_s: float = 0.0


def ingest_units(
    spec: CubeSpec,
    tile: str,
    acquisitions: Sequence[Acquisition],
    held: Held = WHOLE,
    manifest: Manifest | None = None,
) -> Iterator[IngestUnit]:
    """All units of a tile: rows with windows that the cube holds.

    Parameters
    ----------
    held : Held
        Windows that the cube holds.
    manifest : Manifest, optional
        Records of the cube: with them also rows of which only windows from before have something to do.
    """
    for unit in rows_of_windows(spec, tile, acquisitions, held):
        if unit.columns or (manifest and not is_done(kept(spec, unit, acquisitions, manifest), manifest)):
            yield unit


def rows_of_windows(
    spec: CubeSpec, tile: str, acquisitions: Sequence[Acquisition], held: Held
) -> Iterator[IngestUnit]:
    """All rows of windows of a tile, also those of which nothing is held."""
    blocks = -(-len(acquisitions) // spec.dates_per_block)
    frame = spec.frame(tile, acquisitions)
    for ref in spec.bands:
        columns = [split_columns(windows) for windows in held.windows(frame, ref)]
        for block in range(blocks):
            for row, (found, others) in enumerate(columns):
                yield IngestUnit(tile, ref, block, row, found, others)


def split_columns(windows: Windows) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Columns of a row of windows: those that are held, and the others."""
    if windows.all():
        return tuple(range(len(windows))), ()
    return tuple(np.flatnonzero(windows).tolist()), tuple(np.flatnonzero(~windows).tolist())


def shards(spec: CubeSpec, unit: IngestUnit, acquisitions: Sequence[Acquisition]) -> list[Shard]:
    """Files that a unit writes for the windows that the cube holds."""
    return [
        Shard(_key(spec, unit, dates, column), column, dates, inputs)
        for dates, inputs in _dates(spec, unit, acquisitions)
        for column in unit.columns
    ]


def kept(spec: CubeSpec, unit: IngestUnit, acquisitions: Sequence[Acquisition], manifest: Manifest) -> list[Shard]:
    """Files in the row of a unit that the cube has from before and does not ask for any more.

    They lie on the same time axis as all others: their dates move with it, and a date goes whose scenes changed.
    """
    others = unit.others if manifest.has(unit.tile) else ()
    found = []
    for dates, inputs in _dates(spec, unit, acquisitions) if others else ():
        for column in others:
            key = _key(spec, unit, dates, column)
            known = manifest.latest(key)
            if known is not None:
                left = tuple(made_of if made_of in known.inputs else "" for made_of in inputs)
                found.append(Shard(key, column, dates, left, is_kept=True))
    return found


def _key(spec: CubeSpec, unit: IngestUnit, dates: range, column: int) -> str:
    return shard_key(unit.tile, unit.band, dates.start // spec.dates_per_shard, unit.row, column)


def _dates(
    spec: CubeSpec, unit: IngestUnit, acquisitions: Sequence[Acquisition]
) -> Iterator[tuple[range, tuple[str, ...]]]:
    """Dates of each shard along time of a unit, and what each date should be made from."""
    first = unit.block * spec.dates_per_block
    last = min(first + spec.dates_per_block, len(acquisitions))
    made_of = inputs_of_dates(spec, acquisitions[first:last])
    for start in range(first, last, spec.dates_per_shard):
        dates = range(start, min(start + spec.dates_per_shard, last))
        yield dates, made_of[start - first : dates.stop - first]


def date_inputs(spec: CubeSpec, acquisition: Acquisition) -> str:
    """Digest of what one date of any shard is made from."""
    return inputs_of_dates(spec, [acquisition])[0]


def inputs_of_dates(spec: CubeSpec, acquisitions: Sequence[Acquisition]) -> tuple[str, ...]:
    """Digest of what each date of any shard is made from."""
    treatment = json.dumps(spec.treatment)
    return tuple(_date_inputs(tuple(scene.made_of for scene in date.scenes), treatment) for date in acquisitions)


_VERSION: Final = 1
"""Grows when the same scenes and settings give other pixels."""


@lru_cache(maxsize=100_000)
def _date_inputs(scenes: tuple[str, ...], treatment: str) -> str:
    return digest_json([_VERSION, scenes, *json.loads(treatment)])[:16]


def is_done(shards: Sequence[Shard], manifest: Manifest) -> bool:
    """Whether the manifest has all shards of a unit, made from what they should be made from."""
    return all((record := manifest.get(shard.key)) is not None and record.inputs == shard.inputs for shard in shards)


def ingest(
    spec: CubeSpec, unit: IngestUnit, acquisitions: Sequence[Acquisition], manifest: Manifest, writer: str
) -> IngestResult:
    """Write those shards of a unit that the manifest does not have, or that are not as it says.

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
    every = [*shards(spec, unit, acquisitions), *kept(spec, unit, acquisitions, manifest)]
    known = [record for shard in every if (record := manifest.get(shard.key)) is not None]
    manifest.forget(damaged(spec.path, known, Seen(None, writer)))
    wanted = [*shards(spec, unit, acquisitions), *kept(spec, unit, acquisitions, manifest)]
    pending = [shard for shard in wanted if not is_done([shard], manifest)]
    result = IngestResult()
    drafts = [_Draft(spec, unit, shard, manifest) for shard in pending]
    if spec.verify and not spec.grid.resampled and spec.sensor.has_tiles:
        dates = sorted({date for draft in drafts for date in draft.shard.dates if not draft.has(date)})
        scenes = [scene for date in dates for scene in acquisitions[date].scenes if unit.band.key in scene.assets]
        rows = spec.frame(unit.tile, acquisitions).windows(unit.band.resolution_m)[0]
        verify_ahead([(scene, unit.band.key) for scene in scenes], unit.row / rows)
    work = {
        position: missing
        for position in sorted({date for shard in pending for date in shard.dates})
        if (missing := [draft for draft in drafts if position in draft.shard.dates and not draft.has(position)])
    }
    for (position, missing), answer in zip(work.items(), _answers(spec, unit, acquisitions, work), strict=True):
        _take(acquisitions[position], position, missing, answer, result)
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
        if shard.is_kept:
            self.failed = set(shard.dates) - self.chunks.keys()

    def has(self, position: int) -> bool:
        """Whether a date is there, or nothing is to be decoded for it."""
        return position in self.chunks or self.shard.is_kept

    def encode(self, position: int, window: npt.NDArray[Any] | None) -> None:
        """Add a date; None for one that holds nothing."""
        if window is None:
            self.chunks[position] = [None] * self.grid.per_date
        else:
            self.chunks[position] = encode_window(window, self.grid, self.spec.compression)

    def write(self, result: IngestResult) -> ShardRecord:
        """Write the shard, and say what was written."""
        empty: Chunks = [None] * self.grid.per_date
        per_date = [self.chunks.get(position, empty) for position in self.shard.dates]
        per_date += [empty] * (self.spec.dates_per_shard - len(per_date))
        flat = [chunk for chunks in per_date for chunk in chunks]
        inputs = tuple(
            "" if position in self.failed else digest_
            for position, digest_ in zip(self.shard.dates, self.shard.inputs, strict=True)
        )
        record = write_shard(self.spec.objects, self.shard.key, flat, inputs, sharded=self.spec.sharding)
        result.shards += 1
        result.written_bytes += record.nbytes
        return record

    def _take_over(self, old: ShardRecord | None) -> None:
        """Take dates from the shard that is there, if it is sound and they were made from the same inputs."""
        if old is None or not set(old.inputs) & set(self.shard.inputs):
            return
        # What cannot be read just now fails the unit: dates whose product is gone exist in this file only.
        count = self.grid.per_date
        wanted = count * self.spec.dates_per_shard
        chunks = stored_chunks(self.spec.objects, old, wanted, sharded=self.spec.sharding)
        if chunks is None:
            return
        of_inputs = {inputs: chunks[n * count : (n + 1) * count] for n, inputs in enumerate(old.inputs) if inputs}
        for position, inputs in zip(self.shard.dates, self.shard.inputs, strict=True):
            if inputs in of_inputs:
                self.chunks[position] = of_inputs[inputs]


def _answers(
    spec: CubeSpec, unit: IngestUnit, acquisitions: Sequence[Acquisition], work: Mapping[int, Sequence[_Draft]]
) -> Iterator[WindowAnswer | SceneError]:
    """Decode, or resample, what drafts need of each date."""
    decode = partial(decode_row, spec, unit.tile, unit.band, unit.row)
    calls = [
        partial(decode, [draft.shard.column for draft in drafts], acquisitions[date]) for date, drafts in work.items()
    ]
    return in_turn(calls, reads_ahead(unit.band, [acquisitions[date] for date in work]))


def _take(
    acquisition: Acquisition,
    position: int,
    drafts: Sequence[_Draft],
    answer: WindowAnswer | SceneError,
    result: IngestResult,
) -> None:
    """Compress what was decoded of a date."""
    if isinstance(answer, SceneError):
        result.failures.append((acquisition.id, answer))
        for draft in drafts:
            draft.failed.add(position)
        return
    result.decoded_pixels += answer.decoded_pixels
    result.decode_s += answer.decode_s
    result.skipped_windows += sum(draft.shard.column not in answer.windows for draft in drafts)
    for draft in drafts:
        draft.encode(position, answer.windows.get(draft.shard.column))

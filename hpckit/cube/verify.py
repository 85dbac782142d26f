"""Verify: does the cube hold what its manifest says, made from what it should be made from?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpckit.cube.ingest import Shard, ingest_units, shards
from hpckit.cube.layout import CubeSpec
from hpckit.cube.manifest import Manifest, ShardRecord
from hpckit.files import PARTIAL, digest
from hpckit.scenes.model import Acquisition

Kind = Literal["missing", "corrupt", "stale"]

_THREADS = 4


@dataclass(frozen=True, slots=True)
class Fault:
    """A shard that is not as it should be."""

    key: str
    kind: Kind
    detail: str
    unit: str
    """Unit that writes it anew."""


def verify(
    spec: CubeSpec,
    tiles: Mapping[str, Sequence[Acquisition]],
    manifest: Manifest,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Fault]:
    """Check every shard of the cube by its checksum.

    Parameters
    ----------
    tiles : mapping of str to sequence of Acquisition
        What stands on each tile's time axis.
    progress : callable
        Called with the number of shards checked and of all.

    Returns
    -------
    list of Fault
        *missing*: never written, or gone. *corrupt*: other bytes than were written. *stale*: made from
        other scenes than the campaign now selects, or a date of it failed.
    """
    wanted = [
        (unit.id, shard)
        for tile, acquisitions in tiles.items()
        for unit in ingest_units(spec, tile, acquisitions)
        for shard in shards(spec, unit, acquisitions)
    ]
    faults = []
    with ThreadPoolExecutor(_THREADS) as pool:
        checks = pool.map(lambda item: _check(spec.path, item[0], item[1], manifest), wanted)
        for done, fault in enumerate(checks, 1):
            progress(done, len(wanted))
            if fault is not None:
                faults.append(fault)
    return faults


def leftovers(cube: Path) -> Iterator[Path]:
    """Files that a killed writer left under a temporary name."""
    return cube.rglob(f".*{PARTIAL}*")


def _check(cube: Path, unit: str, shard: Shard, manifest: Manifest) -> Fault | None:
    record = manifest.get(shard.key)
    if record is None:
        return Fault(shard.key, "missing", "never written", unit)
    damage = shard_damage(cube / shard.key, record)
    if damage is not None:
        return Fault(shard.key, *damage, unit)
    if record.inputs != shard.inputs:
        return Fault(shard.key, "stale", _difference(record, shard), unit)
    return None


def shard_damage(path: Path, record: ShardRecord) -> tuple[Kind, str] | None:
    """What is wrong with the bytes of a shard; None if they are those of its record."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ("missing", "the file is gone") if record.nbytes else None
    except OSError as error:
        return "corrupt", str(error)
    if len(data) != record.nbytes:
        return "corrupt", f"{len(data)} bytes instead of {record.nbytes}"
    return None if digest(data) == record.digest else ("corrupt", "checksum differs")


def _difference(record: ShardRecord, shard: Shard) -> str:
    failed = sum(not inputs for inputs in record.inputs)
    if failed:
        return f"{failed} of its {len(record.inputs)} dates failed"
    return f"made from {len(record.inputs)} dates, {len(set(shard.inputs) - set(record.inputs))} are new"

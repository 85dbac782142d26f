"""What a run made, with digests of content that are equal on other machines: of no path and of no time stamp."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpckit.base.files import digest_json
from hpckit.cubes.manifest import Manifest

Kind = Literal["shards", "signatures", "file"]


@dataclass(frozen=True, slots=True)
class Made:
    """An output of a run: an array of a hierarchy, signatures of a tile, or a file."""

    name: str
    """`cube/31UFU/r10m/B04`, `signatures/fields/31UFU`, `results/ndvi/openEO.tif`; the same wherever it is made."""
    kind: Kind
    digest: str
    """Of its content; empty if what should be there is not."""
    count: int
    """Shards, rows or files."""
    nbytes: int
    """On the disk; 0 for rows."""
    path: Path | None = None
    """Of a file."""
    missing: int = 0
    """Shards or units that should be there and are not."""


def array_of(key: str) -> str:
    """Path of the array that a shard belongs to, or of the result that a part belongs to."""
    return key.partition("/c/")[0].partition("/parts/")[0]


def of_shards(prefix: str, manifest: Manifest, keys: Mapping[str, Iterable[str]]) -> Iterable[Made]:
    """Arrays of a hierarchy, by the digests that the manifest has of their shards.

    Parameters
    ----------
    prefix : str
        First part of the names.
    keys : mapping of str to iterable of str
        Shards of each array that should be there.
    """
    for array, wanted in sorted(keys.items()):
        records = {key: manifest.get(key) for key in wanted}
        there = {key: record for key, record in records.items() if record is not None}
        content = sorted((key, record.nbytes, record.digest) for key, record in there.items())
        yield Made(
            f"{prefix}/{array}",
            "shards",
            digest_json(content) if there else "",
            len(there),
            sum(record.nbytes for record in there.values()),
            missing=len(records) - len(there),
        )

"""What a cube takes on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hpckit.cube.manifest import Manifest
from hpckit.cube.read import array_info, bands, tiles


@dataclass(frozen=True, slots=True)
class CubeFacts:
    """Size of a cube."""

    tiles: int
    bands: tuple[str, ...]
    dates: int
    """Dates of all tiles together."""
    shards: int
    shard_bytes: int
    largest: int
    """Bytes of the largest shard."""
    empty: int
    """Shards that are all nodata and take no file."""
    inodes: int
    """Files and folders, metadata included."""
    pixels: int
    """Pixels that the arrays hold, nodata included."""
    raw_bytes: int
    """Bytes of the arrays uncompressed."""

    @property
    def mean_bytes(self) -> float:
        """Mean size of a shard."""
        return self.shard_bytes / self.shards if self.shards else 0.0


def cube_facts(cube: Path) -> CubeFacts | None:
    """Count a cube; None if there is none."""
    names = tiles(cube)
    if not names:
        return None
    records = Manifest.load(cube).records()
    sizes = [record.nbytes for record in records if record.nbytes]
    held = {tile: bands(cube, tile) for tile in names}
    infos = [array_info(cube, tile, ref) for tile, refs in held.items() for ref in refs]
    pixels = [info.shape[0] * info.shape[1] * info.shape[2] for info in infos]
    return CubeFacts(
        tiles=len(names),
        bands=tuple(dict.fromkeys(str(ref) for refs in held.values() for ref in refs)),
        dates=sum(array_info(cube, tile, refs[0]).shape[0] for tile, refs in held.items() if refs),
        shards=len(sizes),
        shard_bytes=sum(sizes),
        largest=max(sizes, default=0),
        empty=len(records) - len(sizes),
        inodes=sum(len(folders) + len(files) for _, folders, files in os.walk(cube)),
        pixels=sum(pixels),
        raw_bytes=sum(n * (1 if info.dtype == "uint8" else 2) for n, info in zip(pixels, infos, strict=True)),
    )

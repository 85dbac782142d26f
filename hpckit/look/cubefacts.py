"""What a cube takes on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpckit.cubes.arrays import Array
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.read import band_array, bands, held_windows, tiles
from hpckit.space.windows import pixels_of_rows


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
    """Pixels of the windows that the cube holds, nodata included."""
    raw_bytes: int
    """Bytes of these uncompressed."""
    windows: int
    """Windows that the cube holds, of all tiles and bands."""
    all_windows: int
    """Windows that these tiles have."""

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
    arrays = [band_array(cube, tile, ref) for tile, refs in held.items() for ref in refs]
    windows = [held_windows(array) for array in arrays]
    pixels = [array.shape[0] * _pixels(array, some) for array, some in zip(arrays, windows, strict=True)]
    return CubeFacts(
        tiles=len(names),
        bands=tuple(dict.fromkeys(str(ref) for refs in held.values() for ref in refs)),
        dates=sum(band_array(cube, tile, refs[0]).shape[0] for tile, refs in held.items() if refs),
        shards=len(sizes),
        shard_bytes=sum(sizes),
        largest=max(sizes, default=0),
        empty=len(records) - len(sizes),
        inodes=sum(len(folders) + len(files) for _, folders, files in os.walk(cube)),
        pixels=sum(pixels),
        raw_bytes=sum(n * np.dtype(array.dtype).itemsize for n, array in zip(pixels, arrays, strict=True)),
        windows=sum(int(some.sum()) for some in windows),
        all_windows=sum(some.size for some in windows),
    )


def _pixels(array: Array, held: npt.NDArray[np.bool_]) -> int:
    """Pixels of the windows of one date that are held."""
    rows, columns = array.shape[1:]
    return sum(pixels_of_rows(held, array.grid.window, (rows, columns)))

"""Peer of `graphs.py`: NDVI, threshold and scale of a cube by numpy, read and written by zarr, in two processes.

python graphs_by_hand.py CUBE RESULT
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

EDGE, CHUNK, BLOCK = 1024, 256, 16
TILE = "31UFT"


def computed(red: Any, infrared: Any) -> Any:
    """NDVI of stored numbers; NaN where it is low or has no data, else 0 to 255."""
    red, infrared = (
        np.where(band == 0, np.float32(np.nan), band * np.float32(1e-4) - np.float32(0.1)) for band in (red, infrared)
    )
    ndvi = (infrared - red) / (infrared + red)
    return np.where(ndvi > 0.3, (np.clip(ndvi, -1, 1) + 1) / 2 * 255, np.float32(np.nan))


def window(cube: str, result: str, row: int, column: int) -> None:
    """Compute a window of all dates."""
    import zarr

    group = zarr.open_group(f"{cube}/{TILE}/r10m", mode="r")
    place = slice(None), slice(row, row + EDGE), slice(column, column + EDGE)
    made = computed(group["B04"][place], group["B08"][place])
    zarr.open_array(result, mode="r+")[place] = made.astype(np.float32)


def main() -> None:
    """Run."""
    import zarr

    cube, result = sys.argv[1], Path(sys.argv[2])
    shape = zarr.open_group(f"{cube}/{TILE}/r10m", mode="r")["B04"].shape
    zarr.create_array(
        result,
        shape=shape,
        shards=(BLOCK, EDGE, EDGE),
        chunks=(1, CHUNK, CHUNK),
        dtype="float32",
        compressors=zarr.codecs.ZstdCodec(level=3),
        fill_value=np.nan,
        overwrite=True,
    )
    places = [(row, column) for row in range(0, shape[1], EDGE) for column in range(0, shape[2], EDGE)]
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(window, *zip(*((cube, str(result), *place) for place in places), strict=True)))


if __name__ == "__main__":
    main()

"""Shards of a Zarr v3 array as bytes: many chunks in one file, found through an index at its end.

Format: Zarr v3 `sharding_indexed` codec, version 1.0: the encoded chunks, then for each chunk in C order
offset and length as little-endian uint64 (both 2^64 - 1 where the chunk is all fill value), then the CRC32C
of that index. Chunks are encoded by Blosc (Zstandard, bit shuffle).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from google_crc32c import value as crc32c
from numcodecs import blosc

from hpckit.errors import CubeError

# Blosc's own threads take a global lock; ranks and reader threads are the parallelism here.
blosc.use_threads = False

MISSING: Final = 2**64 - 1
_CHECKSUM_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """How a window of one date is cut into chunks."""

    window: int
    """Edge of the window in pixels."""
    chunk: int
    """Edge of a chunk in pixels; a divisor of the window."""

    @property
    def per_side(self) -> int:
        """Chunks along one edge of the window."""
        return self.window // self.chunk

    @property
    def per_date(self) -> int:
        """Chunks of one date."""
        return self.per_side**2


def encode_window(window: npt.NDArray[Any], grid: ChunkGrid, level: int) -> list[bytes | None]:
    """Encode one date of one window.

    Parameters
    ----------
    window : ndarray of uint8 or uint16, shape (rows, columns)
        At most `grid.window` on a side; what lacks at the raster's border is filled with 0.
    level : int
        Zstandard level.

    Returns
    -------
    list of bytes or None, length `grid.per_date`
        None for a chunk that is all 0.
    """
    edge, count = grid.chunk, grid.per_side
    if window.shape != (grid.window, grid.window):
        padded = np.zeros((grid.window, grid.window), dtype=window.dtype)
        padded[: window.shape[0], : window.shape[1]] = window
        window = padded
    return [
        _encode(window[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge], level)
        for row in range(count)
        for column in range(count)
    ]


def assemble(chunks: Sequence[bytes | None]) -> bytes | None:
    """Join encoded chunks, in C order, to a shard; None if all are empty."""
    if all(chunk is None for chunk in chunks):
        return None
    index = np.full((len(chunks), 2), MISSING, dtype="<u8")
    position = 0
    for number, chunk in enumerate(chunks):
        if chunk is not None:
            index[number] = position, len(chunk)
            position += len(chunk)
    raw = index.tobytes()
    checksum = crc32c(raw).to_bytes(_CHECKSUM_BYTES, "little")
    return b"".join([*(chunk for chunk in chunks if chunk is not None), raw, checksum])


def index_nbytes(count: int) -> int:
    """Length of the index of `count` chunks, with its checksum."""
    return 16 * count + _CHECKSUM_BYTES


def read_index(data: bytes | memoryview, count: int) -> npt.NDArray[np.uint64]:
    """Decode the index of a shard.

    Parameters
    ----------
    data : bytes
        The last `index_nbytes(count)` bytes of the shard.

    Returns
    -------
    ndarray of uint64, shape (count, 2)

    Raises
    ------
    CubeError
        If it is cut or its checksum is wrong.
    """
    raw, checksum = bytes(data[: 16 * count]), bytes(data[16 * count :])
    if len(data) != index_nbytes(count) or crc32c(raw).to_bytes(_CHECKSUM_BYTES, "little") != checksum:
        raise CubeError("the index of the shard is damaged")
    return np.frombuffer(raw, dtype="<u8").reshape(count, 2)


def split(data: bytes, count: int) -> list[bytes | None]:
    """Take a shard apart into its encoded chunks."""
    index = read_index(data[-index_nbytes(count) :], count)
    return [
        None if int(offset) == MISSING else data[int(offset) : int(offset) + int(length)]
        for offset, length in index.tolist()
    ]


def decode(chunk: bytes | memoryview, dtype: str, edge: int) -> npt.NDArray[Any]:
    """Decode one chunk to an array of shape (edge, edge).

    Raises
    ------
    CubeError
        If it is damaged.
    """
    try:
        return np.frombuffer(blosc.decompress(chunk), dtype=dtype).reshape(edge, edge)
    except (RuntimeError, ValueError) as error:
        raise CubeError("a chunk of the shard is damaged") from error


def _encode(block: npt.NDArray[Any], level: int) -> bytes | None:
    if not block.any():
        return None
    return bytes(blosc.compress(np.ascontiguousarray(block), b"zstd", level, blosc.BITSHUFFLE))

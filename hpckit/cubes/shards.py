"""Shards of a Zarr v3 array as bytes: many chunks in one file, found through an index at its end.

Format: Zarr v3 `sharding_indexed` codec, version 1.0: the encoded chunks, then for each chunk in C order
offset and length as little-endian uint64 (both 2^64 - 1 where the chunk is all fill value), then the CRC32C
of that index. Chunks are encoded by Blosc (Zstandard, bit shuffle), and each is followed by its CRC32C (the codec
`crc32c`), so that any reader finds damage in what it reads.

Between chunks and index, where other readers do not look, stand the CRC32C of all chunks once more. This table and
the index are the *tail*. Its digest, the *seal*, is kept in the manifest: whoever reads one chunk knows from the tail
alone that the file is the one that was recorded, and not an older one, or that of another window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from google_crc32c import value as crc32c
from numcodecs import blosc

from hpckit.base.files import digest
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
    window : ndarray, shape (rows, columns)
        At most `grid.window` on a side.
    level : int
        Zstandard level.

    Returns
    -------
    list of bytes or None, length `grid.per_date`
        As `encode_chunk` gives them.
    """
    starts = range(0, grid.window, grid.chunk)
    parts = (window[row : row + grid.chunk, column : column + grid.chunk] for row in starts for column in starts)
    return [encode_chunk(part, grid.chunk, level) for part in parts]


def encode_chunk(values: npt.NDArray[Any], edge: int, level: int) -> bytes | None:
    """Encode one chunk; None if all of it is fill value: 0, and NaN for floating-point numbers.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        At most `edge` on a side; what is missing at the raster's border is filled.
    level : int
        Zstandard level.
    """
    floating = values.dtype.kind == "f"
    if np.isnan(values).all() if floating else not values.any():
        return None
    if values.shape != (edge, edge):
        whole = np.full((edge, edge), np.nan if floating else 0, dtype=values.dtype)
        whole[: values.shape[0], : values.shape[1]] = values
        values = whole
    return bytes(blosc.compress(np.ascontiguousarray(values), b"zstd", level, blosc.BITSHUFFLE))


def assemble(chunks: Sequence[bytes | None]) -> bytes | None:
    """Join encoded chunks, in C order, to a shard; None if all are empty."""
    if all(chunk is None for chunk in chunks):
        return None
    index = np.full((len(chunks), 2), MISSING, dtype="<u8")
    table = np.zeros(len(chunks), dtype="<u4")
    parts: list[bytes] = []
    position = 0
    for number, chunk in enumerate(chunks):
        if chunk is not None:
            checksum = crc32c(chunk)
            parts += [chunk, checksum.to_bytes(_CHECKSUM_BYTES, "little")]
            index[number] = position, len(chunk) + _CHECKSUM_BYTES
            table[number] = checksum
            position += len(chunk) + _CHECKSUM_BYTES
    raw = index.tobytes()
    return b"".join([*parts, table.tobytes(), raw, crc32c(raw).to_bytes(_CHECKSUM_BYTES, "little")])


def tail_nbytes(count: int) -> int:
    """Length of the tail of a shard of `count` chunks."""
    return (16 + _CHECKSUM_BYTES) * count + _CHECKSUM_BYTES


def seal_of(data: bytes, count: int | None) -> str:
    """Seal of the whole bytes of a shard of `count` chunks; None for a file that is one chunk without any index."""
    return f"{crc32c(data):08x}" if count is None else digest(data[-tail_nbytes(count) :])


@dataclass(frozen=True, slots=True)
class Tail:
    """What the end of a shard says of its chunks."""

    index: npt.NDArray[np.uint64]
    """Offset and length of each chunk; shape (count, 2)."""
    table: npt.NDArray[np.uint32] | None
    """CRC32C of each chunk; None in shards of others, and in those of an hpckit that kept none."""
    checksums: bool = True
    """Whether each chunk is followed by its CRC32C."""

    def holds(self, number: int) -> bool:
        """Whether there is a chunk of that number; else it is all fill value."""
        return int(self.index[number, 0]) != MISSING

    def place(self, number: int) -> tuple[int, int]:
        """Offset and length of a chunk in the file."""
        return int(self.index[number, 0]), int(self.index[number, 1])

    def unpack(self, number: int, raw: bytes | memoryview) -> bytes:
        """The encoded chunk in what stands at its place.

        Raises
        ------
        CubeError
            If these are not the bytes that were written.
        """
        if len(raw) != self.index[number, 1]:
            raise CubeError("a chunk of the shard is cut")
        if not self.checksums:
            return bytes(raw)
        chunk, kept = bytes(raw[:-_CHECKSUM_BYTES]), int.from_bytes(raw[-_CHECKSUM_BYTES:], "little")
        if not crc32c(chunk) == kept == (kept if self.table is None else self.table[number]):
            raise CubeError("a chunk of the shard is damaged")
        return chunk


def read_tail(data: bytes, count: int, *, ours: bool = True, checksums: bool = True) -> Tail:
    """Decode the tail of a shard.

    Parameters
    ----------
    data : bytes
        The last `tail_nbytes(count)` bytes of the shard, or fewer where it is shorter.
    ours : bool
        Whether a table stands before the index.
    checksums : bool
        Whether each chunk is followed by its checksum.

    Raises
    ------
    CubeError
        If it is cut or its checksum is wrong.
    """
    raw, checksum = data[-16 * count - _CHECKSUM_BYTES : -_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if len(raw) != 16 * count or crc32c(raw).to_bytes(_CHECKSUM_BYTES, "little") != checksum:
        raise CubeError("the index of the shard is damaged")
    index = np.frombuffer(raw, "<u8").reshape(count, 2)
    if not ours:
        return Tail(index, None, checksums)
    if len(data) != tail_nbytes(count):
        raise CubeError("the index of the shard is damaged")
    return Tail(index, np.frombuffer(data[: _CHECKSUM_BYTES * count], "<u4"))


def split(data: bytes, count: int) -> list[bytes | None]:
    """Take a shard apart into its encoded chunks.

    Raises
    ------
    CubeError
        If it is damaged.
    """
    tail = read_tail(data[-tail_nbytes(count) :], count)
    chunks: list[bytes | None] = []
    for number in range(count):
        offset, length = tail.place(number)
        chunks.append(tail.unpack(number, data[offset : offset + length]) if tail.holds(number) else None)
    return chunks


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

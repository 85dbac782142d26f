"""Parts of what Blosc has compressed, without the rest: only the blocks that are needed are read and decoded.

Blosc cuts data into blocks that are compressed each for itself (some 128 KiB), and stores where each begins (format
of Blosc 1, README_CHUNK_FORMAT.rst of c-blosc). A window of a cube takes few rows of a chunk of 5490² pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import numpy as np
from numcodecs import blosc

blosc.use_threads = False

_HEADER: Final = struct.Struct("<BBBBIII")
"""Version, version of the codec, flags, size of a number, bytes, bytes of a block, compressed bytes."""
_STORED: Final = 0x2
"""Flag of data that are not compressed: they follow the header as they are."""
_VERSION: Final = 2
HEAD_BYTES: Final = 8192
"""Read first: the header, and the places of two thousand blocks."""

Read = Callable[[int, int], bytes]
"""Gives bytes from a position on, by number; fewer where the compressed data end."""


def compressed_bytes(data: bytes) -> int:
    """Bytes of something that is compressed, as its header says; 0 if that is cut."""
    if len(data) < _HEADER.size:
        return 0
    compressed: int = _HEADER.unpack_from(data)[-1]
    return compressed


def decode_part(read: Read, whole: int, start: int, stop: int) -> bytes:
    """Decode bytes `start` to `stop` of what is compressed.

    Parameters
    ----------
    read : callable
        Reads the compressed data.
    whole : int
        Bytes of all that is compressed.

    Raises
    ------
    ValueError
        If it is truncated or damaged.
    """
    head = read(0, HEAD_BYTES)
    if len(head) < _HEADER.size:
        raise ValueError("truncated")
    version, codec, flags, itemsize, nbytes, block, compressed = _HEADER.unpack_from(head)
    if version != _VERSION or nbytes != whole or not 0 < block <= 2**31:
        raise ValueError(f"not {whole} bytes compressed by Blosc")
    if flags & _STORED:
        return _exactly(read, _HEADER.size + start, stop - start)
    count = -(-nbytes // block)
    table = _HEADER.size + 4 * count
    if len(head) < table:
        head = _exactly(read, 0, table)
    starts = np.frombuffer(head, "<i4", count, _HEADER.size).astype(np.int64)
    first, last = start // block, (stop - 1) // block
    ordered = np.append(np.sort(starts), compressed)
    begins = starts[first : last + 1]
    ends = ordered[np.searchsorted(ordered, begins, side="right")] if begins.max() < compressed else begins
    if begins.min() < table or (ends <= begins).any():
        raise ValueError("damaged: its blocks lie nowhere")
    offset = int(begins.min())
    body = _exactly(read, offset, int(ends.max()) - offset)
    parts = [body[begin - offset : end - offset] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    own = min(nbytes, (last + 1) * block) - first * block
    decoded = _decode((version, codec, flags, itemsize, own, min(block, own)), parts)
    return decoded[start - first * block : stop - first * block]


def _decode(header: tuple[int, ...], parts: list[bytes]) -> bytes:
    """Decode blocks, as if they were all that there is."""
    lengths = [len(part) for part in parts]
    table = _HEADER.size + 4 * len(parts)
    starts = table + np.cumsum([0, *lengths[:-1]])
    made = b"".join((_HEADER.pack(*header, table + sum(lengths)), starts.astype("<i4").tobytes(), *parts))
    try:
        decoded: bytes = blosc.decompress(made)
    except RuntimeError as error:
        raise ValueError(f"damaged: {error}") from error
    return decoded


def _exactly(read: Read, offset: int, nbytes: int) -> bytes:
    data = read(offset, nbytes)
    if len(data) < nbytes:
        raise ValueError("truncated")
    return data

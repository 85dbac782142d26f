"""PNG of small pictures, fast: colours by palette, or red, green, blue and opacity.

Matplotlib's and Pillow's writers try several filters and levels, which takes longer than drawing a map tile.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY_OR_PALETTE: Final = 3
_RGB: Final = 2
_RGBA: Final = 6
_SUB: Final = 1
"""Filter by which a line holds differences to the left neighbour."""
_LEVEL: Final = 1
"""Of zlib: higher levels take twice as long for a tenth of the bytes."""


def encode(pixels: Pixels, palette: Pixels | None = None) -> bytes:
    """Write a picture.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (rows, columns) or (rows, columns, 4)
        Places in the palette; or red, green, blue, opacity.
    palette : ndarray of uint8, shape (colours, 4), optional
        Red, green, blue, opacity of at most 256 colours.
    """
    rows, columns = pixels.shape[:2]
    if palette is not None:
        chunks = [(b"PLTE", palette[:, :3].tobytes()), (b"tRNS", palette[:, 3].tobytes())]
        return _file(rows, columns, _GREY_OR_PALETTE, chunks, _lines(pixels.reshape(rows, columns, 1), 0))
    if (pixels[:, :, 3] == 255).all():
        return _file(rows, columns, _RGB, [], _lines(pixels[:, :, :3], _SUB))
    return _file(rows, columns, _RGBA, [], _lines(pixels, _SUB))


@lru_cache(maxsize=8)
def transparent(rows: int, columns: int) -> bytes:
    """Write a picture without anything on it."""
    return encode(np.zeros((rows, columns), np.uint8), np.zeros((1, 4), np.uint8))


def _lines(pixels: Pixels, filtered: int) -> bytes:
    """Lines of pixels, each after the number of its filter."""
    rows, columns, channels = pixels.shape
    lines = np.empty((rows, 1 + columns * channels), np.uint8)
    lines[:, 0] = filtered
    rest = lines[:, 1:].reshape(rows, columns, channels)
    rest[:] = pixels
    if filtered == _SUB:
        np.subtract(pixels[:, 1:], pixels[:, :-1], out=rest[:, 1:])
    return zlib.compress(lines.tobytes(), _LEVEL)


def _file(rows: int, columns: int, colour: int, chunks: list[tuple[bytes, bytes]], data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", columns, rows, 8, colour, 0, 0, 0)
    every = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in every
    )

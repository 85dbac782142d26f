"""Items as JSON in one file, by number: compressed in blocks, and read a few at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

_BLOCK: Final = 32
"""Items of a block: more are smaller on disk, and slower to read one of."""
_CODEC: Final = "zstd"


class DocumentsWriter:
    """Writes items to a file, in turn.

    Parameters
    ----------
    path : Path
        File to write; `Documents` reads it after `close`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")
        self._block: list[bytes] = []
        self._starts, self._sizes = [0], list[int]()

    def add(self, item: Mapping[str, Any]) -> None:
        """Add an item."""
        self._block.append(orjson.dumps(item))
        if len(self._block) == _BLOCK:
            self._flush()

    def close(self) -> None:
        """Write the rest, and where the blocks are."""
        self._flush()
        self._file.close()
        np.save(self._path.with_suffix(".npy"), np.array([self._starts, [*self._sizes, 0]], np.int64))

    def _flush(self) -> None:
        if not self._block:
            return
        content = b"\n".join(self._block)
        self._sizes.append(len(content))
        self._starts.append(self._starts[-1] + self._file.write(pa.compress(content, _CODEC, asbytes=True)))
        self._block.clear()


class Documents:
    """Items of a file that `DocumentsWriter` wrote.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._starts: npt.NDArray[np.int64]
        self._sizes: npt.NDArray[np.int64]
        self._starts, self._sizes = np.load(path.with_suffix(".npy"))

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Items by number, in the order of the numbers."""
        lines = {block: self._lines(block) for block in {number // _BLOCK for number in numbers}}
        return [orjson.loads(lines[number // _BLOCK][number % _BLOCK]) for number in numbers]

    def _lines(self, block: int) -> list[bytes]:
        start, end = int(self._starts[block]), int(self._starts[block + 1])
        packed = os.pread(self._descriptor, end - start, start)
        return bytes(pa.decompress(packed, int(self._sizes[block]), _CODEC, asbytes=True)).split(b"\n")

"""Windows of JPEG 2000 files on servers: of each only the tiles that a window meets, by one or two requests.

The tiles are taken out of the file into one of their own, in memory, which decoders read as they read any other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from hpckit.inputs import codestream
from hpckit.inputs.jpeg2000 import decode_part
from hpckit.inputs.opening import open_raster
from hpckit.inputs.partnotes import PartNotes
from hpckit.inputs.remote import RemoteFile, opened
from hpckit.inputs.tileparts import TileParts, contents, span_of
from hpckit.inputs.transfer import ReplacedError, replaced

JPEG_2000: Final = ".jp2"
"""Ending of names of such files."""


class _Notes:
    """What this process knows of files."""

    def __init__(self) -> None:
        self.parts = PartNotes()


_notes: Final = _Notes()


def keep_notes(folder: Path, writer: str) -> None:
    """Keep notes of where tiles lie in a folder from now on, under the name of this process."""
    _notes.parts = PartNotes(folder, writer)


class TileRaster:
    """A JPEG 2000 file on a server, of which windows are read."""

    def __init__(self, file: RemoteFile, parts: TileParts, *, is_noted: bool = False) -> None:
        self._file = file
        self._parts = parts
        self._is_noted = is_noted

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._parts.layout.shape

    @property
    def height(self) -> int:
        """Rows."""
        return self.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.shape[1]

    def read(self, rows: slice, columns: slice, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Read a window.

        Parameters
        ----------
        dtype : dtype
            Of the file's numbers.

        Raises
        ------
        OSError
            If its server does not give it.
        ReplacedError
            If it is another file by now.
        SceneError
            If it is damaged.
        RasterioError
            If it cannot be decoded.
        """
        try:
            content = self._content(rows, columns)
        except ReplacedError:
            if not self._is_noted:
                raise
            # The same file may lie there anew, under another tag; its digest or size tells when it is read whole.
            self._reopen()
            content = self._content(rows, columns)
        return _decode(content, rows, columns, np.dtype(dtype), self._cuts(rows, columns))

    def _content(self, rows: slice, columns: slice) -> bytes:
        """File of the tiles that a window meets."""
        layout, file = self._parts.layout, self._file
        found = self._parts.locate(layout.of_window(rows, columns), file.read)
        parts = [part for _, part in found]
        data = dict(zip(parts, file.read_ranges([span_of(part) for part in parts]), strict=True))
        _notes.parts.add(file.uri, file.size, file.tag, self._parts)
        return layout.file(contents(found, data))

    def _reopen(self) -> None:
        """Take what is there now, if it has the size that was noted."""
        file = opened(self._file.uri, is_new=True)
        layout = codestream.parse(file.read, file.size)
        if layout is None or file.size != self._file.size:
            raise replaced(file.uri)
        self._file, self._parts, self._is_noted = file, TileParts(layout), False

    def _cuts(self, rows: slice, columns: slice) -> bool:
        """Whether a window cuts tiles."""
        return any(
            part.start % edge or (part.stop % edge and part.stop < size)
            for part, edge, size in zip((rows, columns), self._parts.layout.tile, self.shape, strict=True)
        )


def open_tiles(uri: str, nbytes: int | None, tag: str) -> TileRaster | None:
    """Open a JPEG 2000 file on a server.

    Parameters
    ----------
    nbytes : int, optional
        Size that it must have.
    tag : str
        Entity tag that it must have; empty if none is known.

    Returns
    -------
    TileRaster or None
        None if it is not one whose tiles can be taken out: then it is decoded as any other file.

    Raises
    ------
    OSError
        If it cannot be read.
    ReplacedError
        If it is another file than was scanned.
    """
    noted = _notes.parts.get(uri, nbytes)
    if noted is not None and nbytes is not None and tag in ("", noted.tag):
        return TileRaster(RemoteFile(uri, (nbytes, noted.tag)), noted.parts, is_noted=not tag)
    file = opened(uri)
    if (file.size, file.tag) != (nbytes or file.size, tag or file.tag):
        raise replaced(uri)
    noted = _notes.parts.get(uri, file.size)
    if noted is not None and noted.tag == file.tag:
        return TileRaster(file, noted.parts)
    layout = codestream.parse(file.read, file.size)
    return None if layout is None else TileRaster(file, TileParts(layout))


def _decode(content: bytes, rows: slice, columns: slice, dtype: np.dtype[Any], cuts: bool) -> npt.NDArray[Any]:
    """A window of a file in memory; of tiles that it cuts, only that part is decoded."""
    with _in_memory(content) as path:
        values = decode_part(path, rows, columns, 0, dtype) if cuts else None
        if values is not None:
            return values
        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        with open_raster(path, form=JPEG_2000) as source:
            return np.asarray(source.read(1, window=window))


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Path of a file that lies in memory while the block lasts."""
    handle = os.memfd_create("tiles.jp2")
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)

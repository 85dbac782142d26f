"""Windows of an array of a Zarr hierarchy, as the numbers that are stored: never scaled, never masked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpckit.errors import SceneError
from hpckit.inputs.blosc import decode_part
from hpckit.inputs.hierarchy import fetch, open_array, remote_store
from hpckit.inputs.remote import pooled
from hpckit.inputs.uri import Place

if TYPE_CHECKING:
    from zarr import Array

_log = logging.getLogger(__name__)
_MOSTLY: Final = 0.4
"""Share of a chunk's rows from which on a server is asked for all of it: two requests fewer for some more bytes."""

Lacks = Callable[["ZarrRaster", tuple[int, int]], bool]
"""Whether a chunk that is not there, by row and column of chunks, holds no data; else it is lost."""


class _Part(NamedTuple):
    """Of a window, what one chunk holds."""

    chunk: tuple[int, int]
    """Row and column of the chunk."""
    within: tuple[slice, slice]
    """Its pixels, counted from the chunk's corner."""
    window: tuple[slice, slice]
    """The same pixels, counted from the window's corner."""


class ZarrRaster:
    """An array of two dimensions, of which windows are read: only the chunks, and of these the blocks, that it meets.

    Parameters
    ----------
    place : Path, str or RemotePlace
        Folder of the hierarchy, or its address.
    name : str
        Path of the array in it.
    lacks : callable, optional
        Which chunks may be missing; none if not given.

    Raises
    ------
    SceneError
        If it is missing or damaged, or has not two dimensions.
    """

    def __init__(self, place: Place, name: str, lacks: Lacks | None = None) -> None:
        self.place = place
        self.name = name
        self._array: Array[Any] = open_array(place, name)
        if self._array.ndim != 2 or self._array.dtype.kind not in "uif":
            raise SceneError(f"{name} is no raster: {self._array.ndim} dimensions of {self._array.dtype}")
        self._lacks = lacks
        rows, columns = self._array.shards or self._array.chunks
        self._chunks = (rows, columns)
        self._stored = _in_blosc(self._array)
        self._remote = None if isinstance(place, Path) else remote_store(self._array)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self._array.shape
        return rows, columns

    @property
    def height(self) -> int:
        """Rows."""
        return self.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the numbers, in the byte order of this machine."""
        found: np.dtype[Any] = self._array.dtype.newbyteorder("=")
        return found

    @property
    def fill(self) -> float:
        """Number that stands for chunks which are left out."""
        return float(self._array.fill_value or 0)

    @property
    def may_omit(self) -> bool:
        """Whether writers of its format leave chunks out that hold nothing but the fill value: those of version 3."""
        return self._array.metadata.zarr_format == 3

    def read(self, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Read a window.

        Raises
        ------
        SceneError
            If a chunk is missing, truncated or damaged, or cannot be read; the message names array and chunk.
        """
        window = np.empty((rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        parts = list(self._parts(rows, columns))
        at_once = not isinstance(self.place, Path) and len(parts) > 1
        for part, pixels in zip(parts, (pooled if at_once else map)(self._read, parts), strict=True):
            window[part.window] = pixels
        return window

    def has_chunk(self, chunk: tuple[int, int]) -> bool:
        """Whether a chunk is there.

        Raises
        ------
        SceneError
            If that cannot be seen.
        """
        try:
            return fetch(self._array.store, self._key(chunk), 0, 1) is not None
        except OSError as error:
            raise SceneError(f"chunk {chunk[0]}.{chunk[1]} of {self.name} cannot be read") from error

    @property
    def chunks(self) -> tuple[int, int]:
        """Rows and columns of a chunk."""
        return self._chunks

    def _parts(self, rows: slice, columns: slice) -> Iterator[_Part]:
        runs = (
            range(along.start // size, -(-along.stop // size))
            for along, size in zip((rows, columns), self._chunks, strict=True)
        )
        for row, column in product(*runs):
            pairs = [
                _overlap(along, place * size, size)
                for along, place, size in zip((rows, columns), (row, column), self._chunks, strict=True)
            ]
            yield _Part((row, column), (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1]))

    def _read(self, part: _Part) -> npt.NDArray[Any]:
        key = self._key(part.chunk)
        name = f"chunk {part.chunk[0]}.{part.chunk[1]} of {self.name}"
        try:
            if self._stored is not None:
                found = self._decode(key, self._stored, part.within)
            else:
                found = self._whole(part) if self.has_chunk(part.chunk) else None
        except SceneError:
            raise
        except OSError as error:
            raise SceneError(f"{name} cannot be read") from error
        except Exception as error:  # codecs raise whatever they come across
            if self._distrusts(key):
                return self._read(part)
            raise SceneError(f"{name} is truncated or damaged") from error
        if found is not None:
            return found
        if not self._is_known_absent(key) and (self._lacks is None or not self._lacks(self, part.chunk)):
            raise SceneError(f"{name} is missing")
        shape = tuple(along.stop - along.start for along in part.within)
        return np.full(shape, self.fill, self.dtype)

    def _distrusts(self, key: str) -> bool:
        """Whether a chunk was read from a copy, which is damaged: then its server is asked from now on."""
        copy = None if self._remote is None else self._remote.distrust(key)
        if copy is not None:
            _log.warning(f"the copy {copy} is damaged; it is read from its server")
        return copy is not None

    def _is_known_absent(self, key: str) -> bool:
        return self._remote is not None and self._remote.is_known_absent(key)

    def _decode(self, key: str, stored: np.dtype[Any], within: tuple[slice, slice]) -> npt.NDArray[Any] | None:
        """Pixels of a chunk: rows of it are decoded, no other blocks; None if it is not there."""
        row = self._chunks[1] * stored.itemsize

        is_mostly = (within[0].stop - within[0].start) >= _MOSTLY * self._chunks[0]
        held: list[bytes] = []

        def read(offset: int, nbytes: int) -> bytes:
            if not isinstance(self.place, Path) and is_mostly:  # one request for all of it
                held[:] = held or [self._fetch(key, 0, None)]
                return held[0][offset : offset + nbytes]
            return self._fetch(key, offset, nbytes)

        try:
            data = decode_part(read, self._chunks[0] * row, within[0].start * row, within[0].stop * row)
        except FileNotFoundError:
            return None
        pixels = np.frombuffer(data, stored).reshape(-1, self._chunks[1])
        return pixels[:, within[1]]

    def _fetch(self, key: str, offset: int, nbytes: int | None) -> bytes:
        data = fetch(self._array.store, key, offset, nbytes)
        if data is None:
            raise FileNotFoundError(key)
        return data

    def _whole(self, part: _Part) -> npt.NDArray[Any]:
        """Pixels of a chunk in any codec that Zarr knows."""
        rows, columns = (
            slice(place * size + along.start, place * size + along.stop)
            for place, size, along in zip(part.chunk, self._chunks, part.within, strict=True)
        )
        return np.asarray(self._array[rows, columns])

    def _key(self, chunk: tuple[int, int]) -> str:
        return f"{self._array.path}/{self._array.metadata.encode_chunk_key(chunk)}"


def _overlap(along: slice, start: int, size: int) -> tuple[slice, slice]:
    """What a chunk has of a window along an axis: counted from its own begin, and from the window's."""
    first, last = max(along.start, start), min(along.stop, start + size)
    return slice(first - start, last - start), slice(first - along.start, last - along.start)


def _in_blosc(array: Array[Any]) -> np.dtype[Any] | None:
    """Data type of the numbers in chunks that are rows of pixels, compressed by Blosc; None if they are not.

    In version 3, the byte order is not that of the data type.
    """
    from numcodecs import Blosc
    from zarr.codecs import BloscCodec, BytesCodec

    compressors, stored = array.compressors, array.dtype
    if array.filters or array.shards or array.order != "C" or len(compressors) != 1:
        return None
    if array.metadata.zarr_format == 2:
        return stored if isinstance(compressors[0], Blosc) else None
    if not isinstance(compressors[0], BloscCodec) or not isinstance(array.serializer, BytesCodec):
        return None
    endian = array.serializer.endian
    return stored.newbyteorder(">" if endian is not None and endian.value == "big" else "<")

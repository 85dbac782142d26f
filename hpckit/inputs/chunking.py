"""How an array of a Zarr hierarchy is stored, as one text: so that a catalogue knows which objects a window needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from hpckit.errors import SceneError

if TYPE_CHECKING:
    from zarr import Array


@dataclass(frozen=True, slots=True)
class Chunking:
    """Chunks of an array; of a sharded one, its shards."""

    zarr_format: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    keys: str
    """How chunks are named: `.` and `/` between numbers, `c.` and `c/` with a `c` before these."""
    itemsize: int
    """Bytes of a number."""
    fill: float
    """Number that stands for chunks which are left out."""
    is_blosc: bool
    """Whether a chunk is compressed by Blosc alone, whose header says how many bytes it has."""

    @property
    def text(self) -> str:
        """As a catalogue notes it; `parse_chunking` reads it."""
        shape, chunks = (",".join(map(str, sizes)) for sizes in (self.shape, self.chunks))
        how = "blosc" if self.is_blosc else ""
        return f"{self.zarr_format}:{shape}:{chunks}:{self.keys}:{self.itemsize}:{self.fill!r}:{how}"

    @property
    def documents(self) -> tuple[str, ...]:
        """Metadata documents of the array, beside which its chunks lie; the first one is always there."""
        return (".zarray", ".zattrs") if self.zarr_format == 2 else ("zarr.json",)

    @property
    def nbytes(self) -> int:
        """Bytes of a chunk before it is compressed."""
        return prod(self.chunks) * self.itemsize

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each axis."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))

    def every(self) -> Iterator[tuple[int, ...]]:
        """Places of all chunks."""
        return product(*map(range, self.counts))

    def meeting(self, *along: slice) -> Iterator[tuple[int, ...]]:
        """Places of the chunks that hold some of a window, which may reach over the edges of the array."""
        return product(
            *(
                range(max(0, part.start // size), min(count, -(-part.stop // size)))
                for part, size, count in zip(along, self.chunks, self.counts, strict=True)
            )
        )

    def key(self, place: tuple[int, ...]) -> str:
        """Name of a chunk, below its array."""
        start, separator = ("c", self.keys[1:]) if self.keys.startswith("c") else ("", self.keys)
        names = [*([start] if start else []), *map(str, place)]
        return separator.join(names) or "0"


def chunking_of(array: Array[Any]) -> Chunking:
    """How an array is stored.

    Raises
    ------
    SceneError
        If its chunks have names of an unknown kind.
    """
    from numcodecs import Blosc
    from zarr.codecs import BloscCodec

    metadata: Any = array.metadata
    if metadata.zarr_format == 2:
        keys = str(metadata.dimension_separator)
    else:
        encoding = metadata.chunk_key_encoding
        keys = f"{'c' if encoding.name == 'default' else ''}{encoding.separator}"
        if encoding.name not in ("default", "v2"):
            raise SceneError(f"{array.path}: its chunks have names of an unknown kind, {encoding.name}")
    compressors: tuple[Any, ...] = array.compressors
    is_blosc = not array.shards and len(compressors) == 1 and isinstance(compressors[0], (Blosc, BloscCodec))
    return Chunking(
        metadata.zarr_format,
        tuple(array.shape),
        tuple(array.shards or array.chunks),
        keys,
        array.dtype.itemsize,
        float(array.fill_value or 0) if array.dtype.kind in "uif" else 0.0,
        is_blosc,
    )


@lru_cache(maxsize=1024)
def parse_chunking(text: str) -> Chunking:
    """Read what `Chunking.text` wrote.

    Raises
    ------
    ValueError
        If it is none.
    """
    version, shape, chunks, keys, itemsize, fill, how = text.split(":")
    sizes = [tuple(int(size) for size in told.split(",") if size) for told in (shape, chunks)]
    return Chunking(int(version), sizes[0], sizes[1], keys, int(itemsize), float(fill), how == "blosc")

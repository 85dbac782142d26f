"""Zarr hierarchies of others, version 2 and 3: their metadata, and the store that all of them are read through."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.reading import may_pass
from hpckit.errors import SceneError

if TYPE_CHECKING:
    from zarr import Array, Group
    from zarr.abc.store import Store

_HEAD_BYTES: Final = 16 * 2**10
_DOCUMENTS: Final = ("zarr.json", ".zgroup", ".zarray", ".zmetadata", ".zattrs")


def is_hierarchy(folder: Path) -> bool:
    """Whether a folder is a group or array of Zarr, or the top of a hierarchy."""
    return any((folder / name).is_file() for name in _DOCUMENTS[:4])


def documents(folder: Path) -> list[Path]:
    """Metadata documents of a group or array that are there."""
    return [folder / name for name in _DOCUMENTS if (folder / name).exists()]


def sample(path: Path, name: str) -> list[list[object]]:
    """Checksums of the heads of some chunks of an array: Blosc lists there how long each of its blocks is.

    Raises
    ------
    SceneError
        If they cannot be read.
    """
    array = open_array(path, name)
    counts = [-(-size // chunk) for size, chunk in zip(array.shape, array.shards or array.chunks, strict=True)]
    places = {tuple(part * (count - 1) // 2 for count in counts) for part in range(3)}
    found: list[list[object]] = []
    with reading(name):
        for place in sorted(places):
            head = fetch(array.store, f"{name}/{array.metadata.encode_chunk_key(place)}", 0, _HEAD_BYTES)
            found.append([list(place), None if head is None else zlib.crc32(head)])
    return found


def store_at(path: Path) -> Store:
    """Store of the hierarchy at a path, to read."""
    from zarr.storage import LocalStore  # takes half a second, which products in files need not wait for

    return LocalStore(path, read_only=True)


def fetch(store: Store, key: str, start: int = 0, nbytes: int | None = None) -> bytes | None:
    """Bytes of an object of a store, from a position on; None if there is none.

    Parameters
    ----------
    nbytes : int, optional
        How many, fewer where the object ends; all if not given.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    from zarr.abc.store import OffsetByteRequest, RangeByteRequest
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    part = OffsetByteRequest(start) if nbytes is None else RangeByteRequest(start, start + nbytes)
    found = sync(store.get(key, default_buffer_prototype(), part))
    return None if found is None else found.to_bytes()


class Hierarchy:
    """A Zarr hierarchy and its metadata."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the root.

        Raises
        ------
        SceneError
            If its metadata are damaged, or cannot be read.
        """
        with reading(self.path.name):
            return dict(self._root.attrs)

    def array(self, name: str) -> Array[Any] | None:
        """Array by its path, `measurements/reflectance/r10m/b02`; None if there is none.

        Raises
        ------
        SceneError
            If its metadata are damaged, or cannot be read.
        """
        from zarr import Array

        with reading(f"{self.path.name}: {name}"):
            try:
                found = self._root[name]
            except KeyError:
                return None
        return found if isinstance(found, Array) else None

    def attributes_of(self, name: str) -> Mapping[str, Any]:
        """Attributes of a group or array; empty if there is none. Raises what `attributes` does."""
        with reading(f"{self.path.name}: {name}"):
            return dict(self._root[name].attrs) if name in self._root else {}

    def groups(self, name: str) -> list[str]:
        """Paths of the groups in a group, sorted; none if there is none. Raises what `attributes` does."""
        from zarr import Group

        with reading(f"{self.path.name}: {name}"):
            group = self._root.get(name)
            return sorted(f"{name}/{key}" for key in group.group_keys()) if isinstance(group, Group) else []

    def has(self, name: str) -> bool:
        """Whether the folder of an array is there, whatever consolidated metadata list."""
        return is_hierarchy(self.path / name)

    @cached_property
    def _root(self) -> Group:
        """The root; its consolidated metadata are passed over where an array of them is of an unknown kind."""
        import zarr

        try:
            return zarr.open_group(store_at(self.path), mode="r")
        except (ValueError, TypeError, KeyError):
            return zarr.open_group(store_at(self.path), mode="r", use_consolidated=False)


def open_array(path: Path, name: str) -> Array[Any]:
    """Open an array by its own metadata, whatever a hierarchy's consolidated ones say of it.

    Raises
    ------
    SceneError
        If it is missing or damaged, or cannot be read.
    """
    import zarr

    with reading(name):
        try:
            return zarr.open_array(store_at(path), path=name, mode="r")
        except FileNotFoundError as error:
            raise SceneError(f"{name} is missing") from error


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Say what cannot be read where metadata are read; refusals of the file system remain the cause."""
    try:
        yield
    except SceneError:
        raise
    except Exception as error:  # parsers of metadata raise whatever they come across
        fault = "cannot be read" if may_pass(error) else "its Zarr metadata are damaged"
        raise SceneError(f"{what}: {fault}") from error

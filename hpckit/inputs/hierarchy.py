"""Zarr hierarchies of others, version 2 and 3: their metadata, and the store that all of them are read through."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.files import digest_json
from hpckit.base.reading import may_pass
from hpckit.errors import SceneError
from hpckit.inputs.chunking import chunking_of
from hpckit.inputs.remote import fetch as fetch_remote
from hpckit.inputs.transfer import AbsentError, digest_of_tag, without_secrets
from hpckit.inputs.uri import Place, RemotePlace, name_of, within

if TYPE_CHECKING:
    import numpy.typing as npt
    from zarr import Array, Group
    from zarr.abc.store import Store

    from hpckit.inputs.remote_store import RemoteStore

_HEAD_BYTES: Final = 16 * 2**10
_DOCUMENTS: Final = ("zarr.json", ".zgroup", ".zarray", ".zmetadata", ".zattrs")


def is_hierarchy(folder: Path) -> bool:
    """Whether a folder is a group or array of Zarr, or the top of a hierarchy."""
    return any((folder / name).is_file() for name in _DOCUMENTS[:4])


def documents(folder: Path) -> list[Path]:
    """Metadata documents of a group or array that are there."""
    return [folder / name for name in _DOCUMENTS if (folder / name).exists()]


def state_of(address: str) -> str:
    """What tells versions of a hierarchy on a server apart: size and tag of its metadata as they are now.

    Empty if its server gives no tags.

    Raises
    ------
    OSError
        If it cannot be seen.
    SceneError
        If it is no hierarchy.
    """
    for name in (".zmetadata", "zarr.json", ".zgroup"):
        try:
            piece = fetch_remote(within(address, name), 0, 1)
        except AbsentError:
            continue
        return digest_json([name, piece.size, piece.tag]) if piece.tag else ""
    raise SceneError(f"{without_secrets(address)}: no Zarr hierarchy is there")


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


def store_at(place: Place) -> Store:
    """Store of the hierarchy in a folder, or at an address, to read; copies of a scanned one are used."""
    if not isinstance(place, Path):
        from hpckit.inputs.remote_store import RemoteStore

        return RemoteStore(place)
    from zarr.storage import LocalStore  # takes half a second, which products in files need not wait for

    return LocalStore(place, read_only=True)


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

    from hpckit.inputs.remote_store import RemoteStore

    if isinstance(store, RemoteStore):
        return store.fetch(key, start, nbytes)  # without zarr's one loop for all threads
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    part = OffsetByteRequest(start) if nbytes is None else RangeByteRequest(start, start + nbytes)
    found = sync(store.get(key, default_buffer_prototype(), part))
    return None if found is None else found.to_bytes()


class Hierarchy:
    """A Zarr hierarchy and its metadata.

    Parameters
    ----------
    place : Path, str or RemotePlace
        A folder, or an address.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.where: Path | str = place.address if isinstance(place, RemotePlace) else place
        """Folder or address."""
        self.name = name_of(self.where) if isinstance(self.where, str) else self.where.name

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the root.

        Raises
        ------
        SceneError
            If its metadata are damaged, or cannot be read.
        """
        with reading(self.name):
            return dict(self._root.attrs)

    def array(self, name: str) -> Array[Any] | None:
        """Array by its path, `measurements/reflectance/r10m/b02`; None if there is none.

        Raises
        ------
        SceneError
            If its metadata are damaged, or cannot be read.
        """
        from zarr import Array

        with reading(f"{self.name}: {name}"):
            try:
                found = self._root[name]
            except KeyError:
                return None
        return found if isinstance(found, Array) else None

    def attributes_of(self, name: str) -> Mapping[str, Any]:
        """Attributes of a group or array; empty if there is none. Raises what `attributes` does."""
        with reading(f"{self.name}: {name}"):
            return dict(self._root[name].attrs) if name in self._root else {}

    def groups(self, name: str) -> list[str]:
        """Paths of the groups in a group, or in the root (empty), sorted; none if there is none.

        Raises what `attributes` does.
        """
        from zarr import Group

        with reading(f"{self.name}: {name}"):
            group = self._root.get(name) if name else self._root
            return (
                sorted(f"{name}/{key}".removeprefix("/") for key in group.group_keys())
                if isinstance(group, Group)
                else []
            )

    def has(self, name: str) -> bool:
        """Whether the folder of an array is there, whatever consolidated metadata list; on servers these count."""
        return not isinstance(self.place, Path) or is_hierarchy(self.place / name)

    @cached_property
    def digest(self) -> str:
        """What tells versions of a hierarchy on a server apart, as `Asset.digest`; empty for one on this machine.

        Raises what `attributes` does.
        """
        if isinstance(self.where, Path):
            return ""
        with reading(self.name):
            return digest_of_tag(state_of(self.where))

    def grid(self, array: Array[Any]) -> str:
        """How an array on a server is stored, as `Asset.chunks`; empty for one on this machine."""
        return "" if isinstance(self.place, Path) else chunking_of(array).text

    def arrays(self, name: str) -> dict[str, Array[Any]]:
        """Arrays at any depth below a group, by their paths; none if there is no such group.

        Raises what `attributes` does.
        """
        from zarr import Array, Group

        with reading(f"{self.name}: {name}"):
            group = self._root.get(name)
            below = group.members(max_depth=None) if isinstance(group, Group) else ()
            return {f"{name}/{path}": node for path, node in below if isinstance(node, Array)}

    @property
    def is_consolidated(self) -> bool:
        """Whether one document lists all that a hierarchy holds."""
        return self._root.metadata.consolidated_metadata is not None

    @cached_property
    def _root(self) -> Group:
        """The root; its consolidated metadata are passed over where an array of them is of an unknown kind."""
        import zarr

        if not isinstance(self.place, Path):
            return _open_remote(self.place)
        try:
            return zarr.open_group(store_at(self.place), mode="r")
        except (ValueError, TypeError, KeyError):
            return zarr.open_group(store_at(self.place), mode="r", use_consolidated=False)


def _open_remote(place: str | RemotePlace) -> Group:
    """The root of a hierarchy on a server, which is asked for what there may be and nothing else.

    Raises
    ------
    SceneError
        If there is none, or nothing lists what it holds.
    """
    import zarr

    from hpckit.inputs.remote_store import RemoteStore

    store = RemoteStore(place)
    known = 0 if isinstance(place, str) else place.zarr_format
    if known != 3 and store.fetch(".zmetadata") is not None:
        return zarr.open_group(store, mode="r", zarr_format=2, use_consolidated=True)
    root = store.fetch("zarr.json")
    if root is None and store.fetch(".zgroup") is None:
        raise SceneError("no Zarr hierarchy is there")
    is_listed = root is not None and bool(json.loads(root).get("consolidated_metadata"))
    if not is_listed and not store.supports_listing:
        raise SceneError(
            "its metadata are not consolidated, and a web server gives no list of what a hierarchy holds",
            hint="consolidate its metadata (zarr.consolidate_metadata), or read it from an object store or a folder",
        )
    return zarr.open_group(store, mode="r", zarr_format=2 if root is None else 3, use_consolidated=is_listed)


def open_array(place: Place, name: str) -> Array[Any]:
    """Open an array by its own metadata, whatever a hierarchy's consolidated ones say of it.

    Raises
    ------
    SceneError
        If it is missing or damaged, or cannot be read.
    """
    import zarr

    with reading(name):
        try:
            store = store_at(place)
            kind: Any = place.zarr_format if isinstance(place, RemotePlace) else 0
            if kind == 0 and not isinstance(place, Path) and fetch(store, f"{name}/.zarray") is not None:
                kind = 2
            return zarr.open_array(store, path=name, mode="r", zarr_format=kind or None)
        except FileNotFoundError as error:
            raise SceneError(f"{name} is missing") from error


def values_of(array: Array[Any]) -> npt.NDArray[Any]:
    """All numbers of a small array; copies of chunks that do not decode are read from their server.

    Raises
    ------
    Exception
        Whatever codecs and stores raise.
    """
    import numpy as np

    try:
        return np.asarray(array[...])
    except (OSError, SceneError):
        raise
    except Exception:  # codecs raise whatever they come across
        store, chunking = remote_store(array), chunking_of(array)
        keys = (f"{array.path}/{chunking.key(place)}" for place in chunking.every())
        if store is None or not [key for key in keys if store.distrust(key)]:
            raise
    return np.asarray(array[...])


def remote_store(array: Array[Any]) -> RemoteStore | None:
    """Store of an array that is on a server."""
    from hpckit.inputs.remote_store import RemoteStore

    return array.store if isinstance(array.store, RemoteStore) else None


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Say what cannot be read where metadata are read; refusals of the file system remain the cause."""
    try:
        yield
    except SceneError as error:
        if what in error.message:
            raise
        raise SceneError(f"{what}: {error.message}", hint=error.hint) from error.__cause__
    except Exception as error:  # parsers of metadata raise whatever they come across
        fault = "cannot be read" if may_pass(error) else "its Zarr metadata are damaged"
        raise SceneError(f"{what}: {fault}") from error

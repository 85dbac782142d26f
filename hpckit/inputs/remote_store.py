"""Zarr hierarchies on web servers and in object stores, read through the same requests as all remote files.

What is not there is told apart from what may not be read or does not answer: only the first can mean that a chunk was
left out. Objects of which `hpckit fetch` brought copies are read from these.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from hpckit.errors import SceneError
from hpckit.inputs import remote, s3files
from hpckit.inputs.fetched import object_name, read_object
from hpckit.inputs.remote_documents import document, whole
from hpckit.inputs.transfer import AbsentError, TransferError, without_secrets
from hpckit.inputs.uri import RemotePlace, within

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype

_DOCUMENTS: Final = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")


class RemoteStore(Store):
    """A hierarchy below an address.

    Parameters
    ----------
    place : str or RemotePlace
        `https://host/a.zarr` or `s3://bucket/a.zarr`; a signature stays with each request. With what was scanned
        there, copies of it are used; without, the server is asked for everything.
    """

    supports_writes = False
    supports_deletes = False

    def __init__(self, place: str | RemotePlace) -> None:
        super().__init__(read_only=True)
        self._scanned = place if isinstance(place, RemotePlace) else None
        self.address = place.address if isinstance(place, RemotePlace) else place
        self._wrong: dict[str, Path] = {}
        """Copies that are not used, by key."""

    @property
    def supports_listing(self) -> bool:
        """Whether names in a folder can be asked for: of object stores only."""
        return self.address.startswith("s3://")

    def __eq__(self, other: object) -> bool:
        """Whether it is the same place."""
        return isinstance(other, RemoteStore) and (other.address, other._scanned) == (self.address, self._scanned)

    def uri(self, key: str) -> str:
        """Address of an object."""
        return within(self.address, key)

    def fetch(self, key: str, start: int = 0, nbytes: int | None = None) -> bytes | None:
        """Bytes of an object from a position on, all if no number is given; None if there is no such object.

        Raises
        ------
        OSError
            If it cannot be read.
        SceneError
            If the address is refused, or a library is missing.
        """
        if self._scanned is not None and key not in self._wrong:
            copy = read_object(object_name(self._scanned, key), start, nbytes)
            if copy is not None:
                return copy[1]
        try:
            return self._from_server(key, start, nbytes)
        except OSError as error:
            if key in self._wrong:
                raise TransferError(
                    error.errno or errno.EIO, f"{error} (its copy {self._wrong[key]} is damaged)"
                ) from error
            raise

    def is_known_absent(self, key: str) -> bool:
        """Whether a copy says that there is no such object: whoever brought it saw that there may be none."""
        copy = None if self._scanned is None else read_object(object_name(self._scanned, key), 0, 0)
        return copy is not None and copy[1] is None

    def distrust(self, key: str) -> Path | None:
        """Read an object from its server from now on, since its copy is damaged; None if there is no copy."""
        if self._scanned is None or key in self._wrong:
            return None
        copy = read_object(object_name(self._scanned, key), 0, 0)
        if copy is not None:
            self._wrong[key] = copy[0]
        return None if copy is None else copy[0]

    def _from_server(self, key: str, start: int, nbytes: int | None) -> bytes | None:
        if key.rpartition("/")[2] in _DOCUMENTS:
            found = document(self.uri(key))
            stop = None if nbytes is None else start + nbytes
            return None if found is None else found.content[start:stop]
        try:
            if nbytes is not None:
                return remote.fetch(self.uri(key), start, start + nbytes).data if nbytes else b""
            return whole(self.uri(key), start).content
        except AbsentError:
            return None

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Object, or part of it; None if there is none."""
        data = await asyncio.to_thread(self._get, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    def _get(self, key: str, part: ByteRequest | None) -> bytes | None:
        if isinstance(part, RangeByteRequest):
            return self.fetch(key, part.start, part.end - part.start)
        if isinstance(part, SuffixByteRequest):
            data = self.fetch(key)
            return None if data is None else data[-part.suffix :]
        return self.fetch(key, part.offset if isinstance(part, OffsetByteRequest) else 0)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Parts of several objects."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether there is an object."""
        return await asyncio.to_thread(self.fetch, key, 0, 1) is not None

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names in a folder."""
        if not self.supports_listing:
            raise SceneError(f"{without_secrets(self.address)}: a web server gives no lists")
        found = await asyncio.to_thread(s3files.list_folder, self.uri(prefix.strip("/")).rstrip("/"))
        for name in (*found.folders, *(one.name for one in found.objects)):
            yield name

    async def list(self) -> AsyncIterator[str]:
        """Never: hierarchies have more objects than anybody asks for."""
        raise NotImplementedError
        yield ""

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Never, as `list`."""
        raise NotImplementedError
        yield prefix

    async def set(self, key: str, value: Buffer) -> None:
        """Never."""
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        """Never."""
        raise NotImplementedError

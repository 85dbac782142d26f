"""Products on servers: found in object stores by lists of those folders that may hold some, and looked at."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from hpckit.errors import SceneError
from hpckit.inputs.hierarchy import state_of
from hpckit.inputs.s3files import Listing, list_folder
from hpckit.inputs.stored import StoredFiles
from hpckit.inputs.transfer import AbsentError, TransferError, without_secrets
from hpckit.inputs.uri import name_of
from hpckit.sensors.model import Scene
from hpckit.sensors.stored import Sought, is_hierarchy, is_product, is_tile, read_hierarchy, read_stored

_MOST_LISTS: Final = 20_000
"""Folders listed in one search: more are a bucket of which somebody named too much."""

Unseen = Callable[[str, OSError | SceneError], None]
"""Called with a folder that cannot be listed, and why."""


def is_store(address: str) -> bool:
    """Whether an address is that of a folder in an object store, which can be listed."""
    return address.lower().startswith("s3://")


def find_stored(addresses: Sequence[str], sought: Sought, unseen: Unseen, pool: Executor) -> Iterator[str]:
    """Find products at any depth below folders of object stores.

    Parameters
    ----------
    addresses : sequence of str
        `s3://bucket/folder`.
    sought : Sought
        What names of folders and products must allow.
    unseen : callable
        Called with each folder that cannot be listed, and why: it may hold products.

    Yields
    ------
    str
        URI of a product's folder.

    Raises
    ------
    SceneError
        If there are more folders than a search may list.
    """
    folders = [address.rstrip("/") for address in addresses]
    for address in folders:
        if not is_store(address) and not is_product(name_of(address)):
            unseen(address, SceneError(f"{without_secrets(address)}: a web server gives no lists of folders"))
    yield from (folder for folder in folders if is_product(name_of(folder)))
    folders = [
        folder
        for folder in folders
        if is_store(folder) and not is_product(name_of(folder)) and sought.may_hold(_path(folder))
    ]
    listed = 0
    while folders:
        listed += len(folders)
        if listed > _MOST_LISTS:
            raise SceneError(
                f"{without_secrets(addresses[0])}: more than {_MOST_LISTS} folders to list",
                hint="name a folder nearer to the products, or a shorter period",
            )
        below: list[str] = []
        for folder, found in zip(folders, pool.map(_list, folders), strict=True):
            if isinstance(found, (OSError, SceneError)):
                unseen(folder, found)
            elif is_tile(one.name for one in found.objects):
                yield folder
            else:
                within = [f"{folder}/{quote(name)}" for name in found.folders]
                yield from (one for one in within if is_product(name_of(one)) and sought.fits(name_of(one)))
                below += (one for one in within if not is_product(name_of(one)) and sought.may_hold(_path(one)))
        folders = below


class Product(NamedTuple):
    """A product on a server, as it is now."""

    state: str
    """It changes when the product does; empty if its server does not tell."""
    read: Callable[[], list[Scene]]
    """Scenes of it; raises `SceneError` if it is broken or cannot be read."""


def look_at(address: str) -> Product:
    """See what there is of a product that a search found, by one request.

    Raises
    ------
    SceneError
        If it cannot be read, or is gone: then the search saw it half written.
    """
    try:
        if is_hierarchy(address):
            return Product(state_of(address), lambda: [read_hierarchy(address)])
        files = StoredFiles(address)
    except AbsentError:
        changing = TransferError(errno.EAGAIN, "it changes while it is scanned")
        raise SceneError(f"{without_secrets(address)} cannot be listed") from changing
    except OSError as error:
        raise SceneError(f"{without_secrets(address)} cannot be read") from error
    return Product(files.state, lambda: read_stored(files))


def _list(folder: str) -> Listing | OSError | SceneError:
    try:
        found = list_folder(folder)
        if not found.folders and not found.objects:
            raise AbsentError("nothing is there")
        return found
    except (OSError, SceneError) as error:
        return error


def _path(address: str) -> str:
    return unquote(urlsplit(address).path)

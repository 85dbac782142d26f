"""Ranges and lists of objects in S3 stores, by obstore, which asks again and resumes.

Credentials come from the environment or `~/.aws`, and the endpoint, too: only who runs hpckit says where a bucket is.
"""

from __future__ import annotations

import configparser
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from hpckit.base.distribution import pip_install
from hpckit.errors import SceneError
from hpckit.inputs.transfer import AbsentError, ForbiddenError, Piece, TransferError
from hpckit.inputs.turns import is_limited, pause, turn
from hpckit.inputs.web import TRIES, pause_s

_Answer = TypeVar("_Answer")
_PAGE: Final = 1000
"""Entries of one answer of S3."""
_LONGEST_S: Final = 120
"""Of one request with all its tries."""


class Object(NamedTuple):
    """An object of a store."""

    name: str
    """Relative to the folder that was listed."""
    size: int
    tag: str
    """Entity tag: another one means another object."""


class Listing(NamedTuple):
    """What lies in a folder of a store."""

    folders: list[str]
    objects: list[Object]


def fetch(uri: str, start: int, stop: int) -> Piece:
    """Bytes `start` to `stop` of an object, or to its end if it has fewer.

    Raises
    ------
    TransferError
        If there is no such object (`AbsentError`), it may not be read (`ForbiddenError`), or the store does not
        answer as it should, several times in a row.
    SceneError
        If a file with credentials cannot be read, or a library is missing.
    """
    _require_library()
    if not is_limited():
        return _fetch(uri, start, stop, TRIES)
    for attempt in range(TRIES - 1):
        try:
            with turn():
                return _fetch(uri, start, stop, 1)
        except (AbsentError, ForbiddenError):
            raise
        except TransferError:
            pause(pause_s(None, attempt))
    with turn():
        return _fetch(uri, start, stop, 1)


def list_folder(uri: str) -> Listing:
    """What lies in a folder of a store: what the names of its objects have in common up to the next slash.

    Raises
    ------
    TransferError
        If there is no such bucket (`AbsentError`), it may not be listed (`ForbiddenError`), or the store does not
        answer as it should, several times in a row.
    SceneError
        As `fetch`.
    """
    import obstore

    found = _listed(uri, lambda store, path: obstore.list_with_delimiter(store, path or None))
    _count_pages(len(found["common_prefixes"]) + len(found["objects"]))
    names = [prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]
    return Listing(sorted(names), _objects(uri, found["objects"]))


def list_below(uri: str) -> list[Object]:
    """All objects below a folder of a store, with names relative to it; raises what `list_folder` does."""
    import obstore

    found = _listed(uri, lambda store, path: obstore.list(store, path or None).collect())
    _count_pages(len(found))
    return _objects(uri, found)


def _count_pages(entries: int) -> None:
    """Let further pages of a list, which obstore asks for by itself, count as requests within limits."""
    for _ in range(max(0, entries - 1) // _PAGE):
        with turn():
            pass


def _listed(uri: str, ask: Callable[[Any, str], _Answer]) -> _Answer:
    """An answer to a request for a list, in its turn."""
    _require_library()
    parts = urlsplit(uri)
    store = _store(parts.netloc, os.getpid(), TRIES)
    with turn(), _refusals(f"no such bucket {parts.netloc}"):
        return ask(store, unquote(parts.path).strip("/"))


def _objects(uri: str, metas: Iterable[Mapping[str, Any]]) -> list[Object]:
    top = unquote(urlsplit(uri).path).strip("/")
    skipped = len(top) + 1 if top else 0
    found = [Object(str(m["path"])[skipped:], int(m["size"]), str(m.get("e_tag") or "")) for m in metas]
    return sorted(one for one in found if one.name and not one.name.endswith("/"))


def _require_library() -> None:
    if find_spec("obstore") is None:
        raise SceneError("files on object stores need the library obstore", hint=pip_install("remote"))


def _fetch(uri: str, start: int, stop: int, tries: int) -> Piece:
    """One answer; obstore's own repetitions of requests are not seen from here, so they count only without limits."""
    import obstore

    parts = urlsplit(uri)
    store = _store(parts.netloc, os.getpid(), tries)
    try:
        with _refusals("no such object"):
            answer = obstore.get(store, unquote(parts.path.lstrip("/")), options={"range": (start, stop)})
            size, tag = int(answer.meta["size"]), str(answer.meta.get("e_tag") or "")
            data = bytes(answer.bytes())
    except _PastTheEndError:
        return Piece(b"", start, "")
    if len(data) != min(stop, size) - start:
        raise TransferError(errno.EIO, "the answer is cut off")
    return Piece(data, size, tag)


_CREDENTIALS: Final = "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials"


class _PastTheEndError(Exception):
    """An object has no such bytes."""


@contextmanager
def _refusals(absent: str) -> Iterator[None]:
    """Say what a store did, in the words of all servers.

    Raises
    ------
    TransferError
        If it refused, or failed.
    """
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except FileNotFoundError as error:
        raise AbsentError(absent) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise ForbiddenError(f"access denied; {_CREDENTIALS}") from error
    except BaseError as error:
        said = str(error)
        if "416" in said and "InvalidRange" in said:
            raise _PastTheEndError from error
        status = re.search(r"status code: (\d+)", said)
        if status and status[1] in ("401", "403"):  # obstore tells so of objects, not of lists
            raise ForbiddenError(f"access denied; {_CREDENTIALS}") from error
        if status and status[1] == "404":
            raise AbsentError(absent) from error
        reason = f"HTTP status {status[1]}" if status else "the store does not answer"
        raise TransferError(errno.EIO, reason) from error


@lru_cache(maxsize=64)
def _store(bucket: str, process: int, tries: int) -> Any:
    """A bucket, as the environment and `~/.aws` describe it; without credentials it is asked anonymously."""
    from obstore.store import S3Store

    told: dict[str, Any] = {**_profile(), **_environment()}
    endpoint = told.get("endpoint", "")
    if "access_key_id" not in told:
        told["skip_signature"] = True
    return S3Store(
        bucket,
        **told,
        virtual_hosted_style_request=not endpoint,
        client_options={"allow_http": endpoint.startswith("http://"), "timeout": timedelta(seconds=_LONGEST_S)},
        retry_config={"max_retries": tries - 1, "retry_timeout": timedelta(seconds=_LONGEST_S)},
    )


_VARIABLES: Final = {
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
    "AWS_SESSION_TOKEN": "session_token",
    "AWS_DEFAULT_REGION": "region",
    "AWS_REGION": "region",
    "AWS_ENDPOINT_URL": "endpoint",
    "AWS_ENDPOINT_URL_S3": "endpoint",
    "AWS_REQUEST_PAYER": "request_payer",
}
"""As the command line of AWS reads them; later ones prevail."""
_SETTINGS: Final = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}


def _environment() -> dict[str, Any]:
    found: dict[str, Any] = {ours: os.environ[name] for name, ours in _VARIABLES.items() if os.environ.get(name)}
    if "request_payer" in found:
        found["request_payer"] = found["request_payer"] in ("requester", "true", "1")
    return found


def _profile() -> dict[str, Any]:
    """Settings of the profile in `~/.aws/config` and `~/.aws/credentials`."""
    name = os.environ.get("AWS_PROFILE") or "default"
    places = {
        os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config": ("default" if name == "default" else f"profile {name}"),
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials": name,
    }
    found: dict[str, Any] = {}
    for place, section in places.items():
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(Path(place).expanduser(), encoding="utf-8")
        except configparser.Error as error:
            raise SceneError(f"{place} cannot be read: {error.message.splitlines()[0]}") from None
        section_of: Mapping[str, str] = parser[section] if parser.has_section(section) else {}
        found |= {ours: section_of[theirs] for theirs, ours in _SETTINGS.items() if section_of.get(theirs)}
    return found

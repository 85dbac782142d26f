"""Ranges of files on web servers: asked for again where that helps, and never from where nobody sent us.

Names and passwords come from `~/.netrc`. Redirects are followed one by one, since each may lead to an address that is
not public.
"""

from __future__ import annotations

import errno
import netrc
import os
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from hpckit.base.distribution import pip_install
from hpckit.base.version import __version__
from hpckit.errors import SceneError
from hpckit.inputs.transfer import AbsentError, ForbiddenError, Piece, TransferError, without_secrets
from hpckit.inputs.turns import pause, turn
from hpckit.inputs.web import AGAIN, REDIRECTS, TRIES, is_private, pause_s

if TYPE_CHECKING:
    import httpx

_SILENCE_S: Final = 30.0
"""Longest time without a byte."""
_CONNECT_S: Final = 10.0
"""Longest time for a connection: a firewall says nothing."""
_SLOWEST: Final = 20_000
"""Bytes a second; a server that is slower than that counts as one that does not answer."""
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_LONGEST_ANSWER: Final = 64 * 2**20
"""Bytes of a file whose server knows no ranges, and of which a part is wanted."""


_private: set[str] = set()
"""Hosts that are not public and may be asked."""


def permit(hosts: Iterable[str]) -> None:
    """Let this process ask hosts whose addresses are not public.

    Parameters
    ----------
    hosts : iterable of str
        Names or addresses, without ports.
    """
    _private.update(host.lower() for host in hosts)


def fetch(uri: str, start: int, stop: int) -> Piece:
    """Bytes `start` to `stop` of a file, or to its end if it has fewer.

    Raises
    ------
    TransferError
        If there is no such file (`AbsentError`), it may not be read (`ForbiddenError`), or the server does not answer
        as it should, several times in a row.
    SceneError
        If the address is refused, the server knows no ranges, or a library is missing.
    """
    if find_spec("httpx") is None:
        raise SceneError("files on web servers need the library httpx", hint=pip_install("remote"))
    fault: OSError = TransferError(errno.EIO, "no answer")
    for attempt in range(TRIES):
        asked: str | None = None
        try:
            piece, again = _try(uri, start, stop)
            if piece is not None:
                return piece
            status, asked = again
            fault = TransferError(errno.EIO, f"HTTP status {status}, {attempt + 1} times in a row")
        except (AbsentError, ForbiddenError):
            raise
        except TransferError as error:
            fault = error
            if error.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH):
                break
        seconds = pause_s(asked, attempt)
        if asked is not None:
            pause(seconds)
        if attempt + 1 < TRIES:
            time.sleep(seconds)
    raise fault


def _try(uri: str, start: int, stop: int) -> tuple[Piece | None, tuple[int, str | None]]:
    """One answer: a piece, or a status after which one asks again, and when."""
    import httpx

    url, what = uri, without_secrets(uri)
    headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    try:
        for _ in range(REDIRECTS + 1):
            _require_allowed(url, what)
            with turn(), _client(os.getpid()).stream("GET", url, headers=headers) as answer:
                if answer.is_redirect:
                    url = urljoin(url, answer.headers["location"])
                    continue
                if answer.status_code in AGAIN:
                    return None, (answer.status_code, answer.headers.get("retry-after"))
                _require_ok(answer.status_code, what)
                return _piece(answer, what, start, stop), (200, None)
    except httpx.ConnectTimeout as error:
        raise TransferError(errno.EHOSTUNREACH, "no connection in time") from error
    except httpx.TimeoutException as error:
        raise TransferError(errno.ETIMEDOUT, "no answer in time") from error
    except httpx.ConnectError as error:
        raise TransferError(errno.ECONNREFUSED, "no connection") from error
    except httpx.InvalidURL as error:
        raise SceneError(f"{what}: it sends to an address that is none") from error
    except httpx.HTTPError as error:
        raise TransferError(errno.EIO, "the connection broke off") from error
    raise SceneError(f"{what}: more than {REDIRECTS} redirects in a row")


def _require_ok(status: int, what: str) -> None:
    if status in (404, 410):
        raise AbsentError(f"HTTP status {status}")
    if status in (401, 403):
        raise ForbiddenError(f"HTTP status {status}: its signature or login is missing, wrong or out of date")
    if status not in (200, 206, 416):
        raise SceneError(f"{what}: HTTP status {status}")


def _piece(answer: httpx.Response, what: str, start: int, stop: int) -> Piece:
    """Content of an answer, if it is what was asked for."""
    tag = answer.headers.get("etag", "")
    if answer.status_code == 416:
        told = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("content-range", ""))
        return Piece(b"", int(told[1]) if told else start, tag)
    first, last, size = _span(answer, what, start, stop)
    content, end = bytearray(), time.monotonic() + _SILENCE_S + (last - first) / _SLOWEST
    for part in answer.iter_raw():
        content += part
        if len(content) > last - first:
            break
        if time.monotonic() > end:
            raise TransferError(errno.ETIMEDOUT, f"fewer than {_SLOWEST} bytes a second")
    if len(content) < last - first:
        raise TransferError(errno.EIO, "the answer is cut off")
    return Piece(bytes(content[max(0, start - first) : last - first]), size, tag)


def _span(answer: httpx.Response, what: str, start: int, stop: int) -> tuple[int, int, int]:
    """First byte of an answer, end of what is wanted of it, and size of the file."""
    if answer.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if match is None:
            raise SceneError(f"{what}: the answer does not say which part of the file it is")
        first, last, size = int(match[1]), int(match[2]) + 1, int(match[3])
        if first != start or last != min(stop, size):
            raise SceneError(f"{what}: the server sends bytes {first}-{last} for {start}-{stop}")
        return first, last, size
    length = answer.headers.get("content-length", "")
    if not length.isdigit() or (start and int(length) > _LONGEST_ANSWER):
        raise SceneError(f"{what}: its server knows no ranges", hint="copy the file to this machine")
    return 0, min(stop, int(length)), int(length)


def _require_allowed(url: str, what: str) -> None:
    """Refuse addresses to which a product has no business to send anybody."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host:
        raise SceneError(f"{what}: it sends to {parts.scheme or 'no'} address, which is not followed")
    if host not in _private and _is_private(host):
        raise SceneError(
            f"{what} is refused: {host} is no public address", hint=f"`scenes: {{hosts: [{host}]}}` permits it"
        )


@lru_cache(maxsize=1024)
def _is_private(host: str) -> bool:
    return is_private(host)


@lru_cache(maxsize=1)
def _client(process: int) -> httpx.Client:
    """Connections of a process: a forked one has its own."""
    import httpx

    try:
        auth = httpx.NetRCAuth()
    except (OSError, netrc.NetrcParseError):
        auth = None  # there is none that can be used
    return httpx.Client(
        timeout=httpx.Timeout(_SILENCE_S, connect=_CONNECT_S),
        auth=auth,
        headers={"User-Agent": f"hpckit/{__version__}"},
    )

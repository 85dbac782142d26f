"""Ranges of objects in S3 stores, by obstore, which asks again and resumes.

Credentials come from the environment or `~/.aws`, and the endpoint, too: only who runs hpckit says where a bucket is.
"""

from __future__ import annotations

import configparser
import errno
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from hpckit.base.distribution import pip_install
from hpckit.errors import SceneError
from hpckit.inputs.transfer import AbsentError, ForbiddenError, Piece, TransferError
from hpckit.inputs.turns import is_limited, pause, turn
from hpckit.inputs.web import TRIES, pause_s

_LONGEST_S: Final = 120
"""Of one request with all its tries."""


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
    if find_spec("obstore") is None:
        raise SceneError("files on object stores need the library obstore", hint=pip_install("remote"))
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


def _fetch(uri: str, start: int, stop: int, tries: int) -> Piece:
    """One answer; obstore's own repetitions of requests are not seen from here, so they count only without limits."""
    import obstore
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    parts = urlsplit(uri)
    store = _store(parts.netloc, os.getpid(), tries)
    try:
        answer = obstore.get(store, unquote(parts.path.lstrip("/")), options={"range": (start, stop)})
        size, tag = int(answer.meta["size"]), str(answer.meta.get("e_tag") or "")
        data = bytes(answer.bytes())
    except FileNotFoundError as error:
        raise AbsentError("no such object") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise ForbiddenError(f"access denied; {_CREDENTIALS}") from error
    except BaseError as error:
        return _past_the_end(str(error), start)
    if len(data) != min(stop, size) - start:
        raise TransferError(errno.EIO, "the answer is cut off")
    return Piece(data, size, tag)


_CREDENTIALS: Final = "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials"


def _past_the_end(said: str, start: int) -> Piece:
    """Nothing, where the object has no such bytes.

    Raises
    ------
    TransferError
        If it is another error.
    """
    if "416" in said and "InvalidRange" in said:
        return Piece(b"", start, "")
    status = re.search(r"status code: (\d+)", said)
    reason = f"HTTP status {status[1]}" if status else "the store does not answer"
    raise TransferError(errno.EIO, reason)


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

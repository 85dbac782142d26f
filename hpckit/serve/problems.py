"""Answers to what cannot be answered: JSON problems (RFC 9457) with a code and a sentence, never a traceback."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from hpckit.errors import (
    CampaignError,
    CubeError,
    HpckitError,
    RunError,
    StoreError,
    ZoneError,
    is_temporary,
)

MEDIA_TYPE: Final = "application/problem+json"
FORM: Final = "hpckit.form"
"""Key of a request's scope under which a door puts what makes answers of problems."""
RETRY_AFTER_S: Final = 5
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_LOG: Final = logging.getLogger("hpckit.serve")
_NOT_FOUND: Final = (ZoneError, CubeError, RunError, CampaignError)
"""What the reader's question may name and the data lack."""


class Problem(Exception):  # noqa: N818 (RFC 9457 calls it so)
    """An answer other than the one that was asked for.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        Stable name, for programs: `no-such-zone`.
    detail : str
        One sentence.
    hint : str, optional
        What the client can do.
    headers : dict, optional
        More headers.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, hint: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.headers = headers or {}

    def response(self) -> Response:
        """The answer."""
        body: dict[str, Any] = {
            "type": f"urn:hpckit:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.hint:
            body["hint"] = self.hint
        headers = {"Cache-Control": "no-store"} | self.headers
        return JSONResponse(body, self.status, headers, media_type=MEDIA_TYPE)


def not_found(what: str = "there is nothing at this address") -> Problem:
    """What is not there, and what the client may not know of: both look the same."""
    return Problem(404, "not-found", what)


def matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    """Match of a whole part of an address; what is of another form is not there."""
    match = pattern.fullmatch(text)
    if match is None:
        raise not_found()
    return match


def bad_value(name: str, detail: str, *, hint: str | None = None) -> Problem:
    """A parameter that makes no sense."""
    return Problem(400, "bad-parameter", f"{name}: {detail}", hint=hint)


def busy(detail: str = "the server has more to do than it can; try again soon") -> Problem:
    """Too much at once, or something that is away for a while."""
    return _later("busy", detail)


def of_error(error: Exception) -> Problem:
    """Problem of an error: what the campaign lacks is 404, what does not answer at the moment 503."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, StoreError):
        return _of_store(error)
    if is_temporary(error):
        detail = error.message if isinstance(error, HpckitError) else "files cannot be read at the moment"
        return _later("unavailable", _without_paths(detail))
    if isinstance(error, OSError) and error.errno in _FULL:
        _LOG.error("%s", error)
        return _later("disk-full", "the disk of the server is full")
    if isinstance(error, _NOT_FOUND):
        return Problem(404, error.code, _without_paths(error.message), hint=_hint(error))
    if isinstance(error, HpckitError):
        return Problem(400, error.code, _without_paths(error.message), hint=_hint(error))
    _LOG.error("an error in hpckit itself", exc_info=error)
    return Problem(500, "internal", "an error in the server itself; its log has more")


def _of_store(error: StoreError) -> Problem:
    """Problem of a store; what it says itself is for the log, since it names hosts, users and folders."""
    _LOG.warning("%s", error)
    if is_temporary(error):
        return _later("unavailable", "the store of the results cannot be read at the moment")
    return Problem(404, error.code, "the store has no such results")


def _later(code: str, detail: str) -> Problem:
    return Problem(503, code, detail, headers={"Retry-After": str(RETRY_AFTER_S)})


async def answer_problem(request: Request, error: Exception) -> Response:
    """Handler of all errors."""
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return answer(request.scope, not_found())
        code = "method-not-allowed" if error.status_code == 405 else "http"
        headers = dict(error.headers or {})
        return answer(request.scope, Problem(error.status_code, code, str(error.detail), headers=headers))
    return answer(request.scope, of_error(error))


def answer(scope: Scope, problem: Problem) -> Response:
    """The answer to a request, in the form of its door."""
    form: Callable[[Problem], Response] = scope.get(FORM) or Problem.response
    return form(problem)


def _hint(error: HpckitError) -> str | None:
    return None if error.hint is None or "`hpckit " in error.hint else error.hint


def _without_paths(text: str) -> str:
    """Sentence without the server's folders, which are nobody's business."""
    return " ".join(_last_part(word) for word in text.split(" "))


def _last_part(word: str) -> str:
    if not word.startswith("/"):
        return word
    return word.rpartition("/")[2] if word.rstrip(":,;.").count("/") > 1 else word

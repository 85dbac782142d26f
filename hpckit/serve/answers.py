"""Answers and questions that the doors have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from hpckit.serve.problems import bad_value

_LONGEST: Final = 200


def json_answer(request: Request, value: Any, *, media_type: str = "application/json", status: int = 200) -> Response:
    """Answer with JSON and an ETag; 304 where the client has it already."""
    return bytes_answer(request, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), media_type, status=status)


def bytes_answer(
    request: Request, body: bytes, media_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with bytes and an ETag; 304 where the client has them already."""
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    known = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization", **(headers or {})}
    if status == 200 and tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=known)
    return Response(body, status, known, media_type)


def text_of(request: Request, name: str, default: str | None = None) -> str:
    """A parameter.

    Raises
    ------
    Problem
        400 if it is missing or too long.
    """
    value = request.query_params.get(name, default)
    if value is None:
        raise bad_value(name, "is missing")
    if len(value) > _LONGEST:
        raise bad_value(name, f"is longer than {_LONGEST} characters")
    return value


def number_of(request: Request, name: str, default: float, least: float, most: float) -> float:
    """A parameter that is a number.

    Raises
    ------
    Problem
        400 if it is none, or beyond its bounds.
    """
    text = request.query_params.get(name)
    if text is None or not text.strip():
        return default
    try:
        value = float(text)
    except ValueError:
        raise bad_value(name, "is no number") from None
    if not least <= value <= most:
        raise bad_value(name, f"must lie between {least:g} and {most:g}")
    return value


def day_of(request: Request, name: str) -> date | None:
    """A parameter that is a day, 2024-05-03; None if it is not there.

    Raises
    ------
    Problem
        400 if it is no day.
    """
    text = request.query_params.get(name)
    if text is None or not text.strip():
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise bad_value(name, "is no day, such as 2024-05-03") from None

"""What a door says of a request before it is checked: how long its body may be, and how long it may take to come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from hpckit.serve.problems import Problem

_BODY_S: Final = 30.0
BODY: Final = "hpckit.body"
"""Key of a request's scope under which a door says what it takes."""
PROVED: Final = "hpckit.proved"
"""Key under which a door says that a request brings what no page of another site has: a bearer, or a signed link."""


@dataclass(frozen=True, slots=True)
class Body:
    """Limits of a body."""

    most: int
    """Bytes."""
    seconds: float = field(default_factory=lambda: _BODY_S)

    def require_short(self, headers: Headers) -> None:
        """Refuse a body whose header says that it is too long.

        Raises
        ------
        Problem
            413.
        """
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 15 or int(length) > self.most:
            raise Problem(413, "too-long", "the body is too long")

    def bounded(self, receive: Receive) -> Receive:
        """What receives a body, and refuses one that is too long or too slow."""
        read, is_whole = 0, False
        deadline: float | None = None

        async def limited() -> Message:
            nonlocal read, is_whole, deadline
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + self.seconds
            try:
                async with asyncio.timeout_at(None if is_whole else deadline):
                    message: Message = await receive()
            except TimeoutError:
                closing = {"Connection": "close"}
                raise Problem(408, "too-slow", "the body did not come in time", headers=closing) from None
            is_whole = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > self.most:
                raise Problem(413, "too-long", "the body is too long")
            return message

        return limited

"""Connections that bring no request: ended after a while, or when others need their place.

uvicorn waits for the head of a request for ever, so a thousand clients that send a byte a second (or one that opens a
thousand connections) would leave no place for anybody else.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any, Final, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

MOST_CONNECTIONS: Final = 1000
"""Beyond this, uvicorn answers 503."""
_WAITING_PLACES: Final = 800
"""Connections, from which on those that have waited longest for a request are ended."""
_HEAD_S: Final = 20.0
_HEAD_BYTES: Final = 64 * 1024


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # one of two classes of uvicorn
    """uvicorn's protocol, with an end to its patience for the head of a request."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._timer: TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: Transport) -> None:
        """Make place, and begin to wait."""
        if len(self.connections) >= _WAITING_PLACES:
            self._make_place()
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes; end the connection where a head grows without an end."""
        if self._is_waiting:
            self._head_bytes += len(data)
            if self._head_bytes > max(_HEAD_BYTES, len(data)):
                self.transport.close()
                return
        super().data_received(data)
        if not self._is_waiting:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self._is_waiting:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _is_waiting(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _wait(self) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self._timer = self.loop.call_later(_HEAD_S, self.transport.close)

    def _stop_waiting(self) -> None:
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _make_place(self) -> None:
        """End the connection that has waited longest for a request, and is not being ended yet."""
        protocols = cast("set[PatientProtocol]", self.connections)
        waiting = [each for each in protocols if each._timer is not None and not each.transport.is_closing()]
        if waiting:
            min(waiting, key=lambda each: each._timer.when() if each._timer else 0.0).transport.abort()

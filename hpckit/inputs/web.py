"""Manners of a client on the web: what is asked for again and when, and addresses to which nobody may be sent."""

from __future__ import annotations

import ipaddress
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Final

TRIES: Final = 5
"""Of one request."""
AGAIN: Final = (429, 500, 502, 503, 504)
"""Statuses after which a request is worth repeating."""
REDIRECTS: Final = 5
"""Followed in a row."""
_LONGEST_PAUSE_S: Final = 60.0


def pause_s(retry_after: str | None, attempt: int) -> float:
    """Seconds before the next try: as the server asks in `Retry-After`, else growing.

    Parameters
    ----------
    retry_after : str, optional
        Seconds or a date (RFC 9110, section 10.2.3).
    attempt : int
        Number of the try that failed, from 0 on.
    """
    if retry_after is None:
        return min(0.5 * 2.0**attempt, _LONGEST_PAUSE_S)
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except ValueError:
            seconds = 2.0**attempt
    return min(max(seconds, 0.0), _LONGEST_PAUSE_S)


def is_private(host: str) -> bool:
    """Whether a host is, or has the name of, an address that is not public."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False  # it will not connect either
    return any(not ipaddress.ip_address(str(address).partition("%")[0]).is_global for address in found)

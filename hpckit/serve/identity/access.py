"""Who a request comes from, and what grants let them do."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any, Final

from starlette.requests import Request

from hpckit.serve.identity.links import Keys
from hpckit.serve.identity.passwords import Passwords
from hpckit.serve.limits import Attempts
from hpckit.serve.problems import Problem
from hpckit.serve.settings import ANYONE, SIGNED_IN, Action, Grant

COOKIE: Final = "hpckit_session"
SESSION_S: Final = 12 * 3600.0
TOKEN_S: Final = 7 * 86400.0
_MOST_PRINTED: Final = 20
"""Addresses that work once: a notebook shows the viewer in several frames."""
_MOST_HELD: Final = 20
"""Entitlements of somebody that fit one of the other rules' patterns."""
_BASIC: Final = "basic//"
"""Stands before our own tokens in openEO's headers."""
_ALL: Final = Grant(users=(SIGNED_IN,))


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who reads."""

    name: str
    entitlements: tuple[str, ...] = ()
    is_signed_in: bool = True


NOBODY: Final = Reader("", is_signed_in=False)


@dataclass
class Access:
    """Tells who a request comes from, and what they may do.

    Parameters
    ----------
    keys : Keys
        Keys that sign sessions and tokens.
    grants : iterable of Grant
        Without any, everybody with a login may do everything.
    passwords : Passwords, optional
        Users of Basic logins and of the login page.
    attempts : Attempts
        Counts wrong passwords.
    now : callable
        Seconds since 1970.
    """

    keys: Keys
    grants: Iterable[Grant] = ()
    passwords: Passwords | None = None
    attempts: Attempts = field(default_factory=lambda: Attempts(5))
    now: Callable[[], float] = time.time
    of_provider: Callable[[str], Reader] | None = None
    """Reader of a token of a provider; raises a problem if it is not valid."""
    asked: tuple[str, ...] = ()
    """Patterns of entitlements that other rules than grants ask for."""
    _first: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Take the default grant where there is none."""
        self.grants = tuple(self.grants) or (_ALL,)

    # -- who ---------------------------------------------------------------------------------------------------------
    def reader(self, request: Request) -> Reader:
        """Who a request comes from; `NOBODY` without a login.

        Raises
        ------
        Problem
            401 for a wrong password or token, 429 after too many.
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            return self._basic(value.strip(), client_address(request))
        if scheme.lower() == "bearer":
            return self._bearer(value.strip())
        return self.from_token(request.cookies.get(COOKIE, "")) or NOBODY

    def known(self, request: Request) -> str:
        """Name of the reader whose session or token a request brings; empty if it has none, or needs to be asked for.

        Takes microseconds: neither a password nor a provider's token is looked at.
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = value.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")
        found = self.from_token(token.removeprefix(_BASIC))
        return "" if found is None else found.name

    def _bearer(self, token: str) -> Reader:
        found = self.from_token(token.removeprefix(_BASIC))
        if found is not None:
            return found
        if self.of_provider is not None and not token.startswith(_BASIC):
            return self.of_provider(token)
        raise Problem(401, "invalid-token", "the token is not valid any more", hint="get one in the viewer")

    def check_password(self, name: str, password: str, address: str) -> Reader:
        """User of a name and password.

        Raises
        ------
        Problem
            401 if they are wrong, 429 after too many attempts.
        """
        if self.passwords is not None and self.passwords.is_remembered(name, password):
            return Reader(name)  # whoever else tries this name, its owner is not locked out
        wait = self.attempts.wait_s((address, name))
        if wait > 0:
            raise Problem(
                429,
                "too-many-attempts",
                "too many wrong passwords; wait a minute",
                headers={"Retry-After": str(int(wait) + 1)},
            )
        # Counted before it is looked at, so that attempts at the same time count, too.
        counted = self.attempts.count((address, name))
        if self.passwords is None or not self.passwords.are_right(name, password):
            raise Problem(401, "wrong-password", "name or password are wrong")
        self.attempts.forgive((address, name), counted)
        return Reader(name)

    def _basic(self, value: str, address: str) -> Reader:
        try:
            name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:
            name, colon, password = "", "", ""
        if not colon:
            raise Problem(400, "bad-authorization", "the header Authorization cannot be read")
        return self.check_password(name, password, address)

    # -- tokens ------------------------------------------------------------------------------------------------------
    def token_for(self, reader: Reader, seconds: float = SESSION_S) -> str:
        """A token that stands for a reader: of a session, or for other programs."""
        body: dict[str, Any] = {"u": reader.name, "e": reader.entitlements, "x": int(self.now() + seconds)}
        fingerprint = self.passwords.fingerprint(reader.name) if self.passwords is not None else None
        if fingerprint is not None:
            body["f"] = fingerprint
        text = base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")
        return f"{text}.{self.keys.sign('session', text)}"

    def from_token(self, token: str) -> Reader | None:
        """Whom a token stands for; None if it is forged or over."""
        text, _, signed = token.partition(".")
        if not text or not self.keys.is_signed("session", text, signed):
            return None
        body = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if body["x"] <= self.now():
            return None
        if "f" in body and (self.passwords is None or self.passwords.fingerprint(str(body["u"])) != body["f"]):
            return None  # the user has another password since, or is gone
        return Reader(str(body["u"]), tuple(map(str, body["e"])))

    def first_token(self) -> str:
        """A token for an address that the server prints; it works once, also after others were printed."""
        with self._lock:
            self._first = [*self._first, secrets.token_urlsafe(24)][-_MOST_PRINTED:]
            return self._first[-1]

    def use_first_token(self, token: str) -> Reader | None:
        """The owner of the server, for a token of `first_token`."""
        with self._lock:
            found = [each for each in self._first if secrets.compare_digest(each.encode(), token.encode())]
            self._first = [each for each in self._first if each not in found]
        return Reader("owner") if found else None

    # -- what --------------------------------------------------------------------------------------------------------
    def actions(self, reader: Reader, dataset: str) -> frozenset[Action]:
        """What a reader may do with a data set."""
        return _actions(tuple(self.grants), reader, dataset)

    def relevant(self, entitlements: Sequence[str]) -> tuple[str, ...]:
        """Of somebody's entitlements those that rules ask for, of grants one for each pattern: cookies are short."""
        found: dict[str, None] = {}
        for pattern in (pattern for grant in self.grants for pattern in grant.entitlements):
            first = next((held for held in entitlements if fits(pattern, held)), None)
            if first is not None:
                found[first] = None
        for pattern in self.asked:
            found.update(dict.fromkeys([held for held in entitlements if fits(pattern, held)][:_MOST_HELD]))
        return tuple(found)

    def require_member(self, reader: Reader, join: str | None = None) -> None:
        """Refuse somebody who has no grant at all.

        Parameters
        ----------
        join : str, optional
            What they should join.

        Raises
        ------
        Problem
            403, with what to join.
        """
        if any(_means(grant, reader) for grant in self.grants):
            return
        wanted = list(dict.fromkeys(pattern for grant in self.grants for pattern in grant.entitlements))
        hint = join or (f"join a group with the entitlement {' or '.join(wanted)}" if wanted else None)
        detail = f"you are logged in as {reader.name}, and nothing here is granted to you"
        raise Problem(403, "no-member", detail, hint=hint or "ask the operators of this server for a grant")


@lru_cache(4096)
def _actions(grants: tuple[Grant, ...], reader: Reader, dataset: str) -> frozenset[Action]:
    found: set[Action] = set()
    for grant in grants:
        if ("*" in grant.datasets or dataset in grant.datasets) and _means(grant, reader):
            found.update(grant.actions)
    return frozenset(found)


def _means(grant: Grant, reader: Reader) -> bool:
    if ANYONE in grant.users or (reader.is_signed_in and (SIGNED_IN in grant.users or reader.name in grant.users)):
        return True
    return any(fits(pattern, held) for pattern in grant.entitlements for held in reader.entitlements)


def fits(pattern: str, entitlement: str) -> bool:
    """Whether an entitlement is what a pattern says; `*` stands for one whole part between colons."""
    parts = [".+" if part == "*" else re.escape(part) for part in pattern.split(":")]
    return re.fullmatch(":".join(part.replace(".+", "[^:]+") for part in parts), entitlement) is not None


def require(actions: frozenset[Action], reader: Reader, wanted: Action) -> None:
    """Refuse what is not granted: a data set without any grant looks as if it were not there.

    Raises
    ------
    Problem
        401 without a login, 404 without any grant, 403 without this one.
    """
    if wanted in actions:
        return
    if not reader.is_signed_in:
        raise Problem(401, "login-needed", "log in first")
    if not actions:
        raise Problem(404, "not-found", "there is nothing at this address")
    raise Problem(403, "not-granted", f"you may not do this with the data set: {wanted}")


def client_address(request: Request) -> str:
    """Address that a request comes from."""
    return request.client.host if request.client else ""

"""Logins by OpenID Connect: code with PKCE in browsers, bearer tokens of other programs."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpckit.serve.identity.access import Reader
from hpckit.serve.identity.links import Keys
from hpckit.serve.identity.provider import Claims, Provider, half_digest, same
from hpckit.serve.problems import Problem

LOGIN_S: Final = 600.0
"""How long a login may take."""
_CACHED_S: Final = 300.0
_REFUSED_S: Final = 10.0
"""How long a token that was refused is not asked about again."""
_MOST_CACHED: Final = 10_000
_LONGEST_TOKEN: Final = 16_384
_LONGEST_NAME: Final = 255
_NO_ACCESS_TOKEN: Final = frozenset({"ID", "Refresh", "Offline"})
_PREFIX: Final = "oidc/"
_CLIENT: Final = "client."
"""Stands before the identifier of a program that logged in by itself: `egi:client.IDENTIFIER`."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that has begun."""

    address: str
    """To which the browser is sent."""
    ticket: str
    """Signed; the browser brings it back in a cookie."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A login that came to its end."""

    reader: Reader
    target: str
    """Path to which the browser goes on."""


class Oidc:
    """Logins at providers.

    Parameters
    ----------
    providers : iterable of Provider
        By their names in the settings.
    keys : Keys
        Keys that sign tickets.
    relevant : callable
        Of entitlements those that some grant asks for; a session keeps no others.
    now : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        keys: Keys,
        relevant: Callable[[Sequence[str]], tuple[str, ...]] = tuple,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.providers = {provider.settings.name: provider for provider in providers}
        self._keys = keys
        self._relevant = relevant
        self._now = now
        self._lock = threading.Lock()
        self._cached: OrderedDict[bytes, tuple[float, Reader | Problem]] = OrderedDict()

    def close(self) -> None:
        """Close connections."""
        for provider in self.providers.values():
            provider.close()

    # -- browsers ----------------------------------------------------------------------------------------------------
    def begin(self, name: str, redirect_uri: str, target: str) -> Begun:
        """Begin a login.

        Raises
        ------
        Problem
            404 if there is no such provider, 503 if it does not answer.
        """
        provider = self._provider(name)
        state, nonce, verifier = (secrets.token_urlsafe(size) for size in (24, 24, 48))
        address = provider.authorization(redirect_uri, state, nonce, verifier)
        return Begun(
            address,
            self._ticket(
                {
                    "p": name,
                    "s": state,
                    "n": nonce,
                    "v": verifier,
                    "r": redirect_uri,
                    "t": target,
                    "x": int(self._now() + LOGIN_S),
                }
            ),
        )

    def finish(self, name: str, ticket: str, answer: Mapping[str, str]) -> Finished:
        """End a login with what the browser brings back.

        Parameters
        ----------
        ticket : str
            Of the cookie.
        answer : mapping of str to str
            Parameters of the address.

        Raises
        ------
        Problem
            400 if it is not the answer to this browser's login, 401 if the provider or a check refuses, 503 if the
            provider does not answer.
        """
        provider, begun = self._provider(name), self._opened(ticket)
        if begun is None or begun["p"] != name or not same(begun["s"], answer.get("state", "")):
            raise Problem(
                400, "login-lost", "this login was begun elsewhere, or too long ago", hint="begin the login once more"
            )
        if "iss" in answer and answer["iss"] != provider.issuer:
            raise Problem(400, "login-lost", "the answer is of another provider", hint="begin the login once more")
        if "error" in answer or not answer.get("code"):
            raise provider.refused(answer.get("error"))
        tokens = provider.exchange(answer["code"], begun["v"], begun["r"])
        claims = self._of_login(provider, tokens, begun["n"])
        return Finished(self._reader(provider, claims), begun["t"])

    def _of_login(self, provider: Provider, tokens: Claims, nonce: str) -> dict[str, Any]:
        """Claims of a login's tokens and of the provider's userinfo."""
        token, access = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(token, str):
            raise provider.refused("no_id_token")
        claims = dict(provider.verified(token))
        client = provider.settings.client_id
        if client not in _texts(claims.get("aud")) or claims.get("azp", client) != client:
            raise Problem(401, "invalid-token", f"the token of {provider.title} is for another program")
        if not isinstance(claims.get("nonce"), str) or not same(claims["nonce"], nonce):
            raise Problem(401, "invalid-token", f"the token of {provider.title} is of another login")
        if not isinstance(access, str):
            return claims
        if "at_hash" in claims and claims["at_hash"] != half_digest(access, _header(token).get("alg", "")):
            raise Problem(401, "invalid-token", f"the tokens of {provider.title} do not belong together")
        return self._with_userinfo(provider, claims, access)

    def _with_userinfo(self, provider: Provider, claims: dict[str, Any], access: str) -> dict[str, Any]:
        about = provider.userinfo(access)
        if about is None:
            return claims
        if about.get("sub") != claims.get("sub"):
            raise Problem(401, "invalid-token", f"{provider.title} tells about somebody else")
        merged = {**about, **claims}
        for name in provider.settings.entitlement_claims:
            merged[name] = [*_texts(claims.get(name)), *_texts(about.get(name))]
        return merged

    # -- programs ----------------------------------------------------------------------------------------------------
    def reader_of(self, token: str) -> Reader:
        """Who an access token stands for; answers are kept for at most five minutes.

        Parameters
        ----------
        token : str
            As a bearer: a token, or `oidc/PROVIDER/TOKEN`.

        Raises
        ------
        Problem
            401 if it is not valid, 503 if the provider does not answer.
        """
        key, now = hashlib.sha256(token.encode()).digest(), self._now()
        with self._lock:
            until, known = self._cached.get(key, (0.0, None))
        if known is None or until <= now:
            try:
                known, until = self._asked(token)
            except Problem as problem:
                if problem.status != 401:
                    raise
                known, until = problem, now + _REFUSED_S
            with self._lock:
                self._cached[key] = (until, known)
                self._cached.move_to_end(key)
                while len(self._cached) > _MOST_CACHED:
                    self._cached.popitem(last=False)
        if isinstance(known, Problem):
            raise known
        return known

    def _asked(self, token: str) -> tuple[Reader, float]:
        """Reader of a token, and how long that may be believed."""
        named, bare = None, token
        if token.startswith(_PREFIX):
            name, _, bare = token.removeprefix(_PREFIX).partition("/")
            named = self.providers.get(name)
            if named is None:
                raise _unknown_token()
        if not bare.isascii() or not 0 < len(bare) <= _LONGEST_TOKEN:
            raise _unknown_token()
        claims = _unverified(bare)
        provider = named or self._issued(claims)
        if claims is not None and claims.get("iss") is not None:
            found = dict(provider.verified(bare))
            if not _is_access_token(bare, found):
                raise Problem(401, "invalid-token", "this is no access token")
        else:
            found = self._introspected(provider, bare)
        accepted = {provider.settings.client_id, *provider.settings.audiences}
        meant = {*_texts(found.get("aud")), *_texts(found.get("azp")), *_texts(found.get("client_id"))}
        if not accepted & meant:
            raise Problem(401, "invalid-token", f"the token of {provider.title} is for another program")
        client = found.get("client_id") or found.get("azp")
        if found.get("sub") in (None, client) and isinstance(client, str):
            # Of a program by itself (client credentials): there is nobody to ask about.
            found[provider.settings.user_claim] = f"{_CLIENT}{client}"
        elif not any(found.get(name) for name in provider.settings.entitlement_claims):
            found = self._with_userinfo(provider, found, bare)
        expiry = found.get("exp")
        until = self._now() + _CACHED_S
        return self._reader(provider, found), min(until, float(expiry)) if isinstance(expiry, (int, float)) else until

    def _introspected(self, provider: Provider, token: str) -> dict[str, Any]:
        found = provider.introspect(token)
        if found is None:
            raise Problem(
                401,
                "invalid-token",
                f"tokens of {provider.title} cannot be checked here",
                hint="the operators may set client_secret_file",
            )
        expiry = found.get("exp")
        if found.get("active") is not True or (isinstance(expiry, (int, float)) and expiry <= self._now()):
            raise _unknown_token()
        if found.get("iss") not in (None, provider.issuer):
            raise _unknown_token()
        return dict(found)

    def _issued(self, claims: Claims | None) -> Provider:
        """Provider that a token says it is of; if it does not say it, the only provider: no other may see it."""
        issuer = None if claims is None else claims.get("iss")
        if issuer is None:
            if len(self.providers) == 1:
                return next(iter(self.providers.values()))
            raise Problem(401, "invalid-token", "the token is not known", hint="write oidc/PROVIDER/TOKEN")
        for provider in self.providers.values():
            if isinstance(issuer, str) and issuer.rstrip("/") == provider.settings.issuer.rstrip("/"):
                return provider
        raise _unknown_token()

    # -- both --------------------------------------------------------------------------------------------------------
    def _provider(self, name: str) -> Provider:
        if name not in self.providers:
            raise Problem(404, "not-found", "there is no such login")
        return self.providers[name]

    def _reader(self, provider: Provider, claims: Claims) -> Reader:
        """A reader called `provider:name`, which no name of the users' file can be."""
        name = claims.get(provider.settings.user_claim)
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
            raise Problem(401, "invalid-token", f"{provider.title} does not tell {provider.settings.user_claim}")
        held = [text for claim in provider.settings.entitlement_claims for text in _texts(claims.get(claim))]
        return Reader(f"{provider.settings.name}:{name}", self._relevant(list(dict.fromkeys(held))))

    def _ticket(self, body: Mapping[str, Any]) -> str:
        text = base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")
        return f"{text}.{self._keys.sign('oidc', text)}"

    def _opened(self, ticket: str) -> dict[str, Any] | None:
        text, _, signed = ticket.partition(".")
        if not text or not self._keys.is_signed("oidc", text, signed):
            return None
        body: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return body if body["x"] > self._now() else None


def _texts(value: object) -> list[str]:
    """Texts of a claim that is a list or a single one."""
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _part(token: str, number: int) -> dict[str, Any] | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[number] + "=" * (-len(parts[number]) % 4)))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _unverified(token: str) -> dict[str, Any] | None:
    """Claims of a JWT, to find out whom to ask; None if it is none."""
    return _part(token, 1) if _part(token, 0) is not None else None


def _header(token: str) -> dict[str, Any]:
    return _part(token, 0) or {}


def _is_access_token(token: str, claims: Claims) -> bool:
    """Whether a signed token is for access: providers say so in different places."""
    told = claims.get("typ")
    if told in _NO_ACCESS_TOKEN:
        return False
    if told == "Bearer" or str(_header(token).get("typ", "")).lower() in ("at+jwt", "application/at+jwt"):
        return True
    return "nonce" not in claims and "at_hash" not in claims


def _unknown_token() -> Problem:
    return Problem(401, "invalid-token", "the token is not valid any more", hint="get a new one")

"""A provider of OpenID Connect: its addresses and keys, and what it says about codes and tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from hpckit.errors import ServeError
from hpckit.serve.problems import RETRY_AFTER_S, Problem
from hpckit.serve.settings import OidcProvider

_ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
"""Signatures by a private key; none, and none by the client's secret."""
_KNOWN_S: Final = 3600.0
"""How long addresses and keys are used before they are asked for again."""
_AGAIN_S: Final = 5.0
"""Keys are asked for no more often than this, however many tokens name unknown ones."""
_LEEWAY_S: Final = 60
_TIMEOUT_S: Final = 10.0
_LARGEST: Final = 2**20
_CODE: Final = re.compile(r"[a-z_]{1,60}")

Claims = Mapping[str, Any]


class Provider:
    """A provider of logins.

    Parameters
    ----------
    settings : OidcProvider
        Its part of the settings.
    secret : str or None
        The client's secret; None for a public client.
    client : httpx.Client, optional
        What asks the provider.
    now : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        settings: OidcProvider,
        secret: str | None = None,
        client: httpx.Client | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.secret = secret
        self.now = now
        self._client = client or httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False)
        self._lock = threading.Lock()
        self._about: tuple[float, Claims] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._away_until = 0.0

    @property
    def title(self) -> str:
        """Name for people."""
        return self.settings.title or self.settings.name

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    # -- addresses ---------------------------------------------------------------------------------------------------
    @property
    def issuer(self) -> str:
        """The issuer, as it calls itself."""
        return str(self._described()["issuer"])

    def address(self, name: str) -> str | None:
        """An address that the provider publishes, such as `token_endpoint`; None if it has none.

        Raises
        ------
        Problem
            503 if it does not answer, 502 if it says nonsense.
        """
        value = self._described().get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not _is_safe(value):
            raise self._nonsense(f"its {name} is no https address")
        return value

    def _described(self) -> Claims:
        with self._lock:
            if self._about is None or self.now() - self._about[0] > _KNOWN_S:
                given = self.settings.issuer.rstrip("/")
                found = self._json("GET", f"{given}/.well-known/openid-configuration")
                if str(found.get("issuer", "")).rstrip("/") != given:
                    raise self._nonsense("it calls itself by another issuer than the settings do")
                self._about = (self.now(), found)
            return self._about[1]

    def authorization(self, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Address to which a browser is sent to log in.

        Parameters
        ----------
        redirect_uri : str
            Where it comes back.
        state, nonce, verifier : str
            Secrets of this login; of the verifier only a digest is in the address (PKCE).
        """
        start = self.address("authorization_endpoint")
        if start is None:
            raise self._nonsense("it has no authorization_endpoint")
        known = self._described().get("scopes_supported")
        scopes = [
            scope
            for scope in self.settings.scopes
            if scope == "openid" or not isinstance(known, list) or scope in known
        ]
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return f"{start}{'&' if urlsplit(start).query else '?'}{urlencode(asked, quote_via=quote)}"

    # -- questions ---------------------------------------------------------------------------------------------------
    def exchange(self, code: str, verifier: str, redirect_uri: str) -> Claims:
        """Tokens for a code.

        Raises
        ------
        Problem
            401 if the provider refuses, 503 if it does not answer.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        return self._post("token_endpoint", form)

    def userinfo(self, token: str) -> Claims | None:
        """Claims about the owner of an access token; None if the provider has no address for that.

        Raises
        ------
        Problem
            401 if the provider refuses, 503 if it does not answer.
        """
        address = self.address("userinfo_endpoint")
        if address is None:
            return None
        return self._json("GET", address, headers={"Authorization": f"Bearer {token}"}, signed=True)

    def introspect(self, token: str) -> Claims | None:
        """Claims of an access token, `active` among them; None if this client may not ask.

        Raises
        ------
        Problem
            401 if the provider refuses, 503 if it does not answer.
        """
        if self.address("introspection_endpoint") is None or self.secret is None:
            return None
        return self._post("introspection_endpoint", {"token": token, "token_type_hint": "access_token"})

    def _post(self, name: str, form: dict[str, str]) -> Claims:
        address = self.address(name)
        if address is None:
            raise self._nonsense(f"it has no {name}")
        headers = {}
        if self.secret is None:
            form = {**form, "client_id": self.settings.client_id}
        elif self._by_post(name):
            form = {**form, "client_id": self.settings.client_id, "client_secret": self.secret}
        else:
            login = f"{quote_plus(self.settings.client_id)}:{quote_plus(self.secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        return self._json("POST", address, data=form, headers=headers)

    def _by_post(self, name: str) -> bool:
        methods = self._described().get(f"{name}_auth_methods_supported")
        return isinstance(methods, list) and "client_secret_basic" not in methods and "client_secret_post" in methods

    def _json(self, method: str, address: str, *, signed: bool = False, **asked: Any) -> dict[str, Any]:
        """Answer to a question, which is a JSON object, or a token with one."""
        headers = {"Accept": "application/json", **asked.pop("headers", {})}
        if self.now() < self._away_until:  # threads that wait for it would be missing elsewhere
            raise self._away()
        try:
            with self._client.stream(method, address, headers=headers, **asked) as response:
                body = b""
                for part in response.iter_bytes():
                    body += part
                    if len(body) > _LARGEST:
                        raise self._nonsense("its answer is too long")
        except httpx.HTTPError:
            self._away_until = self.now() + RETRY_AFTER_S
            raise self._away() from None
        if response.status_code == 429 or response.status_code >= 500:
            raise self._away()
        if signed and response.headers.get("content-type", "").startswith("application/jwt"):
            return dict(self.verified(body.decode("ascii", "replace"), needs_expiry=False))
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if response.status_code >= 400:
            code = found.get("error") if isinstance(found, dict) else None
            raise self.refused(code)
        if response.status_code != 200 or not isinstance(found, dict):
            raise self._nonsense("its answer is no JSON object")
        return found

    # -- signatures --------------------------------------------------------------------------------------------------
    def verified(self, token: str, *, needs_expiry: bool = True) -> Claims:
        """Claims of a JWT that this provider signed, and that is valid now; the audience is not looked at.

        Raises
        ------
        Problem
            401 if it is forged, expired, or of another issuer; 503 if the provider does not answer.
        """
        try:
            claims = self._decoded(token, self._keyset())
        except (JoseError, ValueError):
            # Perhaps the provider has new keys.
            try:
                claims = self._decoded(token, self._keyset(again=True))
            except (JoseError, ValueError):
                raise self._invalid("its signature is not right") from None
        self._check_times(claims, needs_expiry=needs_expiry)
        if claims.get("iss") != self.issuer:
            raise self._invalid("it is of another issuer")
        return claims

    def _decoded(self, token: str, keys: KeySet) -> Claims:
        return jwt.decode(token, keys, algorithms=list(_ALGORITHMS)).claims

    def _check_times(self, claims: Claims, *, needs_expiry: bool) -> None:
        now = self.now()
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name)
            if value is None and not (name == "exp" and needs_expiry):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise self._invalid(f"{name} is no time")
            if value <= now - _LEEWAY_S if name == "exp" else value > now + _LEEWAY_S:
                raise self._invalid("it is expired" if name == "exp" else "it is of the future")

    def _keyset(self, *, again: bool = False) -> KeySet:
        """Keys for signatures; asked for again if one was not among them, though not all the time."""
        with self._lock:
            held = self._keys
        if held is not None:
            age = self.now() - held[0]
            if age <= (_AGAIN_S if again else _KNOWN_S):
                return held[1]
        address = self.address("jwks_uri")
        if address is None:
            raise self._nonsense("it has no jwks_uri")
        found = self._json("GET", address)
        try:
            usable = [key for key in found["keys"] if key.get("use", "sig") == "sig" and key.get("kty") != "oct"]
            keys = KeySet.import_key_set({"keys": usable})
        except (JoseError, ValueError, KeyError, TypeError, AttributeError):
            raise self._nonsense("its keys cannot be read") from None
        with self._lock:
            self._keys = (self.now(), keys)
        return keys

    # -- faults ------------------------------------------------------------------------------------------------------
    def refused(self, code: object) -> Problem:
        """What the provider does not want; only its short code is repeated."""
        told = f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
        return Problem(401, "login-failed", f"{self.title} refuses the login{told}", hint="log in once more")

    def _invalid(self, why: str) -> Problem:
        return Problem(
            401, "invalid-token", f"the token of {self.title} is not valid: {why}", hint="log in once more"
        )

    def _away(self) -> Problem:
        return Problem(
            503,
            "provider-away",
            f"{self.title} does not answer at the moment",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )

    def _nonsense(self, why: str) -> Problem:
        return Problem(502, "provider-wrong", f"{self.title} cannot be used: {why}")


def half_digest(text: str, algorithm: str) -> str:
    """`at_hash` of an access token, by the signature's algorithm."""
    size = algorithm[-3:] if algorithm[-3:] in ("256", "384", "512") else "512"
    digest = hashlib.new(f"sha{size}", text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def read_secret(settings: OidcProvider, resolve: Callable[[Any], Any]) -> str | None:
    """The client's secret; None if there is no file of it.

    Raises
    ------
    ServeError
        If it cannot be read, is empty, or others may read it.
    """
    if settings.client_secret_file is None:
        return None
    path = resolve(settings.client_secret_file)
    try:
        if path.stat().st_mode & 0o077:
            raise ServeError(f"{path}: others may read the client's secret", hint=f"chmod 600 {path}")
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"{path}: the client's secret cannot be read") from error
    if not secret:
        raise ServeError(f"{path}: holds no secret")
    return str(secret)


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    loopback = parts.hostname in ("127.0.0.1", "localhost", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and loopback))

"""A real provider of OpenID Connect on this machine: npm's oidc-provider, in a cache folder of the user."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import httpx
from joserfc.jwk import RSAKey

from tests.servers.npm import installed

VERSION = "9.13.3"
SCRIPT = Path(__file__).parent / "oidc_provider.mjs"


def node_modules() -> Path:
    """Folder with the provider; installed once."""
    return installed("oidc-provider", VERSION)


def new_key(name: str) -> dict[str, Any]:
    """A private key for signatures."""
    return {
        **RSAKey.generate_key(2048, private=True).as_dict(private=True),
        "kid": name,
        "use": "sig",
        "alg": "RS256",
    }


@dataclass
class Provider:
    """What the provider knows; it can be stopped and started with other knowledge."""

    folder: Path
    port: int
    accounts: dict[str, Any]
    jwt: bool = False
    keys: list[dict[str, Any]] = field(default_factory=lambda: [new_key("first")])
    clients: list[dict[str, Any]] = field(default_factory=list)
    ttl: dict[str, int] = field(default_factory=dict)
    """Lifetimes in seconds by the provider's names, such as `AccessToken`; 600 otherwise."""
    _process: subprocess.Popen[str] | None = None

    @property
    def issuer(self) -> str:
        """Its address. Not the address of hpckit's server, since cookies do not tell ports apart."""
        return f"http://localhost:{self.port}"

    def client(self, name: str, secret: str | None = None) -> dict[str, Any]:
        """A client on loopback."""
        made = {
            "client_id": name,
            "application_type": "native",
            "redirect_uris": ["http://127.0.0.1/login/oidc/egi/callback", "http://127.0.0.1/back"],
            "grant_types": ["authorization_code", "client_credentials"] if secret else ["authorization_code"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
        }
        return made | ({"client_secret": secret} if secret else {})

    def for_openeo(self, name: str, *redirect_uris: str) -> dict[str, Any]:
        """A public client as openEO's clients need it: code and device code with PKCE, refresh tokens."""
        grants = ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
        redirects = list(redirect_uris) or ["http://127.0.0.1/back"]
        return self.client(name) | {"grant_types": grants, "redirect_uris": redirects}

    def start(self) -> None:
        """Start the process."""
        asked = {
            "port": self.port,
            "clients": self.clients,
            "accounts": self.accounts,
            "jwks": {"keys": self.keys},
            "jwt": self.jwt,
            "ttl": self.ttl,
        }
        file = self.folder / "provider.json"
        file.write_text(json.dumps(asked))
        self._process = subprocess.Popen(
            ["node", str(SCRIPT), str(node_modules()), str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        seen = ""
        for line in self._process.stdout:
            seen += line
            if line.strip() == "ready":
                return
        raise AssertionError(f"the provider does not start: {seen}")

    def stop(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def back_from(self, address: str, account: str) -> httpx.URL:
        """Log in as a browser does; the address to which the provider sends it back."""
        with httpx.Client(follow_redirects=False, timeout=20) as browser:
            url = httpx.URL(address)
            for _ in range(12):
                response = browser.get(url)
                if response.status_code == 200:  # it asks who this is
                    response = browser.get(url.copy_set_param("account", account))
                assert response.is_redirect, response.text[:500]
                url = response.url.join(response.headers["location"])
                if url.host == "127.0.0.1":
                    return url
        raise AssertionError("the login does not end")

    def confirm_device(self, address: str, account: str) -> None:
        """What a person does with the address that a program prints: confirm the code, log in, consent."""
        with httpx.Client(follow_redirects=False, timeout=20) as browser:
            form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', browser.get(address).text))
            answer = browser.post(f"{self.issuer}/device", data={**form, "confirm": "yes"})
            for _ in range(12):
                if answer.status_code == 200 and "who are you" not in answer.text:
                    return
                if answer.status_code == 200:
                    answer = browser.get(answer.url.copy_set_param("account", account))
                else:
                    assert answer.is_redirect, answer.text[:500]
                    answer = browser.get(answer.url.join(answer.headers["location"]))
        raise AssertionError("the login does not end")

    def own_token(self, client: str, secret: str) -> str:
        """A token of a program by itself (client credentials)."""
        auth = httpx.BasicAuth(quote_plus(client), quote_plus(secret))
        answer = httpx.post(f"{self.issuer}/token", data={"grant_type": "client_credentials"}, auth=auth)
        return str(answer.raise_for_status().json()["access_token"])

    def revoke(self, token: str, client: str, secret: str) -> None:
        """Say that a token is not valid any more."""
        auth = httpx.BasicAuth(quote_plus(client), quote_plus(secret))
        httpx.post(f"{self.issuer}/token/revocation", data={"token": token}, auth=auth).raise_for_status()

    def tokens(self, client: str, account: str, secret: str | None = None) -> dict[str, Any]:
        """Tokens of a client on its own, without hpckit."""
        import base64
        import hashlib

        verifier = "v" * 50
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": "http://127.0.0.1/back",
            "scope": "openid profile eduperson_entitlement",
            "state": "s",
            "nonce": "n",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        url = self.back_from(str(httpx.URL(f"{self.issuer}/auth", params=asked)), account)
        code = parse_qs(urlsplit(str(url)).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://127.0.0.1/back"}
        auth = None if secret is None else httpx.BasicAuth(quote_plus(client), quote_plus(secret))
        form |= {"code_verifier": verifier} if secret else {"code_verifier": verifier, "client_id": client}
        response = httpx.post(f"{self.issuer}/token", data=form, auth=auth)
        found: dict[str, Any] = response.raise_for_status().json()
        return found


@contextmanager
def providing(folder: Path, accounts: dict[str, Any], **changes: Any) -> Iterator[Provider]:
    """A provider while the block runs, with the clients `hpckit` (public), `hpckit-secret` and `other`."""
    node_modules()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    provider = Provider(folder, port, accounts, **changes)
    provider.clients = [
        provider.client("hpckit"),
        provider.client("hpckit-secret", "a secret/with+signs & more"),
        provider.client("other"),
    ]
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()

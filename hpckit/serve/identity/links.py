"""Signed links: addresses that work without a login for some days, for tools that send no header.

`/a/<key>.<expiry>.<signature>/<root>/<path>`: the signature covers expiry and root, so relative addresses below a
root (of Zarr and STAC) work with the same signature. Deleting a key revokes all its links.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hpckit.base.files import atomic_open, make_folder
from hpckit.errors import ServeError

_SIGNATURE_BYTES: Final = 20
_KEY_BYTES: Final = 32


@dataclass(frozen=True)
class Keys:
    """Secret keys by their names; the first one signs."""

    by_name: Mapping[str, bytes]

    def sign(self, purpose: str, text: str) -> str:
        """`<key>.<signature>` of a text for one purpose."""
        name = next(iter(self.by_name))
        return f"{name}.{_signature(self.by_name[name], purpose, text)}"

    def is_signed(self, purpose: str, text: str, signed: str) -> bool:
        """Whether `signed` is what `sign` gave."""
        name, _, signature = signed.partition(".")
        key = self.by_name.get(name)
        return key is not None and hmac.compare_digest(_signature(key, purpose, text).encode(), signature.encode())


def _signature(key: bytes, purpose: str, text: str) -> str:
    mac = hmac.new(key, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac[:_SIGNATURE_BYTES]).decode().rstrip("=")


def new_keys() -> Keys:
    """Keys for this process only."""
    return Keys({secrets.token_hex(4): secrets.token_bytes(_KEY_BYTES)})


def load_keys(path: Path) -> Keys:
    """Keys of a file, which is made if it is not there; only its owner may read it.

    Raises
    ------
    ServeError
        If it is damaged, or others may read it.
    """
    if not path.exists():
        make_folder(path.parent)
        with atomic_open(path) as file:
            os.fchmod(file.fileno(), 0o600)
            made = {name: base64.b64encode(key).decode() for name, key in new_keys().by_name.items()}
            file.write(json.dumps(made).encode())
    if path.stat().st_mode & 0o077:
        raise ServeError(f"{path}: others may read the server's keys", hint=f"chmod 600 {path}")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        keys = {str(name): base64.b64decode(key, validate=True) for name, key in read.items()}
        if not keys or any(len(key) < _KEY_BYTES for key in keys.values()):
            raise ValueError("short key")
    except (ValueError, AttributeError, TypeError):
        raise ServeError(f"{path}: damaged", hint="delete it; links and sessions end with it") from None
    return Keys(keys)


@dataclass(frozen=True)
class Links:
    """Makes and checks signed links.

    Parameters
    ----------
    keys : Keys
        Secret keys.
    prefix : str
        Path before all addresses.
    days : float
        How long links work.
    now : callable
        Seconds since 1970.
    """

    keys: Keys
    prefix: str = ""
    days: float = 7
    now: Callable[[], float] = field(default=time.time)

    def to(self, root: str, path: str = "", base: str = "/a") -> str:
        """Address of a file below a root, such as `nl2024/cube`; the root has no more than safe characters."""
        # Whole days, so that the address of a file stays the same for a while and browsers can keep it.
        expiry = int((self.now() // 86400 + 1 + self.days) * 86400)
        name, _, signature = self.keys.sign("link", f"{expiry}/{root}").partition(".")
        return f"{self.prefix}{base}/{name}.{expiry}.{signature}/{root}/{path}"

    def is_valid(self, token: str, root: str) -> bool:
        """Whether `<key>.<expiry>.<signature>` opens a root and is not expired."""
        parts = token.split(".")
        if len(parts) != 3 or not parts[1].isascii() or not parts[1].isdecimal() or len(parts[1]) > 12:
            return False
        name, expiry, signature = parts
        return self.keys.is_signed("link", f"{expiry}/{root}", f"{name}.{signature}") and int(expiry) > self.now()

    def is_expired(self, token: str) -> bool:
        """Whether a token's time is over, be it signed or not."""
        parts = token.split(".")
        return len(parts) == 3 and parts[1].isascii() and parts[1].isdecimal() and int(parts[1]) <= self.now()

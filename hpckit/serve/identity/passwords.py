"""The file of users: a line `name:scrypt$N$r$p$salt$hash` each."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock, Semaphore
from typing import Final

from hpckit.base.files import atomic_open, make_folder
from hpckit.errors import ServeError

_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_COST: Final = (2**15, 8, 1)
"""N, r, p of scrypt: 32 MiB and some 80 ms, of OWASP's recommended settings the one with the least memory that a
login may take here."""
_REMEMBERED_S: Final = 300.0
_MOST_REMEMBERED: Final = 10_000


class Passwords:
    """Users of a file; it is read again when it changes.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ServeError
        If it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._state: tuple[int, int] | None = None
        self._lines: dict[str, str] = {}
        self._right: dict[bytes, float] = {}
        """When a name and password were found right: clients of Basic send them with every request."""
        self._secret = secrets.token_bytes(32)
        self._at_once = Semaphore(2)
        self._read()

    def are_right(self, name: str, password: str) -> bool:
        """Whether a user has this password; takes as long for a user who is not there."""
        if self.is_remembered(name, password):
            return True
        line = self._read().get(name)
        with self._at_once:
            # To scrypt, a password is the same with zeros at its end.
            right = _matches(line or _NOBODY, password) and line is not None and "\0" not in password
        if right:
            with self._lock:
                if len(self._right) >= _MOST_REMEMBERED:
                    self._right.clear()
                self._right[self._seen(name, line, password)] = time.monotonic()
        return right

    def is_remembered(self, name: str, password: str) -> bool:
        """Whether they were found right in the last minutes, and have not been changed since."""
        line = self._read().get(name)
        seen = self._right.get(self._seen(name, line, password), -_REMEMBERED_S)
        return line is not None and seen > time.monotonic() - _REMEMBERED_S

    def fingerprint(self, name: str) -> str | None:
        """What tells one password of a user from the next; None for somebody who is not there."""
        line = self._read().get(name)
        return None if line is None else hashlib.sha256(line.encode()).hexdigest()[:16]

    def _seen(self, name: str, line: str | None, password: str) -> bytes:
        text = f"{name}\0{line}\0{password}".encode(errors="surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).digest()

    def _read(self) -> dict[str, str]:
        with self._lock:
            try:
                status = self.path.stat()
                state = (status.st_mtime_ns, status.st_ino)
                if state != self._state:
                    self._lines = dict(_lines(self.path))
                    self._state = state
            except OSError as error:
                raise ServeError(f"{self.path}: the file of users cannot be read") from error
            return self._lines


def set_password(path: Path, name: str, password: str) -> None:
    """Write a user's password into a file, which is made if it is not there.

    Raises
    ------
    ServeError
        If the name is none, or the file is damaged.
    """
    if not _USER.fullmatch(name):
        raise ServeError(f"{name!r} is no name of a user", hint="use letters, digits, '.', '_', '@' and '-'")
    if "\0" in password:
        raise ServeError("a password has no zero bytes")
    if len(password) < 8:
        raise ServeError("the password is too short", hint="take at least 8 characters")
    lines = dict(_lines(path)) if path.exists() else {}
    lines[name] = _hashed(password)
    make_folder(path.parent)
    with atomic_open(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write("".join(f"{user}:{line}\n" for user, line in lines.items()).encode())


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not text.strip() or text.startswith("#"):
            continue
        name, _, line = text.strip().partition(":")
        if not _USER.fullmatch(name) or not re.fullmatch(r"scrypt\$\d+\$\d+\$\d+\$[^$]+\$[^$]+", line):
            raise ServeError(
                f"{path}:{number}: is no line with a name and a scrypt hash", hint="`hpckit serve passwd` writes it"
            )
        yield name, line


def _hashed(password: str) -> str:
    cost, blocks, lanes = _COST
    salt = secrets.token_bytes(16)
    key = _scrypt(password, salt, cost, blocks, lanes)
    return f"scrypt${cost}${blocks}${lanes}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def _matches(line: str, password: str) -> bool:
    _, cost, blocks, lanes, salt, key = line.split("$")
    try:
        wanted = base64.b64decode(key)
        return hmac.compare_digest(
            wanted, _scrypt(password, base64.b64decode(salt), int(cost), int(blocks), int(lanes))
        )
    except ValueError:
        return False


def _scrypt(password: str, salt: bytes, cost: int, blocks: int, lanes: int) -> bytes:
    memory = 128 * blocks * (cost + lanes) * 2
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=blocks, p=lanes, maxmem=memory, dklen=32)


_NOBODY: Final = (
    f"scrypt${_COST[0]}${_COST[1]}${_COST[2]}${base64.b64encode(bytes(16)).decode()}"
    f"${base64.b64encode(bytes(32)).decode()}"
)

"""Keys of ssh: what kind one is, its fingerprint, whether it is locked; read without any passphrase."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SRAM_KINDS: Final = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
"""Kinds that SRAM takes."""
LEAST_RSA_BITS: Final = 2048
"""Shorter RSA keys are refused by servers of today's distributions."""
_MAGIC: Final = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key."""

    kind: str
    blob: bytes
    comment: str = ""

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as `ssh-keygen -l` and SRAM show it."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def bits(self) -> int:
        """Length of the key."""
        if self.kind == "ssh-rsa":
            return int.from_bytes(_fields(self.blob)[2]).bit_length()
        return next((bits for bits in (521, 384) if f"nistp{bits}" in self.kind), 256)

    @property
    def objection(self) -> str | None:
        """Why SRAM or servers refuse such a key; None if they take it."""
        if self.kind not in SRAM_KINDS:
            return f"SRAM does not take keys of type {self.kind}"
        if self.kind == "ssh-rsa" and self.bits < LEAST_RSA_BITS:
            return f"an RSA key of {self.bits} bits is too short; servers ask for {LEAST_RSA_BITS}"
        return None


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What lies on this machine of a key pair."""

    path: Path
    """Of the private key."""
    public: PublicKey | None
    """None if the public half can be read nowhere."""
    private: bool
    """Whether there is a private key."""
    locked: bool
    """Whether a passphrase protects it."""
    mismatch: bool = False
    """Whether the file of the public key belongs to another private key."""


def parse_public(line: str) -> PublicKey:
    """A public key from a line like `ssh-ed25519 AAAA… comment`.

    Raises
    ------
    ValueError
        If it is none.
    """
    words = line.split(None, 2)
    try:
        blob = base64.b64decode(words[1], validate=True)
        fields = _fields(blob)
        if fields[0].decode() != words[0] or len(fields) < 2:
            raise ValueError(f"it says {words[0]!r} and is another kind")
    except (IndexError, binascii.Error, struct.error, UnicodeDecodeError) as fault:
        raise ValueError("no public key of OpenSSH") from fault
    key = PublicKey(words[0], blob, words[2].strip() if len(words) > 2 else "")
    if key.kind == "ssh-rsa" and len(fields) != 3:
        raise ValueError("no public key of OpenSSH")
    return key


def read_key(path: Path) -> KeyFile:
    """What there is of a key pair, from the private key's file and the `.pub` beside it."""
    beside = _read_public(path.with_name(f"{path.name}.pub"))
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return KeyFile(path, beside, private=path.exists(), locked=False)
    if "PRIVATE KEY" not in text:
        return KeyFile(path, beside or _read_public(path), private=False, locked=False)
    inner, locked = _open_private(text)
    mismatch = inner is not None and beside is not None and inner.blob != beside.blob
    return KeyFile(path, inner or beside, private=True, locked=locked, mismatch=mismatch)


def agent_keys() -> list[PublicKey] | None:
    """Keys that the agent holds; None if there is no agent."""
    try:
        done = subprocess.run(
            ["ssh-add", "-L"], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if done.returncode > 1:
        return None
    return [key for line in done.stdout.splitlines() if (key := _parsed(line)) is not None]


def is_locked(path: Path) -> bool:
    """Whether only a passphrase opens a key: it has one, and no agent holds it."""
    key = read_key(path)
    held = agent_keys() or [] if key.locked else []
    return key.locked and (key.public is None or key.public.blob not in {each.blob for each in held})


def _open_private(text: str) -> tuple[PublicKey | None, bool]:
    """Public half of a private key's file where it is not encrypted itself, and whether the key is locked."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if "OPENSSH PRIVATE KEY" not in lines[0]:
        return None, "ENCRYPTED" in text
    try:
        data = base64.b64decode("".join(lines[1:-1]))
        if not data.startswith(_MAGIC):
            return None, False
        cipher, _, _, rest = _take(data[len(_MAGIC) :], 3)
        blob = _take(rest[4:], 1)[0]
        return PublicKey(_fields(blob)[0].decode(), blob), cipher != b"none"
    except (binascii.Error, struct.error, UnicodeDecodeError, IndexError, ValueError):
        return None, False


def _take(data: bytes, count: int) -> list[bytes]:
    """The first `count` fields, each a length and its bytes, and what follows them."""
    found = []
    for _ in range(count):
        (length,) = struct.unpack(">I", data[:4])
        if length > len(data) - 4:
            raise ValueError("cut short")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return [*found, data]


def _fields(blob: bytes) -> list[bytes]:
    fields = []
    while blob:
        field, blob = _take(blob, 1)
        fields.append(field)
    return fields


def _read_public(path: Path) -> PublicKey | None:
    try:
        return _parsed(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _parsed(line: str) -> PublicKey | None:
    try:
        return parse_public(line)
    except ValueError:
        return None

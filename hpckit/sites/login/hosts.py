"""Hosts whose keys are known: `known_hosts` of OpenSSH, read without its programs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from fnmatch import fnmatchcase
from pathlib import Path


def is_known(name: str, file: Path) -> bool:
    """Whether a file lists a host, as `ssh-keygen -F` finds it: plain, by a pattern, or hashed.

    Parameters
    ----------
    name : str
        `host`, or `[host]:port` where the port is another than 22.
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(_lists(line.split(), name) for line in lines)


def _lists(fields: list[str], name: str) -> bool:
    if fields and fields[0].startswith("@"):
        fields = [] if fields[0] == "@revoked" else fields[1:]
    if len(fields) < 3 or fields[0].startswith("#"):
        return False
    if fields[0].startswith("|1|"):
        return _is_hash_of(fields[0], name)
    # Brackets of `[host]:port` are signs of a pattern to fnmatch, and none to ssh.
    patterns = [pattern.lower().replace("[", "[[]") for pattern in fields[0].split(",")]
    refused = any(fnmatchcase(name.lower(), pattern[1:]) for pattern in patterns if pattern.startswith("!"))
    return not refused and any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


def _is_hash_of(text: str, name: str) -> bool:
    parts = text.split("|")
    try:
        salt, expected = (base64.b64decode(part, validate=True) for part in parts[2:4])
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(salt, name.lower().encode(), hashlib.sha1).digest(), expected)

"""The head of a SIF file: whether it is one, whole, and for which processor.

Format: github.com/apptainer/sif, `pkg/sif`: a launch line of 32 bytes, magic, version, processor, id, times, then
numbers, offsets and sizes of descriptors and data, little-endian.
"""

from __future__ import annotations

import platform
import struct
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hpckit.errors import ImageError

_HEAD: Final = struct.Struct("<32s10s3s3s16sqqqqqqqq")
_MAGIC: Final = b"SIF_MAGIC\0"
_PART: Final = struct.Struct("<i?IIIqqqqqqq128s384s")
"""A descriptor: kind, whether it is used, id, group, link, offset, size, padded size, times, owner, name, more."""
_KINDS: Final = {0x4001: "definition", 0x4004: "file system", 0x4005: "signature", 0x4006: "JSON", 0x4007: "generic"}
_SQUASHFS: Final = 1
_PROCESSORS: Final = {
    b"01\0": "i386",
    b"02\0": "x86_64",
    b"03\0": "arm",
    b"04\0": "aarch64",
    b"05\0": "ppc64",
    b"06\0": "ppc64le",
    b"11\0": "s390x",
    b"12\0": "riscv64",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a SIF file says."""

    processor: str
    """As `uname -m` says it."""
    id: str
    """UUID; zeros where the image was built reproducibly."""
    created: datetime
    size: int
    """Bytes that the file must have."""


@dataclass(frozen=True, slots=True)
class SifPart:
    """Something that lies in a SIF file."""

    kind: str
    """`definition`, `file system`, `signature`, …"""
    offset: int
    size: int


def parts(path: Path) -> list[SifPart]:
    """What lies in a SIF file, in order; file systems only if they are squashfs.

    Raises
    ------
    ImageError
        If the file is missing, is none, or was cut.
    """
    read_header(path)
    with path.open("rb") as file:
        _, _, _, _, _, _, _, _, total, offset, size, _, _ = _HEAD.unpack(file.read(_HEAD.size))
        file.seek(offset)
        table = file.read(size)
    found = []
    for number in range(min(total, len(table) // _PART.size)):
        kind, used, _, _, _, start, length, *_, extra = _PART.unpack_from(table, number * _PART.size)
        name = _KINDS.get(kind, f"kind {kind:#x}")
        if used and not (name == "file system" and struct.unpack_from("<i", extra)[0] != _SQUASHFS):
            found.append(SifPart(name, start, length))
    return found


def read_header(path: Path) -> Header:
    """Read the head of a SIF file.

    Raises
    ------
    ImageError
        If the file is missing, is none, or was cut.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
        size = path.stat().st_size
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read: {error.strerror}", hint="`hpckit image build` makes one"
        ) from error
    if len(head) < _HEAD.size or head[32:42] != _MAGIC:
        raise ImageError(
            f"{path}: no SIF file", hint="`hpckit image build` makes one; other images: `apptainer build`"
        )
    _, _, _, processor, identifier, created, _, _, _, _, _, offset, length = _HEAD.unpack(head)
    if offset + length > size:
        raise ImageError(
            f"{path}: truncated: it has {size} bytes of {offset + length}", hint="copy it again, or build it again"
        )
    moment = datetime.fromtimestamp(max(0, created), UTC)
    return Header(_PROCESSORS.get(processor, "unknown"), str(uuid.UUID(bytes=identifier)), moment, offset + length)


def require_usable(path: Path) -> Header:
    """Refuse what cannot run on this machine.

    Raises
    ------
    ImageError
        If it is no whole SIF file, or was built for another processor.
    """
    header = read_header(path)
    if header.processor != platform.machine():
        raise ImageError(
            f"{path}: built for {header.processor}; this machine is {platform.machine()}",
            hint="build it on a machine like those that jobs run on",
        )
    return header

"""Files that are either wholly there or not there at all, and append-only lines.

A parallel file system gives two atomic operations worth relying on: `rename` onto a name of the same
directory, and `link`, which fails if the target exists. `flock` is not one of them on NFS and on some
Lustre mounts.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PARTIAL = ".partial"
"""Suffix of files that are being written; whoever finds one that is old may delete it."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same directory that becomes `path` when the block ends well.

    For writers that want a file name (HDF5, Parquet, images). The file is flushed to disk before it is
    renamed; when the block raises, the temporary file is removed and `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: GDAL, matplotlib and others choose a format by it.
    temporary = path.with_name(f".{path.stem[:120]}.{uuid.uuid4().hex[:12]}{PARTIAL}{path.suffix}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary binary file that becomes `path` when the block ends well."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` as the whole content of `path`, atomically."""
    with atomic_open(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to disk.

    A single `write` on a descriptor opened with O_APPEND by one writer; a process that is killed leaves at
    most one cut line at the end of the file.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line.rstrip("\n").encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(path: Path) -> int:
    """Flush a file, or all files below a folder, to disk; return their bytes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    for file in files:
        _flush_to_disk(file)
    return sum(file.stat().st_size for file in files)


def outermost(paths: Iterable[Path]) -> list[Path]:
    """Those of some paths that lie within none of the others, sorted."""
    kept: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept


def digest(data: bytes | memoryview) -> str:
    """BLAKE2b digest of 16 bytes, in hexadecimal: our checksum of shards and spool columns."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_json(value: Any) -> str:
    """Digest of a JSON value that does not depend on the order of its keys."""
    return digest(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode())


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

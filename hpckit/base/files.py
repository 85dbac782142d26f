"""Files that are either wholly there or not there at all, and append-only lines.

A parallel file system gives two atomic operations worth relying on: `rename` onto a name of the same
directory, and `open` with O_EXCL, which fails if the name exists. Hard links and locks are missing on some mounts.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

PARTIAL = ".partial"
"""Suffix of files that are being written; whoever finds one that is old may delete it."""
_NFS: Final = ".nfs"
"""How the names begin that NFS gives to removed files which somebody has open."""
_CANNOT_FLUSH_FOLDERS: Final = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM, 524}
)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same directory that becomes `path` when the block ends well.

    For writers that want a file name (HDF5, Parquet, images). The file is flushed to disk before it is
    renamed, and the directory after; when the block raises, the temporary file is removed and `path` is left as it
    was.
    """
    make_folder(path.parent)
    # The suffix stays last: GDAL, matplotlib and others choose a format by it.
    temporary = path.with_name(f".{path.stem[:120]}.{uuid.uuid4().hex[:12]}{PARTIAL}{path.suffix}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


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


def create(path: Path, data: bytes) -> bool:
    """Make a file that is not there, and flush it to disk; False if it is there already.

    Raises
    ------
    OSError
        If it cannot be written; nothing of it is left.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    flush_folder(path.parent)
    return True


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to disk.

    Only one writer appends to a file. A process that is killed leaves at most one cut line at its end; whoever
    appends next begins a line of its own. Where the disk is full nothing of the line is left.

    Raises
    ------
    OSError
        If the line is not on disk as a whole.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        length = os.fstat(descriptor).st_size
        cut = length > 0 and os.pread(descriptor, 1, length - 1) != b"\n"
        try:
            write_all(descriptor, (b"\n" if cut else b"") + line.rstrip("\n").encode() + b"\n")
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, length)
            raise
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not length:
        flush_folder(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`: `write` may take only a part, where the disk gets full or a signal comes."""
    rest = memoryview(data)
    while rest:
        written = os.write(descriptor, rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def make_folder(path: Path) -> None:
    """Make a folder and those above it; a power cut does not take away what was made."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    flush_folder(path.parent)


def server_time(folder: Path) -> float:
    """Time by the clock that dates the files of a folder: that of the file server.

    Where nothing can be written it is that of this machine.
    """
    probe = folder / f".{uuid.uuid4().hex}{PARTIAL}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def can_write_in(folder: Path) -> bool:
    """Whether files can be written in a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError:
        return False
    return True


def remove_tree(path: Path) -> None:
    """Remove a folder and what is in it.

    What others have open on NFS stays as `.nfs…`, until they close it, and the folder with it: that is no error.

    Raises
    ------
    OSError
        If something else stays.
    """

    def judge(_: object, name: str, fault: tuple[type[BaseException], BaseException, object]) -> None:
        error = fault[1]
        held = isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)
        if isinstance(error, FileNotFoundError) or (held and _holds_nfs_files_only(Path(name))):
            return
        raise error

    shutil.rmtree(path, onerror=judge)


def _holds_nfs_files_only(path: Path) -> bool:
    return path.name.startswith(_NFS) or (
        path.is_dir() and all(name.startswith(_NFS) for _, _, names in os.walk(path) for name in names)
    )


def flush_tree(path: Path) -> int:
    """Flush a file, or all files below a folder, to disk; return their bytes."""
    found = [path] if path.is_file() else path.rglob("*")
    files = [file for file in found if file.is_file() and not file.name.startswith(_NFS)]
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


def digest_file(path: Path) -> str:
    """The same of a file, which is not held in memory.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_json(value: Any) -> str:
    """Digest of a JSON value that does not depend on the order of its keys."""
    return digest(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode())


def link(source: Path, target: Path) -> None:
    """Give a file a second name, flushed to disk; a copy where the file system has no such names."""
    partial = target.with_name(f".{target.name}{PARTIAL}")
    with source.open("rb") as file:
        os.fsync(file.fileno())
        if target.exists() and os.path.samestat(os.fstat(file.fileno()), target.stat()):
            return  # to rename one name of a file to another one would leave both
    with suppress(FileNotFoundError):
        partial.unlink()
    try:
        partial.hardlink_to(source)
    except OSError:
        write_bytes(target, source.read_bytes())
        return
    partial.replace(target)


def flush_folder(path: Path) -> None:
    """Flush a folder to disk, so that a power cut does not undo names given in it; not every file system can."""
    try:
        _flush_to_disk(path)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH_FOLDERS:
            raise


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Whole remote files in a scratch folder of this machine, shared by all processes of a user, those used last kept.

A file whose parts are wanted here and there is cheaper whole: JPEG 2000 has no directory of its tiles, so that each
part costs a walk from the file's begin. Whole files are compared with the checksum that their metadata state.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from hpckit.errors import SceneError
from hpckit.inputs.download import download, require_digest
from hpckit.inputs.uri import name_of

_REQUEST: Final = 64 * 2**20
"""Bytes of one request: what is lost at most when a connection breaks."""
_KEPT_BYTES: Final = 20 * 10**9
_FREE_SHARE: Final = 0.5
"""Of the space that is free, at most."""
_VARIABLE: Final = "HPCKIT_SCRATCH"
_KEY: Final = 32
_OURS: Final = re.compile(rf"[0-9a-f]{{{_KEY}}}(\.(?!lock$)[a-z0-9]+)?")
"""Names of files in the folder; others are not ours."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder for whole files."""

    folder: Path
    most_bytes: int = _KEPT_BYTES

    def bring(self, uri: str, nbytes: int | None, digest: str) -> Path:
        """Have a file whole.

        Parameters
        ----------
        nbytes : int, optional
            Size that it must have.
        digest : str
            Digest that it must have, `sha256:` and hexadecimal digits; empty if none is known.

        Raises
        ------
        OSError
            If it cannot be read from its server, or written here.
        SceneError
            If it is another file than its metadata say.
        """
        key = hashlib.sha256(f"{uri}\0{nbytes}\0{digest}".encode()).hexdigest()[:32]
        path = self.folder / f"{key}{PurePosixPath(name_of(uri)).suffix.lower()}"
        self._make()
        with _locked(self.folder / f"{key}.lock"):
            if not path.exists():
                partial = path.with_suffix(".part")
                download(uri, partial, nbytes, digest, _REQUEST)
                _require_digest(partial, uri, digest)
                partial.rename(path)
                self._evict(path)
            os.utime(path)
        return path

    def unused(self, before: float) -> list[Path]:
        """Whole files, and parts of files, that nobody has used since a time (seconds since 1970)."""
        with suppress(OSError):
            found = [path for path in self.folder.iterdir() if _OURS.fullmatch(path.name)]
            return sorted(path for path in found if path.stat().st_mtime < before)
        return []

    def remove(self, path: Path, before: float) -> bool:
        """Remove a file that nobody has used since a time; False if somebody brings or uses it now."""
        with (self.folder / f"{path.name[:_KEY]}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if path.stat().st_mtime >= before:
                return False
            path.unlink()
            return True

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_uid != os.getuid():
            raise SceneError(
                f"{self.folder} belongs to somebody else", hint=f"set {_VARIABLE} to a folder of your own"
            )

    def _evict(self, newest: Path) -> None:
        """Remove files that were not used for longest, until the rest fits."""
        found = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # of others that do the same
                if path.suffix not in (".lock", ".part"):
                    found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        free = os.statvfs(self.folder)
        used = sum(size for _, size, _ in found)
        most = min(self.most_bytes, int((free.f_bavail * free.f_frsize + used) * _FREE_SHARE))
        for _, size, path in sorted(found):
            if used <= most:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                used -= size


def scratch() -> Scratch:
    """Where whole files go: `$HPCKIT_SCRATCH`, else a folder of the user's own for temporary files."""
    named = os.environ.get(_VARIABLE)
    return Scratch(Path(named) if named else Path(tempfile.gettempdir()) / f"hpckit-{os.getuid()}")


def _require_digest(path: Path, uri: str, digest: str) -> None:
    try:
        require_digest(path, uri, digest)
    except SceneError:
        path.unlink()
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """While nobody else of this machine brings the same file."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

"""A site of a federation as its home reaches it: commands of hpckit in a folder there, and files to and from it.

Either by ssh, as `hpckit --host` does, or in a folder that this machine sees.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from subprocess import CompletedProcess
from typing import Any, Final

from hpckit.base.files import PARTIAL
from hpckit.errors import EX_TEMPFAIL, FederationError, LoginError, MemberUnavailableError
from hpckit.jobs.remote import find_program
from hpckit.sites.login.copying import pull, push
from hpckit.sites.login.faults import SshError
from hpckit.sites.login.ssh import Session, session_for
from hpckit.sites.site import Site

_TIMEOUT_S: Final = 3600
"""Of a command: a plan of a large campaign takes minutes."""
_IN_FOLDER: Final = 'cd "$1" && shift && exec "$@"'


class Member(ABC):
    """A site, and the folder of one federation there."""

    def __init__(self, site: Site, folder: str) -> None:
        self.site = site
        self.folder = folder
        """Folder of the federation at the site; below it one for each grant."""

    @property
    def name(self) -> str:
        """Name of the site."""
        return self.site.name

    def ask(self, words: Sequence[str], below: str) -> dict[str, Any]:
        """Run a command of hpckit that answers in JSON.

        Parameters
        ----------
        below : str
            Folder in which it runs, below that of the federation.

        Raises
        ------
        MemberUnavailableError
            If the site does not answer, or the command says that it failed for a passing reason.
        FederationError
            If it failed otherwise, with its own sentence.
        """
        told = self.read(words, below)
        try:
            answer = json.loads(told)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise FederationError(
                f"site {self.name}: `hpckit {' '.join(words)}` printed {told[:80]!r} where JSON is expected",
                hint="the program that its site file names as `command` must be hpckit itself",
            )
        return answer

    def read(self, words: Sequence[str], below: str) -> str:
        """Output of a command of hpckit; raises as `ask` does."""
        done = self.run(words, below)
        if done.returncode != 0:
            kind = MemberUnavailableError if done.returncode == EX_TEMPFAIL else FederationError
            raise kind(f"site {self.name}: {_said(done)}")
        return done.stdout

    @abstractmethod
    def run(self, words: Sequence[str], below: str = "") -> CompletedProcess[str]:
        """Run hpckit there; without `below`, wherever it starts.

        Raises
        ------
        MemberUnavailableError
            If the site cannot be reached.
        """

    @abstractmethod
    def push(self, folder: Path) -> None:
        """Copy a folder into that of the federation; raises as `run` does."""

    @abstractmethod
    def pull(self, names: Sequence[str], local: Path) -> None:
        """Copy files and folders, named below that of the federation, into a folder here; raises as `run` does."""


class SshMember(Member):
    """A site that is reached by ssh."""

    def __init__(self, site: Site, session: Session, name: str) -> None:
        assert site.login is not None
        super().__init__(site, str(PurePosixPath(site.login.folder) / name))
        self._session = session
        self._program: str | None = None

    def run(self, words: Sequence[str], below: str = "") -> CompletedProcess[str]:
        """Over the connection that is open, or that the key opens."""
        folder = str(PurePosixPath(self.folder) / below) if below else "."
        try:
            if self._program is None:
                self._program = find_program(self._session)
            argv = ["sh", "-c", _IN_FOLDER, "hpckit", folder, self._program, *words]
            return self._session.run(argv, profile=True, timeout_s=_TIMEOUT_S)
        except LoginError as error:
            raise _away(self.site, error) from None

    def push(self, folder: Path) -> None:
        """By rsync or sftp."""
        try:
            push(self._session, [folder], self.folder)
        except LoginError as error:
            raise _away(self.site, error) from None

    def pull(self, names: Sequence[str], local: Path) -> None:
        """By rsync or sftp; what has arrived is not copied again."""
        try:
            pull(self._session, [str(PurePosixPath(self.folder) / name) for name in names], local)
        except LoginError as error:
            raise _away(self.site, error) from None


class FolderMember(Member):
    """A site whose folder this machine sees, and whose scheduler it can ask."""

    def __init__(self, site: Site, base: Path, name: str) -> None:
        super().__init__(site, str(base / name))
        self._base = base

    def run(self, words: Sequence[str], below: str = "") -> CompletedProcess[str]:
        """A process of this machine."""
        command = self.site.federation.command
        program = [command] if command is not None else [sys.executable, "-m", "hpckit"]
        self._require_there()
        try:
            return subprocess.run(
                [*program, *words],
                cwd=Path(self.folder) / below if below else self._base,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MemberUnavailableError(f"site {self.name} gives no answer within {_TIMEOUT_S // 60} min") from None
        except OSError as error:
            raise MemberUnavailableError(f"site {self.name}: {program[0]} cannot be started: {error}") from None

    def push(self, folder: Path) -> None:
        """Copy what differs."""
        self._require_there()
        with _passing(self.site):
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            _copy(folder, Path(self.folder) / folder.name)

    def pull(self, names: Sequence[str], local: Path) -> None:
        """Copy what differs."""
        self._require_there()
        with _passing(self.site):
            for name in names:
                _copy(Path(self.folder) / name, local / Path(name).name)

    def _require_there(self) -> None:
        if not self._base.is_dir():
            raise MemberUnavailableError(
                f"site {self.name}: its folder {self._base} is not there", hint="is it mounted here?"
            )


@contextmanager
def _passing(site: Site) -> Iterator[None]:
    """Turn refusals of a file system into the site being away."""
    try:
        yield
    except OSError as error:
        raise MemberUnavailableError(f"site {site.name}: {error}") from None


def member_of(site: Site, federation: str) -> Member:
    """A site as it is reached from here.

    Parameters
    ----------
    federation : str
        Name of the folder there.

    Raises
    ------
    FederationError
        If its file says no way.
    """
    if site.federation.folder is not None:
        return FolderMember(site, Path(site.federation.folder), federation)
    if site.login is None:
        raise FederationError(
            f"site {site.name} says neither how to log in there, nor where its folder lies",
            hint=f"add `login: {{host: …}}` or `federation: {{folder: …}}` to {site.path}",
        )
    try:
        return SshMember(site, session_for(site), federation)
    except LoginError as error:
        raise _away(site, error) from None


def _away(site: Site, error: LoginError) -> FederationError:
    if isinstance(error, SshError):
        return MemberUnavailableError(f"site {site.name} does not answer: {error}", hint=error.hint)
    return FederationError(f"site {site.name}: {error}", hint=error.hint)


def _said(done: CompletedProcess[str]) -> str:
    """The sentence with which a command failed."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    sentence = next((line for line in reversed(lines) if line.startswith("hpckit: ")), lines[-1] if lines else "")
    return sentence.removeprefix("hpckit: ") or f"hpckit ended with exit code {done.returncode}"


def _copy(source: Path, target: Path) -> None:
    """Copy a file or tree; files of equal size and time are taken for the same."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for child in source.iterdir():
            _copy(child, target / child.name)
        return
    try:
        wanted = source.stat()
        known = target.stat() if target.exists() else None
        if known is not None and (known.st_size, known.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns):
            return
        partial = target.with_name(f".{target.name}.{os.getpid()}{PARTIAL}")
        shutil.copy2(source, partial)
        partial.replace(target)
    except FileNotFoundError:
        return  # joined with others, or renamed, since the folder was listed

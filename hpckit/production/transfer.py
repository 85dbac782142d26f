"""Bring remote files into a folder for copies.

Files come whole, several at a time, within limits that all of them share. A file has the ending `.part` until size
and digest are right, and the next call goes on where it ended. Either one process has the folder to itself
(`bring`), or several fetch for one run, each file under a claim of its own (`bring_together`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock
from typing import Final

from hpckit.base import claims
from hpckit.base.console import Advance, Console
from hpckit.base.disks import existing
from hpckit.base.files import digest, flush_folder, flush_tree, make_folder
from hpckit.base.quantities import format_bytes, format_count
from hpckit.errors import EX_FAILED, EX_TEMPFAIL, BusyError, HpckitError, PlanError, SceneError, is_temporary
from hpckit.inputs.download import download
from hpckit.inputs.fetched import ABSENT
from hpckit.inputs.hierarchy import state_of
from hpckit.inputs.remote import is_there
from hpckit.inputs.shares import Shares
from hpckit.inputs.transfer import AbsentError, replaced
from hpckit.inputs.uri import RemotePlace, within
from hpckit.production.fetchable import (
    NOTES,
    Fetchable,
    Note,
    add_note,
    checked,
    describe,
    missing_files,
)

LOCK: Final = ".fetch.lock"
"""Claim of the process that has a folder to itself."""
_TOGETHER: Final = ".fetching"
"""Folder in it: shares of the limits, and claims of files, of processes that fetch together."""
_LOOK_S: Final = 1.0
"""Between two looks whether a file, or the folder, is free."""
_REQUEST: Final = 16 * 2**20
"""Bytes of one request: what is lost at most when a connection breaks or the process is killed."""
_ROUNDS: Final = 2
"""Times that all files are tried: what does not answer is asked once more after the others."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A file that could not be fetched, or is not right."""

    name: str
    """Of its copy, relative to the folder."""
    reason: str
    temporary: bool = False
    """It may pass by itself."""


@dataclass(slots=True)
class Fetched:
    """What became of the files."""

    folder: Path
    there: int = 0
    """Files that were there already."""
    files: int = 0
    """Files that were fetched."""
    nbytes: int = 0
    """Bytes received."""
    seconds: float = 0.0
    failed: list[Failed] = field(default_factory=list)
    unread: int = 0
    """Products and folders that could not be read when the campaign was planned."""

    @property
    def exit_code(self) -> int:
        """0: all files are there, 1: some are not, 75: these may be there later."""
        if any(not item.temporary for item in self.failed):
            return EX_FAILED
        return EX_TEMPFAIL if self.failed or self.unread else 0


def bring(folder: Path, run: str, files: Sequence[Fetchable], connections: int, console: Console) -> Fetched:
    """Bring remote files, those that are there already left out.

    Parameters
    ----------
    run : str
        Id of the run that needs them.

    Raises
    ------
    BusyError
        If another process works in the folder.
    PlanError
        If the file system has no room for them.
    """
    result = Fetched(folder)
    with alone(folder):
        missing = missing_files(folder, files)
        result.there = len(files) - len(missing)
        require_room(folder, missing)
        _Transfer(folder, run, result, console).bring(missing, connections)
    return result


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Have a folder for copies to oneself.

    Raises
    ------
    BusyError
        If another process works in it.
    """
    with claims.hold(folder / LOCK, str(folder)):
        if not Shares(folder / _TOGETHER, 1, 1).are_idle():
            raise BusyError(f"jobs fetch files into {folder}", hint="wait for them, or `hpckit cancel CAMPAIGN`")
        yield


def bring_together(
    folder: Path, run: str, writer: str, files: Sequence[Fetchable], connections: int, per_minute: int
) -> Fetched:
    """Bring remote files while other processes, here or on other nodes, bring others.

    Parameters
    ----------
    writer : str
        Name of this process: it writes its own notes.
    connections, per_minute : int
        Requests at a time, and within any minute, of all processes that work in the folder.

    Raises
    ------
    PlanError
        If the file system has no room for the files.
    """
    result = Fetched(folder)
    missing = missing_files(folder, files)
    result.there = len(files) - len(missing)
    require_room(folder, missing)
    together = _Together(folder, Shares(folder / _TOGETHER, connections, per_minute), f"fetched-{writer}.jsonl")
    _Transfer(folder, run, result, Console(quiet=True), together).bring(missing, connections)
    return result


def require_room(folder: Path, files: Sequence[Fetchable]) -> None:
    """Refuse to begin what the file system cannot hold.

    Raises
    ------
    PlanError
        With the numbers.
    """
    space = os.statvfs(existing(folder))
    nbytes, free = sum(file.most - _begun(folder, file) for file in files), space.f_bavail * space.f_frsize
    if nbytes > free:
        raise PlanError(
            f"{folder}: {format_count(len(files), 'file')} of {format_bytes(nbytes)} are to be fetched, "
            f"{format_bytes(free)} are free",
            hint="choose another `scenes.fetched`, or a shorter period, and `hpckit fetch --remove` after each run",
        )
    inodes = len(files) + len({Path(file.name).parent for file in files})
    if space.f_files and inodes > space.f_favail:
        raise PlanError(
            f"{folder}: {format_count(inodes, 'file')} are to be made, {space.f_favail} inodes are left",
            hint="choose another `scenes.fetched`",
        )


def _begun(folder: Path, file: Fetchable) -> int:
    """Bytes of a file that an earlier call has brought."""
    try:
        return min(_partial(folder, file).stat().st_size, file.most)
    except FileNotFoundError:
        return 0


def _partial(folder: Path, file: Fetchable) -> Path:
    return folder / f"{file.name}.part"


class _StoppedError(Exception):
    """The user stopped the command."""


@dataclass(frozen=True, slots=True)
class _Together:
    """How a process fetches beside others."""

    folder: Path
    shares: Shares
    notes: str
    """File for its notes."""

    @contextmanager
    def turn(self, file: Fetchable, stop: Event) -> Iterator[None]:
        """Have a file, and a share of the limits, to oneself; not while somebody has the whole folder.

        Raises
        ------
        _StoppedError
            If it is stopped while it waits.
        """
        lock = self.folder / _TOGETHER / f"{digest(file.name.encode())[:16]}.lock"
        while not stop.is_set():
            with ExitStack() as stack:
                if self._begins(stack, lock, file, stop):
                    yield
                    return
            stop.wait(_LOOK_S)
        raise _StoppedError

    def _begins(self, stack: ExitStack, lock: Path, file: Fetchable, stop: Event) -> bool:
        try:
            stack.enter_context(claims.hold(lock, file.name))
        except BusyError:
            return False
        return stack.enter_context(self.shares.held(stop.is_set)) and not claims.holder(self.folder / LOCK)


class _Transfer:
    """Files on their way into a folder."""

    def __init__(
        self, folder: Path, run: str, result: Fetched, console: Console, together: _Together | None = None
    ) -> None:
        self._folder = folder
        self._together = together
        self._run = run
        self._result = result
        self._console = console
        self._lock = Lock()
        self._stop = Event()
        self._looking = Lock()
        self._seen: dict[RemotePlace, bool] = {}
        """Hierarchies, and whether they are as they were scanned."""
        self._report: Advance = lambda done, total: None
        self._total = 0

    def bring(self, files: Sequence[Fetchable], connections: int) -> None:
        """Bring files, several at a time; what failed and may pass is tried again after the others."""
        start = time.monotonic()
        self._total = sum(file.most - _begun(self._folder, file) for file in files)
        left = list(files)
        if not files:
            return
        with self._console.progress("fetch", total=self._total) as self._report:
            for _ in range(_ROUNDS):
                failed = self._round(left, connections) if left else {}
                left = [file for file, failure in failed.items() if failure.temporary]
                self._result.failed = [
                    *(item for item in self._result.failed if not item.temporary),
                    *failed.values(),
                ]
        self._result.seconds = round(time.monotonic() - start, 3)

    def _round(self, files: Sequence[Fetchable], connections: int) -> dict[Fetchable, Failed]:
        failed: dict[Fetchable, Failed] = {}
        with ThreadPoolExecutor(connections) as pool:
            futures = {pool.submit(self._one, file): file for file in files}
            try:
                for future in as_completed(futures):
                    failure = future.result()
                    if failure is not None:
                        failed[futures[future]] = failure
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return failed

    def _one(self, file: Fetchable) -> Failed | None:
        try:
            with nullcontext() if self._together is None else self._together.turn(file, self._stop):
                note = self._whole(file)
        except OSError as error:
            return Failed(file.name, f"{describe(file)}: {error}", is_temporary(error))
        except HpckitError as error:
            return Failed(file.name, str(error), is_temporary(error))
        with self._lock:
            add_note(self._folder, note, NOTES if self._together is None else self._together.notes)
            self._result.files += 1
        return None

    def _whole(self, file: Fetchable) -> Note:
        """Have a file whole under its own name."""
        path, partial = self._folder / file.name, _partial(self._folder, file)
        make_folder(path.parent)
        if path.is_file():  # somebody else brought it, or it was damaged since
            if path.stat().st_size == file.nbytes or (file.stored is not None and file.stored.form):
                try:
                    return replace(checked(path, file, self._run), moved=True)
                except SceneError:
                    pass
            path.unlink()
        if file.stored is not None:
            self._require_same(file.stored.place)
        try:
            note = self._resumed(partial, file)
        except AbsentError as error:
            note = self._absent(partial, file, error)
        flush_tree(partial)
        partial.rename(path)
        flush_folder(path.parent)
        return note

    def _require_same(self, place: RemotePlace) -> None:
        """Refuse a hierarchy that was replaced since it was scanned; its server is asked once."""
        with self._looking:
            if place not in self._seen:
                self._seen[place] = not place.version or state_of(place.address) == place.version
        if not self._seen[place]:
            raise replaced(place.address)

    def _absent(self, partial: Path, file: Fetchable, error: AbsentError) -> Note:
        """Note that a server has no such object, if there may be none; else it is lost."""
        what = file.stored
        if what is None:
            raise error
        others = what.empty_with
        if others is None or any(is_there(within(what.place.address, f"{other}/{what.name}")) for other in others):
            partial.unlink(missing_ok=True)
            raise SceneError(f"{describe(file)} is missing on its server", hint="the product is damaged there")
        partial.write_bytes(ABSENT)
        return checked(partial, file, self._run)

    def _resumed(self, partial: Path, file: Fetchable) -> Note:
        """Go on with what is there of a file; if that gives another digest than it should, begin again once."""
        begun = _begun(self._folder, file)
        if file.nbytes is not None and partial.exists() and partial.stat().st_size > file.nbytes:
            partial.unlink()
        try:
            return self._download(partial, file)
        except SceneError:
            if not begun:
                raise
        return self._download(partial, file)

    def _download(self, partial: Path, file: Fetchable) -> Note:
        download(file.uri, partial, file.nbytes, file.digest, _REQUEST, self._received)
        try:
            return checked(partial, file, self._run)
        except SceneError:
            partial.unlink()
            raise

    def _received(self, nbytes: int) -> None:
        if self._stop.is_set():
            raise _StoppedError
        with self._lock:
            self._result.nbytes += nbytes
            self._report(self._result.nbytes, max(self._total, self._result.nbytes))

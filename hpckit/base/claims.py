"""Claims: files that say who works on something, without hard links and without locks of the file system.

A claim is a file made by `open` with O_EXCL, which succeeds for one process only, on every file system. Nobody ever
removes the claim of another: who takes over from a claim that is dead makes a *successor*, a file named after the
content of the dead one, again by O_EXCL, so that each claim has one successor at most. The holder is the last of the
chain; it then renames its claim onto the first name and removes the rest. A process that read an outdated chain
finds itself not at its end, and withdraws. To release, the holder makes the successor of its own claim, after which
nobody can take over while it removes both.

A claim is dead if its process is known to be gone: on the same boot of the same kernel, in the same namespace of
processes, as names of hosts and numbers of processes are the same in many containers. Of all others only time
tells: a claim is renewed every half minute, and dead after ten minutes without, by the clock of the file server.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hpckit.base.account import login_name
from hpckit.base.files import PARTIAL, create, digest, make_folder, server_time
from hpckit.base.processes import QUIET, boot, namespace, runs, start_of
from hpckit.base.reading import read_bytes
from hpckit.errors import BusyError, FileUnavailableError

_STALE_AFTER_S: Final = 600
_HEARTBEAT_S: Final = 30
_RELEASING_S: Final = 5
"""How long a release may take."""
_PAUSE_S: Final = 0.1


@contextmanager
def hold(lock: Path, what: str) -> Iterator[None]:
    """Hold a claim while the block lasts.

    Parameters
    ----------
    lock : Path
        The claim's file.
    what : str
        What is claimed, for the error.

    Raises
    ------
    BusyError
        If another process holds it.
    FileUnavailableError
        If it cannot be read at the moment who holds it.
    OSError
        If it cannot be written.
    """
    make_folder(lock.parent)
    mine = _identity()
    _claim(lock, mine, what)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(lock, mine, stop), name=f"{QUIET}-claim", daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        _release(lock, mine)


def holder(lock: Path) -> dict[str, Any] | None:
    """Who holds a claim; None if nobody does.

    Raises
    ------
    FileUnavailableError
        If it cannot be read at the moment who does.
    """
    chain = _chain(lock)
    return chain[-1].says if chain and _is_alive(chain[-1]) else None


@dataclass(frozen=True, slots=True)
class _Claim:
    first: Path
    """The name by which a chain is found."""
    path: Path
    content: bytes

    @property
    def successor(self) -> Path:
        """Where the claim that takes over from this one stands."""
        return self.first.with_name(f"{self.first.name}.{digest(self.content)}")

    @property
    def says(self) -> dict[str, Any]:
        """Who made it; nothing, where it is cut or damaged."""
        try:
            values = json.loads(self.content)
        except ValueError:
            return {}
        return values if isinstance(values, dict) else {}


def _claim(lock: Path, mine: bytes, what: str) -> None:
    limit = time.monotonic() + _RELEASING_S
    while True:
        chain = _chain(lock)
        if not chain or not _is_alive(chain[-1]):
            place = chain[-1].successor if chain else lock
            if create(place, mine):
                if [claim.content for claim in _chain(lock)[-1:]] == [mine]:
                    _become_first(lock, mine)
                    return
                place.unlink(missing_ok=True)
        elif not chain[-1].says.get("released") or time.monotonic() > limit:
            raise _busy(lock, chain[-1].says, what)
        if time.monotonic() > limit:
            raise BusyError(f"another hpckit starts on {what} at this moment", hint="try again")
        time.sleep(_PAUSE_S)


def _busy(lock: Path, who: Mapping[str, Any], what: str) -> BusyError:
    if not who:
        return BusyError(
            f"another hpckit starts on {what}, or was interrupted while it did",
            hint=f"try again; if nobody works on it, delete {lock}",
        )
    return BusyError(
        f"another hpckit works on {what} ({_name(who)}, since {who.get('since')})",
        hint=f"wait for it, or stop it; if it is surely gone, delete {lock}",
    )


def _name(who: Mapping[str, Any]) -> str:
    of = f" of {who['user']}" if who.get("user") else ""
    return f"process {who.get('pid')}{of} on {who.get('host')}"


def _chain(lock: Path) -> list[_Claim]:
    """Claims that took over one from the other; the last one holds."""
    chain: list[_Claim] = []
    path = lock
    while True:
        try:
            chain.append(_Claim(lock, path, read_bytes(path)))
        except FileNotFoundError:
            return chain
        path = chain[-1].successor


def _become_first(lock: Path, mine: bytes) -> None:
    """Put the claim of the holder in the first place, and remove what others left that are dead or withdrew."""
    if lock.read_bytes() != mine:
        temporary = lock.with_name(f".{lock.name}.{uuid.uuid4().hex}{PARTIAL}")
        try:
            temporary.write_bytes(mine)
            temporary.replace(lock)
        finally:
            temporary.unlink(missing_ok=True)
    for path in lock.parent.glob(f"{lock.name}.*"):
        if path != _Claim(lock, lock, mine).successor:
            path.unlink(missing_ok=True)


def _release(lock: Path, mine: bytes) -> None:
    """Give the claim back, unless it was taken over while this process did not renew it."""
    begun, end, said = time.monotonic(), _Claim(lock, lock, mine).successor, _identity(released=True)
    with suppress(OSError, FileUnavailableError):  # the file system went away: the claim ends by time
        if not create(end, said):
            return
        ours = [claim.content for claim in _chain(lock)] == [mine, said]
        if ours and time.monotonic() - begun < _STALE_AFTER_S / 2:
            lock.unlink(missing_ok=True)
        end.unlink(missing_ok=True)


def _identity(released: bool = False) -> bytes:
    """Who this process is, and a token, so that no two claims are equal."""
    values = {
        "host": socket.gethostname(),
        "user": login_name(),
        "boot": boot(),
        "namespace": namespace(),
        "pid": os.getpid(),
        "started": start_of(os.getpid()),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": uuid.uuid4().hex,
    }
    return json.dumps({**values, "released": True} if released else values).encode()


def _is_alive(claim: _Claim) -> bool:
    who = claim.says
    here = (boot(), namespace(), socket.gethostname())
    if None not in here and (who.get("boot"), who.get("namespace"), who.get("host")) == here:
        known = runs(who.get("pid"), who.get("started"))
        if known is not None:
            return known
    try:
        age = server_time(claim.path.parent) - claim.path.stat().st_mtime
    except FileNotFoundError:
        return False
    return age < _STALE_AFTER_S


def _beat(lock: Path, mine: bytes, stop: threading.Event) -> None:
    while not stop.wait(_HEARTBEAT_S):
        # An error of the file system passes, or the claim ends by time; taken over, it is another's.
        with suppress(OSError):
            if lock.read_bytes() == mine:
                os.utime(lock)

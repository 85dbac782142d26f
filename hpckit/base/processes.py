"""Which process is it, and does it still run? Asked of the machine it runs on; of others nobody can know.

And how processes are started that need nothing of the one that starts them.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    import subprocess

_hiding: Final = threading.Lock()
_commands: Final[set[int]] = set()
_LOST_OUTPUT: Final = 120
"""Python's exit code where its output cannot be written."""
QUIET: Final = "hpckit-quiet"
"""How names of threads begin that import nothing."""


def leave(code: int) -> NoReturn:
    """End this process: do what Python does at its end, and leave out what libraries do after that.

    Arrow's threads sometimes abort a process that has read Parquet when it ends (apache/arrow#34314): the command had
    done its work, and ended by a signal.
    """
    if "pyarrow" not in sys.modules:
        sys.exit(code)
    threading._shutdown()  # type: ignore[attr-defined]
    try:
        atexit._run_exitfuncs()
    except Exception:
        sys.excepthook(*sys.exc_info())  # Python tells of it, too, and goes on
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or _LOST_OUTPUT
        except ValueError:  # it was closed
            pass
    os._exit(code & 0xFF)


def boot() -> str | None:
    """Identifier of this boot of this kernel: no other machine has it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def namespace() -> str | None:
    """Namespace that numbers of processes belong to: containers count for themselves."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def start_of(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot: distinguishes a process from a later one with its number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def runs(pid: object, started: object) -> bool | None:
    """Whether a process of this machine runs; None if that cannot be known."""
    if not isinstance(pid, int) or pid <= 0:
        return None
    start = start_of(pid)
    if start is not None:
        return start == started
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return None  # /proc hides processes of others
    return None


def kernel() -> str | None:
    """Tells machines apart, and containers that number their processes by themselves; None if that is not known."""
    parts = (boot(), namespace())
    return None if None in parts else "/".join(map(str, parts))


def identity() -> dict[str, Any]:
    """Which process calls, as JSON for files that outlive it."""
    return {"pid": os.getpid(), "started": start_of(os.getpid()), "kernel": kernel()}


def is_gone(told: Mapping[str, Any]) -> bool:
    """Whether the process with an `identity` was one of this machine and has ended; of others nobody can know."""
    here = kernel()
    return here is not None and told.get("kernel") == here and runs(told.get("pid"), told.get("started")) is False


def abandon(process: subprocess.Popen[str]) -> None:
    """Kill the leader of a session and what it started, without waiting: what hangs in the kernel does not end."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def be_command() -> None:
    """Note that this process is a command of hpckit: all that it has open is known, as in no process of a user's."""
    _commands.add(os.getpid())


def is_command() -> bool:
    """Whether this process is a command of hpckit."""
    return os.getpid() in _commands


def others_may_import() -> bool:
    """Whether there is a thread beside the calling one that does more than touch a file now and then."""
    return any(
        thread is not threading.current_thread() and not thread.name.startswith(QUIET)
        for thread in threading.enumerate()
    )


def may_fork() -> bool:
    """Whether this process may be copied: a command of hpckit with one thread, those of libraries included."""
    try:
        return is_command() and len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False


@contextmanager
def without_main() -> Iterator[None]:
    """Start processes of `multiprocessing` that do not import the script which is running.

    They need nothing of it; and a script that calls hpckit outside of `if __name__ == "__main__"`, as a person writes
    it, would be run once more by each of them.
    """
    with _hiding:
        main = sys.modules["__main__"]
        hidden: dict[str, Any] = {
            name: main.__dict__[name] for name in ("__file__", "__spec__") if name in main.__dict__
        }
        main.__dict__.pop("__file__", None)
        main.__spec__ = None
        try:
            yield
        finally:
            main.__dict__.update(hidden)

"""One container with the host program of user code: started, asked, watched and ended."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from hpckit.base.quantities import format_count, format_duration, format_exit
from hpckit.errors import UserCodeError
from hpckit.sites.udf import Limits

_PDEATHSIG: Final = 1
"""prctl(2): a signal for this process when its parent dies."""
_LOOK_S: Final = 0.1
_MOST_ANSWER: Final = 16 * 2**20
_TAIL_BYTES: Final = 4096


class Container:
    """A running container.

    Parameters
    ----------
    words : sequence of str
        Command line.
    environment : mapping of str to str
        Of the command; nothing else is passed on.
    folders : sequence of Path
        That the container can write to: they are watched for their size.
    log : file
        Gets what is printed.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], folders: Sequence[Path], log: Path, limits: Limits
    ) -> None:
        self._folders, self._log, self._limits = folders, log, limits
        self._own_memory = 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                words,
                env=environment,
                cwd=log.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._commands: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout

    @property
    def runs(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, command: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a command and wait for its answer, within all limits.

        Raises
        ------
        UserCodeError
            If a limit is passed, or the container ends; it is ended then.
        """
        try:
            self._commands.write(json.dumps(command).encode() + b"\n")
            self._commands.flush()
            line = self._line(time.monotonic() + seconds, seconds)
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise ValueError("no object")
            return answer
        except OSError:
            raise self._ended() from None
        except ValueError:
            raise UserCodeError("the program in the image gave no answer that can be read", kind="ended") from None
        except UserCodeError:
            self.close()
            raise

    def settle(self) -> None:
        """Count from here: what is in memory now does not belong to user code."""
        self._own_memory = 0
        self._own_memory = self._memory()

    def _line(self, end: float, seconds: float) -> bytes:
        """One line of its answers."""
        got = bytearray()
        source = self._answers.fileno()
        while True:
            ready, _, _ = select.select([source], [], [], _LOOK_S)
            if ready:
                read = os.read(source, 65536)
                if not read:
                    raise self._ended()
                got += read
                if got.endswith(b"\n"):
                    return bytes(got)
                if len(got) > _MOST_ANSWER:
                    raise UserCodeError("the program in the image writes what is no answer", kind="ended")
            if time.monotonic() > end:
                raise UserCodeError(
                    f"the user code took longer than {format_duration(seconds)} for a block (limit: seconds)",
                    hint="make it faster, or ask the site for a higher limit",
                    kind="seconds",
                )
            if not ready:
                self._watch()

    def _memory(self, *, exactly: bool = False) -> int:
        return sum(_memory(process, exactly=exactly) for process in self._processes()) - self._own_memory

    def _watch(self) -> None:
        """End what passes a limit that the kernel does not keep."""
        limits = self._limits
        if self._memory() > limits.memory_bytes and self._memory(exactly=True) > limits.memory_bytes:
            raise UserCodeError(
                f"the user code took more than {limits.memory_mib} MiB of memory (limit: memory)",
                hint="use smaller blocks or less memory, or ask the site for a higher limit",
                kind="memory",
            )
        size = entries = 0
        for length in _sizes(self._folders):
            size, entries = size + length, entries + 1
            if size > limits.disk_bytes or entries > limits.entries:
                files = format_count(limits.entries, "file")
                raise UserCodeError(
                    f"the user code wrote more than {limits.disk_mib} MiB or {files} (limit: disk)",
                    hint="write less, or ask the site for a higher limit",
                    kind="disk",
                )

    def _ended(self) -> UserCodeError:
        """Why it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        code = self._process.poll()
        self.close()
        how = format_exit(128 - code if code is not None and code > 128 else code)
        how = f"was {how}" if how.startswith("killed") else f"ended ({how})"
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
            tail = file.read().decode(errors="replace").strip()
        last = tail.splitlines()[-1][-300:] if tail else "it wrote nothing"
        return UserCodeError(f"the program in the image {how}: {last}", kind="ended", traceback=tail)

    def _processes(self) -> Iterator[int]:
        """Processes of the container."""
        waiting = [self._process.pid]
        while waiting:
            process = waiting.pop()
            yield process
            with suppress(OSError):
                for thread in Path(f"/proc/{process}/task").iterdir():
                    waiting += map(int, (thread / "children").read_text().split())

    def close(self) -> None:
        """End it with all that it started."""
        for pipe in (self._commands, self._answers):
            with suppress(OSError):
                pipe.close()
        # The first process of a container takes all others with it, those that hide in a session of their own, too.
        for process in [*self._processes()]:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


def _memory(process: int, *, exactly: bool = False) -> int:
    """Memory of a process in bytes that is in no file.

    Parameters
    ----------
    exactly : bool
        Count pages that processes share (after a fork) once for all of them; this takes longer.
    """
    names = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:") if exactly else ("RssAnon:", "RssShmem:", "VmSwap:")
    with suppress(OSError, ValueError):
        lines = Path(f"/proc/{process}/{'smaps_rollup' if exactly else 'status'}").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
    return 0


def _sizes(folders: Sequence[Path]) -> Iterator[int]:
    """Bytes of all entries of folders; what disappears meanwhile is left out."""
    waiting = [str(folder) for folder in folders]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    yield entry.stat(follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            yield Path(path).lstat().st_blocks * 512
        except OSError:
            yield 2**62  # nested deeper than a path can say, or closed to us: nothing that user code needs

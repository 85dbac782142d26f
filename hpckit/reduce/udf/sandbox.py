"""Code of users in a container that lives for many blocks: without network, home folder, secrets, and within limits.

The container sees the image, the block, the packages of the code, and a temporary folder, and nothing else of the
machine. Arrays are files on node-local disk: what is written there stays in memory as long as there is room.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from hpckit.base.apptainer import find_program, mount
from hpckit.errors import UserCodeError
from hpckit.reduce.udf.answers import block_of, fault_of, record_of
from hpckit.reduce.udf.block import Block, read_array, write_array
from hpckit.reduce.udf.container import Container
from hpckit.sites.udf import Limits

Log = Callable[[str, str], None]
"""Gets the level (`info`) and the text of what user code prints or logs."""

_INSIDE: Final = "/hpckit"
_PASSED: Final = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH")
"""Variables that Apptainer itself may need. Its first process stays visible inside with its variables."""
_KEPT_SETTINGS: Final = ("TMPDIR", "CACHEDIR", "CONFIGDIR")
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Image:
    """Where user code runs."""

    path: Path
    """SIF file, or a folder with the root of a system."""
    python: str = "python3"
    """Its Python, with numpy, pandas and xarray."""
    packages: Path | None = None
    """Folder with further packages."""
    network: bool = False
    """Leave the network of the machine open, where Apptainer may not close it."""


def require_apptainer() -> str:
    """The program that starts images.

    Raises
    ------
    UserCodeError
        If there is none.
    """
    found = find_program()
    if found is None:
        raise UserCodeError(
            f"user code needs Apptainer, which is not on the PATH of {os.uname().nodename}",
            hint="load its module in the site file (`modules`)",
            kind="image",
        )
    return found


class Sandbox:
    """A container for code of users, started when it is first needed, and again after it was ended.

    Parameters
    ----------
    image : Image
    limits : Limits
    scratch : Path
        An empty folder on node-local disk, of this sandbox alone; not removed.
    cores : int
        Threads that numerical libraries use.
    log : callable, optional
        Gets what user code prints.
    """

    def __init__(
        self, image: Image, limits: Limits, scratch: Path, *, cores: int = 1, log: Log | None = None
    ) -> None:
        self.image, self.limits, self.scratch, self.cores, self.log = image, limits, scratch, cores, log
        self._container: Container | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the container."""
        self.close()

    def call(self, code: str, block: Block, context: Any = None, *, name: str = "udf.py") -> Block:
        """Call the function of some code with a block.

        Modules stay loaded, so code may keep between blocks what it has loaded; a sandbox makes no promise about
        which blocks come, and in which order.

        Parameters
        ----------
        code : str
            Python, with a function of `openeo.udf`, such as `apply_datacube(cube, context)`.
        block : Block
        context : JSON
            For the function.
        name : str
            Of the code, in tracebacks.

        Returns
        -------
        Block
            What the function returned: any dimensions; `x` and `y` have no labels.

        Raises
        ------
        UserCodeError
            If the function fails, passes a limit, or returns no numbers; the sandbox can be used again.
        """
        command = {
            "do": "call",
            "digest": hashlib.sha256(code.encode()).hexdigest(),
            **{"code": code, "name": name, "context": context},
            **{"dims": block.dims, "labels": block.labels, "times": sorted(block.times)},
            **{"bytes": block.values.nbytes, "most_bytes": self.limits.output_bytes},
        }
        container = self._running()
        write_array(self._folder("in") / "block.npy", block.values)
        try:
            answer = container.ask(command, self.limits.seconds)
            self._require_success(answer)
            values = read_array(self._folder("out") / "block.npy", self.limits.output_bytes)
            return block_of(values, answer, block)
        except UserCodeError:
            # What it has started or changed until then must not meet the next block.
            container.close()
            raise
        finally:
            self._forward_log()

    def describe(self) -> dict[str, Any]:
        """Versions of Python and of packages in the image: `{python, machine, packages: {name: version}}`.

        Raises
        ------
        UserCodeError
            If the image does not start.
        """
        return self._running().ask({"do": "packages"}, self.limits.start_seconds)

    def close(self) -> None:
        """End the container, and remove what it left."""
        if self._container is not None:
            self._container.close()
            self._container = None
        for name in ("in", "out", "tmp", "shm"):
            _remove(self.scratch / name)

    def _running(self) -> Container:
        if self._container is None or not self._container.runs:
            self.close()
            self._container = self._start()
        return self._container

    def _start(self) -> Container:
        program = require_apptainer()
        if not self.image.path.exists():
            raise UserCodeError(
                f"the image of the user code is not there: {self.image.path}",
                hint="correct `udf.runtimes` in the site file",
                kind="image",
            )
        for name in ("in", "out", "tmp", "shm"):
            self._folder(name).mkdir(parents=True)
        self._log_file.unlink(missing_ok=True)
        written = [self._folder("out"), self._folder("tmp"), self._folder("shm"), self._log_file]
        container = Container(self._words(program), _environment(), written, self._log_file, self.limits)
        limits = {
            "memory_bytes": self.limits.memory_bytes,
            "disk_bytes": self.limits.disk_bytes,
            "processes": self.limits.processes,
            "files": self.limits.files,
        }
        try:
            container.ask({"do": "limits", "limits": limits, "others": _threads_of_user()}, self.limits.start_seconds)
        except UserCodeError as error:
            raise UserCodeError(
                f"the image {self.image.path} does not start: {error.message}",
                hint="it needs Python with numpy, pandas and xarray; try it with `apptainer exec`",
                kind="image",
                traceback=error.traceback,
            ) from None
        container.settle()
        return container

    def _words(self, program: str) -> list[str]:
        """The command line of the container."""
        closed = [] if self.image.network else ["--net", "--network", "none"]
        threads = [word for name in _THREADS for word in ("--env", f"{name}={self.cores}")]
        bound = [
            (Path(__file__).parent / "inside", f"{_INSIDE}/host", "ro"),
            (self._folder("in"), f"{_INSIDE}/in", "ro"),
            (self._folder("out"), f"{_INSIDE}/out", ""),
            (self._folder("tmp"), "/tmp", ""),
            (self._folder("shm"), "/dev/shm", ""),
        ]
        if self.image.packages is not None:
            bound.append((self.image.packages, f"{_INSIDE}/packages", "ro"))
        mounts = [word for source, target, options in bound for word in mount(str(source), target, options)]
        return [
            *(program, "--quiet", "exec", "--no-eval", "--containall", "--no-home", "--cleanenv", *closed),
            *("--no-mount", "sys,devpts,hostfs,bind-paths,cwd", *mounts, *threads, "--pwd", "/tmp"),
            *(str(self.image.path), self.image.python, "-I", "-B", f"{_INSIDE}/host/udf_host.py"),
        ]

    def _folder(self, name: str) -> Path:
        return self.scratch / name

    @property
    def _log_file(self) -> Path:
        return self.scratch / "log"

    def _require_success(self, answer: Mapping[str, Any]) -> None:
        fault = answer.get("fault")
        if fault is None:
            return
        said, trace = str(answer.get("message"))[:2000], str(answer.get("traceback", ""))[:8000]
        message, hint = fault_of(str(fault), said, self.limits)
        raise UserCodeError(message, hint=hint, kind=str(fault), traceback=trace)

    def _forward_log(self) -> None:
        """Hand on what was printed since the last block."""
        with suppress(FileNotFoundError), self._log_file.open("r+b") as file:
            text = file.read(self.limits.log_kib * 1024).decode(errors="replace")
            rest = os.fstat(file.fileno()).st_size - file.tell()
            file.truncate(0)
            if self.log is None:
                return
            for line in text.removesuffix("\n").split("\n") if text else ():
                self.log(*record_of(line))
            if rest > 0:
                self.log("warning", f"{rest} further bytes of output are left out (limit: {self.limits.log_kib} KiB)")


def _environment() -> dict[str, str]:
    """Variables of Apptainer: those that it needs, and none that its user set for containers or keeps secret."""
    settings = [f"{program}_{name}" for program in ("APPTAINER", "SINGULARITY") for name in _KEPT_SETTINGS]
    return {name: os.environ[name] for name in (*_PASSED, *settings) if name in os.environ}


def _threads_of_user() -> int:
    """Threads of this user on this machine: where a container shares our users, they count for its limit."""
    user, count = os.getuid(), 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if process.stat().st_uid == user:
                    count += len(list((process / "task").iterdir()))
    return count


def _remove(folder: Path) -> None:
    """Remove a folder, however deep it is and whatever rights user code took from it."""
    if folder.exists():
        for words in (("chmod", "-R", "u+rwX", "--"), ("rm", "-rf", "--")):
            subprocess.run(
                [*words, str(folder)],
                env={"PATH": os.defpath},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )

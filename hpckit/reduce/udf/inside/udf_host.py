"""The program inside the image that calls functions of users, one block after another.

It gets commands by lines on standard input, and answers by lines on what was standard output: user code has standard
output and error for itself, and both end in the log. Arrays lie in files: `in/` can only be read, `out/` is written.
The process that started this one checks every answer, since user code could forge it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import linecache
import logging
import os
import platform
import queue
import resource
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

FOLDER: Final = Path("/hpckit")
sys.path[:0] = [path for path in (str(FOLDER / "packages"), str(Path(__file__).parent)) if Path(path).is_dir()]

import numpy as np  # noqa: E402 -- packages of the user code come first
import xarray  # noqa: E402

_RECORD: Final = "\x1e"
"""Begins a line of the log that is a record of `logging`, not something printed."""
_KEPT: Final = 8
"""Modules of user code that stay loaded."""
_WHOLE: Final = 2**32 - 1
"""Users in a map of a namespace that is that of the machine."""

_OF_APPTAINER: Final = 16
"""Threads of Apptainer that count for the same user, and that cannot be seen from inside."""

_interface: Any = None
_modules: dict[str, ModuleType] = {}


class UserFaultError(Exception):
    """Something that the user's code did wrong, told to the user."""

    def __init__(self, kind: str, text: str, lines: str = "") -> None:
        super().__init__(text)
        self.answer = {"fault": kind, "message": text, "traceback": lines}


class _Records(logging.Handler):
    """Writes records of logging as lines that the log can tell from what is printed."""

    def emit(self, record: logging.LogRecord) -> None:
        said: dict[str, Any] = {"level": record.levelname.lower(), "message": record.getMessage()}
        for name in ("data", "code"):
            if getattr(record, name, None) is not None:
                value = getattr(record, name)
                said[name] = value if isinstance(value, str | int | float | bool) else repr(value)[:2000]
        print(_RECORD + json.dumps(said), file=sys.stderr, flush=True)


def main() -> None:
    """Answer commands until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    commands: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(os.dup(0), commands), daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    logging.basicConfig(level=logging.INFO, handlers=[_Records()])
    os.environ["HOME"] = "/tmp"
    global _interface
    _interface = importlib.import_module("openeo_interface")
    first = os.getpid()
    while True:
        answer = _answered(json.loads(commands.get()))
        if os.getpid() != first:
            os._exit(0)  # User code forked, and its child came back: the first process answers, once.
        sys.stdout.flush()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _listen(source: int, commands: queue.SimpleQueue[str]) -> None:
    """Pass commands on; the end of input ends all, whatever user code is doing."""
    with os.fdopen(source) as lines:
        for line in lines:
            commands.put(line)
    os._exit(0)


def _answered(command: dict[str, Any]) -> dict[str, Any]:
    do = {"limits": _limit, "packages": _packages, "call": _call}[command["do"]]
    try:
        return do(command)
    except UserFaultError as fault:
        return fault.answer


def _limit(command: dict[str, Any]) -> dict[str, Any]:
    """Take limits that cannot be raised again; memory and processes count from what there is now."""
    wanted = command["limits"]
    mine = len(list(Path("/proc").glob("[0-9]*/task/*")))
    others = 0 if _in_own_namespace() else int(command["others"])
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    for kind, most in (
        (resource.RLIMIT_AS, used + wanted["memory_bytes"]),
        (resource.RLIMIT_NPROC, mine + others + _OF_APPTAINER + wanted["processes"]),
        (resource.RLIMIT_FSIZE, wanted["disk_bytes"]),
        (resource.RLIMIT_NOFILE, wanted["files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    return {"python": platform.python_version()}


def _in_own_namespace() -> bool:
    """Whether processes of this user outside do not count for the limit (Linux 5.14 and later, user namespaces)."""
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
    return release >= (5, 14) and str(_WHOLE) not in Path("/proc/self/uid_map").read_text().split()


def _packages(command: dict[str, Any]) -> dict[str, Any]:
    """Versions of Python and of all packages."""
    found = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions() if one.metadata["Name"]}
    return {"python": platform.python_version(), "machine": platform.machine(), "packages": found}


def _call(command: dict[str, Any]) -> dict[str, Any]:
    name = command["name"]
    try:
        module = _loaded(command["digest"], command["code"], name)
        array = _array(command)
        made = _interface.call(module, array, command["context"])
        return _kept(made, command["most_bytes"])
    except UserFaultError:
        raise
    except _interface.NoFunctionError as error:
        raise UserFaultError("no-function", str(error)) from None
    except SyntaxError as error:
        said = "".join(traceback.format_exception_only(error)).rstrip()
        raise UserFaultError("syntax", f"{error.msg} (line {error.lineno})", said) from None
    except BaseException as error:
        raise UserFaultError(_kind(error), f"{type(error).__name__}: {error}"[:2000], _frames(name)) from None


def _kind(error: BaseException) -> str:
    """Which limit an exception tells of, if any."""
    if isinstance(error, MemoryError):
        return "memory"
    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    if number in _LIMITS:
        return _LIMITS[number]
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "processes"
    if isinstance(error, OSError) and (number in _NETWORK or type(error).__name__ == "gaierror"):
        return "network"
    if number in _OUTSIDE and getattr(error, "filename", None) is not None:
        return "outside"
    if isinstance(error, ImportError):
        return "package"
    return "exception"


_LIMITS: Final = {11: "processes", 12: "memory", 24: "files", 27: "disk", 28: "disk", 122: "disk"}
"""EAGAIN, ENOMEM, EMFILE, EFBIG, ENOSPC, EDQUOT."""
_NETWORK: Final = frozenset({99, 100, 101, 110, 111, 113})
"""EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH."""
_OUTSIDE: Final = frozenset({1, 2, 13, 30})
"""EPERM, ENOENT, EACCES, EROFS."""


def _frames(name: str) -> str:
    """The traceback from the first line of the user's code on."""
    kind, error, trace = sys.exc_info()
    frames = traceback.extract_tb(trace)
    first = next((place for place, frame in enumerate(frames) if frame.filename == name), len(frames))
    shown = traceback.format_list(frames[first:][-12:])
    return "".join([*shown, *traceback.format_exception_only(kind, error)]).rstrip()[-6000:]


def _loaded(digest: str, code: str, name: str) -> ModuleType:
    """The module of some code; it is executed once, so it may keep what it loaded."""
    if digest not in _modules:
        while len(_modules) >= _KEPT:
            del _modules[next(iter(_modules))]
        module = ModuleType("udf")
        module.__file__ = name
        # Tracebacks show lines of the code.
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        sys.modules["udf"] = module
        _interface.prepare(module)
        exec(compile(code, name, "exec", dont_inherit=True), module.__dict__)
        _modules[digest] = module
    return _modules[digest]


def _array(command: dict[str, Any]) -> xarray.DataArray:
    """The block, memory-mapped; changes stay in this process."""
    values = np.load(FOLDER / "in" / "block.npy", mmap_mode="c" if command["bytes"] else None)
    labels = {
        dim: np.array([label.removesuffix("Z") for label in labels], "datetime64[ns]")
        if dim in command["times"]
        else np.array(labels)
        for dim, labels in command["labels"].items()
    }
    return xarray.DataArray(np.asarray(values), dims=command["dims"], coords=labels)


def _kept(made: xarray.DataArray, most_bytes: int) -> dict[str, Any]:
    """Write what user code made, and say what it is."""
    values = np.asarray(made.values)
    if values.dtype.kind not in "biuf":
        raise UserFaultError("type", f"it returned values of type {values.dtype}; numbers or booleans are needed")
    if values.nbytes > most_bytes:
        raise UserFaultError("output", f"it returned {values.nbytes} bytes for this block")
    np.save(FOLDER / "out" / "block.npy", np.ascontiguousarray(values).reshape(values.shape), allow_pickle=False)
    labels = {
        str(dim): _labels(made[dim].values) for dim in made.dims if dim in made.coords and dim not in ("x", "y")
    }
    return {"dims": [str(dim) for dim in made.dims], "labels": labels}


def _labels(values: Any) -> list[str | float]:
    if values.dtype.kind == "M":
        return [f"{moment}Z" for moment in np.datetime_as_string(values, unit="s")]
    if values.dtype.kind in "biuf":
        return [float(value) for value in values]
    return [str(value) for value in values]


if __name__ == "__main__":
    main()

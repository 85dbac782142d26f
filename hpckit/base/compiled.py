"""Compiled kernels: kept in a folder, which unlike nodes and many processes may share, and loaded when first called.

numba's own cache stops a program where no folder can be written or a disk is full, and two processes that write at
once may take each other's code for theirs, since they number their files. Here a file is named after all that its
code is made for (processor, versions, types, and the code of the function and of all that it calls), bears a digest,
and is put in place by a rename. Whatever goes wrong with it, the kernel is compiled in memory.

Code is made for a level of the instruction set (x86-64-v2, v3, v4), not for a model of processor: all nodes of a
cluster then share two sets of files at most, and a login node or an image can hold those of every node.

Nothing here imports numba before a kernel is called: it takes as long to load as a worker takes to start.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import pickle
import platform
import stat
import sys
import tempfile
import threading
import types
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from hpckit.base import account
from hpckit.base.lookedfor import only_looked_for
from hpckit.base.quantities import available_cores

_DIGEST_BYTES: Final = 16
_LEVELS: Final = {
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86-64-v2": {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"},
}
"""Flags of Linux that each level of the x86-64 instruction set adds to those below it."""
PARTS_PER_THREAD: Final = 16
SHIPPED: Final = Path(sys.prefix) / "share" / "hpckit" / "kernels"
"""Where an image, or an environment that many share, has kernels; only read."""


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Compile a function when it is first called, as `numba.njit` does, or take what was compiled before.

    Parameters
    ----------
    options
        Those of `numba.njit`, but for `cache`.
    """
    return functools.partial(Kernel, options)


class Kernel:
    """A function that numba compiles; compiled functions may call it."""

    def __init__(self, options: dict[str, Any], function: Callable[..., Any]) -> None:
        self._options = options
        self.py_func = function
        self.name = f"{function.__module__}.{function.__qualname__}"
        functools.update_wrapper(self, function)

    @functools.cached_property
    def dispatcher(self) -> Any:
        """Numba's, which compiles for the types that it is called with."""
        made = _numba().njit(**self._options)(self.py_func)
        if hasattr(made, "_cache"):  # not where compiling is switched off
            made._cache = _Cache(self)
        return made

    @functools.cached_property
    def digest(self) -> bytes:
        """Of the code of the function, and of all that it uses."""
        return _digest(repr([(name, _content(made_from)) for name, made_from in _uses(self).items()]).encode())

    @property
    def _numba_type_(self) -> Any:
        """What the kernel is to functions that numba compiles."""
        return self.dispatcher._numba_type_

    def __call__(self, *arguments: Any) -> Any:
        """Run it; or compile it only, within `compile_only`."""
        if _only:
            return self.dispatcher.compile(tuple(map(_numba().typeof, arguments)))
        return self.dispatcher(*arguments)


@contextmanager
def compile_only(*, afresh: bool = False) -> Iterator[None]:
    """Let calls of kernels compile and keep their code, and do nothing else; in this whole process.

    Parameters
    ----------
    afresh : bool, optional
        Take no code from an image or environment, so that all of it is kept in the folder that is written.
    """
    _only.append(afresh)
    try:
        yield
    finally:
        _only.pop()


def spread(kernel: Kernel, count: int, *arguments: Any, least: int = 1) -> None:
    """Call `kernel(first, last, *arguments)` for ranges that make up 0 to `count`, in threads.

    Parameters
    ----------
    kernel : Kernel
        Compiled with `nogil=True`; ranges must not depend on each other. Python's threads run it, since a loop that
        numba makes parallel takes several times as long to compile.
    least : int
        Length of a range below which a thread of its own is not worth while.
    """
    threads = 1 if _only else min(thread_count(), count // least)
    if threads <= 1:
        kernel(0, count, *arguments)
        return
    parts = min(count // least, threads * PARTS_PER_THREAD)
    bounds = [part * count // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, first, last, *arguments) for first, last in itertools.pairwise(bounds)]:
            done.result()


@contextmanager
def in_this_thread() -> Iterator[None]:
    """Let kernels that this thread calls use no others: for callers of which many work side by side, as dask's do."""
    known = getattr(_alone, "here", False)
    _alone.here = True
    try:
        yield
    finally:
        _alone.here = known


def thread_count() -> int:
    """Threads that kernels may use that this thread calls."""
    if getattr(_alone, "here", False):
        return 1
    return _threads[-1] if _threads else int(os.environ.get("NUMBA_NUM_THREADS") or available_cores())


def limit_threads(count: int) -> None:
    """Limit the number of threads of kernels."""
    _threads[:] = [count]
    if "numba" in sys.modules:
        _share_threads(sys.modules["numba"])


def keep_numba_threads() -> None:
    """Let the environment say what numba was imported with: it refuses to compile where another number is in there.

    How many of these threads work is set by `limit_threads`.
    """
    numba: Any = sys.modules.get("numba")
    if numba is not None and hasattr(numba, "config"):
        os.environ["NUMBA_NUM_THREADS"] = str(numba.config.NUMBA_NUM_THREADS)


def is_ready(made_from: Iterable[bytes | str], level: str | None = None, *, named: bool = False) -> bool:
    """Whether `mark_ready` was called with this, on this machine or when its kernels were shipped.

    True where no folder can be written: there is no use in compiling ahead.

    Parameters
    ----------
    level : str, optional
        Instruction set; that of this processor if not given.
    named : bool, optional
        Whether only the folder that is written counts.
    """
    mine, name = _folders.current(), _ready(made_from)
    if mine is None:
        return True
    return any((folder / _key(level) / name).exists() for folder in ([] if named else [SHIPPED]) + [mine.parent])


def mark_ready(made_from: Iterable[bytes | str], level: str | None = None) -> None:
    """Note that all kernels that are made from this are in the folder, for a level or this processor."""
    folder = _folders.current()
    if folder is not None:
        with suppress(OSError):
            (folder.parent / _key(level) / _ready(made_from)).touch()


def _ready(made_from: Iterable[bytes | str]) -> str:
    return f"ready.{_digest(repr(list(made_from)).encode()).hex()}"


def kept_in() -> Path | None:
    """Folder in which compiled code is kept; None where none can be written."""
    return _folders.current()


def instruction_set() -> str:
    """Level of this processor that code is compiled for, or what NUMBA_CPU_NAME says.

    Empty where neither is known: code is compiled for the very model of the processor then.
    """
    named = os.environ.get("NUMBA_CPU_NAME")
    if named or platform.machine() != "x86_64":
        return named or ""
    flags = _processor_flags()
    below = dict(_LEVELS)
    while below and not set().union(*below.values()) <= flags:
        below.pop(next(iter(below)))
    return next(iter(below), "")


def prepare_numba() -> None:
    """Do what numba does before its first kernel: half of what a process waits for that forks from this one.

    Starts no threads, which a process that forks must not have.
    """
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    _numba_for_level()
    # numba asks whether there is a BLAS, for functions that no kernel here calls.
    with global_compiler_lock, only_looked_for("scipy.linalg", "scipy.linalg.cython_blas"):
        cpu_target.target_context.refresh()
        cpu_target.typing_context.refresh()
    _key()


@functools.cache
def _numba() -> Any:
    prepare_numba()
    numba = _numba_for_level()
    _share_threads(numba)
    return numba


@functools.cache
def _numba_for_level() -> Any:
    import numba
    from numba.core.registry import cpu_target

    level = instruction_set()
    # Not where other code was compiled before: the target is chosen once.
    if level in _LEVELS and "_toplevel_target_context" not in vars(cpu_target):
        numba.config.CPU_NAME, numba.config.CPU_FEATURES = level, ""
    return numba


def _share_threads(numba: Any) -> None:
    numba.set_num_threads(max(1, min(thread_count(), numba.config.NUMBA_NUM_THREADS)))


@functools.cache
def _processor_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def _uses(kernel: Kernel) -> dict[str, Any]:
    """A kernel and all that its code looks up outside of itself, by name; those of other kernels likewise."""
    found: dict[str, Any] = {}
    left: list[tuple[str, Any]] = [(kernel.name, kernel)]
    while left:
        name, made_from = left.pop()
        if name in found:
            continue
        found[name] = made_from
        if isinstance(made_from, Kernel):
            function = made_from.py_func
            cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            place = function.__globals__ | {name: cell.cell_contents for name, cell in cells}
            names = sorted(_names(function.__code__) & place.keys())
            left += [(f"{made_from.__module__}.{each}", place[each]) for each in names]
    return dict(sorted(found.items()))


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return {*code.co_names, *code.co_freevars}.union(*inner)


def _content(made_from: Any) -> str:
    """What decides about the code: of kernels their own, of constants their value, of other things their module's."""
    if isinstance(made_from, Kernel):
        options = [(name, _told(value)) for name, value in sorted(made_from._options.items())]
        return f"{_code(made_from.py_func.__code__)} {options}"
    if isinstance(made_from, types.ModuleType):
        return made_from.__name__
    defined = getattr(made_from, "_defn", made_from)  # an intrinsic of numba's has its function there
    module = sys.modules.get(getattr(defined, "__module__", None) or "")
    if module is not None and module.__name__.partition(".")[0] == __name__.partition(".")[0]:
        return _digest(Path(str(module.__file__)).read_bytes()).hex()
    return _told(made_from)


def _told(value: object) -> str:
    """A value as text; that of a set has an order of its own in each process."""
    return repr(sorted(map(repr, value)) if isinstance(value, (set, frozenset)) else value)


def _code(code: types.CodeType) -> str:
    constants = [_code(each) if isinstance(each, types.CodeType) else _told(each) for each in code.co_consts]
    return repr((code.co_code, constants, code.co_names, code.co_varnames))


class _Cache:
    """What a dispatcher of numba asks for code and gives code to."""

    def __init__(self, kernel: Kernel) -> None:
        self._name = ".".join(kernel.name.rsplit(".", 2)[-2:])
        self._kernel = kernel
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        """Folder of the files; None where they are nowhere."""
        folder = _folders.current()
        return None if folder is None else str(folder)

    def enable(self) -> None:
        """Use it."""
        self._enabled = True

    def disable(self) -> None:
        """Do not use it."""
        self._enabled = False

    def flush(self) -> None:
        """Nothing is kept in memory."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Code for the types of `sig`; None if it has to be compiled."""
        target_context.refresh()
        shipped = [] if any(_only) else [SHIPPED / _key()]
        for folder in (*shipped, _folders.current()):
            if folder is not None and self._enabled:
                try:
                    return _read(folder / self._file(sig, target_context.codegen()), target_context)
                except Exception:  # whatever it is, compiling helps
                    continue
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep code for the types of `sig`, if there is a place for it."""
        if data.library.has_dynamic_globals or any(not lifted.can_cache for lifted in data.lifted):
            return
        from numba.core import serialize

        payload = serialize.dumps(data._reduce())
        while self._enabled and (folder := _folders.current()) is not None:
            try:
                _put(folder / self._file(sig, data.codegen), _digest(payload) + payload)
                break
            except OSError:  # the disk is full, or the folder gone
                _folders.leave(folder)

    def _file(self, sig: Any, codegen: Any) -> str:
        made_for = repr((str(sig), codegen.magic_tuple(), self._kernel.digest)).encode()
        return f"{self._name}.{_digest(made_for).hex()}"


def _read(path: Path, target_context: Any) -> Any:
    from numba.core import compiler

    content = path.read_bytes()
    if _digest(content[_DIGEST_BYTES:]) != content[:_DIGEST_BYTES]:
        raise ValueError(f"{path}: damaged")
    return compiler.CompileResult._rebuild(target_context, *pickle.loads(content[_DIGEST_BYTES:]))


class _Folders:
    """Places for compiled code, the best one first; those that cannot be written are left."""

    def __init__(self) -> None:
        self._left: list[Callable[[], Path | None]] = [_named, _named_for_numba, _in_home, _temporary]
        self._current: Path | None = None

    def current(self) -> Path | None:
        """Folder that is used now; None if there is none any more."""
        while self._current is None and self._left:
            try:
                folder = self._left.pop(0)()
                if folder is not None:
                    (folder / _key()).mkdir(parents=True, exist_ok=True)
                    self._current = folder / _key()
            except (OSError, RuntimeError):
                continue
        return self._current

    def leave(self, folder: Path) -> None:
        """Use another folder from now on."""
        if folder == self._current:
            self._current = None


def _named() -> Path | None:
    """Folder that was named for these kernels alone."""
    named = os.environ.get("HPCKIT_KERNELS")
    return Path(named) if named else None


def _named_for_numba() -> Path | None:
    named = os.environ.get("NUMBA_CACHE_DIR")
    return Path(named) / "hpckit" if named else None


def _in_home() -> Path:
    folder = account.folder("XDG_CACHE_HOME", ".cache") / "hpckit" / "kernels"
    # Code is read from there: nobody else may write it, whatever the umask of a group's run.
    for place in (folder.parent, folder):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(mode=0o755, exist_ok=True)
    return folder


def _temporary() -> Path | None:
    """Folder below /tmp that is the user's alone: code is read from it."""
    folder = Path(tempfile.gettempdir()) / f"hpckit-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    private = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
    return folder if private else None


@functools.cache
def _key(level: str | None = None) -> str:
    """Folder of a level, by default that of this processor, and of the versions that code is made by."""
    made_by = (platform.python_version(), version("numba"), version("llvmlite"), version("numpy"))
    level = (instruction_set() if level is None else level) or platform.machine()
    return f"{level}-{_digest(repr(made_by).encode()).hex()[:16]}"


def _put(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


_folders: Final = _Folders()
_only: Final[list[bool]] = []
_threads: Final[list[int]] = []
_alone: Final = threading.local()

"""Compiled kernels are kept where that can be, and are right where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import numpy as np
from hpckit.base import compiled as module
@module.compiled(nogil=True)
def twice(values, factor):
    total = 0.0
    for value in values:
        total += factor * value
    return total
assert twice(np.arange(4, dtype=np.uint16), 2) == 12.0
assert twice(np.arange(4, dtype=np.float32), 2.5) == 15.0
print(module._folders.current())
"""


def run(tmp_path: Path, text: str = PROGRAM, **changes: str | None) -> str:
    program = tmp_path / "program.py"
    program.write_text(text)
    values = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": None, "NUMBA_CACHE_DIR": None, "HPCKIT_KERNELS": None}
    values["TMPDIR"] = None
    env = {**os.environ, **{name: value for name, value in {**values, **changes}.items() if value is not None}}
    for name, value in {**values, **changes}.items():
        if value is None:
            env.pop(name, None)
    done = subprocess.run([sys.executable, str(program)], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def kept(folder: str) -> list[Path]:
    return sorted(Path(folder).iterdir())


@pytest.mark.slow
def test_code_is_kept_and_taken_again_unless_it_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    folder = run(tmp_path)
    assert folder.startswith(str(tmp_path / "home" / ".cache" / "hpckit" / "kernels"))
    files = kept(folder)
    assert len(files) == 2  # one for each type
    stamps = [path.stat().st_mtime_ns for path in files]
    run(tmp_path)
    assert [path.stat().st_mtime_ns for path in kept(folder)] == stamps
    for path, content in zip(files, (b"", b"\x80" * 5000), strict=True):
        path.write_bytes(content)
    run(tmp_path)
    assert all(path.stat().st_size > 5000 for path in kept(folder))


def test_the_first_place_that_can_be_written_is_taken(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    named = run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "named"), HOME=str(blocked))
    assert named.startswith(str(tmp_path / "named" / "hpckit"))
    assert len(kept(named)) == 2
    (tmp_path / "tmp").mkdir()
    temporary = run(tmp_path, NUMBA_CACHE_DIR="/proc/nothing/here", HOME=str(blocked), TMPDIR=str(tmp_path / "tmp"))
    assert temporary.startswith(str(tmp_path / "tmp" / f"hpckit-kernels-{os.getuid()}"))
    assert (tmp_path / "tmp" / f"hpckit-kernels-{os.getuid()}").stat().st_mode & 0o077 == 0


def test_nobody_elses_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "tmp" / f"hpckit-kernels-{os.getuid()}").mkdir(parents=True)
    (tmp_path / "tmp" / f"hpckit-kernels-{os.getuid()}").chmod(0o777)
    folder = run(tmp_path, HOME="/proc/nothing", TMPDIR=str(tmp_path / "tmp"))
    assert folder == "None"


def test_unlike_processors_share_a_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    folder = Path(run(tmp_path))
    # The same node as numba sees it when it is told to make code for an older processor.
    other = Path(run(tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=""))
    assert other != folder and other.parent == folder.parent
    assert len(kept(str(folder))) == len(kept(str(other))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("change", ["    return number + 1", "    return number + HUNDRED"])
def test_code_is_made_again_where_what_it_calls_changed(tmp_path: Path, change: str) -> None:
    (tmp_path / "home").mkdir()
    source = """
from hpckit.base import compiled as module
HUNDRED = 100
@module.compiled()
def inner(number):
    return number
@module.compiled()
def outer(number):
    return inner(number)
assert outer(1) == {expected}
print(module._folders.current())
"""
    text = source.format(expected=1)
    folder = run(tmp_path, text=text)
    assert len(kept(folder)) == 2
    run(tmp_path, text=text + "# a comment changes nothing\n")
    assert len(kept(folder)) == 2
    changed = source.replace("    return number\n", change + "\n", 1)
    run(tmp_path, text=changed.format(expected=101 if "HUNDRED" in change else 2))
    assert len(kept(folder)) == 4
    if "HUNDRED" in change:
        run(tmp_path, text=changed.replace("= 100", "= 200").format(expected=201))
        assert len(kept(folder)) == 6


def test_compile_only_keeps_code_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    text = PROGRAM.replace("assert twice(np.arange(4, dtype=np.uint16), 2) == 12.0", "").replace(
        "assert twice(np.arange(4, dtype=np.float32), 2.5) == 15.0",
        "with module.compile_only():\n    twice(np.arange(4, dtype=np.uint16), 2)",
    )
    folder = run(tmp_path, text=text)
    (made,) = kept(folder)
    stamp = made.stat().st_mtime_ns
    assert run(tmp_path) == folder
    assert made.stat().st_mtime_ns == stamp, "taken as it was"


def test_nothing_is_imported_before_a_kernel_is_called(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    text = """
import sys
import numpy as np
from hpckit.base import compiled as module
from hpckit.reduce.signatures import index
from hpckit.reduce.kernels import cpu
from hpckit.space import warp
assert "numba" not in sys.modules
"""
    assert run(tmp_path, text=text) == ""


def test_workers_are_forked_with_numba_prepared_and_none_of_its_threads(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    folder = run(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in kept(folder)}
    before = """
import os
import hpckit.production.preloaded
from numba.core.registry import cpu_target
from numba.np.ufunc import parallel
assert "_toplevel_target_context" in vars(cpu_target)
assert not parallel._is_initialized
worker = os.fork()
if worker:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
"""
    assert run(tmp_path, text=before + PROGRAM) == folder
    assert {path: path.stat().st_mtime_ns for path in kept(folder)} == stamps, "the code is that of other processes"


def test_the_server_that_forks_workers_serves_runs_with_other_numbers_of_threads(tmp_path: Path) -> None:
    """Its numba was imported for those of the first run, and refuses to compile where the environment says others."""
    (tmp_path / "home").mkdir()
    before = """
import os
os.environ["NUMBA_NUM_THREADS"] = "2"
import hpckit.production.preloaded
os.environ["NUMBA_NUM_THREADS"] = "1"
from hpckit.production.worker import _limit_threads
_limit_threads(1)
"""
    assert kept(run(tmp_path, text=before + PROGRAM))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_left_for_the_next_place(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (tmp_path / "home").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        folder = run(tmp_path, NUMBA_CACHE_DIR=str(small))
    finally:
        subprocess.run(["umount", small], check=True)
    assert folder.startswith(str(tmp_path / "home"))
    assert kept(folder)

"""The server of workers: a copy of a command of hpckit that has one thread, a program of its own otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WORK = """\
import os
from pathlib import Path

def work(path, opened, environment):
    server = os.getppid()
    files = [os.readlink(file) for file in Path(f"/proc/{server}/fd").iterdir()]
    command = Path(f"/proc/{server}/cmdline").read_bytes()
    lines = [str(server), str(opened in files), environment["HPCKIT_TRIED"], os.environ["NUMBA_NUM_THREADS"]]
    Path(path).write_text("\\n".join([*lines, str(b"script.py" in command), str(b"forkserver" in command)]))
"""
BEGIN = """\
import os, sys, threading, time
from hpckit.base.processes import be_command
from hpckit.production import workerprocess
from work import work

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "HPCKIT_TRIED": "told"}
workerprocess._PRELOADED.clear()
opened = open(sys.argv[1])
"""
END = """\
workerprocess.make_ready(3)
os.environ.pop("NUMBA_NUM_THREADS", None)
for name in sys.argv[2:]:
    process = workerprocess.start_worker(work, (name, sys.argv[1]), 3)
    process.join()
    assert process.exitcode == 0
assert "NUMBA_NUM_THREADS" not in os.environ
print("done", flush=True)
time.sleep(100)
"""


@pytest.fixture
def told(tmp_path: Path):
    """Run a script with both parts and some lines between, look at what its workers wrote, and kill it."""

    def run(lines: str) -> list[list[str]]:
        kept, *answers = (tmp_path / name for name in ("kept", "first", "second"))
        kept.touch()
        (tmp_path / "work.py").write_text(WORK)
        script = tmp_path / "script.py"
        script.write_text(f"{BEGIN}{lines}\n{END}")
        command = [sys.executable, str(script), str(kept), *map(str, answers)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
            process.send_signal(signal.SIGKILL)
        return [answer.read_text().split("\n") for answer in answers]

    return run


def test_a_command_with_one_thread_is_copied(told):
    first, second = told("be_command()")
    assert first == second
    assert first[1:] == ["False", "told", "3", "True", "False"], "closed file, environment, threads, a copy"
    assert _ends(int(first[0])), "the server outlived the process that it served"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param("", id="a process of a user's"),
        pytest.param(
            "be_command()\nthreading.Thread(target=time.sleep, args=(100,), daemon=True).start()", id="two threads"
        ),
        pytest.param("be_command()\nimport numba", id="numba is there"),
    ],
)
def test_other_processes_start_a_program(told, lines):
    first, second = told(lines)
    assert first == second
    assert first[1:4] == ["False", "told", "3"]
    assert first[5] == "True"
    assert _ends(int(first[0]))


def _ends(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False

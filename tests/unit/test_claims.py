"""Claims: one process works at a time, whoever was killed, on file systems without links and locks."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpckit.base import claims
from hpckit.base.account import login_name
from hpckit.base.claims import hold, holder
from hpckit.errors import BusyError, FileUnavailableError
from tests.faulty import ENOTSUPP, faulty, needs_cc

pytestmark = pytest.mark.slow

COUNTING = """
import sys, time
from pathlib import Path
from hpckit.base.claims import hold
from hpckit.errors import BusyError
folder = Path(sys.argv[1])
done = 0
while done < 5:
    try:
        with hold(folder / "run.lock", "it"):
            inside = folder / "inside"
            inside.touch(exist_ok=False)  # fails where two are inside
            number = int((folder / "count").read_text())
            time.sleep(0.002)
            (folder / "count").write_text(str(number + 1))
            inside.unlink()
            done += 1
    except BusyError:
        time.sleep(0.005)
"""


def dead_claim(**changes: object) -> str:
    """A claim of a process that is gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    values: dict[str, Any] = json.loads(claims._identity())
    return json.dumps({**values, "pid": process.pid, "started": "1", **changes})


def make_old(path: Path, seconds: float = 700) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_one_at_a_time_and_nothing_is_left(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    with hold(lock, "the run"):
        said = rf"the run .process {os.getpid()} of {login_name()} on {socket.gethostname()}"
        with pytest.raises(BusyError, match=said), hold(lock, "the run"):
            pass
        who = holder(lock)
        assert who is not None and who["pid"] == os.getpid()
    assert holder(lock) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left_by", ["dead", "dead of an older hpckit", "empty", "damaged", "dead that took over"])
def test_what_dead_processes_left_is_taken_over(tmp_path: Path, left_by: str) -> None:
    lock = tmp_path / "run.lock"
    old = json.dumps({"host": socket.gethostname(), "pid": 1, "started": "2"})
    content = {"empty": "", "damaged": "\x00[1", "dead of an older hpckit": old}.get(left_by, dead_claim())
    lock.write_text(content)
    if left_by == "dead that took over":
        claims._Claim(lock, lock, content.encode()).successor.write_text(dead_claim())
    elif left_by != "dead":
        make_old(lock)
    with hold(lock, "it"):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        assert list(tmp_path.iterdir()) == [lock]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "elsewhere"},
        {"boot": "another boot of a machine of the same name"},
        {"namespace": "pid:[1]"},  # another container on this machine, with this host name
        {"boot": None},
    ],
)
def test_a_claim_from_elsewhere_ends_by_time_only(tmp_path: Path, changes: dict[str, object]) -> None:
    lock = tmp_path / "run.lock"
    # Even of one that has this process's number and start.
    lock.write_text(json.dumps({**json.loads(claims._identity()), **changes}))
    with pytest.raises(BusyError), hold(lock, "it"):
        pass
    lock.write_text(dead_claim(**changes))
    with pytest.raises(BusyError), hold(lock, "it"):
        pass
    make_old(lock)
    with hold(lock, "it"):
        pass


@pytest.mark.parametrize("content", ["", "dead"])
def test_of_many_at_once_one_works(tmp_path: Path, content: str) -> None:
    (tmp_path / "count").write_text("0")
    if content:
        (tmp_path / "run.lock").write_text(dead_claim())
    command = [sys.executable, "-c", COUNTING, str(tmp_path)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert errors == [""] * 6
    assert (tmp_path / "count").read_text() == "30"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


@needs_cc
@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, ENOTSUPP])
def test_no_links_and_no_locks_are_needed(tmp_path: Path, number: int) -> None:
    (tmp_path / "count").write_text("0")
    env = faulty("link,flock,lock", str(tmp_path), number)
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, str(tmp_path)], env=env, capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, (tmp_path / "count").read_text()) == ("", "5")


def test_a_claim_that_cannot_be_read_is_nobodys_to_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "run.lock"
    lock.write_text(dead_claim())
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == lock:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(FileUnavailableError), hold(lock, "it"):
        pass
    monkeypatch.undo()
    assert json.loads(lock.read_text())["started"] == "1"


def test_a_disk_that_is_full_leaves_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hpckit.base.files.write_all", full)
    with pytest.raises(OSError, match="No space"), hold(tmp_path / "run.lock", "it"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_slept_too_long_removes_no_claim_of_another(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    slow = claims._identity()
    claims._claim(lock, slow, "it")
    lock.write_bytes(changed := json.dumps({**json.loads(slow), "host": "elsewhere"}).encode())
    make_old(lock)
    with hold(lock, "it"):
        claims._release(lock, changed)
        assert json.loads(lock.read_text())["host"] == socket.gethostname()
        with pytest.raises(BusyError), hold(lock, "it"):
            pass

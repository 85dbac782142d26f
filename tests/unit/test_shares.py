"""Limits that processes share: never more connections or requests than allowed, whoever is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from hpckit.inputs import shares, turns
from hpckit.inputs.shares import Shares

pytestmark = pytest.mark.slow

CONNECTIONS, PER_MINUTE, MINUTE_S = 2, 6, 0.6
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _short(monkeypatch) -> None:
    monkeypatch.setattr(shares, "_LOOK_S", 0.01)
    monkeypatch.setattr(shares, "MINUTE_S", MINUTE_S)
    monkeypatch.setattr(turns, "MINUTE_S", MINUTE_S)


def request(notes: Path, seconds: float = 0.02) -> None:
    """One request, which notes when it began and ended, by a clock that all processes have."""
    with turns.turn():
        begun = time.monotonic()
        time.sleep(seconds)
        line = f"{json.dumps([begun, time.monotonic()])}\n"
        with notes.open("a") as file:
            file.write(line)


def work(folder: Path, notes: Path, count: int) -> None:
    """Requests of two threads, each with shares that it takes and gives back."""

    def one() -> None:
        for _ in range(count):
            with Shares(folder, CONNECTIONS, PER_MINUTE).held() as has:
                assert has
                request(notes)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def spans(notes: Path) -> list[list[float]]:
    return sorted(json.loads(line) for line in notes.read_text().splitlines())


def require_limits(found: list[list[float]]) -> None:
    for begun, _ in found:
        assert sum(first <= begun < last for first, last in found) <= CONNECTIONS
        lately = [
            first for first, _ in found if begun - MINUTE_S * 0.97 < first <= begun
        ]  # clocks: wall and monotonic
        assert len(lately) <= PER_MINUTE, (begun, found)


def test_processes_keep_to_the_limits_together(tmp_path):
    notes, folder = tmp_path / "notes", tmp_path / "shares"
    children = [FORK.Process(target=work, args=(folder, notes, 3)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    found = spans(notes)
    assert len(found) == 18
    require_limits(found)
    assert found[-1][0] - found[0][0] >= 2 * MINUTE_S * 0.97, "eighteen requests take more than two minutes"
    assert Shares(folder, CONNECTIONS, PER_MINUTE).are_idle()


def hold(folder: Path, notes: Path) -> None:
    with Shares(folder, 1, 3).held():
        for _ in range(3):
            request(notes, 0.001)
        (folder / "ready").touch()
        time.sleep(60)


def test_the_share_of_a_killed_process_comes_back_and_waits(tmp_path):
    folder, notes = tmp_path / "shares", tmp_path / "notes"
    child = FORK.Process(target=hold, args=(folder, notes))
    child.start()
    limit = time.monotonic() + 30
    while not (folder / "ready").exists() and time.monotonic() < limit:
        time.sleep(0.01)
    assert not Shares(folder, 1, 3).are_idle()
    with Shares(folder, 1, 3).held(lambda: (folder / "ready").exists()) as has:
        assert not has, "it is another's, and who asks gave up"
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    taken = time.monotonic()
    with Shares(folder, 1, 3).held() as has:
        assert has
        request(notes)
    last = spans(notes)[-1][0]
    assert last - taken >= MINUTE_S * 0.97, "what the killed process asked last is not known"
    with Shares(folder, 1, 3).held():
        request(notes)
    assert spans(notes)[-1][0] - last < MINUTE_S / 2, "a share that was given back says what was asked"


def test_requests_of_the_holder_before_count(tmp_path):
    notes = tmp_path / "notes"
    for _ in range(2):
        with Shares(tmp_path / "shares", 1, 2).held():
            request(notes)
            request(notes)
    found = [begun for begun, _ in spans(notes)]
    assert found[2] - found[0] >= MINUTE_S * 0.97 and found[3] - found[1] >= MINUTE_S * 0.97


def test_all_wait_where_one_is_asked_to(tmp_path):
    folder, notes = tmp_path / "shares", tmp_path / "notes"
    with Shares(folder, 2, 100).held():
        turns.pause(0.4)
        asked = time.monotonic()

        def other() -> None:
            with Shares(folder, 2, 100).held():
                request(notes)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert spans(notes)[0][0] - asked >= 0.35
    (folder / "pause.json").write_text(json.dumps({"until": time.time() + 10**6}))
    begun = time.monotonic()
    with Shares(folder, 2, 100).held():
        request(notes)
    assert time.monotonic() - begun < 5, "a clock that is far off stops nobody"

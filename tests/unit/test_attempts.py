"""Attempts at an element: announced, numbered apart, and seen to work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpckit.errors import SubmissionError
from hpckit.jobs.mpi import Ranks
from hpckit.submissions.attempts import announced, describe, next_number, suffix, working, working_in


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "submissions" / "0001"
    path.mkdir(parents=True)
    return path


def test_an_attempt_is_seen_while_it_works_and_not_after(submission: Path) -> None:
    with announced(submission, "exec-mask", 17, 0) as number:
        (sign,) = working(submission)
        assert (number, sign.stage, sign.element) == (0, "exec-mask", 17)
        assert "exec-mask:17" in describe([sign, sign]) and "1 more" in describe([sign, sign])
        assert working_in(submission.parent.parent) == [sign] or working_in(submission.parent.parent)
    assert working(submission) == []


def test_no_two_attempts_have_one_number(submission: Path) -> None:
    numbers: list[int] = []

    def attempt(_: int) -> None:
        with announced(submission, "ingest", 3, 0) as number:
            numbers.append(number)
            time.sleep(0.3)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(attempt, range(6)))
    assert sorted(numbers) == [0, 1, 2, 3, 4, 5]


def test_an_attempt_counts_on_from_those_that_left_files(tmp_path: Path) -> None:
    name = "s0001-ingest-000/000017"
    assert next_number(tmp_path, name) == 0
    for folder, file in (
        ("journal", "000017-r0003.jsonl"),
        ("journal", "000018-t7.jsonl"),
        ("logs", "000017-t1.log"),
    ):
        path = tmp_path / folder / "s0001-ingest-000" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert next_number(tmp_path, name) == (2 if folder == "logs" else 1)
    assert [suffix(number) for number in (0, 1, 12)] == ["", "-t1", "-t12"]


def test_one_that_was_killed_is_gone_on_its_own_machine_and_silent_on_others(submission: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path; from hpckit.submissions.attempts import announced\n"
        "with announced(Path(sys.argv[1]), 'ingest', 3, 0): print('on', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(submission)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"on\n"
        assert len(working(submission)) == 1
        child.kill()
    assert working(submission) == [], "its process is gone"
    (path,) = (submission / "working").iterdir()
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "kernel": "another machine's"}))
    assert len(working(submission)) == 1, "of another machine only silence tells"
    old = time.time() - 400
    os.utime(path, (old, old))
    assert working(submission) == []
    with announced(submission, "ingest", 3, 0) as number:
        assert number == 1, "a later attempt has names of its own all the same"


def test_ranks_share_what_the_first_one_made() -> None:
    assert Ranks().share(lambda: ("name", [1, 2])) == ("name", [1, 2])

    def fail() -> None:
        raise SubmissionError("no such element")

    with pytest.raises(SubmissionError, match="no such element"):
        Ranks().share(fail)

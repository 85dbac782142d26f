"""The teaching notebooks: stored without outputs, each with an exercise, copied without loss of a student's work."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, RLock
from typing import Any

import pytest
from click.testing import CliRunner

from hpckit.base.console import Console
from hpckit.cli import cli
from hpckit.demo import lessons
from hpckit.demo.lessons import LESSONS, copy_notebooks, lesson_data, notebooks_folder
from hpckit.errors import HpckitError

NOTEBOOKS = sorted(notebooks_folder().glob("*.ipynb"))
LESSON = [path for path in NOTEBOOKS if path.name[0].isdigit()]


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    return found


def test_there_are_eight() -> None:
    assert [path.name[0] for path in LESSON] == list("12345678")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.parametrize("path", LESSON, ids=lambda path: path.stem)
def test_each_lesson_ends_with_an_exercise_and_its_folded_solution(path: Path) -> None:
    *_, question, solution = cells(path)
    assert "## Exercise" in "".join(question["source"])
    assert solution["metadata"] == {"jupyter": {"source_hidden": True}, "tags": ["solution"]}


def test_changed_notebooks_stay(tmp_path: Path) -> None:
    written, kept = copy_notebooks(tmp_path / "course")
    assert len(written) == len(NOTEBOOKS) and not kept
    assert copy_notebooks(tmp_path / "course") == ([], [])
    mine, lost = written[0], written[1]
    mine.write_text("mine")
    lost.unlink()
    result = CliRunner().invoke(cli, ["notebooks", str(tmp_path / "course")])
    assert result.exit_code == 0 and mine.read_text() == "mine" and lost.exists()
    assert "not copied" in result.stderr and mine.name in result.stderr


def test_data_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(HpckitError, match="not empty, and not data of the notebooks"):
        lesson_data(tmp_path)
    monkeypatch.setenv(LESSONS, str(tmp_path))
    with pytest.raises(HpckitError, match="not empty"):
        lesson_data("data")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_notebooks_that_make_the_data_at_the_same_time_share_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writes all files between two meetings with the others; one more comes while one of them moves its own."""
    count = 3
    late: list[Path] = []
    begun, written, first = Barrier(count), Barrier(count), RLock()

    def write(folder: Path, console: Console) -> None:
        meet = not (tmp_path / "data" / "optical").exists()
        if meet:
            begun.wait(20)
        for name in ("optical/a", "optical/b", "radar/c"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(name)
        (folder / "weather.csv").write_text("date")
        if meet:
            written.wait(20)

    def move(made: Path, target: Path) -> None:
        with first:
            if not late:
                late.append(made)
                (made / "optical").rename(target / "optical")
                lesson_data(tmp_path / "data")
        move_in(made, target)

    move_in = lessons._move_in
    monkeypatch.setattr(lessons, "write_data", write)
    monkeypatch.setattr(lessons, "_move_in", move)
    with ThreadPoolExecutor(count) as pool:
        found = set(pool.map(lesson_data, [tmp_path / "data"] * count))
    assert found == {tmp_path / "data"} and late
    names = {path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*")}
    assert names == {"lessons.json", "optical", "optical/a", "optical/b", "radar", "radar/c", "weather.csv"}


SLOW = """\
import sys, time
from hpckit.demo import lessons

def write_data(folder, console):
    print(folder, flush=True)
    time.sleep(600)

lessons.write_data = write_data
lessons.lesson_data(sys.argv[1])
"""


def test_what_a_killed_process_made_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    making = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        lost, other = (Path(process.stdout.readline().strip()) for process in making if process.stdout)
        making[0].kill()
        making[0].wait()
        unknown = tmp_path / ".making-unknown"
        unknown.mkdir()
        (elsewhere := tmp_path / ".making-elsewhere").mkdir()
        told = json.loads((lost / "maker.json").read_text())
        (elsewhere / "maker.json").write_text(json.dumps({**told, "kernel": "another machine"}))
        monkeypatch.setattr(lessons, "write_data", lambda folder, console: (folder / "optical").mkdir())
        lesson_data(tmp_path)
        assert not lost.exists() and other.is_dir() and unknown.is_dir() and elsewhere.is_dir()
        making[1].kill()
        making[1].wait()
        lesson_data(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            ".making-elsewhere",
            ".making-unknown",
            "lessons.json",
            "optical",
        ]
    finally:
        for process in making:
            process.kill()
            process.communicate()


def test_data_are_made_again_after_a_kernel_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".making-lost").mkdir()
    monkeypatch.setattr(lessons, "write_data", lambda folder, console: (folder / "optical").mkdir())
    assert lesson_data(tmp_path) == tmp_path and (tmp_path / "optical").is_dir()
    (tmp_path / "lessons.json").write_text('{"version": 0}')
    with pytest.raises(HpckitError, match="of this version"):
        lesson_data(tmp_path)

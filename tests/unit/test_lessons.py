"""The teaching notebooks: stored without outputs, each with an exercise, copied without loss of a student's work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hpckit.cli import cli
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

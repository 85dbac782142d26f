"""The processes that are offered, from the command line and the interface of Python."""

from __future__ import annotations

import json

from click.testing import CliRunner

from hpckit import api
from hpckit.cli import cli
from hpckit.processgraph.listed import listed
from hpckit.processgraph.process import processes
from hpckit.processgraph.specs import documents


def called(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["graph", "processes", *words])
    return result.exit_code, result.output


def test_the_processes_that_are_offered_are_there_and_specified():
    assert set(listed()) <= set(processes()) & set(documents())
    assert [process["id"] for process in api.graph_processes()] == listed()


def test_the_command_lists_them():
    code, text = called()
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()] == listed()
    code, text = called("--json")
    assert code == 0
    assert json.loads(text) == api.graph_processes()


def test_the_command_shows_one_with_its_parameters():
    code, text = called("reduce_dimension")
    assert code == 0
    assert [line.split()[0].rstrip(":") for line in text.splitlines()] == [
        "reduce_dimension", "data", "reducer", "dimension", "context",
    ]  # fmt: skip
    assert "(default null)" in text.splitlines()[-1]


def test_an_unknown_name_is_refused_with_the_nearest_one():
    code, text = called("reduce_dimensions")
    assert code == 2
    assert "did you mean 'reduce_dimension'?" in text

"""Examples in the docstrings of the Python interface are run, beside a small campaign with its results."""

from __future__ import annotations

import doctest
import importlib
import shutil
from pathlib import Path

import pytest

from hpckit import open_campaign
from tests.integration.test_graphs import ingested  # noqa: F401 -- a fixture

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("name", ["hpckit.api", "hpckit.look.notebook.view"])
def test_examples_run(name: str, ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    folder = tmp_path / "c"
    shutil.copytree(ingested.parent, folder)
    monkeypatch.chdir(folder)
    module = importlib.import_module(name)
    known = {"campaign": open_campaign(folder / "campaign.yaml"), "__name__": "__main__"}
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    for example in finder.find(module, name, globs=dict(known)):
        runner.run(example, out=report.append)
    result = runner.summarize(verbose=False)
    assert result.attempted > 0 and result.failed == 0, "".join(report)

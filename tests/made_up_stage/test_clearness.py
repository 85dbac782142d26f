"""A stage in one folder, found by its entry point: the contract, and a whole campaign on this machine and in jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import CampaignError, PlanError
from hpckit.production.driver import plan_campaign, run_campaign
from hpckit.testing.stage import StageTests, run_twice
from tests.small_campaign import DATES, copy, pixels_of

pytestmark = [pytest.mark.integration, pytest.mark.slow]

HERE = Path(__file__).parent
QUIET = Console(quiet=True)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def install(patch: pytest.MonkeyPatch) -> None:
    """For this process and those that it starts."""
    patch.setenv("PYTHONPATH", f"{HERE}:{os.environ['PYTHONPATH']}")
    patch.syspath_prepend(HERE)


def write(made: Path, folder: Path, settings: str = "{clearness: {classes: [4, 5]}}", steps: str = "") -> Path:
    path = copy(made, folder)
    path.write_text(path.read_text() + f"extensions: {settings}\n{steps}")
    return path


def shares(path: Path) -> list[float]:
    return json.loads((path.parent / "clearness" / "31UFU.json").read_text())["shares"]


@pytest.fixture(scope="module")
def pair(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        return run_twice(write(made, tmp_path_factory.mktemp("clearness") / "campaign"))


@pytest.mark.usefixtures("installed")
class TestClearness(StageTests):
    stage = "clearness"

    @pytest.fixture
    def campaign(self, made: Path, tmp_path: Path) -> Path:
        return write(made, tmp_path / "campaign")

    @pytest.fixture
    def finished(self, pair: tuple[Path, Path]) -> tuple[Path, Path]:
        return pair

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        return {path.name: path.read_text() for path in (campaign.folder / "clearness").glob("*")}


def wanted(classes: list[int]) -> list[float]:
    return [float(np.isin(pixels_of(number)["SCL@20m"], classes).mean()) for number in range(DATES)]


def test_a_campaign_and_a_step_after_it(installed: None, made: Path, tmp_path: Path) -> None:
    step = """\
steps:
  - name: count
    each: tile
    after: clearness
    command: "cp {file} {copy}"
    inputs: {file: "clearness/{tile}.json"}
    outputs: {copy: "{tile}.txt"}
"""
    path = write(made, tmp_path / "c", steps=step)
    result = run_campaign(load_campaign(path), QUIET, workers=2)
    assert result.exit_code == 0 and result.done["clearness"] == 1 and result.done["exec-count"] == 1
    np.testing.assert_allclose(shares(path), wanted([4, 5]), atol=1e-12)
    assert (path.parent / "count" / "31UFU.txt").read_text() == (path.parent / "clearness" / "31UFU.json").read_text()
    path.write_text(path.read_text().replace("[4, 5]", "[6]"))
    again = run_campaign(load_campaign(path), QUIET, workers=2)
    assert set(again.done) == {"clearness", "exec-count"}
    np.testing.assert_allclose(shares(path), wanted([6]), atol=1e-12)
    done = subprocess.run(
        [sys.executable, "-m", "hpckit", "report", path], capture_output=True, text=True, check=True
    )
    assert "clearness" in Path(done.stdout.strip()).read_text()


def test_in_jobs(installed: None, made: Path, tmp_path: Path) -> None:
    path = write(made, tmp_path / "c")
    for words in (["submit", path, "--site", "localhost"], ["watch", path]):
        done = subprocess.run([sys.executable, "-m", "hpckit", *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(shares(path), wanted([4, 5]), atol=1e-12)


def test_without_its_package_the_campaign_is_refused(made: Path, tmp_path: Path) -> None:
    path = write(made, tmp_path / "c")
    with pytest.raises(PlanError, match=r"extensions\.clearness: no installed package adds such a stage"):
        plan_campaign(load_campaign(path), QUIET)


def test_bad_settings_are_said(installed: None, made: Path, tmp_path: Path) -> None:
    path = write(made, tmp_path / "c", "{clearness: {klasses: [4]}}")
    with pytest.raises(CampaignError, match=r"extensions\.clearness"):
        plan_campaign(load_campaign(path), QUIET)

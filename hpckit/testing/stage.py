"""What every stage must do: a class of tests for pytest, that the tests of each stage derive from.

::

    class TestMine(StageTests):
        stage = "mine"

        @pytest.fixture
        def campaign(self, …) -> Path:
            return path_of_a_campaign_file_that_never_ran

        def outputs(self, campaign: Campaign) -> Mapping[str, object]:
            return {path.name: path.read_bytes() for path in folder.glob("*")}
"""
# ruff: noqa: D102 -- names of tests say what they check

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.production.driver import plan_campaign, run_campaign, verify_campaign
from hpckit.production.planning import Planned
from hpckit.runs.plan import Unit

QUIET = Console(quiet=True)


def _plan(path: Path) -> Planned:
    return plan_campaign(load_campaign(path), QUIET)[0]


class StageTests:
    """The contract of `hpckit.cubes.stage.Stage`."""

    stage: str
    """Its name."""

    @pytest.fixture
    def campaign(self) -> Path:
        """A campaign file in a folder of its own, that was never run, and in which the stage has units."""
        raise NotImplementedError

    @pytest.fixture
    def finished(self, campaign: Path) -> tuple[Path, Path]:
        """Two campaign files that were run; of stages with one campaign, one pair will do."""
        return run_twice(campaign)

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        """What the stage wrote, by name; values that can be compared with `==`."""
        raise NotImplementedError

    def test_units_are_named_and_described_in_json(self, campaign: Path) -> None:
        planned = _plan(campaign)
        units = planned.plan.of(self.stage)
        assert units and len({unit.id for unit in units}) == len(units)
        for unit in units:
            assert unit.id.startswith(f"{self.stage.removeprefix('exec-')}/") or unit.id.startswith("exec/")
            assert Unit(**{**_fields(unit), "args": json.loads(json.dumps(dict(unit.args)))}) == unit
            assert unit.inputs and math.isfinite(unit.cost) and unit.cost > 0
        assert {unit.id for unit in units} <= planned.plan.pending

    def test_planning_twice_gives_the_same(self, campaign: Path) -> None:
        first, second = _plan(campaign), _plan(campaign)
        assert first.plan.of(self.stage) == second.plan.of(self.stage)
        assert first.run.frozen == second.run.frozen

    def test_stages_that_it_follows_come_before_it(self, campaign: Path) -> None:
        names = [stage.name for stage in _plan(campaign).stages]
        mine = _plan(campaign).stage(self.stage)
        assert all(names.index(other) < names.index(self.stage) for other in mine.follows if other in names)

    def test_estimates_are_sensible(self, campaign: Path) -> None:
        planned = _plan(campaign)
        assert planned.tiles is not None
        stage = planned.stage(self.stage)
        assert 0 <= stage.memory(planned.tiles) < 2**37
        for item in stage.writes(planned.tiles, planned.plan, 2):
            assert item.nbytes >= 0 and item.files >= 0 and item.folder.is_absolute()

    def test_what_is_done_is_done_and_sound(self, finished: tuple[Path, Path]) -> None:
        planned, campaign = _plan(finished[0]), load_campaign(finished[0])
        assert planned.plan.of(self.stage) and not planned.plan.pending
        before = self.outputs(campaign)
        assert before
        again = run_campaign(campaign, QUIET, workers=2)
        assert again.exit_code == 0 and not again.done and self.outputs(campaign) == before
        assert verify_campaign(campaign, QUIET) == []

    def test_one_worker_gives_the_same_as_three(self, finished: tuple[Path, Path]) -> None:
        one, other = map(load_campaign, finished)
        assert self.outputs(one) == self.outputs(other)


def run_twice(campaign: Path) -> tuple[Path, Path]:
    """Run a campaign with one worker, and a copy of its folder with three; return both campaign files."""
    other = campaign.parent.with_name(f"{campaign.parent.name}-other") / campaign.name
    shutil.copytree(campaign.parent, other.parent)
    assert run_campaign(load_campaign(campaign), QUIET, workers=1).exit_code == 0
    assert run_campaign(load_campaign(other), QUIET, workers=3).exit_code == 0
    return campaign, other


def _fields(unit: Unit) -> dict[str, object]:
    return {"id": unit.id, "stage": unit.stage, "cost": unit.cost, "inputs": unit.inputs, "args": dict(unit.args)}

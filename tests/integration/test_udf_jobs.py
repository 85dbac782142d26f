"""Campaigns whose graphs run code of users: by workers on this machine, and by jobs of a real Slurm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import plan_campaign, run_campaign
from hpckit.sites.udf import UDF_SETTINGS, Udf
from tests import graph_examples, small_campaign
from tests.integration.campaigns import made_once

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

QUIET = Console(quiet=True)
MEDIAN = """
import xarray
def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:
    return cube.median("t", skipna=True)
"""


@pytest.fixture(scope="session")
def ingested(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small campaign with its cube; only to be read."""

    def run(folder: Path) -> None:
        campaign = load_campaign(small_campaign.copy(made, folder / "c"))
        assert run_campaign(campaign, QUIET, workers=2).exit_code == 0

    return made_once(tmp_path_factory, "ingested", run) / "c" / "campaign.yaml"


def graph(code: str) -> dict[str, object]:
    """The example of a median, by code of a user."""
    found = json.loads(json.dumps(graph_examples.masked_median()))
    arguments = {"data": {"from_parameter": "data"}, "udf": code, "runtime": "Python"}
    nodes = found.get("process_graph", found)
    nodes["median"]["arguments"]["reducer"] = {
        "process_graph": {"own": {"process_id": "run_udf", "arguments": arguments, "result": True}}
    }
    return found


def job(folder: Path, ingested: Path, code: str, image: Path, place: Path, **limits: object) -> Path:
    path = graph_examples.write_job(folder, graph(code), {"test": ingested}, memory_mib=128)
    settings = {
        "runtimes": {"Python": {"image": str(image)}},
        "limits": {"memory_mib": 400, "processes": 24, "disk_mib": 40, "seconds": 60, **limits},
        "scratch": str(place),
    }
    path.write_text(path.read_text().replace("memory_mib: 128}", f"memory_mib: 128, udf: {json.dumps(settings)}}}"))
    return path


def test_a_median_by_user_code_is_that_of_xarray(
    ingested: Path, tmp_path: Path, udf_image_file: Path, udf_place: Path, monkeypatch: pytest.MonkeyPatch
):
    path = job(tmp_path / "job", ingested, MEDIAN, udf_image_file, udf_place)
    result = run_campaign(load_campaign(path), QUIET, workers=2)
    assert result.exit_code == 0, result.failed
    (file,) = api.graph_results(path)
    with rasterio.open(file.path) as source:
        np.testing.assert_allclose(source.read(), graph_examples.expected_median(ingested), atol=1e-6)
    assert len(list(path.parent.glob("**/udf/*.json"))) == 1, "one trial for all workers"


def test_hostile_code_fails_its_units_with_the_limit_named(
    ingested: Path, tmp_path: Path, udf_image_file: Path, udf_place: Path
):
    endless = "    if cube.x.size > 16:\n        while True:\n            pass\n"
    code = f"def apply_datacube(cube, context):\n{endless}    return cube.median('t')\n"
    path = job(tmp_path / "job", ingested, code, udf_image_file, udf_place, seconds=4)
    result = run_campaign(load_campaign(path), QUIET, workers=2)
    assert result.exit_code == 1
    reasons = [str(failed.reason) for failed in result.failed if failed.stage == "graph"]
    assert reasons
    assert all("limit: seconds" in reason and "median.reducer.own" in reason for reason in reasons), reasons


def test_code_that_fails_its_trial_is_never_planned(
    ingested: Path, tmp_path: Path, udf_image_file: Path, udf_place: Path
):
    path = job(tmp_path / "job", ingested, MEDIAN.replace('"t"', '"time"'), udf_image_file, udf_place)
    with pytest.raises(Exception, match="line 4 of the code"):
        plan_campaign(load_campaign(path), QUIET)


def test_what_is_offered_is_what_can_run(udf_image_file: Path, udf_place: Path, monkeypatch: pytest.MonkeyPatch):
    assert api.udf_runtimes() == {} and "run_udf" not in {item["id"] for item in api.graph_processes()}
    settings = Udf.model_validate({"runtimes": {"Python": {"image": str(udf_image_file), "version": "3.11"}}})
    monkeypatch.setenv(UDF_SETTINGS, settings.model_dump_json(exclude_defaults=True))
    assert api.udf_runtimes()["Python"]["default"] == "3.11"
    assert "run_udf" in {item["id"] for item in api.graph_processes()}
    monkeypatch.delenv("HPCKIT_APPTAINER")
    monkeypatch.setenv("PATH", "/nowhere")
    assert api.udf_runtimes() == {} and "run_udf" not in {item["id"] for item in api.graph_processes()}

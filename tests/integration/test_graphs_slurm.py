"""Process graphs as job arrays of a real Slurm: the same pixels as on one machine, also after scancel in mid-work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

import hpckit
from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.resubmit import resubmit
from hpckit.jobs.submit import submit_campaign
from hpckit.production.driver import run_campaign, verify_campaign
from hpckit.runs.run import find_run
from tests import graph_examples, small_campaign
from tests.integration.test_slurm_run import begun, finish, site, slow, undone
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

QUIET = Console(quiet=True)
THIS_CODE = f"environment: {{PYTHONPATH: {json.dumps(str(Path(hpckit.__file__).parents[1]))}}}\n"


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    path = small_campaign.copy(made, tmp_path / "it's a collection")
    assert run_campaign(load_campaign(path), QUIET, workers=2).exit_code == 0
    return path


def test_a_graph_on_slurm_that_is_cancelled_in_between(slurm, source: Path, tmp_path: Path):
    graph = graph_examples.masked_median()
    path = api.prepare_graph(graph, {"test": source}, tmp_path / "it's a job", title="Median\nof clear dates")
    path.write_text(path.read_text() + "    memory_mib: 64\n")
    campaign = load_campaign(path)
    lab = site(tmp_path, more=slow(tmp_path, 0) + THIS_CODE)
    submission = submit_campaign(campaign, lab, QUIET)
    assert submission is not None and [job.stage for job in submission.jobs] == ["graph", "results"]
    until(lambda: any(line.startswith("graph/") for line in begun(tmp_path)), 240, "for the first unit of the graph")
    slurm.run("scancel", "--user=root", check=False)
    finish(submission)
    if undone(campaign):
        finish(resubmit(find_run(path), QUIET, request=Request()))
    assert undone(campaign) == 0 and verify_campaign(campaign, QUIET) == []
    (file,) = api.graph_results(path)
    with rasterio.open(file.path) as opened:
        np.testing.assert_allclose(opened.read(), graph_examples.expected_median(source), atol=1e-6)
    assert submit_campaign(campaign, lab, QUIET) is None

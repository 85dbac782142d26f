"""A model as job arrays of a real Slurm: the same map as on one machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hpckit
from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.jobs.submit import submit_campaign
from tests.integration.test_functions import mapped, predicting, read  # noqa: F401 -- a fixture
from tests.integration.test_graphs import ingested  # noqa: F401 -- a fixture
from tests.integration.test_slurm_run import finish, site, slow, undone

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

THIS_CODE = f"environment: {{PYTHONPATH: {json.dumps(str(Path(hpckit.__file__).parents[1]))}}}\n"


def test_a_map_on_slurm(slurm, mapped: Path, tmp_path: Path):  # noqa: F811
    path = predicting(tmp_path / "it's a job", mapped, model=str(mapped.parent / "forest.joblib"))
    campaign = load_campaign(path)
    lab = site(tmp_path, more=slow(tmp_path, 0) + THIS_CODE)
    submission = submit_campaign(campaign, lab, Console(quiet=True))
    assert submission is not None and [job.stage for job in submission.jobs] == ["graph", "results"]
    finish(submission)
    assert undone(campaign) == 0 and api.verify(path) == []
    np.testing.assert_array_equal(read(path), read(mapped, "crops"))
    html = api.status(path)._repr_html_()
    assert "graph" in html and "succeeded" in html and f"Submission {submission.number}" in html
    shown = api.watch(path)
    assert shown.submission is not None and shown.submission.is_over

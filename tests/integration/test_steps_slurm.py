"""Steps as job arrays of a real Slurm: products first, scripts over tiles after ingest, scancel in mid-command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.resubmit import resubmit
from hpckit.jobs.submit import submit_campaign
from hpckit.production.driver import run_campaign
from hpckit.runs.run import find_run
from hpckit.submissions.submission import Submission
from tests import small_campaign, step_examples
from tests.integration.test_slurm_run import finish, site, status, undone
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

QUIET = Console(quiet=True)
TWO = "{ranks: 2}"


def stages(submission: Submission | None) -> list[str]:
    assert submission is not None
    return [job.stage for job in submission.jobs]


def test_products_first_then_what_is_made_from_them(slurm, tmp_path: Path):
    here = load_campaign(step_examples.speckle(tmp_path / "here"))
    assert run_campaign(here, QUIET, workers=1).exit_code == 0
    campaign = load_campaign(step_examples.speckle(tmp_path / "it's there"))
    first = submit_campaign(campaign, site(tmp_path, default=TWO), QUIET)
    assert stages(first) == ["exec-filter"]
    assert first is not None and first.jobs[0].resources.memory_mib >= 2048
    finish(first)
    assert undone(campaign) == 0
    second = submit_campaign(campaign, site(tmp_path), QUIET)
    assert "exec-filter" not in stages(second) and {"ingest", "signatures"} <= set(stages(second))
    finish(second)
    assert undone(campaign) == 0
    small_campaign.same(small_campaign.results(here), small_campaign.results(campaign))
    assert submit_campaign(campaign, site(tmp_path), QUIET) is None


def test_a_product_that_fails_holds_nothing_up(slurm, tmp_path: Path):
    path = step_examples.speckle(tmp_path / "c")
    broken = next((path.parent / "rtc").rglob("*_053685_*/measurement/iw-vh.rtc.tiff"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:3000])
    campaign = load_campaign(path)
    finish(submit_campaign(campaign, site(tmp_path), QUIET))
    second = submit_campaign(campaign, site(tmp_path), QUIET)
    assert {"exec-filter", "ingest", "signatures"} <= set(stages(second))
    finish(second)
    done = {stage.stage: (stage.done, stage.failed) for stage in status(campaign).stages}
    assert done["exec-filter"] == (1, 1) and done["signatures"] == (1, 0)
    broken.write_bytes(whole)
    finish(resubmit(find_run(path), QUIET, request=Request()))
    finish(submit_campaign(campaign, site(tmp_path), QUIET))
    assert undone(campaign) == 0 and len(small_campaign.results(campaign)) == 4


def test_a_script_waits_for_ingest(slurm, tmp_path: Path):
    campaign = load_campaign(step_examples.greening(tmp_path / "c"))
    submission = submit_campaign(campaign, site(tmp_path), QUIET)
    assert stages(submission) == ["ingest", "exec-amplitude"]
    assert submission is not None and submission.jobs[1].follows == ("ingest",)
    finish(submission)
    assert undone(campaign) == 0 and len(list((tmp_path / "c" / "amplitude").glob("*.tif"))) == 1


def test_scancel_ends_the_command_and_gives_the_unit_back(slurm, tmp_path: Path):
    folder = tmp_path / "c"
    folder.mkdir()
    small_campaign.make(folder)
    script = 'echo $$ >> "$HERE/pids"; [ -e "$HERE/go" ] || sleep 600; echo done > "$1"'
    (folder / "campaign.yaml").write_text(
        f"""\
name: own
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {{paths: [scenes]}}
cube: {{bands: [SCL]}}
steps:
  - name: own
    each: scene
    command: {json.dumps(["sh", "-c", script, "x", "{text}"])}
    environment: {{HERE: {json.dumps(str(tmp_path))}}}
    outputs: {{text: "{{id}}"}}
    memory_mib: 64
"""
    )
    campaign = load_campaign(folder / "campaign.yaml")
    submission = submit_campaign(campaign, site(tmp_path), QUIET)
    assert submission is not None
    pids = tmp_path / "pids"
    until(lambda: pids.exists())
    identifier = next(item.id for item in submission.submitted() if item.stage == "exec-own")
    slurm.run("scancel", identifier)
    finish(submission)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.read_text().split()))
    (own,) = (stage for stage in status(campaign).stages if stage.stage == "exec-own")
    assert (own.done, own.failed, own.waiting) == (0, 0, small_campaign.DATES)
    assert not list((folder / "own").iterdir())
    (tmp_path / "go").touch()
    finish(resubmit(find_run(campaign.path), QUIET, request=Request()))
    assert undone(campaign) == 0 and len(list((folder / "own").iterdir())) == small_campaign.DATES

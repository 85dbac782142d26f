"""Edits, plans and damage around submissions to a real Slurm: store and cube are those of fresh folders.

Once with a GeoPackage, and once with PostGIS, into which the last job of each chain loads the results.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.jobs.submit import submit_campaign
from hpckit.production.driver import plan_campaign
from hpckit.runs.run import open_run
from hpckit.sites.scheduler.model import State
from hpckit.sites.site import Site
from hpckit.submissions.submission import Submission
from tests.changing import QUIET, Folder, Settings, Shelf, content, equal
from tests.integration.test_slurm_run import finish, logs_of, site
from tests.servers.slurm import SlurmCluster

pytestmark = [pytest.mark.integration, pytest.mark.slow]

A = Settings()
B = Settings(index="B08 / (B04 + 1)", mask="vegetation")
SCENES = frozenset({(0, 0), (1, 0)})


def load(it: Folder) -> Campaign:
    return load_campaign(it.path)


def is_that_of(it: Folder, settings: Settings) -> None:
    """Store and cube are those of a folder that saw nothing but these settings."""
    equal(content(load(it)), it.shelf.fresh(settings, SCENES))


def come_to_an_end(submission: Submission | None) -> None:
    assert submission is not None
    assert set().union(*finish(submission).values()) == {State.SUCCEEDED}, logs_of(submission)


def submit_to_the_end(it: Folder, lab: Site) -> Submission | None:
    """All that a user does after an edit."""
    submission = submit_campaign(load(it), lab, QUIET)
    if submission is not None:
        assert [job.stage for job in submission.jobs][-1] == "sync"
        come_to_an_end(submission)
    return submission


def submit_plan_other_and_let_go(it: Folder, lab: Site, slurm: SlurmCluster) -> None:
    """A is in the queue while the file becomes B and is planned."""
    for node in slurm.nodes:
        slurm.drain(node)
    try:
        submission = submit_campaign(load(it), lab, QUIET)
        assert submission is not None
        it.edit(index=B.index, mask=B.mask)
        planned, _ = plan_campaign(load(it), QUIET)
        assert planned.plan.pending, "B is planned, and not computed"
        ids = ",".join(item.id for item in submission.submitted())
        assert slurm.run("squeue", "-h", "-t", "RUNNING,COMPLETED", "-j", ids).stdout == "", "nothing of A has begun"
    finally:
        for node in slurm.nodes:
            slurm.resume(node)
    come_to_an_end(submission)
    assert submission.frozen == open_run(load(it)).frozen


def harm(it: Folder) -> None:
    """Delete one segment and one shard."""
    folder = it.path.parent
    min((folder / "test.run" / "spool").glob("*.h5")).unlink()
    min(path for path in (folder / "cube.zarr").rglob("c/*/*/*") if path.is_file()).unlink()


@pytest.fixture(params=["geopackage", pytest.param("postgis", marks=pytest.mark.postgis)])
def store(request: pytest.FixtureRequest) -> str:
    """The lines of the campaign file that name the store."""
    if request.param == "geopackage":
        return ""
    return f"store: {{dsn: '{request.getfixturevalue('postgis_dsn')}', schema: through_slurm}}"


def test_edits_and_damage_between_submissions(slurm: SlurmCluster, tmp_path: Path, store: str) -> None:
    shelf, folder = Shelf(tmp_path / "shelf"), tmp_path / "c"
    shelf.start(folder)
    it = Folder(shelf, folder / "campaign.yaml", store, settings=A, present=set(SCENES))
    it.write()
    for product in SCENES:
        shelf.put(product, folder)
    lab = site(tmp_path, more="sync: job\n")
    submit_plan_other_and_let_go(it, lab, slurm)
    is_that_of(it, A)
    assert submit_to_the_end(it, lab)
    is_that_of(it, B)
    it.edit(index=A.index, mask=A.mask)
    only_sync = submit_campaign(load(it), lab, QUIET)  # its results are all there: the store is not
    assert only_sync is not None and [job.stage for job in only_sync.jobs] == ["sync"]
    come_to_an_end(only_sync)
    is_that_of(it, A)
    assert submit_to_the_end(it, lab) is None, "the store holds all that there is"
    harm(it)
    assert submit_to_the_end(it, lab)
    is_that_of(it, A)
    it.edit(period="first")  # no unit is left to do, and the store has rows of later dates
    submit_to_the_end(it, lab)
    equal(content(load(it)), it.shelf.fresh(it.settings, it.used()))

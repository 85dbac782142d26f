"""Results of jobs end after some days: who is told what, when files are removed, and what polling clients see."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpckit.serve.openeo import descriptions
from hpckit.serve.openeo.expiring import remove_results
from hpckit.serve.openeo.follower import Follower
from hpckit.serve.openeo.jobfolder import Job, JobFolder, State, create, new_id, stamp, tidy
from hpckit.submissions import attempts
from tests.asgi import ask
from tests.unit.look_samples import make_campaign
from tests.unit.serve_samples import ANNA, serve
from tests.unit.test_openeo_door import ROOT, token_of

pytestmark = pytest.mark.slow

DAYS = 10
DAY_S = 86_400


def finished(folder: Path, days_ago: float, user: str = "anna") -> JobFolder:
    """A job with a file, whose run has ended some days ago."""
    now = stamp()
    job = create(folder, Job(new_id(), user, {"process_graph": {}}, now, now, "localhost", key="k1"))
    job.want("run")
    job.results.mkdir()
    (job.results / "a.tif").write_bytes(b"pixels")
    known = {"path": "results/a.tif", "media_type": "image/tiff", "title": "a", "roles": ["data"], "bands": []}
    (job.path / "results.json").write_text(json.dumps([known]))
    ended(job, days_ago)
    return job


def ended(job: JobFolder, days_ago: float, **changes: Any) -> None:
    state = replace(State(1, "finished", 0.0, progress=100.0), **changes)
    written = job.write_state(state)
    path = job.path / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"updated": time.time() - days_ago * DAY_S}))
    assert written.status == state.status


def test_files_go_when_their_time_is_over_and_the_job_stays(tmp_path: Path) -> None:
    old, new = finished(tmp_path, DAYS + 0.1), finished(tmp_path, DAYS - 0.1)
    before = old.state()
    assert remove_results(old, DAYS, time.time()) and not remove_results(new, DAYS, time.time())
    assert not old.results.exists() and new.results.exists()
    after = old.state()
    assert before is not None and after == replace(before, expired=True), "when it ended is still known"
    assert "kept for 10 days" in old.log.read_text()
    assert not remove_results(old, DAYS, time.time()), "once is enough"
    assert not list(tmp_path.glob(".gone-*"))


@pytest.mark.parametrize("status", ["error", "canceled", "running", "queued"])
def test_files_of_jobs_that_are_not_finished_stay(tmp_path: Path, status: str) -> None:
    job = finished(tmp_path, 100)
    ended(job, 100, status=status)
    assert not remove_results(job, DAYS, time.time()) and (job.results / "a.tif").exists()


@pytest.mark.parametrize("want", ["run", "stop", "delete"])
def test_what_the_owner_wants_now_comes_first(tmp_path: Path, want: Any) -> None:
    job = finished(tmp_path, 100)
    job.want(want)
    assert not remove_results(job, DAYS, time.time()) and (job.results / "a.tif").exists()


def test_nothing_is_removed_while_something_works_in_the_folder(tmp_path: Path) -> None:
    job = finished(tmp_path, 100)
    submission = job.path / "job.run" / "submissions" / "001"
    submission.mkdir(parents=True)
    with attempts.announced(submission, "graph", 0, 1):
        assert not remove_results(job, DAYS, time.time()) and (job.results / "a.tif").exists()
    assert remove_results(job, DAYS, time.time())


def test_a_follower_that_is_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the files were moved aside, and before that was written."""
    job = finished(tmp_path, 100)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(JobFolder, "write_expired", _killed)
        remove_results(job, DAYS, time.time())
    assert list(tmp_path.glob(".gone-*"))
    tidy(tmp_path)
    assert remove_results(job, DAYS, time.time()) and not list(tmp_path.glob(".gone-*"))


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_follower_removes_what_has_ended_and_nothing_without_the_setting(tmp_path: Path) -> None:
    old, new = finished(tmp_path, DAYS + 1), finished(tmp_path, 1)
    for days, is_there in ((None, True), (DAYS, False)):
        follower = Follower(tmp_path, 1.0, days)
        follower.look()
        follower.look()
        follower._pool.shutdown(wait=True)
        assert old.results.exists() == is_there and new.results.exists()


def test_links_and_documents_end_with_the_results(tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    campaign = make_campaign(tmp_path / "sample")
    folder = tmp_path / "jobs"
    service, app = serve(
        tmp_path / "served", campaign, doors=["openeo"], openeo={"result_days": DAYS, "jobs": str(folder)}
    )
    try:
        anna = token_of(app, ANNA)
        user = ask(app, f"{ROOT}/me", headers=anna).json["user_id"]
        old, new = (finished(folder / "jobs", days, user) for days in (DAYS + 1, DAYS - 3))
        told = ask(app, f"{ROOT}/jobs/{new.id}/results", headers=anna).json
        left = time.mktime(time.strptime(told["properties"]["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.time()
        assert 2.9 < (left - time.timezone) / DAY_S < 3.1, "sooner than the links"
        gone = ask(app, f"{ROOT}/jobs/{old.id}/results", headers=anna)
        assert gone.status == 410 and gone.json["code"] == "ResultLinkExpired" and "is over" in gone.json["message"]
        (asset,) = told["assets"].values()
        address = asset["href"].partition("//")[2].partition("/")[2]
        assert ask(app, f"/{address}").status == 200
        ended(new, DAYS + 1)
        assert ask(app, f"/{address}").status == 410
        assert ask(app, f"{ROOT}/jobs/{old.id}", headers=anna).json["status"] == "finished"
    finally:
        service.close()


def test_a_graph_is_read_once_however_its_job_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, told, reads = finished(tmp_path, 1), descriptions.Descriptions(), list[str]()
    read = JobFolder.job
    monkeypatch.setattr(JobFolder, "job", lambda folder: reads.append(folder.id) or read(folder))
    for number, status in ((2, "queued"), (3, "running"), (4, "finished")):
        job.write_state(State(1, status, 0.0, progress=number))
        found = json.loads(told.body(job))
        assert found["progress"] == number and found["status"] == status and found["process"] == {"process_graph": {}}
        assert told.head(job).process == {} and told.head(job).user == "anna"
    assert reads == [job.id]
    job.write_job(replace(read(job), process={"process_graph": {"ü": {}}}))
    assert json.loads(told.body(job))["process"] == {"process_graph": {"ü": {}}}
    assert reads == 2 * [job.id]


def test_clients_that_poll_are_told_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptions, "_MOST_BYTES", 700)
    monkeypatch.setattr(descriptions, "_MOST_HEADS", 1)
    (tmp_path / "sample").mkdir()
    campaign, folder = make_campaign(tmp_path / "sample"), tmp_path / "jobs"
    service, app = serve(tmp_path / "served", campaign, doors=["openeo"], openeo={"jobs": str(folder)})
    try:
        anna = token_of(app, ANNA)
        user = ask(app, f"{ROOT}/me", headers=anna).json["user_id"]
        one, other = (finished(folder / "jobs", 1, user) for _ in range(2))

        def told(job: JobFolder) -> tuple[str, float, str | None]:
            found = ask(app, f"{ROOT}/jobs/{job.id}", headers=anna).json
            return found["status"], found["progress"], found.get("title")

        for job in (one, other, one):
            assert told(job) == told(job) == ("finished", 100.0, None)
        one.write_job(replace(one.job(), title="Früchte"))
        assert told(one) == ("finished", 100.0, "Früchte")
        one.want("run")
        assert told(one) == ("queued", 0.0, "Früchte")
        one.write_state(State(2, "running", 0.0, progress=30))
        assert told(one) == ("running", 30.0, "Früchte") and told(other) == ("finished", 100.0, None)
    finally:
        service.close()

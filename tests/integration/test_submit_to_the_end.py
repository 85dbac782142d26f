"""`submit` brings a campaign to its end: it submits what is needed, if only the sync, or says that nothing is."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import FileUnavailableError
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.resubmit import resubmit
from hpckit.jobs.submit import submit_campaign
from hpckit.production.driver import run_campaign
from hpckit.production.sync import sync
from hpckit.runs.run import find_run
from hpckit.sites.scheduler.model import State
from hpckit.submissions.submission import Submission
from tests.faulty import faulty, hpckit, needs_cc
from tests.integration.test_local_queue import finish, queue, site, slow  # noqa: F401
from tests.small_campaign import copy, results, same
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1"


class Words(Console):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def campaign(made: Path, tmp_path: Path) -> Campaign:
    return load_campaign(copy(made, tmp_path / "campaign"))


def stages(submission: Submission | None) -> list[str]:
    assert submission is not None
    return [job.stage for job in submission.jobs]


def change(campaign: Campaign, old: str, new: str) -> Campaign:
    text = campaign.path.read_text()
    assert old in text
    campaign.path.write_text(text.replace(old, new))
    return load_campaign(campaign.path)


def test_what_the_store_lacks_is_loaded_by_a_sync_alone(campaign, expected, tmp_path):
    here = site(tmp_path)
    assert run_campaign(campaign, Console(quiet=True), workers=2, with_sync=False).exit_code == 0
    for lose in (lambda: None, campaign.store_path.unlink, lambda: _forget_a_unit(campaign.store_path)):
        lose()
        words = Words()
        submission = submit_campaign(campaign, here, words)
        assert stages(submission) == ["sync"] and words.said == []
        assert finish(submission) == {"sync": {State.SUCCEEDED}}
        same(results(campaign), expected)
        assert submit_campaign(campaign, here, words) is None
        assert words.said == ["nothing is left to do: all 17 units are done, and the store holds their results"]


def _forget_a_unit(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE observation SET inputs = 'older' WHERE id = (SELECT MIN(id) FROM observation)")


def test_a_renamed_reduction_leaves_no_rows_of_the_old_name(campaign, tmp_path):
    here = site(tmp_path)
    finish(submit_campaign(campaign, here, Console(quiet=True)))
    (name,) = [item.name for item in campaign.signatures]
    renamed = change(campaign, f"name: {name}", f"name: {name}2")
    finish(submit_campaign(renamed, here, Console(quiet=True)))
    back = change(renamed, f"name: {name}2", f"name: {name}")
    submission = submit_campaign(back, here, Console(quiet=True))
    assert stages(submission) == ["sync"], "its results are there"
    finish(submission)
    with sqlite3.connect(back.store_path) as db:
        assert db.execute("SELECT name FROM hpckit_reduction").fetchall() == [(name,)]


@pytest.mark.parametrize("how", ["job", "login"])
def test_a_database_that_does_not_answer_is_asked_by_the_sync(campaign, tmp_path, how):
    remote = change(campaign, "aoi:", f"store: {{dsn: '{NOWHERE}'}}\naoi:")
    assert run_campaign(remote, Console(quiet=True), workers=2, with_sync=False).exit_code == 0
    words = Words()
    submission = submit_campaign(remote, site(tmp_path, f"sync: {how}\n"), words)
    if how == "login":
        assert submission is None
        assert f"run `hpckit sync {remote.path}` here" in words.said[-1]
        return
    assert stages(submission) == ["sync"]
    assert finish(submission) == {"sync": {State.FAILED}}
    shown = hpckit("watch", remote.path)
    assert shown.returncode == 1 and "the sync did not succeed" in shown.stderr


def test_only_failed_units_where_none_has_failed(campaign, tmp_path):
    here, words = site(tmp_path), Words()
    submission = submit_campaign(campaign, site(tmp_path, slow(tmp_path)), words)
    hpckit("cancel", campaign.path)
    until(lambda: submission.is_over, what="for the end")
    until(lambda: "working" not in hpckit("status", campaign.path).stdout)
    run, words = find_run(campaign.path), Words()
    assert resubmit(run, words, request=Request(), site=here, only_failed=True) is None
    assert "of 17 units are not done, but no unit has failed" in words.said[-1]
    assert f"`hpckit retry {campaign.path}`" in words.said[-1]


def test_composites_whose_collection_is_lost_are_published_by_the_sync(campaign, tmp_path):
    text = "  - {name: best, kind: composite, bands: [B04], methods: [median], period: month}\n"
    both = change(campaign, "reductions:\n", f"reductions:\n{text}")
    here = site(tmp_path)
    finish(submit_campaign(both, here, Console(quiet=True)))
    assert submit_campaign(both, here, Console(quiet=True)) is None
    (collection,) = both.folder.rglob("collection.json")
    before = collection.read_text()
    for harm in (collection.unlink, lambda: collection.write_text("{}")):
        harm()
        submission = submit_campaign(both, here, Console(quiet=True))
        assert stages(submission) == ["sync"]
        finish(submission)
        assert collection.read_text() == before
    assert submit_campaign(both, here, Console(quiet=True)) is None


def test_jobs_to_submit_by_hand_are_only_those_that_are_needed(campaign, expected, tmp_path):
    site(tmp_path)
    assert run_campaign(campaign, Console(quiet=True), workers=2, with_sync=False).exit_code == 0
    words = ("submit", campaign.path, "--site", tmp_path / "here.yaml", "--dry-run", "-o", tmp_path / "scripts")
    made = hpckit(*words)
    assert made.returncode == 0 and [path.name for path in (tmp_path / "scripts").iterdir()] == ["sync.sh"]
    assert sync(campaign, find_run(campaign.path), Console(quiet=True)).exit_code == 0
    again = hpckit(*words)
    assert again.returncode == 0 and "nothing is left to do: all 17 units are done" in again.stderr
    same(results(campaign), expected)


@needs_cc
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_products_that_cannot_be_read_now_are_75_at_every_command(campaign, expected, tmp_path, number):
    """Of what can be read, jobs are submitted; the rest is submitted when it can be read."""
    (hidden, *_) = sorted((campaign.folder / "scenes").iterdir())
    env = faulty("scandir,open", f"/scenes/{hidden.name}", number)
    here = tmp_path / "here.yaml"
    site(tmp_path)
    more = (("plan", "--site", here), ("plan", "--json")) if number == errno.EIO else ()
    for command in (("check",), ("plan",), ("run", "--workers", "1"), *more):
        done = hpckit(command[0], campaign.path, *command[1:], env=env)
        assert done.returncode == 75, (command, done.stderr)
    nothing = hpckit("submit", campaign.path, "--site", here, env=env)
    assert nothing.returncode == 75 and "nothing is left to submit" in nothing.stderr
    if number != errno.EIO:
        return  # what follows reads all products, as if nothing had been
    with pytest.raises(FileUnavailableError):
        _submit_with(campaign, here, hidden)
    done = hpckit("submit", campaign.path, "--site", here)
    assert done.returncode == 0, done.stderr
    assert hpckit("watch", campaign.path).returncode == 0
    same(results(campaign), expected)


def _submit_with(campaign: Campaign, here: Path, hidden: Path) -> None:
    """In this process, with the API."""
    from hpckit.base import reading
    from hpckit.catalogue import catalogue
    from hpckit.sites.site import load_site

    fault = reading.unavailable(hidden, OSError(errno.EIO, "refused"))
    with pytest.MonkeyPatch.context() as broken:
        read = catalogue.read_scenes

        def refuse(path: Path, among):
            if path == hidden:
                from hpckit.errors import SceneError

                raise SceneError(f"{path.name}: cannot be read") from fault
            return read(path, among)

        broken.setattr(catalogue, "read_scenes", refuse)
        (campaign.run_dir / "scenes.parquet").unlink(missing_ok=True)
        submit_campaign(campaign, load_site(here), Console(quiet=True))

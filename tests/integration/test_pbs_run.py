"""Whole campaigns as PBS job arrays, on a stand-in that answers and refuses as OpenPBS 23.06 does."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpckit.arrays import Request
from hpckit.campaign import Campaign, load_campaign
from hpckit.console import Console
from hpckit.errors import SchedulerError, SchedulerUnavailableError, SubmissionError
from hpckit.follow import Seen, look
from hpckit.journal import read_journal
from hpckit.probe.check import check
from hpckit.probe.facts import gather
from hpckit.probe.sitefile import site_file
from hpckit.resubmit import resubmit
from hpckit.run import find_run
from hpckit.scheduler.model import Answer, Command, State
from hpckit.scheduler.pbs import Pbs
from hpckit.scheduler.runner import LocalRunner
from hpckit.site import Site, load_site
from hpckit.status import read_status
from hpckit.submission import Submission, latest
from hpckit.submit import cancel, submit_campaign
from hpckit.testing.pbs import PbsServer
from tests.small_campaign import copy, results, same

pytestmark = [pytest.mark.integration, pytest.mark.slow]

QUIET = Console(quiet=True)


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch) -> Iterator[PbsServer]:
    (tmp_path / "home").mkdir()
    queues = {"workq": {"resources_max.walltime": "02:00:00"}}
    with PbsServer(tmp_path / "pbs", queues, ncpus=2, home=tmp_path / "home", kill_delay_s=3) as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def campaign(made: Path, tmp_path: Path) -> Campaign:
    return load_campaign(copy(made, tmp_path / "campaign"))


def site(tmp_path: Path, more: str = "", default: str = "{ranks: 1}", walltime: str = "2h") -> Site:
    path = tmp_path / "lab.yaml"
    path.write_text(
        "name: lab\nscheduler: pbs\n"
        f"partitions: [{{name: workq, cores: 2, memory_mib: 8000, walltime: {walltime}}}]\n"
        f"stages: {{default: {default}}}\npoll: {{first_s: 0.5, submit_pause_s: 0}}\n{more}"
    )
    return load_site(path)


def slow(tmp_path: Path, seconds: float) -> str:
    script = tmp_path / "slow-hpckit"
    script.write_text(
        f"#!{sys.executable}\nimport time\nimport hpckit.worker as worker\nexecute = worker.execute\n"
        "def slowly(context, unit):\n"
        f"    time.sleep({seconds} if unit.stage == 'ingest' else 0)\n"
        "    return execute(context, unit)\n"
        "worker.execute = slowly\nfrom hpckit.cli import main\nmain()\n"
    )
    script.chmod(0o755)
    return f"command: {script}\n"


def runner() -> LocalRunner:
    return LocalRunner(Pbs.unset, 60)


def ask(submission: Submission) -> list[Seen]:
    (submission.path / "seen.json").unlink(missing_ok=True)
    return look(submission, Pbs(), runner())


def until(condition, timeout_s: float = 90, what: str = "") -> None:
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, f"waited too long {what}"
        time.sleep(0.2)


def finish(submission: Submission | None) -> dict[str, set[State]]:
    assert submission is not None
    until(lambda: ask(submission) and submission.is_over, what="for the end of the submission")
    states: dict[str, set[State]] = {}
    for item in ask(submission):
        states.setdefault(item.stage, set()).add(item.sighting.state)
    return states


def ingested(campaign: Campaign) -> set[str]:
    return {e.unit for e in read_journal(campaign.run_dir) if e.state == "done" and e.stage == "ingest"}


def undone(campaign: Campaign) -> int:
    return sum(stage.failed + stage.waiting for stage in read_status(find_run(campaign.path)).stages)


def test_a_campaign_gives_the_results_of_one_machine(pbs, campaign, expected, tmp_path):
    submission = submit_campaign(campaign, site(tmp_path, default="{ranks: 1, walltime: 1s}"), QUIET)
    ids = {item.stage: item.id for item in submission.submitted()}
    assert re.fullmatch(r"\d+\[\]\.vm", ids["ingest"]), "several elements are an array"
    assert re.fullmatch(r"\d+\.vm", ids["reduce"]), "a single one is a plain job"
    assert set().union(*finish(submission).values()) == {State.SUCCEEDED}
    same(results(campaign), expected)
    assert len(list((submission.path / "logs").glob("ingest.*.out"))) == submission.stage("ingest").elements


def test_a_site_without_arrays_gets_a_job_for_each_element(pbs, campaign, expected, tmp_path):
    more = "arrays: {supported: false}\njob_wide: true\n"
    submission = submit_campaign(campaign, site(tmp_path, more, "{ranks: 1, walltime: 1s}"), QUIET)
    ingest = [item for item in submission.submitted() if item.stage == "ingest"]
    assert len(ingest) == submission.stage("ingest").elements > 1
    finish(submission)
    same(results(campaign), expected)


def test_a_failing_element_is_found_though_the_array_says_that_all_went_well(pbs, campaign, expected, tmp_path):
    """The parent takes the exit status of the subjob that ended last."""
    lab = site(tmp_path, slow(tmp_path, 0.6), "{ranks: 1, walltime: 1s}")
    submission = submit_campaign(campaign, lab, QUIET)
    (array,) = [item.id for item in submission.submitted() if item.stage == "ingest"]
    until(lambda: len(ingested(campaign)) >= 1, what="for a unit")
    pbs.run("qdel", array.replace("[]", "[0]"))
    finish(submission)
    assert pbs.attributes(array)[array].get("Exit_status") in ("0", "1")
    assert undone(campaign) > 0
    finish(resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path)))
    assert undone(campaign) == 0
    same(results(campaign), expected)


def test_a_walltime_that_is_reached_is_told_and_made_longer(pbs, campaign, expected, tmp_path):
    # Half a minute before the end no further unit is begun: there is time for some.
    lab = site(tmp_path, slow(tmp_path, 9), walltime="60s")
    submission = submit_campaign(campaign, lab, QUIET)
    states = finish(submission)
    assert states["ingest"] <= {State.TIMEOUT, State.FAILED}
    done = ingested(campaign)
    assert 0 < len(done) < 12
    gate = json.loads((submission.path / "gate-reduce.json").read_text())
    assert gate["open"] is False
    again = resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path, slow(tmp_path, 0)))
    assert again.stage("ingest").units == 12 - len(done)
    finish(again)
    same(results(campaign), expected)


def test_cancel_and_a_server_that_is_away(pbs, campaign, expected, tmp_path):
    lab = site(tmp_path, slow(tmp_path, 1))
    submission = submit_campaign(campaign, lab, QUIET)
    until(lambda: len(ingested(campaign)) >= 1, what="for a unit")
    assert cancel(submission, Pbs(), runner()) == 5
    until(lambda: all(item.sighting.state.is_over for item in ask(submission)), what="for the end")
    pbs.stop()
    with pytest.raises(SchedulerUnavailableError, match="PBS does not answer"):
        ask(submission)
    pbs.start()
    finish(resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path)))
    same(results(campaign), expected)


class Failing:
    """Runs commands, and refuses from the n-th submission on."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, command: Command) -> Answer:
        if command.argv[0] == "qsub":
            self.n -= 1
            if self.n < 0:
                return Answer(command, 188, "", "qsub: Job violates queue and/or server resource limits")
        return runner()(command)


def test_a_chain_that_is_refused_half_way_leaves_nothing_behind(pbs, campaign, expected, tmp_path):
    with pytest.raises(SchedulerError, match="violates queue"):
        submit_campaign(campaign, site(tmp_path), QUIET, runner=Failing(3))
    assert latest(campaign.run_dir).has("abandoned")
    listed = Pbs().read_query(runner()(Command(("qstat", "-t"))))
    assert not [sighting for sighting in listed if not sighting.state.is_over]
    finish(submit_campaign(campaign, site(tmp_path), QUIET))
    same(results(campaign), expected)


def test_what_pbs_refuses_is_said(pbs, campaign, made, tmp_path):
    wrong = site(tmp_path)
    wrong = wrong.model_copy(update={"partitions": [wrong.partitions[0].model_copy(update={"name": "nosuch"})]})
    with pytest.raises(SchedulerError, match="Unknown queue"):
        submit_campaign(campaign, wrong, QUIET)
    spaced = load_campaign(copy(made, tmp_path / "with space"))
    with pytest.raises(SubmissionError, match="PBS cannot be told"):
        submit_campaign(spaced, site(tmp_path), QUIET)


def test_probe_and_check(pbs, tmp_path, monkeypatch):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "sinfo" else which(name))
    facts = gather(runner())
    assert facts.scheduler == "pbs" and facts.array_size == 10_000
    path = tmp_path / "probed.yaml"
    path.write_text(site_file(facts, "probed"))
    probed = load_site(path)
    assert probed.partition("workq").walltime == 7200
    assert not [finding for finding in check(probed, facts) if finding.ok is False]

"""Whole campaigns as PBS job arrays, on a stand-in that answers and refuses as OpenPBS 23.06 does.

Without job history, which is OpenPBS's default, and with it where that changes what can be known.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import BusyError, SchedulerError, SchedulerUnavailableError, SubmissionError
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.resubmit import resubmit
from hpckit.jobs.submit import submit_campaign, tidy_up
from hpckit.production.driver import run_campaign
from hpckit.runs.journal import read_journal
from hpckit.runs.run import find_run
from hpckit.runs.status import read_status
from hpckit.sites.probe.compare import compare
from hpckit.sites.probe.gather import gather
from hpckit.sites.probe.sitefile import site_file
from hpckit.sites.scheduler.model import Answer, Command, State
from hpckit.sites.scheduler.pbs import Pbs
from hpckit.sites.scheduler.runner import LocalRunner
from hpckit.sites.site import Site, load_site
from hpckit.submissions.attempts import working
from hpckit.submissions.follow import ElementState, look
from hpckit.submissions.idle import cancel
from hpckit.submissions.submission import Submission, latest
from tests.servers.pbs import PbsServer
from tests.small_campaign import copy, results, same
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.halved, pytest.mark.slow]

QUIET = Console(quiet=True)
BOTH_WAYS = pytest.mark.parametrize("pbs", [False, True], indirect=True, ids=["no history", "history"])
WITH_HISTORY = pytest.mark.parametrize("pbs", [True], indirect=True, ids=["history"])


@pytest.fixture
def pbs(request, tmp_path: Path, monkeypatch) -> Iterator[PbsServer]:
    """Without job history, unless a test asks for it; a server with a long name."""
    (tmp_path / "home").mkdir()
    queues = {"workq": {"resources_max.walltime": "02:00:00"}}
    more = {"history": getattr(request, "param", False), "name": "vm.cluster.example.org"}
    with PbsServer(tmp_path / "pbs", queues, ncpus=2, home=tmp_path / "home", kill_delay_s=3, **more) as server:
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
        f"#!{sys.executable}\nimport time\nimport hpckit.production.worker as worker\nexecute = worker.execute\n"
        "def slowly(context, unit):\n"
        f"    time.sleep({seconds} if unit.stage == 'ingest' else 0)\n"
        "    return execute(context, unit)\n"
        "worker.execute = slowly\nfrom hpckit.cli import main\nmain()\n"
    )
    script.chmod(0o755)
    return f"command: {script}\n"


def runner() -> LocalRunner:
    return LocalRunner(Pbs(), 60)


def ask(submission: Submission) -> list[ElementState]:
    (submission.path / "seen.json").unlink(missing_ok=True)
    return look(submission, Pbs(), runner())


def finish(submission: Submission | None) -> dict[str, set[State]]:
    assert submission is not None
    until(lambda: ask(submission) and submission.is_over, what="for the end of the submission", least_s=1)
    states: dict[str, set[State]] = {}
    for item in ask(submission):
        states.setdefault(item.stage, set()).add(item.sighting.state)
    return states


def ingested(campaign: Campaign) -> set[str]:
    return {e.unit for e in read_journal(campaign.run_dir) if e.state == "done" and e.stage == "ingest"}


def undone(campaign: Campaign) -> int:
    return sum(stage.failed + stage.waiting for stage in read_status(find_run(campaign.path)).stages)


@BOTH_WAYS
def test_a_campaign_gives_the_results_of_one_machine(pbs, campaign, expected, tmp_path):
    submission = submit_campaign(campaign, site(tmp_path, default="{ranks: 1, walltime: 1s}"), QUIET)
    ids = {item.stage: item.id for item in submission.submitted()}
    assert re.fullmatch(r"\d+\[\]\.vm\.cluster\.example\.org", ids["ingest"]), "several elements are an array"
    assert re.fullmatch(r"\d+\.vm\.cluster\.example\.org", ids["signatures"]), "a single one is a plain job"
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


@WITH_HISTORY
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
    # Half a minute before the end no further unit begins: there is time for some, also on a busy machine.
    lab = site(tmp_path, slow(tmp_path, 14), walltime="90s")
    submission = submit_campaign(campaign, lab, QUIET)
    states = finish(submission)
    assert states["ingest"] <= {State.TIMEOUT, State.FAILED}
    done = ingested(campaign)
    assert 0 < len(done) < 12
    gate = json.loads((submission.path / "gate-signatures.json").read_text())
    assert gate["open"] is False
    again = resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path, slow(tmp_path, 0)))
    assert again.stage("ingest").units == 12 - len(done)
    finish(again)
    same(results(campaign), expected)


def test_while_jobs_run_or_wait_nothing_else_touches_the_run(pbs, campaign, tmp_path):
    submission = submit_campaign(campaign, site(tmp_path, slow(tmp_path, 30)), QUIET)
    until(lambda: State.RUNNING in {item.sighting.state for item in ask(submission)}, what="for the first element")
    for _ in range(2):
        with pytest.raises(BusyError, match="still run or wait"):
            submit_campaign(campaign, site(tmp_path), QUIET)
        with pytest.raises(BusyError, match="still run or wait"):
            run_campaign(campaign, QUIET)
    states = {item.sighting.state for item in ask(submission)}
    assert states - {State.SUCCEEDED} == {State.RUNNING, State.PENDING}, "on a loaded machine the first has ended"
    theirs = pbs.run("qsub", "-h", "-N", "mine", "--", "/bin/true", cwd=tmp_path).stdout.strip()
    assert cancel(submission, Pbs(), runner()) in (4, 5), "the index may have ended"
    until(lambda: pbs.run("qstat").stdout.count("workq") == 1, what="for the end of all others")
    assert theirs in pbs.attributes(), "a job that is not ours is never deleted"


def test_an_element_that_runs_twice_writes_under_two_names(pbs, campaign, expected, tmp_path):
    """Its node was lost to the server, which starts it once more; there it goes on."""
    submission = submit_campaign(campaign, site(tmp_path, slow(tmp_path, 1)), QUIET)
    (array,) = [item.id for item in submission.submitted() if item.stage == "ingest"]
    until(lambda: len(ingested(campaign)) >= 2, what="for some units")
    assert {sign.stage for sign in working(submission.path)} >= {"ingest"}
    pbs.lose(array)
    until(
        lambda: len([sign for sign in working(submission.path) if sign.stage == "ingest"]) == 2, what="for a second"
    )
    compacted = _tidied(campaign)
    assert not compacted, "no journal is joined under an element that works"
    finish(submission)
    until(lambda: not working(submission.path), what="for the end of the first")
    writers = {path.name for path in (campaign.run_dir / "journal").glob("s0001-ingest-*/*.jsonl")}
    assert writers >= {"000000.jsonl", "000000-t1.jsonl"}
    entries = [entry for entry in read_journal(campaign.run_dir) if entry.stage == "ingest"]
    assert {entry.state for entry in entries} == {"done"} and len({entry.unit for entry in entries}) == 12
    same(results(campaign), expected)
    assert _tidied(campaign)


def _tidied(campaign: Campaign) -> bool:
    """What a submission does before it plans; whether it joined the journals."""
    tidy_up(find_run(campaign.path), QUIET)
    return not any(path.is_dir() for path in (campaign.run_dir / "journal").iterdir())


def test_cancel_and_a_server_that_is_away(pbs, campaign, expected, tmp_path):
    lab = site(tmp_path, slow(tmp_path, 1))
    submission = submit_campaign(campaign, lab, QUIET)
    until(lambda: len(ingested(campaign)) >= 1, what="for a unit")
    assert cancel(submission, Pbs(), runner()) in (4, 5), "the index may have ended"
    until(lambda: "workq" not in pbs.run("qstat").stdout, what="for the end")
    pbs.stop()
    (submission.path / "seen.json").unlink(missing_ok=True)
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
    with pytest.raises(SubmissionError, match="PBS does not accept"):
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
    assert not [finding for finding in compare(probed, facts) if finding.ok is False]

"""A campaign as jobs on this machine, without a scheduler: the same results, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import BusyError
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.resubmit import resubmit
from hpckit.jobs.submit import submit_campaign
from hpckit.production.driver import run_campaign
from hpckit.runs.journal import read_journal
from hpckit.runs.run import find_run
from hpckit.runs.status import read_status
from hpckit.sites.scheduler import localqueue
from hpckit.sites.scheduler.local import Local
from hpckit.sites.scheduler.model import Command, Job, Resources, State
from hpckit.sites.scheduler.runner import LocalRunner
from hpckit.sites.site import Site, load_site
from hpckit.submissions.follow import ElementState, look
from hpckit.submissions.idle import cancel
from hpckit.submissions.submission import Submission
from tests.small_campaign import copy, results, same
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def queue(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "hpckit" / "queue"


@pytest.fixture
def campaign(made: Path, tmp_path: Path) -> Campaign:
    return load_campaign(copy(made, tmp_path / 'a "quoted" $(campaign)'))


def site(tmp_path: Path, more: str = "", ranks: int = 1) -> Site:
    path = tmp_path / "here.yaml"
    path.write_text(
        f"name: here\nscheduler: local\nstages: {{default: {{ranks: {ranks}}}}}\n"
        f"poll: {{first_s: 0.3, submit_pause_s: 0}}\n{more}"
    )
    return load_site(path)


def slow(tmp_path: Path) -> str:
    """Units of ingest take a second, in this process or in workers that it starts."""
    (tmp_path / "slowly").mkdir(exist_ok=True)
    (tmp_path / "slowly" / "sitecustomize.py").write_text(
        "import sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'hpckit.production.worker':\n"
        "            sys.meta_path.remove(self)\n"
        "            import hpckit.production.stages as stages\n"
        "            execute = stages.execute\n"
        "            def slowly(context, unit):\n"
        "                time.sleep(0.5 if unit.stage == 'ingest' else 0)\n"
        "                return execute(context, unit)\n"
        "            stages.execute = slowly\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    return f"setup: export PYTHONPATH='{tmp_path / 'slowly'}':\"$PYTHONPATH\"\n"


def runner() -> LocalRunner:
    return LocalRunner(Local(), 60)


def ask(submission: Submission) -> list[ElementState]:
    (submission.path / "seen.json").unlink(missing_ok=True)
    return look(submission, Local(), runner())


def finish(submission: Submission | None) -> dict[str, set[State]]:
    assert submission is not None
    # Each question starts an interpreter, which takes from the jobs what they would work with.
    until(lambda: ask(submission) and submission.is_over, 90, "for the end of the submission", least_s=1)
    return {item.stage: {item.sighting.state} for item in ask(submission)}


def ingested(campaign: Campaign) -> set[str]:
    return {e.unit for e in read_journal(campaign.run_dir) if e.state == "done" and e.stage == "ingest"}


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def family(pid: int) -> str:
    """Command lines of a process and its ancestors."""
    found = ""
    while pid > 1:
        found += command_of(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def pids(campaign: Campaign, words: str) -> list[int]:
    """Processes of jobs of this campaign whose command line holds some words."""
    every = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in every if words in command_of(pid) and str(campaign.run_dir) in family(pid)]


def complete(campaign: Campaign) -> bool:
    return all(not stage.failed and not stage.waiting for stage in read_status(find_run(campaign.path)).stages)


def test_jobs_here_give_the_results_of_a_run(campaign, expected, tmp_path):
    states = finish(submit_campaign(campaign, site(tmp_path, ranks=2), QUIET))
    assert set().union(*states.values()) == {State.SUCCEEDED}
    same(results(campaign), expected)
    assert submit_campaign(campaign, site(tmp_path), QUIET) is None, "nothing is left to do"


@pytest.mark.parametrize("ranks", [1, 3])
def test_jobs_that_keep_no_cube(campaign, expected, tmp_path, ranks):
    """Processes, or ranks, draw whole bundles."""
    text = campaign.path.read_text()
    more = "  - {name: more, zones: zones.gpkg, id: name, bands: [B08, B11]}\n"
    campaign.path.write_text(text.replace("cube: {", "cube: {keep: false, ") + more)
    campaign = load_campaign(campaign.path)
    submission = submit_campaign(campaign, site(tmp_path, ranks=ranks), QUIET)
    assert [job.stage for job in submission.jobs] == ["zones", "gate", "signatures", "sync"]
    states = finish(submission)
    assert set().union(*states.values()) == {State.SUCCEEDED}
    same(results(campaign), expected)
    done = [entry for entry in read_journal(campaign.run_dir) if entry.stage == "signatures"]
    starts = {entry.unit.rpartition("/")[2]: set() for entry in done}
    for entry in done:
        starts[entry.unit.rpartition("/")[2]].add((entry.start, entry.writer))
    assert len(done) == 8 and all(len(found) == 1 for found in starts.values()), "both reductions of a date at once"
    assert submit_campaign(campaign, site(tmp_path, ranks=ranks), QUIET) is None, "nothing is left to do"


def test_an_element_asked_to_end_gives_its_units_back(campaign, expected, tmp_path):
    submission = submit_campaign(campaign, site(tmp_path, slow(tmp_path), ranks=2), QUIET)
    with pytest.raises(BusyError):
        run_campaign(campaign, QUIET, workers=1)
    until(lambda: len(ingested(campaign)) >= 2, what="for units")
    (script,) = pids(campaign, "/ingest.sh")
    os.kill(script, signal.SIGTERM)
    states = finish(submission)
    output = (submission.path / "logs" / "ingest.0.out").read_text()
    assert states["ingest"] == {State.FAILED} and "given back" in output and "exit code 75" in output
    done = ingested(campaign)
    assert 2 <= len(done) < 12
    again = resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path))
    assert again.stage("ingest").units == 12 - len(done)
    finish(again)
    assert complete(campaign)
    same(results(campaign), expected)


def test_a_killed_worker_process_costs_its_unit(campaign, expected, tmp_path):
    submission = submit_campaign(campaign, site(tmp_path, slow(tmp_path), ranks=2), QUIET)
    until(lambda: len(ingested(campaign)) >= 2, what="for units")
    # The element, the server that is its copy, and the workers that this forks have one command line.
    os.kill(max(pids(campaign, "--stage ingest")), signal.SIGKILL)
    finish(submission)
    status = read_status(find_run(campaign.path))
    assert status.stages[0].failed == 1 and any("killed by SIGKILL" in reason for reason in status.failures)
    finish(resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path), only_failed=True))
    assert complete(campaign)
    same(results(campaign), expected)


def is_of(pid: int, queue: Path) -> bool:
    """Whether a process works for this queue, and not for that of a test beside this one."""
    try:
        return str(queue.parents[1]).encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def test_a_queue_whose_supervisor_is_killed_says_so(campaign, expected, tmp_path, queue):
    submission = submit_campaign(campaign, site(tmp_path, slow(tmp_path)), QUIET)
    until(lambda: len(ingested(campaign)) >= 1, what="for units")
    (ingest,) = [item.id for item in submission.submitted() if item.stage == "ingest"]
    every = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    supervisors = [pid for pid in every if f"queue supervise {ingest} " in command_of(pid) and is_of(pid, queue)]
    assert supervisors
    for pid in [*supervisors, *pids(campaign, "/ingest.sh"), *pids(campaign, "--stage ingest")]:
        os.kill(pid, signal.SIGKILL)
    assert finish(submission)["ingest"] == {State.FAILED}
    assert any("supervisor is gone" in item.sighting.reason for item in ask(submission) if item.stage == "ingest")
    finish(resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path)))
    assert complete(campaign)
    same(results(campaign), expected)


def test_cancel(campaign, expected, tmp_path):
    submission = submit_campaign(campaign, site(tmp_path, slow(tmp_path)), QUIET)
    until(lambda: len(ingested(campaign)) >= 1, what="for units")
    cancel(submission, Local(), runner())
    until(lambda: all(item.sighting.state.is_over for item in ask(submission)), what="for the end")
    done = ingested(campaign)
    assert 0 < len(done) < 12
    finish(resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path)))
    assert complete(campaign)
    same(results(campaign), expected)


def queued(tmp_path: Path, text: str, *after: str, hold: bool = False, count: int = 1, walltime_s: int = 60) -> str:
    script = tmp_path / f"{abs(hash(text))}.sh"
    script.write_text(text)
    job = Job("j", "ingest", script, tmp_path, Resources(walltime_s=walltime_s), count=count)
    return Local().read_submit(runner()(Local().submit(job, after, hold=hold)))


def shown(*ids: str) -> list[tuple[str, int | None, State]]:
    return [(s.job, s.index, s.state) for s in Local().read_query(runner()(Local().query(ids)))]


def test_a_supervisor_that_starts_late_is_not_gone(tmp_path, queue, monkeypatch):
    """On a machine that is very busy it says who it is long after it was started."""
    (tmp_path / "late").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "late").chmod(0o755)
    words = ["localqueue", "submit", "--name", "j", "--walltime", "60", "--log", str(tmp_path / "log"), "job.sh"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "late"))
    number = localqueue._submit(localqueue._parse())
    os.utime(queue / number, (0, 0))
    assert [item["state"] for item in localqueue._show(number)] == ["pending"]
    supervisor = json.loads((queue / number / "supervisor.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    assert [item["reason"] for item in localqueue._show(number)] == ["its supervisor is gone"]


def test_dependencies_holds_and_walltimes(tmp_path):
    first = queued(tmp_path, f"sleep 0.5; echo $HPCKIT_INDEX >> {tmp_path}/order", hold=True, count=3)
    second = queued(tmp_path, f"echo second >> {tmp_path}/order", first)
    time.sleep(1)
    assert shown(first, second) == [(first, None, State.HELD), (second, None, State.PENDING)]
    Local().check_done(runner()(Local().release([first])))
    until(lambda: shown(second) == [(second, 0, State.SUCCEEDED)], what="for the second job")
    assert sorted((tmp_path / "order").read_text().split()[:3]) == ["0", "1", "2"]
    late = queued(tmp_path, "trap 'exit 3' TERM; sleep 100 & wait", walltime_s=1)
    until(lambda: shown(late) == [(late, 0, State.TIMEOUT)], what="for the walltime")
    waits = queued(tmp_path, "sleep 100", hold=True)
    job = Job("j", "ingest", tmp_path / "x.sh", tmp_path, Resources())
    found = Local().read_find(runner()(Local().find([job])), [job])
    assert [(item.id, item.name) for item in found] == [(waits, "j")], "what is over is not found"
    runner()(Local().cancel([waits]))
    assert runner()(Command((sys.executable, "-m", "hpckit.sites.scheduler.localqueue", "show", "99"))).stdout == ""

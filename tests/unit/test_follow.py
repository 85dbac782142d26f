"""Following a submission: what becomes of a scheduler's answers, and what a retry asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hpckit.arrays import Request
from hpckit.errors import SchedulerUnavailableError, SubmissionError
from hpckit.follow import count, look, watch
from hpckit.journal import Entry
from hpckit.retry import advise
from hpckit.scheduler.model import Answer, Command, Job, Resources, State
from hpckit.scheduler.slurm import Slurm
from hpckit.site import Site
from hpckit.submission import StageLayout, Submission, Submitted, create, latest, load, save, submissions
from hpckit.usage import usage


class Scripted:
    """Answers squeue and sacct with given texts, and counts how often it was asked."""

    def __init__(self) -> None:
        self.squeue, self.sacct = "", ""
        self.code, self.stderr = 0, ""
        self.asked: list[str] = []

    def __call__(self, command: Command) -> Answer:
        self.asked.append(command.argv[0])
        if command.argv[0] == "squeue":
            return Answer(command, self.code, self.squeue, self.stderr)
        return Answer(command, 0, self.sacct, "")


@pytest.fixture
def submission(tmp_path: Path) -> Submission:
    """Ingest of five elements in two arrays, and a reduce of one."""
    path = create(tmp_path / "run")
    partition = {"name": "p", "cores": 8, "memory_mib": 16_000, "walltime": "3h"}
    site = Site.model_validate(
        {"name": "s", "scheduler": "slurm", "partitions": [partition], "poll": {"first_s": 0.01, "longest_s": 0.05}}
    )
    resources = Resources(ranks=2, memory_mib=8000, walltime_s=3600, partition="p")
    stages = tuple(StageLayout(stage, n, n, 10.0, 10.0, resources) for stage, n in (("ingest", 5), ("reduce", 1)))
    jobs = (
        Job("i0", "ingest", path / "ingest-0.sh", path / "logs", resources, first=0, count=3),
        Job("i1", "ingest", path / "ingest-1.sh", path / "logs", resources, first=3, count=2),
        Job("r", "reduce", path / "reduce.sh", path / "logs", resources, follows=("ingest",)),
    )
    made = Submission(path, site, stages, jobs)
    save(made)
    for number, job in enumerate(jobs):
        made.record(Submitted(str(7 + number), job.name, job.stage, job.script.name, job.first, job.count))
    made.mark("committed")
    return made


def states(seen) -> dict[str, list[State]]:
    return {
        stage: [item.sighting.state for item in sorted(seen, key=lambda item: item.element) if item.stage == stage]
        for stage in ("ingest", "reduce")
    }


def fresh(submission: Submission) -> None:
    (submission.path / "seen.json").unlink(missing_ok=True)


def test_what_was_written_is_read_again(submission):
    again = load(submission.path)
    assert (again.site, again.stages, again.jobs) == (submission.site, submission.stages, submission.jobs)
    assert again.submitted() == submission.submitted()
    assert latest(submission.run_dir).number == 1
    (submission.path / "submission.json").write_text("{")
    with pytest.raises(SubmissionError, match="damaged"):
        submissions(submission.run_dir)


def test_a_range_stands_for_all_elements_without_a_line_of_their_own(submission):
    ask = Scripted()
    ask.squeue = (
        "7_0|COMPLETED|None|n1\n7_[1-2%1]|PENDING|JobArrayTaskLimit|\n8_1|RUNNING|None|n2\n8_[0]|PENDING|Priority|\n"
    )
    ask.squeue += "9|PENDING|Dependency|\n"
    found = look(submission, Slurm(), ask)
    succeeded, pending = State.SUCCEEDED, State.PENDING
    assert states(found) == {"ingest": [succeeded, pending, pending, pending, State.RUNNING], "reduce": [pending]}
    assert ask.asked == ["squeue"], "one query for all, and none for how elements ended"
    assert count(found)["ingest"] == {succeeded: 1, pending: 3, State.RUNNING: 1}


def test_people_who_follow_together_ask_once(submission):
    ask = Scripted()
    ask.squeue = "7_[0-2]|PENDING|Priority|\n8_[0-1]|PENDING|Priority|\n9|PENDING|Dependency|\n"
    look(submission, Slurm(), ask)
    look(load(submission.path), Slurm(), ask)
    assert ask.asked == ["squeue"]


def test_what_the_queue_has_forgotten_is_asked_of_the_accounting(submission):
    ask = Scripted()
    ask.squeue = "9|RUNNING|None|n1\n"
    ask.sacct = "7_0|COMPLETED|0:0|1|2|1|n1|2|00:01||1\n7_1|TIMEOUT|0:0|1|2|1|n1|2|00:01||1\n"
    ask.sacct += (
        "7_2|RUNNING|0:0|1|Unknown|1|n1|2|00:00||1\n8_[0-1]|CANCELLED by 0|0:0|Unknown|5|0|None assigned|0|00:00||1\n"
    )
    found = look(submission, Slurm(), ask)
    # The accounting lags: what it says to run, and the queue does not know, is unknown.
    expected = [State.SUCCEEDED, State.TIMEOUT, State.RUNNING, State.CANCELLED, State.CANCELLED]
    assert states(found)["ingest"][:2] + states(found)["ingest"][3:] == expected[:2] + expected[3:]
    assert not states(found)["ingest"][2].is_over
    assert not submission.has("ended")


def test_unknown_is_no_end(submission):
    ask = Scripted()
    found = look(submission, Slurm(), ask)
    assert set(states(found)["ingest"]) == {State.UNKNOWN} and not submission.has("ended")
    ask.code, ask.stderr = 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    fresh(submission)
    with pytest.raises(SchedulerUnavailableError):
        look(submission, Slurm(), ask)


def test_a_submission_ends_when_all_is_known_and_is_asked_no_more(submission):
    ask = Scripted()
    ask.squeue = "".join(f"{job}|COMPLETED|None|n1\n" for job in ("7_0", "7_1", "7_2", "8_0", "8_1", "9_0"))
    looks = list(watch(submission, Slurm(), ask))
    assert len(looks) == 1 and submission.has("ended")
    data = json.loads((submission.path / "seen.json").read_text())
    (submission.path / "seen.json").write_text(json.dumps({**data, "time": 0}))
    look(submission, Slurm(), ask)
    assert ask.asked == ["squeue"]


def test_watching_slows_down_while_nothing_changes(submission, monkeypatch):
    pauses: list[float] = []
    ask = Scripted()
    ask.squeue = "7_[0-2]|PENDING|Priority|\n8_[0-1]|PENDING|Priority|\n9|PENDING|Dependency|\n"

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        fresh(submission)
        if len(pauses) == 8:
            ask.squeue = "".join(f"{job}|COMPLETED|None|n1\n" for job in ("7_0", "7_1", "7_2", "8_0", "8_1", "9_0"))

    monkeypatch.setattr("hpckit.follow.time.sleep", sleep)
    list(watch(submission, Slurm(), ask))
    assert pauses[0] == 0.01 and pauses == sorted(pauses) and pauses[-1] == 0.05


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("slurmstepd-n1: error: Exceeded job memory limit\n", State.OUT_OF_MEMORY),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.\n", State.OUT_OF_MEMORY),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***\n", State.TIMEOUT),
        ("Traceback\n", State.FAILED),
    ],
)
def test_the_output_tells_why_an_element_failed(submission, text, state):
    ask = Scripted()
    ask.squeue = (
        "7_1|FAILED|NonZeroExitCode|n1\n7_[0,2]|PENDING|Priority|\n8_[0-1]|PENDING|Priority|\n9|PENDING|Dependency|\n"
    )
    (submission.path / "logs" / "ingest-0.1.out").write_text("x" * 10_000 + text)
    assert states(look(submission, Slurm(), ask))["ingest"][1] is state


def seen_with(submission: Submission, word: str):
    ask = Scripted()
    ask.squeue = f"7_0|{word}|None|n1\n7_[1-2]|PENDING|Priority|\n8_[0-1]|PENDING|Priority|\n9|PENDING|Dependency|\n"
    fresh(submission)
    return look(submission, Slurm(), ask)


def test_a_retry_asks_for_more_of_what_was_short_within_the_limits(submission):
    more = advise(submission, seen_with(submission, "OUT_OF_MEMORY"), [], Request())
    assert more.request.memory_mib == {"ingest": 6400} and "ingest: 6.2 GiB per rank" in more.reasons[0]
    longer = advise(submission, seen_with(submission, "TIMEOUT"), [], Request(account="a"))
    assert longer.request.walltime_s == {"ingest": 5760} and longer.request.account == "a"
    tight = replace(submission.stages[0], resources=replace(submission.stages[0].resources, walltime_s=9000))
    object.__setattr__(submission, "stages", (tight, submission.stages[1]))
    most = advise(submission, seen_with(submission, "TIMEOUT"), [], Request())
    assert most.request.walltime_s == {"ingest": 10_800} and "the longest that p allows" in most.reasons[0]
    assert advise(submission, seen_with(submission, "NODE_FAIL"), [], Request()).request == Request(
        memory_mib={}, walltime_s={}
    )


def test_a_worker_that_the_kernel_killed_counts_as_out_of_memory(submission):
    failure = Entry("u", "reduce", "failed", "in", "t", 1.0, "w", reason="killed by SIGKILL (out of memory?)")
    assert advise(submission, [], [failure], Request()).request.memory_mib == {"reduce": 6400}


def test_usage_tells_what_was_wasted(submission):
    ask = Scripted()
    ask.squeue = "".join(f"{job}|COMPLETED|None|n1\n" for job in ("7_0", "7_1", "7_2", "8_0", "8_1", "9_0"))
    ask.sacct = "".join(
        f"{job}|COMPLETED|0:0|100|1900|1800|n1|2|30:00||1\n{job}.batch|COMPLETED|0:0|100|1900|1800|n1|2|30:00|4000M|1\n"
        for job in ("7_0", "7_1", "7_2", "8_0", "8_1", "9_0")
    )
    look(submission, Slurm(), ask, details=True)
    entries = [Entry("u", "ingest", "done", "in", "t", 7200.0, "s0001-ingest-000/000001")]
    ingest, reduce = usage(submission, entries)
    assert (ingest.elements, ingest.core_hours, ingest.node_hours) == (5, 5.0, 2.5)
    assert ingest.useful_core_hours == 2.0 and ingest.wasted_core_hours == 3.0
    assert ingest.cpu == 0.5 and ingest.memory == 0.5
    assert reduce.useful_core_hours == 0

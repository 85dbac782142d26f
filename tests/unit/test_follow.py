"""Following a submission: what becomes of a scheduler's answers, and what a retry asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpckit.base.claims import hold
from hpckit.errors import BusyError, SchedulerUnavailableError, SubmissionError
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.retry import advise
from hpckit.runs.journal import Entry
from hpckit.runs.run import LOCK
from hpckit.sites.scheduler.model import Answer, Command, Job, Resources, State
from hpckit.sites.scheduler.pbs import Pbs
from hpckit.sites.scheduler.slurm import Slurm
from hpckit.sites.site import Site
from hpckit.submissions.attempts import announced
from hpckit.submissions.follow import count, look, was_cut, watch
from hpckit.submissions.idle import require_idle
from hpckit.submissions.submission import StageLayout, Submission, Submitted, create, latest, load, save, submissions
from hpckit.submissions.usage import usage


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
    stages = tuple(StageLayout(stage, n, n, 10.0, 10.0, resources) for stage, n in (("ingest", 5), ("signatures", 1)))
    jobs = (
        Job("i0", "ingest", path / "ingest-0.sh", path / "logs", resources, first=0, count=3),
        Job("i1", "ingest", path / "ingest-1.sh", path / "logs", resources, first=3, count=2),
        Job("r", "signatures", path / "signatures.sh", path / "logs", resources, follows=("ingest",)),
    )
    made = Submission(path, site, stages, jobs)
    save(made, frozen="")
    for number, job in enumerate(jobs):
        made.record(Submitted(str(7 + number), job.name, job.stage, job.script.name, job.first, job.count))
    made.mark("committed")
    return made


def states(seen) -> dict[str, list[State]]:
    return {
        stage: [item.sighting.state for item in sorted(seen, key=lambda item: item.element) if item.stage == stage]
        for stage in ("ingest", "signatures")
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
    assert states(found) == {"ingest": [succeeded, pending, pending, pending, State.RUNNING], "signatures": [pending]}
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

    monkeypatch.setattr("hpckit.submissions.follow.time.sleep", sleep)
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


class Qstat:
    """Answers qstat as OpenPBS does without job history; ids that it does not list are unknown."""

    def __init__(self, full: str = "", **states: str) -> None:
        self.states = states
        self.full = full
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, command: Command) -> Answer:
        self.asked.append(command.argv)
        ids = [word for word in command.argv if word[0].isdigit()]
        if "-x" in command.argv:
            words = "".join(f"qstat: PBS is not configured to maintain job history {each}\n" for each in ids)
            return Answer(command, 0, "", words)
        if "-f" in command.argv:
            return Answer(command, 0, self.full, "")
        listed, gone = "", ""
        for each in ids:
            states = self.states.get(f"j{each.partition('[')[0].partition('.')[0]}", "")
            if not states:
                gone += f"qstat: Unknown Job Id {each}\n"
            for index, state in enumerate(states):
                listed += f"{each.replace('[]', f'[{index}]')[:20]}  hp*  eo  0 {state} workq\n"
        return Answer(command, 153 if gone else 0, listed, gone)


@pytest.fixture
def on_pbs(submission: Submission) -> Submission:
    """The same, on PBS: 7[] and 8[] are arrays of three and two, 9 is a single job."""
    site = Site.model_validate({**submission.site.model_dump(mode="json"), "scheduler": "pbs"})
    (submission.path / "jobs.jsonl").unlink()
    made = replace(submission, site=site)
    save(made, frozen="")
    for number, job in enumerate(made.jobs):
        name = f"{7 + number}{'[]' if job.count > 1 else ''}.pbs.example.org"
        made.record(Submitted(name, job.name, job.stage, job.script.name, job.first, job.count))
    made.mark("released")
    return made


def say(submission: Submission, name: str, *lines: str) -> None:
    begun = "2026-11-29T06:00:00Z ingest element 0 on n1\n"
    (submission.path / "logs" / name).write_text(begun + "".join(f"{line}\n" for line in lines))


def later(submission: Submission, seconds: float) -> None:
    """Let all that was seen be so much older."""
    values = json.loads((submission.path / "seen.json").read_text())
    for item in values["seen"]:
        item["since"] = None if item["since"] is None else item["since"] - seconds
    (submission.path / "seen.json").write_text(json.dumps({**values, "time": values["time"] - seconds}))


EXIT = "2026-11-29T06:10:00Z exit code {}"


def held_by(identifier: str, holds: str, *more: str) -> str:
    """What `qstat -f -w` says of a held job."""
    lines = ["Job_Name = hp-x-1-signatures", "job_state = H", "queue = workq", f"Hold_Types = {holds}", *more]
    return f"Job Id: {identifier}\n" + "".join(f"    {line}\n" for line in lines) + "\n"


DEPENDS = "depend = afterany:7[].pbs.example.org@pbs:8[].pbs.example.org@pbs"


@pytest.mark.parametrize(
    ("holds", "more", "state", "reason", "todo"),
    [
        ("s", [DEPENDS], State.PENDING, "Dependency", ""),
        ("s", ["depend = beforeany:11.pbs@pbs,afterok:7[].pbs@pbs"], State.PENDING, "Dependency", ""),
        ("us", [DEPENDS], State.HELD, "its user holds it", "`qrls 9.pbs.example.org` lets it go"),
        ("u", [], State.HELD, "its user holds it", "`qrls 9.pbs.example.org` lets it go"),
        ("os", [DEPENDS], State.HELD, "the cluster holds it", "ask the operators of the cluster"),
        ("s", ["comment = job held, too many failed attempts to run"], State.HELD, "too many failed", "operators"),
        ("s", ["depend = beforeany:11.pbs@pbs"], State.HELD, "the cluster holds it", "operators"),
    ],
)
def test_on_pbs_a_job_that_waits_for_others_is_not_held(on_pbs, holds, more, state, reason, todo):
    ask = Qstat(j8="XR", j9="H", full=held_by("9.pbs.example.org", holds, *more))
    (seen,) = [item for item in look(on_pbs, Pbs(), ask) if item.stage == "signatures"]
    assert seen.state is state and reason in seen.sighting.reason
    assert todo in Pbs().remedy(seen.sighting.reason, seen.id)
    assert (state is State.HELD) == bool(Pbs().remedy(seen.sighting.reason, seen.id))


def test_why_a_job_is_held_stays_open_where_pbs_does_not_say(on_pbs):
    ask = Qstat(j8="XR", j9="H", full="")
    assert states(look(on_pbs, Pbs(), ask))["signatures"] == [State.HELD]


def test_without_history_the_last_words_tell_how_elements_ended(on_pbs):
    for number, code in enumerate((0, 75, 1)):
        say(on_pbs, f"ingest-0.{number}.out", EXIT.format(code))
    say(on_pbs, "ingest-1.0.out", "=>> PBS: job killed: walltime 61 exceeded limit 60", EXIT.format(75))
    say(on_pbs, "ingest-1.1.out", EXIT.format(0))
    ask = Qstat(j8="XR", j9="H")
    seen = look(on_pbs, Pbs(), ask)
    failed = State.FAILED
    assert states(seen)["ingest"] == [State.SUCCEEDED, failed, failed, State.TIMEOUT, State.RUNNING]
    assert count(seen)["ingest"][State.GAVE_BACK] == 1 == count(seen)["ingest"][State.FAILED]
    assert states(seen)["signatures"] == [State.HELD] and not on_pbs.has("ended")
    ask.states = {}
    say(on_pbs, "signatures.0.out", EXIT.format(0))
    seen = look(on_pbs, Pbs(), ask, fresh=True)
    assert states(seen)["ingest"][4] is State.SUCCEEDED and states(seen)["signatures"] == [State.SUCCEEDED]
    assert on_pbs.has("ended"), "all of it is known"


def test_a_last_word_is_not_believed_while_the_scheduler_lists_the_element(on_pbs):
    """It was preempted, and waits to go on."""
    say(on_pbs, "ingest-0.0.out", EXIT.format(75))
    seen = look(on_pbs, Pbs(), Qstat(j7="QRR", j8="RR", j9="H"))
    assert states(seen)["ingest"][0] is State.PENDING


def test_what_its_server_denies_without_a_trace_is_over_after_a_while_and_not_before(on_pbs):
    ask = Qstat(j9="H")
    for wait in (0, 45, 30):
        seen = look(on_pbs, Pbs(), ask, fresh=True)
        assert set(states(seen)["ingest"]) == {State.UNKNOWN}
        later(on_pbs, wait)
    ask.states = {"j7": "QRR", "j9": "H"}
    look(on_pbs, Pbs(), ask, fresh=True)
    ask.states = {}
    later(on_pbs, 60)
    assert states(look(on_pbs, Pbs(), ask, fresh=True))["ingest"][0] is State.UNKNOWN, "it was listed meanwhile"
    later(on_pbs, 91)
    with announced(on_pbs.path, "ingest", 1, 0):
        seen = look(on_pbs, Pbs(), ask, fresh=True)
    assert [state.is_over for state in states(seen)["ingest"]] == [True, False, True, True, True], "one works"
    assert State.SUCCEEDED not in states(seen)["ingest"] and not on_pbs.has("ended")
    assert set(states(look(on_pbs, Pbs(), ask, fresh=True))["ingest"]) == {State.ENDED}
    assert on_pbs.has("ended")


def test_what_was_seen_to_end_stays_ended_when_it_is_forgotten(on_pbs):
    ask = Qstat(j7="XXX", j8="XX", j9="R")
    assert set(states(look(on_pbs, Pbs(), ask))["ingest"]) == {State.ENDED}
    ask.states = {"j9": "R"}
    assert set(states(look(on_pbs, Pbs(), ask, fresh=True))["ingest"]) == {State.ENDED}


@pytest.mark.parametrize("kind", ["pbs", "slurm", "pbs that says nothing"])
def test_unknown_permits_no_second_submission(submission, on_pbs, tmp_path, kind):
    submission = submission if kind == "slurm" else on_pbs
    submission.mark("released")
    if kind == "slurm":
        (submission.path / "jobs.jsonl").write_text("")
        for number, job in enumerate(submission.jobs):
            submission.record(Submitted(str(7 + number), job.name, job.stage, job.script.name, job.first, job.count))
        save(submission, frozen="")
    run = SimpleNamespace(path=submission.run_dir, campaign=SimpleNamespace(path=tmp_path / "c.yaml"))
    ask = {"pbs": Qstat(), "slurm": Scripted()}.get(kind, lambda command: Answer(command, 0, "", ""))
    for _ in range(2):
        with pytest.raises(BusyError, match=r"6 elements .* may still run") as caught:
            require_idle(run, Slurm() if kind == "slurm" else Pbs(), ask)
        assert "cancel" in caught.value.hint
    assert not submission.is_over
    for name in ("ingest-0.0", "ingest-0.1", "ingest-0.2", "ingest-1.0", "ingest-1.1", "signatures.0"):
        say(submission, f"{name}.out", EXIT.format(0))
    require_idle(run, Slurm() if kind == "slurm" else Pbs(), ask)
    assert submission.has("ended")


@pytest.mark.parametrize("how", ["cut before the first job", "cut half-way", "by hand"])
def test_watching_what_nobody_submits_any_more_ends(submission, how):
    (submission.path / ("committed" if how != "by hand" else "jobs.jsonl")).unlink()
    if how == "cut before the first job":
        (submission.path / "jobs.jsonl").unlink()
    ask = Scripted()
    ask.squeue = "7_[0-2]|PENDING|JobHeldUser|\n"
    assert len(list(watch(submission, Slurm(), ask))) == 1
    assert not submission.is_over and was_cut(submission) == (how != "by hand")


def test_watching_goes_on_while_a_command_submits(submission, monkeypatch):
    (submission.path / "committed").unlink()
    ask, sleeps = Scripted(), list[float]()

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        fresh(submission)
        ask.squeue = "".join(f"{job}|COMPLETED|None|n1\n" for job in ("7_0", "7_1", "7_2", "8_0", "8_1", "9_0"))
        submission.mark("committed")

    monkeypatch.setattr("hpckit.submissions.follow.time.sleep", sleep)
    with hold(submission.run_dir / LOCK, "the run"):
        assert len(list(watch(submission, Slurm(), ask))) == 2 and sleeps
    assert submission.has("ended")


def test_elements_that_gave_units_back_have_not_failed_on_slurm_either(submission):
    ask = Scripted()
    ask.squeue = "7_0|FAILED|NonZeroExitCode|n1\n7_[1-2]|PENDING|Priority|\n8_[0-1]|PENDING|Priority|\n9|PENDING||\n"
    say(submission, "ingest-0.0.out", EXIT.format(75))
    seen = look(submission, Slurm(), ask)
    assert count(seen)["ingest"] == {State.GAVE_BACK: 1, State.PENDING: 4}
    ask.sacct = "7_1|FAILED|75:0|1|2|1|n1|2|00:01||1\n"
    ask.squeue = ask.squeue.replace("7_[1-2]", "7_2")
    assert count(look(submission, Slurm(), ask, fresh=True))["ingest"][State.GAVE_BACK] == 2


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
    failure = Entry("u", "signatures", "failed", "in", "t", 1.0, "w", reason="killed by SIGKILL (out of memory?)")
    assert advise(submission, [], [failure], Request()).request.memory_mib == {"signatures": 6400}


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

"""Following jobs on Slurm: without accounting, with one that lags, held jobs, and clocks that differ."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from hpckit.cli.follow import _troubles
from hpckit.errors import SchedulerUnavailableError
from hpckit.sites.scheduler.model import Answer, Command, Job, Resources, State
from hpckit.sites.scheduler.slurm import Slurm
from hpckit.sites.scheduler.slurm.held import is_held, remedy
from hpckit.sites.site import Site
from hpckit.submissions import follow
from hpckit.submissions.follow import look, watch
from hpckit.submissions.submission import Submission, Submitted, create, save
from hpckit.submissions.traces import last_line

DISABLED = "Slurm accounting storage is disabled\n"
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


class Cluster:
    """Answers squeue and sacct with given texts."""

    def __init__(self, squeue: str = "", sacct: str | None = None) -> None:
        self.squeue, self.sacct, self.down = squeue, sacct, False

    def __call__(self, command: Command) -> Answer:
        if self.down:
            return Answer(command, 1, "", DOWN)
        if command.argv[0] == "squeue":
            return Answer(command, 0, self.squeue, "")
        return Answer(command, 1, "", DISABLED) if self.sacct is None else Answer(command, 0, self.sacct, "")


@pytest.fixture
def submission(tmp_path: Path) -> Submission:
    path = create(tmp_path / "run")
    poll = {"first_s": 0.01, "longest_s": 0.02}
    site = Site.model_validate({"name": "s", "scheduler": "slurm", "poll": poll})
    job = Job("i", "ingest", path / "ingest.sh", path / "logs", Resources(), count=3)
    made = Submission(path, site, (), (job,))
    save(made, frozen="")
    made.record(Submitted("7", "i", "ingest", "ingest.sh", 0, 3))
    made.mark("committed")
    made.mark("released")
    return made


def states(submission: Submission, cluster: Cluster) -> list[State]:
    seen = look(submission, Slurm(), cluster, fresh=True)
    return [item.state for item in sorted(seen, key=lambda item: item.element)]


def output(submission: Submission, number: int, text: str) -> None:
    begun = f"2026-11-29T06:00:00Z ingest element {number} on n1\n"
    (submission.path / "logs" / f"ingest.{number}.out").write_text(begun + text)


def test_without_accounting_the_outputs_tell_and_the_watch_ends(submission, monkeypatch):
    monkeypatch.setattr(follow, "_SILENT_S", 0)
    output(submission, 0, "2026-11-29T06:01:00Z exit code 0\n")
    output(submission, 1, "ValueError: no such band\n2026-11-29T06:01:00Z exit code 1\n")
    looks = list(watch(submission, Slurm(), Cluster()))
    last = {item.element: item.state for item in looks[-1]}
    assert last == {0: State.SUCCEEDED, 1: State.FAILED, 2: State.ENDED} and submission.has("ended")


def test_without_accounting_what_runs_is_not_over(submission):
    cluster = Cluster("7_0|RUNNING|None|n1\n7_[1-2]|PENDING|Priority|\n")
    assert states(submission, cluster) == [State.RUNNING, State.PENDING, State.PENDING]
    assert states(submission, Cluster()) == [State.UNKNOWN] * 3, "forgotten, and no word yet"
    assert not submission.has("ended")


def test_a_watch_outlives_queries_that_are_not_answered(submission, monkeypatch):
    output(submission, 0, "2026-11-29T06:01:00Z exit code 0\n")
    cluster = Cluster("".join(f"7_{n}|COMPLETED|None|n1\n" for n in range(3)))
    cluster.down, said = True, []

    def unanswered(error: SchedulerUnavailableError) -> None:
        said.append(error)
        cluster.down = len(said) < 3

    looks = list(watch(submission, Slurm(), cluster, unanswered))
    assert len(said) == 3 and submission.has("ended")
    assert {item.state for item in looks[-1]} == {State.SUCCEEDED}


@pytest.mark.parametrize("ahead_s", [3600, 30])
def test_a_clock_that_is_ahead_freezes_nothing(submission, monkeypatch, ahead_s):
    look(submission, Slurm(), Cluster("7_[0-2]|PENDING|Priority|\n"))
    path = submission.path / "seen.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "time": time.time() + ahead_s}))
    seen = look(submission, Slurm(), Cluster("7_[0-2]|RUNNING|None|n1\n"))
    assert {item.state for item in seen} == {State.RUNNING}


REQUEUED = [
    "7_0|PENDING|BeginTime|\n",
    "7_0|RUNNING|None|n2\n",
    "7_0|PENDING|job requeued in held state|\n",
    "7_0|SUSPENDED|None|n2\n",
]


@pytest.mark.parametrize("line", REQUEUED)
@pytest.mark.parametrize("record", ["NODE_FAIL|1:0", "PREEMPTED|0:15", "FAILED|1:0", "CANCELLED by 0|0:0"])
@pytest.mark.parametrize("details", [False, True])
def test_what_accounting_says_of_an_earlier_attempt_is_not_believed(submission, line, record, details):
    sacct = f"7_0|{record}|1|2|1|n1|2|00:01||1\n"
    cluster = Cluster(line + "7_1|COMPLETED|None|n1\n", sacct)
    seen = {item.element: item for item in look(submission, Slurm(), cluster, details=details)}
    assert seen[0].state.is_live and not submission.has("ended"), seen[0]


def test_an_element_that_is_put_back_lives_once_more(submission):
    ended = "7_0|NODE_FAIL|NodeDown|n1\n7_[1-2]|PENDING|Priority|\n"
    assert states(submission, Cluster(ended))[0] is State.NODE_FAILED
    assert states(submission, Cluster("7_0|RUNNING|None|n2\n7_[1-2]|PENDING|Priority|\n"))[0] is State.RUNNING


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("job requeued in held state", "scontrol release 7_0"),
        ("job_requeued_in_held_state", "scontrol release 7_0"),
        ("launch failed requeued held", "its node could not start it"),
        ("launch_failed_requeued_held", "its node could not start it"),
        ("JobHeldAdmin", "operators"),
        ("JobHeldUser", "scontrol release 7_0"),
        ("DependencyNeverSatisfied", "did not succeed"),
        ("AssocGrpCPUMinutesLimit", "budget"),
        ("QOSGrpCPUMinutesLimit", "budget"),
        ("PartitionTimeLimit", "more than is allowed"),
        ("QOSMaxCpuPerJobLimit", "more than is allowed"),
    ],
)
def test_held_jobs_are_shown_as_such_with_a_remedy(submission, reason, says):
    seen = look(submission, Slurm(), Cluster(f"7_0|PENDING|{reason}|\n7_[1-2]|PENDING|Priority|\n"))
    (line,) = _troubles(Slurm(), seen)
    assert line.startswith("1 of ingest held") and reason in line and says in line


@pytest.mark.parametrize(
    "reason", ["Priority", "Resources", "QOSMaxJobsPerUserLimit", "AssocGrpCpuLimit", "BeginTime"]
)
def test_what_passes_by_waiting_is_not_held(reason):
    assert not is_held(reason) and remedy(reason, "7_0") == ""


def test_a_remedy_names_the_cluster():
    assert "scontrol -M rome release 7_0" in remedy("JobHeldUser", "7_0;rome")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("hpckit: /x: no such file\n  hint: was it deleted?\n", "hpckit: /x: no such file"),
        ("Traceback (most recent call last):\n  File 'x'\nValueError: 3 is odd\n", "ValueError: 3 is odd"),
        ("bash: line 3: module: command not found\nsrun: error: n1: task 0: Exited with exit code 127\n",
         "bash: line 3: module: command not found"),
        ("reading\nslurmstepd: error: *** JOB 7 ON n1 CANCELLED ***\n", "reading"),
        ("\x1b[31mDisk quota exceeded: cannot write\x1b[0m\n====\n", "Disk quota exceeded: cannot write"),
        ("", None),
        ("srun: error: n1: task 0: Killed\n", None),
        ("srun: error: Invalid MPI type 'pmix', --mpi=list for acceptable types\n",
         "srun: error: Invalid MPI type 'pmix', --mpi=list for acceptable types"),
    ],
)  # fmt: skip
def test_one_line_tells_why_a_script_failed(submission, text, line):
    output(submission, 0, text + "2026-11-29T06:01:00Z exit code 1\n")
    assert last_line(submission.path / "logs" / "ingest.0.out", Slurm()) == line
    seen = look(submission, Slurm(), Cluster("7_0|FAILED|NonZeroExitCode|n1\n7_[1-2]|PENDING|Priority|\n"))
    assert (line or "NonZeroExitCode") in _troubles(Slurm(), seen)[0]


def test_lines_that_differ_in_numbers_are_one_trouble(submission):
    for number in range(3):
        output(submission, number, f"cannot open /scratch/{number}.tif\n2026-11-29T06:01:00Z exit code 1\n")
    seen = look(submission, Slurm(), Cluster("".join(f"7_{n}|FAILED|NonZeroExitCode|n1\n" for n in range(3))))
    (line,) = _troubles(Slurm(), seen)
    assert line.startswith("3 of ingest failed") and "cannot open /scratch/" in line

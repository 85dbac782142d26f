"""Which jobs a command may touch: several clusters behind one Slurm, and jobs that are not ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.errors import SchedulerError, SchedulerUnavailableError, SiteError
from hpckit.jobs.daskjobs import cancel_worker
from hpckit.jobs.submit import submit
from hpckit.sites.scheduler.model import Answer, Command, Job, Resources, State
from hpckit.sites.scheduler.slurm import Slurm
from hpckit.sites.scheduler.slurm.clusters import asked_clusters
from hpckit.sites.site import Site, site_here
from hpckit.submissions.idle import cancel, settle
from hpckit.submissions.submission import Submission, create, save

QUIET = Console(quiet=True)


class Queues:
    """Clusters as the commands of Slurm 22.05 show them; a job is (id, name, script)."""

    def __init__(self, **clusters: list[tuple[str, str, str]]) -> None:
        self.clusters = clusters
        self.default = next(iter(clusters))
        self.argv: list[tuple[str, ...]] = []
        self.down = False

    def __call__(self, command: Command) -> Answer:
        self.argv.append(command.argv)
        if self.down and command.argv[0] != "sbatch":
            return Answer(
                command, 1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
            )
        argv = list(command.argv)
        where = argv[argv.index("-M") + 1] if "-M" in argv else self.default
        return Answer(command, 0, getattr(self, f"_{argv[0]}")(argv, where), "")

    def _sbatch(self, argv: list[str], where: str) -> str:
        chosen = where.split(",")[-1]
        number = str(max([int(job[0]) for job in self.clusters[chosen]], default=0) + 1)
        script = Path(argv[-1])
        name = next(line for line in script.read_text().splitlines() if "--job-name=" in line).partition("=")[2]
        self.clusters[chosen].append((number, name, str(script)))
        return f"{number};{chosen}\n" if "-M" in argv else f"{number}\n"

    def _squeue(self, argv: list[str], where: str) -> str:
        names = argv[argv.index("--name") + 1].split(",")
        text = ""
        for cluster in where.split(","):
            text += "" if "-h" in argv else f"CLUSTER: {cluster}\nARRAY_JOB_ID|NAME|COMMAND\n"
            text += "".join("|".join(job) + "\n" for job in self.clusters[cluster] if job[1] in names)
        return text

    def _scancel(self, argv: list[str], where: str) -> str:
        self.clusters[where] = [job for job in self.clusters[where] if job[0] not in argv]
        return ""

    def _scontrol(self, argv: list[str], where: str) -> str:
        assert set(argv[argv.index("release") + 1 :]) <= {job[0] for job in self.clusters[where]}
        return ""


def make(tmp_path: Path, *directives: str) -> Submission:
    path = create(tmp_path / "run")
    resources = Resources(directives=directives)
    jobs = tuple(
        Job(f"hp-x-1-{stage}", stage, path / f"{stage}.sh", path / "logs", resources, follows=follows)
        for stage, follows in (("ingest", ()), ("zones", ()), ("signatures", ("ingest",)))
    )
    for job in jobs:
        job.script.write_text(f"#!/bin/bash\n#SBATCH --job-name={job.name}\n")
    poll = {"submit_pause_s": 0}
    made = Submission(path, Site.model_validate({"name": "s", "scheduler": "slurm", "poll": poll}), (), jobs)
    save(made, frozen="")
    return made


def ids(queues: Queues, cluster: str) -> set[str]:
    return {job[0] for job in queues.clusters[cluster]}


def test_jobs_stay_on_the_cluster_that_slurm_chose_for_the_first(tmp_path):
    submission = make(tmp_path, "--clusters=rome,genoa")
    queues = Queues(rome=[("1", "mine", "/home/me/x.sh")], genoa=[])
    submit(submission, Slurm(), queues, QUIET)
    assert [item.id for item in submission.submitted()] == ["1;genoa", "2;genoa", "3;genoa"]
    sent = [argv for argv in queues.argv if argv[0] == "sbatch"]
    assert [argv[argv.index("-M") + 1] for argv in sent] == ["rome,genoa", "genoa", "genoa"]
    assert "--dependency=afterany:1" in sent[2]
    assert ("scontrol", "-M", "genoa", "release", "1", "2") in queues.argv
    assert cancel(submission, Slurm(), queues) == 3
    assert ids(queues, "genoa") == set() and ids(queues, "rome") == {"1"}


@pytest.mark.parametrize("cluster", ["", "genoa"])
def test_a_number_that_somebody_else_s_job_has_by_now_is_left_alone(tmp_path, cluster):
    submission = make(tmp_path, *([f"--clusters={cluster}"] if cluster else []))
    queues = Queues(rome=[], genoa=[])
    submit(submission, Slurm(), queues, QUIET)
    where = cluster or "rome"
    other = "rome" if where == "genoa" else "genoa"
    queues.clusters[where][0] = ("1", "precious", "/home/me/precious.sh")
    queues.clusters[other] = [("2", "precious", "/home/me/precious.sh")]
    assert cancel(submission, Slurm(), queues) == 2
    assert ids(queues, where) == {"1"} and ids(queues, other) == {"2"}


def test_the_jobs_of_a_copied_run_directory_bear_our_names_and_are_not_ours(tmp_path):
    submission = make(tmp_path)
    queues = Queues(rome=[("40", "hp-x-1-ingest", "/copy/run/submissions/0001/ingest.sh")])
    submit(submission, Slurm(), queues, QUIET)
    assert cancel(submission, Slurm(), queues) == 3 and ids(queues, "rome") == {"40"}


def test_a_job_whose_id_was_never_written_down_is_found_by_name_and_script(tmp_path):
    submission = make(tmp_path, "--clusters=rome,genoa")
    job = submission.jobs[0]
    queues = Queues(rome=[("8", job.name, "/other/ingest.sh")], genoa=[("8", job.name, str(job.script))])
    settle(submission, Slurm(), queues)
    assert submission.has("abandoned") and ids(queues, "genoa") == set() and ids(queues, "rome") == {"8"}


def test_a_scheduler_that_does_not_answer_cancels_nothing_and_the_next_command_does(tmp_path):
    submission = make(tmp_path)
    queues = Queues(rome=[])
    submit(submission, Slurm(), queues, QUIET)
    queues.down = True
    with pytest.raises(SchedulerUnavailableError):
        cancel(submission, Slurm(), queues)
    assert submission.has("cancelling") and not submission.is_over, "its jobs may run"
    assert not any(argv[0] == "scancel" for argv in queues.argv)
    queues.down = False
    settle(submission, Slurm(), queues)
    assert submission.has("cancelled") and submission.is_over and not ids(queues, "rome")


def test_a_worker_of_dask_is_cancelled_by_number_and_name():
    queues = Queues(rome=[("4", "hpckit-dask", "/tmp/x.sh"), ("5", "precious", "/home/me/x.sh")])
    queues.clusters["genoa"] = [("4", "precious", "/home/me/x.sh"), ("6", "hpckit-dask", "/tmp/y.sh")]
    for identifier in ("4", "5", "6;genoa", "4;genoa"):
        cancel_worker(Slurm(), queues, identifier)
    assert ids(queues, "rome") == {"5"} and ids(queues, "genoa") == {"4"}


def test_every_command_names_the_cluster():
    jobs = ["12;rome", "13;rome"]
    slurm = Slurm()
    for command in (
        slurm.query(jobs),
        slurm.history(jobs),
        slurm.cancel(jobs),
        slurm.release(jobs),
    ):
        assert command is not None and command.argv[command.argv.index("-M") + 1] == "rome"
        assert not any(";" in word for word in command.argv)
    seen = slurm.read_query(Answer(slurm.query(jobs), 0, "12_0|RUNNING|None|n1\n13_[0-3]|PENDING|None|\n", ""))
    assert [(item.job, item.index) for item in seen if not item.denied] == [("12;rome", 0), ("13;rome", None)]
    line = "12_0|COMPLETED|0:0|1|2|1|n1|2|00:01||1|rome\n"
    assert [item.job for item in slurm.read_history(Answer(slurm.history(jobs), 0, line, ""))] == ["12;rome"]
    assert slurm.element_id("12;rome", 3) == "12_3;rome"
    with pytest.raises(SchedulerError, match="several clusters"):
        slurm.cancel(["12;rome", "12"])


def test_what_squeue_says_of_several_clusters_is_told_apart():
    command = Slurm().query(["1;rome", "1;genoa"])
    assert "-h" not in command.argv
    heading = "JOBID|STATE|REASON|NODELIST\n"
    text = f"CLUSTER: genoa\n{heading}1_0|RUNNING|None|n1\n\nCLUSTER: rome\n{heading}"
    text += "1_[0-2]|PENDING|JobHeldUser|\n"
    found = Slurm().read_query(Answer(command, 0, text, ""))
    seen = {item.job: item.state for item in found if not item.denied}
    assert seen == {"1;genoa": State.RUNNING, "1;rome": State.HELD}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("--clusters=other", "other"),
        ("--cluster=other", "other"),
        ("--clusters other", "other"),
        ("-M other", "other"),
        ("-Mother", "other"),
        ('-M "a,b"  # either', "a,b"),
        ("--mem=0 -M all --mail-type=END", "all"),
        ("--cluster-constraint=gpu", ""),
        ("--comment='-M'", ""),
    ],
)
def test_clusters_in_directives(line, name):
    assert asked_clusters([line]) == name


def test_the_environment_names_clusters_where_the_site_does_not(monkeypatch):
    plain = Site.model_validate({"name": "s", "scheduler": "slurm"})
    monkeypatch.setenv("SLURM_CLUSTERS", "skitty")
    assert asked_clusters(site_here(plain).directives) == "skitty"
    named = plain.model_copy(update={"directives": ["-M rome"]})
    assert site_here(named) is named
    of_stage = Site.model_validate(
        {"name": "s", "scheduler": "slurm", "stages": {"default": {"directives": ["-M a"]}}}
    )
    assert site_here(of_stage) is of_stage
    monkeypatch.setenv("SBATCH_CLUSTERS", "doduo")
    assert asked_clusters(site_here(plain).directives) == "doduo"
    assert site_here(plain.model_copy(update={"scheduler": "pbs"})).directives == []


def test_stages_on_unlike_clusters_are_refused(tmp_path):
    jobs = make(tmp_path).jobs
    there = replace(jobs[1], resources=replace(jobs[1].resources, directives=("--clusters=rome",)))
    Slurm().require_one_place(jobs)
    with pytest.raises(SiteError, match=r"different clusters \(zones: rome; signatures: the default one\)"):
        Slurm().require_one_place([there, jobs[2]])

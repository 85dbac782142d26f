"""Slurm, 22.05 to 25: commands and their answers. Measured on 22.05.8; see docs/explanation/schedulers.md.

Only parsable text formats are asked for: Slurm's JSON changes with each release and is a hundred times larger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from hpckit.errors import SchedulerError, SchedulerUnavailableError
from hpckit.sites.scheduler.answers import only_line, shortened
from hpckit.sites.scheduler.base import Scheduler, is_plain, one_line
from hpckit.sites.scheduler.facts import Facts
from hpckit.sites.scheduler.model import (
    Allowance,
    Answer,
    Command,
    FoundJob,
    Job,
    Runner,
    Sighting,
    State,
    Variables,
)
from hpckit.sites.scheduler.slurm import probe
from hpckit.sites.scheduler.slurm.clusters import (
    asked_clusters,
    at,
    at_one,
    clusters_of_environment,
    join_id,
    sections,
    split_id,
)
from hpckit.sites.scheduler.slurm.held import is_held, remedy

_STATES: Final = {
    "PENDING": State.PENDING,
    "CONFIGURING": State.PENDING,
    "REQUEUED": State.PENDING,
    "POWER_UP_NODE": State.PENDING,
    "EXPEDITING": State.PENDING,
    "REQUEUE_HOLD": State.HELD,
    "RESV_DEL_HOLD": State.HELD,
    "SPECIAL_EXIT": State.HELD,
    "RUNNING": State.RUNNING,
    "COMPLETING": State.RUNNING,
    "STAGE_OUT": State.RUNNING,
    "SIGNALING": State.RUNNING,
    "RESIZING": State.RUNNING,
    "STOPPED": State.SUSPENDED,
    "SUSPENDED": State.SUSPENDED,
    "COMPLETED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    "NODE_FAIL": State.NODE_FAILED,
    "BOOT_FAIL": State.NODE_FAILED,
    "PREEMPTED": State.NODE_FAILED,
    "REQUEUE_FED": State.NODE_FAILED,
    "LAUNCH_FAILED": State.NODE_FAILED,
    "CANCELLED": State.CANCELLED,
    "REVOKED": State.CANCELLED,
}
_JOB_ID: Final = re.compile(r"^(\d+)(?:_(\d+|\[[^|]*))?$")
_UNAVAILABLE: Final = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection refused|Connection timed out|"
    r"slurm_load_jobs error: (?:Transport|Zero Bytes)|Zero Bytes were transmitted|Connection reset|"
    r"Too many requests|rate limit|Resource temporarily unavailable|slurmctld.*(?:down|backup)|"
    r"Could not establish a configuration source|"
    r"Problem talking to (?:the )?database|"
    r"Communication connection failure|Unexpected message received",
    re.IGNORECASE,
)
_ACCEPTED: Final = re.compile(
    r"(?P<id>\d+)(?:;(?P<at>[\w.-]+))?|Submitted batch job (?P<number>\d+)(?: on cluster (?P<on>[\w.-]+))?"
)
_LIVE_FORMAT: Final = "%i|%T|%r|%N"
_PAST_FORMAT: Final = "JobID,State,ExitCode,Start,End,ElapsedRaw,NodeList,AllocCPUS,TotalCPU,MaxRSS,Submit"
_ENERGY: Final = "ConsumedEnergyRaw"
_CLUSTER: Final = "Cluster"
_NO_ENERGY: Final = (0, 2**32 - 2, 2**32 - 1, 2**64 - 2, 2**64 - 1)
"""Joules of jobs that nobody measured: none, and Slurm's marks for "no value" of 32 and 64 bits."""


class Slurm(Scheduler):
    """Slurm."""

    name = "slurm"
    title = "Slurm"
    variables = Variables(
        job="SLURM_JOB_ID",
        index="SLURM_ARRAY_TASK_ID",
        folder="SLURM_SUBMIT_DIR",
        node="SLURMD_NODENAME",
        passed=("SLURM*",),
    )
    unset = ("SBATCH_", "SLURM_", "SQUEUE_", "SACCT_", "SCANCEL_", "SALLOC_", "SINFO_")
    kept = ("SLURM_CONF",)
    array_size = 1001
    submit_limit = 10_000  # MaxJobCount, of all users
    programs = ("sbatch", "squeue", "sacct", "scancel", "scontrol")
    asked_by = "sinfo"
    oldest = (22, 5)
    oldest_title = "Slurm 22.05"
    launchers = ("srun", *Scheduler.launchers)
    said: ClassVar[Mapping[State, re.Pattern[str]]] = {
        State.OUT_OF_MEMORY: re.compile(r"[Ee]xceeded (?:job|step) memory limit|oom.kill"),
        State.TIMEOUT: re.compile(r"DUE TO TIME LIMIT"),
    }
    noise = re.compile(
        r"^srun: (?:error: \S+: tasks? |Job step aborted|launch/slurm|Terminating|Force Terminated)"
        r"|^slurmstepd\S*: error: \*\*\*"
    )

    def submit(
        self,
        job: Job,
        after: Sequence[str],
        *,
        hold: bool,
        mirrored: str | None = None,
        index: int | None = None,
        beside: str | None = None,
    ) -> Command:
        """`sbatch`; the script says all that does not depend on the moment."""
        # Of several clusters Slurm chooses one for the first job; dependencies do not reach beyond it.
        argv = ["sbatch", "--parsable", *at([split_id(beside or "")[1] or asked_clusters(job.resources.directives)])]
        if hold:
            argv.append("--hold")
        conditions = ["afterany:" + ":".join(split_id(each)[0] for each in after)] if after else []
        if mirrored is not None:
            # An element whose namesake fails would wait for ever.
            conditions.append(f"aftercorr:{split_id(mirrored)[0]}")
            argv.append("--kill-on-invalid-dep=yes")
        if conditions:
            argv.append("--dependency=" + ",".join(conditions))
        if index is not None:
            argv.append(f"--array={index}")
        return Command((*argv, str(job.script)))

    def read_submit(self, answer: Answer) -> str:
        """`1234` or `1234;cluster`, among whatever a site prints besides."""
        _require(answer)
        found = only_line(answer.stdout, _ACCEPTED)
        if found is None:
            raise SchedulerError(
                f"sbatch said {shortened(answer.stdout)!r} where one job id was expected",
                hint="a wrapper or plugin of sbatch prints more than `--parsable` gives: see `type sbatch`",
            )
        number, cluster = found["id"] or found["number"], found["at"] or found["on"] or ""
        asked = _asked(answer.command)
        return join_id(number, cluster or (asked if asked != "all" and "," not in asked else ""))

    def query(self, jobs: Sequence[str]) -> Command:
        """`squeue`; it knows ended jobs for MinJobAge (300 s) more."""
        # With a single id squeue fails once the job is gone; with two it answers with nothing.
        ids = ",".join(split_id(job)[0] for job in (*jobs, jobs[0]))
        words = _squeue({split_id(job)[1] for job in jobs})
        # A list of pending elements is cut without a mark unless this is 0.
        return Command((*words, "-t", "all", "-j", ids, "-o", _LIVE_FORMAT), {"SLURM_BITSTR_LEN": "0"})

    def read_query(self, answer: Answer) -> list[Sighting]:
        """One line per element, or per range of elements that are pending."""
        if answer.code == 0 or "Invalid job id" not in answer.stderr:
            _require(answer)
        lines = sections(answer.command, answer.stdout)
        seen = [found for cluster, line in lines if (found := _live(line, cluster)) is not None]
        return [*seen, *_denied(answer.command, seen)]

    def history(self, jobs: Sequence[str]) -> Command | None:
        """`sacct`, with steps, whose memory and CPU time count."""
        clusters = at(split_id(job)[1] for job in jobs)
        ids = ",".join(split_id(job)[0] for job in jobs)
        columns = ",".join([_PAST_FORMAT, *([_CLUSTER] if clusters else []), _ENERGY])
        return Command(("sacct", *clusters, "-n", "-P", "-j", ids, "-o", columns), {"SLURM_TIME_FORMAT": "%s"})

    def read_history(self, answer: Answer) -> list[Sighting]:
        """Elements with the usage of their steps."""
        _require(answer)
        found: dict[tuple[str, int | None], Sighting] = {}
        columns = _columns(answer.command)
        for line in answer.stdout.splitlines():
            _past(line, columns, found)
        return list(found.values())

    def cancel(self, jobs: Sequence[str]) -> Command:
        """`scancel`."""
        where, numbers = at_one(jobs)
        return Command(("scancel", *where, *numbers))

    def release(self, jobs: Sequence[str]) -> Command:
        """`scontrol release`."""
        where, numbers = at_one(jobs)
        return Command(("scontrol", *where, "release", *numbers))

    def find(self, jobs: Sequence[Job], beside: str | None = None) -> Command:
        """`squeue --me --name`, on the cluster that the submission is on, or may be on."""
        near = split_id(beside)[1] if beside is not None else asked_clusters(jobs[0].resources.directives)
        names = ",".join(dict.fromkeys(job.name for job in jobs))
        return Command((*_squeue(near.split(",")), "--me", "--name", names, "-o", "%F|%j|%o"))

    def read_find(self, answer: Answer, jobs: Sequence[Job]) -> list[FoundJob]:
        """Arrays, each once."""
        _require(answer)
        names = {job.name for job in jobs}
        rows = ((cluster, line.split("|", 2)) for cluster, line in sections(answer.command, answer.stdout))
        found = [FoundJob(join_id(row[0], where), row[1], row[2]) for where, row in rows if len(row) == 3]
        return list(dict.fromkeys(item for item in found if item.name in names))

    def check_done(self, answer: Answer) -> None:
        """Jobs that ended meanwhile cannot be cancelled, which is as well."""
        if answer.code != 0 and re.search(
            r"Invalid job id|Job/step already completing or completed|Job is no longer pending", answer.stderr
        ):
            return
        _require(answer)

    def element_id(self, job: str, index: int | None) -> str:
        """`1234_5`, or `1234_5;rome` where there are several clusters."""
        number, cluster = split_id(job)
        return job if index is None else join_id(f"{number}_{index}", cluster)

    def remedy(self, reason: str, identifier: str) -> str:
        """By the reason that squeue shows."""
        return remedy(reason, identifier)

    def directive(self, value: object) -> str:
        """Slurm understands double quotes and backslashes."""
        text = one_line(value)
        return text if is_plain(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def directives_here(self, environment: Mapping[str, str], directives: Sequence[str]) -> list[str]:
        """Clusters that the environment names, where directives name none."""
        return clusters_of_environment(environment, directives)

    def mail(self, address: str) -> tuple[str, ...]:
        """One mail for an array: without ARRAY_TASKS there is none for its elements."""
        return ("--mail-type=END,FAIL", f"--mail-user={address}")

    def place(self, job: Job) -> str:
        """No job can wait for one of another cluster."""
        return asked_clusters(job.resources.directives)

    def probe(self, runner: Runner) -> Facts:
        """By sinfo, scontrol and sacctmgr."""
        return probe.gather(runner)

    def accounts(self, user: str) -> tuple[str, ...]:
        """`sacctmgr show assoc`."""
        return ("sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", "format=account,partition,qos")

    def read_accounts(self, text: str) -> tuple[Allowance, ...]:
        """Lines with three columns."""
        rows = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
        return tuple(
            Allowance(account, partition, tuple(name for name in qos.split(",") if name))
            for account, partition, qos in rows
            if account
        )

    def free_cores(self, partition: str) -> Command:
        """`sinfo`: allocated, idle, other, total; idle ones are of nodes that take jobs."""
        return Command(("sinfo", "-h", "-o", "%C", *(("-p", partition) if partition else ())))

    def read_free_cores(self, answer: Answer) -> int | None:
        """`12/52/0/64`, a line for each kind of nodes."""
        _require(answer)
        rows = [line.strip().split("/") for line in answer.stdout.splitlines()]
        known = [int(row[1]) for row in rows if len(row) == 4 and row[1].isdigit()]
        return sum(known) if known else None

    def submit_script(self, script: Path) -> Command:
        """`sbatch`."""
        return Command(("sbatch", "--parsable", str(script)))

    def dask_cluster(self) -> type[Any]:
        """`SLURMCluster`."""
        import dask_jobqueue

        kind: type[Any] = dask_jobqueue.SLURMCluster
        return kind


def _squeue(clusters: Iterable[str]) -> list[str]:
    """`squeue` on clusters; of several, with the headings that say which lines are of which."""
    where = at(clusters)
    several = bool(where) and ("," in where[1] or where[1] == "all")
    return ["squeue", *where, *([] if several else ["-h"])]


def _asked(command: Command) -> str:
    return command.argv[command.argv.index("-M") + 1] if "-M" in command.argv else ""


def _require(answer: Answer) -> None:
    """Sort a command that failed by what it printed: Slurm's exit codes do not distinguish errors."""
    if answer.code == 0:
        return
    text = " ".join(answer.stderr.split()) or f"exit code {answer.code}, no message"
    if _UNAVAILABLE.search(text) or answer.code == 124:
        raise SchedulerUnavailableError(
            f"{answer.command.argv[0]}: Slurm does not answer: {text}",
            hint="its jobs continue; try again in some minutes",
        )
    raise SchedulerError(f"{answer.command.argv[0]}: {text}", hint=_remedy(text))


def _remedy(text: str) -> str | None:
    remedies = {
        "Invalid partition": "`sinfo -s` lists the partitions; correct `partitions` or `stages` in the site file",
        "Invalid account": "`sacctmgr show assoc user=$USER` lists your accounts; give one with --account",
        "Invalid qos": "correct `qos` in the site file; `sacctmgr show qos` lists them",
        "Invalid job array": "set `arrays.max_size` in the site file to MaxArraySize of `scontrol show config`",
        "time limit": "choose a shorter `walltime` for the stage",
        "node configuration is not available": "ask for less memory, fewer cores or GPUs, or another partition",
        "QOSMaxSubmitJobPerUserLimit": "set `max_submitted` of the partition in the site file",
        "invalid entry for --cluster": "`sacctmgr show cluster` lists them; repair `--clusters` in the site file",
        "Job violates accounting/QOS policy": "set `max_submitted`, `qos` and `account` in the site file",
    }
    return next((remedy for word, remedy in remedies.items() if word.lower() in text.lower()), None)


def _live(line: str, cluster: str) -> Sighting | None:
    fields = line.strip().split("|")
    if len(fields) < 4 or (place := _place(fields[0], cluster)) is None:
        return None
    word, reason, nodes = fields[1], fields[2], fields[3]
    state = _STATES.get(word, State.UNKNOWN)
    if state is State.PENDING and is_held(reason):
        state = State.HELD
    return Sighting(*place, state, word, "" if reason == "None" else reason, nodes=nodes)


def _denied(command: Command, seen: Sequence[Sighting]) -> list[Sighting]:
    """What a good answer leaves out: elements that this Slurm does not have, or does not have any more."""
    argv = command.argv
    asked = argv[argv.index("-j") + 1].split(",") if "-j" in argv else []
    clusters = _asked(command).split(",")
    whole = {item.job for item in seen if item.index is None}
    reason = "Slurm no longer knows it"
    jobs = dict.fromkeys(join_id(number, cluster) for number in asked for cluster in clusters)
    return [Sighting(job, None, State.UNKNOWN, "", reason, denied=True) for job in jobs if job not in whole]


def _place(text: str, cluster: str) -> tuple[str, int | None] | None:
    """Array id and index. Ranges of pending elements have no index: their list may be cut."""
    match = _JOB_ID.match(text)
    if match is None:
        return None
    index = match.group(2)
    return join_id(match.group(1), cluster), int(index) if index is not None and index.isdigit() else None


def _columns(command: Command) -> list[str]:
    """What sacct was asked for."""
    argv = command.argv
    return argv[argv.index("-o") + 1].split(",") if "-o" in argv else [*_PAST_FORMAT.split(","), _CLUSTER]


def _past(line: str, columns: Sequence[str], found: dict[tuple[str, int | None], Sighting]) -> None:
    fields = line.split("|")
    if len(fields) < 11:
        return
    more = dict(zip(columns[11:], fields[11:], strict=False))
    text, _, step = fields[0].partition(".")
    place = _place(text, more.get(_CLUSTER, ""))
    if place is None:
        return
    max_rss, energy_j = _bytes(fields[9]), _joules(more.get(_ENERGY, ""))
    if step:
        if place in found:
            found[place] = _with_step(found[place], max_rss, energy_j)
        return
    code, _, number = fields[2].partition(":")
    word = fields[1].partition(" ")[0]
    found[place] = Sighting(
        *place,
        _STATES.get(word, State.UNKNOWN),
        word,
        exit_code=int(code)
        if code.isdigit() and number in ("0", "")
        else (128 + int(number) if number.isdigit() else None),
        start=_epoch(fields[3]),
        end=_epoch(fields[4]),
        elapsed_s=float(fields[5]) if fields[5].isdigit() else None,
        nodes="" if fields[6] == "None assigned" else fields[6],
        cores=int(fields[7]) if fields[7].isdigit() else None,
        cpu_s=_cpu_seconds(fields[8]),
        max_rss=max_rss,
        energy_j=energy_j,
    )


def _with_step(sighting: Sighting, max_rss: int | None, energy_j: float | None) -> Sighting:
    """An element with the largest memory of its steps, and the largest energy.

    Steps run at the same time on the same nodes, and each is given the energy of whole nodes: a sum counts it twice.
    """
    rss = [value for value in (max_rss, sighting.max_rss) if value is not None]
    joules = [value for value in (energy_j, sighting.energy_j) if value is not None]
    return replace(sighting, max_rss=max(rss, default=None), energy_j=max(joules, default=None))


def _joules(text: str) -> float | None:
    """Energy as sacct prints it; 0, nothing, and marks for "no value" mean that no plugin measures it."""
    found = re.fullmatch(r"(\d+)(?:\.\d+)?", text.strip())
    value = int(found[1]) if found else 0
    return None if value in _NO_ENERGY else float(value)


def _epoch(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _cpu_seconds(text: str) -> float | None:
    """`1-02:03:04`, `02:03:04`, `03:04.567`."""
    days, dash, clock = text.rpartition("-")
    try:
        parts = [float(part) for part in clock.split(":")]
    except ValueError:
        return None
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + part
    return seconds + (86400 * int(days) if dash else 0)


def _bytes(text: str) -> int | None:
    match = re.match(r"^([\d.]+)([KMGTP]?)$", text)
    if match is None:
        return None
    return int(float(match.group(1)) * 1024 ** " KMGTP".index(match.group(2) or " "))

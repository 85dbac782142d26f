"""Slurm, 22.05 to 25: commands and their answers. Measured on 22.05.8; see docs/explanation/schedulers.md.

Only parsable text formats are asked for: Slurm's JSON changes with each release and is a hundred times larger.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from hpckit.errors import SchedulerError, SchedulerUnavailableError
from hpckit.scheduler.model import Answer, Command, Job, Sighting, State

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
_HELD_FOR_EVER: Final = re.compile(
    r"DependencyNeverSatisfied|JobHeld|BadConstraints|InvalidAccount|InvalidQOS|PartitionTimeLimit|PartitionNodeLimit"
    r"|launch failed requeued held|QOSMax\w*PerJob|AssocMax\w*PerJob|MaxMemPerLimit"
)
"""Reasons of pending jobs that do not pass by waiting."""
_JOB_ID: Final = re.compile(r"^(\d+)(?:_(\d+|\[[^|]*))?$")
_UNAVAILABLE: Final = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection refused|Connection timed out|"
    r"slurm_load_jobs error: (?:Transport|Zero Bytes)|Zero Bytes were transmitted|Connection reset|"
    r"Too many requests|rate limit|Resource temporarily unavailable|slurmctld.*(?:down|backup)|"
    r"Communication connection failure|Unexpected message received",
    re.IGNORECASE,
)
_LIVE_FORMAT: Final = "%i|%T|%r|%N"
_PAST_FORMAT: Final = "JobID,State,ExitCode,Start,End,ElapsedRaw,NodeList,AllocCPUS,TotalCPU,MaxRSS,Submit"


class Slurm:
    """Slurm."""

    name = "slurm"
    unset: tuple[str, ...] = ("SBATCH_", "SLURM_", "SQUEUE_", "SACCT_", "SCANCEL_", "SALLOC_")

    def submit(
        self, job: Job, after: Sequence[str], *, hold: bool, mirrored: str | None = None, index: int | None = None
    ) -> Command:
        """`sbatch`; the script says all that does not depend on the moment."""
        argv = ["sbatch", "--parsable"]
        if hold:
            argv.append("--hold")
        conditions = ["afterany:" + ":".join(after)] if after else []
        if mirrored is not None:
            # An element whose namesake fails would wait for ever.
            conditions.append(f"aftercorr:{mirrored}")
            argv.append("--kill-on-invalid-dep=yes")
        if conditions:
            argv.append("--dependency=" + ",".join(conditions))
        if index is not None:
            argv.append(f"--array={index}")
        return Command((*argv, str(job.script)))

    def read_submit(self, answer: Answer) -> str:
        """`1234` or `1234;cluster`."""
        _require(answer)
        identifier = answer.stdout.strip().partition(";")[0]
        if not identifier.isdigit():
            raise SchedulerError(f"sbatch said {answer.stdout.strip()!r} where a job id was expected")
        return identifier

    def query(self, jobs: Sequence[str]) -> Command:
        """`squeue`; it knows ended jobs for MinJobAge (300 s) more."""
        # With a single id squeue fails once the job is gone; with two it answers with nothing.
        ids = [*jobs, jobs[0]]
        # A list of pending elements is cut without a mark unless this is 0.
        return Command(
            ("squeue", "-h", "-t", "all", "-j", ",".join(ids), "-o", _LIVE_FORMAT), {"SLURM_BITSTR_LEN": "0"}
        )

    def read_query(self, answer: Answer) -> list[Sighting]:
        """One line per element, or per range of elements that are pending."""
        if answer.code != 0 and "Invalid job id" in answer.stderr:
            return []
        _require(answer)
        return [found for line in answer.stdout.splitlines() if (found := _live(line)) is not None]

    def history(self, jobs: Sequence[str]) -> Command | None:
        """`sacct`, with steps, whose memory and CPU time count."""
        return Command(("sacct", "-n", "-P", "-j", ",".join(jobs), "-o", _PAST_FORMAT), {"SLURM_TIME_FORMAT": "%s"})

    def read_history(self, answer: Answer) -> list[Sighting]:
        """Elements with the usage of their steps."""
        _require(answer)
        found: dict[tuple[str, int | None], Sighting] = {}
        for line in answer.stdout.splitlines():
            _past(line, found)
        return list(found.values())

    def cancel(self, jobs: Sequence[str]) -> Command:
        """`scancel`."""
        return Command(("scancel", *jobs))

    def hold(self, jobs: Sequence[str]) -> Command:
        """`scontrol hold`."""
        return Command(("scontrol", "hold", *jobs))

    def release(self, jobs: Sequence[str]) -> Command:
        """`scontrol release`."""
        return Command(("scontrol", "release", *jobs))

    def find(self, name: str) -> Command:
        """`squeue --me --name`."""
        return Command(("squeue", "-h", "--me", "--name", name, "-o", "%F"))

    def read_find(self, answer: Answer, name: str) -> list[str]:
        """Ids of arrays, each once."""
        _require(answer)
        return sorted(set(answer.stdout.split()))

    def check_done(self, answer: Answer) -> None:
        """Jobs that ended meanwhile cannot be cancelled, which is as well."""
        if answer.code != 0 and re.search(
            r"Invalid job id|Job/step already completing or completed|Job is no longer pending", answer.stderr
        ):
            return
        _require(answer)

    def element_id(self, job: str, index: int | None) -> str:
        """`1234_5`."""
        return job if index is None else f"{job}_{index}"


def _require(answer: Answer) -> None:
    """Sort a command that failed by what it printed: Slurm's exit codes tell nothing apart."""
    if answer.code == 0:
        return
    text = " ".join(answer.stderr.split()) or f"exit code {answer.code}, no message"
    if _UNAVAILABLE.search(text) or answer.code == 124:
        raise SchedulerUnavailableError(
            f"{answer.command.argv[0]}: Slurm does not answer: {text}",
            hint="jobs that it has go on; try again in some minutes",
        )
    raise SchedulerError(f"{answer.command.argv[0]}: {text}", hint=_remedy(text))


def _remedy(text: str) -> str | None:
    remedies = {
        "Invalid partition": "`sinfo -s` lists the partitions; mend `partitions` or `stages` in the site file",
        "Invalid account": "`sacctmgr show assoc user=$USER` lists your accounts; give one with --account",
        "Invalid qos": "mend `qos` in the site file; `sacctmgr show qos` lists them",
        "Invalid job array": "set `arrays.max_size` in the site file to MaxArraySize of `scontrol show config`",
        "time limit": "choose a shorter `walltime` for the stage",
        "node configuration is not available": "ask for less memory, fewer cores or GPUs, or another partition",
        "QOSMaxSubmitJobPerUserLimit": "set `max_submitted` of the partition in the site file",
        "Job violates accounting/QOS policy": "set `max_submitted`, `qos` and `account` in the site file",
    }
    return next((remedy for word, remedy in remedies.items() if word.lower() in text.lower()), None)


def _live(line: str) -> Sighting | None:
    fields = line.strip().split("|")
    if len(fields) < 4 or (place := _place(fields[0])) is None:
        return None
    word, reason, nodes = fields[1], fields[2], fields[3]
    state = _STATES.get(word, State.UNKNOWN)
    if state is State.PENDING and _HELD_FOR_EVER.search(reason):
        state = State.HELD
    return Sighting(*place, state, word, "" if reason == "None" else reason, nodes=nodes)


def _place(text: str) -> tuple[str, int | None] | None:
    """Array id and index. Ranges of pending elements have no index: their list may be cut."""
    match = _JOB_ID.match(text)
    if match is None:
        return None
    index = match.group(2)
    return match.group(1), int(index) if index is not None and index.isdigit() else None


def _past(line: str, found: dict[tuple[str, int | None], Sighting]) -> None:
    fields = line.split("|")
    if len(fields) < 11:
        return
    text, _, step = fields[0].partition(".")
    place = _place(text)
    if place is None:
        return
    max_rss = _bytes(fields[9])
    if step:
        known = found.get(place)
        if known is not None and max_rss is not None:
            found[place] = _with_rss(known, max(max_rss, known.max_rss or 0))
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
    )


def _with_rss(sighting: Sighting, max_rss: int) -> Sighting:
    from dataclasses import replace

    return replace(sighting, max_rss=max_rss)


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

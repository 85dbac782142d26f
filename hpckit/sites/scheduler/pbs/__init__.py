"""OpenPBS and PBS Pro, 20 to 23: commands and their answers. Captured from 23.06; see docs/explanation/schedulers.md.

Traps that this module walks around: a parent array's Exit_status is that of the subjob that ended last, so
subjobs are read; `afterok` trusts it, so it is never used; arrays of one element are refused; exit code 153
means that *some* id is unknown; `-F json` prints the first of several jobs only. Without job history, which is
the default, `-x` is refused for every job with exit code 0: so states are asked for without it, and what has
ended is unknown then. Listings cut ids after the second dot, and where their column ends.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from hpckit.base.account import login_name
from hpckit.errors import SchedulerError, SchedulerUnavailableError, SubmissionError
from hpckit.sites.scheduler.answers import only_line, shortened
from hpckit.sites.scheduler.base import Scheduler, is_plain, one_line
from hpckit.sites.scheduler.facts import Facts
from hpckit.sites.scheduler.model import Answer, Command, FoundJob, Job, Runner, Sighting, State, Variables
from hpckit.sites.scheduler.pbs import probe

_JOB_ID: Final = re.compile(r"^(\d+)(\[(\d*)\])?(\..*)?$")
_ACCEPTED: Final = re.compile(r"\d+(?:\[\])?\.[\w.-]+")
_STATES: Final = {
    "B": State.RUNNING,
    "Q": State.PENDING,
    "T": State.PENDING,
    "W": State.PENDING,
    "M": State.PENDING,
    "H": State.HELD,
    "R": State.RUNNING,
    "E": State.RUNNING,
    "S": State.SUSPENDED,
    "U": State.SUSPENDED,
    "X": State.ENDED,
    "F": State.ENDED,
}
_NO_EXIT_STATUS: Final = State.CANCELLED
_BY_USER: Final = "its user holds it"
_BY_OPERATORS: Final = "the cluster holds it"
_EXIT_STATES: Final = {-27: State.OUT_OF_MEMORY, -26: State.OUT_OF_MEMORY, -28: State.TIMEOUT, -29: State.TIMEOUT}
_GONE: Final = re.compile(r"Unknown Job Id (\S+)")
_OVER: Final = re.compile(r"(\d+(?:\[\d*\])?\S*) Job has finished")
_NO_HISTORY: Final = re.compile(r"not configured to maintain job history")
_UNAVAILABLE: Final = re.compile(
    r"cannot connect to server|Connection refused|Connection timed out|No route|timed out|End of File|"
    r"Unable to contact|Communication failure|server shutting down|Invalid credential|Resource temporarily",
    re.IGNORECASE,
)


class Pbs(Scheduler):
    """OpenPBS and PBS Pro."""

    name = "pbs"
    title = "PBS"
    variables = Variables(
        job="PBS_JOBID",
        index="PBS_ARRAY_INDEX",
        folder="PBS_O_WORKDIR",
        node_file="PBS_NODEFILE",
        passed=("PBS_*",),
    )
    unset = ("PBS_",)
    kept = ("PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER")
    array_size = 10_000
    programs = ("qsub", "qstat", "qdel", "qrls")
    asked_by = "qstat"
    oldest = (19, 0)
    oldest_title = "OpenPBS 20"
    mpi_part = "tm"
    keeps_output = True
    said: ClassVar[Mapping[State, re.Pattern[str]]] = {
        State.OUT_OF_MEMORY: re.compile(r"PBS: job killed: v?mem"),
        State.TIMEOUT: re.compile(r"PBS: job killed: walltime"),
    }

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
        """`qsub`; the script says all that does not depend on the moment."""
        if mirrored is not None:
            raise SchedulerError("PBS has no dependencies between elements", hint="use --chain stages")
        argv = ["qsub"]
        if hold:
            argv.append("-h")
        if after:
            argv += ["-W", "depend=afterany:" + ":".join(after)]
        if index is not None:
            argv += ["-v", f"HPCKIT_INDEX={index}", "-o", str(job.logs / f"{job.script.stem}.{index}.out")]
        return Command((*argv, str(job.script)))

    def read_submit(self, answer: Answer) -> str:
        """`1234[].server`, among whatever a site prints besides."""
        _require(answer)
        found = only_line(answer.stdout, _ACCEPTED)
        if found is None:
            raise SchedulerError(
                f"qsub said {shortened(answer.stdout)!r} where one job id was expected",
                hint="a wrapper or hook of qsub prints more than the id: see `type qsub`",
            )
        return found.group()

    def query(self, jobs: Sequence[str]) -> Command:
        """`qstat -t -w`: one short line per subjob of what is not over."""
        return Command(("qstat", "-t", "-w", *jobs))

    def read_query(self, answer: Answer) -> list[Sighting]:
        """Live states, and what the server says of the other jobs: that they have ended, or that it has none such."""
        said = _said_of_jobs(answer)
        asked = _ids(answer.command.argv)
        listed = (_listed(line, asked) for line in answer.stdout.splitlines())
        return [*(found for found in listed if found is not None), *said]

    def history(self, jobs: Sequence[str]) -> Command | None:
        """`qstat -x -f -w -t`: all attributes, one per line."""
        return Command(("qstat", "-x", "-f", "-w", "-t", *jobs))

    def read_history(self, answer: Answer) -> list[Sighting]:
        """Elements with exit status and usage; none where the server keeps no history."""
        _said_of_jobs(answer)
        asked = _ids(answer.command.argv)
        found = (_described(identifier, values, asked) for identifier, values in _blocks(answer.stdout))
        return [sighting for sighting in found if sighting is not None]

    def ask_held(self, jobs: Sequence[str]) -> Command | None:
        """`qstat -f -w`: the short listing shows H for a dependency, too."""
        return Command(("qstat", "-f", "-w", *jobs))

    def read_held(self, answer: Answer) -> list[Sighting]:
        """A system hold of a job with dependencies is one that PBS itself takes off."""
        _said_of_jobs(answer)
        asked = _ids(answer.command.argv)
        blocks = [(_place(identifier, asked), values) for identifier, values in _blocks(answer.stdout)]
        return [_held(place[0], values) for place, values in blocks if place is not None and "Hold_Types" in values]

    def remedy(self, reason: str, identifier: str) -> str:
        """By who holds the job."""
        if reason == _BY_USER:
            return f"`qrls {identifier}` lets it go"
        return "ask the operators of the cluster" if reason.startswith(_BY_OPERATORS) else ""

    def cancel(self, jobs: Sequence[str]) -> Command:
        """`qdel`."""
        return Command(("qdel", *jobs))

    def release(self, jobs: Sequence[str]) -> Command:
        """`qrls`."""
        return Command(("qrls", *jobs))

    def find(self, jobs: Sequence[Job], beside: str | None = None) -> Command:
        """`qstat -f -w`: full names of all jobs that are not over; the short listing cuts names."""
        return Command(("qstat", "-f", "-w"))

    def read_find(self, answer: Answer, jobs: Sequence[Job]) -> list[FoundJob]:
        """Jobs of exactly these names that belong to this user."""
        _require(answer)
        names, owner = {job.name for job in jobs}, f"{login_name()}@"
        return [
            FoundJob(identifier, values["Job_Name"], values.get("Submit_arguments", "").rpartition(" ")[2])
            for identifier, values in _blocks(answer.stdout)
            if values.get("Job_Name") in names and values.get("Job_Owner", owner).startswith(owner)
        ]

    def check_done(self, answer: Answer) -> None:
        """Jobs that ended meanwhile (unknown, or history) are no fault."""
        if answer.code != 0 and re.search(
            r"Unknown Job Id|Job has finished|Request invalid for state", answer.stderr
        ):
            return
        _require(answer)

    def element_id(self, job: str, index: int | None) -> str:
        """`1234[5].server`."""
        return job if index is None else job.replace("[]", f"[{index}]", 1)

    def directive(self, value: object) -> str:
        """Nothing can be quoted reliably."""
        text = one_line(value)
        if not is_plain(text) or "," in text:
            raise SubmissionError(
                f"PBS does not accept {text!r}: a value in a #PBS line has no spaces, quotes, commas or shell "
                "characters",
                hint="move the campaign to another path, or correct the value in the site file",
            )
        return text

    def script_words(self, job: Job) -> Mapping[str, Any]:
        """`umask`."""
        return {"umask": _umask(job.resources.directives)}

    def mail(self, address: str) -> tuple[str, ...]:
        """At the end and when it is aborted; without `j` not for subjobs."""
        return ("-m ae", f"-M {address}")

    def probe(self, runner: Runner) -> Facts:
        """By qstat and pbsnodes."""
        return probe.gather(runner)

    def free_cores(self, partition: str) -> Command:
        """`pbsnodes -av`; queues share nodes, so all are counted."""
        return Command(("pbsnodes", "-av"))

    def read_free_cores(self, answer: Answer) -> int | None:
        """Of all nodes."""
        _require(answer)
        return probe.read_free_cores(answer.stdout)

    def submit_script(self, script: Path) -> Command:
        """`qsub`."""
        return Command(("qsub", str(script)))

    def dask_cluster(self) -> type[Any]:
        """`PBSCluster`."""
        import dask_jobqueue

        kind: type[Any] = dask_jobqueue.PBSCluster
        return kind


def _said_of_jobs(answer: Answer) -> list[Sighting]:
    """What stderr says of jobs that were asked for; the exit code is that of the last one that failed."""
    lines = answer.stderr.splitlines()
    gone = [match.group(1) for line in lines if (match := _GONE.search(line)) is not None]
    over = [match.group(1) for line in lines if (match := _OVER.search(line)) is not None]
    if not (gone or over or _NO_HISTORY.search(answer.stderr)) or _UNAVAILABLE.search(answer.stderr):
        _require(answer)
    asked = _ids(answer.command.argv)
    reason = "the server no longer knows it"
    return [
        *(Sighting(job, None, State.UNKNOWN, "", reason, denied=True) for job in _asked_for(gone, asked)),
        *(Sighting(job, None, State.ENDED, "F") for job in _asked_for(over, asked)),
    ]


def _asked_for(ids: Sequence[str], asked: Sequence[str]) -> list[str]:
    return [job for job in asked if any(same_job(job, each) for each in ids)]


def _require(answer: Answer) -> None:
    if answer.code == 0:
        return
    text = " ".join(answer.stderr.split()) or f"exit code {answer.code}, no message"
    if _UNAVAILABLE.search(text) or answer.code in (124, 255):
        raise SchedulerUnavailableError(
            f"{answer.command.argv[0]}: PBS does not answer: {text}",
            hint="its jobs continue; try again in some minutes",
        )
    raise SchedulerError(f"{answer.command.argv[0]}: {text}", hint=_remedy(text))


_TOO_MANY: Final = (
    "set `max_submitted` of the partition in the site file to what `qstat -Bf` and `qstat -Qf QUEUE` show as "
    "max_queued, or wait until your other jobs have ended"
)
_REMEDIES: Final = {
    r"would exceed .*limit on resource": "`qstat -Qf QUEUE` and `qstat -Bf` show the limits; ask for fewer cores, "
    "less memory or fewer elements at a time",
    r"would exceed .*limit": _TOO_MANY,
    r"Maximum number of jobs": _TOO_MANY,
    r"exceeds server or queue size limit": "set `arrays.max_size` in the site file to the max_array_size",
    r"violates queue and/or server resource limits": "`qstat -Qf QUEUE` shows the limits; ask for less",
    r"Resource limit exceeds allowable": "`qstat -Qf QUEUE` shows the limits; ask for less",
    r"Unknown queue": "`qstat -Q` lists the queues; correct `partitions` or `stages` in the site file",
    r"Access to queue is denied": "your account may not use it: name another partition with --partition",
    r"Queue is not enabled": "it takes no jobs now; `qstat -Q` lists the queues, choose another with --partition",
    r"rejected by all possible destinations": "no queue accepts such a job: `qstat -Qf` shows what each one accepts",
    r"Unknown resource": "correct `directives` in the site file",
    r"cannot be used with \"select\"": "set `job_wide: true` in the site file, or leave that resource out of "
    "`directives`",
    r"Invalid Account": "give a valid one with --account, or set `account` in the site file",
    r"Bad UID for job execution": "the server does not let this login run jobs: ask its admins",
    r"Bad GID for job execution": "correct `-W group_list` in `directives` of the site file; `id` lists your groups",
    r"Illegal attribute": "correct `stages` or `directives` in the site file",
    r"illegal -J": "set `arrays.supported: false` in the site file if this server has no arrays",
    r"illegal -N": "this server takes other names of jobs: ask its admins for their longest one",
    r"Unauthorized Request": "the server does not let you do this; was it submitted by another person?",
    r"hook": "a rule of the site refused the job: the message names it; `directives` in the site file add options",
}
"""What helps, by what the server says; the first that fits."""


def _remedy(text: str) -> str | None:
    return next((remedy for words, remedy in _REMEDIES.items() if re.search(words, text, re.IGNORECASE)), None)


def _listed(line: str, asked: Sequence[str]) -> Sighting | None:
    """A line of `qstat -t -w`: id, name, user, time, state, queue. Names have no spaces."""
    fields = line.split()
    if len(fields) < 6 or (place := _place(fields[0], asked)) is None:
        return None
    word = fields[-2]
    return Sighting(*place, _STATES.get(word, State.UNKNOWN), word)


def _place(identifier: str, asked: Sequence[str]) -> tuple[str, int | None] | None:
    """Id of the array, as it was asked for, and index: `12[3].vm` is element 3 of `12[].vm.example.org`."""
    match = _JOB_ID.match(identifier)
    if match is None:
        return None
    number, brackets, index, server = match.groups()
    job = number + ("[]" if brackets else "") + (server or "")
    same = [each for each in asked if same_job(each, job)]
    return (same[0] if same else job), int(index) if index else None


def same_job(one: str, other: str) -> bool:
    """Whether two ids are of one job: the server may be named in full, by its first label, cut, or not at all.

    >>> same_job("12[].pbs-m1.metacentrum.cz", "12[].pbs-m1"), same_job("12.averylongname", "12.averylo*")
    (True, True)
    >>> same_job("12.alpha", "12.beta"), same_job("12.alpha", "12.alphabet"), same_job("12[].s", "12.s")
    (False, False, False)
    """
    number, _, server = one.partition(".")
    other_number, _, other_server = other.partition(".")
    if number != other_number:
        return False
    long, short = sorted((server.lower(), other_server.lower()), key=len, reverse=True)
    if short.endswith("*"):
        return long.startswith(short[:-1])
    return not short or long == short or long.startswith(f"{short}.")


def _ids(argv: Sequence[str]) -> list[str]:
    """Jobs that a command asked for."""
    return [word for word in argv[1:] if word[:1].isdigit()]


def _blocks(text: str) -> list[tuple[str, dict[str, str]]]:
    """Jobs of `qstat -f -w` with their attributes."""
    blocks: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        if line.startswith("Job Id:"):
            blocks.append((line.partition(":")[2].strip(), {}))
        elif blocks and " = " in line:
            name, _, value = line.strip().partition(" = ")
            blocks[-1][1][name] = value
    return blocks


def _held(job: str, values: Mapping[str, str]) -> Sighting:
    """What the attributes of a job say of its holds: `u` is the user's, `o` the operators', `s` the server's."""
    holds, word = values["Hold_Types"], values.get("job_state", "?")
    if "u" in holds:
        return Sighting(job, None, State.HELD, word, _BY_USER)
    if "s" in holds and "o" not in holds and re.search(r"(?:^|,)(?:after\w*|on|runone):", values.get("depend", "")):
        return Sighting(job, None, State.PENDING, word, "Dependency")
    if holds == "n":  # released meanwhile
        return Sighting(job, None, _STATES.get(word, State.UNKNOWN), word)
    comment = f": {values['comment']}" if "comment" in values else ""
    return Sighting(job, None, State.HELD, word, f"{_BY_OPERATORS}{comment}")


def _described(identifier: str, values: Mapping[str, str], asked: Sequence[str]) -> Sighting | None:
    place = _place(identifier, asked)
    if place is None:
        return None
    word = values.get("job_state", "?")
    state, code = _STATES.get(word, State.UNKNOWN), _integer(values.get("Exit_status"))
    if state is State.ENDED and values.get("array") != "True":
        state = _ended(code)
    start, elapsed = _epoch(values.get("stime")), _clock(values.get("resources_used.walltime"))
    return Sighting(
        *place,
        state,
        word,
        reason=values.get("comment", ""),
        exit_code=code,
        nodes=values.get("exec_host", ""),
        start=start,
        end=_epoch(values.get("obittime")) if state.is_over else None,
        elapsed_s=elapsed,
        cpu_s=_clock(values.get("resources_used.cput")),
        cores=_integer(values.get("resources_used.ncpus") or values.get("Resource_List.ncpus")),
        max_rss=_bytes(values.get("resources_used.mem")),
    )


def _ended(code: int | None) -> State:
    """How a job ended. Without Exit_status it never ran; 256 and more is a signal, 271 that of qdel."""
    if code is None:
        return _NO_EXIT_STATUS
    if code == 0:
        return State.SUCCEEDED
    if code == 271:
        return State.CANCELLED
    if code == 137 or code == 265:
        return State.OUT_OF_MEMORY
    if code in (-1, -2, -3, -11):
        return State.NODE_FAILED
    return _EXIT_STATES.get(code, State.FAILED)


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def _epoch(text: str | None) -> float | None:
    """`Sat Nov 21 00:43:17 2026`, in the server's own time zone."""
    try:
        return time.mktime(time.strptime(text or "", "%a %b %d %H:%M:%S %Y"))
    except ValueError:
        return None


def _clock(text: str | None) -> float | None:
    try:
        hours, minutes, seconds = (int(part) for part in (text or "").split(":"))
    except ValueError:
        return None
    return float(hours * 3600 + minutes * 60 + seconds)


def _bytes(text: str | None) -> int | None:
    match = re.fullmatch(r"(\d+)([kmgt]?)b", text or "")
    return None if match is None else int(match.group(1)) * 1024 ** " kmgt".index(match.group(2) or " ")


def _umask(directives: Sequence[str]) -> str:
    """Octal umask of this process, as PBS takes it; empty where the site says one.

    PBS reads the digits as a decimal number, and that number's digits as octal: `022` and `22` both mean 022, `18`
    means nothing sensible.
    """
    if any(re.search(r"\bumask=", line) for line in directives):
        return ""
    try:
        told = re.search(r"^Umask:\s*(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        told = None
    if told is not None:
        return f"{int(told.group(1), 8):o}"
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:o}"

"""OpenPBS and PBS Pro, 20 to 23: commands and their answers. Captured from 23.06; see docs/explanation/schedulers.md.

Traps that this module walks around: a parent array's Exit_status is that of the subjob that ended last, so
subjobs are read; `afterok` trusts it, so it is never used; arrays of one element are refused; exit code 153
means that *some* id is unknown; `-F json` prints the first of several jobs only.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

from hpckit.errors import SchedulerError, SchedulerUnavailableError
from hpckit.scheduler.model import Answer, Command, Job, Sighting, State

_JOB_ID: Final = re.compile(r"^(\d+)(\[(\d*)\])?(\..*)?$")
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
_EXIT_STATES: Final = {-27: State.OUT_OF_MEMORY, -26: State.OUT_OF_MEMORY, -28: State.TIMEOUT, -29: State.TIMEOUT}
_UNKNOWN_ID: Final = 153
_UNAVAILABLE: Final = re.compile(
    r"cannot connect to server|Connection refused|Connection timed out|No route|timed out|End of File|"
    r"Unable to contact|Communication failure|server shutting down|Invalid credential|Resource temporarily",
    re.IGNORECASE,
)


class Pbs:
    """OpenPBS and PBS Pro."""

    name = "pbs"
    unset: tuple[str, ...] = ("PBS_",)

    def submit(
        self, job: Job, after: Sequence[str], *, hold: bool, mirrored: str | None = None, index: int | None = None
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
        """`1234[].server`."""
        _require(answer)
        identifier = answer.stdout.strip()
        if _JOB_ID.match(identifier) is None:
            raise SchedulerError(f"qsub said {identifier!r} where a job id was expected")
        return identifier

    def query(self, jobs: Sequence[str]) -> Command:
        """`qstat -x -t`: one short line per subjob."""
        return Command(("qstat", "-x", "-t", *jobs))

    def read_query(self, answer: Answer) -> list[Sighting]:
        """Live states; of what has ended only that it has."""
        _require_known(answer)
        lines = answer.stdout.splitlines()
        return [found for line in lines if (found := _listed(line)) is not None]

    def history(self, jobs: Sequence[str]) -> Command | None:
        """`qstat -x -f -w -t`: all attributes, one per line."""
        return Command(("qstat", "-x", "-f", "-w", "-t", *jobs))

    def read_history(self, answer: Answer) -> list[Sighting]:
        """Elements with exit status and usage."""
        _require_known(answer)
        found = (_described(identifier, values) for identifier, values in _blocks(answer.stdout))
        return [sighting for sighting in found if sighting is not None]

    def cancel(self, jobs: Sequence[str]) -> Command:
        """`qdel`."""
        return Command(("qdel", *jobs))

    def hold(self, jobs: Sequence[str]) -> Command:
        """`qhold`."""
        return Command(("qhold", *jobs))

    def release(self, jobs: Sequence[str]) -> Command:
        """`qrls`."""
        return Command(("qrls", *jobs))

    def find(self, name: str) -> Command:
        """`qstat -f -w`: full names of all jobs that are not over; the short listing cuts names."""
        return Command(("qstat", "-f", "-w"))

    def read_find(self, answer: Answer, name: str) -> list[str]:
        """Ids of jobs of exactly this name."""
        _require(answer)
        return [identifier for identifier, values in _blocks(answer.stdout) if values.get("Job_Name") == name]

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


def _require_known(answer: Answer) -> None:
    """Accept that some, or all, ids are unknown: what is known was printed."""
    if answer.code == _UNKNOWN_ID or "Unknown Job Id" in answer.stderr:
        return
    _require(answer)


def _require(answer: Answer) -> None:
    if answer.code == 0:
        return
    text = " ".join(answer.stderr.split()) or f"exit code {answer.code}, no message"
    if _UNAVAILABLE.search(text) or answer.code in (124, 255):
        raise SchedulerUnavailableError(
            f"{answer.command.argv[0]}: PBS does not answer: {text}",
            hint="jobs that it has go on; try again in some minutes",
        )
    raise SchedulerError(f"{answer.command.argv[0]}: {text}", hint=_remedy(text))


def _remedy(text: str) -> str | None:
    remedies = {
        "Unknown queue": "`qstat -Q` lists the queues; mend `partitions` or `stages` in the site file",
        "Unknown resource": "mend `directives` in the site file",
        "violates queue and/or server resource limits": "`qstat -Qf QUEUE` tells the limits; ask for less",
        "exceeds server or queue size limit": "set `arrays.max_size` in the site file to the max_array_size",
        "Illegal attribute": "mend `stages` or `directives` in the site file",
        "illegal -J": "set `arrays.supported: false` in the site file if this server has no arrays",
    }
    return next((remedy for word, remedy in remedies.items() if word.lower() in text.lower()), None)


def _listed(line: str) -> Sighting | None:
    """A line of `qstat -t`: id, name, user, time, state, queue. Names have no spaces."""
    fields = line.split()
    if len(fields) < 6 or (place := _place(fields[0])) is None:
        return None
    word = fields[-2]
    return Sighting(*place, _STATES.get(word, State.UNKNOWN), word)


def _place(identifier: str) -> tuple[str, int | None] | None:
    """Id of the array and index: `12[3].vm` is element 3 of `12[].vm`."""
    match = _JOB_ID.match(identifier)
    if match is None:
        return None
    number, brackets, index, server = match.groups()
    job = number + ("[]" if brackets else "") + (server or "")
    return job, int(index) if index else None


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


def _described(identifier: str, values: Mapping[str, str]) -> Sighting | None:
    place = _place(identifier)
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

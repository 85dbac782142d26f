"""Commands of the PBS stand-in other than qsub: they answer as OpenPBS 23.06.06 did, exit codes and all."""

from __future__ import annotations

import getopt
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.servers.pbs.daemon import Daemon
from tests.servers.pbs.model import VERSION, Job

UNKNOWN_JOB: Final = 153
HISTORY_JOB: Final = 35
BAD_STATE: Final = 168
NO_PERMISSION: Final = 159
UNKNOWN_QUEUE: Final = 170
_IDENTIFIER: Final = re.compile(r"(\d+)(?:\[(\d*)(?:-(\d+)(?::(\d+))?)?\])?(?:\.([\w.-]+))?(?:@[\w.:-]+)?")


@dataclass(frozen=True)
class Request:
    """A command as it was typed, with what it could see."""

    argv: list[str]
    cwd: str
    env: dict[str, str]
    stdin: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a command prints, and its exit code."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0
    wants_stdin: bool = False


class RefusedError(Exception):
    """A command ends with this message and exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def qdel(daemon: Daemon, request: Request) -> Answer:
    """Delete jobs, arrays, subjobs."""
    _, ids = parsed(request, "W:x", needed=True)

    def delete(job: Job) -> None:
        if job.state == "X":
            raise RefusedError(15159 % 256, f"qdel: Request invalid for finished array subjob {job.id}\n")
        if job.state == "E":
            raise RefusedError(BAD_STATE, f"qdel: Request invalid for state of job {job.id}\n")
        daemon.delete(job)

    return _each(daemon, "qdel", ids, delete)


def qhold(daemon: Daemon, request: Request) -> Answer:
    """Set a user hold."""
    _, ids = parsed(request, "h:", needed=True)
    return _each(daemon, "qhold", ids, lambda job: _hold(daemon, "qhold", job, daemon.hold))


def qrls(daemon: Daemon, request: Request) -> Answer:
    """Release a user hold."""
    _, ids = parsed(request, "h:", needed=True)
    return _each(daemon, "qrls", ids, lambda job: _hold(daemon, "qrls", job, daemon.release))


def qrerun(daemon: Daemon, request: Request) -> Answer:
    """Refused: an ordinary user may not."""
    _, ids = parsed(request, "W:", needed=True)

    def refuse(job: Job) -> None:
        raise RefusedError(NO_PERMISSION, f"qrerun: Unauthorized Request  {job.id}\n")

    return _each(daemon, "qrerun", ids, refuse)


def qmgr(daemon: Daemon, request: Request) -> Answer:
    """`-c "list server|queue|node …"`; nothing can be changed."""
    options, _ = parsed(request, "c:aenz")
    words = options.get("c", "").split(None, 2)
    if not words or words[0] not in ("l", "li", "list"):
        raise RefusedError(NO_PERMISSION, "qmgr obj= svr=default: Unauthorized Request \n")
    kind, rest = (words[1:2] or ["server"])[0], words[2] if len(words) > 2 else ""
    if "server".startswith(kind):
        return Answer(_listed(f"Server {daemon.name}", server_attributes(daemon), rest))
    name, _, attributes = rest.partition(" ")
    if "queue".startswith(kind):
        names = list(daemon.queues) if name in ("", "@default") else [name]
        if any(each not in daemon.queues for each in names):
            raise RefusedError(UNKNOWN_QUEUE, f"qmgr obj={name} svr=default: Unknown queue \n")
        return Answer("".join(_listed(f"Queue {each}", queue_attributes(daemon, each), attributes) for each in names))
    return Answer(_listed(f"Node {daemon.name}", _node(daemon), attributes))


def pbsnodes(daemon: Daemon, request: Request) -> Answer:
    """The one node."""
    options, names = parsed(request, "avSjlF:")
    if any(name != daemon.name for name in names):
        unknown = next(name for name in names if name != daemon.name)
        raise RefusedError(1, f"Node: {unknown}, Error: Unknown node \n")
    if options.get("F") == "json":
        return Answer(
            as_json({"pbs_version": VERSION, "pbs_server": daemon.name, "nodes": {daemon.name: _node(daemon)}})
        )
    return Answer("" if "l" in options else daemon.name + "\n" + lines(_node(daemon), "     ") + "\n")


def parsed(request: Request, letters: str, *, needed: bool = False) -> tuple[dict[str, str], list[str]]:
    """Options by letter, and the ids."""
    command = request.argv[0]
    try:
        found, ids = getopt.gnu_getopt(request.argv[1:], letters)
    except getopt.GetoptError as error:
        raise RefusedError(2, f"{command}: {error.msg}\nusage: {command} [options] [job_identifier...]\n") from error
    if needed and not ids:
        raise RefusedError(2, f"usage: {command} [options] job_identifier...\n")
    return {name[1:]: value for name, value in found}, ids


def found_jobs(daemon: Daemon, command: str, identifier: str) -> Iterator[Job]:
    """The job of an id, or all of a range of subjobs."""
    match = _IDENTIFIER.fullmatch(identifier)
    if match is None:
        raise RefusedError(1, f"{command}: illegally formed job identifier: {identifier}\n")
    number, first, last, step, server = match.groups()
    full = identifier.partition("@")[0] + ("" if server else f".{daemon.name}")
    ids = [full]
    if first and last:
        indices = range(int(first), int(last) + 1, int(step or 1))
        ids = [f"{number}[{index}].{daemon.name}" for index in indices]
    for each in ids:
        job = daemon.find(each)
        if job is None:
            raise RefusedError(UNKNOWN_JOB, f"{command}: Unknown Job Id {full}\n")
        yield job


def _each(daemon: Daemon, command: str, ids: Sequence[str], act: Callable[[Job], None]) -> Answer:
    """Act on each; the others are served although one is unknown, and the last code counts."""
    errors, code = "", 0
    for identifier in ids:
        try:
            for job in list(found_jobs(daemon, command, identifier)):
                if job.state == "F":
                    raise RefusedError(HISTORY_JOB, f"{command}: Job has finished {job.id}\n")
                act(job)
        except RefusedError as error:
            errors, code = errors + str(error), error.code
    return Answer(stderr=errors, code=code)


def _hold(daemon: Daemon, command: str, job: Job, act: Callable[[Job], None]) -> None:
    if job.index is not None:
        raise RefusedError(15004 % 256, f"{command}: Invalid request {job.id}\n")
    act(job)


def lines(values: Mapping[str, object], margin: str, fold: bool = False) -> str:
    """One attribute a line; folded as without -w."""
    return "".join(_folded(f"{margin}{name} = {value}", fold) for name, value in values.items())


def _folded(line: str, fold: bool) -> str:
    """Without -w lines end before column 80, after a comma where there is one, and go on after a tab."""
    parts, room = [], 79
    while fold and len(line) > room:
        cut = line.rfind(",", 0, room) + 1 or room
        parts.append(line[:cut])
        line, room = line[cut:], 71
    return "\n\t".join([*parts, line]) + "\n"


def as_json(value: Mapping[str, object]) -> str:
    """With tabs, as printed there."""
    return json.dumps(value, indent="\t", separators=(",", ":\t"), ensure_ascii=False) + "\n"


def _listed(title: str, values: Mapping[str, object], wanted: str) -> str:
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    shown = {name: value for name, value in values.items() if not names or name.partition(".")[0] in names}
    return f"{title}\n{lines(shown, '    ')}\n"


def live_counts(daemon: Daemon) -> dict[str, int]:
    """Jobs that are not over, by the words of `state_count`."""
    words = {"T": "Transit", "Q": "Queued", "H": "Held", "W": "Waiting", "R": "Running", "E": "Exiting", "B": "Begun"}
    return {word: sum(job.state == letter for job in daemon.jobs.values()) for letter, word in words.items()}


def server_attributes(daemon: Daemon) -> dict[str, object]:
    """What `list server` and `qstat -Bf` show."""
    counts, most = live_counts(daemon), daemon.settings.get("max_queued")
    history = daemon.settings["history"]
    return {
        "server_state": "Active",
        "server_host": daemon.name,
        "scheduling": "True",
        "total_jobs": sum(job.state != "F" for job in daemon.jobs.values()),
        "state_count": " ".join(f"{word}:{number}" for word, number in counts.items()) + " ",
        "default_queue": next(iter(daemon.queues)),
        **({} if most is None else {"max_queued": f"[u:PBS_GENERIC={most}]"}),
        "scheduler_iteration": 600,
        "flatuid": "True",
        "resv_enable": "True",
        "node_fail_requeue": 310,
        "max_array_size": daemon.settings["max_array_size"],
        "pbs_version": VERSION,
        "eligible_time_enable": "False",
        # Where it was never set, it is not shown at all.
        **({"job_history_enable": "True"} if history else {}),
        "max_job_sequence_id": 9999999,
    }


def queue_attributes(daemon: Daemon, name: str) -> dict[str, object]:
    """What `list queue` and `qstat -Qf` show."""
    live = sum(job.spec.queue == name and job.state != "F" for job in daemon.jobs.values())
    given = {"enabled": "True", "started": "True", **daemon.queues[name]}
    return {"queue_type": "Execution", "total_jobs": live, **dict(sorted(given.items()))}


def _node(daemon: Daemon) -> dict[str, object]:
    used = daemon.assigned("ncpus")
    running = [job.id for job in daemon.running()]
    jobs = {"jobs": ", ".join(running)} if running else {}
    return {
        "Mom": daemon.name,
        "ntype": "PBS",
        "state": "job-busy" if used >= daemon.settings["ncpus"] else "free",
        "pcpus": daemon.settings["ncpus"],
        **jobs,
        "resources_available.arch": "linux",
        "resources_available.host": daemon.name,
        "resources_available.mem": f"{daemon.settings['mem_kb']}kb",
        "resources_available.ncpus": daemon.settings["ncpus"],
        "resources_available.vnode": daemon.name,
        "resources_assigned.accelerator_memory": "0kb",
        "resources_assigned.hbmem": "0kb",
        "resources_assigned.mem": f"{daemon.assigned('mem')}kb",
        "resources_assigned.naccelerators": 0,
        "resources_assigned.ncpus": used,
        "resources_assigned.vmem": "0kb",
        "resv_enable": "True",
        "sharing": "default_shared",
        "license": "l",
    }


def lose(daemon: Daemon, request: Request) -> Answer:
    """No command of PBS: tests say so that the node of a job is not heard of any more."""
    return _each(daemon, "lose", request.argv[1:], daemon.lose)


COMMANDS: Final[Mapping[str, Callable[[Daemon, Request], Answer]]] = {
    "qdel": qdel,
    "qhold": qhold,
    "qrls": qrls,
    "qrerun": qrerun,
    "qmgr": qmgr,
    "pbsnodes": pbsnodes,
    "lose": lose,
}

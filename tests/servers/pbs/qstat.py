"""qstat of the PBS stand-in: jobs in the short listing, one attribute a line, dsv and json, as recorded."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

from tests.servers.pbs.commands import (
    HISTORY_JOB,
    UNKNOWN_QUEUE,
    Answer,
    RefusedError,
    Request,
    as_json,
    found_jobs,
    lines,
    live_counts,
    parsed,
    queue_attributes,
    server_attributes,
)
from tests.servers.pbs.daemon import Daemon
from tests.servers.pbs.model import OVER, SUBSTATES, VERSION, Job, vnodes

_HEADER: Final = "{:<17} {:<16} {:<16}  {:>8} {} {}\n"
_WIDE_HEADER: Final = "{:<30} {:<15} {:<15}  {:>8} {} {}\n"


def qstat(daemon: Daemon, request: Request) -> Answer:
    """Jobs, in the short listing, in full (`-f`, with `-w` one attribute a line), or as dsv or json; -B and -Q."""
    if request.argv[1:] == ["--version"]:
        return Answer(f"pbs_version = {VERSION}\n")
    options, ids = parsed(request, "fxtwJ1F:D:BQ")
    if "B" in options or "Q" in options:
        return _servers_and_queues(daemon, options, ids)
    if "w" in options and "F" in options:
        raise RefusedError(1, "qstat: option w cannot be used with -F\n")
    if "x" in options and not daemon.settings["history"]:
        return _no_history(daemon, options, ids)
    blocks, refusals = _asked_for(daemon, options, ids)
    errors, codes = "".join(str(error) for _, error in refusals), [0, *(error.code for _, error in refusals)]
    first_known = not ids or all(identifier != ids[0] for identifier, _ in refusals)
    return Answer(_formatted(daemon, options, blocks, bool(ids), first_known), errors, codes[-1])


def _asked_for(
    daemon: Daemon, options: Mapping[str, str], ids: Sequence[str]
) -> tuple[list[list[Job]], list[tuple[str, RefusedError]]]:
    """Jobs of each identifier, all jobs without one; and the identifiers that were refused, with the reason."""
    blocks: list[list[Job]] = []
    refusals: list[tuple[str, RefusedError]] = []
    for identifier in ids:
        try:
            blocks.append(_found(daemon, options, identifier))
        except RefusedError as error:
            refusals.append((identifier, error))
    if not ids:
        blocks = [[job] for job in daemon.jobs.values() if "x" in options or job.state != "F"]
    if "t" in options:
        blocks = [[each for job in block for each in (job, *job.subjobs.values())] for block in blocks]
    if "J" in options:
        blocks = [[job for job in block if job.is_array or job.index is not None] for block in blocks]
    return blocks, refusals


def _found(daemon: Daemon, options: Mapping[str, str], identifier: str) -> list[Job]:
    if re.match(r"\d", identifier) is None:
        raise RefusedError(UNKNOWN_QUEUE, f"qstat: Unknown queue destination {identifier}\n")
    jobs = list(found_jobs(daemon, "qstat", identifier))
    if "x" not in options and any(job.state == "F" for job in jobs):
        text = f"qstat: {jobs[0].id} Job has finished, use -x or -H to obtain historical job information\n"
        raise RefusedError(HISTORY_JOB, text)
    return jobs


def _no_history(daemon: Daemon, options: Mapping[str, str], ids: Sequence[str]) -> Answer:
    """A line for each job, waiting and running ones too, and no failure: the trap of `job_history_enable` unset."""
    errors = "".join(
        f"qstat: PBS is not configured to maintain job history {identifier}\n" for identifier in ids or [""]
    )
    return Answer(_formatted(daemon, options, [], True, False) if "F" in options else "", errors)


def _servers_and_queues(daemon: Daemon, options: Mapping[str, str], names: Sequence[str]) -> Answer:
    if "f" not in options:
        if "B" in options:
            return Answer(_server_line(daemon))
        raise RefusedError(2, "qstat: the stand-in lists queues only in full (-Qf)\n")
    if "B" in options:
        return Answer(f"Server: {daemon.name}\n{lines(server_attributes(daemon), '    ')}\n")
    unknown = [name for name in names if name not in daemon.queues]
    if unknown:
        raise RefusedError(UNKNOWN_QUEUE, f"qstat: Unknown queue {unknown[0]}\n")
    return Answer(
        "".join(
            f"Queue: {name}\n{lines(queue_attributes(daemon, name), '    ')}\n" for name in names or daemon.queues
        )
    )


def _server_line(daemon: Daemon) -> str:
    form = "{:<16} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:<11}\n"
    numbers = live_counts(daemon)
    shown = [numbers[state] for state in ("Queued", "Running", "Held", "Waiting", "Transit", "Exiting")]
    head = form.format("Server", "Max", "Tot", "Que", "Run", "Hld", "Wat", "Trn", "Ext", "Status").rstrip() + "\n"
    rule = form.format("-" * 16, *["-" * 5] * 8, "-" * 11)
    return head + rule + form.format(daemon.name.partition(".")[0], 0, sum(numbers.values()), *shown, "Active")


def _formatted(
    daemon: Daemon, options: Mapping[str, str], blocks: list[list[Job]], several: bool, first: bool
) -> str:
    form = options.get("F", "default")
    if form not in ("default", "dsv", "json"):
        raise RefusedError(2, "usage: qstat [options] [job_identifier...]\n")
    jobs = [job for block in blocks for job in block]
    if form == "json":
        # Of several ids only the first is printed.
        shown = (blocks[0] if blocks else []) if several else jobs
        described = {job.id: _nested(attributes(daemon, job)) for job in shown}
        head = {"timestamp": int(time.time()), "pbs_version": VERSION, "pbs_server": daemon.name}
        return as_json({**head, "Jobs": described} if shown else head)
    if form == "dsv" and "f" in options:
        mark = options.get("D", "|")
        return "".join(
            mark.join([f"Job Id: {job.id}", *(f"{key}={value}" for key, value in attributes(daemon, job).items())])
            + "\n"
            for job in jobs
        )
    if "f" in options:
        fold = "w" not in options
        return "".join(f"Job Id: {job.id}\n{lines(attributes(daemon, job), '    ', fold)}\n" for job in jobs)
    # The heading comes with the first id; where that is unknown, there is none.
    return _short(daemon, jobs, "w" in options, heading=first) if jobs else ""


def _short(daemon: Daemon, jobs: Sequence[Job], wide: bool, *, heading: bool) -> str:
    form, identifier, name = (_WIDE_HEADER, 30, 15) if wide else (_HEADER, 17, 16)
    lengths = (29, 15, 15, 8, 1, 15) if wide else (16, 16, 16, 8, 1, 5)
    rows = [form.format("Job id", "Name", "User", "Time Use", "S", "Queue")]
    rows.append(form.format(*("-" * length for length in lengths)))
    for job in jobs:
        cells = (_cut(job.spec.name, name), _cut(daemon.host.user.pw_name, name), job.used.get("cput", "0"))
        # Of the server's name only the first part is listed, and the column cuts what is left.
        shown = ".".join(job.id.split(".")[:2])
        shown = shown if len(shown) <= identifier else shown[: identifier - 1] + "*"
        rows.append(form.format(shown, *cells, job.state, f"{job.spec.queue:<16}"))
    return "".join(rows if heading else rows[2:])


def _cut(text: str, width: int) -> str:
    return text if len(text) < width else text[: width - 1] + "*"


def attributes(daemon: Daemon, job: Job) -> dict[str, str]:
    """All attributes that qstat -f shows, in its order."""
    parent = daemon.parent(job)
    if parent is not None and not job.started:
        return _never_started(daemon, job, parent)
    spec, subjob = job.spec, parent is not None
    index = str(job.index) if subjob else "^array_index^"
    depend = [f"{kind}:{other}@{daemon.name}" for kind, other in job.depend]
    started = job.started
    shown: dict[str, str | int | float | None] = {
        "Job_Name": spec.name,
        "Job_Owner": daemon.owner,
        **{f"resources_used.{key}": value for key, value in job.used.items()},
        "job_state": job.state,
        "queue": spec.queue,
        "server": daemon.name,
        "Account_Name": spec.extra.get("Account_Name"),
        "Checkpoint": None if subjob else "u",
        "ctime": _moment(job.ctime),
        "depend": ",".join(depend) or None,
        "Error_Path": spec.error.replace("^array_index^", index),
        "exec_host": _places(daemon, job) if started else None,
        "exec_vnode": vnodes(spec, daemon.name) if started else None,
        "Hold_Types": None if subjob else job.holds or "n",
        "Join_Path": spec.join,
        "Keep_Files": spec.keep,
        "Mail_Points": spec.mail,
        "mtime": _moment(job.mtime),
        "Output_Path": spec.output.replace("^array_index^", index),
        "Priority": spec.priority,
        "qtime": _moment(job.ctime),
        "Rerunable": spec.extra.get("Rerunable", "True"),
        **{f"Resource_List.{key}": value for key, value in sorted(spec.resources.items())},
        "stime": _moment(job.stime),
        "obittime": _moment(job.obittime),
        "session_id": job.session,
        "Shell_Path_List": spec.shell or None,
        "jobdir": str(daemon.host.home) if started else None,
        "substate": job.substate,
        "Variable_List": ",".join(f"{name}={_escaped(value)}" for name, value in spec.variables.items()),
        "comment": job.comment or None,
        "etime": _moment(job.etime),
        "umask": spec.extra.get("umask"),
        "run_count": job.run_count or None,
        "Stageout_status": _staged_out(job),
        "Exit_status": job.exit_status,
        "Submit_arguments": None if subjob else spec.arguments,
        "executable": f"<jsdl-hpcpa:Executable>{spec.command[0]}</jsdl-hpcpa:Executable>" if spec.command else None,
        "argument_list": "".join(f"<jsdl-hpcpa:Argument>{word}</jsdl-hpcpa:Argument>" for word in spec.command[1:])
        or None,
        **_array_attributes(job, parent),
        "history_timestamp": None if job.history is None else int(job.history),
        "project": spec.extra.get("project", "_pbs_project_default"),
        "Submit_Host": daemon.name,
        "max_run_subjobs": spec.throttle if job.is_array else None,
    }
    return {name: str(value) for name, value in shown.items() if value is not None}


def _array_attributes(job: Job, parent: Job | None) -> dict[str, str | int | float | None]:
    if parent is not None:
        return {"array_id": parent.id, "array_index": job.index}
    if not job.is_array:
        return {}
    # An array that is over counts only subjobs that never started.
    over = [sub for sub in job.subjobs.values() if sub.state in OVER and not (job.state == "F" and sub.started)]
    counts = f"Queued:{job.count('Q')} Running:{job.count('R')} Exiting:{job.count('E')} Expired:{len(over)}"
    remaining = [index for index, sub in job.subjobs.items() if sub.state == "Q"]
    return {
        "array": "True",
        "array_state_count": counts,
        "array_indices_submitted": job.spec.submitted,
        "array_indices_remaining": _ranges(remaining, job.spec.indices[1] - job.spec.indices[0]) or "-",
    }


def _never_started(daemon: Daemon, job: Job, parent: Job) -> dict[str, str]:
    """A subjob without a record of its own shows its array's, down to argument_list."""
    values = attributes(daemon, parent)
    values["job_state"] = job.state
    if job.state in OVER:
        values["comment"] = "Subjob finished"
    else:
        values["substate"] = str(SUBSTATES["Q"])
    order = list(values)
    return {name: values[name] for name in order[: order.index("array")]}


def _ranges(indices: Sequence[int], step: int) -> str:
    """`0-2,7` or `4-8:2`."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index - runs[-1][-1] == step:
            runs[-1].append(index)
        else:
            runs.append([index])
    suffix = f":{step}" if step > 1 else ""
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}{suffix}" for run in runs)


def _places(daemon: Daemon, job: Job) -> str:
    """`vm/0*2+vm/1`: a slot and its cores per chunk."""
    cores = [chunk["ncpus"] for chunk in job.spec.chunks for _ in range(chunk["count"])]
    pairs = zip(job.slots, cores, strict=True)
    return "+".join(f"{daemon.name}/{slot}" + (f"*{count}" if count > 1 else "") for slot, count in pairs)


def _staged_out(job: Job) -> int | None:
    statuses = [each.staged_out for each in (job, *job.subjobs.values()) if each.staged_out is not None]
    return min(statuses, default=1 if job.is_array and job.exit_status is not None else None)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _moment(value: float | None) -> str | None:
    return None if value is None else time.ctime(value)


def _nested(values: Mapping[str, str]) -> dict[str, object]:
    """Attributes as JSON has them: resources and variables nested, and all that looks like a number is one."""
    tree: dict[str, object] = {}
    for name, value in values.items():
        head, dot, tail = name.partition(".")
        if name == "Variable_List":
            pairs = (part.partition("=") for part in re.split(r"(?<!\\),", value))
            tree[name] = {key: _number(text.replace("\\,", ",")) for key, _, text in pairs}
        elif dot:
            group = tree.setdefault(head, {})
            assert isinstance(group, dict)
            group[tail] = _number(value)
        else:
            tree[name] = _number(value)
    return tree


def _number(text: str) -> str | int | float:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+(\.\d+)?(e\d+)?", text):
        value = float(text)
        return int(value) if value.is_integer() else value
    return text

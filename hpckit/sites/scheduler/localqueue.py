"""A queue of jobs on one machine: `python -m hpckit.sites.scheduler.localqueue submit|show|cancel|release|find`.

Every job has a folder `~/.local/state/hpckit/queue/<id>/` and a supervisor, a process of its own session that
waits for the jobs before it, then runs the elements within the cores of the machine. No daemon: what a
supervisor does stands in files, and one that is gone without having said so has failed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from hpckit.base import account
from hpckit.base.files import append_line, write_json
from hpckit.base.quantities import available_cores

_TICK_S: Final = 0.1
_KILL_AFTER_S: Final = 10


def main() -> None:
    """Do one command."""
    arguments = _parse()
    if arguments.command == "submit":
        print(_submit(arguments))
    elif arguments.command == "supervise":
        _supervise(_folder(arguments.jobs[0]))
    elif arguments.command == "show":
        for job in arguments.jobs:
            for line in _show(job):
                print(json.dumps(line))
    elif arguments.command == "find":
        for found in _find(arguments.jobs):
            print(json.dumps(found))
    else:
        for job in arguments.jobs:
            _tell(_folder(job), arguments.command)


def queue() -> Path:
    """Folder of the jobs."""
    return account.folder("XDG_STATE_HOME", ".local/state") / "hpckit" / "queue"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="localqueue", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    submit = commands.add_parser("submit")
    submit.add_argument("--name", required=True)
    submit.add_argument("--count", type=int, default=1)
    submit.add_argument("--index", type=int)
    submit.add_argument("--cores", type=int, default=1)
    submit.add_argument("--walltime", type=int, required=True)
    submit.add_argument("--log", required=True)
    submit.add_argument("--after", action="append", default=[])
    submit.add_argument("--hold", action="store_true")
    submit.add_argument("script")
    for name in ("supervise", "show", "cancel", "release", "find"):
        commands.add_parser(name).add_argument("jobs", nargs="+")
    return parser.parse_args()


def _submit(arguments: argparse.Namespace) -> str:
    queue().mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in queue().glob("[0-9]*")), default=0)
    while True:
        number += 1
        try:
            (queue() / str(number)).mkdir()
            break
        except FileExistsError:
            continue
    folder = queue() / str(number)
    if arguments.hold:
        (folder / "held").touch()
    write_json(folder / "job.json", vars(arguments))
    with (folder / "supervisor.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "hpckit.sites.scheduler.localqueue", "supervise", str(number)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # Both write it: on a machine that is very busy it takes long until the supervisor can, and this may be killed.
    _say_who(folder, child.pid)
    return str(number)


def _supervise(folder: Path) -> None:
    """Wait, then run the elements; write a line when one starts and when it ends."""
    _say_who(folder, os.getpid())
    job = json.loads((folder / "job.json").read_text())
    while not (folder / "cancelled").exists() and (
        (folder / "held").exists() or any(not _is_over(_folder(after)) for after in job["after"])
    ):
        time.sleep(_TICK_S)
    waiting = [job["index"]] if job["index"] is not None else list(range(job["count"]))
    slots = max(1, available_cores() // job["cores"])
    running: dict[int, _Child] = {}
    while (waiting or running) and not (folder / "cancelled").exists():
        while waiting and len(running) < slots and not (folder / "held").exists():
            index = waiting.pop(0)
            running[index] = _Child(folder, job, index)
        for index, child in list(running.items()):
            if child.ended():
                del running[index]
        time.sleep(_TICK_S)
    _cancel(running.values())
    write_json(folder / "over", {"time": time.time()})


class _Child:
    """An element that runs."""

    def __init__(self, folder: Path, job: dict[str, Any], index: int) -> None:
        self.folder, self.index, self.start = folder, index, time.time()
        self.limit = self.start + job["walltime"]
        self.why: str | None = None
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HPCKIT_")}
        with Path(f"{job['log']}.{index}.out").open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", job["script"]],
                env={**environment, "HPCKIT_INDEX": str(index)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _note(folder, {"index": index, "state": "running", "word": "running", "start": self.start})

    def ended(self) -> bool:
        """Whether it ended; written down if so."""
        now = time.time()
        if now > self.limit + _KILL_AFTER_S:
            os.killpg(self.process.pid, signal.SIGKILL)
        elif now > self.limit and self.why is None:
            self.why = "timeout"
            self.process.terminate()
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid == 0:
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self._note(usage)
        return True

    def _note(self, usage: resource.struct_rusage) -> None:
        code, end = self.process.returncode, time.time()
        state = self.why or ("succeeded" if code == 0 else "failed")
        facts = {
            "index": self.index,
            "state": state,
            "word": state,
            "exit_code": code if code >= 0 else 128 - code,
            "start": self.start,
            "end": end,
            "elapsed_s": end - self.start,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "max_rss": usage.ru_maxrss * 1024,
        }
        _note(self.folder, facts)


def _cancel(children: Iterable[_Child]) -> None:
    """Ask all of them to end, and kill those that do not."""
    left = list(children)
    for child in left:
        child.why = "cancelled"
        child.process.terminate()
    limit = time.time() + _KILL_AFTER_S
    while left := [child for child in left if not child.ended()]:
        if time.time() > limit:
            for child in left:
                os.killpg(child.process.pid, signal.SIGKILL)
        time.sleep(_TICK_S)


def _show(job: str) -> Iterator[dict[str, Any]]:
    """A line for the job as a whole, and one for each element that has started."""
    folder = queue() / job
    if not (folder / "job.json").exists():
        return
    alive = _is_alive(folder)  # before its lines are read: it may write the last ones and end meanwhile
    known: dict[int, dict[str, Any]] = {}
    path = folder / "elements.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        values = json.loads(line)
        known[values["index"]] = {"job": job, **values}
    for values in known.values():
        if values["state"] == "running" and not alive:
            values |= {"state": "failed", "word": "failed", "reason": "its supervisor is gone"}
        yield values
    described = json.loads((folder / "job.json").read_text())
    if len(known) < (1 if described["index"] is not None else described["count"]):
        yield {"job": job, "index": None, **_unstarted(folder, alive)}


def _find(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Jobs of some names that are not over."""
    for path in sorted(queue().glob("*/job.json")):
        described = json.loads(path.read_text())
        if described["name"] in names and not _is_over(path.parent):
            yield {"id": path.parent.name, "name": described["name"], "script": described["script"]}


def _unstarted(folder: Path, alive: bool) -> dict[str, str]:
    if (folder / "cancelled").exists():
        return {"state": "cancelled", "word": "cancelled"}
    if not alive:
        return {"state": "failed", "word": "failed", "reason": "its supervisor is gone"}
    held = (folder / "held").exists()
    return {"state": "held" if held else "pending", "word": "held" if held else "pending"}


def _tell(folder: Path, command: str) -> None:
    if not folder.exists():
        return
    if command == "release":
        (folder / "held").unlink(missing_ok=True)
    elif not (folder / "over").exists():
        (folder / "cancelled").touch()


def _say_who(folder: Path, supervisor: int) -> None:
    write_json(folder / "supervisor.json", {"pid": supervisor, "started": _started(supervisor)})


def _is_over(folder: Path) -> bool:
    return (folder / "over").exists() or not _is_alive(folder)


def _is_alive(folder: Path) -> bool:
    """Whether the supervisor lives; one that was started just now may not have said so yet."""
    if (folder / "over").exists():
        return False
    try:
        known = json.loads((folder / "supervisor.json").read_text())
    except FileNotFoundError:
        return folder.exists() and time.time() - folder.stat().st_mtime < 60
    return bool(_started(known["pid"]) == known["started"])


def _started(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _note(folder: Path, facts: dict[str, Any]) -> None:
    append_line(folder / "elements.jsonl", json.dumps(facts))


def _folder(job: str) -> Path:
    return queue() / job


if __name__ == "__main__":
    main()

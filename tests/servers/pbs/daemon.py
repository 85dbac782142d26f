"""Jobs of the PBS stand-in: queueing, running as processes, dependencies, history; the daemon behind the commands.

The rules are those of OpenPBS 23.06.06 as captured from real runs, errors included: each subjob that ends
overwrites its array's Exit_status, and dependencies trust that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.servers.pbs.host import Host, Running
from tests.servers.pbs.model import (
    DEPENDENCY_HOLD,
    FAILED,
    FINISHED,
    OVER,
    SUBSTATES,
    TERMINATED,
    WALLTIME_EXCEEDED,
    Job,
    Spec,
    clock,
    vnodes,
)

_REASONS: Final = {FINISHED: " and finished", FAILED: " and failed", TERMINATED: " and terminated"}


class Daemon:
    """Server, scheduler and the one execution host.

    Parameters
    ----------
    folder : Path
        Where spool, node files and history lie.
    settings : mapping
        `name, queues, ncpus, mem_kb, max_array_size, max_queued, history, kill_delay_s, home, resources`, as JSON
        has them.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self.name: str = settings["name"]
        self.queues: dict[str, dict[str, Any]] = settings["queues"]
        self.host = Host(folder, settings)
        self.owner = f"{self.host.user.pw_name}@{self.name}"
        self.jobs: dict[str, Job] = {}
        self.next_number = 0
        self._running: dict[str, Running] = {}
        self._lost: list[Running] = []
        """On nodes that the server does not hear of any more."""
        self._stopping = False
        self._load()

    # Queueing.

    def submit(self, spec: Spec, *, hold: bool, depend: list[list[str]], script: str) -> Job:
        """Take a job in, and register what it depends on."""
        number, self.next_number = self.next_number, self.next_number + 1
        now = time.time()
        brackets = "[]" if spec.indices else ""
        job = Job(f"{number}{brackets}.{self.name}", number, spec, now, mtime=now, etime=now, depend=depend)
        job.subjobs = {i: Job(f"{number}[{i}].{self.name}", number, spec, now, i, etime=now) for i in spec.indices}
        self.host.keep_script(job, script)
        self.jobs[job.id] = job
        job.holds = "u" if hold else ""
        self._settle(job)
        for kind, parent in list(depend):
            self._register(job, kind, parent)
        self._schedule()
        return job

    def find(self, identifier: str) -> Job | None:
        """A job or subjob by its id, with or without the server's name."""
        identifier = identifier if "." in identifier else f"{identifier}.{self.name}"
        number, bracket, rest = identifier.partition("[")
        if not bracket or rest.startswith("]"):
            return self.jobs.get(identifier)
        parent, index = self.jobs.get(f"{number}[].{self.name}"), rest.partition("]")[0]
        return None if parent is None or not index.isdigit() else parent.subjobs.get(int(index))

    def parent(self, job: Job) -> Job | None:
        """The array of a subjob."""
        return None if job.index is None else self.jobs[f"{job.number}[].{self.name}"]

    def hold(self, job: Job, letter: str = "u") -> None:
        """Hold a job that waits."""
        job.holds = "".join(sorted(set(job.holds + letter)))
        self._settle(job)

    def release(self, job: Job, letter: str = "u") -> None:
        """Release a job."""
        job.holds = job.holds.replace(letter, "")
        self._settle(job)
        self._schedule()

    def delete(self, job: Job) -> None:
        """What qdel does: running ones get SIGTERM, others end without having run."""
        if job.is_array:
            job.terminated = True
            for subjob in job.subjobs.values():
                if subjob.id in self._running:
                    self.delete(subjob)
                else:
                    # Also of those that ended well the record is lost: they show their array's from now on.
                    subjob.state, subjob.session = "X", None
            self._finish_array_if_done(job)
        elif job.id in self._running:
            if job.terminated:
                return
            job.terminated = True
            job.comment += f" and terminated by {self.owner}"
            self.host.terminate(self._running[job.id])
        elif (parent := self.parent(job)) is not None:
            job.state = "X"
            self._finish_array_if_done(parent)
        else:
            # Dependants of a job that waited in the queue are told nothing: they wait for ever, as there.
            if job.substate == DEPENDENCY_HOLD:
                self._tell_dependants(job, aborted=True)
            job.terminated = True
            self._remember(job)

    def _settle(self, job: Job) -> None:
        """Q or H, as the holds say."""
        if job.state not in ("Q", "H", "W"):
            return
        job.state = "H" if job.holds else "Q"
        job.substate = DEPENDENCY_HOLD if "s" in job.holds else SUBSTATES[job.state]
        job.etime = None if job.holds else job.etime or time.time()
        job.mtime = time.time()

    # Dependencies. A child has [afterok, parent]; the parent has [beforeok, child].

    def _register(self, job: Job, kind: str, parent_id: str) -> None:
        parent = self.find(parent_id)
        if parent is None:
            self._hold_for_dependency(job)
            self._abort(job)
        elif parent.state not in OVER:
            self._hold_for_dependency(job)
            parent.depend.append([kind.replace("after", "before", 1), job.id])
            if kind == "after" and parent.stime is not None:
                self._release_dependency(job, parent)
        elif kind == "afterany" or (kind == "afterok") == (not parent.exit_status):
            self._release_dependency(job, parent)
        else:
            self._hold_for_dependency(job)
            self._abort(job)

    def _hold_for_dependency(self, job: Job) -> None:
        if job.state not in OVER:
            self.hold(job, "s")

    def _release_dependency(self, job: Job, parent: Job) -> None:
        job.depend = [item for item in job.depend if not (item[0].startswith("after") and item[1] == parent.id)]
        if job.state not in OVER and not any(kind.startswith("after") for kind, _ in job.depend):
            self.release(job, "s")

    def _tell_dependants(self, parent: Job, *, aborted: bool = False) -> None:
        """Release or delete dependants: an ended subjob's code, 0 or not, is all that an array knows."""
        succeeded = not parent.exit_status
        for kind, child in [item for item in parent.depend if item[0].startswith("before")]:
            job = self.find(child)
            if job is None or job.state in OVER or kind == "before":
                continue
            wanted = kind == "beforeany" or (kind == "beforeok") == succeeded
            if parent.terminated:
                wanted = kind in ("beforeany", "beforenotok")
            if wanted and not aborted:
                self._release_dependency(job, parent)
            else:
                self._abort(job)

    def _abort(self, job: Job) -> None:
        """End a job whose dependency cannot be met: state F, substate 92, no Exit_status."""
        if job.state not in OVER:
            self._tell_dependants(job, aborted=True)
            self._remember(job)

    # Running.

    def work(self) -> bool:
        """Reap, enforce walltimes, start; whether anything runs."""
        ended = [run for run in self._running.values() if run.is_over()]
        for run in ended:
            self._finish(run)
        for run in self._running.values():
            self.host.enforce(run)
        self._lost = [run for run in self._lost if not run.is_over()]
        if ended:
            self._schedule()
        return bool(self._running or self._lost)

    def running(self) -> list[Job]:
        """Jobs and subjobs that run."""
        return [run.job for run in self._running.values()]

    def assigned(self, name: str) -> int:
        """How much of a resource they have."""
        return sum(_demand(job, name) for job in self.running())

    def _schedule(self) -> None:
        for job in list(self.jobs.values()):
            if self._stopping or job.state not in ("Q", "B"):
                continue
            for candidate in self._candidates(job):
                if (reason := self._obstacle(job)) is not None:
                    job.comment = reason if job.state == "Q" else job.comment
                    break
                self._start(candidate)

    def _candidates(self, job: Job) -> Iterator[Job]:
        if not job.is_array:
            yield job
            return
        limit = job.spec.throttle or len(job.subjobs)
        for subjob in job.subjobs.values():
            if sum(running.number == job.number for running in self.running()) >= limit:
                return
            if subjob.state == "Q":
                yield subjob

    def _obstacle(self, job: Job) -> str | None:
        """Why it cannot start now, in the scheduler's words."""
        if self.queues[job.spec.queue].get("started") == "False":
            return "Not Running: Queue not started."
        for name, total, unit in (("ncpus", self.settings["ncpus"], ""), ("mem", self.settings["mem_kb"], "kb")):
            wanted, free = _demand(job, name), total - self.assigned(name)
            if wanted > free:
                prefix = "Can Never Run" if wanted > total else "Not Running"
                if name == "ncpus" and free == 0 and wanted <= total:
                    return f"{prefix}: Not enough free nodes available"
                numbers = f"(R: {wanted}{unit} A: {free}{unit} T: {total}{unit})"
                return f"{prefix}: Insufficient amount of resource: {name} {numbers}"
        if job.spec.resources["place"].startswith("scatter") and job.spec.resources["nodect"] != "1":
            return "Can Never Run: Not enough total nodes available"
        return None

    def _start(self, job: Job) -> None:
        job.stime = job.mtime = time.time()
        job.run_count += 1
        taken = {slot for running in self.running() for slot in running.slots}
        count = int(job.spec.resources["nodect"])
        job.slots = sorted(set(range(len(taken) + count)) - taken)[:count]
        job.state, job.substate = "R", SUBSTATES["R"]
        moment = time.strftime("%a %b %d at %H:%M", time.localtime(job.stime))
        job.comment = f"Job run at {moment} on {vnodes(job.spec, self.name)}"
        owner = self.parent(job) or job
        if owner.state != "B" and owner.is_array:
            owner.state, owner.substate = "B", SUBSTATES["B"]
            owner.stime, owner.comment = job.stime, f"Job Array Began at {moment}"
        run = self.host.start(job)
        job.session = run.process.pid
        self._running[job.id] = run
        for _, child in [item for item in owner.depend if item[0] == "before"]:
            if (waiting := self.find(child)) is not None:
                self._release_dependency(waiting, owner)

    def lose(self, job: Job) -> None:
        """What the server does when the node of a job is silent: it runs once more, while there it may go on."""
        for each in job.subjobs.values() or [job]:
            if each.id in self._running:
                self._lost.append(self._running.pop(each.id))
                each.state, each.substate, each.session, each.slots = "Q", SUBSTATES["Q"], None, []
        self._schedule()

    def _finish(self, run: Running) -> None:
        job, code = run.job, run.process.returncode
        del self._running[job.id]
        job.exit_status = WALLTIME_EXCEEDED if run.over_walltime else code if code >= 0 else 256 - code
        job.obittime = time.time()
        elapsed = job.obittime - (job.stime or job.obittime)
        job.used = {
            "cpupercent": str(int(100 * run.cpu_s / max(elapsed, 1))),
            "cput": clock(run.cpu_s),
            "mem": f"{run.rss_kib}kb",
            "ncpus": job.spec.resources["ncpus"],
            "vmem": f"{run.rss_kib}kb",
            "walltime": clock(elapsed),
        }
        job.staged_out = self.host.finish(job)
        parent = self.parent(job)
        if parent is None:
            self._tell_dependants(job)
            self._remember(job)
            return
        # The trap: whichever subjob ends last decides.
        parent.exit_status = 0 if job.exit_status == 0 else 1 if job.exit_status > 0 else 2
        self._remember(job, "X")
        self._finish_array_if_done(parent)

    def _finish_array_if_done(self, job: Job) -> None:
        if job.state == "F" or job.count("Q", "R"):
            return
        if job.state == "B":
            job.obittime = time.time()
        self._tell_dependants(job)
        self._remember(job)
        for subjob in job.subjobs.values():
            subjob.state, subjob.mtime = "F", job.mtime

    def _remember(self, job: Job, state: str = "F") -> None:
        """Turn a job into history, or forget it where there is none."""
        failed = [each.substate for each in job.subjobs.values() if each.started and each.substate != FINISHED]
        outcome = FAILED if job.exit_status and not job.is_array else next(iter(failed), FINISHED)
        job.state, job.substate = state, TERMINATED if job.terminated else outcome
        over_walltime = job.exit_status == WALLTIME_EXCEEDED and job.substate == FAILED
        if job.comment and " and terminated" not in job.comment:
            job.comment += " and exceeded resource walltime" if over_walltime else _REASONS[job.substate]
        job.mtime = job.history = time.time()
        if state == "F" and not self.settings["history"]:
            self.jobs.pop(job.id, None)

    # State between two lives.

    def stop(self) -> None:
        """Kill all that runs, and write the history down, wholly or not at all."""
        self._stopping = True
        for run in self._lost:
            self.host.kill(run)
        for run in list(self._running.values()):
            run.job.terminated = True
            self.host.kill(run)
            self._finish(run)
        jobs = [_plain(job) for job in self.jobs.values()]
        partial = self.folder / "jobs.json.partial"
        partial.write_text(json.dumps({"next": self.next_number, "jobs": jobs}))
        partial.replace(self.folder / "jobs.json")

    def _load(self) -> None:
        try:
            text = (self.folder / "jobs.json").read_text()
        except FileNotFoundError:
            return
        state = json.loads(text)
        self.next_number = state["next"]
        for values in state["jobs"]:
            job = _job(values, Spec(**values["spec"]))
            self.jobs[job.id] = job


def _demand(job: Job, name: str) -> int:
    return sum(chunk["count"] * chunk.get(name, 0) for chunk in job.spec.chunks)


def _plain(job: Job) -> dict[str, Any]:
    """As JSON; subjobs share the array's spec."""
    subjobs = {index: {**vars(subjob), "spec": None} for index, subjob in job.subjobs.items()}
    return {**vars(job), "spec": vars(job.spec), "subjobs": subjobs}


def _job(values: dict[str, Any], spec: Spec) -> Job:
    subjobs = {int(index): _job(item, spec) for index, item in values["subjobs"].items()}
    return Job(**{**values, "spec": spec, "subjobs": subjobs})

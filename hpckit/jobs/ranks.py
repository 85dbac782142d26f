"""Two ranks inside an image, on two nodes: do they make one world? In this allocation, or in a job of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hpckit.base.files import write_text
from hpckit.base.findings import Finding
from hpckit.errors import ImageError, SchedulerError
from hpckit.jobs.jobarrays import account_of
from hpckit.sites.image.tools import last_line, run
from hpckit.sites.jobscript.script import render
from hpckit.sites.parts import Partition
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import Job, Resources, Runner, State
from hpckit.sites.scheduler.runner import LocalRunner
from hpckit.sites.site import Site, scheduler_of, site_here
from hpckit.submissions.submission import Submitted
from hpckit.submissions.withdraw import cancel_ours

_HELLO: Final = (
    "import os, socket; from mpi4py import MPI; w = MPI.COMM_WORLD; "
    "print('hello', w.rank, w.size, os.environ.get({node!r}) or socket.gethostname(), "
    "MPI.Get_library_version().split(',')[0].replace(' ', '_'), flush=True)"
)
RANKS: Final = 2
_HERE_S: Final = 300
_JOB_S: Final = 300
_GROWTH: Final = 1.5
_TRIES: Final = 5
_WRITTEN_S: Final = 5
"""For which output of a job that is over may not have reached this machine."""
_MEMORY_MIB: Final = 1024


def try_ranks(path: Path, site: Site, command: str, *, account: str = "", wait_s: float = 900) -> Finding:
    """Let two ranks greet each other as jobs of a site would start them.

    Inside an allocation they start at once, and otherwise in a job that is submitted and waited for.

    Parameters
    ----------
    account : str
        Who pays, where the site file does not say.
    wait_s : float
        Seconds after which a job that has not ended is cancelled.

    Raises
    ------
    SiteError
        If the site wants an account and nobody names one.
    """
    scheduler = scheduler_of(site)
    if scheduler.here or scheduler.is_in_job(os.environ):
        return judge(_here(path, site, command), RANKS)
    submit = scheduler.programs[0]
    if shutil.which(submit) is None:
        return Finding(f"{RANKS} ranks", None, f"there is no {submit} here: try it on a login node of {site.name}")
    return _in_job(path, site, account, wait_s)


def judge(done: subprocess.CompletedProcess[str], nodes: int) -> Finding:
    """The result of the greetings of two ranks: one world on a number of nodes, or a world for each rank."""
    what = f"{RANKS} ranks"
    greetings = re.findall(r"^hello (\d+) (\d+) (\S+) (\S+)", done.stdout, re.MULTILINE)
    sizes = {int(size) for _, size, _, _ in greetings}
    hosts = sorted({host for _, _, host, _ in greetings})
    if sizes == {1} and len(greetings) > 1:
        says = f"{len(greetings)} times rank 0 of 1: the launcher and the image's MPI do not know each other"
        remedy = (
            "same MPI on both sides (hpckit image build --mpi …), the PMI that it speaks (mpi.options: --mpi=pmi2)"
        )
        return Finding(what, False, says, remedy)
    if done.returncode != 0 or sizes != {RANKS} or len(greetings) != RANKS:
        return Finding(what, False, last_line(done), "run it by hand: the launcher, then apptainer exec")
    says = f"one world of {RANKS} on {', '.join(hosts)}; {greetings[0][3].replace('_', ' ')}"
    if len(hosts) >= nodes:
        return Finding(what, True, says)
    # In an allocation of one node there is nothing to find out about networks.
    return Finding(what, None, f"{says}: not across nodes", "try it in an allocation of two nodes")


def hello(scheduler: Scheduler) -> str:
    """Python that greets from a rank: its number, the size of its world, its node and its MPI."""
    return _HELLO.format(node=scheduler.variables.node)


def _here(path: Path, site: Site, command: str) -> subprocess.CompletedProcess[str]:
    """Two ranks, on two nodes where that is srun's or the allocation's to decide."""
    count = ["--ntasks=2", "--nodes=2"] if site.mpi.launcher == "srun" else ["-n", "2"]
    words = [site.mpi.launcher, *count, *site.mpi.options]
    inside = [command, "exec", *site.container.options, str(path), "python", "-c", hello(scheduler_of(site))]
    return run([*words, *inside], _HERE_S, site.environment)


def _in_job(path: Path, site: Site, account: str, wait_s: float) -> Finding:
    """Two ranks in a job, by the script that all jobs of the site have."""
    inside = site.container.model_copy(update={"image": str(path.absolute())})
    site = site.model_copy(update={"runtime": "apptainer", "container": inside})
    site = site_here(site)
    resources = _resources(site, account)
    scheduler, what = scheduler_of(site), f"{RANKS} ranks"
    runner = LocalRunner(scheduler, timeout_s=site.poll.timeout_s)
    with _shared_folder(path.absolute().parent) as folder:
        job = Job(f"hpckit-image-{uuid.uuid4().hex[:6]}", "ranks", folder / "ranks.sh", folder, resources)
        words = ["python", "-c", hello(scheduler)]
        text = render(job, site, run=folder, submission=0, command=(), binds=[folder], program=words)
        write_text(job.script, text)
        try:
            identifier = scheduler.read_submit(runner(scheduler.submit(job, (), hold=False)))
            output = folder / "ranks.0.out"
            submitted = Submitted(identifier, job.name, job.stage, job.script.name, job.first, job.count)
            ended = _wait(scheduler, runner, job, submitted, output, site, wait_s)
        except SchedulerError as error:
            return Finding(what, False, str(error), error.hint or "")
        if ended:
            return Finding(what, None, f"job {identifier} {ended}", "try again with a longer --wait")
        said = output.read_text(errors="replace") if output.exists() else ""
    code = re.search(r"exit code (\d+)\s*$", said)
    done = subprocess.CompletedProcess(
        words, int(code[1]) if code else 1, re.sub(r"\S+ exit code \d+\s*$", "", said), ""
    )
    return judge(done, resources.nodes)


def _wait(
    scheduler: Scheduler, runner: Runner, job: Job, submitted: Submitted, output: Path, site: Site, wait_s: float
) -> str:
    """Wait for a job's end; what kept it from one, if it did not come in time, and what became of it."""
    interval, end, last = site.poll.first_s, time.monotonic() + wait_s, "is not known to the scheduler"
    try:
        while True:
            sightings = scheduler.read_query(runner(scheduler.query([submitted.id])))
            states = {item.state for item in sightings if not item.denied}
            if _is_written(output) or not states or all(state.is_over for state in states):
                _await_output(output)
                return ""
            last = ", ".join(sorted({f"is {item.state} {item.reason}".strip() for item in sightings}))
            if State.HELD in states or time.monotonic() + interval > end:
                break
            time.sleep(interval)
            interval = min(interval * _GROWTH, site.poll.longest_s)
    except BaseException:
        cancel_ours([job], [submitted], scheduler, runner)
        raise
    # A scheduler that is busy shows a new job a little later.
    for _ in range(_TRIES):
        if cancel_ours([job], [submitted], scheduler, runner):
            return f"{last}; it was cancelled"
        time.sleep(1)
    return f"{last}; it is not among your jobs, so it was not cancelled"


def _await_output(output: Path) -> None:
    """Other nodes see what one wrote some seconds later."""
    end = time.monotonic() + _WRITTEN_S
    while not _is_written(output) and time.monotonic() < end:
        time.sleep(0.5)


def _is_written(output: Path) -> bool:
    return output.exists() and "exit code " in output.read_text(errors="replace")[-200:]


def _resources(site: Site, account: str) -> Resources:
    """The smallest request of two nodes, in the first partition that has two."""
    fits = (item for item in site.partitions if item.max_nodes is None or item.max_nodes >= RANKS)
    partition = next(fits, None) or Partition(name="")
    cores = (partition.cores if partition.exclusive else None) or -(-partition.min_cores // RANKS)
    return Resources(
        nodes=RANKS,
        cores=cores,
        memory_mib=min(_MEMORY_MIB, partition.memory_mib or _MEMORY_MIB),
        walltime_s=min(_JOB_S, partition.walltime or _JOB_S),
        partition=partition.name,
        qos=partition.qos or "",
        account=account_of(site, partition, account),
        directives=tuple(site.directives),
    )


@contextmanager
def _shared_folder(beside: Path) -> Iterator[Path]:
    """A folder that nodes see as they see the image: beside it, or in the current folder."""
    place = beside if os.access(beside, os.W_OK) else Path.cwd()
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".hpckit-ranks-", ignore_cleanup_errors=True) as name:
            yield Path(name)
    except PermissionError as error:
        raise ImageError(
            f"{place}: nothing can be written there, and nodes must see the test's script",
            hint="work in a folder that nodes see and you may write to",
        ) from error

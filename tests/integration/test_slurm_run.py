"""Whole campaigns on a real Slurm: the same results as on one machine, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hpckit
from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import BusyError, PlanError, SchedulerError, SchedulerUnavailableError
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.resubmit import resubmit
from hpckit.jobs.submit import submit_campaign
from hpckit.runs.journal import read_journal
from hpckit.runs.run import find_run, open_run
from hpckit.runs.status import Status, read_status
from hpckit.sites.scheduler.model import Answer, Command, State
from hpckit.sites.scheduler.runner import LocalRunner
from hpckit.sites.scheduler.slurm import Slurm
from hpckit.sites.site import Site, load_site
from hpckit.submissions.follow import ElementState, look
from hpckit.submissions.idle import cancel
from hpckit.submissions.submission import Submission, latest
from tests.servers.slurm import SlurmCluster
from tests.small_campaign import copy, results, same
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.halved, pytest.mark.slow]

QUIET = Console(quiet=True)
PARTITION = "{name: short, cores: 2, memory_mib: 4000, walltime: 60min}"
OPENMPI = """
mpi: {launcher: mpirun, flavour: openmpi}
environment:
  OMPI_ALLOW_RUN_AS_ROOT: "1"
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1"
  OMPI_MCA_rmaps_base_oversubscribe: "1"
  OMPI_MCA_btl: tcp,self   # the nodes are one machine: their shared memory would be taken for common
"""


@pytest.fixture
def campaign(made: Path, tmp_path: Path) -> Campaign:
    return load_campaign(copy(made, tmp_path / "it's a $(campaign) of 100%"))


def site(tmp_path: Path, *, partition: str = PARTITION, default: str = "{ranks: 1}", more: str = "") -> Site:
    path = tmp_path / "lab.yaml"
    path.write_text(
        f"name: lab\nscheduler: slurm\npartitions: [{partition}]\nstages: {{default: {default}}}\n"
        f"poll: {{first_s: 1, submit_pause_s: 0, timeout_s: 60}}\n{more}"
    )
    return load_site(path)


def slow(tmp_path: Path, seconds: float, *, memory_mib: int = 0) -> str:
    """A `command` whose units take longer, or more memory, than they need; counts them in a file."""
    script = tmp_path / "slow-hpckit"
    script.write_text(
        f"""#!{sys.executable}
import os, time
import hpckit.production.worker as worker
execute = worker.execute
def slowly(context, unit):
    with open({str(tmp_path / "begun")!r}, "a") as file:
        file.write(f"{{unit.id}} {{os.environ.get('SLURMD_NODENAME')}}\\n")
    block = bytearray({memory_mib} * 2**20)
    time.sleep({seconds} if unit.stage == "ingest" else 0)
    return execute(context, unit)
worker.execute = slowly
from hpckit.cli import main
main()
"""
    )
    script.chmod(0o755)
    return f"command: {script}\n"


def begun(tmp_path: Path) -> list[str]:
    path = tmp_path / "begun"
    return path.read_text().splitlines() if path.exists() else []


def ask(submission: Submission) -> list[ElementState]:
    (submission.path / "seen.json").unlink(missing_ok=True)
    return look(submission, Slurm(), runner())


def runner() -> LocalRunner:
    return LocalRunner(Slurm(), 60)


def finish(submission: Submission | None, timeout_s: float = 240) -> dict[str, set[State]]:
    """Wait until all elements are over; their states by stage."""
    assert submission is not None
    until(lambda: ask(submission) and submission.is_over, timeout_s, "for the end of the submission")
    states: dict[str, set[State]] = {}
    for item in ask(submission):
        states.setdefault(item.stage, set()).add(item.sighting.state)
    return states


def status(campaign: Campaign) -> Status:
    return read_status(find_run(campaign.path))


def undone(campaign: Campaign) -> int:
    return sum(stage.failed + stage.waiting for stage in status(campaign).stages)


def test_mpi_across_nodes_gives_the_results_of_one_machine(slurm, campaign, expected, tmp_path, postgis_dsn):
    text = campaign.path.read_text() + f"store: {{dsn: '{postgis_dsn}'}}\n"
    campaign.path.write_text(text)
    lab = site(tmp_path, default="{nodes: 2, ranks: 2}", more=OPENMPI + "sync: job\n")
    submission = submit_campaign(load_campaign(campaign.path), lab, QUIET)
    states = finish(submission)
    assert states == {stage: {State.SUCCEEDED} for stage in ("ingest", "zones", "gate", "signatures", "sync")}, (
        logs_of(submission)
    )
    same(results(load_campaign(campaign.path)), expected)
    journals = list((campaign.run_dir / "journal").rglob("*.jsonl"))
    assert len(journals) == 3, "one journal per element"
    nodes = {item.sighting.nodes for item in ask(submission) if item.stage == "ingest"}
    assert nodes == {"n[1-2]"}


def logs_of(submission: Submission) -> str:
    return "\n".join(f"{path}: {path.read_text()}" for path in (submission.path / "logs").glob("*"))


def test_srun_starts_mpich_ranks(slurm, campaign, expected, tmp_path):
    library = Path("/usr/lib/x86_64-linux-gnu/libmpich.so.12")
    if not library.exists():
        pytest.skip("MPICH (Debian: mpich) is not installed")
    folder = tmp_path / "mpich"
    folder.mkdir()
    (folder / "libmpi.so.12").symlink_to(library)  # the name of the MPICH ABI, that mpi4py's wheels load
    more = "mpi: {launcher: srun, flavour: mpich, options: [--mpi=pmi2]}\n"
    more += f"environment: {{LD_LIBRARY_PATH: '{folder}'}}\n"
    submission = submit_campaign(campaign, site(tmp_path, default="{nodes: 2, ranks: 2}", more=more), QUIET)
    assert set().union(*finish(submission).values()) == {State.SUCCEEDED}, logs_of(submission)
    same(results(campaign), expected)


def test_an_array_split_by_the_limit_of_the_site_runs_whole(slurm, campaign, expected, tmp_path):
    lab = site(tmp_path, default="{ranks: 1, walltime: 1s}", more="arrays: {max_size: 1, throttle: 2}\n")
    submission = submit_campaign(campaign, lab, QUIET)
    arrays = [job for job in submission.jobs if job.stage == "ingest"]
    assert len(arrays) > 1 and all(job.count == 1 for job in arrays)
    finish(submission)
    same(results(campaign), expected)


def test_without_a_cube_the_results_are_the_same(slurm, campaign, expected, tmp_path):
    campaign.path.write_text(campaign.path.read_text().replace("cube: {", "cube: {keep: false, "))
    without = load_campaign(campaign.path)
    assert not without.cube.keep
    submission = submit_campaign(without, site(tmp_path), QUIET)
    assert set().union(*finish(submission).values()) == {State.SUCCEEDED}, logs_of(submission)
    assert "ingest" not in [job.stage for job in submission.jobs] and not without.cube_path.exists()
    same(results(without), expected)


def test_elements_may_wait_for_their_namesakes_only(slurm, campaign, expected, tmp_path):
    submission = submit_campaign(campaign, site(tmp_path), QUIET, request=Request(chain="elements"))
    assert [job.stage for job in submission.jobs] == ["ingest", "zones", "signatures", "sync"]
    finish(submission)
    same(results(campaign), expected)


def test_a_unit_that_fails_costs_only_itself_and_is_retried(slurm, campaign, expected, tmp_path):
    victim = next(campaign.folder.glob("scenes/*/GRANULE/*/IMG_DATA/R10m/*B04_10m.jp2"))
    whole = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(whole[: len(whole) // 2])
    lab = site(tmp_path)
    assert finish(submit_campaign(campaign, lab, QUIET))["ingest"] == {State.SUCCEEDED}
    first = status(campaign)
    failed = [unit for units in first.failures.values() for unit in units]
    assert failed and all("B04" in unit or unit.startswith("signatures/") for unit in failed)
    assert sum(stage.done for stage in first.stages) > len(failed)
    victim.write_bytes(whole)
    finish(resubmit(find_run(campaign.path), QUIET, request=Request()))
    assert undone(campaign) == 0
    same(results(campaign), expected)


def test_a_cancelled_element_is_found_by_retry_and_nothing_is_done_twice(slurm, campaign, expected, tmp_path):
    lab = site(tmp_path, more=slow(tmp_path, 0.7))
    submission = submit_campaign(campaign, lab, QUIET)
    until(lambda: len(begun(tmp_path)) >= 3, what="for units to begin")
    ingest = next(item.id for item in submission.submitted() if item.stage == "ingest")
    slurm.run("scancel", f"{ingest}_0")
    states = finish(submission)
    assert states["ingest"] <= {State.CANCELLED, State.FAILED}
    done = {entry.unit for entry in read_journal(campaign.run_dir) if entry.state == "done"}
    assert any(unit.startswith("ingest") for unit in done), "what was finished before is kept"
    before = len(begun(tmp_path))
    finish(resubmit(find_run(campaign.path), QUIET, request=Request()))
    again = {line.split()[0] for line in begun(tmp_path)[before:]}
    assert not again & {unit for unit in done if unit.startswith("ingest")}
    assert undone(campaign) == 0
    same(results(campaign), expected)


def test_a_node_that_dies_in_mid_unit_loses_only_that_unit(slurm, campaign, expected, tmp_path):
    lab = site(tmp_path, more=slow(tmp_path, 1.5))
    submission = submit_campaign(campaign, lab, QUIET)
    until(lambda: sum("ingest" in line for line in begun(tmp_path)) >= 2, what="for units to begin")
    node = next(line.split()[1] for line in begun(tmp_path) if line.startswith("ingest"))
    slurm.kill_node(node)
    try:
        # Slurm notices after SlurmdTimeout, and requeues the element: it goes on after what stands in its journal.
        ingest = next(item.id for item in submission.submitted() if item.stage == "ingest")
        until(
            lambda: "BeginTime" in slurm.run("squeue", "-h", "-j", ingest, "-o", "%r").stdout, what="for requeueing"
        )
        slurm.run("scontrol", "update", f"JobId={ingest}", "StartTime=now")  # after two minutes otherwise
        states = finish(submission)
    finally:
        slurm.start_node(node)
        slurm.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
    if undone(campaign):
        finish(resubmit(find_run(campaign.path), QUIET, request=Request()))
    assert undone(campaign) == 0, states
    ingested = [line.split()[0] for line in begun(tmp_path) if line.startswith("ingest")]
    assert len(ingested) - len(set(ingested)) <= 1, "only the unit in work was done again"
    same(results(campaign), expected)


def test_an_element_asked_to_end_gives_back_and_retry_asks_for_more_time(slurm, campaign, expected, tmp_path):
    partition = "{name: short, cores: 2, memory_mib: 4000, walltime: 60s}"
    lab = site(tmp_path, partition=partition, more=slow(tmp_path, 20))
    submission = submit_campaign(campaign, lab, QUIET, request=Request())
    states = finish(submission, 180)
    assert states["ingest"] <= {State.FAILED, State.TIMEOUT}, "it did not get through"
    output = next((submission.path / "logs").glob("ingest.0.out")).read_text()
    assert "given back" in output
    assert any(entry.stage == "ingest" and entry.state == "done" for entry in read_journal(campaign.run_dir))
    gate = json.loads((submission.path / "gate-signatures.json").read_text())
    assert gate["open"] is False and gate["missing"] > 0
    assert not any(entry.stage == "signatures" for entry in read_journal(campaign.run_dir))
    (tmp_path / "slow-hpckit").unlink()
    slow(tmp_path, 0)
    again = resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path, more=slow(tmp_path, 0)))
    finish(again)
    assert undone(campaign) == 0
    same(results(campaign), expected)


def test_an_element_out_of_memory_gets_more(slurm, campaign, expected, tmp_path):
    more = slow(tmp_path, 3, memory_mib=900)
    lab = site(tmp_path, default="{ranks: 1, memory_mib: 700}", more=more)
    submission = submit_campaign(campaign, lab, QUIET)
    states = finish(submission)
    assert State.OUT_OF_MEMORY in states["ingest"], (states, logs_of(submission))
    said: list[str] = []

    class Listening(Console):
        def say(self, text: str) -> None:
            said.append(text)

    again = resubmit(find_run(campaign.path), Listening(quiet=True), request=Request())
    assert again is not None and again.stage("ingest").resources.memory_mib == 1120
    assert any("memory" in text for text in said)
    cancel(again, Slurm(), runner())


def test_a_drained_node_and_a_restarted_controller_change_nothing(slurm, campaign, expected, tmp_path):
    lab = site(tmp_path, more=slow(tmp_path, 0.5))
    slurm.drain("n1")
    try:
        submission = submit_campaign(campaign, lab, QUIET)
        until(lambda: len(begun(tmp_path)) >= 2, what="for units to begin")
        slurm.stop_controller()
        with pytest.raises(SchedulerUnavailableError):
            ask(submission)
        slurm.start_controller()
        finish(submission)
    finally:
        slurm.run("scontrol", "update", "NodeName=n1", "State=RESUME", check=False)
    assert not any(line.endswith(" n1") for line in begun(tmp_path))
    assert undone(campaign) == 0
    same(results(campaign), expected)


def test_cancel_stops_all_and_keeps_what_is_done(slurm, campaign, expected, tmp_path):
    lab = site(tmp_path, more=slow(tmp_path, 1))
    submission = submit_campaign(campaign, lab, QUIET)
    with pytest.raises(BusyError, match="still run or wait"):
        submit_campaign(campaign, lab, QUIET)
    until(lambda: len(begun(tmp_path)) >= 3, what="for units to begin")
    assert cancel(submission, Slurm(), runner()) in (4, 5), "index may be over"
    until(lambda: not slurm.run("squeue", "-h").stdout.strip(), what="for an empty queue")
    finish(resubmit(find_run(campaign.path), QUIET, request=Request(), site=site(tmp_path)))
    assert undone(campaign) == 0
    same(results(campaign), expected)


class Failing:
    """Runs commands, and fails from the n-th submission on."""

    def __init__(self, n: int, error: str, *, die: bool = False) -> None:
        self.n, self.error, self.die = n, error, die
        self.run = runner()

    def __call__(self, command: Command) -> Answer:
        if command.argv[0] == "sbatch":
            self.n -= 1
            if self.n < 0 and self.die:
                os._exit(9)
            if self.n < 0:
                return Answer(command, 1, "", self.error)
        return self.run(command)


def test_a_chain_that_is_refused_half_way_leaves_nothing_behind(slurm, campaign, expected, tmp_path):
    lab = site(tmp_path)
    with pytest.raises(SchedulerError, match="Invalid account"):
        submit_campaign(
            campaign, lab, QUIET, runner=Failing(3, "sbatch: error: Invalid account or account/partition")
        )
    until(lambda: not slurm.run("squeue", "-h").stdout.strip(), what="for an empty queue")
    assert latest(campaign.run_dir).has("abandoned")
    assert not list((campaign.run_dir / "journal").rglob("*.jsonl"))
    finish(submit_campaign(campaign, lab, QUIET))
    same(results(campaign), expected)


def test_a_submission_killed_half_way_is_taken_back_by_the_next_command(slurm, campaign, expected, tmp_path):
    lab = site(tmp_path)
    child = os.fork()
    if child == 0:
        submit_campaign(campaign, lab, QUIET, runner=Failing(2, "", die=True))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    held = slurm.run("squeue", "-h", "-o", "%i %r").stdout.splitlines()
    assert len(held) == 2 and all("JobHeldUser" in line for line in held)
    # The id of one of them was never written down: it is found by its name.
    jobs = latest(campaign.run_dir).path / "jobs.jsonl"
    jobs.write_text(jobs.read_text().splitlines()[0] + "\n")
    second = submit_campaign(campaign, lab, QUIET)
    assert second.number == 2
    finish(second)
    assert all("CANCELLED" in state for state in slurm.states(",".join(h.split("_")[0] for h in held)).values())
    same(results(campaign), expected)


def test_the_command_line_follows_a_run(slurm, campaign, expected, tmp_path):
    site(tmp_path)
    hpckit = [sys.executable, "-m", "hpckit"]

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*hpckit, *words], capture_output=True, text=True, cwd=campaign.folder, check=False)

    dry = call("submit", "campaign.yaml", "--site", str(tmp_path / "lab.yaml"), "--dry-run", "-o", "scripts")
    assert dry.returncode == 0, dry.stderr
    scripts = sorted((campaign.folder / "scripts").glob("*.sh"))
    assert [path.stem for path in scripts] == ["gate", "ingest", "signatures", "sync", "zones"]
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "-S", "warning", *scripts], check=True)
    assert not slurm.run("squeue", "-h").stdout.strip()
    # By hand, without hpckit's help:
    assert slurm.run("sbatch", "--wait", str(scripts[1])).returncode == 0
    assert status(campaign).stages[0].waiting == 0

    sent = call("submit", "campaign.yaml", "--site", str(tmp_path / "lab.yaml"))
    assert sent.returncode == 0, sent.stderr
    seen = call("watch", "campaign.yaml")
    assert seen.returncode == 0 and "signatures 4/4" in seen.stdout
    shown = call("status", "campaign.yaml", "--json")
    assert json.loads(shown.stdout)["elements"]["signatures"] == {"succeeded": 1}
    log = call("logs", "campaign.yaml", "signatures:0")
    assert "exit code 0" in log.stdout
    assert call("logs", "campaign.yaml", "nonsense").returncode == 1
    assert "nothing is left to do: all" in call("retry", "campaign.yaml").stderr
    slurm.stop_controller()
    down = call("status", "campaign.yaml")
    slurm.start_controller()
    assert down.returncode == 0 and "ingest" in down.stdout
    same(results(campaign), expected)


def test_dask_workers_are_jobs_of_the_site(slurm, tmp_path):
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    lab = site(tmp_path, more='environment: {FLAVOUR: "it\'s sweet"}\n')
    with hpckit.cluster(
        lab, jobs=1, cores=1, memory_mib=1000, walltime="10min", logs=tmp_path, interface="lo", shared=tmp_path
    ) as workers:
        assert workers.scheduler_address.startswith("tls://127.0.0.1:")
        with workers.get_client() as client:
            client.wait_for_workers(1, timeout=60)
            node, flavour = client.submit(lambda: (os.environ["SLURMD_NODENAME"], os.environ["FLAVOUR"])).result(60)
            addresses = list(client.scheduler_info()["workers"])
        assert node in slurm.nodes and flavour == "it's sweet"
        assert all(address.startswith("tls://") for address in addresses)
        assert "hpckit-dask" in slurm.run("squeue", "-h", "-o", "%j").stdout
    until(lambda: not slurm.run("squeue", "-h").stdout.strip(), what="for an empty queue")
    assert not list(tmp_path.glob("dask-*"))
    with pytest.raises(PlanError, match="a job needs cores of 64 where partition short has 2"):
        hpckit.cluster(lab, cores=64, memory_mib=1000)
    with pytest.raises(SchedulerError, match=r"[Ii]nvalid partition"):
        hpckit.cluster(
            site(tmp_path, partition="{name: nosuch, cores: 2, memory_mib: 4000, walltime: 1h}"),
            jobs=1, cores=1, memory_mib=1000, interface="lo", shared=tmp_path,
        )  # fmt: skip
    assert not list(tmp_path.glob("dask-*"))


def test_what_slurm_refuses_is_said_with_a_remedy(slurm, campaign, tmp_path):
    wrong = site(tmp_path, partition="{name: nosuch, cores: 2, memory_mib: 4000, walltime: 1h}")
    with pytest.raises(SchedulerError, match=r"[Ii]nvalid partition") as caught:
        submit_campaign(campaign, wrong, QUIET)
    assert "sinfo" in (caught.value.hint or "")
    assert not slurm.run("squeue", "-h").stdout.strip()


def test_a_lost_run_directory_stops_its_elements(slurm, campaign, tmp_path):
    submission = submit_campaign(campaign, site(tmp_path, more=slow(tmp_path, 1)), QUIET)
    until(lambda: len(begun(tmp_path)) >= 1, what="for units to begin")
    shutil.rmtree(campaign.run_dir, ignore_errors=True)
    until(lambda: not slurm.run("squeue", "-h").stdout.strip(), 120, what="for an empty queue")
    run = open_run(campaign)
    assert run.path.exists() and latest(run.path) is None
    assert submission is not None


def test_slurm_cluster_leaves_nothing(tmp_path):
    try:
        cluster = SlurmCluster(nodes=1)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with cluster:
        cluster.run("sbatch", "-o", "/dev/null", "--wrap", "sleep 1000")
        until(lambda: "R" in cluster.run("squeue", "-h", "-o", "%t").stdout, what="for a job to run")
    left = subprocess.run(["pgrep", "-f", str(cluster.folder)], capture_output=True, text=True, check=False)
    assert not left.stdout.strip() and not cluster.folder.exists()

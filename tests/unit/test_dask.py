"""Dask clusters: who may talk to them, where their keys lie, what listens where, and what a refused job says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
pytest.importorskip("cryptography", reason="cryptography is not installed")

import distributed
from distributed.security import Security

import hpckit
from hpckit.errors import HpckitError, SchedulerError
from hpckit.jobs.certificates import private_folder, security, write_certificate

pytestmark = pytest.mark.slow

LOCAL = "name: here\nscheduler: local\npartitions: [{name: all, cores: 2, memory_mib: 4000, walltime: 1h}]\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def site_file(folder: Path, text: str = LOCAL) -> str:
    path = folder / "here.yaml"
    path.write_text(text)
    return str(path)


@pytest.fixture
def others() -> set[str]:
    """Where servers of other tests in this process already listen."""
    return listeners()


@pytest.fixture
def local(others, home):
    with hpckit.cluster(site_file(home), cores=1, memory_mib=1000) as made:
        yield made


def refused(address: str, **options: object) -> None:
    """A client that cannot run anything."""
    with pytest.raises((OSError, TimeoutError, asyncio.TimeoutError, TypeError, RuntimeError)):
        distributed.Client(address, timeout=3, set_as_default=False, **options).run_on_scheduler(os.getpid)


def test_only_who_holds_the_certificate_runs_code(local, home, tmp_path_factory):
    port = local.scheduler_address.rsplit(":", 1)[1]
    assert local.scheduler_address.startswith("tls://")
    refused(f"tcp://127.0.0.1:{port}")
    stranger = tmp_path_factory.mktemp("stranger")
    write_certificate(stranger)
    refused(local.scheduler_address, security=security(stranger))
    with hpckit.connect(local.certificates) as client:
        assert client.run_on_scheduler(os.getpid) == os.getpid()
        assert client.submit(lambda: 6 * 7).result(30) == 42


def test_without_a_certificate_the_handshake_fails(local):
    """Not only Dask's own client: nobody gets past TLS without the certificate."""
    host, port = local.scheduler_address.removeprefix("tls://").rsplit(":", 1)
    context = ssl.create_default_context(cafile=local.certificates / "certificate.pem")
    context.check_hostname = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain) as wrapped,
    ):
        wrapped.sendall(b"x" * 100)
        if not wrapped.recv(1):
            raise ConnectionError("closed")


def test_keys_are_private_and_go_with_the_cluster(home):
    with hpckit.cluster(site_file(home), cores=1, memory_mib=1000) as made:
        folder = made.certificates
        assert folder.parent == home / ".cache" / "hpckit"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert not folder.exists()
    with pytest.raises(HpckitError, match="no Dask cluster of hpckit"):
        hpckit.connect(folder)


def listeners() -> set[str]:
    """Addresses, not of the loopback interface, on which this process and its children listen."""
    pids = {str(os.getpid()), *subprocess.run(
        ["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False).stdout.split()}  # fmt: skip
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
            except OSError:
                continue
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    mine = {fields[1] for fields in lines if fields[3] == "0A" and fields[9] in inodes}
    return {address for address in mine if not address.startswith(("0100007F", "0" * 24 + "01000000"))}


def test_nothing_on_a_local_site_listens_beyond_loopback(others, local):
    with local.get_client() as client:
        client.wait_for_workers(1, timeout=30)
        assert local.dashboard_link.startswith("http://127.0.0.1:")
        assert listeners() <= others


@pytest.mark.parametrize(
    "options", [{"protocol": "tcp"}, {"protocol": "inproc://"}, {"scheduler_options": {"protocol": "tcp://"}}]
)
def test_plain_connections_are_refused(home, options):
    with pytest.raises(HpckitError, match="without TLS"):
        hpckit.cluster(site_file(home), cores=1, memory_mib=1000, **options)


def test_folder_that_cannot_be_made(home):
    (home / "file").write_text("")
    with pytest.raises(HpckitError, match="certificates of Dask") as caught:
        private_folder(home / "file")
    assert "--shared" in (caught.value.hint or "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheduler", "program", "words"),
    [
        ("slurm", "sbatch", "sbatch: error: Batch job submission failed: Invalid account or account/partition"),
        ("pbs", "qsub", "qsub: Unauthorized Request"),
    ],
)
def test_refused_job_ends_with_its_message(home, monkeypatch, scheduler, program, words):
    (home / program).write_text(f"#!/bin/sh\necho '{words}' >&2; exit 1\n")
    (home / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    site = site_file(home, LOCAL.replace("scheduler: local", f"scheduler: {scheduler}"))
    done = subprocess.run(
        [sys.executable, "-m", "hpckit", "dask", site, "--jobs", "2", "--cores", "1", "--memory", "1000"],
        capture_output=True, text=True, timeout=60, check=False, cwd=home,
    )  # fmt: skip
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
    assert not list((home / ".cache" / "hpckit").iterdir())
    monkeypatch.chdir(home)
    with pytest.raises(SchedulerError):
        hpckit.cluster(site, jobs=1, cores=1, memory_mib=1000)


@pytest.fixture
def slurm(home, monkeypatch):
    """Commands of a cluster that has the workers' jobs, whatever is installed here."""
    (home / "sbatch").write_text("#!/bin/sh\ncat $2 >> $HOME/scripts; echo 12\n")
    (home / "scancel").write_text("#!/bin/sh\necho scancel $@ >> $HOME/cancelled\n")
    (home / "squeue").write_text("#!/bin/sh\necho '12|hpckit-dask|/bin/sh'\n")
    for name in ("sbatch", "scancel", "squeue"):
        (home / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    return home


def test_worker_that_cannot_be_cancelled_is_named_and_the_rest_are_cancelled(home, slurm, caplog):
    (slurm / "squeue").write_text("#!/bin/sh\necho 'squeue: error: Unable to contact slurm controller' >&2; exit 1\n")
    site = site_file(home, LOCAL.replace("scheduler: local", "scheduler: slurm"))
    with hpckit.cluster(site, jobs=2, cores=1, memory_mib=1000) as made:
        folder = made.certificates
    assert not folder.exists() and not (slurm / "cancelled").exists()
    assert caplog.text.count("job 12 of a Dask worker could not be cancelled: squeue: Slurm does not answer") == 2


def test_job_scripts_name_files_and_hold_no_key(others, home, slurm):
    site = site_file(home, LOCAL.replace("scheduler: local", "scheduler: slurm"))
    with hpckit.cluster(site, jobs=2, cores=1, memory_mib=1000) as made:
        script = (home / "scripts").read_text()
        assert f"--tls-key {made.certificates}/key.pem" in script and "--no-dashboard" in script
        assert script.count(made.scheduler_address) == 2 and "PRIVATE" not in script
        host = made.scheduler_address.removeprefix("tls://").rsplit(":", 1)[0]
        assert host not in ("0.0.0.0", "[::]")
        assert len(listeners() - others) == 1
        refused(made.scheduler_address.replace("tls", "tcp"))
        refused(made.scheduler_address, security=Security(require_encryption=False))
    assert (home / "cancelled").read_text().count("12") == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_says_how_to_connect_and_cleans_up(home, number):
    process = subprocess.Popen(
        [sys.executable, "-m", "hpckit", "dask", site_file(home), "--cores", "1", "--memory", "1000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline().startswith("tls://")
        (folder,) = (home / ".cache" / "hpckit").iterdir()
        with hpckit.connect(folder) as client:
            assert client.submit(lambda: 1).result(30) == 1
        time.sleep(0.2)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert f'hpckit.connect("{folder}")' in stderr and "ssh -N -L" in stderr and "Traceback" not in stderr
    assert not folder.exists()

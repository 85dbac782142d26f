"""A Slurm of one's own, for tests: real daemons on loopback, several nodes on one machine, gone afterwards."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_START_S: Final = 60
_SETTINGS: Final = {
    "ClusterName": "hpckit",
    "SlurmUser": "root",
    "SlurmdUser": "root",
    "AuthType": "auth/munge",
    "CryptoType": "crypto/munge",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_Core_Memory",
    "ReturnToService": "2",
    "JobAcctGatherType": "jobacct_gather/linux",
    "JobAcctGatherFrequency": "task=1",
    "JobAcctGatherParams": "OverMemoryKill",
    "JobCompType": "jobcomp/none",
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "MpiDefault": "none",
    "SlurmctldTimeout": "60",
    "SlurmdTimeout": "10",
    "KillWait": "5",
    "MinJobAge": "300",
    "InactiveLimit": "0",
    "UnkillableStepTimeout": "30",
    "MessageTimeout": "10",
    "SlurmctldParameters": "idle_on_node_suspend",
    "SchedulerType": "sched/backfill",
    "SchedulerParameters": "sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0",
    "MailProg": "/bin/true",
}


class SlurmCluster:
    """slurmctld, slurmdbd with MariaDB, munge, and nodes n1, n2, … on this machine, in a temporary folder.

    Needs root and the programs of Debian's `slurm-wlm slurmdbd munge mariadb-server`. Without control groups a
    job over its memory is found by polling (`OverMemoryKill`) and ends as OUT_OF_MEMORY or FAILED, as the
    version of Slurm has it.

    Parameters
    ----------
    nodes, cpus, memory_mib : int
        How many nodes there are, and what each has.
    settings : mapping, optional
        Lines of slurm.conf, over those that suit tests.
    partitions : sequence of str, optional
        Lines of slurm.conf after `PartitionName=`.
    beside : SlurmCluster, optional
        A cluster that runs: this one joins its munge and slurmdbd, so that `--clusters` reaches both. Needs a
        `ClusterName` of its own in `settings`.
    credential_s : int, optional
        For which jobs may start by one credential, 120 in Slurm. A job that is queued again waits for as long.

    Raises
    ------
    FileNotFoundError
        If a program is missing.
    """

    def __init__(
        self,
        nodes: int = 4,
        cpus: int = 2,
        memory_mib: int = 4000,
        settings: Mapping[str, str] | None = None,
        partitions: Sequence[str] = ("short Default=YES MaxTime=60", "long MaxTime=7-0"),
        beside: SlurmCluster | None = None,
        credential_s: int | None = None,
    ) -> None:
        require_programs()
        self._beside = beside
        self._credentials = "" if credential_s is None else f",cred_expire={credential_s}"
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        self.folder = Path(tempfile.mkdtemp(prefix="hpckit-slurm-", dir="/tmp"))
        self._hardware = f"CPUs={cpus} RealMemory={memory_mib}"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._partitions = partitions
        self._ports = iter(_free_ports(nodes + 3))
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._database_port = next(self._ports)
        self.accounting_port = 0
        self.env = {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self) -> SlurmCluster:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> SlurmCluster:
        """Start all daemons and wait until the nodes are idle."""
        atexit.register(self.stop)
        try:
            self.folder.chmod(0o755)
            self._write_configuration()
            if self._beside is None:
                self._start_accounting()
            self._add_account()
            self.start_controller(fresh=True)
            for node in self.nodes:
                self.start_node(node)
            self.wait_idle()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all daemons and whatever jobs they run, and delete the folder."""
        atexit.unregister(self.stop)
        for name in (*self.nodes, "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._kill(name)
        self._kill_strays()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a client command against this cluster."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        return subprocess.run(
            command, env={**environment, **self.env}, capture_output=True, text=True, check=check, cwd="/tmp"
        )

    def wait_idle(self, timeout_s: float = _START_S) -> None:
        """Wait until all nodes are idle."""
        limit = time.monotonic() + timeout_s
        while True:
            states = self.run("sinfo", "-h", "-N", "-o", "%N %t", check=False).stdout.split("\n")
            idle = {line.split()[0] for line in states if line.endswith(" idle")}
            if idle == set(self.nodes):
                return
            if time.monotonic() > limit:
                raise RuntimeError(f"the nodes do not become idle: {states}\n{self._log_ends()}")
            time.sleep(0.1)

    def start_controller(self, *, fresh: bool = False) -> None:
        """Start slurmctld, and wait until it answers; `fresh` forgets earlier state."""
        self._start("slurmctld", ["slurmctld", "-D", "-f", self.env["SLURM_CONF"], *(["-c"] if fresh else [])])
        self._wait("slurmctld", "scontrol", "ping")

    def stop_controller(self) -> None:
        """Stop slurmctld; it saves its state."""
        self._daemons["slurmctld"].terminate()
        self._daemons["slurmctld"].wait(timeout=30)
        self._kill("slurmctld")

    def kill_controller(self) -> None:
        """Kill slurmctld, as a power cut would."""
        self._kill("slurmctld")

    def start_node(self, node: str) -> None:
        """Start a node."""
        self._start(node, ["slurmd", "-D", "-N", node, "-f", self.env["SLURM_CONF"]])

    def kill_node(self, node: str) -> None:
        """Kill slurmd of a node and all that it runs, as a power cut would."""
        self._kill(node)
        self._kill_strays(node)

    def drain(self, node: str) -> None:
        """Let a node take no further jobs."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def resume(self, node: str) -> None:
        """Let a drained or lost node work again."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def requeue(self, node: str) -> None:
        """Queue the jobs of a node again that it lost, which the controller finds out in some minutes by itself."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        # A node that registers in this moment is up by itself.
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)

    def states(self, job: str) -> dict[str, str]:
        """State of every element (or job) of a job id, as sacct has it."""
        lines = self.run("sacct", "-X", "-n", "-P", "-j", job, "-o", "JobID,State").stdout.splitlines()
        return {line.split("|")[0]: line.split("|")[1].split()[0] for line in lines}

    def _write_configuration(self) -> None:
        for name in ("state", "log", "spool"):
            (self.folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        socket_path = (self._beside or self).folder / "munge.socket"
        controller, mine = next(self._ports), next(self._ports)
        accounting = self.accounting_port = mine if self._beside is None else self._beside.accounting_port
        paths = {
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": controller,
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": accounting,
            "AuthInfo": f"socket={socket_path}{self._credentials}",
            # Slurm's words for munge's socket in connections to slurmdbd.
            "AccountingStoragePass": socket_path,
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool" / "%n",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "%n.pid",
        }
        lines = [f"{key}={value}" for key, value in {**paths, **self._settings}.items() if key != "CryptoType"]
        for node in self.nodes:
            lines.append(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={next(self._ports)} {self._hardware}"
            )
        lines += [f"PartitionName={text} Nodes=ALL State=UP" for text in self._partitions]
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        database = self.folder / "slurmdbd.conf"
        database.write_text(
            f"AuthType=auth/munge\nAuthInfo=socket={socket_path}\nDbdHost=localhost\nDbdAddr=127.0.0.1\n"
            f"DbdPort={accounting}\nSlurmUser=root\nStorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\n"
            f"StoragePort={self._database_port}\nStorageUser=slurm\nStoragePass=slurm\nStorageLoc=slurm\n"
            f"PidFile={self.folder / 'slurmdbd.pid'}\nDebugLevel=info\n"
        )
        database.chmod(0o600)

    def _start_accounting(self) -> None:
        self._start_munge()
        self._start_database()
        self._start("slurmdbd", ["slurmdbd", "-D"])
        self._wait("slurmdbd", "sacctmgr", "-n", "show", "cluster")

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        where = self.folder / "munge"
        words = [f"--key-file={key}", f"--socket={self.folder / 'munge.socket'}", f"--pid-file={where}.pid"]
        words += [f"--log-file={where}.log", f"--seed-file={where}.seed", "--foreground", "--force"]
        self._start("munged", ["munged", *words])
        self._wait("munged", "munge", "-n", f"--socket={self.folder / 'munge.socket'}")

    def _start_database(self) -> None:
        data, server = self.folder / "mariadb", self.folder / "mariadb.socket"
        subprocess.run(
            [
                "mariadb-install-db",
                f"--datadir={data}",
                "--user=root",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ],
            check=True,
            capture_output=True,
        )
        words = [
            "--no-defaults",
            f"--datadir={data}",
            f"--socket={server}",
            "--user=root",
            "--bind-address=127.0.0.1",
        ]
        words += [f"--port={self._database_port}", "--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve"]
        words += ["--innodb-lock-wait-timeout=900", f"--pid-file={self.folder / 'mariadb.pid'}"]
        self._start("mariadbd", ["mariadbd", *words])
        client = ["mariadb", "--no-defaults", f"--socket={server}", "-u", "root"]
        self._wait("mariadbd", *client, "-e", "select 1")
        statements = (
            "create database slurm; create user slurm@'127.0.0.1' identified by 'slurm'; "
            "grant all on slurm.* to slurm@'127.0.0.1';"
        )
        subprocess.run([*client, "-e", statements], check=True, capture_output=True)

    def _add_account(self) -> None:
        self.run("sacctmgr", "-i", "add", "cluster", self._settings["ClusterName"])
        self.run("sacctmgr", "-i", "add", "account", "eo", "Description=eo", "Organization=eo")
        self.run("sacctmgr", "-i", "add", "user", "root", "Account=eo", check=False)
        self.run("sacctmgr", "-i", "modify", "user", "root", "set", "DefaultAccount=eo", check=False)

    def _start(self, name: str, command: Sequence[str]) -> None:
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        program = shutil.which(command[0], path=path) or command[0]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [program, *command[1:]],
                env={**environment, **self.env, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    def _wait(self, name: str, *command: str) -> None:
        limit = time.monotonic() + _START_S
        while True:
            done = self.run(*command, check=False)
            if done.returncode == 0 and "DOWN" not in done.stdout:
                return
            if time.monotonic() > limit or self._daemons[name].poll() is not None:
                raise RuntimeError(f"{name} does not start: {done.stdout}{done.stderr}\n{self._log_ends()}")
            time.sleep(0.05)

    def _kill(self, name: str) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                daemon.kill()
            daemon.wait()

    def _kill_strays(self, node: str | None = None) -> None:
        """Kill step daemons of this cluster and the processes below them; of one node, or of all."""
        for pid in _processes():
            environment = _environment(pid)
            ours = environment.get("SLURM_CONF") == self.env["SLURM_CONF"] and (
                "SLURM_JOB_ID" in environment or _command(pid).startswith("slurmstepd")
            )
            if ours and (node is None or self._node_of(pid, environment) == node) and pid != os.getpid():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def _node_of(self, pid: int, environment: Mapping[str, str]) -> str | None:
        return environment.get("SLURMD_NODENAME") or _stepd_node(pid, self.nodes)

    def _log_ends(self) -> str:
        logs = sorted((self.folder / "log").glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-600:]}" for path in logs)


def require_programs() -> None:
    """Refuse where a program is missing.

    Raises
    ------
    FileNotFoundError
        With its name.
    """
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program in ("slurmctld", "slurmd", "slurmdbd", "sbatch", "munged", "mariadbd", "mariadb-install-db"):
        if shutil.which(program, path=path) is None:
            raise FileNotFoundError(f"{program} is not installed (Debian: slurm-wlm slurmdbd munge mariadb-server)")
    if os.geteuid() != 0:
        raise FileNotFoundError("Slurm's daemons of this helper need root")


def _free_ports(count: int) -> list[int]:
    sockets: list[Any] = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _environment(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(part.split("=", 1) for part in text.split("\0") if "=" in part)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _stepd_node(pid: int, nodes: Sequence[str]) -> str | None:
    """Node of a step daemon: that of a process below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    for child in children:
        name = _environment(int(child)).get("SLURMD_NODENAME")
        if name in nodes:
            return name
    return None

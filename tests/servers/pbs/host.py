"""The execution host of the PBS stand-in: starts jobs as processes of a session, signals them, delivers output."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.servers.pbs.model import Job


@dataclass
class Running:
    """A job or subjob with its processes."""

    job: Job
    process: subprocess.Popen[bytes]
    kill_at: float | None = None
    """When SIGKILL follows the SIGTERM that was sent."""
    over_walltime: bool = False
    cpu_s: float = 0.0
    rss_kib: int = 0

    def is_over(self) -> bool:
        """The shell has gone; what is left gets its time when the job is being ended, and is killed otherwise."""
        if self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid == 0:
                return False
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_s, self.rss_kib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
        if self.kill_at is None:
            signal_session(self.process.pid, signal.SIGKILL)
        return not _session(self.process.pid)


class Host:
    """One machine; jobs start in `home`, with an environment of their own.

    Parameters
    ----------
    folder : Path
        Has `spool`, `aux`, `tmp` and `undelivered`.
    settings : mapping
        `name`, `home` and `kill_delay_s` of the server.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder, self._name = folder, settings["name"]
        self._kill_delay_s: float = settings["kill_delay_s"]
        self.user = pwd.getpwuid(os.getuid())
        self.home = Path(settings["home"] or self.user.pw_dir)
        self._shell = self.user.pw_shell or "/bin/sh"
        for name in ("spool", "aux", "tmp", "undelivered"):
            (folder / name).mkdir(exist_ok=True)

    def keep_script(self, job: Job, script: str) -> None:
        """Copy of the script, as it is now: later changes by the user change nothing."""
        (self._folder / "spool" / f"{job.number}.SC").write_text(script, errors="surrogateescape")

    def start(self, job: Job) -> Running:
        """Start a job: a login shell reads the name of the script; `qsub -- command` runs without a shell."""
        environment = self._environment(job)
        Path(environment["TMPDIR"]).mkdir(parents=True, exist_ok=True)
        lines = sum(chunk["count"] * chunk["mpiprocs"] for chunk in job.spec.chunks)
        Path(environment["PBS_NODEFILE"]).write_text(f"{self._name}\n" * lines)
        output, error = self._stream(job, "o"), self._stream(job, "e")
        output, error = (output, output) if job.spec.join == "oe" else (output, error)
        output, error = (error, error) if job.spec.join == "eo" else (output, error)
        shell = job.spec.shell or self._shell
        argv = job.spec.command or [f"-{Path(shell).name}"]
        program = argv[0] if job.spec.command else shell
        if not os.access(self.home / program, os.X_OK):
            # Commands are not looked for in PATH.
            text = 'echo "pbs_mom, exec of $0 failed with error: No such file or directory" >&2; exit 254'
            argv, program = ["sh", "-c", text, program], "/bin/sh"
        with _appending(output, job) as stdout, _appending(error, job) as stderr:
            process = subprocess.Popen(
                argv,
                executable=program,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                cwd=self.home,
                env=environment,
                start_new_session=True,
                umask=_umask(job),
            )
        assert process.stdin is not None
        with process.stdin as stdin:
            if not job.spec.command:
                script = self._folder / "spool" / f"{job.id}.SC"
                shutil.copyfile(self._folder / "spool" / f"{job.number}.SC", script)
                script.chmod(0o700)
                # What an installation's profile.d does: the commands are found inside jobs too.
                stdin.write(f'PATH="$PATH:{self._folder}/bin"\n"{script}"\n'.encode())
        return Running(job, process)

    def enforce(self, run: Running) -> None:
        """End what is over its walltime; kill what was ended and has not gone."""
        job, now = run.job, time.time()
        elapsed, limit = now - (job.stime or now), job.spec.walltime_s
        if run.kill_at is not None:
            if now >= run.kill_at:
                signal_session(run.process.pid, signal.SIGKILL)
        elif limit is not None and elapsed > limit:
            run.over_walltime = True
            with self._stream(job, "o" if job.spec.join == "oe" else "e").open("a") as stream:
                stream.write(f"=>> PBS: job killed: walltime {elapsed:.0f} exceeded limit {limit:.0f}\n")
            self.terminate(run)

    def terminate(self, run: Running) -> None:
        """SIGTERM to all processes of the session; SIGKILL follows."""
        run.kill_at = run.kill_at or time.time() + self._kill_delay_s
        signal_session(run.process.pid, signal.SIGTERM)

    def kill(self, run: Running) -> None:
        """End it now, and wait until it has gone."""
        run.kill_at = time.time()
        while not run.is_over():
            signal_session(run.process.pid, signal.SIGKILL)
            time.sleep(0.005)

    def finish(self, job: Job) -> int | None:
        """Copy output to where it was asked for, and tidy up; what cannot be delivered is kept.

        Returns Stageout_status: 0 where something could not be delivered, None where nothing was to be.
        """
        status = None
        for letter in {"oe": "o", "eo": "e"}.get(job.spec.join, "oe"):
            source, target = self._stream(job, letter), self._target(job, letter)
            kept = letter in job.spec.keep and "d" not in job.spec.keep
            if "R" in job.spec.extra:
                source.unlink()
                continue
            status = status if kept else 1 if status is None else status
            if source == target:
                continue
            try:
                fresh = not target.exists()
                shutil.copyfile(source, target)
                if fresh:
                    # Never of what was there before: it may be /dev/null.
                    shutil.copymode(source, target)
                source.unlink()
            except OSError:
                source.rename(self._folder / "undelivered" / source.name)
                status = 0
        for path in (self._folder / "spool" / f"{job.id}.SC", self._folder / "aux" / job.id):
            path.unlink(missing_ok=True)
        shutil.rmtree(self._folder / "tmp" / f"pbs.{job.id}", ignore_errors=True)
        return status

    def _environment(self, job: Job) -> dict[str, str]:
        spec, first = job.spec, job.spec.chunks[0]
        environment = {
            "HOME": str(self.home),
            "LOGNAME": self.user.pw_name,
            "USER": self.user.pw_name,
            "SHELL": self._shell,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            **spec.variables,
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "ENVIRONMENT": "BATCH",
            "PBS_JOBCOOKIE": f"{job.number:032X}",
            "PBS_JOBID": job.id,
            "PBS_JOBNAME": spec.name,
            "PBS_QUEUE": spec.queue,
            "PBS_JOBDIR": str(self.home),
            "PBS_NODEFILE": str(self._folder / "aux" / job.id),
            "PBS_NODENUM": "0",
            "PBS_TASKNUM": "1",
            "PBS_MOMPORT": "15003",
            # NCPUS follows ompthreads too.
            "NCPUS": str(first.get("ompthreads", first["ncpus"])),
            "OMP_NUM_THREADS": str(first.get("ompthreads", first["ncpus"])),
            "TMPDIR": str(self._folder / "tmp" / f"pbs.{job.id}"),
        }
        if "Account_Name" in spec.extra:
            environment["PBS_ACCOUNT"] = spec.extra["Account_Name"]
        if job.index is not None:
            environment |= {"PBS_ARRAY_INDEX": str(job.index), "PBS_ARRAY_ID": f"{job.number}[].{self._name}"}
        return environment

    def _stream(self, job: Job, letter: str) -> Path:
        """Where a stream is written while the job runs: spooled, with `-k d` in its place at once."""
        target = self._target(job, letter)
        if "d" in job.spec.keep and letter in job.spec.keep and target.parent.is_dir():
            return target
        return self._folder / "spool" / f"{job.id}.{'OU' if letter == 'o' else 'ER'}"

    def _target(self, job: Job, letter: str) -> Path:
        """Where a stream ends: the path asked for, a file named by the id in a folder, or home with `-k`."""
        path = job.spec.output if letter == "o" else job.spec.error
        path = path.partition(":")[2].replace("^array_index^", str(job.index))
        if letter in job.spec.keep and "d" not in job.spec.keep:
            return self.home / Path(path.rstrip("/")).name
        return Path(path) / f"{job.id}.{'OU' if letter == 'o' else 'ER'}" if path.endswith("/") else Path(path)


def _umask(job: Job) -> int:
    """077 unless -W umask says otherwise: what jobs write is nobody else's."""
    return int(job.spec.extra.get("umask", "077"), 8)


def _appending(path: Path, job: Job) -> IO[bytes]:
    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o666 & ~_umask(job))

    return open(path, "ab", opener=opener)


def signal_session(leader: int, number: signal.Signals) -> None:
    """Signal all processes of a session."""
    for pid in _session(leader):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _session(leader: int) -> list[int]:
    """Live processes of a session."""
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] not in "ZX":
            found.append(int(path.name))
    return found

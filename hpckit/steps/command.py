"""Run the command line of one unit: in a folder of its own, with its outputs moved into place when all are there."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from hpckit.base.apptainer import find_program, mount, split_bind, variable_prefix
from hpckit.base.files import PARTIAL, flush_tree, outermost
from hpckit.base.quantities import format_duration, format_exit
from hpckit.campaign.outputs import Listing, is_pattern
from hpckit.campaign.step import Step
from hpckit.campaign.words import expand
from hpckit.errors import StepError
from hpckit.runs.plan import Unit
from hpckit.runs.run import Run

MEMORY_MIB: Final = "HPCKIT_UNIT_MEMORY_MIB"
"""Variable with the memory of a unit where a scheduler gave it: a site may ask for more, and so may a retry."""
_PDEATHSIG: Final = 1
"""prctl(2): a signal for this process when its parent dies."""
_THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "GDAL_NUM_THREADS",
)
_SHOWN: Final = 300
_TAIL_BYTES: Final = 4096


def scratch_prefix(run: Run) -> str:
    """How the names of folders begin that units of a run work in; another campaign may write to the same place."""
    return f".{run.run_id}."


def run_command(run: Run, step: Step, unit: Unit, cores: int) -> dict[str, float]:
    """Run a unit's command.

    Parameters
    ----------
    cores : int
        That it may use.

    Returns
    -------
    dict
        `written_bytes` of the outputs, and `cpu_s`, seconds that all cores spent on it.

    Raises
    ------
    StepError
        If an input is missing, the command fails, lasts too long, or an output is not there afterwards.
    """
    folder = run.campaign.resolve(step.folder)
    words = {**unit.args["words"], "folder": str(run.campaign.folder)}
    inputs = _inputs(run, step, words)
    scratch = folder / f"{scratch_prefix(run)}{unit.id.rpartition('/')[2][:120]}.{uuid.uuid4().hex[:12]}{PARTIAL}"
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        # The same text for all units, so that it is reported once.
        raise StepError(f"outputs cannot be written to {folder}: {error.strerror}", hint="correct `into`") from None
    for text in step.outputs.values():
        parent = PurePosixPath(text).parent
        if not is_pattern(str(parent)):
            (scratch / expand(str(parent), words)).mkdir(parents=True, exist_ok=True)
    values = {
        **words,
        **{name: str(path) for name, path in inputs.items()},
        **{name: str(scratch / expand(text, words)) for name, text in step.outputs.items()},
        **{"out": str(scratch), "python": sys.executable},
        **{"cores": str(cores), "memory_mib": os.environ.get(MEMORY_MIB) or str(step.memory_mib)},
    }
    log = run.path / "logs" / "exec" / step.name / f"{unit.id.rpartition('/')[2]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        argv = [expand(word, values) for word in step.command]
        if step.image is not None:
            seen = [run.campaign.folder, folder, *(path.parent for path in inputs.values())]
            seen += [Path(words[name]).parent for name in ("scene", "cube") if name in words]
            argv = [*_enter(run, step, seen, scratch), *argv]
        before = os.times()
        _execute(argv, _environment(step, cores), scratch, step.timeout, log)
        after = os.times()
        written = _publish(scratch, folder, step, words, log)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    log.unlink(missing_ok=True)
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {"written_bytes": float(written), "cpu_s": round(spent, 2)}


def _inputs(run: Run, step: Step, words: Mapping[str, str]) -> dict[str, Path]:
    inputs = {name: run.campaign.resolve(Path(expand(text, words))) for name, text in step.inputs.items()}
    for name, path in inputs.items():
        if not path.exists():
            raise StepError(
                f"input {name} is not there: {path}",
                hint="see why in the failures of the stage that makes it" if step.after else "correct its path",
            )
    return inputs


def _environment(step: Step, cores: int) -> dict[str, str]:
    """Environment of the command; inside an image only what the step names gets in, with the threads."""
    threads = dict.fromkeys(_THREADS, str(cores))
    named = threads | step.environment
    if step.image is not None:
        prefix = variable_prefix(_apptainer())
        named = {f"{prefix}{name}": value for name, value in named.items()}
    return {**os.environ, **named}


def _enter(run: Run, step: Step, seen: Sequence[Path], scratch: Path) -> list[str]:
    """Words that start a command inside the step's image. Values of variables are never run as shell there."""
    assert step.image is not None
    image = step.image if "://" in step.image else str(run.campaign.resolve(Path(step.image)))
    folders = [(str(path), str(path), "") for path in outermost([*seen, *(path.resolve() for path in seen)])]
    for text in step.binds:
        source, target, options = split_bind(text)
        folders.append((os.path.expandvars(source), os.path.expandvars(target), options))
    mounts = []
    for source, target, options in folders:
        if not Path(source).exists():
            raise StepError(
                f"{source} shall be bound in {image}, but does not exist here", hint="correct the step's binds"
            )
        mounts += mount(source, target, options)
    gpus = ["--nv"] if step.gpus else []
    return [_apptainer(), "exec", "--no-eval", "--cleanenv", *gpus, *mounts, "--pwd", str(scratch), image]


def _apptainer() -> str:
    found = find_program()
    if found is None:
        raise StepError(
            f"neither apptainer nor singularity is on the PATH of {os.uname().nodename}",
            hint="load its module in the site file (`modules`), or run the step without `image`",
        )
    return found


def _execute(
    argv: Sequence[str], environment: Mapping[str, str], scratch: Path, timeout: float | None, log: Path
) -> None:
    """Run a command to its end; whatever ends us, ends it and its children."""
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                argv,
                cwd=scratch,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise StepError(f"{argv[0]}: cannot be started: {error.strerror}", hint="correct `command`") from error
        try:
            with _watched(process):
                code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise StepError(
                f"it lasted longer than {format_duration(timeout or 0)}", hint=f"raise `timeout`; {_where(log)}"
            ) from None
        finally:
            _end_all(process)
    if code != 0:
        raise StepError(f"{ended(code)}: {_last_words(log)} ({_where(log)})")


def _where(log: Path) -> str:
    """Where the output of a command is; the same text for all units, so that equal failures are reported once."""
    return f"all that it wrote is in logs/exec/{log.parent.name}"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _watched(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let a command's children end with us, however we end; a death signal reaches the command itself only.

    A shell waits at a pipe that closes when we die: gpt and its like are scripts that start what eats the memory.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", 'read _; kill -9 -"$1"', "watch", str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as watcher:
        try:
            yield
        finally:
            watcher.kill()


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it left running in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ended(code: int) -> str:
    """Meaning of an exit status, also of a shell that reports the end of a child."""
    said = format_exit(128 - code if code > 128 else code)
    return f"the command was {said}" if said.startswith("killed") else f"the command ended with exit code {code}"


def _last_words(log: Path) -> str:
    """Last line that a command wrote."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip()[-_SHOWN:] for line in reversed(lines) if line.strip()), "it wrote nothing")


def _publish(scratch: Path, folder: Path, step: Step, words: Mapping[str, str], log: Path) -> int:
    """Move outputs to where they belong; return their bytes."""
    listing = Listing()
    found = {text: list(listing.find(scratch, text, words)) for text in step.outputs.values()}
    missing = [expand(text, words) for text, paths in found.items() if not paths]
    if missing:
        raise StepError(
            f"the command ended well, but did not write {', '.join(missing)} into {{out}}",
            hint=f"correct `command` or `outputs`; {_where(log)}",
        )
    made = dict.fromkeys(path.relative_to(scratch) for paths in found.values() for path in paths)
    whole = [path for path in made if not any(parent in made for parent in path.parents)]
    written = sum(flush_tree(scratch / path) for path in whole)
    for path in whole:
        _replace(scratch / path, folder / path, scratch)
    return written


def _replace(made: Path, target: Path, scratch: Path) -> None:
    """Put a file or folder into the place of an earlier one, which goes with the scratch folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target) and (target.is_dir() or made.is_dir()):
        target.rename(scratch / f".{uuid.uuid4().hex}")
    made.replace(target)

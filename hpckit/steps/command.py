"""Run the command line of one unit: in a folder of its own, with its outputs moved into place when all are there."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from hpckit.errors import StepError
from hpckit.files import PARTIAL, flush_tree, outermost
from hpckit.plan import Unit
from hpckit.quantities import format_duration
from hpckit.run import Run
from hpckit.steps.settings import Step
from hpckit.steps.words import expand

APPTAINER: Final = "HPCKIT_APPTAINER"
"""Variable that tells what Apptainer is called on a node."""
_PDEATHSIG: Final = 1
"""prctl(2): a signal for this process when its parent dies."""
_SHOWN: Final = 300
_TAIL_BYTES: Final = 4096


def run_command(run: Run, step: Step, unit: Unit) -> dict[str, float]:
    """Run a unit's command.

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
    scratch = folder / f".{unit.id.rpartition('/')[2][:120]}.{uuid.uuid4().hex[:12]}{PARTIAL}"
    outputs = {name: expand(text, words) for name, text in step.outputs.items()}
    for text in outputs.values():
        (scratch / text).parent.mkdir(parents=True, exist_ok=True)
    values = {
        **words,
        **{name: str(path) for name, path in inputs.items()},
        **{name: str(scratch / text) for name, text in outputs.items()},
        **{"out": str(scratch), "python": sys.executable},
        **{"cores": str(step.cores), "memory_mib": str(step.memory_mib)},
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
        _execute(argv, _environment(step), scratch, step.timeout, log)
        after = os.times()
        written = _publish(scratch, folder, step, outputs, log)
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
                hint="see why in the failures of the stage that makes it" if step.after else "mend its path",
            )
    return inputs


def _environment(step: Step) -> dict[str, str]:
    """Environment of the command; inside an image only what the step names gets in, with the threads."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GDAL_NUM_THREADS"), str(step.cores))
    named = threads | step.environment
    if step.image is not None:
        prefix = "SINGULARITYENV_" if "singularity" in _apptainer() else "APPTAINERENV_"
        named = {f"{prefix}{name}": value for name, value in named.items()}
    return {**os.environ, **named}


def _enter(run: Run, step: Step, seen: Sequence[Path], scratch: Path) -> list[str]:
    """Words that start a command inside the step's image. Values of variables are never run as shell there."""
    assert step.image is not None
    image = step.image if "://" in step.image else str(run.campaign.resolve(Path(step.image)))
    folders = [(str(path), str(path), "") for path in outermost([*seen, *(path.resolve() for path in seen)])]
    for text in step.binds:
        source, _, rest = text.partition(":")
        target, _, options = rest.partition(":")
        folders.append((os.path.expandvars(source), os.path.expandvars(target or source), options))
    mounts = []
    for source, target, options in folders:
        if not Path(source).exists():
            raise StepError(f"{source} is to be seen inside {image}, but is not here", hint="mend the step's binds")
        fields = (f"source={source}", f"destination={target}")
        quoted = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
        mounts += ["--mount", f"type=bind,{quoted}{',' + options if options else ''}"]
    gpus = ["--nv"] if step.gpus else []
    return [_apptainer(), "exec", "--no-eval", "--cleanenv", *gpus, *mounts, "--pwd", str(scratch), image]


def _apptainer() -> str:
    wanted = os.environ.get(APPTAINER)
    found = wanted or shutil.which("apptainer") or shutil.which("singularity")
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
            raise StepError(f"{argv[0]}: cannot be started: {error.strerror}", hint="mend `command`") from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise StepError(
                f"it lasted longer than {format_duration(timeout or 0)}", hint=f"raise `timeout`; {_where(log)}"
            ) from None
        finally:
            _end_all(process)
    if code != 0:
        raise StepError(f"{_ended(code)}: {_last_words(log)} ({_where(log)})")


def _where(log: Path) -> str:
    """Where all that a command wrote is found; the same for all units, so that equal failures are told once."""
    return f"all that it wrote is in logs/exec/{log.parent.name}"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it left running in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(code: int) -> str:
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL:
        return "the command was killed by SIGKILL (out of memory?)"
    if 0 < number < signal.NSIG:
        return f"the command was killed by {signal.Signals(number).name}"
    return f"the command ended with exit code {code}"


def _last_words(log: Path) -> str:
    """Last line that a command wrote."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip()[-_SHOWN:] for line in reversed(lines) if line.strip()), "it wrote nothing")


def _publish(scratch: Path, folder: Path, step: Step, outputs: Mapping[str, str], log: Path) -> int:
    """Move outputs to where they belong; return their bytes."""
    found = {name: [path.relative_to(scratch) for path in _matches(scratch, text)] for name, text in outputs.items()}
    missing = [outputs[name] for name, paths in found.items() if not paths]
    if missing:
        raise StepError(
            f"the command ended well, but did not write {', '.join(missing)} into {{out}}",
            hint=f"mend `command` or `outputs`; {_where(log)}",
        )
    written = 0
    for relative in dict.fromkeys(path for paths in found.values() for path in paths):
        written += flush_tree(scratch / relative)
        _replace(scratch / relative, folder / relative)
    return written


def _matches(scratch: Path, text: str) -> list[Path]:
    """Outputs that a name or pattern finds."""
    exact = scratch / text
    return [exact] if exact.exists() else sorted(scratch.glob(text))


def _replace(made: Path, target: Path) -> None:
    """Put a file or folder into the place of an earlier one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
        target.rename(aside)
        made.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        made.replace(target)

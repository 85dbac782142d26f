"""State of runs as metrics in Prometheus' text format, for the textfile collector of node_exporter.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4): HELP and TYPE of each metric,
followed by its samples; values of labels with backslash, quotation mark and line feed escaped.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.base.disks import existing
from hpckit.base.files import PARTIAL
from hpckit.base.version import __version__
from hpckit.errors import HpckitError
from hpckit.runs.status import Status
from hpckit.submissions.follow import ElementState
from hpckit.submissions.submission import Submission

SUFFIX: Final = ".prom"
"""Names of files that node_exporter reads end so; the others in its folder it leaves."""

_HELP: Final = {
    "hpckit_run_readable": "Whether the state of the run could be read: 1 or 0.",
    "hpckit_run_info": "Always 1; the run's identifier and the version of hpckit that wrote the metrics.",
    "hpckit_run_units": "Units of the plan by stage and state: done, failed, waiting.",
    "hpckit_run_core_seconds": "Core time of units that are done, by stage.",
    "hpckit_run_last_journal_timestamp_seconds": "When a unit last had an outcome, by the clock of the file server.",
    "hpckit_run_free_bytes": "Bytes that are free on the file system of the run directory.",
    "hpckit_submission_number": "Number of the last submission.",
    "hpckit_submission_over": "Whether no job of the last submission will run any more: 1 or 0.",
    "hpckit_submission_elements": "Elements of the last submission by their state in the scheduler.",
}


@dataclass(frozen=True, slots=True)
class RunState:
    """What is known of a run; without a status it could not be read."""

    path: Path
    """Run directory, or what was named."""
    status: Status | None = None
    submission: Submission | None = None
    seen: Sequence[ElementState] = ()


def as_text(states: Iterable[RunState]) -> str:
    """Metrics of runs, all samples of a metric together, as the format demands."""
    samples: dict[str, list[str]] = {name: [] for name in _HELP}
    for state in states:
        for name, labels, value in _samples(state):
            samples[name].append(f"{name}{{{_labels(labels)}}} {value}")
    lines = []
    for name, rows in samples.items():
        if rows:
            lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge", *rows]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file of metrics by a rename, so that no half of it is ever read.

    Raises
    ------
    HpckitError
        If its name is none that node_exporter reads, or it cannot be written.
    """
    if path.suffix != SUFFIX:
        raise HpckitError(f"{path}: node_exporter reads files whose names end with {SUFFIX}", hint="rename it")
    # Not the temporary names of `files.atomic_path`: their suffix is that of the file, so they would be read too.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        raise HpckitError(f"{path}: cannot be written", hint="name a folder that you may write") from error
    finally:
        temporary.unlink(missing_ok=True)


def _samples(state: RunState) -> Iterable[tuple[str, Mapping[str, str], str]]:
    run = {"run": str(state.path)}
    status = state.status
    yield "hpckit_run_readable", run, str(int(status is not None))
    if status is None:
        return
    of = {"campaign": status.campaign, **run}
    yield "hpckit_run_info", {**of, "run_id": status.run_id, "version": __version__}, "1"
    for stage in status.stages:
        for name, count in (("done", stage.done), ("failed", stage.failed), ("waiting", stage.waiting)):
            yield "hpckit_run_units", {**of, "stage": stage.stage, "state": name}, str(count)
        yield "hpckit_run_core_seconds", {**of, "stage": stage.stage}, repr(float(stage.seconds))
    last = _last_line(state.path)
    if last is not None:
        yield "hpckit_run_last_journal_timestamp_seconds", of, repr(last)
    space = os.statvfs(existing(state.path))
    yield "hpckit_run_free_bytes", of, str(space.f_bavail * space.f_frsize)
    if state.submission is not None:
        yield "hpckit_submission_number", of, str(state.submission.number)
        yield "hpckit_submission_over", of, str(int(state.submission.is_over))
        for (stage_name, name), count in sorted(Counter((e.stage, e.state.value) for e in state.seen).items()):
            yield "hpckit_submission_elements", {**of, "stage": stage_name, "state": str(name)}, str(count)


def _last_line(run_dir: Path) -> float | None:
    """When a journal was last written; None if there is none yet, or it cannot be looked at."""
    try:
        return max((path.stat().st_mtime for path in (run_dir / "journal").rglob("*.jsonl")), default=None)
    except OSError:
        return None


def _labels(values: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _escaped(text: str) -> str:
    # Paths may hold bytes that are no UTF-8, which the format cannot.
    known = text.encode(errors="replace").decode()
    return known.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

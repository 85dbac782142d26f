"""Answers of the cluster commands: what was submitted, how far it is, and its logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hpckit.cli.tables import print_out, table
from hpckit.errors import HpckitError, SubmissionError
from hpckit.quantities import format_bytes, format_duration, format_walltime

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from hpckit.arrays import Layout
    from hpckit.console import Console
    from hpckit.follow import Seen
    from hpckit.run import Run
    from hpckit.scheduler.model import Scheduler
    from hpckit.scheduler.runner import Runner
    from hpckit.site import Site
    from hpckit.status import Status
    from hpckit.submission import StageLayout, Submission

_SHOWN: Final = 8


def show_layout(layout: Layout, site: Site) -> None:
    """Show what would be submitted."""
    if not layout.stages:
        print_out("nothing is left to do")
        return
    print_out(f"on {site.name}:")
    print_out(_layout_table(layout.stages))
    print_out(
        f"{layout.core_hours:.1f} core-hours, {layout.node_hours(site):.1f} node-hours; about "
        f"{format_duration(layout.elapsed_s)} from the first start to the end, if all elements start at once"
    )


def show_submission(submission: Submission | None, campaign: Path) -> None:
    """Say what was submitted."""
    if submission is None:
        print_out("nothing is left to do")
        return
    print_out(f"submission {submission.number} on {submission.site.name}")
    print_out(_layout_table(submission.stages))
    for item in submission.submitted()[:_SHOWN]:
        print_out(f"  {item.stage}: job {item.id}")
    if len(submission.submitted()) > _SHOWN:
        print_out(f"  … and {len(submission.submitted()) - _SHOWN} more jobs")
    print_out(f"follow it with `hpckit watch {campaign}`")
    if not any(job.stage == "sync" for job in submission.jobs):
        print_out(f"the nodes may not reach the database: run `hpckit sync {campaign}` here at the end")


def show_dry_run(submission: Submission, folder: Path | None, console: Console) -> None:
    """Say what was written, and how to submit it by hand."""
    place = folder or submission.path
    print_out(_layout_table(submission.stages))
    for job in submission.jobs:
        after = f"  (after {' and '.join(job.follows)})" if job.follows else ""
        print_out(f"{place / job.script.name}{after}")
    console.say("nothing was submitted; these scripts may be submitted by hand, each after those named beside it")


def show_activity(submission: Submission, seen: Sequence[Seen]) -> None:
    """Show what the scheduler says of the elements."""
    if not submission.is_over and not submission.has("released"):
        print_out(
            f"\nsubmission {submission.number} is being submitted, or was cut in doing so: then its jobs do nothing, "
            "and `hpckit retry` cancels them or lets them go"
        )
    if not seen:
        return
    print_out(f"\nsubmission {submission.number} on {submission.site.name}")
    print_out(_activity(seen))
    for line in _troubles(seen):
        print_out(line)


def show_watch(run: Run, submission: Submission, scheduler: Scheduler, runner: Runner, *, once: bool) -> int:
    """Follow a submission until it is over; give the exit code."""
    from hpckit.follow import look, watch

    looks = iter([look(submission, scheduler, runner)]) if once else watch(submission, scheduler, runner)
    if sys.stdout.isatty():
        _watch_live(run, looks)
    else:
        _watch_lines(run, looks)
    status = _status(run)
    return 1 if submission.is_over and any(stage.failed or stage.waiting for stage in status.stages) else 0


def show_logs(run: Run, submission: Submission, scheduler: Scheduler, what: str, lines: int) -> None:
    """Print the end of a job's output, and what workers logged.

    Raises
    ------
    SubmissionError
        If there is no such unit, element or job.
    """
    stage, element = _find_element(submission, scheduler, what)
    output = _output(submission, stage, element)
    if output is None or not output.exists():
        raise SubmissionError(
            f"element {stage}:{element} has no output yet",
            hint="it may wait in the queue: `hpckit status` tells",
        )
    click.echo(f"==> {output}")
    click.echo("\n".join(output.read_text(errors="replace").splitlines()[-lines:]))
    from hpckit.element import writer_name

    base = run.path / "logs" / writer_name(submission.number, stage, element)
    for path in sorted(base.parent.glob(f"{base.name}*.log")):
        click.echo(f"==> {path}")
        found = [line for line in path.read_text(errors="replace").splitlines() if "/" not in what or what in line]
        click.echo("\n".join(found[-lines:]))


def _layout_table(stages: Sequence[StageLayout]) -> Table:
    made = table("stage", "units", "elements", "at a time", "ranks", "cores", "memory", "walltime", "expected")
    for stage in stages:
        resources = stage.resources
        nodes = f"{resources.nodes} × " if resources.nodes > 1 else ""
        made.add_row(
            stage.stage,
            str(stage.units),
            str(stage.elements),
            str(stage.throttle or "all"),
            f"{nodes}{resources.ranks}",
            str(resources.cores_in_all) + (f" + {resources.gpus} GPU" if resources.gpus else ""),
            format_bytes(resources.memory_mib * 2**20),
            format_walltime(resources.walltime_s),
            format_duration(stage.makespan_s),
        )
    return made


def _activity(seen: Sequence[Seen]) -> Table:
    from hpckit.follow import count
    from hpckit.scheduler.model import State

    counts = count(seen)
    states = [state for state in State if any(state in stage for stage in counts.values())]
    made = table("elements", *(state.value for state in states))
    for stage, numbers in counts.items():
        made.add_row(stage, *(str(numbers.get(state, "")) for state in states))
    return made


def _troubles(seen: Sequence[Seen]) -> list[str]:
    """A line for each kind of trouble, with some of the elements that have it."""
    from hpckit.scheduler.model import State

    fine = (State.RUNNING, State.SUCCEEDED, State.PENDING)
    kinds: dict[tuple[str, str, str], list[Seen]] = {}
    for item in seen:
        state = item.sighting.state
        if state not in fine and not (state is State.FAILED and item.sighting.exit_code == 75):
            word = "" if item.sighting.word.lower() == state.value else f" ({item.sighting.word})"
            kinds.setdefault((item.stage, state.value + word, item.sighting.reason), []).append(item)
    return [
        f"{len(items)} of {stage} {what}{': ' + reason if reason else ''}: "
        + ", ".join(item.id for item in items[:3])
        + (", …" if len(items) > 3 else "")
        for (stage, what, reason), items in kinds.items()
    ]


def _watch_live(run: Run, looks: object) -> None:
    from rich.console import Console as RichConsole
    from rich.live import Live

    with Live(console=RichConsole(), refresh_per_second=2) as live:
        for seen in looks:  # type: ignore[attr-defined]
            live.update(_picture(run, seen))


def _picture(run: Run, seen: Sequence[Seen]) -> Group:
    from rich.console import Group

    status = _status(run)
    made = table("units", "done", "failed", "waiting", "left")
    for stage in status.stages:
        left = "" if stage.left_s is None else f"about {format_duration(stage.left_s)}"
        made.add_row(stage.stage, str(stage.done), str(stage.failed), str(stage.waiting), left)
    return Group(f"{run.campaign.name}  {datetime.now():%H:%M:%S}", made, _activity(seen), *_troubles(seen))


def _watch_lines(run: Run, looks: object) -> None:
    from hpckit.follow import count

    before = ""
    for seen in looks:  # type: ignore[attr-defined]
        stages = _status(run).stages
        units = ", ".join(f"{s.stage} {s.done}/{s.done + s.failed + s.waiting}" for s in stages)
        elements = "; ".join(
            f"{stage}: " + ", ".join(f"{number} {state}" for state, number in numbers.items())
            for stage, numbers in count(seen).items()
        )
        line = f"units done: {units} | elements {elements}"
        if line != before:
            click.echo(f"{time.strftime('%H:%M:%S')} {line}")
        before = line


def _status(run: Run) -> Status:
    from hpckit.status import read_status
    from hpckit.submission import latest

    submission = latest(run.path)
    return read_status(run, None if submission is None or submission.is_over else submission.created)


def _find_element(submission: Submission, scheduler: Scheduler, what: str) -> tuple[str, int]:
    stages = {job.stage for job in submission.jobs}
    stage, colon, number = what.partition(":")
    if stage in stages and (number.isdigit() or not colon):
        return stage, int(number or 0)
    for item in submission.submitted():
        for index in range(item.count):
            if what in (scheduler.element_id(item.id, index), item.id):
                element = item.element(index)
                return item.stage, item.first if element is None else element
    from hpckit.elements import read_membership

    for stage, element, unit, _ in read_membership(submission.elements):
        if unit == what:
            return stage, element
    raise SubmissionError(
        f"submission {submission.number} has no unit, element or job {what!r}",
        hint=f"write STAGE:NUMBER (stages are {', '.join(sorted(stages))}), a unit as `hpckit status` names it, "
        "or a job id",
    )


def _output(submission: Submission, stage: str, element: int) -> Path | None:
    for item in submission.submitted():
        if item.stage != stage:
            continue
        for index in range(item.count):
            if item.element(index if item.index is None else None) == element or item.element(index) == element:
                return submission.log(item, index)
    return None


def refresh(run: Run, submission: Submission, console: Console, *, details: bool = False) -> list[Seen]:
    """What the scheduler says now; a warning, and nothing, where it does not answer."""
    from hpckit.follow import look
    from hpckit.scheduler import scheduler_of
    from hpckit.submit import runner_of

    scheduler = scheduler_of(submission.site)
    runner = runner_of(submission.site, scheduler)
    try:
        return look(submission, scheduler, runner, details=details)
    except HpckitError as error:
        console.warn(f"{error}; the journals tell what is done")
        return []

"""Answers of the cluster commands: what was submitted, how far it is, and its logs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hpckit.base.quantities import format_bytes, format_count, format_duration, format_walltime
from hpckit.cli.tables import print_out, table, unread_products
from hpckit.errors import EX_TEMPFAIL, HpckitError, SubmissionError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from hpckit.base.console import Console
    from hpckit.jobs.jobarrays import Layout
    from hpckit.runs.run import Run
    from hpckit.runs.status import Status
    from hpckit.sites.scheduler.base import Scheduler
    from hpckit.sites.scheduler.model import Runner
    from hpckit.sites.site import Site
    from hpckit.submissions.follow import ElementState
    from hpckit.submissions.submission import StageLayout, Submission

_SHOWN: Final = 8
_ONLY_SYNC: Final = "all units are done; the sync loads their results into the store"


def show_layout(layout: Layout, site: Site) -> None:
    """Show what would be submitted."""
    if not layout.stages:
        print_out("no unit is left to do")
        return
    print_out(f"on {site.name}:")
    print_out(_layout_table(layout.stages))
    print_out(
        f"{layout.core_hours:.1f} core-hours, {layout.node_hours(site):.1f} node-hours; about "
        f"{format_duration(layout.elapsed_s)} from the first start to the end, if all elements start at once"
    )


def show_submission(submission: Submission | None, campaign: Path) -> None:
    """Say what was submitted, if anything was."""
    if submission is None:
        return
    print_out(f"submission {submission.number} on {submission.site.name}")
    print_out(_layout_table(submission.stages) if submission.stages else _ONLY_SYNC)
    for item in submission.submitted()[:_SHOWN]:
        print_out(f"  {item.stage}: job {item.id}")
    if len(submission.submitted()) > _SHOWN:
        print_out(f"  … and {format_count(len(submission.submitted()) - _SHOWN, 'more job')}")
    print_out(f"follow it with `hpckit watch {campaign}`")
    if not any(job.stage == "sync" for job in submission.jobs):
        print_out(f"the nodes may not reach the database: run `hpckit sync {campaign}` here at the end")


def exit_code(submission: Submission | None, console: Console) -> int:
    """Exit code of a command that submits: 75 if products could not be read, and so are left out."""
    if submission is None or not submission.unread:
        return 0
    unread = unread_products(submission.unread)
    console.warn(f"{unread}, and left out; submit again when the file system answers")
    return EX_TEMPFAIL


def show_dry_run(submission: Submission, folder: Path | None, console: Console) -> None:
    """Say what was written, and how to submit it by hand."""
    place = folder or submission.path
    print_out(_layout_table(submission.stages) if submission.stages else _ONLY_SYNC)
    for job in submission.jobs:
        after = f"  (after {' and '.join(job.follows)})" if job.follows else ""
        print_out(f"{place / job.script.name}{after}")
    console.say("nothing was submitted; these scripts may be submitted by hand, each after those named beside it")


def show_activity(submission: Submission, seen: Sequence[ElementState]) -> None:
    """Show what the scheduler says of the elements."""
    if not submission.is_over and not submission.has("released"):
        print_out(
            f"\nsubmission {submission.number} is incomplete: it is still being submitted, or was interrupted. "
            "If interrupted, its jobs do no work; `hpckit retry` cleans up"
        )
    if not seen:
        return
    print_out(f"\nsubmission {submission.number} on {submission.site.name}")
    print_out(_activity(seen))
    from hpckit.sites.site import scheduler_of

    for line in _troubles(scheduler_of(submission.site), seen):
        print_out(line)


def show_watch(run: Run, submission: Submission, scheduler: Scheduler, runner: Runner, *, once: bool) -> int:
    """Follow a submission until it is over; give the exit code."""
    from hpckit.base.console import Console
    from hpckit.submissions.follow import look, watch

    said: set[str] = set()

    def unanswered(error: HpckitError) -> None:
        if str(error) not in said:
            Console().warn(f"{error}; it is asked again")
        said.add(str(error))

    looks = iter([look(submission, scheduler, runner)]) if once else watch(submission, scheduler, runner, unanswered)
    seen = (_watch_live if sys.stdout.isatty() else _watch_lines)(run, scheduler, looks)
    if once and not submission.is_over:
        return 0
    if not submission.is_over:
        click.echo(f"hpckit: {_why_not_followed(submission)}", err=True)
        return 1
    if _lacks_sync(seen):
        again = f"`hpckit submit {run.campaign.path}` submits it again"
        click.echo(f"hpckit: the sync did not succeed; {again}", err=True)
        return 1
    return 1 if any(stage.failed or stage.waiting for stage in _status(run).stages) else 0


def _lacks_sync(seen: Sequence[ElementState]) -> bool:
    """Whether a job was to load the results into the store, and is not known to have done so."""
    from hpckit.sites.scheduler.model import State

    return any(item.stage == "sync" and item.state is not State.SUCCEEDED for item in seen)


def _why_not_followed(submission: Submission) -> str:
    if submission.has("committed"):
        return f"submission {submission.number} was written to be submitted by hand; `hpckit status` counts its units"
    return (
        f"submission {submission.number} was interrupted before all jobs were accepted, so its jobs do no work; "
        "`hpckit retry` submits again"
    )


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
            hint="it may wait in the queue: see `hpckit status`",
        )
    click.echo(f"==> {output}")
    click.echo("\n".join(output.read_text(errors="replace").splitlines()[-lines:]))
    from hpckit.submissions.attempts import writer_name

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


def _activity(seen: Sequence[ElementState]) -> Table:
    from hpckit.sites.scheduler.model import State
    from hpckit.submissions.follow import count

    counts = count(seen)
    states = [state for state in State if any(state in stage for stage in counts.values())]
    made = table("elements", *(state.value for state in states))
    for stage, numbers in counts.items():
        made.add_row(stage, *(str(numbers.get(state, "")) for state in states))
    return made


def _troubles(scheduler: Scheduler, seen: Sequence[ElementState]) -> list[str]:
    """A line for each kind of trouble, with some of the elements that have it."""
    from hpckit.sites.scheduler.model import State

    fine = (State.RUNNING, State.SUCCEEDED, State.PENDING, State.GAVE_BACK)
    kinds: dict[tuple[str, str, str], list[ElementState]] = {}
    for item in seen:
        state = item.state
        if state not in fine:
            word = "" if item.sighting.word.lower() == state.value else f" ({item.sighting.word})"
            # Lines that differ in numbers only (elements, hosts, seconds) say the same.
            alike = re.sub(r"\d+", "#", item.sighting.reason)
            kinds.setdefault((item.stage, state.value + word, alike), []).append(item)
    lines = [_trouble(scheduler, stage, what, items) for (stage, what, _), items in kinds.items()]
    return lines[:_SHOWN] + ([f"… and {len(lines) - _SHOWN} other kinds"] if len(lines) > _SHOWN else [])


def _trouble(scheduler: Scheduler, stage: str, what: str, items: Sequence[ElementState]) -> str:
    from hpckit.sites.scheduler.model import State

    first = items[0]
    names = ", ".join(item.id for item in items[:3]) + (", …" if len(items) > 3 else "")
    reason = f": {first.sighting.reason}" if first.sighting.reason else ""
    todo = scheduler.remedy(first.sighting.reason, first.id) if first.state is State.HELD else ""
    return f"{len(items)} of {stage} {what} ({names}){reason}" + (f"\n  {todo}" if todo else "")


def _watch_live(run: Run, scheduler: Scheduler, looks: Iterable[list[ElementState]]) -> list[ElementState]:
    """Show what is seen until nothing more comes; return what was seen last."""
    from rich.console import Console as RichConsole
    from rich.live import Live

    seen: list[ElementState] = []
    with Live(console=RichConsole(), refresh_per_second=2) as live:
        for seen in looks:
            live.update(_picture(run, scheduler, seen))
    return seen


def _picture(run: Run, scheduler: Scheduler, seen: Sequence[ElementState]) -> Group:
    from rich.console import Group

    status = _status(run)
    made = table("units", "done", "failed", "waiting", "left")
    for stage in status.stages:
        left = "" if stage.left_s is None else f"about {format_duration(stage.left_s)}"
        made.add_row(stage.stage, str(stage.done), str(stage.failed), str(stage.waiting), left)
    title = f"{run.campaign.name}  {datetime.now():%H:%M:%S}"
    return Group(title, made, _activity(seen), *_troubles(scheduler, seen))


def _watch_lines(run: Run, scheduler: Scheduler, looks: Iterable[list[ElementState]]) -> list[ElementState]:
    """Write a line whenever what is seen changes; return what was seen last."""
    from hpckit.submissions.follow import count

    before = ""
    seen: list[ElementState] = []
    for seen in looks:
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
    return seen


def _status(run: Run) -> Status:
    from hpckit.runs.status import read_status
    from hpckit.submissions.submission import latest

    submission = latest(run.path)
    return read_status(run, None if submission is None or submission.is_over else submission.created)


def _find_element(submission: Submission, scheduler: Scheduler, what: str) -> tuple[str, int]:
    stages = {job.stage for job in submission.jobs}
    stage, colon, number = what.partition(":")
    if stage in stages and (number.isdigit() or not colon):
        return stage, int(number or 0)
    for item in submission.submitted():
        for index in range(item.count):
            ids = (scheduler.element_id(item.id, index), item.id)
            if what in ids or what in [each.partition(";")[0] for each in ids]:
                element = item.element(index)
                return item.stage, item.first if element is None else element
    from hpckit.jobs.elements import read_membership

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

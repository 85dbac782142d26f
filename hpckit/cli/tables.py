"""Answers of the production commands, as tables on stdout or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from hpckit.quantities import format_bytes, format_duration

if TYPE_CHECKING:
    from hpckit.arrays import Layout
    from hpckit.console import Console
    from hpckit.cube.verify import Fault
    from hpckit.driver import Result
    from hpckit.estimate import Estimate
    from hpckit.scheduler.model import State
    from hpckit.status import Status

_SHOWN = 20


def show_plan(estimate: Estimate, layout: Layout | None = None, *, as_json: bool) -> None:
    """Show what a plan will take, here or, with a layout, on a site."""
    if as_json:
        facts = asdict(estimate) | {"mean_file_bytes": estimate.mean_file_bytes, "peak_memory": estimate.peak_memory}
        _echo_json(facts if layout is None else facts | {"site": [asdict(stage) for stage in layout.stages]})
        return
    made = table("stage", "units", "to do", "core time", "memory per process")
    for stage in estimate.stages:
        time = format_duration(stage.core_hours * 3600) if stage.pending else "-"
        made.add_row(stage.stage, str(stage.units), str(stage.pending), time, format_bytes(stage.peak_memory))
    print_out(made)
    print_out(
        f"cube: {format_bytes(estimate.cube_bytes)} in {estimate.files} files "
        f"of {format_bytes(estimate.mean_file_bytes)} on average; {format_bytes(estimate.free_bytes)} free"
    )
    if estimate.composite_bytes:
        print_out(f"composites: {format_bytes(estimate.composite_bytes)}, with what passes while they are written")
    if layout is not None:
        return
    print_out(
        f"memory: {format_bytes(estimate.peak_memory)} for {estimate.workers} workers; "
        f"{format_bytes(estimate.available_memory)} free\n"
        f"time: about {format_duration(sum(s.core_hours for s in estimate.stages) * 3600 / estimate.workers)} "
        f"with {estimate.workers} workers"
    )


def show_result(result: Result, console: Console) -> None:
    """Say what a run did."""
    done = ", ".join(f"{stage} {count}" for stage, count in result.done.items()) or "nothing was left to do"
    console.say(f"units done: {done}")
    if result.sync is not None:
        console.say(f"store: {result.sync.rows} records loaded from {result.sync.loaded} spool files")
    if result.stopped:
        console.say("stopped before the end; the same command goes on")
    if result.failed:
        console.say(f"{len(result.failed)} units failed; `hpckit status {result.run.campaign.path}` tells why")


def show_faults(faults: Sequence[Fault], *, as_json: bool) -> None:
    """List faulty shards and files."""
    if as_json:
        _echo_json([asdict(fault) for fault in faults])
        return
    made = table("file", "fault", "detail")
    for fault in faults[:_SHOWN]:
        made.add_row(Text(fault.key), fault.kind, Text(fault.detail))
    if faults:
        print_out(made)
    if len(faults) > _SHOWN:
        print_out(f"… and {len(faults) - _SHOWN} more; --json lists all")
    print_out(f"{len(faults)} faulty files" + ("; `hpckit run` writes them anew" if faults else ": all is sound"))


def show_status(status: Status, elements: Mapping[str, Mapping[State, int]] | None = None, *, as_json: bool) -> None:
    """Show how far a run is."""
    if as_json:
        _echo_json(asdict(status) | {"elements": elements or {}})
        return
    print_out(f"campaign {status.campaign}, run {status.run_id}")
    made = table("stage", "done", "failed", "waiting", "core time", "left")
    for stage in status.stages:
        left = "" if stage.left_s is None else f"about {format_duration(stage.left_s)}"
        counts = (str(count) for count in (stage.done, stage.failed, stage.waiting))
        made.add_row(stage.stage, *counts, format_duration(stage.seconds), left)
    print_out(made)
    for reason, units in status.failures.items():
        print_out(f"{len(units)} failed: {reason}\n    {', '.join(units[:3])}{', …' if len(units) > 3 else ''}")
    if status.slivers:
        print_out(
            f"{status.slivers} zones hold no pixel centre: their signatures are empty (`coverage: fraction` helps)"
        )


def table(*columns: str, left: bool = False) -> Table:
    """Table whose first column is text and whose others are numbers; with `left` all are text."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if left or number == 0 else "right")
    return made


def print_out(what: str | Table) -> None:
    """Print to stdout; wide enough for a log where that is no terminal."""
    if isinstance(what, str):
        click.echo(what)
    else:
        RichConsole(width=None if sys.stdout.isatty() else 160).print(what)


def _echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, default=str))

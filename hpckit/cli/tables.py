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

from hpckit.base.quantities import format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from hpckit.base.console import Console
    from hpckit.cubes.verify import Fault
    from hpckit.jobs.jobarrays import Layout
    from hpckit.production.driver import Result
    from hpckit.production.estimate import Estimate
    from hpckit.runs.status import Status
    from hpckit.sites.scheduler.model import State
    from hpckit.submissions.energy import EnergyUse

_SHOWN = 20
_EXTENTS = {"aoi": "area", "zones": "zones", "granule": "all"}


def show_plan(estimate: Estimate, layout: Layout | None = None, unread: int = 0, *, as_json: bool) -> None:
    """Show what a plan will take, here or, with a layout, on a site."""
    if as_json:
        facts = asdict(estimate) | {"mean_file_bytes": estimate.mean_file_bytes, "peak_memory": estimate.peak_memory}
        facts |= {"unread": unread}
        _echo_json(facts if layout is None else facts | {"site": [asdict(stage) for stage in layout.stages]})
        return
    made = table("stage", "units", "to do", "core time", "memory per process")
    for stage in estimate.stages:
        time = format_duration(stage.core_hours * 3600) if stage.pending else "-"
        made.add_row(stage.stage, str(stage.units), str(stage.pending), time, format_bytes(stage.peak_memory))
    print_out(made)
    if estimate.all_windows:
        print_out(f"windows: {estimate.windows} of {estimate.all_windows} ({_EXTENTS[estimate.extent]})")
    if estimate.keeps_cube:
        print_out(
            f"cube: {format_bytes(estimate.cube_bytes)} in {format_count(estimate.files, 'file')} "
            f"of {format_bytes(estimate.mean_file_bytes)} on average; {format_bytes(estimate.free_bytes)} free"
        )
    else:
        print_out("cube: none is kept")
    if estimate.remote_files:
        print_out(
            f"on servers: {format_count(estimate.remote_files, 'file')} of {format_bytes(estimate.remote_bytes)}; "
            "for nodes without a network, `hpckit fetch` brings them here"
        )
    if estimate.graph_bytes:
        print_out(f"results of graphs: {format_bytes(estimate.graph_bytes)}, stored and as files")
    if estimate.composite_bytes:
        print_out(f"composites: {format_bytes(estimate.composite_bytes)}, with temporary files")
    _show_quotas(estimate)
    if unread:
        print_out(f"{unread_products(unread)}, so the plan may lack work")
    if layout is not None:
        return
    print_out(
        f"memory: {format_bytes(estimate.peak_memory)} for {format_count(estimate.workers, 'worker')}; "
        f"{format_bytes(estimate.available_memory)} free\n"
        f"time: about {format_duration(sum(s.core_hours for s in estimate.stages) * 3600 / estimate.workers)} "
        f"with {format_count(estimate.workers, 'worker')}"
    )


def _show_quotas(estimate: Estimate) -> None:
    from hpckit.production.quotas import describe_quotas

    for disk, room in estimate.quotas:
        for line in describe_quotas(disk, room):
            print_out(line)


def show_result(result: Result, console: Console) -> None:
    """Say what a run did."""
    done = ", ".join(f"{stage} {count}" for stage, count in result.done.items()) or "nothing was left to do"
    console.say(f"units done: {done}")
    if result.sync is not None:
        rows, loaded = format_count(result.sync.rows, "record"), format_count(result.sync.loaded, "spool file")
        console.say(f"store: {rows} loaded from {loaded}")
        if result.sync.markers is not None:
            console.say(result.sync.markers.describe())
    if result.stopped:
        console.say("stopped before the end; the same command continues")
    if result.unread:
        console.say(f"{unread_products(result.unread)}; run the command again when the file system answers")
    if result.failed:
        failed = format_count(len(result.failed), "unit")
        console.say(f"{failed} failed; `hpckit status {result.run.campaign.path}` shows why")


def unread_products(number: int) -> str:
    """Half a sentence on what the file system refuses."""
    return f"{format_count(number, 'product or folder', 'products or folders')} cannot be read at the moment"


def show_faults(faults: Sequence[Fault], *, as_json: bool, is_shared: bool = False) -> None:
    """List faulty shards and files; those of a campaign that sites share come again from its sites."""
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
    unread = sum(fault.kind == "unread" for fault in faults)
    faulty = len(faults) - unread
    if faulty or not faults:
        repair = (
            "`hpckit update` brings them from their sites" if is_shared else "`hpckit run` writes faulty files again"
        )
        print_out(format_count(faulty, "faulty file") + (f"; {repair}" if faulty else ": all files are correct"))
    if unread:
        print_out(
            f"{format_count(unread, 'file')} cannot be read at the moment, so the state is unknown; verify again"
        )


def show_status(
    status: Status,
    elements: Mapping[str, Mapping[State, int]] | None = None,
    energy: EnergyUse | None = None,
    *,
    as_json: bool,
) -> None:
    """Show the progress of a run."""
    if as_json:
        used = None if energy is None else asdict(energy) | {"basis": energy.basis}
        _echo_json(asdict(status) | {"elements": elements or {}, "energy": used})
        return
    print_out(f"campaign {status.campaign}, run {status.run_id}")
    made = table("stage", "done", "failed", "waiting", "core time", "left")
    for stage in status.stages:
        left = "" if stage.left_s is None else f"about {format_duration(stage.left_s)}"
        counts = (str(count) for count in (stage.done, stage.failed, stage.waiting))
        made.add_row(stage.stage, *counts, format_duration(stage.seconds), left)
    print_out(made)
    if energy is not None and energy.begun:
        print_out(f"energy: {energy.text}")
    for reason, units in status.failures.items():
        print_out(f"{len(units)} failed: {reason}\n    {', '.join(units[:3])}{', …' if len(units) > 3 else ''}")
    if status.slivers:
        print_out(
            f"{format_count(status.slivers, 'zone')} without a pixel centre: empty signatures "
            "(`coverage: fraction` helps)"
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

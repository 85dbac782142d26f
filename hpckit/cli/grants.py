"""Answers of commands on campaigns that several sites share: what each site did, and who has which tiles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from hpckit.jobs.federation.follow import GrantState
    from hpckit.jobs.federation.share import Handed


def show_handed(handed: Handed, campaign: Path) -> NoReturn:
    """Say what each site did, and end with the exit code."""
    from hpckit.cli.tables import print_out

    for line in handed.said:
        print_out(line)
    if handed.unplaced:
        names = ", ".join(handed.unplaced[:5])
        more = f" and {len(handed.unplaced) - 5} more" if len(handed.unplaced) > 5 else ""
        print_out(f"no site has the scenes of {names}{more}; bring them to one, then run `hpckit retry {campaign}`")
    print_out(f"follow all sites with `hpckit status {campaign}`; load their results with `hpckit sync {campaign}`")
    raise SystemExit(handed.exit_code)


def show_grants(grants: Sequence[GrantState]) -> None:
    """Who has which tiles, and how far each site is."""
    from hpckit.cli.tables import print_out, table

    made = table("part", "site", "tiles", "state", left=True)
    for item in grants:
        names = ", ".join(item.grant.tiles[:3]) + (", …" if len(item.grant.tiles) > 3 else "")
        made.add_row(str(item.grant.epoch), item.grant.member, f"{len(item.grant.tiles)}: {names}", _words(item))
    print_out(made)


def _words(item: GrantState) -> str:
    if item.grant.revoked is not None:
        told = "the site knows" if item.grant.fenced else "the site was not reached yet"
        return f"{item.grant.revoked}; {told}"
    if item.fault is not None:
        return item.fault
    if item.told.get("silent"):
        return f"its scheduler does not answer: {item.told['silent']}"
    counts = ", ".join(f"{count} {state}" for state, count in item.told.get("elements", {}).items())
    return (
        f"submission {item.told.get('submission')}{' (over)' if item.told.get('over') else ''}: {counts or 'no jobs'}"
    )


def show_watch_shared(run: Path, *, once: bool) -> int:
    """Follow all sites that share a campaign, a line for each change, until all are done; give the exit code."""
    from hpckit import api
    from hpckit.base.console import Console

    before, seen = "", None
    for seen in api.follow_shared(run, console=Console()):
        stages = seen.status.stages
        units = ", ".join(f"{item.stage} {item.done}/{item.done + item.failed + item.waiting}" for item in stages)
        sites = "; ".join(f"{item.grant.member}: {_words(item)}" for item in seen.grants if not item.grant.revoked)
        line = f"units done: {units} | {sites}"
        if line != before:
            click.echo(f"{time.strftime('%H:%M:%S')} {line}")
        before = line
        if once:
            return 0
    assert seen is not None
    return 1 if any(stage.failed or stage.waiting for stage in seen.status.stages) else 0

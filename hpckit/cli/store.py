"""`hpckit store`: the tables of a store, their version and their users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hpckit.store.upgrade import StoreState


@click.group()
def store() -> None:
    """Show who uses a store, and upgrade its tables.

    \b
    Example:
      hpckit store show campaign.yaml
      hpckit store migrate campaign.yaml
    """


def _named(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name a store."""
    for option in (
        click.option("--schema", default="hpckit", show_default=True, help="Schema of the database, with --dsn."),
        click.option("--dsn", metavar="URL", help="Database, `postgresql://user@host/database`, without a campaign."),
        click.argument("campaign", required=False, type=click.Path(path_type=Path, exists=True)),
    ):
        command = option(command)
    return command


@store.command()
@_named
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def show(campaign: Path | None, dsn: str | None, schema: str, as_json: bool) -> None:
    """Show the version of a store's tables, and the campaigns and users that use them; change nothing.

    \b
    Example:
      hpckit store show campaign.yaml
      hpckit store show --dsn postgresql://operator@db/eo --schema parcels
    """
    import json
    from dataclasses import asdict

    from hpckit import api
    from hpckit.base.console import Console

    state = api.store_state(_one(campaign, dsn), dsn=dsn, schema=schema, console=Console(quiet=as_json))
    if as_json:
        click.echo(json.dumps(asdict(state), indent=1))
    else:
        _show(state)


@store.command()
@_named
@click.option("--yes", is_flag=True, help="Do not ask, also if others use the tables.")
def migrate(campaign: Path | None, dsn: str | None, schema: str, yes: bool) -> None:
    """Upgrade the tables of a store to those of this version of hpckit, in one transaction.

    An older hpckit does not load into upgraded tables: upgrade when all who use the store have this version. If
    others use it, the command asks; without a terminal, give --yes.

    \b
    Example:
      hpckit store migrate campaign.yaml
      hpckit store migrate --dsn postgresql://operator@db/eo --schema parcels --yes
    """
    import sys

    from hpckit import api
    from hpckit.base.console import Console

    state = api.store_state(_one(campaign, dsn), dsn=dsn, schema=schema)
    if state.version == state.newest:
        click.echo(f"{state.where}: the tables are version {state.version}, the newest; nothing is done", err=True)
        return
    if state.is_older and not yes and (state.users or len(state.campaigns) > 1):
        _show(state)
        if not sys.stdin.isatty():
            raise click.UsageError("others use these tables; give --yes when they have this version of hpckit")
        click.confirm(f"Upgrade from version {state.version} to {state.newest}?", abort=True, err=True)
    done = api.migrate_store(campaign, dsn=dsn, schema=schema, console=Console())
    click.echo(f"{done.where}: the tables are version {done.version} now, they were {state.version}", err=True)


def _one(campaign: Path | None, dsn: str | None) -> Path | None:
    if (campaign is None) == (dsn is None):
        raise click.UsageError("name a campaign file, or give --dsn")
    return campaign


def _show(state: StoreState) -> None:
    from hpckit.cli.tables import print_out

    print_out(state.where)
    version = f"version {state.version}" if state.version else "none"
    more = f"; `hpckit store migrate` makes version {state.newest}" if state.is_older else ""
    newer = f"; this hpckit knows up to {state.newest}" if state.version > state.newest else ""
    print_out(f"tables: {version}{more}{newer}")
    print_out(f"campaigns: {', '.join(state.campaigns) or 'none'}")
    print_out(f"other users who may use them: {', '.join(state.users) or 'none that the database names'}")

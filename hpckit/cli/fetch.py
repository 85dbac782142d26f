"""`hpckit fetch`: copies of images on servers, for nodes without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpckit.cli.run import AS_JSON, CAMPAIGN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpckit.production.transfer import Failed, Fetched

_SHOWN = 20


@click.command()
@CAMPAIGN
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the copies. Default: `scenes.fetched` of the campaign, where ingest looks for them.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 64),
    help="Requests at a time, of all. Default: `scenes.fetch.connections` of the campaign, or 4.",
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(1),
    help="Requests in any minute, of all. Default: `scenes.fetch.requests_per_minute` of the campaign, or 2000.",
)
@click.option(
    "--list",
    "form",
    type=click.Choice(("curl", "tsv")),
    help="Fetch nothing, and print what is missing: options for `curl --config`, or a table of URL, target, size and "
    "digest.",
)
@click.option("--with-signatures", is_flag=True, help="Write signatures of addresses into the list: keep it secret.")
@click.option("--verify", is_flag=True, help="Fetch nothing, and compare what lies there; needs no network.")
@click.option(
    "--answers",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --verify: what curl wrote when it fetched the list (`curl --config list > answers`).",
)
@click.option(
    "--remove",
    is_flag=True,
    help="Remove the copies that came for this campaign and that it needs no more.",
)
@click.option("--dry-run", is_flag=True, help="With --remove: only say what would be removed.")
@AS_JSON
def fetch(
    campaign: Path,
    to: Path | None,
    connections: int | None,
    requests_per_minute: int | None,
    form: str | None,
    with_signatures: bool,
    verify: bool,
    answers: Path | None,
    remove: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Copy images from servers to this file system, for compute nodes without a network.

    Brings the files that the campaign has still to open, whole (of EOPF Zarr the chunks of its windows), and compares
    size and digest. Its stages then read the copies; results are the same. You can stop it at any time: the same
    command continues. Run one at a time, on a login node or in a job of a data-transfer partition.

    Exit code 0 if all files are there, 1 if some are not, 75 if these may come later.

    \b
    Example:
      hpckit fetch campaign.yaml && hpckit submit campaign.yaml
      hpckit fetch campaign.yaml --list curl > list; curl --config list; hpckit fetch campaign.yaml --verify
      hpckit fetch campaign.yaml --verify --answers answers
      hpckit fetch campaign.yaml --remove
    """
    _require_one(form, with_signatures, verify, remove, dry_run, as_json)
    if answers is not None and not verify:
        raise click.UsageError("--answers is for --verify")
    if verify:
        _verify(campaign, to, answers, as_json)
    elif remove:
        _remove(campaign, to, dry_run, as_json)
    elif form is not None:
        from hpckit import api
        from hpckit.base.console import Console

        click.echo(
            api.fetch_list(campaign, form, to=to, with_signatures=with_signatures, console=Console()), nl=False
        )
    else:
        _fetch(campaign, to, connections, requests_per_minute, as_json)


def _require_one(
    form: str | None, with_signatures: bool, verify: bool, remove: bool, dry_run: bool, as_json: bool
) -> None:
    if (form is not None) + verify + remove > 1:
        raise click.UsageError("--list, --verify and --remove exclude each other")
    if dry_run and not remove:
        raise click.UsageError("--dry-run is for --remove")
    if with_signatures and form is None:
        raise click.UsageError("--with-signatures is for --list")
    if as_json and form is not None:
        raise click.UsageError("--list is no JSON: leave --json out")


def _fetch(campaign: Path, to: Path | None, connections: int | None, per_minute: int | None, as_json: bool) -> None:
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.base.quantities import format_bytes, format_count

    done = api.fetch(campaign, to=to, connections=connections, requests_per_minute=per_minute, console=Console())
    if as_json:
        _echo(done, done.failed)
    else:
        if not done.there + done.files + len(done.failed):
            click.echo("nothing to fetch: no file of a server is needed any more", err=True)
        else:
            click.echo(_summary(done, format_count(done.files, "file"), format_bytes(done.nbytes)), err=True)
        _show(done.failed)
    raise SystemExit(done.exit_code)


def _summary(done: Fetched, files: str, nbytes: str) -> str:
    text = f"{done.folder}: {files} fetched, {nbytes} in {done.seconds:.1f} s; {done.there} there before"
    return f"{text}; {len(done.failed)} failed" if done.failed else text


def _verify(campaign: Path, to: Path | None, answers: Path | None, as_json: bool) -> None:
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.base.quantities import format_count

    found = api.verify_fetched(campaign, to=to, answers=answers, console=Console())
    if as_json:
        _echo(found, found.failed)
    else:
        click.echo(f"{found.folder}: {format_count(found.right, 'file')} right, {len(found.failed)} not", err=True)
        _show(found.failed)
    raise SystemExit(found.exit_code)


def _remove(campaign: Path, to: Path | None, dry_run: bool, as_json: bool) -> None:
    from hpckit import api
    from hpckit.base.quantities import format_bytes, format_count

    gone = api.remove_fetched(campaign, to=to, dry_run=dry_run)
    if as_json:
        _echo(gone, ())
        return
    what = "would be removed" if dry_run else "removed"
    click.echo(f"{gone.folder}: {format_count(gone.files, 'file')} of {format_bytes(gone.nbytes)} {what}", err=True)


def _echo(found: object, failed: Sequence[Failed]) -> None:
    from dataclasses import asdict
    from json import dumps

    facts = asdict(found)  # type: ignore[call-overload]
    click.echo(dumps(facts | {"failed": [asdict(item) for item in failed]}, indent=1, default=str))


def _show(failed: Sequence[Failed]) -> None:
    for item in failed[:_SHOWN]:
        click.echo(f"  {item.reason}", err=True)
    if len(failed) > _SHOWN:
        click.echo(f"  … and {len(failed) - _SHOWN} more; --json lists all", err=True)

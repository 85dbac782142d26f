"""`hpckit clean`: remove what is needed no more."""

from __future__ import annotations

from pathlib import Path

import click

_WHAT = {
    "spool": "spool files whose results the store holds",
    "outdated": "spool files with results of earlier settings, and damaged ones",
    "logs": "logs, except those of the last submission",
    "inputs": "frozen inputs that nothing names, and rests of killed writers",
    "indexes": "zone indexes of earlier zones, grids and settings",
    "scratch": "remote files in the scratch folder of this machine",
    "run": "the run directory: the period is over, and the store holds all results",
}


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--what",
    multiple=True,
    type=click.Choice(list(_WHAT)),
    help="What to remove; may be repeated. Default: spool, logs, inputs, and what `retention` names.",
)
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Only what was not changed for so many days. Default: `retention` of the campaign file, else 7.",
)
@click.option("--yes", is_flag=True, help="Remove it. Without this option nothing is changed.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def clean(campaign: Path, what: tuple[str, ...], days: float | None, yes: bool, as_json: bool) -> None:
    """Show what of a run is needed no more, and remove it with --yes.

    The campaign file may say how long what stays: `retention: {spool: 30, logs: 60, indexes: 30}`, in days. `--what
    run` removes the whole run directory, once the period is over and the store holds all results.

    Only what is certainly ours and certainly not needed goes: spool files go when the store holds all their results,
    made from the same inputs. What is unknown, young or in use stays, and while somebody works on the run, or a
    submission may not have ended, nothing is removed. The store, the cube, composites and journals are never touched.

    Results whose spool file is gone are in the store alone: back it up. A store that loses them gets them from the
    next runs, which compute them again.

    CAMPAIGN is a campaign file or a run directory.

    \b
    Example:
      hpckit clean campaign.yaml
      hpckit clean campaign.yaml --older-than 30 --what spool --what outdated --yes
    """
    import json

    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.base.quantities import format_bytes, format_count
    from hpckit.errors import EX_FAILED, EX_TEMPFAIL

    report = api.clean(campaign, older_than_days=days, what=what or None, remove=yes)
    console = Console()
    if as_json:
        items = [{"what": item.kind, "path": str(item.path), "bytes": item.nbytes} for item in report.items]
        rest = {
            "kept": dict(report.kept),
            "run": report.stays,
            "unknown": report.unknown,
            "failures": report.failures,
        }
        click.echo(
            json.dumps({"removed": report.removed, "items": items, **rest, "failures": report.failures}, indent=1)
        )
    else:
        for kind, text in _WHAT.items():
            if found := [item for item in report.items if item.kind == kind]:
                size = format_bytes(sum(item.nbytes for item in found))
                one = "folder or file" if kind == "inputs" else "file"
                count = format_count(len(found), one, "folders and files" if kind == "inputs" else None)
                click.echo(f"{kind:<9} {count}, {size}: {text}")
        for reason, files in report.kept.items():
            click.echo(f"kept      {format_count(files, 'spool file')}: {reason}")
        if report.stays:
            click.echo(f"kept      the run directory: {report.stays}")
        if not report.items:
            click.echo("nothing to remove")
        else:
            click.echo("removed" if yes else "nothing was removed; --yes removes it")
    for text in [*report.unknown, *report.failures]:
        console.warn(text)
    raise SystemExit(EX_FAILED if report.failures else EX_TEMPFAIL if report.unknown else 0)

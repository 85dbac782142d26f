"""`hpckit crate` and `reproduce`: how a run was made, and whether it can be made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hpckit.base.quantities import format_count
from hpckit.errors import EX_FAILED

if TYPE_CHECKING:
    from hpckit.production.provenance.reproduce import Reproduction

_SHOWN: Final = 20


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder or .zip file. Default: NAME.crate.")
@click.option("--agent", default="", metavar="NAME", help="Person or organisation that ran the campaign.")
@click.option("--agent-id", default="", metavar="URL", help="ORCID of the person, or address of the organisation.")
@click.option("--license", default="", metavar="URL", help="Licence of the outputs.")
def crate(run: Path, output: Path | None, agent: str, agent_id: str, license: str) -> None:
    """Write how the outputs of a run were made, as an RO-Crate: inputs, settings, software, resources, digests.

    The crate holds the campaign as it was frozen, zones (identifiers and outlines only), graphs and code, and names
    products by id and digest; it holds no product and no output. `hpckit reproduce` makes the outputs again.
    Folders with files of composites and graphs get an `ro-crate-metadata.json` of their own. Prints the digest of
    the crate.

    RUN is a campaign file or a run directory.

    \b
    Example:
      hpckit crate campaign.yaml -o ndvi-2026.zip --license https://creativecommons.org/licenses/by/4.0/
    """
    from hpckit import api
    from hpckit.base.console import Console

    made = api.crate(run, output, agent=agent, agent_id=agent_id, license=license)
    if made.record.lacks:
        Console().warn(f"the run is not complete: {made.record.lacks}; the crate says so")
    click.echo(f"{made.path}: sha256 {made.digest}")
    for path in made.beside:
        click.echo(path)


@click.command()
@click.argument("crate", type=click.Path(path_type=Path, exists=True))
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--products", type=click.Path(path_type=Path), multiple=True, help="Folder to search for products.")
@click.option("--at", multiple=True, metavar="FIELD=PATH", help="Where a model, terrain model or campaign is.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes. Default: the cores of this machine.")
@click.option("--digest", default="", metavar="SHA256", help="Refuse a crate with another digest.")
@click.option("--run-code", is_flag=True, help="Run functions of the crate's author, and models that are code.")
@click.option("--json", "as_json", is_flag=True, help="List all outputs in JSON on stdout.")
def reproduce(
    crate: Path,
    folder: Path | None,
    products: tuple[Path, ...],
    at: tuple[str, ...],
    workers: int | None,
    digest: str,
    run_code: bool,
    as_json: bool,
) -> None:
    """Make the outputs of a crate again in an empty FOLDER, and compare their digests.

    Products are looked for where --products says, else where they lay. Exit code 1 if an output is different or
    missing, or if the crate was changed. Software that differs is named, and the command goes on. You can stop it at
    any time: the same command continues.

    \b
    Example:
      hpckit reproduce ndvi-2026.zip again/ --products /data/sentinel-2
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.production.provenance.reproduce import as_json as listed

    places = dict(_pair(text) for text in at)
    target = folder or Path(f"{crate.name.removesuffix('.zip').removesuffix('.crate')}-again")
    done = api.reproduce(
        crate,
        target,
        products=products,
        at=places,
        workers=workers,
        run_code=run_code,
        expected=digest,
        console=Console(),
    )
    click.echo(listed(done)) if as_json else _show(done)
    raise SystemExit(0 if done.is_equal else EX_FAILED)


def _pair(text: str) -> tuple[str, Path]:
    field, equals, path = text.partition("=")
    if not equals or not field or not path:
        raise click.BadParameter(f"{text!r} is not FIELD=PATH", param_hint="--at")
    return field, Path(path)


def _show(done: Reproduction) -> None:
    from hpckit.cli.tables import print_out, table

    odd = [item for item in done.outputs if item.state != "equal"]
    if odd:
        made = table("output", "state", "digest in the crate", "digest now", left=True)
        for item in odd[:_SHOWN]:
            made.add_row(item.name, item.state, item.before[:16] or "none", item.now[:16] or "none")
        print_out(made)
    if len(odd) > _SHOWN:
        print_out(f"… and {len(odd) - _SHOWN} more; --json lists all")
    counts = ", ".join(f"{count} {state}" for state, count in done.counts.items())
    print_out(f"{done.folder}: {format_count(len(done.outputs), 'output')}: {counts or 'none'}")

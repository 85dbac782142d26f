"""`hpckit init`, `check` and `schema`: the campaign file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--name", help="Name of the campaign. Default: the name of the folder.")
@click.option("--force", is_flag=True, help="Overwrite an existing campaign file.")
def init(folder: Path, name: str | None, force: bool) -> None:
    """Write a commented campaign.yaml to FOLDER.

    \b
    Example:
      hpckit init wheat-2024
    """
    import re
    from importlib import resources

    from hpckit.base.files import write_text
    from hpckit.errors import CampaignError

    path = folder / "campaign.yaml"
    if path.exists() and not force:
        raise CampaignError(f"{path}: exists already", hint="--force overwrites it")
    chosen = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.absolute().name).strip("-.") or "campaign"
    text = resources.files("hpckit").joinpath("data/campaign.yaml").read_text(encoding="utf-8")
    write_text(path, text.replace("@NAME@", chosen))
    click.echo(f"wrote {path}; edit it, then: hpckit check {path}", err=True)


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def check(campaign: Path, as_json: bool) -> None:
    """Check a campaign file and its inputs.

    Prints a table with the area, scenes, bands, zones and store. Exit code 1 if there is an error, 75 if files or
    the store cannot be read at the moment and nothing else is wrong.

    \b
    Example:
      hpckit check campaign.yaml
    """
    from dataclasses import asdict

    from hpckit import api
    from hpckit.errors import EX_FAILED, EX_TEMPFAIL

    findings = api.check(campaign)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False))
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("field", "", "found", "remedy", box=None, header_style="bold", pad_edge=False)
        style = {"ok": "green", "warning": "yellow", "error": "bold red"}
        for finding in findings:
            mark = Text(finding.verdict, style[finding.verdict])
            table.add_row(Text(finding.what), mark, Text(finding.text), Text(finding.remedy))
        Console(soft_wrap=False, width=None if sys.stdout.isatty() else 160).print(table)
    if any(finding.verdict == "error" and not finding.temporary for finding in findings):
        raise SystemExit(EX_FAILED)
    raise SystemExit(EX_TEMPFAIL if any(finding.temporary for finding in findings) else 0)


@click.command()
@click.argument("kind", type=click.Choice(["campaign", "site", "serve"]))
def schema(kind: str) -> None:
    """Print the JSON schema of campaign files, site files or settings of the server.

    Editors complete and check YAML with it.

    \b
    Example:
      hpckit schema campaign > campaign.schema.json
      hpckit schema site > site.schema.json
      hpckit schema serve > serve.schema.json
    """
    from pydantic import BaseModel

    from hpckit.base.document import json_schema
    from hpckit.campaign.campaign import Campaign
    from hpckit.serve.settings import Settings
    from hpckit.sites.site import Site

    models: dict[str, type[BaseModel]] = {"campaign": Campaign, "site": Site, "serve": Settings}
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **json_schema(models[kind])}
    click.echo(json.dumps({**document, "title": f"hpckit {kind}"}, indent=1, ensure_ascii=False))

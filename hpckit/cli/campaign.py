"""`hpckit init`, `check` and `schema`: the campaign file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--name", help="Name of the campaign. Default: that of the folder.")
@click.option("--force", is_flag=True, help="Overwrite a campaign file that is there.")
def init(folder: Path, name: str | None, force: bool) -> None:
    """Write a commented campaign.yaml to FOLDER.

    \b
    Example:
      hpckit init wheat-2024
    """
    import re
    from importlib import resources

    from hpckit.errors import CampaignError
    from hpckit.files import write_text

    path = folder / "campaign.yaml"
    if path.exists() and not force:
        raise CampaignError(f"{path}: is there already", hint="--force overwrites it")
    chosen = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.absolute().name).strip("-.") or "campaign"
    text = resources.files("hpckit").joinpath("data/campaign.yaml").read_text(encoding="utf-8")
    write_text(path, text.replace("@NAME@", chosen))
    click.echo(f"wrote {path}; edit it, then: hpckit check {path}", err=True)


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def check(campaign: Path, as_json: bool) -> None:
    """Check a campaign file and all that it points to.

    Says in a table what was found: area, scenes, bands, zones, store. Exit code 1 if anything is wrong.

    \b
    Example:
      hpckit check campaign.yaml
    """
    from dataclasses import asdict

    from hpckit.campaign import load_campaign
    from hpckit.check import check_campaign

    findings = check_campaign(load_campaign(campaign))
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
    raise SystemExit(1 if any(finding.verdict == "error" for finding in findings) else 0)


@click.command()
@click.argument("kind", type=click.Choice(["campaign", "site"]))
def schema(kind: str) -> None:
    """Print the JSON schema of the campaign file or of site files, for editors that complete and check YAML.

    \b
    Example:
      hpckit schema campaign > campaign.schema.json
      hpckit schema site > site.schema.json
    """
    from hpckit.campaign import Campaign
    from hpckit.site import Site

    model = Campaign if kind == "campaign" else Site
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    click.echo(json.dumps({**document, "title": f"hpckit {kind}"}, indent=1, ensure_ascii=False))

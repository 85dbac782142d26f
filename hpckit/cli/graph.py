"""`hpckit graph`: process graphs of openEO on the cubes of campaigns, here or on a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpckit.cli.cluster import SITE, make_request, resources
from hpckit.cli.run import AS_JSON, WORKERS
from hpckit.errors import EX_FAILED, EX_TEMPFAIL

if TYPE_CHECKING:
    from hpckit.errors import GraphError

Collections = Mapping[str, Path]
Hosts = tuple[str, ...]


def _collections(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Collections:
    found: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not name or not equals or not path:
            raise click.BadParameter(f"{value!r}: write NAME=CAMPAIGN, for example S2=farms/campaign.yaml")
        if name in found:
            raise click.BadParameter(f"collection {name!r} is named twice")
        found[name] = Path(path).absolute()
    return found


def _parameters(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Mapping[str, Any]:
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{value!r}: write NAME=VALUE, or NAME=@FILE")
        try:
            found[name] = json.loads(Path(text[1:]).read_bytes()) if text.startswith("@") else _json_or_text(text)
        except (OSError, ValueError) as error:
            raise click.BadParameter(f"{text[1:]}: no file of JSON ({error})") from None
    return found


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


GRAPH = click.argument("graph", type=click.Path(path_type=Path, dir_okay=False, exists=True))
COLLECTIONS = click.option(
    "--collection",
    "collections",
    metavar="NAME=CAMPAIGN",
    multiple=True,
    callback=_collections,
    help="A collection that the graph loads: its name, and the campaign file or run directory. May be repeated.",
)
PARAMETERS = click.option(
    "--parameter",
    "parameters",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_parameters,
    help="Value of a parameter of the graph: JSON or text, or @FILE with JSON. May be repeated.",
)
HOSTS = click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A server that the graph may read (load_stac, load_url); * for all of public addresses. May be repeated.",
)
OUTPUT = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the job."
)


def on_graph(command: Callable[..., Any]) -> Callable[..., Any]:
    """Argument and options that all commands of a graph have."""
    return GRAPH(COLLECTIONS(PARAMETERS(HOSTS(command))))


@click.group()
def graph() -> None:
    """Compute process graphs of openEO on the cubes of campaigns.

    GRAPH is a file of JSON: the nodes, or an object that has them as `process_graph`. Each collection that it loads
    is a campaign, which `--collection` names.

    \b
    Example:
      hpckit graph check ndvi.json --collection SENTINEL2_L2A=farms/campaign.yaml
      hpckit graph run ndvi.json --collection SENTINEL2_L2A=farms/campaign.yaml -o ndvi
    """


@graph.command()
@on_graph
@AS_JSON
def check(graph: Path, collections: Collections, parameters: Mapping[str, Any], hosts: Hosts, as_json: bool) -> None:
    """Check a graph: its form, its arguments, and the types of its cubes. No pixel is read.

    Shows all faults at once, each with its node. Exit code 1 if there is one.

    \b
    Example:
      hpckit graph check ndvi.json --collection SENTINEL2_L2A=farms/campaign.yaml
      hpckit graph check ndvi.json --collection S2=a/campaign.yaml --collection S1=b/campaign.yaml --json
    """
    from hpckit import api
    from hpckit.base.quantities import format_count

    faults = api.check_graph(_document(graph, parameters), collections, hosts=hosts)
    if as_json:
        found = [{"node": f.node, "fault": f.fault, "message": f.message, "hint": f.hint} for f in faults]
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
    elif faults:
        _show(graph, faults)
    else:
        click.echo(f"{graph}: {format_count(0, 'fault')}")
    raise SystemExit(EX_FAILED if faults else 0)


@graph.command()
@on_graph
@OUTPUT
@WORKERS
@AS_JSON
@click.option("--site", metavar="SITE", help="Also show elements, node-hours and duration on this site.")
def plan(
    graph: Path,
    collections: Collections,
    parameters: Mapping[str, Any],
    hosts: Hosts,
    output: Path,
    workers: int | None,
    as_json: bool,
    site: str | None,
) -> None:
    """Show the work and the cost of a graph: units, bytes, memory, core-hours. Computes no results.

    Writes the job into the folder: its graph, and the campaign file that `hpckit run`, `submit`, `status` and
    `verify` take.

    \b
    Example:
      hpckit graph plan ndvi.json --collection SENTINEL2_L2A=farms/campaign.yaml -o ndvi --site snellius
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.cli.follow import show_layout
    from hpckit.cli.tables import show_plan

    found = api.plan(
        _job(graph, collections, parameters, hosts, output), workers=workers, site=site, console=Console()
    )
    show_plan(found.estimate, found.layout, found.unread, as_json=as_json)
    if not as_json:
        for line in api.estimate_graph(graph.read_bytes(), collections, parameters=parameters, hosts=hosts).lowered:
            click.echo(f"lowered: {line}")
    if found.layout is None or found.site is None:
        found.estimate.require_fit()
    elif not as_json:
        show_layout(found.layout, found.site)
    raise SystemExit(EX_TEMPFAIL if found.unread else 0)


@graph.command()
@on_graph
@OUTPUT
@WORKERS
def run(
    graph: Path,
    collections: Collections,
    parameters: Mapping[str, Any],
    hosts: Hosts,
    output: Path,
    workers: int | None,
) -> None:
    """Compute a graph on this machine, and list the result files.

    You can stop it at any time by Ctrl-C or kill -9: the same command continues with the missing work. Exit code 1 if
    units failed, or the graph has faults.

    \b
    Example:
      hpckit graph run ndvi.json --collection SENTINEL2_L2A=farms/campaign.yaml -o ndvi --workers 8
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.cli.tables import show_result

    console = Console()
    campaign = _job(graph, collections, parameters, hosts, output)
    result = api.run(campaign, workers=workers, console=console)
    show_result(result, console)
    for file in api.graph_results(campaign):
        click.echo(str(file.path))
    raise SystemExit(result.exit_code)


@graph.command()
@on_graph
@OUTPUT
@SITE
@resources
def submit(
    graph: Path,
    collections: Collections,
    parameters: Mapping[str, Any],
    hosts: Hosts,
    output: Path,
    site: str | None,
    account: str | None,
    partition: str | None,
    qos: str | None,
    max_elements: int | None,
) -> None:
    """Submit a graph to Slurm or PBS as chained job arrays; returns at once.

    The campaign file in the folder is what `hpckit status`, `watch`, `retry` and `cancel` take.

    \b
    Example:
      hpckit graph submit ndvi.json --collection SENTINEL2_L2A=farms/campaign.yaml -o ndvi --account myproject
      hpckit watch ndvi/campaign.yaml
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.cli.follow import exit_code, show_submission

    console = Console()
    campaign = _job(graph, collections, parameters, hosts, output)
    request = make_request(account, partition, qos, max_elements)
    made = api.submit(campaign, site, request=request, console=console)
    show_submission(made, campaign)
    raise SystemExit(exit_code(made, console))


@graph.command()
@click.argument("names", metavar="[PROCESS]...", nargs=-1)
@AS_JSON
def processes(names: tuple[str, ...], as_json: bool) -> None:
    """List the processes that graphs may call, or show some of them with their parameters.

    \b
    Example:
      hpckit graph processes
      hpckit graph processes aggregate_temporal_period --json
    """
    from hpckit import api

    found = {str(process["id"]): process for process in api.graph_processes()}
    for name in names:
        if name not in found:
            close = get_close_matches(name, found, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise click.BadParameter(f"there is no process {name!r}{hint}", param_hint="PROCESS")
    shown = [found[name] for name in names] or list(found.values())
    if as_json:
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
        return
    width = max(len(str(process["id"])) for process in shown)
    for process in shown:
        click.echo(f"{process['id']:{width}}  {process['summary']}")
        for parameter in process["parameters"] if names else ():
            optional = f" (default {json.dumps(parameter.get('default'))})" if parameter.get("optional") else ""
            click.echo(f"  {parameter['name']}{optional}: {parameter['description'].splitlines()[0]}")


def _document(graph: Path, parameters: Mapping[str, Any]) -> Any:
    """The graph in a file, with values of its parameters."""
    from hpckit import api

    document = graph.read_bytes()
    return api.with_parameters(document, parameters) if parameters else document


def _job(graph: Path, collections: Collections, parameters: Mapping[str, Any], hosts: Hosts, output: Path) -> Path:
    """The campaign file of a graph in its folder; ends the command if the graph has faults."""
    from hpckit import api

    document = _document(graph, parameters)
    faults = api.check_graph(document, collections, hosts=hosts)
    if faults:
        _show(graph, faults)
        raise SystemExit(EX_FAILED)
    return api.prepare_graph(document, collections, output, title=graph.name, hosts=hosts)


def _show(graph: Path, faults: list[GraphError]) -> None:
    for fault in faults:
        where = f"node {fault.node}: " if fault.node else ""
        click.echo(f"{graph}: {where}{fault.message}", err=True)
        if fault.hint:
            click.echo(f"  hint: {fault.hint}", err=True)

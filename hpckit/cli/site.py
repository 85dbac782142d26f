"""`hpckit site`: list, show, validate, probe and check site files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hpckit.sites.places import SiteFile
    from hpckit.sites.site import Site


@click.group()
def site() -> None:
    """List, show, validate, probe and check site files, which describe clusters.

    \b
    Example:
      hpckit site list
      hpckit site probe -o mycluster.yaml && hpckit site check ./mycluster.yaml
    """


@site.command("list")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def list_sites(as_json: bool) -> None:
    """List the known site files; `*` marks the site that you are on.

    Of several files of one name the first is used: from the campaign's folder, then yours, then the operator's
    (HPCKIT_SITES, /etc/hpckit/sites), then hpckit's. The table has the others below it.

    \b
    Example:
      hpckit site list
    """
    import json

    from hpckit.cli.tables import print_out, table
    from hpckit.sites.places import all_site_files
    from hpckit.sites.site import identify_site

    here = identify_site([Path.cwd()])
    known = sorted(all_site_files([Path.cwd()]).items())
    if as_json:
        keys = ("scheduler", "title", "path", "from")
        rows = [
            {"name": name, **dict(zip(keys, _listed(files[0]), strict=True)), "here": name == here}
            | {"hides": [str(file.path) for file in files[1:]]}
            for name, files in known
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    made = table("site", "scheduler", "title", "file", "from", left=True)
    for name, files in known:
        made.add_row(("* " if name == here else "  ") + name, *_listed(files[0]))
        for file in files[1:]:
            made.add_row("", "", "hidden by the one above", str(file.path), file.whose)
    print_out(made)


def _listed(file: SiteFile) -> tuple[str, str, str, str]:
    """Scheduler, title, path and origin of a site file, or what is wrong with it."""
    from hpckit.errors import SiteError
    from hpckit.sites.site import load_site

    try:
        loaded = load_site(file.path)
    except SiteError as error:
        return "?", str(error).splitlines()[0], str(file.path), file.whose
    return loaded.scheduler, loaded.title, str(file.path), file.whose


@site.command()
@click.argument("name")
@click.option("--file", "as_file", is_flag=True, help="Print the file itself, with its comments.")
@click.option("--origin", is_flag=True, help="Show which file and line says each field (`extends`).")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def show(name: str, as_file: bool, origin: bool, as_json: bool) -> None:
    """Show a site: partitions, limits, accounts, storage and login.

    \b
    Example:
      hpckit site show snellius
      hpckit site show snellius --origin
      hpckit site show snellius --file > ~/.config/hpckit/sites/snellius.yaml
    """
    from hpckit.sites.site import find_site

    found = find_site(name, [Path.cwd()])
    if origin:
        _show_origins(found, as_json=as_json)
    elif as_file:
        click.echo(found.path.read_text(), nl=False)
    elif as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        _show(found)


@site.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def validate(files: tuple[Path, ...]) -> None:
    """Check site files, and report every error with its line and remedy. Exit code 1 if there is any.

    \b
    Example:
      hpckit site validate ~/.config/hpckit/sites/*.yaml
    """
    from hpckit.base.console import Console
    from hpckit.errors import SiteError
    from hpckit.sites.limits import warnings
    from hpckit.sites.site import load_site

    faulty = False
    for path in files:
        try:
            loaded = load_site(path)
            click.echo(f"{path}: valid")
            for warning in warnings(loaded):
                Console().warn(warning)
        except SiteError as error:
            faulty = True
            click.echo(str(error), err=True)
    raise SystemExit(1 if faulty else 0)


@site.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File. Default: stdout.")
@click.option("--name", help="Name of the site. Default: the name of the file, or `here`.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def probe(output: Path | None, name: str | None, force: bool) -> None:
    """Ask the cluster that you are on, and write a first site file.

    \b
    Example:
      hpckit site probe -o ~/.config/hpckit/sites/mycluster.yaml
    """
    from hpckit.base.console import Console
    from hpckit.base.files import write_text
    from hpckit.errors import SiteError
    from hpckit.sites.probe.gather import gather
    from hpckit.sites.probe.sitefile import site_file

    if output is not None and output.exists() and not force:
        raise SiteError(f"{output}: exists already", hint="--force overwrites it; or give another name")
    facts = gather()
    text = site_file(facts, name or (output.stem if output is not None else "here"))
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
        Console().say(f"{output} written; read it, then `hpckit site check {output}`")
    for note in facts.notes:
        Console().warn(note)


@site.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def check(name: str, as_json: bool) -> None:
    """Compare a site file with the cluster that you are on. Exit code 1 if something does not match.

    \b
    Example:
      hpckit site check snellius
    """
    import json
    from dataclasses import asdict

    from rich.markup import escape

    from hpckit.base.findings import failed
    from hpckit.cli.tables import print_out, table
    from hpckit.jobs.warm import check_kernels
    from hpckit.sites.limits import limit_findings
    from hpckit.sites.probe.compare import compare
    from hpckit.sites.probe.gather import gather
    from hpckit.sites.probe.quotas import quota_findings
    from hpckit.sites.site import find_site

    found = find_site(name, [Path.cwd()])
    findings = [*compare(found, gather(scheduler=found.scheduler)), check_kernels(found)]
    findings += [*limit_findings(found), *quota_findings(found)]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        made = table("", "what", "found", "remedy", left=True)
        for finding in findings:
            word = {True: "yes", False: "NO", None: "?"}[finding.ok]
            made.add_row(word, finding.what, escape(finding.says), escape("" if finding.ok else finding.remedy))
        print_out(made)
    raise SystemExit(1 if failed(findings) else 0)


def _show_origins(found: Site, *, as_json: bool) -> None:
    """Print the file and line of each field that some file says."""
    import json

    if as_json:
        places = {name: {"file": str(path), "line": line} for name, (path, line) in found.origins.items()}
        click.echo(json.dumps(places, indent=1))
        return
    width = max(map(len, found.origins), default=0)
    for name, (path, line) in sorted(found.origins.items()):
        click.echo(f"{name:<{width}}  {path}:{line}")


def _show(found: Site) -> None:
    from hpckit.base.quantities import format_bytes, format_duration
    from hpckit.cli.tables import print_out, table
    from hpckit.sites.limits import warnings

    print_out(f"{found.name}: {found.title or found.scheduler} ({', which extends '.join(map(str, found.paths))})")
    made = table("partition", "cores", "memory", "walltime", "GPUs", "queued jobs")
    for item in found.partitions:
        made.add_row(
            item.name or "(chosen by the site)",
            str(item.cores or "?"),
            format_bytes(item.memory_mib * 2**20) if item.memory_mib else "?",
            format_duration(item.walltime) if item.walltime else "?",
            str(item.gpus or ""),
            str(item.max_submitted or ""),
        )
    if found.partitions:
        print_out(made)
    arrays = f"up to {found.arrays.max_size or 'an unknown number of'} elements" if found.arrays.supported else "none"
    print_out(f"job arrays: {arrays}; ranks by {found.mpi.launcher}; results are synced from a {_sync_place(found)}")
    if found.account.required or found.account.default:
        print_out(f"account: {found.account.default or 'must be given (--account)'}")
    for name in ("scratch", "project", "local"):
        if getattr(found.storage, name):
            print_out(f"{name}: {getattr(found.storage, name)}")
    if found.login is not None:
        way = f" by way of {', '.join(found.login.jump)}" if found.login.jump else ""
        print_out(f"login: {found.login.user}@{found.login.host}{way}")
    for note in found.notes:
        print_out(f"note: {note}")
    for warning in warnings(found):
        print_out(f"warning: {warning}")


def _sync_place(found: Site) -> str:
    return "job" if found.sync == "job" else "login node"

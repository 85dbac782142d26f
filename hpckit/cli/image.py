"""`hpckit image`: the Apptainer images in which job arrays run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hpckit.base.quantities import format_count

if TYPE_CHECKING:
    from hpckit.sites.image.compare import Comparison
    from hpckit.sites.image.recipe import Recipe
    from hpckit.sites.site import Site

_SHOWN: Final = 5
"""Files of a cause that are named."""
SIF = click.argument("sif", type=click.Path(path_type=Path, dir_okay=False))
COMMAND = click.option(
    "--command", default="apptainer", show_default=True, metavar="PATH", help="Apptainer, or Singularity."
)

NO_HTTPS = click.option("--no-https", is_flag=True, help="The registry uses plain HTTP.")


def _recipe_options(command: Any) -> Any:
    for option in (
        click.option(
            "--mirror",
            default="",
            metavar="URL",
            help="Mirror of Debian's packages. Default: the mirror of this machine.",
        ),
        click.option("--base", metavar="BASE", help="debian (default), a docker:// URI, or an image file."),
        click.option("--cuda", metavar="VERSION", help="Add CUDA's libraries, 12.4 for example."),
        click.option("--mpi", type=click.Choice(["openmpi", "mpich", "none"]), help="Default: the MPI of the site."),
        click.option("--site", metavar="SITE", help="Site for which the image is built."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def image() -> None:
    """Build, test and copy the Apptainer image in which jobs run.

    \b
    Example:
      hpckit image build hpckit.sif --site snellius
      hpckit image test hpckit.sif --site snellius
      hpckit image push hpckit.sif snellius:/projects/eo/hpckit.sif
    """


@image.command("def")
@_recipe_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for the definition file and its lock file."
)
def definition(
    site: str | None, mpi: Any, cuda: str | None, base: str | None, mirror: str, output: Path | None
) -> None:
    """Write the definition file of an image.

    \b
    Example:
      hpckit image def --site lumi
      hpckit image def --mpi mpich --base docker://python:3.11-slim-bookworm@sha256:… -o image/
    """
    import shutil

    from hpckit.base.console import Console
    from hpckit.base.files import write_text
    from hpckit.sites.image.lint import lint

    recipe = _recipe(site, mpi, cuda, base, mirror)
    text = recipe.definition()
    for fault in lint(text):
        Console().warn(f"line {fault.line}: {fault.text}")
    if output is None:
        click.echo(text.rstrip())
        return
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "hpckit.def", text)
    shutil.copyfile(recipe.lock, output / "requirements.lock")
    click.echo(str(output / "hpckit.def"))


@image.command()
@SIF
@_recipe_options
@COMMAND
@click.option(
    "--compression",
    type=click.Choice(["gzip", "zstd"]),
    default="gzip",
    show_default=True,
    help="With zstd, imports take a third less time, if the site can read it.",
)
@click.option("--force", is_flag=True, help="Build also if no input changed, and compare.")
@click.option("--no-test", is_flag=True, help="Skip the image's own test.")
def build(
    sif: Path,
    site: str | None,
    mpi: Any,
    cuda: str | None,
    base: str | None,
    mirror: str,
    command: str,
    compression: Any,
    force: bool,
    no_test: bool,
) -> None:
    """Build an image as an ordinary user; keep the existing one if its inputs are the same.

    Downloads the wheels once, with the versions and hashes of the lock file. No file has the final name until the
    image is complete.

    \b
    Example:
      hpckit image build hpckit.sif
      hpckit image build hpckit-mpich.sif --mpi mpich --cuda 12.4
    """
    from hpckit.base.console import Console
    from hpckit.base.quantities import format_bytes
    from hpckit.sites.image.build import build as build_image

    console = Console()
    recipe = _recipe(site, mpi, cuda, base, mirror)
    built = build_image(
        recipe,
        sif.absolute(),
        console,
        command=command,
        compression=compression,
        force=force,
        with_test=not no_test,
    )
    what = "is up to date" if built.reused else "built"
    console.say(f"{built.path} {what}: {format_bytes(built.size)}")
    if built.against is not None:
        console.say("compared with the image that existed before, from the same inputs:")
        for line in _told(built.against, everything=False):
            console.say(f"    {line}")


@image.command()
@SIF
@click.option("--site", metavar="SITE", help="Site whose launcher, binds and GPUs are tested.")
@COMMAND
@click.option("--quick", is_flag=True, help="Skip the image's own test, a miniature campaign.")
@click.option("--no-ranks", is_flag=True, help="Skip the job of two ranks.")
@click.option("--account", default="", metavar="NAME", help="Account for this job.")
@click.option("--wait", default="15min", show_default=True, metavar="TIME", help="Maximum time to wait for it.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def test(
    sif: Path,
    site: str | None,
    command: str,
    quick: bool,
    no_ranks: bool,
    account: str,
    wait: str,
    as_json: bool,
) -> None:
    """Test an image here: a miniature campaign, scratch, binds, GPU, and two ranks under the site's launcher.

    Run it on a login node: it submits two ranks on two nodes as a small job and waits for them; inside an
    allocation they start at once. Exit code 1 if something does not work.

    \b
    Example:
      hpckit image test hpckit.sif --site snellius
      hpckit image test hpckit.sif --site lumi --account project_465000000 --wait 2h
    """
    from dataclasses import asdict

    from hpckit.base.quantities import parse_walltime
    from hpckit.jobs.imagecheck import check
    from hpckit.sites.site import find_site

    try:
        wait_s = parse_walltime(wait)
    except ValueError as error:
        raise click.UsageError(f"--wait {wait}: {error}") from None
    findings = check(
        sif,
        find_site(site) if site else None,
        command=command,
        with_test=not quick,
        with_ranks=not no_ranks,
        account=account,
        wait_s=wait_s,
    )
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            word = {True: "yes", False: "NO", None: "?"}[finding.ok]
            click.echo(f"{word:<4} {finding.what:<24} {finding.says}")
            if finding.ok is False and finding.remedy:
                click.echo(f"     {'':<24} -> {finding.remedy}")
    raise SystemExit(1 if any(finding.ok is False for finding in findings) else 0)


@image.command()
@SIF
@COMMAND
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def info(sif: Path, command: str, as_json: bool) -> None:
    """Show size, processor, signature and labels of an image.

    \b
    Example:
      hpckit image info hpckit.sif
    """
    from hpckit.base.quantities import format_bytes
    from hpckit.sites.image.info import read_info
    from hpckit.sites.image.tools import command_of

    found = read_info(sif, command_of(command)[0])
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=1))
        return
    rows = {
        "size": format_bytes(found.header.size),
        "processor": found.header.processor,
        "created": f"{found.header.created:%Y-%m-%d %H:%M} UTC",
        "signature": found.signature,
        **dict(sorted(found.labels.items())),
    }
    for name, value in rows.items():
        click.echo(f"{name:<40} {value}")


@image.command()
@click.argument("first", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("second", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--all", "everything", is_flag=True, help="List every file, instead of the first few of each cause.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def compare(first: Path, second: Path, everything: bool, as_json: bool) -> None:
    """Compare the files of two images, and show the cause of each difference.

    Compares content, mode and owner; files that differ only in their time are counted. Exit code 1 if anything
    else differs. Unpacks both images to a temporary folder, one after the other.

    \b
    Example:
      hpckit image compare monday.sif tuesday.sif
    """
    from hpckit.sites.image.compare import compare_images

    found = compare_images(first, second)
    click.echo(json.dumps(found.as_json(), indent=1) if as_json else "\n".join(_told(found, everything)))
    raise SystemExit(0 if found.same else 1)


@image.command()
@SIF
@click.argument("target")
@COMMAND
@NO_HTTPS
def push(sif: Path, target: str, command: str, no_https: bool) -> None:
    """Copy an image to a site by ssh, or push it to a registry.

    TARGET is SITE:PATH, HOST:PATH or oras://REGISTRY/NAME:TAG.

    \b
    Example:
      hpckit image push hpckit.sif snellius:/projects/eo/hpckit.sif
      hpckit image push hpckit.sif oras://registry.example/eo/hpckit:0.1
    """
    from hpckit.sites.image.push import push_to_host, push_to_registry, push_to_site

    if "://" in target:
        push_to_registry(sif, target, command=command, tls=not no_https)
        return
    if ":" not in target:
        raise click.UsageError(f"{target!r} is not a target: write SITE:PATH, HOST:PATH or oras://…")
    site = _site_named(target.partition(":")[0])
    if site is not None:
        push_to_site(sif, site, target.partition(":")[2])
    else:
        push_to_host(sif, target)


@image.command()
@click.argument("source")
@SIF
@COMMAND
@NO_HTTPS
def pull(source: str, sif: Path, command: str, no_https: bool) -> None:
    """Fetch an image from a registry; no file has its name until it is complete.

    SOURCE is oras://REGISTRY/NAME:TAG.

    \b
    Example:
      hpckit image pull oras://registry.example/eo/hpckit:0.1 hpckit.sif
    """
    from hpckit.sites.image.push import pull_from_registry

    pull_from_registry(source, sif.absolute(), command=command, tls=not no_https)


@image.command()
@SIF
@COMMAND
def sign(sif: Path, command: str) -> None:
    """Sign an image with your key (`apptainer key newpair` makes one).

    \b
    Example:
      hpckit image sign hpckit.sif
    """
    from hpckit.sites.image.push import sign as sign_image

    sign_image(sif, command=command)


def _told(found: Comparison, everything: bool) -> Iterator[str]:
    """A comparison, for people."""
    if found.same_bytes:
        yield f"the same, to the byte: {format_count(found.files, 'file')}"
        return
    differ = sum(len(items) for items in found.causes.values())
    says = "the same" if found.same else f"{differ} differ"
    yield f"{says}: {format_count(found.files, 'file')}, {found.times} by their time alone"
    yield from found.labels
    for cause, items in found.causes.items():
        yield f"{cause}: {len(items)}"
        shown = items if everything else items[:_SHOWN]
        yield from (f"    {item.path} ({item.kind})" for item in shown)
        if len(shown) < len(items):
            yield f"    and {len(items) - len(shown)} more: --all shows them"


def _recipe(site: str | None, mpi: Any, cuda: str | None, base: str | None, mirror: str) -> Recipe:
    from hpckit.sites.image.recipe import recipe_for
    from hpckit.sites.site import find_site

    return recipe_for(find_site(site) if site else None, mpi=mpi, cuda=cuda, base=base, mirror=mirror)


def _site_named(name: str) -> Site | None:
    """Site of that name with a login; None if it is the name of a host."""
    from hpckit.errors import SiteError
    from hpckit.sites.site import find_site

    try:
        site = find_site(name)
    except SiteError:
        return None
    return site if site.login is not None else None

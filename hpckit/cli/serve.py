"""`hpckit serve`: results over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class _DefaultRun(click.Group):
    """A group that serves where no command is named: `hpckit serve campaign.yaml`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before the arguments unless a command stands there, or help is asked for."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_DefaultRun)
def serve() -> None:
    """Serve results over HTTP: a viewer for browsers, a STAC API, and JRC's REST.

    \b
    Examples:
      hpckit serve campaign.yaml
      hpckit serve --config serve.yaml
      hpckit serve passwd users.txt anna
    """


@serve.command("run")
@click.argument("campaigns", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file instead of campaigns.")
@click.option("--listen", metavar="HOST:PORT", help="Address and port. Default: 127.0.0.1:8642, or a free port.")
@click.option("--prefix", metavar="/PATH", help="Path before all addresses, behind a proxy.")
@click.option("--open", "is_open", is_flag=True, help="Let every program of this machine read without a login.")
@click.option("--browser", is_flag=True, help="Open the viewer in the browser.")
@click.option("--frames", multiple=True, metavar="ORIGIN", help="Page that may show the viewer in a frame.")
@click.option("--attached", is_flag=True, help="End with standard input; a line on it asks for another address.")
@click.option("--log-requests", is_flag=True, help="Write a JSON line for each request to stderr.")
def run(
    campaigns: tuple[Path, ...],
    config: Path | None,
    listen: str | None,
    prefix: str | None,
    is_open: bool,
    browser: bool,
    frames: tuple[str, ...],
    attached: bool,
    log_requests: bool,
) -> None:
    """Serve CAMPAIGNS (campaign files or run directories), or what a settings file names.

    Prints one address on stdout; without a settings file it works once and for this machine only. Ctrl-C ends it.

    \b
    Examples:
      hpckit serve campaign.yaml
      hpckit serve run campaign.yaml --listen 127.0.0.1:9000 --open
      hpckit serve --config serve.yaml --log-requests
    """
    if bool(campaigns) == (config is not None):
        raise click.UsageError("name campaigns, or a settings file by --config")
    from hpckit.serve.server import serve as start
    from hpckit.serve.settings import read_settings, settings_for

    changes: dict[str, Any] = {}
    if listen is not None:
        changes["listen"] = listen
    if prefix is not None:
        changes["prefix"] = prefix
    if frames:
        changes["frames"] = frames
    settings = read_settings(config) if config is not None else settings_for(list(campaigns), is_open=is_open)
    start(
        settings.changed(**changes),
        any_port=listen is None,
        browser=browser,
        attached=attached,
        log_requests=log_requests,
    )


@serve.command("passwd")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("name")
@click.password_option(help="Asked for on the terminal if it is not given.")
def passwd(file: Path, name: str, password: str) -> None:
    """Set the password of user NAME in FILE, which the field `users` of the settings names.

    \b
    Example:
      hpckit serve passwd users.txt anna
    """
    from hpckit.serve.identity.passwords import set_password

    set_password(file, name, password)
    click.echo(f"{file}: password of {name} written", err=True)

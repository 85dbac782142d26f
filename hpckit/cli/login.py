"""`hpckit login`: who you are at a site, and the connection to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from hpckit.sites.login.members import Member
    from hpckit.sites.login.names import Access

_WORDS: Final = (
    ("--co", "Short name of your collaboration in SRAM."),
    ("--uid", "Your user name in SRAM."),
    ("--org", "Short name of the organisation in SRAM."),
    ("--user", "Your account at the site, if the site has its own accounts."),
    ("--key", "Private key. Default: the first usual one in ~/.ssh."),
)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")


def _who(command: Callable[..., Any]) -> Callable[..., Any]:
    """SITE, and the options from which a login name is made."""
    for option, text in reversed(_WORDS):
        variable = f"HPCKIT_{option[2:].upper()}"
        command = click.option(option, envvar=variable, help=f"{text} Stored for later.")(command)
    return click.argument("site")(command)


@click.group()
def login() -> None:
    """Log in to clusters, by SRAM or with an account of the site.

    hpckit uses the ssh of this machine with its keys and agent. It stores no password, code or token, and sends
    no private key. SITE is the name of a site, or the path of its file.

    \b
    Example:
      hpckit login show delena --co mycrop --uid jdoe --write
      hpckit login check delena
      hpckit login open delena
    """


@login.command()
@_who
@click.option("--write", is_flag=True, help="Write the block to ~/.ssh/hpckit.d/SITE.conf.")
@_AS_JSON
def show(site: str, write: bool, as_json: bool, **given: str | None) -> None:
    """Show the login name and the `Host` block for ssh.

    With --write the block goes to a file of its own, and the line is printed that ~/.ssh/config needs; that file
    is never changed.

    \b
    Example:
      hpckit login show delena --co mycrop --uid jdoe
    """
    from hpckit.sites.login.config import host_blocks, include_line, is_included, write_snippet

    access = _access(site, given)
    written = write_snippet(access) if write else None
    if as_json:
        _echo_json(_facts(access) | {"written": str(written) if written else None})
        return
    click.echo(host_blocks(access), nl=False)
    if written is None:
        return
    click.echo(f"{written}: written", err=True)
    if is_included(access):
        click.echo(f"`ssh {access.alias}` works from now on: ~/.ssh/config includes it", err=True)
    else:
        click.echo(f"put this line at the very top of ~/.ssh/config, once:\n\n{include_line()}\n", err=True)


@login.command(name="open")
@_who
def open_(site: str, **given: str | None) -> None:
    """Open the connection that all other commands use; you answer the questions of the site.

    The site may show a link or QR code, or ask for a code, a password or a choice of groups. You answer once;
    the connection ends 8 hours after its last use.

    \b
    Example:
      hpckit login open delena
    """
    from hpckit.sites.login.ssh import Session

    session = Session(_access(site, given))
    if session.is_open():
        click.echo(f"{session.site.name}: already open, as {session.name}", err=True)
        return
    session.open()
    click.echo(f"{session.site.name}: open, as {session.name}", err=True)


@login.command()
@_who
@_AS_JSON
def status(site: str, as_json: bool, **given: str | None) -> None:
    """Show whether the connection is open; exit code 1 if it is not.

    \b
    Example:
      hpckit login status delena || hpckit login open delena
    """
    from hpckit.sites.login.ssh import Session

    session = Session(_access(site, given))
    is_open = session.is_open()
    if as_json:
        _echo_json({"site": session.site.name, "login_name": session.name, "open": is_open})
    else:
        click.echo(f"{session.site.name}: {'open' if is_open else 'not open'}, as {session.name}")
    raise SystemExit(0 if is_open else 1)


@login.command()
@_who
def close(site: str, **given: str | None) -> None:
    """Close the connection; jobs at the site continue.

    \b
    Example:
      hpckit login close delena
    """
    from hpckit.sites.login.ssh import Session

    session = Session(_access(site, given))
    click.echo(f"{session.site.name}: {'closed' if session.close() else 'was not open'}", err=True)


@login.command()
@_who
@_AS_JSON
def check(site: str, as_json: bool, **given: str | None) -> None:
    """Test each part of a login: key, agent, host, login, groups, accounts.

    Each line has yes or no, the result, and a remedy. The test asks nothing, and tries no password or code.
    Exit code 1 if something necessary is missing.

    
    Example:
      hpckit login check delena
    """
    from dataclasses import asdict

    from hpckit.base.findings import failed
    from hpckit.sites.login.check import check as test
    from hpckit.sites.login.ssh import Session

    findings = test(Session(_access(site, given)))
    if as_json:
        _echo_json([asdict(finding) for finding in findings])
    for finding in () if as_json else findings:
        answer = {True: "yes", False: "no" if finding.needed else "no?", None: "-"}[finding.ok]
        click.echo(f"{answer:<4}{finding.what:<14}{finding.says}")
        if finding.remedy and finding.ok is not True:
            click.echo(f"{'':<18}-> {finding.remedy}")
    raise SystemExit(1 if failed(findings) else 0)


@login.command()
@click.argument("site")
@click.option("--ldap", "by_ldap", is_flag=True, help="Ask SRAM's LDAP, as the operator of the service.")
@click.option("--co", help="Only this collaboration, by its short name.")
@click.option("--uri", help="Address of the LDAP server. Default: the address in the site file, or SRAM's.")
@click.option("--bind-dn", help="Default: cn=admin,BASE.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Certificates of the authorities to trust. Default: those of the system.",
)
@_AS_JSON
def members(
    site: str,
    by_ldap: bool,
    co: str | None,
    uri: str | None,
    bind_dn: str | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """List who may log in, and what is missing for the others: for operators of a service.

    Members cannot read SRAM's LDAP: it needs the service's own password, which is taken only from the environment
    variable SRAM_LDAP_PASSWD. Writes no file.

    \b
    Example:
      read -rs SRAM_LDAP_PASSWD; export SRAM_LDAP_PASSWD
      hpckit login members delena --ldap --co mycrop
    """
    from hpckit.errors import LoginError
    from hpckit.sites.login.members import read_members
    from hpckit.sites.site import find_site

    if not by_ldap:
        raise LoginError(
            "only the operator of a service can list its members, by SRAM's LDAP",
            hint="operators: add --ldap; members: see https://sram.surf.nl, and `hpckit login check` for yourself",
        )
    found = read_members(find_site(site, [Path.cwd()]), co=co, uri=uri, bind_dn=bind_dn, ca_file=ca_file)
    if as_json:
        _echo_json([member.describe() for member in found])
    else:
        _show_members(found)


@login.command()
@click.argument("site")
@click.option("--co", default="mycrop", show_default=True, help="Short name of a collaboration.")
@click.option("--uid", default="jdoe", show_default=True, help="User name in SRAM.")
@click.option("--org", default="org", show_default=True, help="Short name of an organisation.")
@click.option("--auto", is_flag=True, help="Answer the questions of the login; so it is without a terminal.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the configurations there. Default: nowhere.",
)
def rehearse(site: str, co: str, uid: str, org: str, auto: bool, folder: Path | None) -> None:
    """Go through an SRAM login with all its steps, before users are asked to: for operators.

    Shows what the user does and sees, what is asked, which files are written, and what login node and SRAMsync
    need, from the site file. The code is asked for as pam-weblogin does it, with a small server on this machine in
    the place of SRAM: open its link in a browser here. No name leaves the machine; your settings stay as they are.

    \b
    Example:
      hpckit login rehearse sram-slurm
      hpckit login rehearse ./mycluster.yaml --co soil --uid ada --folder rehearsal
    """
    from pydantic import ValidationError

    from hpckit.errors import LoginError
    from hpckit.sites.login.names import Choice
    from hpckit.sites.login.rehearse import members_example, rehearse_login, steps_of, write_files
    from hpckit.sites.site import find_site

    found = find_site(site, [Path.cwd()])
    try:
        choice = Choice(co=co, uid=uid, org=org, user=uid)
    except ValidationError as error:
        raise LoginError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None
    steps = steps_of(found, choice)
    for number, step in enumerate(steps, 1):
        click.echo(f"{number}. {step.title}")
        click.echo("".join(f"   {line}\n" for line in step.text.splitlines()))
    click.echo(f"{len(steps) + 1}. The operator looks who may log in (`hpckit login members`); these are made up")
    _show_members(members_example(found, choice))
    click.echo(f"\n{len(steps) + 2}. The user logs in: `hpckit login open {found.name}`")
    if found.login is not None and found.login.interactive:
        chosen = rehearse_login(found, choice, click.echo, _answers(auto or not sys.stdin.isatty()))
        click.echo(f"{found.name}: open, as {steps[1].text.split()[-1]}, for {chosen}")
    else:
        click.echo("   nothing is asked: the key suffices")
    click.echo("\nThis was a rehearsal: SRAM, LDAP and login node were not asked.", err=True)
    for path in write_files(steps, folder) if folder is not None else ():
        click.echo(f"{path} written", err=True)


def _answers(auto: bool) -> Callable[[str, str], str]:
    """How questions of the rehearsal are answered: by the person, or as a person would."""

    def answer(prompt: str, known: str) -> str:
        if not auto:
            return str(click.prompt(prompt.rstrip(": "), default="", show_default=False))
        click.echo(f"{prompt}{known}")
        return known

    return answer


def _show_members(found: Sequence[Member]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("login", "member of", "status", "terms accepted", "keys", "groups", "missing"):
        table.add_column(column)
    for member in found:
        table.add_row(
            Text(member.login or f"({member.uid})"),
            Text(f"{member.org}.{member.co}"),
            Text(member.status),
            f"{member.agreed:%Y-%m-%d}" if member.agreed else "no",
            Text("\n".join(f"{key.kind} {key.fingerprint}" for key in member.keys)),
            Text(", ".join(member.groups)),
            Text("; ".join(member.missing) or "nothing"),
        )
    Console(width=None if sys.stdout.isatty() else 240).print(table)
    able = sum(member.may_login for member in found)
    click.echo(f"{able} of {len(found)} may log in")


def _access(site: str, given: dict[str, str | None]) -> Access:
    from hpckit.sites.login.names import find_access
    from hpckit.sites.site import find_site

    return find_access(find_site(site, [Path.cwd()]), given)


def _facts(access: Access) -> dict[str, Any]:
    from hpckit.sites.login.config import control_stem, host_blocks, include_line, is_included, snippet_path

    return {
        "site": access.site.name,
        "alias": access.alias,
        "login_name": access.name,
        "host": access.target.host,
        "port": access.target.port,
        "jump": [f"{hop.user + '@' if hop.user else ''}{hop.host}:{hop.port}" for hop in access.jumps],
        "key": str(access.key),
        "control_path": f"{control_stem()}%C",
        "config": host_blocks(access),
        "file": str(snippet_path(access)),
        "include": include_line(),
        "included": is_included(access),
    }


def _echo_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=1, default=str))

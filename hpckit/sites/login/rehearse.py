"""A rehearsal of SRAM logins for operators: all steps of a site file, without SRAM, LDAP or sshd.

Login names, blocks for ssh and judgements about members come from the same functions as in a real login. Sources:
documentation of SURFscz/pam-weblogin, of SRAMsync and of SBS; `login.md` says what is confirmed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.errors import LoginError
from hpckit.sites.login.config import host_blocks, include_line, snippet_path
from hpckit.sites.login.members import Member, member_of
from hpckit.sites.login.names import Choice, logins_path, resolve
from hpckit.sites.login.weblogin import Ask, WebLogin, dialogue, serving
from hpckit.sites.parts import Login
from hpckit.sites.site import Site

_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f rehearsal"
"""A well-formed public key that belongs to nobody: its bytes count from 0 to 31."""
_GROUP: Final = "sram-{org}-{co}-{group_name}"
"""Unix group of a group in SRAM, as in SRAMsync's README."""
_AGREED: Final = {"vopersonpolicyagreement;time-1700000000": ("https://example.org/terms",)}
_EXAMPLES: Final = (
    ("active", True, True),
    ("active", True, False),
    ("active", False, True),
    ("expired", True, True),
)
"""Status, whether the terms are accepted, whether a key is there."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the rehearsal, with what it shows."""

    title: str
    text: str
    file: str = ""
    """Name of a file with the text, for the folder of the rehearsal."""


def steps_of(site: Site, choice: Choice) -> list[Step]:
    """What users and the operator do before a first login, in order.

    Raises
    ------
    LoginError
        If logins of the site are not SRAM's, or the choice makes no login name.
    """
    login = require_sram(site)
    access = resolve(site, login, choice)
    least, most = login.sync_min
    return [
        Step(
            "The user joins, accepts the terms and uploads a key",
            f"collaboration {choice.co}, user name {choice.uid}: https://sram.surf.nl/profile, SSH keys\n"
            f"The site knows it {least} to {most} minutes later.",
        ),
        Step("The login name, from `login.user` of the site file", f"{login.user}  ->  {access.name}"),
        Step(
            "Files that `hpckit login show SITE --write` writes",
            f"{logins_path()}\n{snippet_path(access)}:\n{host_blocks(access)}",
            f"{site.name}.conf",
        ),
        Step("The line that the user adds at the top of ~/.ssh/config", include_line()),
        Step(
            "SRAMsync, which makes accounts at the site: its configuration", sync_config(site, login), "sramsync.yaml"
        ),
        Step("sshd of the login node", sshd_config(login), "sshd.conf"),
        *([Step("/etc/security/pam-weblogin.conf", _PAM, "pam-weblogin.conf")] if login.interactive else []),
        Step("Members to accounts, from `login.accounts` of the site file", accounts_text(login, choice)),
    ]


def members_example(site: Site, choice: Choice) -> list[Member]:
    """Four made-up members, as `hpckit login members` judges them by the rules for real ones."""
    login = require_sram(site)
    wanted = tuple(line.group for line in login.accounts if line.co == choice.co and line.group)
    found = []
    for number, (status, agreed, has_key) in enumerate(_EXAMPLES, 1):
        facts: dict[str, tuple[str, ...]] = {
            "uid": (f"{choice.uid}"[:15] + str(number),),
            "vopersonstatus": (status,),
        }
        facts |= {"sshpublickey": (_KEY,)} if has_key else {}
        facts |= _AGREED if agreed else {}
        found.append(member_of(site, login, (choice.org or "org", choice.co or "co"), facts, wanted))
    return found


def rehearse_login(site: Site, choice: Choice, show: Callable[[str], None], ask: Ask) -> str:
    """The dialogue of a login with a code, against a server on this machine; return the collaboration.

    Raises
    ------
    LoginError
        If the site asks for no code, or the dialogue fails as a real one would.
    """
    login = require_sram(site)
    others = dict.fromkeys(line.co for line in login.accounts if line.co != choice.co)
    with serving(WebLogin(login.service or site.name, {str(choice.uid): [str(choice.co), *others]})) as web:
        return dialogue(web, str(choice.uid), show, ask)


def write_files(steps: list[Step], folder: Path) -> list[Path]:
    """Write the files of the steps to a folder, to read or to start from; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for step in steps:
        if step.file:
            path = folder / step.file
            path.write_text(step.text if step.text.endswith("\n") else f"{step.text}\n")
            written.append(path)
    return written


def require_sram(site: Site) -> Login:
    """The logins of a site, if SRAM says who gets in.

    Raises
    ------
    LoginError
        If not.
    """
    if site.login is None or site.login.federation != "sram":
        raise LoginError(
            f"logins of {site.name} are not SRAM's, so there is nothing to rehearse",
            hint=f"`federation: sram` in `login` of {site.path}; `hpckit site show sram-slurm --file` is an example",
        )
    return site.login


def sync_config(site: Site, login: Login) -> str:
    """Configuration of SRAMsync for a site; the password comes from SRAM_LDAP_PASSWD."""
    service = login.service or site.name
    base = login.base_dn or f"dc={service},dc=services,dc=sram,dc=surf,dc=nl"
    groups = list(dict.fromkeys(line.group for line in login.accounts if line.group)) or ["@all"]
    lines = [
        f"service: {service}",
        "sram:",
        f"  uri: {login.ldap or 'ldaps://ldap.sram.surf.nl'}",
        f"  basedn: {base}",
        f"  binddn: cn=admin,{base}",
        "sync:",
        f'  users: {{aup_enforcement: true, rename_user: "{login.user}"}}',
        "  groups:",
        *(f'    "{name}": {{attributes: [login_users, system_group], destination: "{_GROUP}"}}' for name in groups),
        "  # Tells what it would do; CuaScriptGenerator and others do it.",
        "  event_handler: [{name: DummyEventHandler, config: {}}]",
        "status: {name: JsonFile, config: {status_filename: status.json, provisional_status_filename: new.json}}",
    ]
    return "\n".join(lines)


def sshd_config(login: Login) -> str:
    """Lines for sshd that admit a key, or a key and a code."""
    if not login.interactive:
        return "PubkeyAuthentication yes\nPasswordAuthentication no"
    return (
        "UsePAM yes\nPubkeyAuthentication yes\nKbdInteractiveAuthentication yes\nPasswordAuthentication no\n"
        "# A comma asks for both, a space for either.\n"
        "AuthenticationMethods publickey,keyboard-interactive:pam"
    )


def accounts_text(login: Login, choice: Choice) -> str:
    """Which collaboration and group charges which account."""
    lines = [
        f"{line.co}{f', group {line.group}' if line.group else ''}  ->  "
        f"account {line.account or 'of the user'}, Unix group {line.unix_group or 'of the user'}"
        for line in login.accounts
        if choice.co in (None, line.co)
    ]
    return "\n".join(lines) or f"nothing stands there for {choice.co}: the scheduler's default account is charged"


_PAM: Final = """url=https://sram.surf.nl/pam-weblogin
token=Bearer TOKEN_OF_THE_SERVICE
retries=3
attribute=username
cache_duration=30"""

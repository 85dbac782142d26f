"""Who a person is at a site: the login name by the site's template, and the way in.

What was chosen is remembered in `~/.config/hpckit/logins.yaml`; nothing secret stands there::

    sites:
      delena:
        co: mycrop
        uid: jdoe
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML

from hpckit.base import account
from hpckit.base.document import read_document
from hpckit.base.files import atomic_path
from hpckit.errors import LoginError
from hpckit.sites.parts import Login
from hpckit.sites.site import Site

WORDS: Final = {
    "co": ("--co", "short name of the collaboration in SRAM"),
    "uid": ("--uid", "your user name in SRAM, as shown on https://sram.surf.nl/profile"),
    "org": ("--org", "short name of the organisation in SRAM"),
    "user": ("--user", "your account at the site"),
}
"""Words of a template that the person gives, with their options and meaning."""

_SHAPES: Final = {
    # SBS makes user names of small letters and digits, at most 16 of them.
    "uid": (r"[a-z0-9][a-z0-9._-]{0,15}", "at most 16 small letters, digits or . _ -"),
    "co": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "letters, digits or . _ -"),
    "org": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "letters, digits or . _ -"),
    "user": (r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}", "letters, digits or . _ - @ +"),
}
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,127}")
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"
_JUMP: Final = re.compile(
    rf"(?:(?P<user>{_NAME.pattern})@)?(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>{_HOST}))(?::(?P<port>\d{{1,5}}))?"
)


class Choice(BaseModel):
    """What a person chose for one site; what is None was not."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    co: str | None = None
    org: str | None = None
    uid: str | None = None
    user: str | None = None
    key: str | None = None
    """Path of the private key."""

    @field_validator("co", "org", "uid", "user")
    @classmethod
    def _well_formed(cls, value: str | None, info: object) -> str | None:
        name = str(getattr(info, "field_name", ""))
        pattern, allowed = _SHAPES[name]
        if value is not None and not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is no {name}: it has {allowed}, and begins with a letter or digit")
        return value

    @field_validator("key")
    @classmethod
    def _one_path(cls, value: str | None) -> str | None:
        # ssh_config has no way to write these: quotes end the value, ${…} and control characters mean something.
        if value is not None and (not value or re.search(r'["\x00-\x1f]|\$\{', value)):
            raise ValueError(f"{value!r} cannot be the path of a key in ssh's configuration")
        return value


class Logins(BaseModel):
    """The file of choices."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    sites: dict[str, Choice] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hop:
    """A host on the way to a site, or the site's login node itself."""

    host: str
    port: int = 22
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """The way of one person into one site."""

    site: Site
    login: Login
    choice: Choice
    name: str
    """Login name."""
    target: Hop
    jumps: tuple[Hop, ...]
    key: Path
    """Private key; it need not be there."""

    @property
    def alias(self) -> str:
        """Name of the site for ssh."""
        return f"hpckit-{self.site.name}"

    @property
    def federated(self) -> bool:
        """Whether SRAM says who gets in."""
        return self.login.federation == "sram"


def find_access(site: Site, given: Mapping[str, str | None] | None = None) -> Access:
    """The way into a site, from what is given now, and what was chosen before.

    Parameters
    ----------
    site : Site
        With a `login` section.
    given : mapping of str, optional
        `co`, `uid`, `org`, `user`, `key`; remembered for next time when the login name is complete.

    Raises
    ------
    LoginError
        If the site has no logins, a word is missing, or a word is none.
    """
    if site.login is None:
        raise LoginError(
            f"site {site.name} has no login section, so hpckit knows no host to log in to",
            hint=f"add `login:` with `host:` to {site.path}; work on the cluster itself needs none",
        )
    before = recall(site.name)
    choice = _choose(before, given or {})
    access = resolve(site, site.login, choice)
    if choice != before:
        remember(site.name, choice)
    return access


def logins_path() -> Path:
    """The file of choices."""
    return config_folder() / "logins.yaml"


def config_folder() -> Path:
    """Folder of the user's settings of hpckit."""
    return account.folder("XDG_CONFIG_HOME", ".config") / "hpckit"


def recall(site: str) -> Choice:
    """What was chosen for a site before."""
    return _read().sites.get(site, Choice())


def remember(site: str, choice: Choice) -> None:
    """Keep a choice for next time."""
    sites = {**_read().sites, site: choice}
    text = StringIO()
    text.write("# Who you are at each site; written by `hpckit login`. Nothing secret stands here.\n")
    plain = {name: sites[name].model_dump(exclude_none=True) for name in sorted(sites)}
    YAML(typ="rt").dump({"sites": plain}, text)
    write_private(logins_path(), text.getvalue())


def write_private(path: Path, text: str) -> None:
    """Write a file atomically that only its owner reads."""
    with atomic_path(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def _read() -> Logins:
    path = logins_path()
    if not path.exists():
        return Logins()
    logins, _ = read_document(
        path, Logins, LoginError, what="logins", missing="", hint="correct this line, or delete the file"
    )
    return logins


def _choose(before: Choice, given: Mapping[str, str | None]) -> Choice:
    said = {word: value for word, value in given.items() if value is not None}
    if said.get("key"):
        said["key"] = str(account.expand(said["key"]).absolute())
    try:
        return Choice.model_validate({**before.model_dump(), **said})
    except ValidationError as fault:
        first = fault.errors()[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        option, meaning = WORDS.get(str(first["loc"][0]), ("--key", "path of your private key"))
        raise LoginError(reason, hint=f"give {option}: {meaning}") from None


def login_name(site: Site, login: Login, choice: Choice) -> str:
    """Login name by the template of a site.

    Raises
    ------
    LoginError
        If a word is missing, or the template makes no name.
    """
    name = _fill(login.user, site, login, choice)
    if not _NAME.fullmatch(name):
        raise LoginError(f"{name!r} cannot be a login name", hint=f"correct `login.user` in {site.path}")
    return name


def resolve(site: Site, login: Login, choice: Choice) -> Access:
    """The way into a site for a choice, which is not remembered.

    Raises
    ------
    LoginError
        If a word of the template is missing, or the site file names no host.
    """
    name = login_name(site, login, choice)
    if not re.fullmatch(_HOST, login.host):
        raise LoginError(f"{login.host!r} cannot be the name of a host", hint=f"correct `login.host` in {site.path}")
    jumps = tuple(_hop(_fill(jump, site, login, choice), site) for jump in login.jump)
    key = account.expand(choice.key) if choice.key else _usual_key()
    return Access(site, login, choice, name, Hop(login.host, login.port, name), jumps, key)


def _fill(template: str, site: Site, login: Login, choice: Choice) -> str:
    """A template with its words put in."""
    words: dict[str, str | None] = {"service": login.service, **choice.model_dump(exclude={"key"})}
    named = re.findall(r"\{([^}]*)\}", template)
    if unknown := [word for word in named if word not in words]:
        raise LoginError(f"unknown word {{{unknown[0]}}} in {template!r}", hint=f"correct it in {site.path}")
    if "service" in named and not login.service:
        raise LoginError(
            f"logins of {site.name} are named {template}, and its site file does not say which service",
            hint=f"add `login.service`, its short name in SRAM, to {site.path}",
        )
    if missing := [word for word in WORDS if word in named and not words[word]]:
        raise LoginError(
            f"logins of {site.name} are named {template}: {' and '.join(missing)} not known yet",
            hint=_login_command(site, missing),
        )
    return re.sub(r"\{([^}]*)\}", lambda match: str(words[match[1]]), template)


def _login_command(site: Site, missing: Sequence[str]) -> str:
    """What to type once; `--host` and all else then know it."""
    options = " ".join(f"{WORDS[word][0]} {word.upper()}" for word in missing)
    meanings = ", ".join(f"{word.upper()} is {WORDS[word][1]}" for word in missing)
    return f"`hpckit login open {site.name} {options}`: {meanings}; it is remembered, for `--host`, too"


def _hop(text: str, site: Site) -> Hop:
    match = _JUMP.fullmatch(text)
    port = int(match["port"] or 22) if match else 0
    if match is None or not 1 <= port <= 65535:
        raise LoginError(
            f"{text!r} cannot be a jump host", hint=f"write `[user@]host[:port]` in `login.jump` of {site.path}"
        )
    return Hop(match["six"] or match["host"], port, match["user"])


def _usual_key() -> Path:
    """The first of ssh's usual private keys that is there."""
    folder = account.home() / ".ssh"
    usual = [folder / f"id_{kind}" for kind in ("ed25519", "ed25519_sk", "ecdsa", "ecdsa_sk", "rsa")]
    return next((key for key in usual if key.exists()), usual[0])

"""The part `openeo` of the settings file: where jobs lie and run, for whom, and within which limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from hpckit.serve.part import Part

_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,60}|\{co\}")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE)
_USER: Final = re.compile(r"([a-z_]|\{(co|uid)\})([a-z0-9_.-]|\{(co|uid)\}){0,60}")


class AccountLimits(Part):
    """What the jobs of one user may take from an account."""

    jobs: int | None = Field(None, ge=1)
    """Jobs of a user that wait or run at a time."""
    core_hours: float | None = Field(None, gt=0)
    """Estimated core-hours of one job."""
    partitions: tuple[str, ...] = ()
    """Partitions that may be asked for; all of the site if none is named."""


class AccountRule(Part):
    """Who computes under which account; of several rules that fit, the first is the default."""

    issuer: str | None = None
    """Address of the provider of logins; any if it is not given."""
    entitlement: str | None = None
    """Entitlement that is needed; `*` stands for one part between colons."""
    users: tuple[str, ...] = ()
    """Names of users, as in grants; `signed-in` for everybody with a login."""
    account: str | None = None
    """Account of the scheduler; `{co}` is that of an entitlement of SRAM; the site's own if not given."""
    user: str | None = None
    """With `run_as: user`, the user of the cluster: `sram-{co}-{uid}`, with the `uid` of the login."""
    limits: AccountLimits = AccountLimits()

    @model_validator(mode="after")
    def _somebody(self) -> AccountRule:
        if self.entitlement is None and not self.users:
            raise ValueError("a rule needs `entitlement` or `users`")
        return self

    @field_validator("account")
    @classmethod
    def _account(cls, account: str | None) -> str | None:
        if account is not None and not _ACCOUNT.fullmatch(account):
            raise ValueError("an account has letters, digits, '.', '_', '@' and '-' only, or is {co}")
        return account

    @field_validator("user")
    @classmethod
    def _user(cls, user: str | None) -> str | None:
        if user is not None and not _USER.fullmatch(user):
            raise ValueError("a user of the cluster has lower-case letters, digits, '.', '_' and '-', {co} and {uid}")
        return user


class Synchronous(Part):
    """Limits of graphs that are computed while the client waits (`POST /result`)."""

    seconds: float = Field(60, gt=0)
    """Longest time; graphs whose estimate is longer are refused."""
    result_mib: int = Field(200, ge=1)
    """Largest result."""
    memory_mib: int = Field(4096, ge=256)
    """Address space that a process may have beyond what it starts with."""
    at_once: int = Field(2, ge=1)
    """Graphs that are computed at a time."""


class OnDemandSettings(Part):
    """A collection whose cube is filled with what jobs want of it."""

    quota: str | Annotated[int, Field(ge=1)]
    """Space for its cube: bytes, or a text such as `500GB` or `2TiB`."""

    @field_validator("quota")
    @classmethod
    def _size(cls, quota: str | int) -> str | int:
        _nbytes(quota)
        return quota

    @property
    def nbytes(self) -> int:
        """The quota in bytes."""
        return _nbytes(self.quota)


def _nbytes(text: str | int) -> int:
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("write bytes, or a text such as 500GB or 2TiB")
    power = " kmgtp".index(match[2].lower() or " ")
    count = int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    if count < 1:
        raise ValueError("write a size of one byte at least")
    return count


class OidcClient(Part):
    """A client of a provider that openEO's clients use by default."""

    provider: str
    """Name of the provider in `oidc`."""
    id: str
    """Identifier of a public client at the provider; its tokens need `audiences` of the provider."""
    redirect_urls: tuple[str, ...] = ()
    """Addresses of web editors."""
    grant_types: tuple[str, ...] = (
        "authorization_code+pkce",
        "urn:ietf:params:oauth:grant-type:device_code+pkce",
        "refresh_token",
    )


class OpenEo(Part):
    """The openEO door."""

    site: str = "localhost"
    """Name or file of the site that runs batch jobs; `localhost` needs no scheduler."""
    jobs: Path | None = None
    """Folder of jobs and users' files, which compute nodes see; `openeo` in the state folder if not given."""
    accounts: tuple[AccountRule, ...] = ()
    """Who computes under which account; without rules, everybody who has a grant, under the site's account."""
    run_as: Literal["service", "user"] = "service"
    """`service`: jobs belong to the account of this server. `user`: to users of the cluster, by sudo."""
    command: str = "hpckit"
    """With `run_as: user`, the path of hpckit that the line for sudo names."""
    group: str | None = None
    """With `run_as: user`, the Unix group of folders of jobs, which the server and its users belong to."""
    retries: int = Field(1, ge=0, le=5)
    """How often units that failed are submitted again, with more memory or time where these ran out."""
    poll_s: float = Field(15, gt=0)
    """Seconds between two queries of the scheduler, one for all jobs."""
    quota_mib: int = Field(1024, ge=0)
    """Space for the files of a user."""
    result_days: float | None = Field(None, gt=0)
    """Days after which the files of results are removed; they stay until their job is deleted if it is not given."""
    graph_kib: int = Field(16 * 1024, ge=16)
    """Longest body with a process graph."""
    hosts: tuple[str, ...] = ()
    """Servers that graphs may read (`load_stac`, `load_url`), by name; `*` for all of public addresses."""
    on_demand: dict[str, OnDemandSettings] = Field(default_factory=dict)
    """Data sets whose cube is filled with what jobs want of it, by name; their campaigns need a plan and no cube."""
    synchronous: Synchronous = Synchronous()
    clients: tuple[OidcClient, ...] = ()
    """Clients for `GET /credentials/oidc`."""
    web_editor: str | None = None
    """Address of a web editor, for the links of the capabilities."""

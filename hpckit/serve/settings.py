"""The settings file of the server: data sets, doors, users and grants."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from hpckit.base.document import read_document
from hpckit.errors import ServeError
from hpckit.serve.openeo.settings import OpenEo
from hpckit.serve.part import Part

Door = Literal["viewer", "stac", "jrc", "openeo"]
Action = Literal["info", "series", "chips", "geometry", "export", "mark"]

ACTIONS: Final[tuple[Action, ...]] = ("info", "series", "chips", "geometry", "export", "mark")
_READING: Final[tuple[Action, ...]] = ("info", "series", "chips", "geometry", "export")
DEFAULT_PORT: Final = 8642
ANYONE: Final = "anyone"
"""Stands in grants for everybody, also without a login."""
SIGNED_IN: Final = "signed-in"
"""Stands in grants for everybody with a login."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ORIGIN: Final = re.compile(r"https?://(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:(\d{1,5}|\*))?")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~%@:-]+)*")


class DatasetSettings(Part):
    """A campaign that is served."""

    campaign: Path
    """Campaign file or run directory, relative to the settings file."""
    name: str | None = None
    """Name in addresses; the campaign's name if it is not given."""
    title: str | None = None
    """Title for people."""
    aoi: str | None = None
    """Name of the area in JRC's REST; the data set's name if it is not given."""
    year: int | None = Field(None, ge=1980, le=2200)
    """Year in JRC's REST; the year in which the period begins if it is not given."""
    ptype: str = ""
    """Kind of the parcels in JRC's REST, where an area and year have several."""
    crop_name: str | None = None
    """Field of the zone layer with the name of the crop; found by its name if it is not given."""
    crop_code: str | None = None
    """Field of the zone layer with the code of the crop; found by its name if it is not given."""
    attributes: tuple[str, ...] = ()
    """Attributes of zones (`attributes` of the reduction) that the viewer shows to whoever may see the data set. None
    unless they are named, since they may be personal data."""

    @field_validator("name")
    @classmethod
    def _named(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError("a name has letters, digits, '.', '_' and '-' only")
        return name


class Grant(Part):
    """Who may do what with which data sets."""

    users: tuple[str, ...] = ()
    """Names of users; `anyone`, also without a login; `signed-in`, everybody with a login."""
    entitlements: tuple[str, ...] = ()
    """Entitlements of a login by OIDC; `*` stands for one part between colons."""
    datasets: tuple[str, ...] = ("*",)
    """Names of data sets; `*` for all."""
    actions: tuple[Action, ...] = ACTIONS
    """What they may do: info, series, chips, geometry, export, mark."""

    @model_validator(mode="after")
    def _somebody(self) -> Grant:
        if not self.users and not self.entitlements:
            raise ValueError("a grant needs `users` or `entitlements`")
        return self


class OidcProvider(Part):
    """A provider of logins by OpenID Connect, such as EGI Check-in or SRAM."""

    name: str
    """Short name, in addresses: `egi`."""
    title: str | None = None
    """Name on the login page."""
    issuer: str
    """Address of the issuer, https://…"""
    client_id: str
    """Identifier of this server as a client."""
    client_secret_file: Path | None = None
    """File with the client's secret, readable for its owner only; none for a public client with PKCE."""
    scopes: tuple[str, ...] = ("openid", "profile", "email", "eduperson_entitlement")
    """Scopes to ask for; those that the provider does not know are left out."""
    audiences: tuple[str, ...] = ()
    """Identifiers of other clients, or of this server as a resource, whose access tokens are taken as bearers."""
    user_claim: str = "sub"
    """Claim that names the user; in grants and records they are called `name:claim`, such as `egi:…@egi.eu`."""
    entitlement_claims: tuple[str, ...] = ("eduperson_entitlement", "entitlements")
    """Claims that list entitlements."""
    join: str | None = None
    """Sentence for people who log in and have no grant: what to join, and where."""

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a name has letters, digits, '.', '_' and '-' only")
        return name

    @field_validator("issuer")
    @classmethod
    def _safe(cls, issuer: str) -> str:
        if not re.match(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)", issuer):
            raise ValueError("an issuer has an https address")
        return issuer


class Limits(Part):
    """What one client may ask for."""

    requests_per_second: float = Field(60, gt=0)
    """In the mean, of one user or address."""
    burst: int = Field(600, ge=1)
    """At once, of one user or address."""
    password_attempts_per_minute: int = Field(5, ge=1)
    """Wrong passwords of one address or user."""
    body_bytes: int = Field(2**20, ge=1024)
    """Longest body of a request."""
    renders: int = Field(4, ge=1)
    """Pictures that are drawn at a time."""
    waiting: int = Field(200, ge=0)
    """Requests that may wait to be drawn; more are told to come again."""


class CatalogueSettings(Part):
    """A catalogue of products that the STAC door serves as a collection."""

    name: str
    """Name of the collection; grants may name it as they name data sets."""
    path: Path
    """stac-geoparquet file, as `hpckit scenes scan` and `search` write it, relative to the settings file."""
    title: str | None = None
    """Title for people."""
    folders: tuple[Path, ...] = ()
    """Folders with files of its products that may be read by signed links; other local files are left out."""

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a name has letters, digits, '.', '_' and '-' only")
        return name


class Member(Part):
    """A catalogue of the federation that the STAC door asks."""

    id: str
    """Short name, in ids of collections: `EODC|…`."""
    url: str
    """Address of its STAC API."""
    collections: dict[str, str] = Field(default_factory=dict)
    """Names of its collections here, and the member's own; all, by its own names, if none is given."""
    timeout_s: float = Field(20, gt=0)
    """Longest wait for all that one search asks of it."""

    @field_validator("id")
    @classmethod
    def _short(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a name has letters, digits, '.', '_' and '-' only")
        return name

    @field_validator("url")
    @classmethod
    def _web(cls, url: str) -> str:
        if not re.match(r"https?://[^/]", url):
            raise ValueError("a member has an http address")
        return url


class Settings(Part):
    """Settings of `hpckit serve`."""

    title: str = "hpckit"
    """Title of the pages."""
    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    """Address and port."""
    prefix: str = ""
    """Path before all addresses, behind a proxy: `/eo`."""
    public_url: str | None = None
    """Address by which people reach the server, where a proxy stands before it."""
    frames: tuple[str, ...] = ()
    """Pages that may show the viewer in a frame: `https://portal.example.org`, `http://localhost:*`."""
    datasets: tuple[DatasetSettings, ...] = Field((), max_length=1000)
    """Campaigns that are served."""
    doors: tuple[Door, ...] = ("viewer", "stac", "jrc")
    """What is switched on."""
    users: Path | None = None
    """File with names and scrypt hashes; `hpckit serve passwd` writes it."""
    oidc: tuple[OidcProvider, ...] = ()
    """Providers of logins."""
    grants: tuple[Grant, ...] = ()
    """Who may do what; without grants, everybody with a login may do everything."""
    state: Path | None = None
    """Folder for keys, the audit file, marks and overviews; by default one of the user's state folder."""
    catalogues: tuple[CatalogueSettings, ...] = ()
    """Catalogues of products, as collections of the STAC door."""
    members: tuple[Member, ...] = ()
    """Catalogues of the federation."""
    orthophotos: dict[str, Path] = Field(default_factory=dict)
    """Raster files of aerial images, by the names that JRC's clients give as `tms`."""
    merged: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Own collections that are several collections of members: `sentinel-2-l2a: [EODC|…, CREODIAS|…]`."""
    openeo: OpenEo = OpenEo()
    """Where the jobs of the door `openeo` lie and run, for whom, and within which limits."""
    limits: Limits = Limits()
    """What one client may ask for."""
    link_days: Annotated[float, Field(gt=0, le=365)] = 7
    """How long signed links to files work."""
    _folder: Path = PrivateAttr(default_factory=Path)

    @field_validator("prefix")
    @classmethod
    def _clean(cls, prefix: str) -> str:
        prefix = prefix.rstrip("/")
        if not _PREFIX.fullmatch(prefix):
            raise ValueError("a prefix is a path such as /eo")
        return prefix

    @field_validator("public_url")
    @classmethod
    def _whole(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", url):
            raise ValueError("write a whole address, such as https://monitoring.example.org")
        return url

    @field_validator("frames")
    @classmethod
    def _origins(cls, frames: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_ORIGIN.fullmatch(origin) for origin in frames):
            raise ValueError("write scheme, host and port of a page, such as https://portal.example.org")
        return frames

    @model_validator(mode="after")
    def _federated(self) -> Settings:
        members = [member.id for member in self.members]
        if len(set(members)) < len(members):
            raise ValueError("two members have the same id")
        for name, parts in self.merged.items():
            strange = [part for part in parts if part.partition("|")[0] not in members]
            if strange or not parts:
                raise ValueError(f"merged.{name} needs collections of members: MEMBER|collection")
        return self

    @model_validator(mode="after")
    def _openeo_clients(self) -> Settings:
        providers = [provider.name for provider in self.oidc]
        for client in self.openeo.clients:
            if client.provider not in providers:
                raise ValueError(f"openeo.clients names the provider {client.provider!r}, which `oidc` lacks")
        if self.openeo.run_as == "user" and not all(rule.user for rule in self.openeo.accounts):
            raise ValueError("openeo.run_as: user needs a `user` in each of openeo.accounts")
        if self.openeo.run_as == "user" and self.openeo.on_demand:
            raise ValueError(
                "openeo.on_demand needs openeo.run_as: service: with `user`, users could change what others read"
            )
        return self

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str) -> str:
        split_address(listen)
        return listen

    def resolve(self, path: Path) -> Path:
        """Path relative to the settings file."""
        return self._folder / path.expanduser()

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach the server."""
        host, _ = split_address(self.listen)
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def is_open(self) -> bool:
        """Whether something can be read without a login."""
        return any(ANYONE in grant.users for grant in self.grants)

    def changed(self, **changes: Any) -> Settings:
        """These settings with other fields.

        Raises
        ------
        ServeError
            If one of them makes no sense.
        """
        try:
            settings = Settings.model_validate(self.model_dump() | changes)
        except ValidationError as fault:
            name, text = fault.errors()[0]["loc"][0], str(fault.errors()[0]["msg"]).removeprefix("Value error, ")
            raise ServeError(f"{name}: {text}") from None
        settings._folder = self._folder
        return settings

    @property
    def has_logins(self) -> bool:
        """Whether people can log in."""
        return self.users is not None or bool(self.oidc)


def split_address(listen: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8642`, `[::1]:8642` or `:8642`.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("write an address and a port, such as 127.0.0.1:8642")
    return host.strip("[]") or "0.0.0.0", int(port)


def read_settings(path: Path) -> Settings:
    """Read a settings file.

    Raises
    ------
    ServeError
        If it is missing or wrong; the message names file, line and field.
    """
    hint = "`hpckit schema serve` prints all fields"
    settings, _ = read_document(
        path, Settings, ServeError, what="settings", missing="`hpckit serve CAMPAIGN` needs none", hint=hint
    )
    settings._folder = path.absolute().parent
    return settings


def settings_for(campaigns: list[Path], *, is_open: bool = False) -> Settings:
    """Settings that serve campaigns on this machine, with a one-time address instead of logins.

    Parameters
    ----------
    is_open : bool
        Let everybody who reaches the address read, without that address.
    """
    grants = (Grant(users=(ANYONE,), actions=_READING), Grant(users=(SIGNED_IN,))) if is_open else ()
    datasets = tuple(DatasetSettings(campaign=path.absolute()) for path in campaigns)
    # One person's own programs need no limit.
    limits = Limits(requests_per_second=1e6, burst=10**6)
    return Settings(datasets=datasets, grants=grants, limits=limits)

"""Who may log in to a service of SRAM: read from its LDAP, with the password that only the service's operator has.

The tree, below `dc=<service>,dc=services,dc=sram,dc=surf,dc=nl`::

    dc=ordered
      o=<org>.<co>
        ou=People   uid=<uid>
        ou=Groups   cn=<group>, cn=@all for everybody
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hpckit.base.distribution import pip_install
from hpckit.errors import EX_TEMPFAIL, LoginError
from hpckit.sites.login.keys import PublicKey, parse_public
from hpckit.sites.login.names import Choice, login_name
from hpckit.sites.parts import Login
from hpckit.sites.site import Site

PASSWORD: Final = "SRAM_LDAP_PASSWD"
"""Environment variable of the password; SRAMsync calls it so too."""
_URI: Final = "ldaps://ldap.sram.surf.nl"
_EVERYBODY: Final = "@all"
_PAGE: Final = 200
_TIMEOUT_S: Final = 30


@dataclass(frozen=True, slots=True)
class MemberKey:
    """A key that a member has uploaded."""

    kind: str
    fingerprint: str
    objection: str | None
    """Why it does not serve; None if it does."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a collaboration that uses the service."""

    org: str
    co: str
    uid: str
    login: str | None
    """Login name; None if the site's template makes none."""
    status: str
    """`active`, `expired` or `suspended`."""
    agreed: datetime | None
    """When the terms of use were accepted last."""
    keys: tuple[MemberKey, ...]
    groups: tuple[str, ...]
    """Without the group of everybody."""
    missing: tuple[str, ...]
    """What a login lacks, in words."""

    @property
    def may_login(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    def describe(self) -> dict[str, Any]:
        """The member as plain data."""
        return {
            "org": self.org,
            "co": self.co,
            "uid": self.uid,
            "login": self.login,
            "status": self.status,
            "agreed": self.agreed.isoformat() if self.agreed else None,
            "keys": [
                {"type": key.kind, "fingerprint": key.fingerprint, "objection": key.objection} for key in self.keys
            ],
            "groups": list(self.groups),
            "may_login": self.may_login,
            "missing": list(self.missing),
        }


def read_members(
    site: Site,
    *,
    co: str | None = None,
    uri: str | None = None,
    bind_dn: str | None = None,
    ca_file: Path | None = None,
) -> list[Member]:
    """Members of the collaborations that use the service of a site.

    Parameters
    ----------
    co : str, optional
        Short name of one collaboration; all of them if not given.
    uri, bind_dn : str, optional
        Server, and name to bind with; those of the site file, or SRAM's.
    ca_file : Path, optional
        Certificates of the authorities to trust; the system's if not given.

    Raises
    ------
    LoginError
        If the password is absent or wrong, the server not to be trusted or reached, or the tree not there.
    """
    login = site.login
    if login is None or login.federation != "sram":
        raise LoginError(f"logins of {site.name} are not SRAM's", hint=f"see `login.federation` in {site.path}")
    base = _base_dn(site, login)
    with _connect(uri or login.ldap or _URI, bind_dn or f"cn=admin,{base}", ca_file) as connection:
        found = _collaborations(connection, base)
        if co is not None and co not in {name for _, name, _ in found}:
            known = ", ".join(sorted({name for _, name, _ in found})) or "none"
            raise LoginError(f"no collaboration {co!r} uses this service", hint=f"there are {known}")
        return [
            member
            for org, name, dn in found
            if co in (None, name)
            for member in _members(connection, site, login, org, name, dn)
        ]


def _members(connection: Any, site: Site, login: Login, org: str, co: str, dn: str) -> Iterator[Member]:
    groups = _groups(connection, dn)
    people = list(_search(connection, f"ou=People,{dn}", "(uid=*)"))
    for entry, facts in sorted(people, key=lambda person: _first(person[1], "uid")):
        own = tuple(sorted(name for name, dns in groups.items() if _plain(entry) in dns and name != _EVERYBODY))
        yield member_of(site, login, (org, co), facts, own)


def member_of(
    site: Site, login: Login, whose: tuple[str, str], facts: Mapping[str, Sequence[str]], own: tuple[str, ...]
) -> Member:
    """A member, and what a login lacks, from the attributes of SRAM's LDAP.

    Parameters
    ----------
    whose : tuple of str
        Short names of organisation and collaboration.
    facts : mapping
        Attributes, their names in small letters.
    own : tuple of str
        Groups of the member.
    """
    org, co = whose
    uid = _first(facts, "uid")
    wanted = {line.group for line in login.accounts if line.co == co and line.group}
    keys = tuple(_key(value) for value in facts.get("sshpublickey", ()))
    status = _first(facts, "vopersonstatus") or "unknown"
    agreed = _agreed(facts)
    name, fault = _login_name(site, login, Choice.model_construct(org=org, co=co, uid=uid))
    missing = [
        *_missing(status, agreed, keys, login),
        *([f"is in none of the groups {', '.join(sorted(wanted))}"] if wanted and not wanted & set(own) else []),
        *([fault] if fault else []),
    ]
    return Member(org, co, uid, name, status, agreed, keys, own, tuple(missing))


def _missing(status: str, agreed: datetime | None, keys: tuple[MemberKey, ...], login: Login) -> Iterator[str]:
    if status != "active":
        yield f"the membership is {status}"
    if agreed is None:
        yield "has not accepted the terms of use"
    if not keys:
        # Where a code is asked for, the key may be one of two ways in.
        yield "has no ssh key" + (" (may do without, if a code is enough there)" if login.interactive else "")
    elif all(key.objection for key in keys):
        yield "has no ssh key that serves: " + "; ".join(str(key.objection) for key in keys)


def _login_name(site: Site, login: Login, choice: Choice) -> tuple[str | None, str | None]:
    """Login name, or what is wrong with it."""
    try:
        checked = Choice.model_validate(choice.model_dump())
        return login_name(site, login, checked), None
    except ValueError:
        return None, f"the user name {choice.uid!r} makes no login name"
    except LoginError as error:
        return None, error.message


def _key(value: str) -> MemberKey:
    try:
        key: PublicKey = parse_public(value)
    except ValueError as fault:
        return MemberKey(value.split()[0][:40] if value.split() else "", "", f"a key that cannot be read ({fault})")
    return MemberKey(key.kind, key.fingerprint, key.objection)


def _agreed(facts: Mapping[str, Sequence[str]]) -> datetime | None:
    """The latest time in `voPersonPolicyAgreement;time-<seconds>`."""
    times = [match[1] for name in facts if (match := re.fullmatch(r"vopersonpolicyagreement;time-(\d{1,11})", name))]
    return datetime.fromtimestamp(max(map(int, times)), UTC) if times else None


def _collaborations(connection: Any, base: str) -> list[tuple[str, str, str]]:
    """Organisation, short name and entry of each collaboration."""
    from ldap3.core.exceptions import LDAPNoSuchObjectResult

    try:
        entries = list(_search(connection, f"dc=ordered,{base}", "(objectClass=organization)"))
    except LDAPNoSuchObjectResult:
        raise LoginError(
            f"the LDAP server has no dc=ordered,{base}",
            hint="correct `login.base_dn` of the site file: dc=SERVICE,dc=services,dc=sram,dc=surf,dc=nl",
        ) from None
    found = [(*_first(facts, "o").partition(".")[::2], dn) for dn, facts in entries if "." in _first(facts, "o")]
    return sorted(found)


def _groups(connection: Any, dn: str) -> dict[str, set[str]]:
    """Entries of the members, by group."""
    found = _search(connection, f"ou=Groups,{dn}", "(objectClass=groupOfMembers)")
    return {_first(facts, "cn"): {_plain(member) for member in facts.get("member", ())} for _, facts in found}


def _plain(dn: str) -> str:
    """A name of an entry, so that equal ones are equal texts."""
    return re.sub(r"\s*,\s*", ",", dn).lower()


def _search(connection: Any, base: str, filter: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Entries right below a base, page by page: their names, and their attributes by name in small letters."""
    import ldap3

    pages = connection.extend.standard.paged_search(
        base, filter, ldap3.LEVEL, attributes=["*"], paged_size=_PAGE, generator=True
    )
    for entry in pages:
        if entry["type"] == "searchResEntry":
            facts = entry["raw_attributes"].items()
            yield (
                entry["dn"],
                {name.lower(): [value.decode("utf-8", "replace") for value in values] for name, values in facts},
            )


@contextmanager
def _connect(uri: str, bind_dn: str, ca_file: Path | None) -> Iterator[Any]:
    """A connection that is bound; whatever fails on it is said as a LoginError."""
    try:
        import ldap3
        from ldap3.core import exceptions as faults
    except ImportError:
        raise LoginError("LDAP needs the Python package ldap3", hint=pip_install("ldap")) from None
    password = os.environ.get(PASSWORD)
    if not password:
        raise LoginError(
            f"the password of {bind_dn} is not there",
            hint=f"read -rs {PASSWORD}; export {PASSWORD}; hpckit takes it from nowhere else",
        )
    scheme = uri.partition("://")[0]
    if scheme not in ("ldaps", "ldap"):
        raise LoginError(f"{uri!r} is no address of an LDAP server", hint="ldaps://HOST[:PORT]")
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(ca_file) if ca_file else None)
    connection = None
    try:
        server = ldap3.Server(uri, get_info=ldap3.NONE, tls=tls, connect_timeout=_TIMEOUT_S)
        # Referrals are not followed: they would carry the password to another server.
        connection = ldap3.Connection(
            server, bind_dn, password, read_only=True, auto_referrals=False, check_names=False,
            receive_timeout=_TIMEOUT_S, raise_exceptions=True,
        )  # fmt: skip
        connection.open()
        if scheme == "ldap":
            connection.start_tls()
        connection.bind()
        yield connection
    except faults.LDAPInvalidCredentialsResult:
        raise LoginError(
            f"the LDAP server refuses the password of {bind_dn}",
            hint=f"correct {PASSWORD}; a member's own password is not the one",
        ) from None
    except faults.LDAPExceptionError as fault:
        raise _explain(uri, fault, faults) from None
    finally:
        if connection is not None:
            # A connection that failed cannot be ended in order.
            with suppress(faults.LDAPExceptionError):
                connection.unbind()


def _explain(uri: str, fault: Exception, faults: Any) -> LoginError:
    text = str(fault)
    if re.search(r"certificate|doesn't match|hostname|self.signed", text, re.IGNORECASE):
        reason = re.search(r"certificate verify failed[^(]*|certificate [^\[]*doesn't match[^\[]*", text)
        return LoginError(
            f"the certificate of {uri} is not trusted: {reason[0].strip() if reason else text}",
            hint="give --ca-file with the authority that signed it, and the name that it is made out to",
        )
    if isinstance(fault, faults.LDAPCommunicationError):
        error = LoginError(f"{uri} cannot be reached: {text}", hint="try again; is this machine allowed to ask it?")
        error.exit_code = EX_TEMPFAIL
        return error
    return LoginError(f"the LDAP server {uri} refuses: {text}", hint="ask SRAM's support")


def _base_dn(site: Site, login: Login) -> str:
    if login.base_dn:
        return login.base_dn
    if login.service and re.fullmatch(r"[A-Za-z0-9_-]+", login.service):
        return f"dc={login.service},dc=services,dc=sram,dc=surf,dc=nl"
    raise LoginError(
        f"the site file of {site.name} does not say which service of SRAM it is",
        hint=f"add `login.service` or `login.base_dn` to {site.path}",
    )


def _first(facts: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(facts.get(name, ())), "")

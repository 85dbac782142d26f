"""Who uses openEO, under which name, and under which accounts of the cluster they compute."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from hpckit.serve.identity.access import Reader, fits
from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.settings import AccountLimits, AccountRule
from hpckit.serve.service import Service
from hpckit.serve.settings import SIGNED_IN

_PLAIN: Final = re.compile(r"(?!u-[a-z2-7]{16}$)[A-Za-z0-9_][A-Za-z0-9_.~-]{0,127}")
"""Names that stand for themselves; the others get one of a digest, which no name can be."""
_SRAM: Final = re.compile(r"urn:mace:surf\.nl:sram:group:([^:#]+):([^:#]+)(:[^#]*)?(#.*)?")
_WORD: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,31}")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,60}")


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the scheduler that somebody may compute under."""

    name: str | None
    """None is the default of the site."""
    user: str | None
    """User of the cluster, where jobs are submitted as users."""
    limits: AccountLimits


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a login."""

    id: str
    """Of letters, digits, `-`, `_`, `.` and `~`."""
    name: str
    accounts: tuple[Account, ...]
    """The first is the default."""

    def account(self, wanted: str | None) -> Account:
        """Account that a job asks for.

        Raises
        ------
        OpenEoError
            If the user may not compute under it.
        """
        if wanted is None:
            return self.accounts[0]
        for account in self.accounts:
            if account.name == wanted:
                return account
        names = [account.name for account in self.accounts if account.name is not None]
        hint = f"your accounts are {', '.join(names)}" if names else "leave job_options.account out"
        raise OpenEoError("PermissionsInsufficient", f"you may not compute under the account {wanted!r}", hint=hint)


def user_of(service: Service, request: Request) -> User:
    """Who asks.

    Raises
    ------
    Problem
        401 without a login; 403 if the token is not valid, or its owner has no account, with what to join.
    """
    if not request.headers.get("authorization"):  # cookies of the viewer are no login here: other sites may ask
        raise OpenEoError(
            "AuthenticationRequired", "log in first", hint="GET /credentials/oidc or /credentials/basic"
        )
    reader = service.reader(request)
    rules = service.settings.openeo.accounts
    accounts = tuple(_accounts(service, rules, reader)) if rules else (Account(None, None, AccountLimits()),)
    if not accounts:
        wanted = list(dict.fromkeys(rule.entitlement for rule in rules if rule.entitlement is not None))
        join = _join(service, reader) or (
            f"join a group with the entitlement {' or '.join(wanted)}" if wanted else None
        )
        detail = f"you are logged in as {reader.name}, and no account to compute under is yours"
        raise OpenEoError("PermissionsInsufficient", detail, hint=join or "ask the operators of this server for one")
    return User(user_id(service, reader), reader.name, accounts)


def user_id(service: Service, reader: Reader) -> str:
    """Identifier of a reader: the name of a local user, else one of a digest of provider and name."""
    provider, colon, name = reader.name.partition(":")
    if not colon and _PLAIN.fullmatch(reader.name):
        return reader.name
    issuers = {item.name: item.issuer for item in service.settings.oidc}
    text = f"{issuers.get(provider, provider)}|{name}" if colon else f"|{reader.name}"
    return "u-" + base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:16]


def _join(service: Service, reader: Reader) -> str | None:
    provider = reader.name.partition(":")[0]
    return next((item.join for item in service.settings.oidc if item.name == provider), None)


def _accounts(service: Service, rules: tuple[AccountRule, ...], reader: Reader) -> Iterator[Account]:
    """Accounts of all rules that fit, in their order."""
    provider, colon, uid = reader.name.partition(":")
    provider, uid = (provider, uid) if colon else ("", reader.name)
    issuer = next((item.issuer for item in service.settings.oidc if item.name == provider), "")
    seen: set[tuple[str | None, str | None]] = set()
    for rule in rules:
        if rule.issuer is not None and rule.issuer.rstrip("/") != issuer.rstrip("/"):
            continue
        for entitlement in _grounds(rule, reader):
            words = {"uid": uid, "co": _collaboration(entitlement)}
            name, user = _filled(rule.account, words, _ACCOUNT), _filled(rule.user, words, _WORD)
            if (name is None) != (rule.account is None) or (user is None) != (rule.user is None):
                continue  # a word of the rule is not known, or not one that a cluster takes
            if (name, user) not in seen:
                seen.add((name, user))
                yield Account(name, user, rule.limits)


def _grounds(rule: AccountRule, reader: Reader) -> list[str]:
    """Entitlements by which a rule holds; an empty one for a rule that names the user."""
    if reader.is_signed_in and (SIGNED_IN in rule.users or reader.name in rule.users):
        return [""]
    return [held for held in reader.entitlements if rule.entitlement is not None and fits(rule.entitlement, held)]


def _collaboration(entitlement: str) -> str:
    found = _SRAM.fullmatch(entitlement)
    return found[2] if found else ""


def _filled(template: str | None, words: dict[str, str], form: re.Pattern[str]) -> str | None:
    """A template with its words put in; None if one is not known, or what comes out is no name."""
    if template is None:
        return None
    asked = re.findall(r"\{(co|uid)\}", template)
    if any(not _WORD.fullmatch(words[word]) for word in asked):
        return None
    made = re.sub(r"\{(co|uid)\}", lambda match: words[match[1]], template)
    return made if form.fullmatch(made) else None

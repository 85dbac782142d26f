"""What a login may use at a site: Unix groups and scheduler accounts, against what the site file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpckit.sites.login.names import Access
from hpckit.sites.login.ssh import Session
from hpckit.sites.parts import AccountMap
from hpckit.sites.scheduler.model import Allowance
from hpckit.sites.site import scheduler_of


@dataclass(frozen=True, slots=True)
class Rights:
    """What a login has at a site."""

    user: str
    groups: tuple[str, ...]
    allowances: tuple[Allowance, ...] | None
    """What may be charged; None where the scheduler does not say: no accounting, or closed to users."""
    reason: str = ""
    """Why it does not."""


def read_rights(session: Session) -> Rights:
    """Ask a site for groups and accounts of the login.

    Raises
    ------
    SshError
        If there is no connection.
    """
    user = session.run(["id", "-un"]).stdout.strip() or session.name
    groups = tuple(session.run(["id", "-Gn"]).stdout.split())
    scheduler = scheduler_of(session.site)
    asked = scheduler.accounts(user)
    if asked is None:
        return Rights(user, groups, None)
    done = session.run(asked, profile=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return Rights(user, groups, None, lines[-1] if lines else f"{asked[0]} ended with {done.returncode}")
    return Rights(user, groups, scheduler.read_accounts(done.stdout))


def maps_of(access: Access) -> list[AccountMap]:
    """The site file's lines for the collaboration of the login; all of them where it has none."""
    return [line for line in access.login.accounts if access.choice.co in (None, line.co)]


def missing_groups(rights: Rights, maps: Sequence[AccountMap]) -> list[str]:
    """Unix groups of the site file that the login is not in."""
    return [line.unix_group for line in maps if line.unix_group and line.unix_group not in rights.groups]


def missing_accounts(rights: Rights, maps: Sequence[AccountMap]) -> list[str]:
    """Accounts of the site file that the scheduler does not let the login charge."""
    have = {allowance.account for allowance in rights.allowances or ()}
    return [line.account for line in maps if line.account and line.account not in have]

"""What a login may use at a site: Unix groups and scheduler accounts, against what the site file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpckit.login.names import Access
from hpckit.login.ssh import Session
from hpckit.site import AccountMap


@dataclass(frozen=True, slots=True)
class Association:
    """One line of Slurm's accounting: what a user may charge, and where."""

    account: str
    partition: str
    """Empty for any."""
    qos: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rights:
    """What a login has at a site."""

    user: str
    groups: tuple[str, ...]
    associations: tuple[Association, ...] | None
    """None where Slurm does not say: no Slurm, no accounting, or closed to users."""
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
    if session.site.scheduler != "slurm":
        return Rights(user, groups, None, "this site has no Slurm")
    asked = ["sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", "format=account,partition,qos"]
    done = session.run(asked, profile=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return Rights(user, groups, None, lines[-1] if lines else f"sacctmgr ended with {done.returncode}")
    return Rights(user, groups, parse_associations(done.stdout))


def parse_associations(text: str) -> tuple[Association, ...]:
    """Associations from what `sacctmgr -n -P show assoc format=account,partition,qos` prints."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
    return tuple(
        Association(account, partition, tuple(name for name in qos.split(",") if name))
        for account, partition, qos in rows
        if account
    )


def maps_of(access: Access) -> list[AccountMap]:
    """The site file's lines for the collaboration of the login; all of them where it has none."""
    return [line for line in access.login.accounts if access.choice.co in (None, line.co)]


def missing_groups(rights: Rights, maps: Sequence[AccountMap]) -> list[str]:
    """Unix groups of the site file that the login is not in."""
    return [line.unix_group for line in maps if line.unix_group and line.unix_group not in rights.groups]


def missing_accounts(rights: Rights, maps: Sequence[AccountMap]) -> list[str]:
    """Accounts of the site file that Slurm does not let the login charge."""
    have = {association.account for association in rights.associations or ()}
    return [line.account for line in maps if line.account and line.account not in have]

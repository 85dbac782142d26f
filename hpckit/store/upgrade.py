"""Upgrades of a store's tables, and who is asked before: programs of an older hpckit refuse tables of a newer one.

A store that one campaign uses alone is upgraded when this campaign loads its results. If others use it, by
campaigns that load into it or as users whom the database lets in, somebody has to say so: `hpckit store migrate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpckit.base.quantities import format_count
from hpckit.errors import StoreError
from hpckit.store.model import Store
from hpckit.store.owner import StoreOwner


@dataclass(frozen=True, slots=True)
class StoreState:
    """Tables of a store, and who uses them."""

    where: str
    version: int
    """Of the tables; 0 if there are none."""
    newest: int
    """Which this hpckit makes."""
    campaigns: tuple[str, ...]
    """That have results in it."""
    users: tuple[str, ...]
    """Of the database, other than this one, who may use the tables."""

    @property
    def is_older(self) -> bool:
        """Whether an upgrade is possible."""
        return 0 < self.version < self.newest


def state_of(store: Store) -> StoreState:
    """Version and users of a store; writes nothing.

    Raises
    ------
    StoreUnavailableError
        If it cannot be reached.
    StoreError
        If something is missing that is needed to look at it.
    """
    if not store.is_made():
        return StoreState(store.where, 0, store.newest, (), ())
    found = store.owners()
    names = dict.fromkeys(owner.campaign or f"reduction {name}" for name, owner in found.items())
    return StoreState(store.where, store.version(), store.newest, tuple(names), store.other_users())


def require_asked(store: Store, owner: StoreOwner) -> None:
    """Refuse to upgrade, unasked, tables that others use.

    Parameters
    ----------
    owner : StoreOwner
        The campaign that would load results.

    Raises
    ------
    StoreError
        If the tables are older, and another campaign or another user uses them.
    """
    if not store.is_made() or not 0 < store.version() < store.newest:
        return
    others = _others(store.owners(), owner)
    users = store.other_users()
    if not others and not users:
        return
    named = [f"campaign {name}" for name in others] + [f"user {name}" for name in users]
    raise StoreError(
        f"{store.where}: its tables are version {store.version()}, this hpckit makes version {store.newest}, and"
        f" {_listed(named)} use them too",
        hint="`hpckit store migrate CAMPAIGN` upgrades them, when all of these have this version of hpckit",
    )


def migrate(store: Store) -> StoreState:
    """Upgrade the tables of a store, in one transaction; the state afterwards.

    Raises
    ------
    StoreError
        If there are none, they are of a newer hpckit, or this user may not change them.
    """
    if not store.is_made() or not store.version():
        raise StoreError(f"{store.where}: there are no tables of hpckit", hint="`hpckit sync CAMPAIGN` makes them")
    store.prepare()
    return state_of(store)


def _others(owners: Mapping[str, StoreOwner], mine: StoreOwner) -> list[str]:
    return list(dict.fromkeys(owner.campaign for owner in owners.values() if not owner.is_same(mine)))


def _listed(named: list[str]) -> str:
    if len(named) > 4:
        return f"{', '.join(named[:3])} and {format_count(len(named) - 3, 'other')}"
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)

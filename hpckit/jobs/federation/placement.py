"""Which site gets which tiles: those whose scenes it has, by free cores and cost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpckit.errors import FederationError
from hpckit.runs.plan import Unit, tiles_of

_UNKNOWN_CORES: Final = 1
"""Cores of a site whose scheduler does not say how many are free."""


@dataclass(frozen=True, slots=True)
class Group:
    """Tiles that share zones that no tile holds whole, or a bundle of units: one site has all of them."""

    tiles: tuple[str, ...]
    core_s: float
    """Estimated core-seconds of their units."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What counts of a site."""

    free_cores: int | None
    """None if its scheduler does not say."""
    cost: float = 1.0
    """Of a core-hour."""


def groups(units: Iterable[Unit], tiles: Sequence[str]) -> list[Group]:
    """Tiles that must stay together, by the units that concern several.

    Parameters
    ----------
    units : iterable of Unit
        Of a whole plan.
    tiles : sequence of str
        All tiles of the plan; one without units is a group of its own.

    Raises
    ------
    FederationError
        If a unit concerns no tile, so that no site can be chosen for it.
    """
    above: dict[str, str] = {tile: tile for tile in tiles}

    def top(tile: str) -> str:
        while above[tile] != tile:
            above[tile] = above[above[tile]]
            tile = above[tile]
        return tile

    bundle_of: dict[str, str] = {}
    costs: dict[str, float] = {}
    for unit in units:
        mine = tiles_of(unit)
        if not mine:
            raise FederationError(f"unit {unit.id} concerns no tile, so it cannot be given to a site")
        first = bundle_of.setdefault(f"{unit.stage} {unit.bundle}", mine[0]) if unit.bundle else mine[0]
        for tile in mine:
            above[max(top(tile), top(first))] = min(top(tile), top(first))
        costs[mine[0]] = costs.get(mine[0], 0.0) + unit.cost
    members: dict[str, list[str]] = {}
    for tile in tiles:
        members.setdefault(top(tile), []).append(tile)
    return [Group(tuple(sorted(mine)), sum(costs.get(tile, 0.0) for tile in mine)) for mine in members.values()]


def place(
    found: Sequence[Group],
    holders: Mapping[tuple[str, ...], Collection[str]],
    capacities: Mapping[str, Capacity],
    load_s: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Give each group to a site: costly groups first, each to where cost times the time until it is done is least.

    Parameters
    ----------
    holders : mapping
        By the tiles of a group the sites that have all their scenes. A group without a holder is left out.
    capacities : mapping of str to Capacity
        The sites, in an order that decides where they are equal.
    load_s : mapping of str to float, optional
        Core-seconds that sites have to do already.

    Returns
    -------
    dict of str to str
        Site by tile.

    Notes
    -----
    The time is that of all that the site has by then, on the cores that are free now: an estimate for sharing work
    out, not a forecast.
    """
    load = {name: (load_s or {}).get(name, 0.0) for name in capacities}
    order = list(capacities)
    placed: dict[str, str] = {}
    for group in sorted(found, key=lambda group: (-group.core_s, group.tiles)):
        able = [name for name in order if name in holders.get(group.tiles, ())]
        if not able:
            continue

        def price(name: str, group: Group = group) -> float:
            capacity = capacities[name]
            cores = max(_UNKNOWN_CORES, capacity.free_cores or 0)
            return capacity.cost * (load[name] + group.core_s) / cores

        chosen = min(able, key=lambda name: (price(name), order.index(name)))
        load[chosen] += group.core_s
        placed |= dict.fromkeys(group.tiles, chosen)
    return placed

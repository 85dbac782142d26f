"""Which units of signatures are done together where their windows are decoded for them alone.

A tile and the groups of tiles that share zones with it need the same windows. Where such tiles are small, several
are taken together, up to a bound: what lies at the rim of a bundle is decoded for its neighbour, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

MOST_PIXELS: Final = 2**26
"""Pixels of one band and date in a bundle of several tiles, at most: half a granule of Sentinel-2 at 10 m."""

Group = tuple[str, ...]
"""Tiles that answer for some zones, alone or together."""


def bundles_of(
    groups: Iterable[Group], pixels: Callable[[str], int], most: int = MOST_PIXELS
) -> Mapping[Group, tuple[str, ...]]:
    """Tiles whose units are done together with those of a group; the same for all groups of a bundle.

    Parameters
    ----------
    pixels : callable
        Pixels of a tile, of one band and date.
    most : int
        Pixels of a bundle, where it has several tiles.
    """
    groups = list(groups)
    near = _neighbours(groups)
    home: dict[str, tuple[str, ...]] = {}
    for tile in sorted(near):
        if tile not in home:
            members = tuple(sorted(_around(tile, near, home, pixels, most)))
            home |= dict.fromkeys(members, members)
    return {group: _home(group, home) for group in groups}


def _home(group: Group, home: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Bundle that has most tiles of a group."""
    found = [home[tile] for tile in group]
    return max(sorted(set(found)), key=found.count)


def _neighbours(groups: Iterable[Group]) -> dict[str, set[str]]:
    near: dict[str, set[str]] = {}
    for group in groups:
        for tile in group:
            near.setdefault(tile, set()).update(group)
    return near


def _around(
    first: str,
    near: Mapping[str, set[str]],
    taken: Mapping[str, object],
    pixels: Callable[[str], int],
    most: int,
) -> set[str]:
    """A tile, and tiles around it that share zones and are in no bundle yet: nearest first, as many as may be."""
    members, size, queue = {first}, pixels(first), deque([first])
    while queue:
        for tile in sorted(near[queue.popleft()]):
            if tile not in members and tile not in taken and size + pixels(tile) <= most:
                members.add(tile)
                size += pixels(tile)
                queue.append(tile)
    return members

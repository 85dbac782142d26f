"""Tiles of cubes and composites, opened once: their metadata are read again when their files change."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from affine import Affine

from hpckit.cubes.arrays import Array
from hpckit.cubes.objects import objects_at
from hpckit.cubes.read import Geometry, Group, read_group, resolutions, tiles
from hpckit.look.mercator import Bounds, bounds_of, touch
from hpckit.reduce.composites.hierarchy import PERIODS
from hpckit.sensors.bands import BandRef

_LOOK_AGAIN_S: Final = 5.0
"""Seconds after which it is looked for new tiles; new dates of a known tile are seen at once."""
_GROUPS: Final = 4096
"""Groups whose metadata are kept in memory."""


@dataclass(frozen=True, slots=True)
class TileOpened:
    """A tile of a store, with all sizes of pixels that it has."""

    store: Path
    tile: str
    groups: Mapping[int, Group]
    """By size of pixels in metres, finest first."""

    def find(self, text: str) -> tuple[Group, str] | None:
        """Group and name of a band or layer, of the finest pixels if the text (`B04`, `B04@20m`) names none."""
        name, _, size = text.strip().partition("@")
        for resolution_m, group in self.groups.items():
            if size and size.upper() != f"{resolution_m}M":
                continue
            found = next((known for known in group.arrays if known.upper() == name.upper()), None)
            if found is not None:
                return group, found
        return None

    @property
    def where(self) -> Geometry:
        """Position of the finest pixels."""
        return next(iter(self.groups.values())).where

    @property
    def refs(self) -> list[BandRef]:
        """Bands of all groups."""
        return sorted(ref for group in self.groups.values() for ref in group.bands.values())

    def array(self, text: str) -> Array | None:
        """Array of a band or layer."""
        found = self.find(text)
        return None if found is None else found[0].arrays[found[1]]


def open_tile(store: Path, tile: str) -> TileOpened | None:
    """Open a tile; None if nothing of it is there yet.

    Raises
    ------
    CubeError
        If its metadata are damaged.
    """
    groups = {}
    for resolution_m in resolutions(store, tile):
        try:
            state = objects_at(store).status(f"{tile}/r{resolution_m}m/zarr.json")
        except FileNotFoundError:  # begun at this moment
            continue
        groups[resolution_m] = _group(store, tile, resolution_m, (state.st_size, state.st_mtime_ns))
    groups = {resolution_m: group for resolution_m, group in groups.items() if group.arrays}
    return TileOpened(store, tile, groups) if groups else None


def open_tiles(store: Path, within: Bounds | None = None) -> list[TileOpened]:
    """Open the tiles of a store, or those that touch an area, by name.

    Parameters
    ----------
    within : four float, optional
        West, south, east, north in metres of EPSG:3857.
    """
    names = list(_names(store, within))
    return [found for found in (open_tile(store, name) for name in names) if found is not None]


def _names(store: Path, within: Bounds | None) -> Iterator[str]:
    known = _index(store, int(time.monotonic() / _LOOK_AGAIN_S))
    for name, boxes in known.items():
        if within is None or any(touch(box, within) for box in boxes):
            yield name


@lru_cache(maxsize=64)
def _index(store: Path, _moment: int) -> dict[str, tuple[Bounds, ...]]:
    """Tiles and where they lie, in EPSG:3857."""
    found = {}
    for name in tiles(store):
        opened = open_tile(store, name)
        if opened is not None:
            found[name] = _boxes(opened.where.epsg, opened.where.transform, opened.where.shape)
    return found


@lru_cache(maxsize=_GROUPS)
def _boxes(epsg: int, transform: Affine, shape: tuple[int, int]) -> tuple[Bounds, ...]:
    return bounds_of(epsg, transform, shape)


@lru_cache(maxsize=_GROUPS)
def _group(store: Path, tile: str, resolution_m: int, _state: tuple[int, int]) -> Group:
    return read_group(store, tile, resolution_m)


def day_of(acquisition: Mapping[str, object]) -> date:
    """Day of an acquisition, UTC."""
    return datetime.fromisoformat(str(acquisition["time"])).date()


def positions(group: Group, day: date) -> list[int]:
    """Where a day stands on the time axis of a tile; several passes may have been on it."""
    return [number for number, item in enumerate(group.where.acquisitions) if day_of(item) == day]


def periods(opened: Iterable[TileOpened]) -> list[str]:
    """Labels of the periods of a composite's tiles, in order."""
    labels: dict[str, None] = {}
    for tile in opened:
        for group in tile.groups.values():
            labels |= dict.fromkeys(map(str, group.attributes.get(PERIODS, ())))
    return sorted(labels)

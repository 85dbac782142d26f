"""A sample of a store's values, by which the scale of a layer is measured once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.cubes.arrays import Array, read_coordinate
from hpckit.cubes.objects import objects_at
from hpckit.cubes.read import Group
from hpckit.cubes.region import read_region
from hpckit.errors import CubeError, ShardError
from hpckit.look.opened import TileOpened, open_tiles
from hpckit.look.pixels import Layer as Values
from hpckit.look.planes import physical
from hpckit.space.box import Box

_PERCENTILES: Final = (2, 98)
_EDGE_M: Final = 1920
"""Of each place that is looked at: a common multiple of usual pixels."""
_PLACES: Final = 3
"""Along either side of a tile."""
_DATES: Final = 4
"""Clearest dates that are tried."""
_TILES: Final = 4
_ENOUGH: Final = 1000
"""Valid pixels that a sample should have."""

_KNOWN: dict[tuple[Any, ...], Values] = {}
"""Samples stay what they are while the process lives: a scale must not change under a map."""


def of(
    store: Path,
    texts: Sequence[str],
    forms: Sequence[str],
    evaluate: Callable[[Mapping[str, npt.NDArray[Any]]], Values],
) -> Values:
    """Values at some places of the clearest date; 0 and 1 where the store has nothing yet.

    Parameters
    ----------
    texts : sequence of str
        Bands that are read.
    forms : sequence of str
        Names of a text's array, with `{}` for the text.
    evaluate : callable
        Value of pixels, of physical units by text.
    """
    key = (store, tuple(texts), tuple(forms))
    if key not in _KNOWN:
        found = _look(store, texts, forms, evaluate)
        if found.size == 0:
            return np.array([0.0, 1.0], np.float32)
        _KNOWN[key] = found
    return _KNOWN[key]


def middle(values: Values) -> tuple[float, float]:
    """Range from the 2nd to the 98th percentile, not empty."""
    low, high = np.percentile(values, _PERCENTILES).tolist()
    return (low, high) if high > low else (low, low + 1e-3)


def _look(store: Path, texts: Sequence[str], forms: Sequence[str], evaluate: Callable[..., Values]) -> Values:
    parts = [np.empty(0, np.float32)]
    for tile in open_tiles(store)[:_TILES]:
        found = [_find(tile, text, forms) for text in texts]
        arrays = {text: one[0].arrays[one[1]] for text, one in zip(texts, found, strict=True) if one is not None}
        groups = [one[0] for one in found if one is not None]
        if len(arrays) < len(texts):
            continue
        for date in _clearest(tile, groups[0])[:_DATES]:
            for place in range(_PLACES**2):
                planes = {
                    text: _at(array, group.resolution_m, date, place)
                    for (text, array), group in zip(arrays.items(), groups, strict=True)
                }
                values = evaluate(_equal(planes))
                parts.append(values[np.isfinite(values)])
            if sum(map(len, parts)) >= _ENOUGH:
                return np.concatenate(parts)
    return np.concatenate(parts)


def _find(tile: TileOpened, text: str, forms: Sequence[str]) -> tuple[Group, str] | None:
    name, at, size = text.partition("@")
    return next(filter(None, (tile.find(f"{form.format(name)}{at}{size}") for form in forms)), None)


def _clearest(tile: TileOpened, group: Group) -> list[int]:
    """Dates, the least cloudy first; those of unknown cover last. Of a composite, the middle first."""
    count = next(iter(group.arrays.values())).shape[0]
    if not group.where.acquisitions:
        return sorted(range(count), key=lambda number: abs(number - count // 2))
    return np.argsort(cloud_covers(tile, group), kind="stable").tolist()  # type: ignore[no-any-return]


def cloud_covers(tile: TileOpened, group: Group) -> list[float]:
    """Cloud cover of each date in percent, as products say; NaN where it is unknown."""
    count = len(group.where.acquisitions)
    try:
        covers = read_coordinate(objects_at(tile.store), f"{tile.tile}/r{group.resolution_m}m/cloud_cover")
    except CubeError:
        return [np.nan] * count
    return [*covers.tolist(), *[np.nan] * count][:count]  # a tile to which dates are added at this moment


def _at(array: Array, resolution_m: int, date: int, place: int) -> Values:
    """Physical values at one of the places of a tile."""
    rows, columns = array.shape[1:]
    down, along = divmod(place, _PLACES)
    edge = max(1, _EDGE_M // resolution_m)
    top, left = (
        max(0, int(size * (number + 0.5) / _PLACES) - edge // 2) for size, number in ((rows, down), (columns, along))
    )
    box = Box(top, left, min(rows, top + edge), min(columns, left + edge))
    try:
        return physical(read_region(array, box, range(date, date + 1))[0], array)
    except ShardError:
        return np.full(box.shape, np.nan, np.float32)


def _equal(planes: Mapping[str, Values]) -> dict[str, Values]:
    """Planes of one shape: coarse pixels are repeated."""
    rows = max(plane.shape[0] for plane in planes.values())
    columns = max(plane.shape[1] for plane in planes.values())
    return {
        text: plane[np.arange(rows) * plane.shape[0] // rows][:, np.arange(columns) * plane.shape[1] // columns]
        for text, plane in planes.items()
    }

"""Tiles of web maps, drawn straight from the shards of a cube or composite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import CubeError
from hpckit.look.layers import Choice, Layer, Painter, layers, painter
from hpckit.look.mercator import bounds_of_map_tile, geobox_of_map_tile, require_map_tile
from hpckit.look.opened import TileOpened, open_tiles, periods, positions
from hpckit.look.planes import Faults, Resampling, warped
from hpckit.look.png import transparent

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from hpckit.look.view import CampaignView

__all__ = ["Choice", "Layer", "MapTile", "draw_tile", "layers", "render_tile"]

_MOST_PIXELS: Final = 36_000_000
"""Pixels of a band that are decoded for one map tile at most; without overviews, maps of a country need more."""


@dataclass(frozen=True, slots=True)
class MapTile:
    """A drawn map tile."""

    png: bytes
    notes: tuple[str, ...] = ()
    """Why something is not seen: shards that are damaged, or too many pixels."""
    is_empty: bool = False
    """Nothing is on it."""


def render_tile(view: CampaignView, layer: Layer, z: int, x: int, y: int, size: int = 256) -> bytes:
    """Draw a map tile as PNG; see `draw_tile`."""
    return draw_tile(view, layer, z, x, y, size).png


def draw_tile(
    view: CampaignView, layer: Layer, z: int, x: int, y: int, size: int = 256, *, resampling: Resampling | None = None
) -> MapTile:
    """Draw a tile of a web map.

    Where tiles of the cube overlap, each pixel is that of the first one, by name, that has data; where a day has
    several passes, that of the first one.

    Parameters
    ----------
    z, x, y : int
        Zoom, column from the west and row from the north, in EPSG:3857.
    size : int
        Pixels on a side, 256 or 512.
    resampling : {"nearest", "bilinear"}, optional
        If not given, pixels smaller than those of the cube show the nearest one, and larger ones a mean.

    Raises
    ------
    HpckitError
        If there is no such map tile.
    CubeError
        If the campaign has no such layer, or the layer names no day.
    FileUnavailableError
        If the file system refuses.
    """
    require_map_tile(z, x, y, size)
    how = painter(view.campaign, layer)
    if layer.composite is None and layer.day is None:
        raise CubeError("the layer names no day", hint="name one of the days of the campaign")
    opened = open_tiles(how.store, bounds_of_map_tile(z, x, y))
    target, faults = geobox_of_map_tile(z, x, y, size), Faults()
    period = layer.period
    if layer.composite is not None:
        period = _require_period(how, opened, layer)
    made: dict[str, npt.NDArray[Any]] = {}
    seen = np.zeros((size, size), np.bool_)
    for tile in opened:
        for planes in _passes(how, tile, layer, period, target, faults, resampling):
            _fill(made, seen, planes, how)
            if seen.all():
                break
        if seen.all():
            break
    if not seen.any():
        return MapTile(transparent(size, size), tuple(faults.notes), is_empty=True)
    return MapTile(how.paint(made).png, tuple(faults.notes))


def _require_period(how: Painter, opened: list[TileOpened], layer: Layer) -> str:
    known = periods(opened or open_tiles(how.store))
    if layer.period is None and known:
        return known[0]
    if layer.period in known:
        return str(layer.period)
    shown = ", ".join(known[:6]) + (" …" if len(known) > 6 else "")
    raise CubeError(
        f"composite {layer.composite!r} has no period {layer.period!r}", hint=f"it has {shown or 'none yet'}"
    )


def _passes(
    how: Painter,
    tile: TileOpened,
    layer: Layer,
    period: str | None,
    target: GeoBox,
    faults: Faults,
    resampling: Resampling | None,
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Planes of each pass of a tile."""
    from hpckit.reduce.composites.hierarchy import PERIODS

    found = [how.find(tile, text) for text in how.texts]
    if not all(found):
        return
    groups = [one for one in found if one is not None]
    first = groups[0][0]
    if period is not None:
        dates = [number for number, label in enumerate(first.attributes.get(PERIODS, ())) if label == period]
    else:
        assert layer.day is not None
        dates = positions(first, layer.day)
    for date in dates:
        planes = {}
        for text, (group, name) in zip(how.texts, groups, strict=True):
            plane = warped(group.arrays[name], group.where, date, target, resampling, faults)
            if plane is None:
                break
            planes[text] = plane
        else:
            yield planes


def _fill(
    made: dict[str, npt.NDArray[Any]], seen: npt.NDArray[np.bool_], planes: dict[str, npt.NDArray[Any]], how: Painter
) -> None:
    """Add pixels where nothing is seen yet, and all bands have data."""
    if how.categorical is not None:
        valid = next(iter(planes.values())) != 0
    else:
        valid = np.logical_and.reduce([np.isfinite(plane) for plane in planes.values()])
    if not made:
        made.update(planes)
        if how.categorical is None:
            for plane in planes.values():
                plane[~valid] = np.nan
        seen |= valid
        return
    fresh = valid & ~seen
    for text, plane in planes.items():
        np.copyto(made[text], plane, where=fresh)
    seen |= fresh

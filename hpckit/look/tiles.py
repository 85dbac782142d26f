"""Tiles of web maps, drawn straight from the shards of a cube or composite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpckit.cubes.levels import root_of
from hpckit.cubes.read import Group
from hpckit.errors import CubeError
from hpckit.look.choices import Choice, Day, days, layers
from hpckit.look.layers import Layer, Painter, painter
from hpckit.look.mercator import bounds_of_map_tile, geobox_of_map_tile, require_map_tile
from hpckit.look.opened import TileOpened, open_tiles, periods, positions
from hpckit.look.planes import Drawing, Resampling, plane
from hpckit.look.png import transparent
from hpckit.reduce.composites.hierarchy import PERIODS

if TYPE_CHECKING:
    from hpckit.look.view import CampaignView

__all__ = ["Choice", "Day", "Layer", "MapTile", "days", "draw_tile", "layers", "render_tile"]

Planes = dict[str, npt.NDArray[Any]]
"""By text of the painter."""


@dataclass(frozen=True, slots=True)
class MapTile:
    """A drawn map tile."""

    png: bytes
    notes: tuple[str, ...] = ()
    """Why something is not seen as it should be: shards that are damaged, or too many pixels."""
    is_empty: bool = False
    """Nothing is on it."""


def render_tile(
    view: CampaignView, layer: Layer, z: int, x: int, y: int, size: int = 256, *, cache: Path | None = None
) -> bytes:
    """Draw a map tile as PNG; see `draw_tile`."""
    return draw_tile(view, layer, z, x, y, size, cache=cache).png


def draw_tile(
    view: CampaignView,
    layer: Layer,
    z: int,
    x: int,
    y: int,
    size: int = 256,
    *,
    cache: Path | None = None,
    resampling: Resampling | None = None,
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
    cache : Path, optional
        Folder of overviews that lie not in the store.
    resampling : {"nearest", "bilinear"}, optional
        If not given, pixels smaller than those of the cube show the nearest one, and larger ones a mean.

    Raises
    ------
    HpckitError
        If there is no such map tile.
    CubeError
        If the campaign has no such layer or period, or the layer names no day.
    FileUnavailableError
        If the file system refuses.
    """
    require_map_tile(z, x, y, size)
    how = painter(view.campaign, layer)
    if layer.composite is None and layer.day is None:
        raise CubeError("the layer names no day", hint="name one of the days of the campaign")
    opened = open_tiles(how.store, bounds_of_map_tile(z, x, y))
    period = None if layer.composite is None else _require_period(how, opened, layer)
    roots = tuple(dict.fromkeys([how.store, root_of(how.store, cache)]))
    drawing = Drawing(geobox_of_map_tile(z, x, y, size), resampling, roots)
    made: Planes = {}
    seen = np.zeros((size, size), np.bool_)
    for planes in _passes(how, opened, layer, period, drawing):
        _fill(made, seen, planes, how)
        if seen.all():
            break
    if not seen.any():
        return MapTile(transparent(size, size), drawing.notes, is_empty=True)
    return MapTile(how.paint(made).png, drawing.notes)


def _require_period(how: Painter, opened: list[TileOpened], layer: Layer) -> str:
    """Label of the period that is shown."""
    known = periods(opened) if opened else []
    if layer.period is not None and layer.period in known:
        return layer.period
    known = periods(open_tiles(how.store))
    if layer.period is None and known:
        return known[0]
    if layer.period in known:
        return str(layer.period)
    if not known:
        raise CubeError(f"composite {layer.composite!r} is not made yet", hint="`hpckit run` makes it")
    shown = ", ".join(known[:6]) + (" …" if len(known) > 6 else "")
    raise CubeError(f"composite {layer.composite!r} has no period {layer.period!r}", hint=f"it has {shown}")


def _passes(
    how: Painter, opened: list[TileOpened], layer: Layer, period: str | None, drawing: Drawing
) -> Iterator[Planes]:
    """Planes of each pass over each tile."""
    for tile in opened:
        found = [one for one in (how.find(tile, text) for text in how.texts) if one is not None]
        if len(found) < len(how.texts):
            drawing.remarks[f"tile {tile.tile} has not all of {', '.join(how.texts)}"] = None
            continue
        first = found[0][0]
        if layer.composite is None and layer.day is not None:
            dates = positions(first, layer.day)
        else:
            dates = [number for number, label in enumerate(first.attributes.get(PERIODS, ())) if label == period]
        for date in dates:
            planes = _planes(how, found, date, drawing)
            if len(planes) == len(how.texts):
                yield planes


def _planes(how: Painter, found: Sequence[tuple[Group, str]], date: int, drawing: Drawing) -> Planes:
    """Planes of one date; without those that do not reach the picture."""
    # One after the other: a server draws several map tiles at a time, and threads for one cost more than they save.
    read = [plane(drawing, how.store, group, name, date) for group, name in found]
    return {text: pixels for text, pixels in zip(how.texts, read, strict=True) if pixels is not None}


def _fill(made: Planes, seen: npt.NDArray[np.bool_], planes: Planes, how: Painter) -> None:
    """Add pixels where nothing is seen yet, and all bands have data."""
    if how.categorical is not None:
        fresh = planes[how.texts[0]] != 0
    else:
        fresh = np.logical_and.reduce([np.isfinite(pixels) for pixels in planes.values()])
    fresh &= ~seen
    nothing = 0 if how.categorical is not None else np.nan
    for text, pixels in planes.items():
        if text not in made:
            made[text] = np.full_like(pixels, nothing)
        np.copyto(made[text], pixels, where=fresh)
    seen |= fresh

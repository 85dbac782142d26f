"""Putting Sentinel-1 scenes on the tiles of a grid: a radar product lies where the orbit leads it, not on a grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import shapely

from hpckit.sensors.model import Dropped, Scene
from hpckit.space.frame import Frame
from hpckit.space.grid import Grid
from hpckit.space.mgrs import GRANULE_M
from hpckit.space.tile import Tile

_FEW: Final = 4
_SIZES: Final = (10, 20, 60)
"""Pixel sizes in metres of the rasters of a granule."""


def place(scene: Scene, tile: Tile) -> Scene:
    """The part of a scene that a granule of the Sentinel-2 grid holds."""
    shapes = {size: (GRANULE_M // size, GRANULE_M // size) for size in _SIZES}
    return replace(scene, frame=Frame(tile.tile, tile.epsg, tile.xmin, tile.ymax, shapes, {}))


def place_all(
    scenes: Iterable[Scene], grid: Grid, aoi: shapely.Geometry | None, tiles: Sequence[str] | None
) -> tuple[list[Scene], list[Dropped]]:
    """Put each scene on every tile that it shares some area with, within the area of interest.

    Parameters
    ----------
    grid : Grid
        On which products keep their pixels.
    aoi : geometry in longitude and latitude, optional
    tiles : sequence of str, optional
        Only these.

    Returns
    -------
    placed : list of Scene
        Scenes that had a tile already stay as they are.
    dropped : list of Dropped
        Scenes that no tile holds some of.
    """
    placed: list[Scene] = []
    dropped: list[Dropped] = []
    known: dict[str, list[Tile]] = {}
    for scene in scenes:
        if scene.tile:
            placed.append(scene)
            continue
        shape = shapely.make_valid(scene.footprint)
        area = shape if aoi is None else shapely.intersection(shape, aoi)
        if area.is_empty or area.area == 0:
            dropped.append(Dropped(scene.id, "outside of the area of interest", "aoi"))
            continue
        key = shapely.to_wkb(area, hex=True)
        if key not in known:
            known[key] = grid.tiles(area)
        wanted = [tile for tile in known[key] if tiles is None or tile.tile in tiles]
        placed += [place(scene, tile) for tile in wanted]
        if not wanted:
            held = ", ".join(tile.tile for tile in known[key][:_FEW])
            dropped.append(Dropped(scene.id, f"on tiles {held}, which are not wanted", "scenes.tiles"))
    return placed, dropped

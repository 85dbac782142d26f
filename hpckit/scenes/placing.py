"""Putting Sentinel-1 scenes on the tiles of a grid: a radar product lies where the orbit leads it, not on a grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import shapely

from hpckit.errors import CatalogueError
from hpckit.grid import GRANULE_M, Tile, tile_aoi
from hpckit.scenes.catalogue import Dropped
from hpckit.scenes.model import Scene
from hpckit.scenes.radar import OrbitState

_SIZES: Final = (10, 20, 60)
"""Pixel sizes in metres of the rasters of a granule."""


def place(scene: Scene, tile: Tile) -> Scene:
    """The part of a scene that a granule of the Sentinel-2 grid holds."""
    return replace(
        scene,
        tile=tile.tile,
        epsg=tile.epsg,
        ulx=tile.xmin,
        uly=tile.ymax,
        shapes={size: (GRANULE_M // size, GRANULE_M // size) for size in _SIZES},
    )


def on_tracks(
    scenes: Iterable[Scene], state: OrbitState | None, relative_orbits: Sequence[int] | None
) -> tuple[list[Scene], list[Dropped]]:
    """Scenes of some tracks, and of one kind of backscatter; the others with the reason."""
    chosen: list[Scene] = []
    dropped: list[Dropped] = []
    for scene in scenes:
        radar = scene.radar
        if radar is None or (state is not None and radar.orbit_state != state):
            dropped.append(Dropped(scene.id, "another direction of flight"))
        elif relative_orbits is not None and scene.relative_orbit not in relative_orbits:
            dropped.append(Dropped(scene.id, f"relative orbit {scene.relative_orbit}"))
        else:
            chosen.append(scene)
    kinds = {scene.radar.radiometry for scene in chosen if scene.radar is not None}
    if len(kinds) > 1:
        raise CatalogueError(
            f"the products are of several kinds: {', '.join(sorted(kinds))}",
            hint="a cube holds one kind; give each its own campaign with its own scenes.paths",
        )
    return chosen, dropped


def place_all(scenes: Iterable[Scene], aoi: shapely.Geometry | None, tiles: Sequence[str] | None) -> list[Scene]:
    """Put each scene on every tile that it shares some area with, within the area of interest.

    Parameters
    ----------
    aoi : geometry in longitude and latitude, optional
    tiles : sequence of str, optional
        Only these.

    Returns
    -------
    list of Scene
        Scenes that had a tile already stay as they are.
    """
    placed: list[Scene] = []
    known: dict[str, list[Tile]] = {}
    for scene in scenes:
        if scene.tile:
            placed.append(scene)
            continue
        shape = shapely.make_valid(shapely.geometry.shape(scene.footprint))
        area = shape if aoi is None else shapely.intersection(shape, aoi)
        if area.is_empty or area.area == 0:
            continue
        key = shapely.to_wkb(area, hex=True)
        if key not in known:
            known[key] = tile_aoi(area)
        placed += [place(scene, tile) for tile in known[key] if tiles is None or tile.tile in tiles]
    return placed

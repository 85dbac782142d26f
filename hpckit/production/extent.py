"""The extent of a campaign: which windows of its tiles its area of interest asks for."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import pyproj
import shapely

from hpckit.cubes.held import WHOLE, Held
from hpckit.cubes.tiles import Tiles
from hpckit.errors import PlanError
from hpckit.space.aoi import read_aoi
from hpckit.space.overlap import in_crs, tidy
from hpckit.space.vector.project import to_degrees
from hpckit.space.windows import touched

_REACH_DEGREES: Final = 0.01
"""Beyond the outlines of tiles, in which the area cannot matter to them."""


def of_area(tiles: Tiles) -> Held:
    """Windows that the area of interest touches; none yet where only zones count, and all where granules do."""
    cube = tiles.campaign.cube
    if cube.windows_by == "granule":
        return WHOLE
    frames = [tiles.frame(tile) for tile in tiles.acquisitions]
    sizes = sorted({ref.resolution_m for ref in tiles.spec.bands})
    none = Held({(frame.tile, size): np.zeros(frame.windows(size), np.bool_) for frame in frames for size in sizes})
    if cube.windows_by == "zones":
        return none
    area = tidy(read_aoi(tiles.campaign.aoi, tiles.campaign.folder))

    @lru_cache
    def local(epsg: int) -> shapely.Geometry:
        boxes = np.array([shapely.box(*frame.bounds) for frame in frames if frame.epsg == epsg])
        around = None if cube.margin_m else to_degrees(boxes, pyproj.CRS.from_epsg(epsg))
        return in_crs(area, epsg, around, _REACH_DEGREES)

    held = none
    for frame in frames:
        held = held.with_asked(frame, lambda size: touched(frame, size, local(frame.epsg), cube.reach_m))  # noqa: B023
    return held


def require_windows(tiles: Tiles) -> None:
    """Refuse a campaign that would decode nothing.

    Raises
    ------
    PlanError
        If no window of any tile is asked for.
    """
    asked = tiles.held.asked
    # Graphs may read tiles of other campaigns, and windows of their own straight from the products.
    if asked is not None and not tiles.campaign.graphs and not any(windows.any() for windows in asked.values()):
        what = "the area of interest touches" if tiles.campaign.cube.windows_by == "aoi" else "zones lie in"
        raise PlanError(
            f"{tiles.campaign.path}: {what} no window of the tiles {', '.join(sorted(tiles.acquisitions)[:3])}",
            hint="correct `aoi` or the zones, or set `cube.extent: granule`",
        )

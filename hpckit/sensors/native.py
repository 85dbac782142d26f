"""Tiles on which products of Sentinel-2 lie: those of MGRS, cut as their JPEG 2000 files are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hpckit.sensors.sentinel2.bands import CHUNK, WINDOW
from hpckit.space.frame import Edges
from hpckit.space.granules import Granules

if TYPE_CHECKING:
    import shapely

    from hpckit.space.overlap import Candidates


def _candidates(area: shapely.Geometry, buffer_m: float) -> Candidates:
    from hpckit.space.mgrs import candidates  # shapely and pyproj take time to import

    return candidates(area, buffer_m)


MGRS: Final = Granules("mgrs", {size: Edges(edge, CHUNK[size]) for size, edge in WINDOW.items()}, _candidates)

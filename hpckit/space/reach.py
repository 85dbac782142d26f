"""Which tiles products reach into: in degrees first, then in the CRS of the tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyproj
import shapely

from hpckit.space.footprint import square
from hpckit.space.frame import Extent, Frame
from hpckit.space.overlap import share_area
from hpckit.space.tile import Tile, footprints
from hpckit.space.vector.project import project

_OUTLINE_ERR: Final = 0.01
"""Degrees by which outlines in the metadata of products may err."""
_COARSE_M: Final = 100.0
"""Tolerance of footprints that are compared with such outlines."""
_Raster = tuple[int, tuple[float, float, float, float]]


def reached(tiles: Sequence[Tile], products: Sequence[Extent]) -> list[list[str]]:
    """Names of the tiles that share area with each product, in the order of the tiles.

    A product reaches where its raster does, as far as its footprint says that it has data there; of a product without
    a raster only the footprint counts.
    """
    tree = shapely.STRtree(footprints(tiles, _COARSE_M))
    known: dict[_Raster, frozenset[int]] = {}
    found: list[list[str]] = []
    for product in products:
        seen = frozenset(range(len(tiles)))
        if product.raster is not None:
            raster = (product.raster.epsg, product.raster.bounds)
            if raster not in known:
                known[raster] = _by_raster(tiles, tree, product.raster)
            seen = known[raster]
        if product.footprint is not None:
            outline = product.footprint.buffer(_OUTLINE_ERR)
            seen &= frozenset(tree.query(outline, predicate="intersects").tolist())
        found.append([tiles[number].tile for number in sorted(seen)])
    return found


def _by_raster(tiles: Sequence[Tile], tree: shapely.STRtree, raster: Frame) -> frozenset[int]:
    box = np.array([shapely.box(*raster.bounds)])
    resolution_m, shape = min(raster.shapes.items())
    scale = resolution_m / 10
    near = square(raster.epsg, raster.ulx, raster.uly, (round(shape[0] * scale), round(shape[1] * scale)))
    outline = near.buffer(_OUTLINE_ERR)
    moved: dict[int, shapely.Geometry] = {}
    inside: set[int] = set()
    for number in tree.query(outline, predicate="intersects").tolist():
        tile = tiles[number]
        if tile.epsg not in moved:
            source, target = pyproj.CRS.from_epsg(raster.epsg), pyproj.CRS.from_epsg(tile.epsg)
            moved[tile.epsg] = project(box, source, target)[0]
        if share_area(moved[tile.epsg], tile.bounds):
            inside.add(number)
    return frozenset(inside)

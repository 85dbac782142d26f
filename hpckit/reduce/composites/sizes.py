"""What composites will take on the disk: shards, GeoTIFFs, mosaics, and what passes while these are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from rasterio.warp import transform_bounds

from hpckit.campaign.composite import STEPPING, Composite, Mosaic
from hpckit.cubes.held import pixels, row_pixels
from hpckit.reduce.composites.products import Layer, groups, layers, of_files
from hpckit.reduce.composites.units import all_layers, intervals
from hpckit.runs.plan import Unit
from hpckit.space.frame import Frame

if TYPE_CHECKING:
    from hpckit.cubes.tiles import Tiles

_COMPRESSED: Final = 0.7
"""Compressed over raw bytes, at most."""
_OVERVIEWS: Final = 4 / 3
"""Pixels of a raster and its overviews, over its own."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of what pending units of a composite write."""

    kept: int
    passing: int
    """At most at one time: rasters that are written before a GeoTIFF gets its final form, one for each worker."""

    @property
    def total(self) -> int:
        """Bytes that must be free."""
        return self.kept + self.passing


def size(tiles: Tiles, composite: Composite, pending: Iterable[Unit], workers: int) -> Size:
    """Estimate what the pending units of a composite write, and the mosaics after them.

    Parameters
    ----------
    pending : iterable of Unit
        That are to be done, of this composite and others.
    """
    mine = [unit for unit in pending if unit.args.get("reduction") == composite.name]
    frames = {tile: tiles.frame(tile) for tile in tiles.acquisitions}
    rows = [unit for unit in mine if unit.stage == "composites"]
    kept = float(sum(_rows(tiles, composite, frames, rows)))
    units = [unit for unit in mine if unit.stage == "export"]
    if not units or not composite.outputs.cog:
        return Size(int(kept), 0)
    files = of_files(all_layers(tiles.campaign, composite))
    for unit in units:
        frame = frames[str(unit.args["tile"])]
        held = sum(_raw(frame, some) * _share(tiles, frame, some) for some in files.values())
        kept += held * _COMPRESSED * _OVERVIEWS
    largest = max(_raw(frame, some) for frame in frames.values() for some in files.values())
    passing = largest * _OVERVIEWS * min(workers, len(units))
    if isinstance(composite.outputs.mosaic, Mosaic):
        covered, whole = _mosaic_pixels(list(frames.values()), composite.outputs.mosaic)
        widths = [sum(np.dtype(layer.dtype).itemsize for layer in some) for some in files.values()]
        kept += covered * sum(widths) * len({unit.args["period"] for unit in units}) * _COMPRESSED * _OVERVIEWS
        passing = max(passing, whole * max(widths) * _OVERVIEWS)
    return Size(int(kept), int(passing))


def _rows(tiles: Tiles, composite: Composite, frames: Mapping[str, Frame], units: Sequence[Unit]) -> Iterator[float]:
    """Bytes of the shards of each pending row."""
    campaign = tiles.campaign
    always = set(STEPPING) & set(composite.methods)
    widths = {
        group.resolution_m: sum(np.dtype(layer.dtype).itemsize for layer in layers(composite, group))
        for group in groups(composite, campaign.ref)
    }
    periods = {
        tile: sum(bool(always or step.positions(acquisitions)) for step in intervals(tiles, composite, tile))
        for tile, acquisitions in tiles.acquisitions.items()
    }
    for unit in units:
        tile, resolution_m, row = str(unit.args["tile"]), int(unit.args["resolution"]), int(unit.args["row"])
        pixels = row_pixels(frames[tile], tiles.held.wanted(frames[tile], resolution_m), resolution_m, row)
        yield pixels * widths[resolution_m] * periods[tile] * _COMPRESSED


def _raw(frame: Frame, some: Sequence[Layer]) -> int:
    """Bytes of a file of a tile, not compressed."""
    rows, columns = frame.shapes[some[0].resolution_m]
    return rows * columns * sum(np.dtype(layer.dtype).itemsize for layer in some)


def _share(tiles: Tiles, frame: Frame, some: Sequence[Layer]) -> float:
    """Share of a file's pixels that are composed: others take next to nothing."""
    size = some[0].resolution_m
    rows, columns = frame.shapes[size]
    return pixels(frame, tiles.held.wanted(frame, size), size) / (rows * columns)


def _mosaic_pixels(frames: Sequence[Frame], mosaic: Mosaic) -> tuple[float, float]:
    """Pixels of a mosaic that tiles cover, at most, and all of its pixels."""
    boxes = np.array([transform_bounds(f"EPSG:{frame.epsg}", mosaic.crs, *frame.bounds) for frame in frames])
    whole = np.prod(boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)) / mosaic.resolution**2
    covered = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).sum() / mosaic.resolution**2
    return float(min(covered, whole)), float(whole)

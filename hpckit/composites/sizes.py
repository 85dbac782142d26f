"""What composites will take on the disk: shards, GeoTIFFs, mosaics, and what passes while these are written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from rasterio.warp import transform_bounds

from hpckit.composites.products import Layer, groups, layers, of_files
from hpckit.composites.settings import STEPPING, Composite, Mosaic
from hpckit.composites.units import all_layers, export_units, intervals, row_id
from hpckit.frame import Frame

if TYPE_CHECKING:
    from hpckit.production import Prepared

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


def size(prepared: Prepared, composite: Composite, pending: Collection[str], workers: int) -> Size:
    """Estimate what the pending units of a composite write, and the mosaics after them.

    Parameters
    ----------
    pending : collection of str
        Names of the units that are to be done.
    """
    kept = float(sum(_rows(prepared, composite, pending)))
    units = [unit for unit in export_units(prepared, composite) if unit.id in pending]
    if not units or not composite.outputs.cog:
        return Size(int(kept), 0)
    files = of_files(all_layers(prepared.run.campaign, composite))
    frames = {tile: prepared.frame(tile) for tile in prepared.acquisitions}
    for unit in units:
        kept += sum(_raw(frames[str(unit.args["tile"])], some) for some in files.values()) * _COMPRESSED * _OVERVIEWS
    largest = max(_raw(frame, some) for frame in frames.values() for some in files.values())
    passing = largest * _OVERVIEWS * min(workers, len(units))
    if isinstance(composite.outputs.mosaic, Mosaic):
        covered, whole = _mosaic_pixels(list(frames.values()), composite.outputs.mosaic)
        widths = [sum(np.dtype(layer.dtype).itemsize for layer in some) for some in files.values()]
        kept += covered * sum(widths) * len({unit.args["period"] for unit in units}) * _COMPRESSED * _OVERVIEWS
        passing = max(passing, whole * max(widths) * _OVERVIEWS)
    return Size(int(kept), int(passing))


def _rows(prepared: Prepared, composite: Composite, pending: Collection[str]) -> Iterator[float]:
    """Bytes of the shards of each pending row."""
    campaign = prepared.run.campaign
    steps = intervals(campaign, composite)
    always = set(STEPPING) & set(composite.methods)
    for tile, acquisitions in prepared.acquisitions.items():
        frame = prepared.frame(tile)
        periods = len(steps) if always else sum(bool(step.positions(acquisitions)) for step in steps)
        for group in groups(composite, campaign.ref):
            rows, columns = frame.shapes[group.resolution_m]
            edge = frame.edges[group.resolution_m]
            width = sum(np.dtype(layer.dtype).itemsize for layer in layers(composite, group))
            for row in range(frame.windows(group.resolution_m)[0]):
                if row_id(composite, tile, group, row) in pending:
                    yield min(edge, rows - row * edge) * columns * width * periods * _COMPRESSED


def _raw(frame: Frame, some: Sequence[Layer]) -> int:
    """Bytes of a file of a tile, not compressed."""
    rows, columns = frame.shapes[some[0].resolution_m]
    return rows * columns * sum(np.dtype(layer.dtype).itemsize for layer in some)


def _mosaic_pixels(frames: Sequence[Frame], mosaic: Mosaic) -> tuple[float, float]:
    """Pixels of a mosaic that tiles cover, at most, and all of its pixels."""
    boxes = np.array([transform_bounds(f"EPSG:{frame.epsg}", mosaic.crs, *frame.bounds) for frame in frames])
    whole = np.prod(boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)) / mosaic.resolution**2
    covered = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).sum() / mosaic.resolution**2
    return float(min(covered, whole)), float(whole)

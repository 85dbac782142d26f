"""Periods of a composite as a collection: its layers by region, decoded, of all tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.files import digest_json
from hpckit.campaign.composite import Composite
from hpckit.cubes.arrays import read_array, shard_key
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.objects import objects_at
from hpckit.cubes.region import read_region
from hpckit.errors import CubeError, GraphError
from hpckit.processgraph.process import Request
from hpckit.processgraph.times import Period, instant
from hpckit.reduce.composites.hierarchy import PERIODS_PER_SHARD
from hpckit.reduce.composites.products import Layer
from hpckit.reduce.composites.units import all_layers, inputs, intervals, zarr_path
from hpckit.reduce.graphs.collection import Collection
from hpckit.reduce.graphs.placing import Placed, place
from hpckit.reduce.graphs.source import CollectionSource
from hpckit.reduce.graphs.stored import StoredBand
from hpckit.reduce.graphs.wanted import Wanted
from hpckit.sensors.bands import Band, BandRef
from hpckit.space.box import Box
from hpckit.space.windows import Windows

Values = npt.NDArray[Any]
_SHOWN: Final = 12


@dataclass(frozen=True)
class CompositeSource(CollectionSource):
    """A composite as a cube `t, bands, y, x` of float32, NaN where there are no data.

    Labels of `t` are the first days of the periods (`2024-05-01`), of `bands` the layers (`B04_median`).
    """

    composite: Composite

    @cached_property
    def inputs(self) -> str:
        """Digest of what its pixels are made from."""
        made_of = {item.tile: inputs(self.collection.tiles, self.composite, item.tile) for item in self.placing.tiles}
        return digest_json([made_of, self.wanted.dates, [ref.key for _, ref in self.wanted.bands], str(self.grid)])[
            :16
        ]

    def _stored(self, placed: Placed, ref: BandRef) -> StoredLayer:
        return StoredLayer(self.collection, placed.frame, ref, placed.windows[ref.key], self.composite)


@dataclass(frozen=True)
class StoredLayer(StoredBand):
    """A layer of a composite of a tile."""

    composite: Composite

    def read(self, dates: Sequence[int], box: Box) -> Values:
        """Stored numbers of a rectangle, at some periods by their positions.

        Raises
        ------
        CubeError
            If the composite is not made in a window that is read.
        """
        windows = self._touched(box) & self.windows
        found = np.full((len(dates), *box.shape), self._empty, self.ref.dtype)
        if not windows.any():
            return found
        self._require_made(dates, windows)
        path = zarr_path(self.collection.tiles.campaign, self.composite)
        array = read_array(objects_at(path), f"{self.frame.tile}/{self.ref.group}/{self.ref.name}")
        first = min(dates)
        every = read_region(array, box, range(first, max(dates) + 1), windows=windows)
        found[:] = every[[date - first for date in dates]]
        for row, column in np.argwhere(self._touched(box) & ~self.windows).tolist():
            edge = self.frame.edges[self.ref.resolution_m]
            part = Box(row * edge, column * edge, (row + 1) * edge, (column + 1) * edge).moved(-box.top, -box.left)
            inner = part.within(box.shape)
            found[:, inner.top : inner.bottom, inner.left : inner.right] = self._empty
        return found

    @property
    def _empty(self) -> float:
        return float("nan") if self.ref.dtype == "float32" else 0

    def _require_made(self, dates: Sequence[int], windows: Windows) -> None:
        """Refuse a composite that is not what it should be now."""
        tiles, tile = self.collection.tiles, self.frame.tile
        manifest = Manifest.load(zarr_path(tiles.campaign, self.composite), [tile])
        wanted = (inputs(tiles, self.composite, tile),)
        for row, column in np.argwhere(windows).tolist():
            for block in {date // PERIODS_PER_SHARD for date in dates}:
                record = manifest.get(shard_key(tile, self.ref, block, row, column))
                if record is None or record.inputs != wanted:
                    raise CubeError(
                        f"composite {self.composite.name!r} of {tiles.campaign.path} is not made, or not of all "
                        f"dates, in window {row}, {column} of tile {tile}",
                        hint=f"`hpckit run {tiles.campaign.path}` makes it",
                    )


def open_composite(collection: Collection, name: str, request: Request) -> CompositeSource:
    """Open a composite of a campaign for what is asked of it.

    Raises
    ------
    GraphError
        If there is no such composite or layer; `NoDataAvailable` if no period lies in the times.
    """
    campaign = collection.tiles.campaign
    known = {composite.name: composite for composite in campaign.composites}
    if name not in known:
        raise GraphError(
            f"campaign {campaign.name!r} has no composite {name!r}", hint=f"it has {', '.join(known) or 'none'}"
        )
    bands = _bands(all_layers(campaign, known[name]), name, request.bands)
    wanted = Wanted(bands, request.area, _periods(collection, known[name], request.period))
    return CompositeSource(collection, wanted, place(collection, wanted), known[name])


def _bands(layers: Sequence[Layer], composite: str, names: Sequence[str] | None) -> tuple[tuple[str, BandRef], ...]:
    known = {layer.name: layer for layer in layers}
    if names is None:
        names = [layer.name for layer in layers if layer.content in ("values", "deviations")]
    unknown = [name for name in names if name not in known]
    if unknown:
        shown = ", ".join(list(known)[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
        raise GraphError(
            f"composite {composite!r} has no layer {unknown[0]!r}", hint=f"it has {shown}", fault="BandNotFound"
        )
    return tuple((name, _as_ref(known[name])) for name in names)


def _as_ref(layer: Layer) -> BandRef:
    """A layer as a band of its own, whose numbers are decoded as the layer's."""
    size = layer.resolution_m
    nodata = 0 if layer.nodata == 0 else None  # NaN of floats is no number to look for
    band = Band(
        layer.name, size, "value", (size,), dtype=layer.dtype, nodata=nodata, scale=layer.scale, offset=layer.offset
    )
    return BandRef(layer.name, size, band)


def _periods(
    collection: Collection, composite: Composite, period: Period | None
) -> tuple[tuple[str, dict[str, int]], ...]:
    """First days of the periods, and their positions on the axis of each tile."""
    found: dict[str, dict[str, int]] = {}
    for tile in sorted(collection.tiles.acquisitions):
        for position, item in enumerate(intervals(collection.tiles, composite, tile)):
            found.setdefault(item.start.isoformat(), {})[tile] = position
    kept = [day for day in sorted(found) if _lies_in(day, period)]
    if not kept:
        raise GraphError(
            f"composite {composite.name!r} has no period that begins in `period`",
            hint=f"its periods begin on {', '.join(sorted(found)[:_SHOWN])}",
            fault="NoDataAvailable",
        )
    return tuple((day, found[day]) for day in kept)


def _lies_in(day: str, period: Period | None) -> bool:
    moment = instant(day)
    return period is None or (moment is not None and moment in period)

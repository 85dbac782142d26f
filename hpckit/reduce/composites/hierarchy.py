"""The Zarr group of a composite: `<name>.zarr/<tile>/<r10m>/<B04_median>[time, y, x]`, one period per time step.

Windows, chunks and coordinates are those of the cube; a shard holds a window of sixteen periods.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hpckit.cubes import attributes
from hpckit.cubes.arrays import Array, ArrayGroup, Coordinate, Files, array_key, positions, tile_files
from hpckit.cubes.held import WHOLE, Held
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.multiscales import kept
from hpckit.cubes.objects import Objects
from hpckit.cubes.shards import ChunkGrid
from hpckit.reduce.composites.periods import Interval
from hpckit.reduce.composites.products import Layer
from hpckit.space.frame import Frame

PERIODS_PER_SHARD: Final = 16
LEVEL: Final = 3
"""Of Zstandard."""
PERIODS: Final = "hpckit:periods"
"""Attribute of a group that lists the labels of its time steps."""
_EPOCH: Final = dt.date(1970, 1, 1)
_TIME: Final = {
    "standard_name": "time",
    "long_name": "first day of the period",
    "units": "days since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "axis": "T",
    "bounds": "time_bounds",
}


def days_since_epoch(day: dt.date) -> int:
    """Days since 1970-01-01."""
    return (day - _EPOCH).days


def chunk_grid(spec: CubeSpec, resolution_m: int) -> ChunkGrid:
    """How windows of a resolution are cut: as those of the cube, always in shards."""
    return replace(spec, sharding=True).chunks(resolution_m)


def files(
    objects: Objects,
    spec: CubeSpec,
    frame: Frame,
    layers: Sequence[Layer],
    periods: Sequence[Interval],
    held: Held = WHOLE,
) -> Files:
    """Metadata and coordinates of a tile.

    Parameters
    ----------
    held : Held
        Windows that are composed: arrays have the whole shape, and name these windows.
    """
    groups = _groups(objects, spec, frame, layers, periods, held)
    notes = attributes.tile_attributes(frame.tile, spec.grid, spec.sensor) | kept(objects, frame.tile)
    return tile_files(frame.tile, notes, groups)


def _groups(
    objects: Objects,
    spec: CubeSpec,
    frame: Frame,
    layers: Sequence[Layer],
    periods: Sequence[Interval],
    held: Held,
) -> Iterator[ArrayGroup]:
    bounds = np.array([(days_since_epoch(item.start), days_since_epoch(item.end) + 1) for item in periods], "<i8")
    along_time = {
        "time": Coordinate(bounds[:, 0].copy(), ("time",), _TIME),
        "time_bounds": Coordinate(bounds, ("time", "bounds"), {}),
    }
    for resolution_m in sorted({layer.resolution_m for layer in layers}):
        grid, mine = chunk_grid(spec, resolution_m), [item for item in layers if item.resolution_m == resolution_m]
        shape = (len(periods), *frame.shapes[resolution_m])
        windows = {} if held.is_whole else attributes.windows_attribute(held.wanted(frame, resolution_m))
        arrays = [
            Array(
                objects,
                array_key(frame.tile, layer),
                shape,
                layer.dtype,
                PERIODS_PER_SHARD,
                grid,
                level=LEVEL,
                attributes={**_notes(layer), **windows},
            )
            for layer in mine
        ]
        notes = {**attributes.group_attributes(frame, resolution_m), PERIODS: [item.label for item in periods]}
        coordinates = positions(frame, resolution_m, 0) | along_time
        yield ArrayGroup(f"{frame.tile}/{mine[0].group}", arrays, coordinates, notes)


def _notes(layer: Layer) -> dict[str, Any]:
    notes: dict[str, Any] = {"long_name": f"{layer.band}, {layer.method}", "grid_mapping": "spatial_ref"}
    if layer.content == "date":
        return {**notes, "units": "days since 1970-01-01", "_FillValue": 0}
    if layer.content == "count":
        return {**notes, "units": "1"}
    if layer.dtype == "float32":
        return {**notes, "units": "1"}
    return {**notes, "scale_factor": layer.scale, "add_offset": layer.offset, "_FillValue": 0}

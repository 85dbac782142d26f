"""Raster results as Zarr: `<name>.zarr/<output>/<band>[time, y, x]`, a window with sixteen planes in each shard.

All dimensions that are neither bands nor spatial lie along `time`, in their order; the attribute `hpckit:dimensions`
of the group says which these are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from hpckit.cubes import attributes
from hpckit.cubes.arrays import Array, ArrayGroup, Coordinate, Files, empty_groups
from hpckit.cubes.manifest import ShardRecord
from hpckit.cubes.objects import Objects
from hpckit.cubes.region import read_region
from hpckit.cubes.shards import ChunkGrid, encode_chunk
from hpckit.cubes.shardwriter import write_shard
from hpckit.processgraph.cube import NODATA, Cube, Dimension, Grid
from hpckit.processgraph.times import instant
from hpckit.space.box import Box

Values = npt.NDArray[Any]
PLANES_PER_SHARD: Final = 16
LEVEL: Final = 3
"""Of Zstandard."""
_CHUNK: Final = 256
_PLAIN: Final = "values"
"""Name of the array of a result without bands."""


@dataclass(frozen=True)
class RasterResult:
    """A raster result in a hierarchy.

    Parameters
    ----------
    objects : Objects
        Of the hierarchy.
    key : str
        Its group.
    type : Cube
        The result without pixels.
    edge : int
        Of a window, in pixels.
    """

    objects: Objects
    key: str
    type: Cube
    edge: int

    @property
    def grid(self) -> Grid:
        """All pixels."""
        assert self.type.grid is not None
        return self.type.grid

    @cached_property
    def _bands(self) -> Dimension | None:
        return next(self.type.of_kind("bands"), None)

    @cached_property
    def _others(self) -> tuple[Dimension, ...]:
        return tuple(dim for dim in self.type.dims if dim.kind != "spatial" and dim is not self._bands)

    @property
    def planes(self) -> int:
        """Of one band: length of the axis `time`."""
        return prod(len(dim.labels) for dim in self._others)

    @cached_property
    def arrays(self) -> tuple[Array, ...]:
        """One for each band."""
        grid = ChunkGrid(self.edge, min(_CHUNK, self.edge))
        dtype = _stored(self.type.values.dtype)
        shape = (self.planes, *self.grid.shape)
        nodata = {"_FillValue": self.type.attributes[NODATA]} if NODATA in self.type.attributes else {}
        names = _array_names([] if self._bands is None else [str(label) for label in self._bands.labels])
        return tuple(
            Array(
                self.objects,
                f"{self.key}/{name}",
                shape,
                dtype,
                PLANES_PER_SHARD,
                grid,
                level=LEVEL,
                attributes={"long_name": label, "grid_mapping": "spatial_ref", **nodata},
            )
            for name, label in names
        )

    @property
    def windows(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        rows, columns = self.grid.shape
        return -(-rows // self.edge), -(-columns // self.edge)

    def box(self, row: int, column: int) -> Box:
        """Pixels of a window."""
        top, left = row * self.edge, column * self.edge
        return Box(top, left, top + self.edge, left + self.edge).within(self.grid.shape)

    def files(self) -> Files:
        """Metadata and coordinates."""
        along = {"time": self._time(), **_positions(self.grid)}
        notes = {"hpckit:dimensions": [_described(dim) for dim in self.type.dims]}
        yield from empty_groups([""])
        yield from ArrayGroup(self.key, self.arrays, along, notes).files()

    def shards(self, row: int, column: int) -> Iterator[tuple[Array, int, str]]:
        """Array, block of planes and key of each shard of a window."""
        for array in self.arrays:
            for block in range(-(-self.planes // PLANES_PER_SHARD)):
                yield array, block, f"{array.key}/c/{block}/{row}/{column}"

    def write(self, found: Cube, row: int, column: int, inputs: str) -> list[ShardRecord]:
        """Write the shards of a window.

        Parameters
        ----------
        found : Cube
            The result in the window.
        inputs : str
            Digest of what it was made from.
        """
        stack = self._stack(found)
        grid = self.arrays[0].grid
        records = []
        for number, (array, block, key) in enumerate(self.shards(row, column)):
            band = number // max(1, -(-self.planes // PLANES_PER_SHARD))
            first = block * PLANES_PER_SHARD
            chunks = [
                encode_chunk(part, grid.chunk, array.level)
                for plane in stack[band, first : first + PLANES_PER_SHARD]
                for part in _cut(plane, grid)
            ]
            chunks += [None] * (array.chunks_per_shard - len(chunks))
            records.append(write_shard(self.objects, key, chunks, (inputs,)))
        return records

    def read(self, box: Box) -> Cube:
        """Pixels of a part of the grid, as they were computed.

        Raises
        ------
        ShardError
            If a shard is gone or damaged.
        """
        stack = np.stack([read_region(array, box) for array in self.arrays])
        own = [] if self._bands is None else [self._bands]
        shape = [len(dim.labels) for dim in (*own, *self._others)]
        values = stack.reshape(*shape, *box.shape).astype(self.type.values.dtype, copy=False)
        dims = [*own, *self._others, *self._spatial]
        order = [[dim.name for dim in dims].index(dim.name) for dim in self.type.dims]
        return replace(self.type, values=values.transpose(order), box=box)

    @cached_property
    def _spatial(self) -> tuple[Dimension, Dimension]:
        y = next(dim for dim in self.type.dims if dim.axis == "y")
        return y, next(dim for dim in self.type.dims if dim.axis == "x")

    def _stack(self, found: Cube) -> Values:
        """Values by band, plane, row and column."""
        own = [] if self._bands is None else [self._bands]
        order = [found.axis(dim.name) for dim in (*own, *self._others, *self._spatial)]
        values = found.values.transpose(order)
        stack = values.reshape(len(self.arrays), self.planes, *values.shape[-2:])
        return stack.astype(self.arrays[0].dtype, copy=False)

    def _time(self) -> Coordinate:
        """Times of the planes; their numbers, if they are not times alone."""
        if len(self._others) == 1 and self._others[0].kind == "temporal":
            moments = [instant(label) for label in self._others[0].labels]
            if all(moment is not None for moment in moments):
                seconds = np.array([round(moment.timestamp()) for moment in moments if moment is not None], "<i8")
                return Coordinate(seconds, ("time",), attributes.TIME)
        names = ", ".join(dim.name for dim in self._others) or "nothing"
        return Coordinate(
            np.arange(self.planes, dtype="<i8"), ("time",), {"long_name": f"number of a plane: {names}"}
        )


def _cut(plane: Values, grid: ChunkGrid) -> Iterator[Values]:
    """Chunks of a plane of a window, in C order; empty ones beyond its end."""
    starts = range(0, grid.window, grid.chunk)
    for row in starts:
        for column in starts:
            yield plane[row : row + grid.chunk, column : column + grid.chunk]


def _stored(dtype: np.dtype[Any]) -> str:
    """Data type on the disk."""
    return "uint8" if dtype.kind == "b" else "float32" if dtype == np.float16 else dtype.name


def _array_names(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Name of the array of each band, as it may stand in paths, and its label."""
    found: list[tuple[str, str]] = []
    taken = {"time", "x", "y", "spatial_ref"}
    for number, label in enumerate(labels):
        clear = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-") else "-" for sign in label)
        name = clear if clear and clear not in taken else f"{clear}-{number}"
        taken.add(name)
        found.append((name, label))
    return found or [(_PLAIN, _PLAIN)]


def _described(dim: Dimension) -> dict[str, Any]:
    return {"name": dim.name, "kind": dim.kind, "axis": dim.axis, "labels": list(dim.labels)}


def _positions(grid: Grid) -> Mapping[str, Coordinate]:
    crs = pyproj.CRS.from_user_input(grid.crs)
    x, y = attributes.X, attributes.Y
    if crs.is_geographic:
        x = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"}
        y = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"}
    wkt = crs.to_wkt()
    place = (grid.left, grid.dx, 0.0, grid.top, 0.0, grid.dy)
    notes = {
        **crs.to_cf(),
        "crs_wkt": wkt,
        "spatial_ref": wkt,
        "GeoTransform": " ".join(map(repr, map(float, place))),
    }
    return {
        "y": Coordinate(grid.ys(grid.box), ("y",), y, "NaN"),
        "x": Coordinate(grid.xs(grid.box), ("x",), x, "NaN"),
        "spatial_ref": Coordinate(np.array(0, "<i8"), (), notes),
    }

"""Cubes in the order in which files hold them, in windows that fit the memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Band, Cube, Dimension, Label, Values
from hpckit.processgraph.times import instant
from hpckit.reduce.graphs.formats.result import grid_of
from hpckit.space.box import Box

_SHORTEST: Final = len("2024-03-01")
WINDOW_BYTES: Final = 32 << 20
"""Of one window of a result: a graph needs a multiple of it to compute it."""
EDGES: Final = (2048, 1024, 512, 256, 128, 64)
"""Of windows, in pixels."""


def unsuitable(message: str, hint: str | None = None) -> GraphError:
    """A result that a format cannot hold."""
    return GraphError(message, hint=hint, fault="FormatUnsuitable")


def number_type(kind: Cube) -> np.dtype[np.generic]:
    """Data type in files: booleans are bytes, half precision is single.

    Raises
    ------
    GraphError
        `FormatUnsuitable` if the cube holds texts, dates or complex numbers.
    """
    dtype = kind.values.dtype
    if dtype.kind == "b":
        return np.dtype("u1")
    if dtype == np.float16:
        return np.dtype("f4")
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return dtype.newbyteorder("=")
    held = "texts or dates" if dtype.kind in "OUSM" else f"values of type {dtype}"
    raise unsuitable(f"the result holds {held}, and the format only numbers", hint="save it as JSON or CSV")


def as_numbers(values: Values, dtype: np.dtype[np.generic]) -> Values:
    """Values in the data type of the file."""
    return values if values.dtype == dtype else values.astype(dtype)


@dataclass(frozen=True, slots=True)
class Layout:
    """The dimensions of a result in the order of files: time, bands, others, then geometries, or y and x."""

    dims: tuple[Dimension, ...]

    @property
    def time(self) -> Dimension | None:
        """The first temporal dimension."""
        return next((dim for dim in self.dims if dim.kind == "temporal"), None)

    @property
    def bands(self) -> Dimension | None:
        """The dimension of bands; without one, a dimension of neither time nor space, as `apply_dimension` makes."""
        others = [dim for dim in self.dims if dim.kind == "other"]
        return next((dim for dim in self.dims if dim.kind == "bands"), others[0] if len(others) == 1 else None)

    @property
    def others(self) -> tuple[Dimension, ...]:
        """Dimensions that are not the time, bands, geometries, x or y."""
        known = {id(self.time), id(self.bands)}
        return tuple(dim for dim in self.dims if id(dim) not in known and dim.kind not in ("geometry", "spatial"))

    @property
    def labelled(self) -> tuple[Dimension, ...]:
        """All dimensions but those of space."""
        return tuple(dim for dim in self.dims if dim.kind not in ("geometry", "spatial"))

    @property
    def labels_of_time(self) -> tuple[Label, ...] | tuple[None]:
        """Labels along time; one None if there is no time."""
        return self.time.labels if self.time else (None,)

    @property
    def names_of_bands(self) -> tuple[str, ...]:
        """Names of bands; `var` if there are none, as other back-ends name it."""
        return tuple(map(text, self.bands.labels)) if self.bands else ("var",)

    def known_of(self, band: int) -> Band:
        """What is known of a band beside its name."""
        return self.bands.bands[band] if self.bands is not None and self.bands.bands else Band()

    def arranged(self, cube: Cube) -> Values:
        """Values of a part of the cube, with axes in this order."""
        names = cube.names
        return cube.values.transpose([names.index(dim.name) for dim in self.dims])

    def by_time_and_band(self, cube: Cube) -> Values:
        """Values with axes of time and bands first, of length 1 where there is no such dimension."""
        values = self.arranged(cube)
        if self.time is None:
            values = values[np.newaxis]
        return values if self.bands is not None else np.expand_dims(values, 1)


def layout_of(kind: Cube) -> Layout:
    """Layout of a cube."""
    order = {"temporal": 0, "bands": 1, "other": 2, "geometry": 3, "spatial": 4}
    axes = {"": 0, "z": 0, "y": 1, "x": 2}
    times = [dim for dim in kind.dims if dim.kind == "temporal"]

    def place(dim: Dimension) -> tuple[int, int]:
        if dim.kind == "temporal" and dim is not times[0]:
            return order["other"], 0
        return (order["other"], 0) if dim.axis == "z" else (order[dim.kind], axes[dim.axis])

    return Layout(tuple(sorted(kind.dims, key=place)))


def edge_of(kind: Cube) -> int:
    """Edge of square windows of which each has at most `WINDOW_BYTES`, or the smallest edge."""
    each = kind.values.dtype.itemsize
    for dim in kind.dims:
        if dim.kind != "spatial" or dim.axis not in ("x", "y"):
            each *= max(1, len(dim.labels))
    return next((edge for edge in EDGES if edge * edge * each <= WINDOW_BYTES), EDGES[-1])


def windows(kind: Cube, edge: int, within: Box | None = None) -> Iterator[Box]:
    """Boxes of a result's grid, row by row; their edges are multiples of `edge` from the corner of `within`."""
    area = grid_of(kind).box if within is None else within
    for top in range(area.top, area.bottom, edge):
        for left in range(area.left, area.right, edge):
            yield Box(top, left, min(top + edge, area.bottom), min(left + edge, area.right))


def groups(kind: Cube) -> Iterator[range]:
    """Groups of geometries of a vector cube of which each has at most `WINDOW_BYTES`."""
    assert kind.geometries is not None, "a vector cube has geometries"
    each = max(8, kind.values.dtype.itemsize)
    for dim in kind.dims:
        each *= max(1, len(dim.labels)) if dim.kind != "geometry" else 1
    count, step = len(kind.geometries), max(1, WINDOW_BYTES // each)
    for first in range(0, count, step):
        yield range(first, min(first + step, count))


def text(label: Label) -> str:
    """A label as text: whole numbers without a fraction."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def moment(label: Label | None) -> dt.datetime | None:
    """A temporal label as a moment in UTC; None if it is none, as after `rename_labels`."""
    # `2024-05` may be a month, a week or a dekad, so it stays a text.
    return instant(label) if isinstance(label, str) and len(label) >= _SHORTEST else None


def rfc3339(label: Label | None) -> str | None:
    """A temporal label as RFC 3339 wants a moment; None if it is none."""
    found = moment(label)
    return None if found is None else found.isoformat().replace("+00:00", "Z")

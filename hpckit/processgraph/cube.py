"""Data cubes: pixels with named, labelled dimensions, and the grid on which the pixels of a whole cube lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hpckit.errors import GraphError
from hpckit.space.box import Box

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Values = npt.NDArray[Any]
NODATA: Final = "nodata"
"""Attribute of cubes of integers: the number that stands for no data."""
Kind = Literal["spatial", "temporal", "bands", "geometry", "other"]
Label = str | float
"""Of bands and others a text or number; of time a text by RFC 3339, such as `2024-03-01T10:50:31Z`."""

NOTHING: Final = Box(0, 0, 0, 0)
"""The part of a grid that has no pixel: what types are inferred from."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The lattice and the extent of a cube's pixels: all of them, whichever part is computed."""

    crs: str
    """`EPSG:32632`, or WKT 2."""
    left: float
    """Outer corner of the first pixel, in units of the CRS."""
    top: float
    dx: float
    """Size of a pixel along x; negative where x falls."""
    dy: float
    """Step from a row to the next; negative where north is up."""
    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.rows, self.columns

    @property
    def box(self) -> Box:
        """All pixels."""
        return Box(0, 0, self.rows, self.columns)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in the CRS."""
        x, y = self.left + self.columns * self.dx, self.top + self.rows * self.dy
        return min(self.left, x), min(self.top, y), max(self.left, x), max(self.top, y)

    def xs(self, box: Box) -> Values:
        """Centres of columns of a part."""
        return centres(self.left, self.dx, box.left, box.right)

    def ys(self, box: Box) -> Values:
        """Centres of rows of a part."""
        return centres(self.top, self.dy, box.top, box.bottom)

    def part(self, box: Box) -> Grid:
        """The grid of a part of the pixels."""
        left, top = self.left + box.left * self.dx, self.top + box.top * self.dy
        return replace(self, left=left, top=top, rows=box.shape[0], columns=box.shape[1])

    def box_of(self, bounds: Sequence[float]) -> Box:
        """Pixels that bounds (west, south, east, north in the CRS) touch; they may lie beyond the grid."""
        columns = sorted(((bounds[0] - self.left) / self.dx, (bounds[2] - self.left) / self.dx))
        rows = sorted(((bounds[1] - self.top) / self.dy, (bounds[3] - self.top) / self.dy))
        return Box(_down(rows[0]), _down(columns[0]), _up(rows[1]), _up(columns[1]))

    def offset_in(self, other: Grid) -> tuple[int, int] | None:
        """Row and column of its first pixel in another grid of the same lattice; None if the lattices differ."""
        if self.crs != other.crs or not _close(self.dx, other.dx) or not _close(self.dy, other.dy):
            return None
        column, row = (self.left - other.left) / other.dx, (self.top - other.top) / other.dy
        if abs(column - round(column)) > _SAME_PIXEL or abs(row - round(row)) > _SAME_PIXEL:
            return None
        return round(row), round(column)

    def geobox(self, box: Box) -> GeoBox:
        """Shape, affine transform and CRS of a part."""
        from affine import Affine
        from odc.geo.geobox import GeoBox

        part = self.part(box)
        return GeoBox(part.shape, Affine(part.dx, 0, part.left, 0, part.dy, part.top), part.crs)


_SAME_PIXEL: Final = 1e-3
"""Of a pixel, by which two lattices may differ and still be one."""
_ROUNDING: Final = 1e-6


def centres(first: float, step: float, begin: int, end: int) -> Values:
    """Centres of pixels along an axis, from the outer corner of its first pixel on."""
    return first + (np.arange(begin, end) + 0.5) * step


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9)


def _down(value: float) -> int:
    return math.floor(value + _ROUNDING)


def _up(value: float) -> int:
    return math.ceil(value - _ROUNDING)


@dataclass(frozen=True, slots=True)
class Band:
    """What is known of a band beside its name."""

    common_name: str = ""
    """Of STAC's list: `red`, `nir`, `swir16`; empty if it has none."""
    wavelength: float | None = None
    """Of its centre, in micrometres."""
    clouds: tuple[int, ...] = ()
    """Classes that are clouds, of a band that masks them."""
    shadows: tuple[int, ...] = ()
    """Classes that are shadows of clouds."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """An axis of a cube."""

    name: str
    kind: Kind
    labels: tuple[Label, ...] = ()
    """None for x and y of a grid, and for geometries: their labels are where they lie."""
    axis: Literal["x", "y", "z", ""] = ""
    """Of a spatial dimension."""
    crs: str = ""
    """Of a dimension of geometries."""
    bands: tuple[Band, ...] = ()
    """One for each label of a dimension of bands; empty if nothing is known of them."""

    def at(self, places: Sequence[int]) -> Dimension:
        """The dimension with some of its labels, by their positions."""
        bands = tuple(self.bands[place] for place in places) if self.bands else ()
        return replace(self, labels=tuple(self.labels[place] for place in places), bands=bands)


@dataclass(frozen=True, slots=True)
class Geometries:
    """The geometries of a vector cube: all of them, whichever part is computed."""

    shapes: npt.NDArray[Any]
    """Shapely geometries, shape (geometries,)."""
    crs: str
    ids: tuple[Any, ...] = ()
    """`id` of features, or None each; empty if there are none."""
    properties: tuple[dict[str, Any], ...] = ()
    """Of features; empty if there are none."""

    def __len__(self) -> int:
        """Number of geometries."""
        return len(self.shapes)


@dataclass(frozen=True)
class Cube:
    """A data cube, or the part of one that was asked for.

    Parameters
    ----------
    values : ndarray
        One axis for each dimension, in their order. Of floating-point numbers NaN is null; booleans and integers have
        no null. An array of objects holds texts or dates.
    dims : tuple of Dimension
        With x and y of a raster cube last, unless somebody ordered them otherwise.
    grid : Grid, optional
        Of the whole cube; None once x or y are gone.
    box : Box, optional
        Which pixels of the grid `values` has.
    geometries : Geometries, optional
        Of the whole vector cube.
    features : range or tuple of int, optional
        Which geometries `values` has; ascending.
    """

    values: Values
    dims: tuple[Dimension, ...]
    grid: Grid | None = None
    box: Box | None = None
    geometries: Geometries | None = None
    features: range | tuple[int, ...] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    """Of bands and others, kept for files. Processes read two: `backscatter`, the coefficient of calibrated radar
    (`gamma0-ellipsoid`), and `reflectance`, which is `surface` where the atmosphere is corrected."""
    samples: Geometries | None = None
    """Features that a raster cube was filtered by: result files may be one for each of them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return tuple(dim.name for dim in self.dims)

    def dim(self, name: str) -> Dimension:
        """A dimension by its name.

        Raises
        ------
        GraphError
            `DimensionNotAvailable`, with the names that there are.
        """
        return self.dims[self.axis(name)]

    def axis(self, name: str) -> int:
        """Position of a dimension.

        Raises
        ------
        GraphError
            `DimensionNotAvailable`, with the names that there are.
        """
        for place, dim in enumerate(self.dims):
            if dim.name == name:
                return place
        listed = ", ".join(self.names) or "none"
        raise GraphError(
            f"the cube has no dimension {name!r}",
            hint=f"its dimensions are {listed}",
            fault="DimensionNotAvailable",
        )

    def of_kind(self, kind: Kind) -> Iterator[Dimension]:
        """Dimensions of a kind."""
        return (dim for dim in self.dims if dim.kind == kind)

    @property
    def is_raster(self) -> bool:
        """Whether it has x and y."""
        return self.grid is not None

    def with_values(self, values: Values, dims: Sequence[Dimension] | None = None) -> Cube:
        """The same cube with other values, and other dimensions that are not spatial."""
        return replace(self, values=values, dims=self.dims if dims is None else tuple(dims))

    def moved(self, name: str, to: int) -> Cube:
        """The cube with a dimension at another position."""
        place = self.axis(name)
        order = [number for number in range(len(self.dims)) if number != place]
        order.insert(to if to >= 0 else len(self.dims) + to, place)
        return replace(self, values=self.values.transpose(order), dims=tuple(self.dims[place] for place in order))

    def at(self, name: str, places: Sequence[int]) -> Cube:
        """The cube with some labels of a dimension that is not spatial; a view where these are neighbours."""
        axis = self.axis(name)
        if list(places) == list(range(len(self.dims[axis].labels))):
            return self
        first = places[0] if len(places) else 0
        run = list(places) == list(range(first, first + len(places)))
        chosen: Any = slice(first, first + len(places)) if run else np.asarray(places, dtype=np.intp)
        dims = list(self.dims)
        dims[axis] = dims[axis].at(places)
        return self.with_values(self.values[(slice(None),) * axis + (chosen,)], dims)

    def without(self, name: str) -> tuple[Dimension, ...]:
        """All dimensions but one."""
        return tuple(dim for dim in self.dims if dim.name != name)

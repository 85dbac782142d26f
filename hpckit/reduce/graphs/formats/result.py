"""What is written, and what is said of files that are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from hpckit.processgraph.cube import Cube, Grid
from hpckit.processgraph.process import Asked, Value
from hpckit.reduce.graphs.formats.folder import Folder

DataType = Literal["raster", "vector", "table", "other"]
"""Words of openEO's `gis_data_types`."""


class Result(Protocol):
    """The result of a graph, read part by part."""

    @property
    def type(self) -> Value:
        """The cube without pixels; any value if the result is no cube."""

    def read(self, asked: Asked) -> Value:
        """A part: pixels of the grid, some geometries, or all (None)."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the valid numbers of a band in one file; None where there are none."""

    minimum: float | None
    maximum: float | None
    mean: float | None
    stddev: float | None
    valid_percent: float


@dataclass(frozen=True, slots=True)
class BandOfFile:
    """A band of a file."""

    name: str
    dtype: str
    nodata: float | None = None
    statistics: Statistics | None = None
    common_name: str = ""
    wavelength: float | None = None
    """Of its centre, in micrometres."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file, or the folder of a Zarr hierarchy, that was written."""

    path: Path
    media_type: str
    title: str
    roles: tuple[str, ...] = ("data",)
    bbox: tuple[float, ...] | None = None
    """West, south, east, north in degrees; west is greater than east across the antimeridian."""
    geometry: dict[str, Any] | None = None
    """GeoJSON."""
    epsg: int | None = None
    wkt: str = ""
    """Of a CRS that has no EPSG code."""
    shape: tuple[int, int] | None = None
    """Rows, columns."""
    transform: tuple[float, ...] | None = None
    """Affine transform of pixels to coordinates: a, b, c, d, e, f."""
    start: str | None = None
    """First and last moment by RFC 3339."""
    end: str | None = None
    bands: tuple[BandOfFile, ...] = ()
    dimensions: dict[str, Any] = field(default_factory=dict)
    """`cube:dimensions` by the datacube extension of STAC."""
    feature: str = ""
    """Identifier of the feature that the file is about; empty if it is about all."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a format: its JSON schema, and how openEO clients see it."""

    description: str
    schema: Mapping[str, Any]
    default: Any = None

    def described(self) -> dict[str, Any]:
        """As `GET /file_formats` shows it; a default must be of its type, so there is none for what is left open."""
        default = {} if self.default is None else {"default": self.default}
        return {"description": self.description, **self.schema, **default}


Options = Mapping[str, Any]
"""By name, checked; options that were not given have their defaults."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format of result files."""

    name: str
    title: str
    description: str
    gis_data_types: tuple[DataType, ...]
    media_type: str
    options: Mapping[str, Option]
    check: Callable[[Value, Options], None]
    """Raises GraphError (`FormatUnsuitable`) if the format cannot hold a result of that type."""
    write: Callable[[Result, Options, Folder], Sequence[ResultFile]]
    """Writes a result that was checked into a folder."""
    aliases: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """As `GET /file_formats` shows it."""
        return {
            "title": self.title,
            "description": self.description,
            "gis_data_types": list(self.gis_data_types),
            "parameters": {name: option.described() for name, option in self.options.items()},
        }


def is_raster(kind: Value) -> bool:
    """Whether a type has pixels of a grid."""
    return isinstance(kind, Cube) and kind.grid is not None


def is_vector(kind: Value) -> bool:
    """Whether a type has geometries and no pixels."""
    return isinstance(kind, Cube) and kind.grid is None and kind.geometries is not None


def grid_of(kind: Cube) -> Grid:
    """Grid of a raster cube."""
    assert kind.grid is not None, "a raster cube has a grid"
    return kind.grid

"""Coordinates and grid mappings by the CF conventions (1.11), for netCDF and Zarr alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyproj

from hpckit.processgraph.cube import Cube, Dimension, Grid, Label, Values
from hpckit.reduce.graphs.formats.arrange import Layout, moment, text, unsuitable
from hpckit.reduce.graphs.formats.result import grid_of
from hpckit.space.box import Box

CONVENTIONS: Final = "CF-1.11"
GRID_MAPPING: Final = "crs"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A coordinate variable; texts are arrays of objects."""

    values: Values
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Variable:
    """A band in a file: its name there, and its position in the cube."""

    name: str
    band: int
    attributes: dict[str, Any]


def variables(layout: Layout, taken: Sequence[str] = ()) -> list[Variable]:
    """One variable for each band; `var` if there are no bands.

    Raises
    ------
    GraphError
        `FormatUnsuitable` if a band has the name of a dimension, or two have the same.
    """
    reserved = {dim.name for dim in layout.dims if dim is not layout.bands} | {GRID_MAPPING, *taken}
    found = []
    for number, label in enumerate(layout.names_of_bands):
        name = label.replace("/", "_").strip() or f"band{number + 1}"
        if name in reserved:
            raise unsuitable(
                f"a variable of the file cannot be called {name!r}, as another one is",
                "rename the band with rename_labels",
            )
        reserved.add(name)
        attributes: dict[str, Any] = {"long_name": label}
        wavelength = layout.known_of(number).wavelength
        if wavelength is not None:
            attributes |= {"radiation_wavelength": wavelength, "radiation_wavelength_unit": "um"}
        found.append(Variable(name, number, attributes))
    return found


def coordinates(kind: Cube, layout: Layout, box: Box | None = None) -> dict[str, Coordinate]:
    """Coordinates of all dimensions but bands and geometries, of a part of the grid."""
    found: dict[str, Coordinate] = {}
    for dim in layout.dims:
        if dim.kind in ("bands", "geometry"):
            continue
        if dim.kind == "temporal":
            found[dim.name] = _times(dim.labels)
        elif dim.axis in ("x", "y") and kind.grid is not None:
            found[dim.name] = _positions(kind.grid, dim, kind.grid.box if box is None else box)
        else:
            found[dim.name] = _labels(dim)
    return found


def _times(labels: Sequence[Label]) -> Coordinate:
    moments = [moment(label) for label in labels]
    attributes = {"standard_name": "time", "long_name": "time", "axis": "T"}
    known = [found for found in moments if found is not None]
    if len(known) < len(moments) or not moments:
        return Coordinate(np.array([text(label) for label in labels], object), {"long_name": "time"})
    whole = all(found.microsecond == 0 for found in known)
    step, unit = (dt.timedelta(seconds=1), "seconds") if whole else (dt.timedelta(microseconds=1), "microseconds")
    counts = np.array([(found - _EPOCH) // step for found in known], "i8")
    return Coordinate(counts, {**attributes, "units": f"{unit} since 1970-01-01", "calendar": "proleptic_gregorian"})


def _positions(grid: Grid, dim: Dimension, box: Box) -> Coordinate:
    crs = pyproj.CRS.from_user_input(grid.crs)
    if crs.is_geographic:
        name, unit = {"x": ("longitude", "degrees_east"), "y": ("latitude", "degrees_north")}[dim.axis]
        attributes = {"standard_name": name, "long_name": name, "units": unit}
    else:
        attributes = {
            "standard_name": f"projection_{dim.axis}_coordinate",
            "long_name": "easting" if dim.axis == "x" else "northing",
            "units": crs.axis_info[0].unit_name.replace("metre", "m") if crs.axis_info else "m",
        }
    attributes["axis"] = dim.axis.upper()
    return Coordinate(grid.xs(box) if dim.axis == "x" else grid.ys(box), attributes)


def _labels(dim: Dimension) -> Coordinate:
    attributes = {"long_name": dim.name}
    if dim.labels and all(isinstance(label, int | float) and not isinstance(label, bool) for label in dim.labels):
        return Coordinate(np.array(dim.labels, "f8"), attributes)
    return Coordinate(np.array([text(label) for label in dim.labels], object), attributes)


def grid_mapping(crs: str, grid: Grid | None = None) -> dict[str, Any]:
    """Attributes of the grid mapping variable, with GDAL's GeoTransform."""
    known = pyproj.CRS.from_user_input(crs)
    wkt = known.to_wkt()
    found = {**known.to_cf(), "crs_wkt": wkt, "spatial_ref": wkt}
    if grid is not None:
        numbers = (grid.left, grid.dx, 0.0, grid.top, 0.0, grid.dy)
        found["GeoTransform"] = " ".join(repr(float(number)) for number in numbers)
    return found


def grid_mapping_of(kind: Cube, box: Box | None = None) -> dict[str, Any]:
    """Attributes of the grid mapping of a raster, or of a part of it."""
    grid = grid_of(kind)
    return grid_mapping(grid.crs, grid if box is None else grid.part(box))

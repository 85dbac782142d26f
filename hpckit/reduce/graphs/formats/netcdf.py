"""netCDF of rasters: a variable for each band with dimensions t, y and x, and a grid mapping; whole or by feature."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyproj
import shapely

from hpckit.processgraph.cube import Cube, Geometries, Values
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import cf, place
from hpckit.reduce.graphs.formats.arrange import (
    Layout,
    as_numbers,
    edge_of,
    layout_of,
    number_type,
    unsuitable,
    windows,
)
from hpckit.reduce.graphs.formats.features import check_identifier, identifiers
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.hdf import NetCdf, netcdf
from hpckit.reduce.graphs.formats.names import safe, unique
from hpckit.reduce.graphs.formats.netcdf_features import check_table, write_table
from hpckit.reduce.graphs.formats.options import PREFIX
from hpckit.reduce.graphs.formats.result import (
    Format,
    Option,
    Options,
    Result,
    ResultFile,
    grid_of,
    is_raster,
)
from hpckit.reduce.graphs.formats.statistics import Collected, described
from hpckit.space.box import Box

MEDIA_TYPE: Final = "application/x-netcdf"
_CHUNK: Final = 512


def check(kind: Value, options: Options) -> None:
    """Refuse texts, bands named as dimensions are, and files by feature where there are no features."""
    if not isinstance(kind, Cube):
        raise unsuitable("netCDF holds data cubes, and the result is none", "save it as JSON")
    if not is_raster(kind):
        return check_table(kind, options)
    layout = layout_of(kind)
    number_type(kind)
    cf.variables(layout)
    if options["sample_by_feature"]:
        if kind.samples is None:
            raise unsuitable(
                "sample_by_feature writes a file for each feature, and the result was not filtered by features",
                "use filter_spatial before save_result, or leave the option out",
            )
        check_identifier(kind.samples, options["feature_id_property"])
    return None


def write(result: Result, options: Options, folder: Folder) -> list[ResultFile]:
    """Write one file, or one for each feature that lies on the result's grid."""
    kind: Cube = result.type
    if not is_raster(kind):
        return write_table(result, options, folder)
    prefix = options["filename_prefix"]
    if not options["sample_by_feature"]:
        (path,) = folder.claim([f"{prefix}.nc"])
        return [_write(result, path, grid_of(kind).box, "")]
    assert kind.samples is not None, "checked"
    names = unique(safe(name) for name in identifiers(kind.samples, options["feature_id_property"]))
    found = list(_boxes(kind, kind.samples))
    if not found:
        raise unsuitable("no feature lies within the result, so there is nothing to write")
    paths = folder.claim([f"{prefix}_{names[number]}.nc" for number, _ in found])
    return [_write(result, path, box, names[number]) for path, (number, box) in zip(paths, found, strict=True)]


def _boxes(kind: Cube, geometries: Geometries) -> Iterator[tuple[int, Box]]:
    """Pixels of the box around each feature; features beyond the grid have none and are left out."""
    grid = grid_of(kind)
    shapes = geometries.shapes
    if not pyproj.CRS.from_user_input(geometries.crs).equals(pyproj.CRS.from_user_input(grid.crs)):
        onto = pyproj.Transformer.from_crs(geometries.crs, grid.crs, always_xy=True)
        shapes = shapely.transform(shapes, lambda points: np.column_stack(onto.transform(points[:, 0], points[:, 1])))
    for number, bounds in enumerate(shapely.bounds(shapes).tolist()):
        if np.isfinite(bounds).all():
            box = _at_least_a_pixel(grid.box_of(bounds)).within(grid.shape)
            if not box.is_empty:
                yield number, box


def _at_least_a_pixel(box: Box) -> Box:
    """A point on the edge of a pixel has a box of none."""
    return Box(box.top, box.left, max(box.bottom, box.top + 1), max(box.right, box.left + 1))


def _write(result: Result, path: Path, area: Box, feature: str) -> ResultFile:
    kind: Cube = result.type
    layout, dtype = layout_of(kind), number_type(kind)
    variables = cf.variables(layout)
    collected = [Collected() for _ in variables]
    with netcdf(path) as file:
        targets = _prepared(file, kind, layout, area)
        for box in windows(kind, edge_of(kind), area):
            values = _bands_first(as_numbers(layout.arranged(result.read(box)), dtype), layout)
            inside = box.moved(-area.top, -area.left)
            rows, columns = slice(inside.top, inside.bottom), slice(inside.left, inside.right)
            for target, one, band in zip(targets, collected, values, strict=True):
                target[..., rows, columns] = band
                one.add(band)
    return ResultFile(
        path,
        MEDIA_TYPE,
        feature or ", ".join(variable.name for variable in variables),
        bands=described(layout, range(len(variables)), dtype, collected),
        dimensions=place.dimensions(kind),
        feature=feature,
        **place.of_grid(grid_of(kind).part(area)),
        **place.of_labels(layout.labels_of_time),
    )


def _bands_first(values: Values, layout: Layout) -> Values:
    if layout.bands is None:
        return values[np.newaxis]
    return np.moveaxis(values, layout.dims.index(layout.bands), 0)


def _prepared(file: NetCdf, kind: Cube, layout: Layout, area: Box) -> list[Any]:
    """Dimensions and empty variables, one for each band."""
    file.attributes({"Conventions": cf.CONVENTIONS})
    for name, coordinate in cf.coordinates(kind, layout, area).items():
        file.dimension(name, coordinate.values, coordinate.attributes)
    file.values(cf.GRID_MAPPING, (), np.array(0, "i4"), cf.grid_mapping_of(kind, area))
    dims = [dim.name for dim in layout.dims if dim is not layout.bands]
    side = min(_CHUNK, edge_of(kind))
    chunks = (*(1 for _ in dims[:-2]), side, side)
    boolean = {"dtype": "bool"} if kind.values.dtype.kind == "b" else {}
    return [
        file.variable(
            variable.name,
            dims,
            number_type(kind),
            {**variable.attributes, "grid_mapping": cf.GRID_MAPPING, **boolean},
            chunks,
        )
        for variable in cf.variables(layout)
    ]


FORMAT: Final = Format(
    name="netCDF",
    title="netCDF-4 (CF conventions)",
    description="A variable for each band with all other dimensions, and the CRS in the variable `crs`; null is NaN.",
    gis_data_types=("raster", "vector", "table"),
    media_type=MEDIA_TYPE,
    options={
        "filename_prefix": PREFIX,
        "sample_by_feature": Option(
            "Write a file for each feature that the result was filtered by: the pixels in the box around it.",
            {"type": "boolean"},
            False,
        ),
        "feature_id_property": Option(
            "Property of features that names them in files and names of files.", {"type": "string"}
        ),
        "stitch": Option(
            "Files always hold their whole area in one piece; the option is known for graphs of other back-ends.",
            {"type": "boolean", "enum": [True]},
            True,
        ),
    },
    check=check,
    write=write,
    aliases=("NC",),
)

"""netCDF of vector cubes and tables: time series of features (CF, discrete sampling geometries)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import shapely

from hpckit.processgraph.cube import Cube, Geometries
from hpckit.reduce.graphs.formats import cf, place
from hpckit.reduce.graphs.formats.arrange import Layout, as_numbers, groups, layout_of, number_type
from hpckit.reduce.graphs.formats.features import check_identifier, identifiers
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.hdf import NetCdf, netcdf
from hpckit.reduce.graphs.formats.options import invalid
from hpckit.reduce.graphs.formats.result import Options, Result, ResultFile
from hpckit.reduce.graphs.formats.statistics import Collected, described

FEATURE: Final = "feature"
_TAKEN: Final = (FEATURE, "feature_names", "lat", "lon")
_CHUNK: Final = 4096


def check_table(kind: Cube, options: Options) -> None:
    """Refuse texts, bands named as other variables are, and files by feature."""
    if options["sample_by_feature"]:
        raise invalid("sample_by_feature is for rasters, and the result has no x and y", "leave the option out")
    number_type(kind)
    cf.variables(layout_of(kind), _TAKEN)
    if kind.geometries is not None:
        check_identifier(kind.geometries, options["feature_id_property"])


def write_table(result: Result, options: Options, folder: Folder) -> list[ResultFile]:
    """Write one file with dimensions `feature` and those of the cube."""
    kind: Cube = result.type
    layout, dtype = layout_of(kind), number_type(kind)
    (path,) = folder.claim([f"{options['filename_prefix']}.nc"])
    variables = cf.variables(layout, _TAKEN)
    collected = [Collected() for _ in variables]
    with netcdf(path) as file:
        targets = _prepared(file, kind, layout, options)
        for some in list(groups(kind)) if kind.geometries is not None else [None]:
            values = as_numbers(layout.arranged(result.read(some)), dtype)
            values = values[np.newaxis] if layout.bands is None else np.moveaxis(values, _band_axis(layout), 0)
            for target, one, band in zip(targets, collected, values, strict=True):
                target[(..., slice(some.start, some.stop)) if some is not None else ...] = band
                one.add(band)
    located = place.of_geometries(kind.geometries) if kind.geometries is not None else {}
    return [
        ResultFile(
            path,
            "application/x-netcdf",
            ", ".join(variable.name for variable in variables),
            bands=described(layout, range(len(variables)), dtype, collected),
            dimensions=place.dimensions(kind),
            **located,
            **place.of_labels(layout.labels_of_time),
        )
    ]


def _band_axis(layout: Layout) -> int:
    return [dim is layout.bands for dim in layout.dims].index(True)


def _prepared(file: NetCdf, kind: Cube, layout: Layout, options: Options) -> list[Any]:
    file.attributes({"Conventions": cf.CONVENTIONS})
    for name, coordinate in cf.coordinates(kind, layout).items():
        file.dimension(name, coordinate.values, coordinate.attributes)
    dims = [dim.name for dim in layout.labelled if dim is not layout.bands]
    more: dict[str, Any] = {}
    if kind.geometries is not None:
        _add_features(file, kind.geometries, options)
        dims.append(FEATURE)
        more = {"coordinates": "feature_names lat lon"}
        if layout.time is not None:
            file.attributes({"featureType": "timeSeries"})
    chunks = (*(1 for _ in dims[:-1]), _CHUNK) if dims else None
    return [
        file.variable(variable.name, dims, number_type(kind), {**variable.attributes, **more}, chunks)
        for variable in cf.variables(layout, _TAKEN)
    ]


def _add_features(file: NetCdf, geometries: Geometries, options: Options) -> None:
    """Number, name and a point of each feature, in degrees of WGS 84."""
    points = shapely.centroid(place.in_degrees(geometries))
    file.dimension(FEATURE, np.arange(len(geometries), dtype="i4"), {"long_name": "number of the feature"})
    names = np.array(identifiers(geometries, options["feature_id_property"]), object)
    file.values("feature_names", [FEATURE], names, {"cf_role": "timeseries_id", "long_name": "name of the feature"})
    for name, standard, unit, values in (
        ("lat", "latitude", "degrees_north", shapely.get_y(points)),
        ("lon", "longitude", "degrees_east", shapely.get_x(points)),
    ):
        file.values(name, [FEATURE], values, {"standard_name": standard, "units": unit})

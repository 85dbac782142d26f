"""Processes that make analysis-ready data, of collections that already are what is asked for."""

from __future__ import annotations

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Band, Cube, Dimension
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.replacing import is_null


@on_cubes("sar_backscatter")
def sar_backscatter(call: Call) -> Cube:
    """Backscatter of a collection that is calibrated: the same cube, if it has the coefficient that is asked for."""
    data = call.cube("data")
    wanted = call.value("coefficient", "gamma0-terrain")
    there = data.attributes.get("backscatter")
    if there is None:
        raise GraphError(
            "the data are no calibrated backscatter of a collection",
            hint="use sar_backscatter right after load_collection of a collection of Sentinel-1",
            fault="FeatureUnsupported",
        )
    if wanted != there:
        raise GraphError(
            f"the collection has {there}, and not {wanted or 'backscatter that is not normalised'}",
            hint=f"set `coefficient` to {there!r}; hpckit does not convert one into the other",
            fault="FeatureUnsupported",
        )
    for name in (
        "contributing_area",
        "local_incidence_angle",
        "ellipsoid_incidence_angle",
        "elevation_model",
        "options",
    ):
        if call.value(name):
            raise GraphError(
                f"argument {name!r} is not supported: backscatter is computed when products are read",
                hint="leave it out",
                fault="FeatureUnsupported",
            )
    if call.value("noise_removal", True) is False:
        raise GraphError(
            "thermal noise is already removed", hint="leave `noise_removal` out", fault="FeatureUnsupported"
        )
    return _with_valid(data) if call.value("mask", False) else data


@on_cubes("atmospheric_correction")
def atmospheric_correction(call: Call) -> Cube:
    """Reflectance at the surface of a collection that has it: the same cube."""
    data = call.cube("data")
    if data.attributes.get("reflectance") != "surface":
        raise GraphError(
            "the data are no reflectance at the surface, and hpckit has no atmospheric correction",
            hint="load a collection of level 2A",
            fault="FeatureUnsupported",
        )
    for name in ("method", "elevation_model", "options"):
        if call.value(name):
            raise GraphError(
                f"argument {name!r} is not supported: the collection was corrected by its producer",
                hint="set it to null",
                fault="FeatureUnsupported",
            )
    return data


@on_cubes("cloud_detection")
def cloud_detection(call: Call) -> Cube:
    """Clouds and their shadows as bands, 0 or 1, of the band that masks them in the collection."""
    data, method = call.cube("data"), call.value("method")
    if method not in (None, "Sen2Cor") or call.value("options"):
        raise GraphError(
            f"cloud detection by {method} is not supported"
            if method not in (None, "Sen2Cor")
            else "there are no options",
            hint="set `method` to null or Sen2Cor, without options",
            fault="FeatureUnsupported",
        )
    found = [(dim, place) for dim in data.of_kind("bands") for place, band in enumerate(dim.bands) if band.clouds]
    if not found:
        raise GraphError(
            "the cube has no band with classes of clouds",
            hint="load the scene classification with the other bands",
            fault="FeatureUnsupported",
        )
    along, place = found[0]
    axis = data.axis(along.name)
    classes, told = data.values.take(place, axis), along.bands[place]
    null = is_null(classes)
    bands = [
        np.where(null, np.float32(np.nan), np.isin(classes, each).astype(np.float32))
        for each in (told.clouds, told.shadows)
    ]
    made = Dimension(along.name, "bands", ("cloud", "shadow"))
    dims = tuple(made if dim.name == made.name else dim for dim in data.dims)
    return data.with_values(np.stack(bands, axis), dims)


def _with_valid(data: Cube) -> Cube:
    """The cube with a band `mask`: 1 where all bands have a value, 0 where some has none."""
    found = list(data.of_kind("bands"))
    if len(found) != 1:
        raise GraphError("`mask` needs one dimension of bands", fault="ProcessParameterInvalid")
    dim, axis = found[0], data.axis(found[0].name)
    valid = (~is_null(data.values).any(axis=axis, keepdims=True)).astype(data.values.dtype)
    made = Dimension(dim.name, dim.kind, (*dim.labels, "mask"), bands=(*dim.bands, Band()) if dim.bands else ())
    dims = tuple(made if each.name == dim.name else each for each in data.dims)
    return data.with_values(np.concatenate([data.values, valid], axis), dims)

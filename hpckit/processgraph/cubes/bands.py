"""Bands by their names, common names and wavelengths; and what is computed from two of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Band, Cube, Dimension
from hpckit.processgraph.process import Call, on_cubes


@on_cubes("filter_bands")
def filter_bands(call: Call) -> Cube:
    """Keep bands, in the order that is given."""
    names, ranges = call.value("bands") or [], call.value("wavelengths") or []
    if not names and not ranges:
        raise GraphError(
            "neither bands nor wavelengths are given",
            hint="give names in `bands`, or ranges in `wavelengths`",
            fault="BandFilterParameterMissing",
        )
    data = call.cube("data")
    dim = _only_bands(data, "DimensionMissing")
    places = [place for name in names for place in named(dim, name)]
    places += [place for limits in ranges for place in _in_range(dim, limits)]
    return data.at(dim.name, list(dict.fromkeys(places)))


@on_cubes("ndvi")
def ndvi(call: Call) -> Cube:
    """Normalised difference of near infrared and red."""
    data = call.cube("data")
    dim = _only_bands(data, "DimensionAmbiguous")
    nir = _one_band(dim, call.value("nir", "nir"), "NirBandAmbiguous")
    red = _one_band(dim, call.value("red", "red"), "RedBandAmbiguous")
    target = call.value("target_band")
    if target in dim.labels:
        raise GraphError(f"there is a band {target!r}", hint="choose another `target_band`", fault="BandExists")
    axis = data.axis(dim.name)
    values = np.moveaxis(data.values, axis, 0)
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (values[nir] - values[red]) / (values[nir] + values[red])
    if target is None:
        return data.with_values(found, data.without(dim.name))
    made = Dimension(dim.name, dim.kind, (*dim.labels, target), bands=(*dim.bands, Band()) if dim.bands else ())
    dims = tuple(made if given.name == dim.name else given for given in data.dims)
    return data.with_values(np.moveaxis(np.concatenate([values, found[None]]), 0, axis), dims)


def named(dim: Dimension, name: object) -> list[int]:
    """Positions of the band of a name, or else of all bands of a common name."""
    found = [place for place, label in enumerate(dim.labels) if label == name]
    return found or [place for place, band in enumerate(dim.bands) if name and band.common_name == name]


def _in_range(dim: Dimension, limits: Any) -> list[int]:
    if not isinstance(limits, list | tuple) or len(limits) != 2:
        raise GraphError(f"{limits!r} is no range of wavelengths in micrometres", fault="ProcessParameterInvalid")
    return [
        place
        for place, band in enumerate(dim.bands)
        if band.wavelength is not None and limits[0] <= band.wavelength <= limits[1]
    ]


def _only_bands(cube: Cube, fault: str) -> Dimension:
    found = list(cube.of_kind("bands"))
    if len(found) != 1:
        listed = ", ".join(cube.names) or "none"
        raise GraphError(
            f"the cube has {len(found) or 'no'} dimension{'s' * (len(found) > 1)} of bands",
            hint=f"its dimensions are {listed}",
            fault=fault,
        )
    return found[0]


def _one_band(dim: Dimension, name: str, fault: str) -> int:
    found = named(dim, name)
    if len(found) != 1:
        listed = ", ".join(str(label) for label in dim.labels)
        raise GraphError(
            f"{len(found) or 'no'} band{'s are' if len(found) > 1 else ' is'} called {name!r}",
            hint=f"bands are {listed}",
            fault=fault,
        )
    return found[0]

"""Cubes, labelled arrays and numbers between openEO's tests and what processes take and return."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pyproj import CRS

from hpckit.processgraph.cube import Cube, Dimension, Grid, Kind, Values
from hpckit.processgraph.labelled import Labelled

JSON = Any
_KINDS: Final[Mapping[str, Kind]] = {
    "spatial": "spatial",
    "temporal": "temporal",
    "bands": "bands",
    "geometry": "geometry",
}


def labelled_of(document: Mapping[str, JSON]) -> Labelled:
    """A labelled array from its encoding."""
    items = document["data"]
    return Labelled(array_of([item["value"] for item in items]), tuple(item["key"] for item in items))


def cube_of(document: Mapping[str, JSON]) -> Cube:
    """A data cube from its encoding; where there are no data, zeros."""
    dims = [_dimension(name, document["dimensions"][name]) for name in document["order"]]
    shape = tuple(len(document["dimensions"][name]["values"]) for name in document["order"])
    values = np.zeros(shape) if document.get("data") is None else array_of(document["data"]).reshape(shape)
    grid = _grid(document)
    if grid is not None:
        for place, dim in enumerate(dims):
            if dim.axis in {"x", "y"}:
                dims[place] = Dimension(dim.name, dim.kind, (), dim.axis)
    return Cube(_without_nodata(values, document), tuple(dims), grid, None if grid is None else grid.box)


def _without_nodata(values: Values, document: Mapping[str, JSON]) -> Values:
    nodata = document.get("nodata", [])
    listed = nodata if isinstance(nodata, list) else [nodata]
    for value in listed:
        if values.dtype.kind == "f" and isinstance(value, int | float) and not math.isnan(value):
            values = np.where(values == value, np.nan, values)
    return values


def array_of(items: JSON) -> Values:
    """An array from nested lists: numbers as float64 with NaN for null, booleans, or objects."""
    items = _without_encoding(items)
    kinds = {type(item) for item in _flat(items)}
    if kinds <= {int, float, type(None)}:
        return np.array(items, dtype=np.float64)
    if kinds == {bool}:
        return np.array(items, dtype=bool)
    if kinds == {bool, type(None)}:
        return np.array(items, dtype=np.float64)
    shape = _shape(items)
    found = np.empty(shape, dtype=object)
    found.ravel()[:] = list(_flat(items))
    return found


def _without_encoding(items: JSON) -> JSON:
    if isinstance(items, list):
        return [_without_encoding(item) for item in items]
    return None if items == {"type": "nodata"} else items


def _flat(items: JSON) -> list[JSON]:
    return [leaf for item in items for leaf in _flat(item)] if isinstance(items, list) else [items]


def _shape(items: JSON) -> tuple[int, ...]:
    return (len(items), *(_shape(items[0]) if items else ())) if isinstance(items, list) else ()


def _dimension(name: str, document: Mapping[str, JSON]) -> Dimension:
    kind = _KINDS.get(document["type"], "other")
    return Dimension(name, kind, tuple(document["values"]), document.get("axis", "") if kind == "spatial" else "")


def _grid(document: Mapping[str, JSON]) -> Grid | None:
    axes = {dim["axis"]: dim for dim in document["dimensions"].values() if dim.get("axis") in {"x", "y"}}
    if set(axes) != {"x", "y"}:
        return None
    xs, ys = axes["x"]["values"], axes["y"]["values"]
    dx, dy = _step(xs, 1.0), _step(ys, -1.0)
    crs = axes["x"].get("reference_system", axes["y"].get("reference_system", 4326))
    left, top = (xs[0] if xs else 0.0) - dx / 2, (ys[0] if ys else 0.0) - dy / 2
    return Grid(f"EPSG:{crs}" if isinstance(crs, int) else str(crs), left, top, dx, dy, len(ys), len(xs))


def _step(labels: Sequence[float], alone: float) -> float:
    if len(labels) < 2:
        return alone
    steps = np.diff(labels)
    if not np.allclose(steps, steps[0]):
        raise NotImplementedError("pixels of a cube lie at equal distances")
    return float(steps[0])


def encoded(found: JSON, expected: JSON) -> JSON:
    """What a process returned, as the tests write it.

    In an array of floats NaN is null; where the test expects NaN or its own nodata value at a place, it is that.
    """
    match found:
        case Cube():
            return _cube_document(found, expected)
        case Labelled():
            items = _array_document(found.values, expected)
            if not (isinstance(expected, Mapping) and expected.get("type") == "labeled-array"):
                return items
            keys = range(len(found)) if found.labels is None else found.labels
            wanted = [item["value"] for item in expected["data"]]
            items = _array_document(found.values, wanted)
            return {
                "type": "labeled-array",
                "data": [{"key": key, "value": item} for key, item in zip(keys, items, strict=True)],
            }
        case np.ndarray() | np.generic():
            return _array_document(np.asarray(found), expected)
        case Mapping():
            inner = expected if isinstance(expected, Mapping) else {}
            return {key: encoded(item, inner.get(key)) for key, item in found.items()}
        case list() | tuple():
            return [encoded(item, _at(expected, place)) for place, item in enumerate(found)]
        case _:
            return found


def _array_document(values: Values, expected: JSON, nodata: tuple[JSON, ...] = ()) -> JSON:
    return _nulls(values.tolist(), expected, nodata)


def _nulls(items: JSON, expected: JSON, nodata: tuple[JSON, ...]) -> JSON:
    if isinstance(items, list):
        return [_nulls(item, _at(expected, place), nodata) for place, item in enumerate(items)]
    if isinstance(items, float) and math.isnan(items):
        is_null = expected in nodata or (isinstance(expected, float) and math.isnan(expected))
        return expected if is_null else None
    if isinstance(expected, bool) and items in (0.0, 1.0):
        return bool(items)  # booleans among which there is null
    return items


def _at(expected: JSON, place: int) -> JSON:
    return expected[place] if isinstance(expected, list) and place < len(expected) else None


def _cube_document(cube: Cube, expected: JSON) -> JSON:
    wanted = expected.get("data") if isinstance(expected, Mapping) else None
    described = expected.get("dimensions", {}) if isinstance(expected, Mapping) else {}
    dims = {dim.name: _dimension_document(cube, dim, described.get(dim.name)) for dim in cube.dims}
    nodata = expected.get("nodata") if isinstance(expected, Mapping) else None
    if isinstance(expected, Mapping) and "$ref" in expected:
        data = cube.values.tolist()  # what is expected stands in a file, and NaN is null there
    else:
        data = _array_document(cube.values, wanted, tuple(nodata) if isinstance(nodata, list) else (nodata,))
    return {
        "type": "datacube",
        "order": list(cube.names),
        "dimensions": dims,
        "data": [] if data is None and not cube.dims else data,
    }


def _dimension_document(cube: Cube, dim: Dimension, expected: JSON) -> dict[str, JSON]:
    """A dimension; without axis and reference system where the test has it without them."""
    document: dict[str, JSON] = {"type": dim.kind, "values": list(dim.labels)}
    if dim.axis:
        document["axis"] = dim.axis
    if cube.grid is not None and cube.box is not None and dim.axis in {"x", "y"}:
        labels = cube.grid.xs(cube.box) if dim.axis == "x" else cube.grid.ys(cube.box)
        document |= {"values": labels.tolist(), "reference_system": cube.grid.crs}
    known = document if expected is None else expected
    return {key: item for key, item in document.items() if key in known or key not in {"axis", "reference_system"}}


def same_crs(one: JSON, other: JSON) -> bool:
    """Whether two codes or WKT texts are one reference system."""
    return one == other or bool(CRS.from_user_input(one) == CRS.from_user_input(other))

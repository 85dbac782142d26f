"""Vector cubes: from GeoJSON and addresses, limited by other geometries, widened, in another CRS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Dimension, Geometries
from hpckit.processgraph.derived import chosen, derived, features_of, plain
from hpckit.processgraph.geojson import crs_of, from_geojson
from hpckit.processgraph.geometries import geometries_of
from hpckit.processgraph.process import Call, Value, on_cubes
from hpckit.processgraph.reproject import in_crs

_RELATIONS: Final = ("intersects", "disjoint", "equals", "touches", "crosses", "overlaps", "contains", "within")
_PROPERTIES: Final = "properties"


@on_cubes("load_geojson")
def load_geojson(call: Call) -> Cube:
    """A vector cube of GeoJSON; properties that are named become a dimension."""
    made = call.once(lambda: _with_properties(from_geojson(call.value("data"), "argument 'data'"), call))
    values, dims, geometries = made
    features = features_of(call.asked)
    return Cube(values[np.asarray(features, dtype=np.int64)], dims, geometries=geometries, features=features)


@on_cubes("load_url")
def load_url(call: Call) -> Cube:
    """A vector cube of a file at an address, which the environment reads."""
    geometries: Geometries = call.once(
        lambda: call.environment.read_geometries(call.value("url"), call.value("format"), call.value("options") or {})
    )
    features = features_of(call.asked)
    values = np.full(len(features), np.nan)
    return Cube(values, plain(geometries), geometries=geometries, features=features)


@on_cubes("filter_vector")
def filter_vector(call: Call) -> Cube:
    """Keep geometries that have a relation to others; empty ones are removed."""

    def make() -> tuple[Geometries, npt.NDArray[np.int64]]:
        geometries = require_vectors(call)
        rows = _related(geometries, geometries_of(call, "geometries"), call.value("relation", "intersects"))
        return chosen(geometries, rows), rows

    return derived(call, *call.once(make))


@on_cubes("vector_buffer")
def vector_buffer(call: Call) -> Cube:
    """Widen or shrink geometries by metres; those that vanish are empty."""

    def make() -> Geometries:
        geometries, distance = require_vectors(call, "geometries"), call.value("distance")
        if isinstance(distance, bool) or not isinstance(distance, int | float) or not distance:
            raise GraphError("argument 'distance' must be a number that is not 0", fault="ProcessParameterInvalid")
        require_metres(geometries.crs)
        shapes = shapely.buffer(geometries.shapes, distance)
        empty = shapely.is_empty(geometries.shapes)
        shapes[empty] = geometries.shapes[empty]
        return replace(geometries, shapes=shapes)

    geometries = call.once(make)
    return replace(call.cube("geometries"), geometries=geometries)


@on_cubes("vector_reproject")
def vector_reproject(call: Call) -> Cube:
    """Geometries in another CRS."""

    def make() -> Geometries:
        geometries, target = require_vectors(call), _projection(call.value("projection"))
        name = call.value("dimension")
        if name is not None and call.type_of("data").dim(name).kind != "geometry":
            raise GraphError(
                f"the dimension {name!r} is none of geometries",
                hint=f"it is {next(call.type_of('data').of_kind('geometry')).name!r}",
                fault="DimensionNotAvailable",
            )
        return replace(geometries, shapes=in_crs(geometries.shapes, geometries.crs, target), crs=target)

    geometries = call.once(make)
    data = call.cube("data")
    dims = tuple(replace(dim, crs=geometries.crs) if dim.kind == "geometry" else dim for dim in data.dims)
    return replace(data, dims=dims, geometries=geometries)


def require_vectors(call: Call, name: str = "data") -> Geometries:
    """The geometries of a cube.

    Raises
    ------
    GraphError
        If it is no vector cube.
    """
    found = call.type_of(name).geometries
    if found is None:
        raise GraphError(
            f"argument {name!r} is no vector cube",
            hint="vector cubes come from load_geojson, load_url and aggregate_spatial",
            fault="ProcessParameterInvalid",
        )
    return found


def require_metres(crs: str) -> None:
    """Refuse a CRS whose unit is not metres.

    Raises
    ------
    GraphError
        `UnitMismatch`.
    """
    found = crs_of(crs)
    if not found.is_projected or any(axis.unit_name != "metre" for axis in found.axis_info[:2]):
        raise GraphError(
            f"the distance is in metres, but the unit of {found.name} is not",
            hint="bring the geometries into a projected CRS with vector_reproject before",
            fault="UnitMismatch",
        )


def _projection(given: Any) -> str:
    crs = crs_of(given, "argument 'projection'")
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt()


def _related(geometries: Geometries, base: Geometries, relation: str) -> npt.NDArray[np.int64]:
    """Rows of geometries that have a relation to the union of others."""
    if relation not in _RELATIONS:
        raise GraphError(
            f"argument 'relation' is {relation!r}",
            hint=f"it is one of {', '.join(_RELATIONS)}",
            fault="ProcessParameterInvalid",
        )
    union = shapely.union_all(shapely.make_valid(in_crs(base.shapes, base.crs, geometries.crs)))
    shapes = shapely.make_valid(geometries.shapes)
    shapely.prepare(union)
    # A relation is that of the candidates to the base: a candidate `within` the base lies inside of it.
    turned = {"contains": "within", "within": "contains"}.get(relation, relation)
    found = getattr(shapely, turned)(union, shapes)
    return np.flatnonzero(np.asarray(found) & ~shapely.is_empty(shapes))


def _with_properties(
    geometries: Geometries, call: Call
) -> tuple[npt.NDArray[Any], tuple[Dimension, ...], Geometries]:
    """Values of properties that are named, as the specification of load_geojson divides them."""
    names = call.value("properties") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise GraphError("argument 'properties' must be an array of texts", fault="ProcessParameterInvalid")
    count = len(geometries)
    if not names or not geometries.properties:
        return np.full(count, np.nan), plain(geometries), geometries
    rows = [[feature.get(name) for name in names] for feature in geometries.properties]
    labels: tuple[str | float, ...] = tuple(names)
    if len(names) == 1 and any(isinstance(row[0], list) for row in rows):
        lists = [row[0] if isinstance(row[0], list) else [row[0]] for row in rows]
        longest = max(map(len, lists))
        rows, labels = [each + [None] * (longest - len(each)) for each in lists], tuple(range(longest))
    for row in rows:
        for value in row:
            if isinstance(value, Mapping | list):
                raise GraphError(
                    f"a property among {', '.join(names)} is no number, text or truth",
                    hint="a dimension has scalar values, or those of one array",
                    fault="ProcessParameterInvalid",
                )
    dims = (*plain(geometries), Dimension(_PROPERTIES, "other", labels))
    return _values(rows, (count, len(labels))), dims, geometries


def _values(rows: list[list[Value]], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Numbers with NaN for null; objects where there are texts."""
    is_number = all(value is None or isinstance(value, int | float) for row in rows for value in row)
    values = np.empty(shape, dtype=object)
    for number, row in enumerate(rows):
        values[number] = row
    if not is_number:
        return values
    values[values == None] = np.nan  # noqa: E711
    return values.astype(np.float64)

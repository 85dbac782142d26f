"""Geometries as files have them to polygons without faults: what can be repaired is, what cannot has a reason.

Each polygon covers what its rings enclose, as GDAL fills them; the polygons of one feature are united, so that what
two of them cover counts once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.base.quantities import format_count

_POLYGON: Final = (3, 17)
"""Polygon and triangle, whose WKB is alike."""
_COLLECTIONS: Final = (4, 5, 6, 7, 15, 16)
"""Collections of other geometries, polyhedral surface and TIN among them."""
_CURVES: Final = (8, 9, 10, 11, 12)


@dataclass(frozen=True)
class Shapes:
    """Polygons of features."""

    geometries: npt.NDArray[np.object_]
    """A valid MultiPolygon for each feature; None where there is a reason."""
    repaired: npt.NDArray[np.bool_]
    """Whether the geometry was not valid as the file had it."""
    reasons: dict[int, str]
    """Why a feature, by its row, is no polygon."""
    broken: frozenset[int]
    """Rows among these whose geometry is damaged; the others are empty, or of another kind."""


def read_shapes(wkb: npt.NDArray[np.object_]) -> Shapes:
    """Polygons of features from WKB; None is a feature without geometry."""
    with np.errstate(invalid="ignore"):  # coordinates that are no numbers are found below
        shapes = np.asarray(shapely.from_wkb(wkb, on_invalid="ignore"))
    broken: dict[int, str] = {}
    for row in np.flatnonzero(shapely.is_missing(shapes)).tolist():
        if wkb[row] is not None:
            try:
                shapes[row] = _parse(bytes(wkb[row]))
            except _BrokenError as error:
                broken[row] = str(error)
    return clean_shapes(shapes, broken)


def clean_shapes(shapes: npt.NDArray[np.object_], broken: dict[int, str] | None = None) -> Shapes:
    """Polygons of features from geometries of any kind.

    Parameters
    ----------
    broken : dict, optional
        Reasons that are known, by row.
    """
    broken = {**(broken or {}), **_not_finite(shapes)}
    result = np.full(len(shapes), None, dtype=object)
    kinds = shapely.get_type_id(shapes)
    whole = np.isin(kinds, (3, 6)) & ~shapely.is_empty(shapes)
    whole[list(broken)] = False
    whole[whole] = shapely.is_valid(shapes[whole])
    result[whole & (kinds == 6)] = shapes[whole & (kinds == 6)]
    single = np.flatnonzero(whole & (kinds == 3))
    result[single] = shapely.multipolygons(shapes[single], indices=np.arange(len(single)))
    repaired = np.zeros(len(shapes), dtype=bool)
    reasons = dict(broken)
    for row in np.flatnonzero(~whole).tolist():
        if row not in broken:
            try:
                result[row], repaired[row] = _repaired(shapes[row])
            except _NoPolygonError as error:
                reasons[row] = str(error)
            except shapely.errors.GEOSException:
                broken[row] = reasons[row] = "the geometry cannot be repaired"
    return Shapes(result, repaired, reasons, frozenset(broken))


def united(shape: shapely.Geometry) -> shapely.Geometry:
    """What a polygon or a collection of polygons covers, as a valid MultiPolygon."""
    valid = shapely.make_valid(shapely.get_parts(shape))
    polygons = [part for whole in valid for part in _polygons(whole)]
    if len(polygons) > 1:
        polygons = _polygons(shapely.union_all(polygons))
    return shapely.MultiPolygon(polygons)


class _BrokenError(ValueError):
    """A geometry is damaged; the message says how."""


class _NoPolygonError(ValueError):
    """A feature has no polygon; the message says what it has."""


def _not_finite(shapes: npt.NDArray[np.object_]) -> dict[int, str]:
    xy, rows = shapely.get_coordinates(shapes, return_index=True)
    polygonal = np.isin(shapely.get_type_id(shapes), (3, 6, 7))
    bad = np.unique(rows[~np.isfinite(xy).all(axis=1)])
    return dict.fromkeys(bad[polygonal[bad]].tolist(), "a coordinate is no number")


def _repaired(shape: shapely.Geometry | None) -> tuple[shapely.Geometry, bool]:
    if shape is None or shape.is_empty:
        raise _NoPolygonError("no geometry")
    polygons = _polygons(shape)
    sound = len(polygons) > 0 and all(shapely.is_valid(polygons))
    whole = shapely.MultiPolygon(polygons) if sound else united(_parts_only(shape))
    if sound and not whole.is_valid:
        whole, sound = united(whole), False
    if whole.is_empty:
        raise _NoPolygonError(f"{shape.geom_type} without area")
    return whole, not sound


def _parts_only(shape: shapely.Geometry) -> shapely.Geometry:
    return shapely.GeometryCollection(_leaves(shape))


def _leaves(shape: shapely.Geometry) -> list[shapely.Geometry]:
    if not hasattr(shape, "geoms"):
        return [shape]
    return [leaf for part in shape.geoms for leaf in _leaves(part)]


def _polygons(shape: shapely.Geometry) -> list[shapely.Geometry]:
    return [leaf for leaf in _leaves(shape) if leaf.geom_type == "Polygon" and (leaf.area > 0 or not leaf.is_valid)]


def _parse(wkb: bytes) -> shapely.Geometry:
    """Geometry from WKB that GEOS refuses: surfaces of kinds that it does not know.

    Raises
    ------
    _BrokenError
        If it is damaged.
    """
    try:
        found, _ = _read(wkb, 0)
    except (struct.error, ValueError, IndexError) as error:
        raise error if isinstance(error, _BrokenError) else _BrokenError("the geometry is damaged") from error
    return shapely.GeometryCollection(found)


def _read(wkb: bytes, at: int) -> tuple[list[shapely.Geometry], int]:
    order = "<" if wkb[at] == 1 else ">"
    (code,) = struct.unpack_from(order + "I", wkb, at + 1)
    at += 5 + (4 if code & 0x20000000 else 0)
    kind, dimensions = code & 0x0FFFFFFF, 2 + bool(code & 0x80000000) + bool(code & 0x40000000)
    kind, dimensions = kind % 1000, dimensions + (0, 1, 1, 2)[kind // 1000 % 4]
    if kind in _COLLECTIONS:
        count, at = _count(wkb, at, order)
        found: list[shapely.Geometry] = []
        for _ in range(count):
            parts, at = _read(wkb, at)
            found += parts
        return found, at
    if kind in _POLYGON:
        return _read_polygon(wkb, at, order, dimensions)
    if kind in (1, 2):
        count, at = (1, at) if kind == 1 else _count(wkb, at, order)
        return [shapely.Point()], at + count * dimensions * 8
    raise _BrokenError(f"a geometry of type {kind}{' (a curve)' if kind in _CURVES else ''}, which is no polygon")


def _read_polygon(wkb: bytes, at: int, order: str, dimensions: int) -> tuple[list[shapely.Geometry], int]:
    count, at = _count(wkb, at, order)
    rings: list[npt.NDArray[np.float64]] = []
    for _ in range(count):
        points, at = _count(wkb, at, order)
        numbers: Any = np.frombuffer(wkb, order + "f8", points * dimensions, at)
        at += points * dimensions * 8
        rings.append(_ring(numbers.reshape(points, dimensions)[:, :2]))
    return ([shapely.Polygon(rings[0], rings[1:])] if rings else []), at


def _ring(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if not np.isfinite(xy).all():
        raise _BrokenError("a coordinate is no number")
    if len(xy) < 3:
        raise _BrokenError(f"a ring has {format_count(len(xy), 'point')}")
    if (xy[0] != xy[-1]).any():
        raise _BrokenError("a ring is not closed")
    if len(xy) < 4:
        raise _BrokenError(f"a ring has {format_count(len(xy), 'point')}")
    return xy


def _count(wkb: bytes, at: int, order: str) -> tuple[int, int]:
    return int(struct.unpack_from(order + "I", wkb, at)[0]), at + 4

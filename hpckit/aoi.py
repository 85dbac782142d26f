"""Areas of interest: from a vector file, WKT or a bounding box to polygons in longitude and latitude."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyproj
import shapely
import shapely.affinity

from hpckit.errors import AoiError

_WKT = ("POLYGON", "MULTIPOLYGON", "GEOMETRYCOLLECTION", "SRID=")
_WORLD = shapely.box(-180, -90, 180, 90)


def read_aoi(source: str | Path | Sequence[float], folder: Path | None = None) -> shapely.Geometry:
    """Read an area of interest.

    Parameters
    ----------
    source : str, Path or four numbers
        A vector file that OGR reads (relative to `folder`), WKT in longitude and latitude, or
        `W,S,E,N` in degrees; W > E is a box across the antimeridian.

    Returns
    -------
    shapely.Geometry
        Valid MultiPolygon in EPSG:4326 within -180 to 180 degrees, cut at the antimeridian.

    Raises
    ------
    AoiError
        If it cannot be read, has no polygon or no CRS, or lies outside of the world.
    """
    if not isinstance(source, (str, Path)):
        return _from_box(list(source), str(list(source)))
    text = str(source).strip()
    if text.upper().startswith(_WKT):
        return _from_wkt(text)
    numbers = _numbers(text)
    if numbers is not None:
        return _from_box(numbers, text)
    path = Path(text).expanduser()
    return _from_file(path if path.is_absolute() or folder is None else folder / path)


def _numbers(text: str) -> list[float] | None:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return numbers if len(numbers) > 1 else None


def _from_box(numbers: list[float], text: str) -> shapely.Geometry:
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise AoiError(f"{text!r}: a bounding box has four numbers, west, south, east, north")
    west, south, east, north = numbers
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise AoiError(f"{text!r}: not degrees of longitude and latitude", hint="give west, south, east, north")
    if south >= north or west == east:
        raise AoiError(f"{text!r}: the box has no area", hint="give west, south, east, north, south below north")
    if west < east:
        return _polygonal(shapely.box(west, south, east, north), text)
    return _polygonal(
        shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)), text
    )


def _from_wkt(text: str) -> shapely.Geometry:
    try:
        geometry = shapely.from_wkt(text.partition(";")[2] if text.upper().startswith("SRID=4326;") else text)
    except shapely.errors.GEOSException as error:
        raise AoiError(f"{text[:60]!r}: no valid WKT") from error
    return _polygonal(geometry, text[:60])


def _from_file(path: Path) -> shapely.Geometry:
    import pyogrio

    if not path.exists():
        raise AoiError(f"{path}: no such file", hint="an AOI is a vector file, WKT, or W,S,E,N in degrees")
    try:
        meta, _, wkb, _ = pyogrio.raw.read(path, columns=[], force_2d=True)
    except pyogrio.errors.DataSourceError as error:
        raise AoiError(f"{path}: not a vector file that OGR reads") from error
    if wkb is None or not len(wkb):
        raise AoiError(f"{path}: the layer is empty")
    if meta["crs"] is None:
        raise AoiError(f"{path}: the layer has no CRS", hint="write it again with one: ogr2ogr -a_srs EPSG:… OUT IN")
    shapes = np.asarray(shapely.make_valid(shapely.from_wkb(wkb)))
    crs = pyproj.CRS(meta["crs"])
    if not (crs.is_geographic and crs.to_epsg() in (4326, 4258, None)):
        shapes = _to_degrees(shapes, crs)
    return _polygonal(shapely.union_all(shapely.make_valid(shapes)), str(path))


def _to_degrees(shapes: np.ndarray, crs: pyproj.CRS) -> np.ndarray:
    transformer = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    projected = shapely.transform(shapes, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
    return np.array([_unwrap(shape) for shape in projected], dtype=object)


def _unwrap(shape: shapely.Geometry | None) -> shapely.Geometry | None:
    """Shift a projected shape across the antimeridian, whose vertices jump from 180 to -180, to one side."""
    if shape is None or shape.is_empty:
        return shape
    west, _, east, _ = shape.bounds
    if east - west <= 180:
        return shape
    return shapely.transform(
        shape, lambda xy: np.column_stack([np.where(xy[:, 0] < 0, xy[:, 0] + 360, xy[:, 0]), xy[:, 1]])
    )


def _polygonal(geometry: shapely.Geometry, name: str) -> shapely.Geometry:
    valid = shapely.make_valid(geometry)
    parts = [part for whole in shapely.get_parts(valid) for part in shapely.get_parts(whole)]
    polygons = [part for part in parts if part.geom_type == "Polygon" and part.area > 0]
    if not polygons:
        raise AoiError(f"{name}: no polygon with an area", hint="an area of interest must have an area")
    return _within_world(shapely.union_all(polygons), name)


def _within_world(area: shapely.Geometry, name: str) -> shapely.Geometry:
    west, south, east, north = area.bounds
    if south < -90.001 or north > 90.001 or west < -360 or east > 540:
        raise AoiError(f"{name}: not degrees of longitude and latitude (its bounds are {area.bounds})")
    turns = [shapely.affinity.translate(area, shift) for shift in (-360, 0, 360)]
    inside = shapely.union_all([shapely.intersection(turn, _WORLD) for turn in turns])
    polygons = [part for part in shapely.get_parts(inside) if part.geom_type == "Polygon"]
    return shapely.MultiPolygon(polygons)

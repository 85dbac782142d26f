"""What a graph asks of a collection: area, dates, bands and conditions on products, read from `load_collection`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyproj
import shapely
import shapely.geometry

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.collection import Collection, properties
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition

_INVALID: Final = "ProcessParameterInvalid"
_WGS84: Final = pyproj.CRS.from_epsg(4326)


@dataclass(frozen=True, slots=True)
class Area:
    """Where pixels are wanted."""

    shape: shapely.Geometry
    crs: pyproj.CRS
    masks: bool
    """Pixels whose centres lie outside are null: of polygons, not of a bounding box."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a collection."""

    bands: tuple[tuple[str, BandRef], ...]
    """With their labels."""
    area: Area | None
    """None for all that the collection holds."""
    dates: tuple[tuple[str, Mapping[str, int]], ...]
    """Label of each time step, and for each tile that has it the position on its time axis; sorted by time."""


def read_wanted(collection: Collection, arguments: Mapping[str, Value]) -> Wanted:
    """Read the arguments of `load_collection`.

    Raises
    ------
    GraphError
        Names the argument; `NoDataAvailable` if no acquisition is in the period, or fulfils the conditions.
    """
    return Wanted(
        _bands(collection, arguments.get("bands")),
        read_area(arguments.get("spatial_extent")),
        _dates(collection, read_interval(arguments.get("temporal_extent")), arguments.get("properties") or {}),
    )


def _bands(collection: Collection, names: Value) -> tuple[tuple[str, BandRef], ...]:
    if names is None:
        return tuple(collection.all_bands())
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise GraphError(
            "bands is no list of names", hint="write bands like ['B04', 'B08'], or null", fault=_INVALID
        )
    found = [item for name in names for item in collection.find(str(name))]
    labels = [label for label, _ in found]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise GraphError(f"bands names {twice[0]!r} twice", hint="leave one out", fault=_INVALID)
    return tuple(found)


def read_interval(extent: Value) -> tuple[datetime | None, datetime | None]:
    """Start (included) and end (excluded) of `temporal_extent`, UTC; None for no limit.

    Raises
    ------
    GraphError
        If it is no interval; `TemporalExtentEmpty` if it ends before it starts.
    """
    if extent is None:
        return None, None
    if not isinstance(extent, Sequence) or isinstance(extent, str) or len(extent) != 2:
        raise GraphError("temporal_extent is no interval", hint="write [start, end], or null", fault=_INVALID)
    start, end = (_moment(item) for item in extent)
    if start is not None and end is not None and end <= start:
        raise GraphError(
            f"temporal_extent ends ({extent[1]}) before it starts ({extent[0]})",
            hint="the end is excluded: it must be later than the start",
            fault="TemporalExtentEmpty",
        )
    return start, end


def _moment(text: Value) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError as error:
        hint = "write it like 2024-03-01 or 2024-03-01T00:00:00Z"
        raise GraphError(f"temporal_extent: {text!r} is no date", hint=hint, fault=_INVALID) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def read_area(extent: Value) -> Area | None:
    """Area of `spatial_extent`: a bounding box, GeoJSON, or a vector cube; None for no limit.

    Raises
    ------
    GraphError
        If it is none of these, or empty.
    """
    if extent is None:
        return None
    if isinstance(extent, Cube) and extent.geometries is not None:
        shape = shapely.union_all([item for item in extent.geometries.shapes if item is not None])
        return _polygons(shape, pyproj.CRS(extent.geometries.crs))
    if isinstance(extent, Mapping) and "west" in extent:
        return _bbox(extent)
    if isinstance(extent, Mapping) and "type" in extent:
        return _polygons(_geojson(extent), _crs_of(extent))
    raise GraphError(
        "spatial_extent is neither a bounding box nor GeoJSON",
        hint="write {west, south, east, north}, with a crs if these are no degrees",
        fault=_INVALID,
    )


def _bbox(extent: Mapping[str, Value]) -> Area:
    try:
        west, south, east, north = (float(extent[name]) for name in ("west", "south", "east", "north"))
    except (KeyError, TypeError, ValueError) as error:
        hint = "a bounding box has the numbers west, south, east and north"
        raise GraphError(f"spatial_extent: {error} is missing or no number", hint=hint, fault=_INVALID) from error
    crs = read_crs(extent.get("crs"))
    if north <= south or (east <= west and not crs.is_geographic) or east == west:
        raise GraphError(
            "spatial_extent is empty: east must be greater than west, and north than south", fault=_INVALID
        )
    if east < west:  # across the antimeridian
        return Area(shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)), crs, False)
    return Area(shapely.box(west, south, east, north), crs, masks=False)


def read_crs(text: Value) -> pyproj.CRS:
    """CRS by EPSG code or WKT 2; longitude and latitude if None.

    Raises
    ------
    GraphError
        If there is no such CRS.
    """
    if text is None:
        return _WGS84
    try:
        return pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        raise GraphError(f"{text!r} is no CRS", hint="write an EPSG code, 32632, or WKT 2", fault=_INVALID) from error


def _crs_of(geojson: Mapping[str, Value]) -> pyproj.CRS:
    """CRS by the member `crs` of GeoJSON 2008, which openEO's clients still write."""
    try:
        return read_crs(geojson["crs"]["properties"]["name"])
    except (KeyError, TypeError):
        return _WGS84


def _geojson(extent: Mapping[str, Value]) -> shapely.Geometry:
    try:
        if extent["type"] == "FeatureCollection":
            return shapely.union_all([_geojson(item) for item in extent["features"]])
        if extent["type"] == "Feature":
            given = extent["geometry"]
            return shapely.MultiPolygon() if given is None else _geojson(given)
        return shapely.make_valid(shapely.geometry.shape(extent))
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.GEOSException) as error:
        raise GraphError(f"spatial_extent is no valid GeoJSON: {error}", fault=_INVALID) from error


def _polygons(shape: shapely.Geometry, crs: pyproj.CRS) -> Area:
    parts = [part for part in shapely.get_parts(shape) if part.area > 0]
    if not parts or not np.isfinite(shape.bounds).all():
        raise GraphError("spatial_extent holds no polygon", fault=_INVALID)
    return Area(shapely.union_all(parts), crs, masks=True)


def _dates(
    collection: Collection,
    interval: tuple[datetime | None, datetime | None],
    conditions: Mapping[str, Callable[..., Value]],
) -> tuple[tuple[str, Mapping[str, int]], ...]:
    found: dict[str, dict[str, int]] = {}
    times: dict[str, datetime] = {}
    fulfilled = _Conditions(collection.name, conditions)
    for tile, acquisitions in sorted(collection.tiles.acquisitions.items()):
        for position, item in enumerate(acquisitions):
            times[item.id] = min(times.get(item.id, item.time), item.time)
            if fulfilled(item):
                found.setdefault(item.id, {})[tile] = position
    start, end = interval
    kept = [
        name
        for name in sorted(found, key=lambda name: (times[name], name))
        if (start is None or times[name] >= start) and (end is None or times[name] < end)
    ]
    if not kept:
        first, last = min(times.values(), default=None), max(times.values(), default=None)
        known = f"it has {len(times)} acquisitions from {first} to {last}" if times else "it has no acquisition"
        raise GraphError(
            f"collection {collection.name!r} has no acquisition in the period, or none fulfils the properties",
            hint=known,
            fault="NoDataAvailable",
        )
    return tuple((label(times[name]), found[name]) for name in kept)


def label(time: datetime) -> str:
    """Label of a time step, by RFC 3339: `2024-03-01T10:50:31Z`."""
    fraction = f".{time.microsecond:06d}" if time.microsecond else ""
    return f"{time:%Y-%m-%dT%H:%M:%S}{fraction}Z"


class _Conditions:
    """Conditions on the metadata of products."""

    def __init__(self, collection: str, conditions: Mapping[str, Callable[..., Value]]) -> None:
        self._collection = collection
        self._conditions = conditions

    def __call__(self, acquisition: Acquisition) -> bool:
        """Whether all products of an acquisition fulfil all of them."""
        return not self._conditions or all(self._holds(known) for known in properties(acquisition))

    def _holds(self, known: Mapping[str, Any]) -> bool:
        for name, condition in self._conditions.items():
            if name not in known:
                raise GraphError(
                    f"products of collection {self._collection!r} have no property {name!r}",
                    hint=f"they have {', '.join(sorted(known))}",
                    fault=_INVALID,
                )
            if not _is_true(condition(value=known[name])):
                return False
        return True


def _is_true(value: Value) -> bool:
    return value is not None and bool(value) and not (isinstance(value, float) and np.isnan(value))

"""Windows along the dimensions of a cube, counted from its first pixels and labels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Dimension
from hpckit.processgraph.times import instants

_DURATION: Final = re.compile(
    r"P(?=\d|T\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Window:
    """A range of pixels or labels, and a wider one around it."""

    start: int
    stop: int
    low: int
    """With what overlaps; of pixels it may lie beyond the cube."""
    high: int

    @property
    def is_single(self) -> bool:
        """Whether it has one position and no overlap."""
        return self.high - self.low == 1


def windows_of(cube: Cube, size: Any, overlap: Any) -> dict[str, list[Window]]:
    """Windows of each dimension.

    Parameters
    ----------
    cube : Cube
    size, overlap : list of mappings
        `{dimension, value, unit}`: a number of pixels or labels, metres, or a duration by ISO 8601. Dimensions that
        are not named have one window of all values.

    Raises
    ------
    GraphError
        `DimensionNotAvailable`; or the length at fault.
    """
    sizes, overlaps = _by_name(cube, size, "size"), _by_name(cube, overlap, "overlap")
    return {dim.name: _windows(cube, dim, sizes.get(dim.name), overlaps.get(dim.name)) for dim in cube.dims}


def _by_name(cube: Cube, given: Any, argument: str) -> dict[str, Mapping[str, Any]]:
    found = {}
    for entry in given or ():
        if not isinstance(entry, Mapping) or "dimension" not in entry:
            raise _fault(f"argument {argument!r} must be a list of objects with `dimension` and `value`")
        found[cube.dim(entry["dimension"]).name] = entry
    return found


def _windows(
    cube: Cube, dim: Dimension, size: Mapping[str, Any] | None, overlap: Mapping[str, Any] | None
) -> list[Window]:
    on_grid = cube.grid is not None and dim.axis in ("x", "y")
    count = cube.grid.shape["yx".index(dim.axis)] if cube.grid is not None and on_grid else len(dim.labels)
    if size is None or size.get("value") is None:
        return [Window(0, count, 0, count)]
    if isinstance(size["value"], str):
        return _periods(dim, size, overlap)
    step = _count(cube, dim, size)
    more = 0 if overlap is None or overlap.get("value") is None else _count(cube, dim, overlap)
    if step < 1:
        raise _fault(f"the size of windows along {dim.name!r} must be at least one pixel or label")
    found = []
    for start in range(0, count, step):
        low, high = start - more, start + step + more
        found.append(
            Window(start, min(start + step, count), *((low, high) if on_grid else (max(low, 0), min(high, count))))
        )
    return found


def _count(cube: Cube, dim: Dimension, entry: Mapping[str, Any]) -> int:
    """Pixels or labels of a length."""
    value, unit = entry["value"], entry.get("unit")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _fault(f"the length {value!r} along {dim.name!r} is no number")
    pixels = float(value)
    if cube.grid is not None and dim.axis in ("x", "y") and unit != "px":
        if unit == "m" and _in_degrees(cube.grid.crs):
            raise _fault(f"the pixels along {dim.name!r} have degrees, and the length has metres: give it in `px`")
        pixels = value / abs(cube.grid.dx if dim.axis == "x" else cube.grid.dy)
    elif unit == "m":
        raise _fault(f"{dim.name!r} has no metres: give the number of labels in `px`")
    if abs(pixels - round(pixels)) > 1e-6:
        raise _fault(f"the length {value!r} along {dim.name!r} is {pixels:g} pixels, which is no whole number")
    return round(pixels)


def _in_degrees(crs: str) -> bool:
    import pyproj

    return bool(pyproj.CRS.from_user_input(crs).is_geographic)


def _periods(dim: Dimension, size: Mapping[str, Any], overlap: Mapping[str, Any] | None) -> list[Window]:
    """Windows of a duration, from the first time on; those without a label are left out."""
    at = instants(dim.labels, dim.name) if dim.kind == "temporal" else []
    if dim.kind != "temporal":
        raise _fault(f"{dim.name!r} is no dimension of time, and has no windows of {size['value']!r}")
    if at != sorted(at):
        raise _fault(f"the times of {dim.name!r} are in no order")
    length = _duration(size["value"], dim)
    more = (
        _duration(overlap["value"], dim) if overlap is not None and overlap.get("value") is not None else timedelta(0)
    )
    if not length:
        raise _fault(f"the size of windows along {dim.name!r} is {size['value']!r}, which is no time")
    found, start = [], 0
    while start < len(at):
        begin = at[0] + (at[start] - at[0]) // length * length
        stop = _first(at, begin + length)
        found.append(Window(start, stop, _first(at, begin - more), _first(at, begin + length + more)))
        start = stop
    return found


def _first(at: Sequence[datetime], time: datetime) -> int:
    return sum(each < time for each in at)


def _duration(text: Any, dim: Dimension) -> timedelta:
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[1] or found[2]:
        raise _fault(f"{text!r} along {dim.name!r} is no duration of weeks, days, hours, minutes or seconds")
    _, _, weeks, days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def _fault(message: str) -> GraphError:
    return GraphError(
        message, hint="see apply_neighborhood in openEO's list of processes", fault="ProcessParameterInvalid"
    )

"""Cubes from collections and STAC, and what becomes of results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube, Geometries, Grid
from hpckit.processgraph.cubes.parts import box_asked
from hpckit.processgraph.extents import area_of, pixels_within
from hpckit.processgraph.footprints import Footprints
from hpckit.processgraph.planes import in_order, with_planes_last
from hpckit.processgraph.process import Call, Request, Source, on_cubes
from hpckit.processgraph.replacing import replaced
from hpckit.processgraph.times import period_of
from hpckit.space.box import Box


@on_cubes("load_collection")
def load_collection(call: Call) -> Cube:
    """Pixels of a collection."""
    return _loaded(call, call.value("id"), call.environment.load_collection)


@on_cubes("load_stac")
def load_stac(call: Call) -> Cube:
    """Pixels of an item or a collection at an address."""
    return _loaded(call, call.value("url"), call.environment.load_stac)


def _loaded(call: Call, name: str, load: Callable[[str, Request], Source]) -> Cube:
    opened: _Opened = call.once(lambda: _opened(call, name, load))
    asked, place = box_asked(call), opened.place
    cube = opened.source.type if asked == NOTHING else opened.source.read(asked.moved(place.top, place.left))
    cube = replace(cube, grid=opened.grid, box=asked)
    if opened.within is None:
        return cube
    outside = ~opened.within.pixels(opened.within.touching(asked), asked).mask()
    planes = with_planes_last(cube)
    return in_order(planes.with_values(replaced(planes.values, outside)), cube.dims)


@dataclass(frozen=True)
class _Opened:
    """A source, and the part of it that is wanted."""

    source: Source
    place: Box
    """Pixels of its grid."""
    grid: Grid
    """Of these pixels."""
    within: Footprints | None
    """Polygons in which they must lie."""


def _opened(call: Call, name: str, load: Callable[[str, Request], Source]) -> _Opened:
    request = _request(call)
    source = load(name, request)
    grid, area = source.type.grid, request.area
    assert grid is not None
    if area is None:
        return _Opened(source, grid.box, grid, None)
    place = pixels_within(grid, area.bounds(grid.crs))
    if place.is_empty:
        raise GraphError(
            f"{name} has no pixel in the spatial extent",
            hint="compare the extent with that of the collection",
            fault="NoDataAvailable",
        )
    part = grid.part(place)
    within = None if area.is_box else Footprints(Geometries(np.array([area.shape], object), area.crs), part)
    return _Opened(source, place, part, within)


def _request(call: Call) -> Request:
    bands = call.value("bands")
    return Request(
        area_of(call.value("spatial_extent"), "spatial_extent") if call.has("spatial_extent") else None,
        period_of(call.value("temporal_extent"), "temporal_extent") if call.has("temporal_extent") else None,
        None if bands is None else tuple(bands),
        call.value("properties") or {},
    )


@on_cubes("save_result")
def save_result(call: Call) -> Cube:
    """The same cube: who runs a graph writes it, in the format of this node."""
    call.once(lambda: _require_format(call))
    return call.cube("data")


def _require_format(call: Call) -> bool:
    call.environment.require_format(call.value("format"), call.value("options") or {}, call.type_of("data"))
    return True

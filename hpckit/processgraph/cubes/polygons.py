"""Raster cubes within polygons: masked, cropped, and processed polygon by polygon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube, Geometries, Grid
from hpckit.processgraph.footprints import Footprints, footprints_of
from hpckit.processgraph.geometries import geometries_of, require_polygons
from hpckit.processgraph.planes import grid_of, in_order, with_planes_last
from hpckit.processgraph.process import Call, Callback, on_cubes
from hpckit.processgraph.replacing import nullable, replaced
from hpckit.space.box import Box

_FEW_PIXELS: Final = 1 << 24
"""Pixels of polygons that are looked through for overlaps before anything is computed."""


@on_cubes("mask_polygon")
def mask_polygon(call: Call) -> Cube:
    """Replace pixels outside of all polygons, or inside of any."""
    footprints = _polygons(call, "mask")
    data = with_planes_last(call.cube("data"))
    inside = _mask(footprints, data.box or NOTHING)
    where = inside if call.value("inside", False) else ~inside
    masked = data.with_values(replaced(data.values, where, call.value("replacement")))
    return in_order(masked, call.type_of("data").dims)


@on_cubes("filter_spatial")
def filter_spatial(call: Call) -> Cube:
    """Crop to the extent of geometries, and make all pixels null that belong to none of them."""
    grid = grid_of(call.type_of("data"))
    geometries, footprints = call.once(lambda: _footprints(call, grid))
    crop = footprints.around(footprints.reached)
    asked = call.asked if isinstance(call.asked, Box) and not crop.is_empty else NOTHING
    wanted = asked if asked.is_empty else asked.moved(crop.top, crop.left)
    data = with_planes_last(call.cube("data", wanted))
    masked = replace(
        data,
        values=replaced(data.values, ~_mask(footprints, wanted)),
        grid=grid.part(crop),
        box=asked,
        samples=geometries,
    )
    return in_order(masked, call.type_of("data").dims)


def _footprints(call: Call, grid: Grid) -> tuple[Geometries, Footprints]:
    found = geometries_of(call, "geometries")
    return found, footprints_of(found, grid)


@on_cubes("apply_polygon")
def apply_polygon(call: Call) -> Cube:
    """Call a process for the pixels of each polygon; pixels of no polygon are null afterwards."""
    made: _Segments = call.once(lambda: _Segments(call))
    asked = call.asked if isinstance(call.asked, Box) else NOTHING
    chosen = made.footprints.touching(asked)
    type_ = made.type
    result = np.full((*type_.values.shape[:-2], *asked.shape), np.nan, type_.values.dtype)
    taken = np.zeros(asked.shape, dtype=np.bool_)
    for number in chosen.tolist():
        extent = made.footprints.around(np.array([number]))
        here = _common(extent, asked)
        inside = made.footprints.pixels(np.array([number]), extent).mask()
        there = inside[_slices(here, extent)]
        if (taken[_slices(here, asked)] & there).any():
            raise _overlap()
        taken[_slices(here, asked)] |= there
        values = made.process(call, extent, inside)[(..., *_slices(here, extent))]
        np.copyto(result[(..., *_slices(here, asked))], values, where=there)
    found = replace(type_, values=result, box=asked)
    return in_order(found, call.type_of("data").dims)


@dataclass(init=False)
class _Segments:
    """The polygons of a call of `apply_polygon`, and what its process makes of them."""

    footprints: Footprints
    type: Cube
    """Result without pixels; y and x last."""

    def __init__(self, call: Call) -> None:
        self.footprints = footprints_of(_only_polygons(call, "geometries"), grid_of(call.type_of("data")))
        if self.footprints.sizes.sum() <= _FEW_PIXELS:
            _require_apart(self.footprints)
        found = self.process(call, NOTHING, np.zeros((0, 0), dtype=np.bool_))
        data = with_planes_last(call.type_of("data"))
        self.type = replace(data, values=found.astype(nullable(found.dtype)), box=NOTHING)

    def process(self, call: Call, extent: Box, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.generic]:
        """What the process makes of a rectangle of pixels around a polygon."""
        data = with_planes_last(call.cube("data", extent))
        cut = replaced(data.values, ~inside, call.value("mask_value"))
        grid = grid_of(data).part(extent)
        segment = replace(data, values=cut, grid=grid, box=grid.box)
        process: Callback = call.value("process")
        found = process(data=in_order(segment, call.type_of("data").dims), context=call.value("context"))
        if not isinstance(found, Cube) or set(found.names) != set(segment.names):
            raise GraphError(
                "the process of apply_polygon does not give a cube with the dimensions of the one that it gets",
                hint=f"they are {', '.join(segment.names)}",
                fault="ProcessParameterInvalid",
            )
        found = in_order(found, segment.dims)
        if found.values.shape != segment.values.shape:
            raise GraphError(
                "the process of apply_polygon gives a cube of another size", fault="ProcessParameterInvalid"
            )
        return found.values


def _polygons(call: Call, argument: str) -> Footprints:
    grid = grid_of(call.type_of("data"))
    found: Footprints = call.once(lambda: footprints_of(_only_polygons(call, argument), grid))
    return found


def _only_polygons(call: Call, argument: str) -> Geometries:
    geometries = geometries_of(call, argument)
    require_polygons(geometries, f"argument {argument!r}")
    return geometries


def _mask(footprints: Footprints, box: Box) -> npt.NDArray[np.bool_]:
    """Pixels of a part of the grid that belong to any geometry."""
    return footprints.pixels(footprints.touching(box), box).mask()


def _require_apart(footprints: Footprints) -> None:
    reached = footprints.reached
    pixels = footprints.pixels(reached, footprints.around(reached)).pixels
    if len(np.unique(pixels)) < len(pixels):
        raise _overlap()


def _overlap() -> GraphError:
    return GraphError(
        "geometries overlap: a pixel lies in several of them",
        hint="give polygons that do not overlap, so that each pixel is processed once",
        fault="GeometriesOverlap",
    )


def _common(one: Box, other: Box) -> Box:
    return Box(
        max(one.top, other.top), max(one.left, other.left), min(one.bottom, other.bottom), min(one.right, other.right)
    )


def _slices(box: Box, around: Box) -> tuple[slice, slice]:
    """Rows and columns of a box in an array of a larger one."""
    return (
        slice(box.top - around.top, box.bottom - around.top),
        slice(box.left - around.left, box.right - around.left),
    )

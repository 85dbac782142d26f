"""Cubes on the pixels of other grids."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube, Grid
from hpckit.processgraph.planes import in_order, with_planes_last
from hpckit.processgraph.process import Call
from hpckit.processgraph.replacing import nullable, with_null
from hpckit.space.box import Box
from hpckit.space.gather import METHODS, gather, reach
from hpckit.space.warp import needed, warp

_WARPED: Final = {"near": "nearest", "bilinear": "bilinear", "cubic": "cubic", "average": "average"}


def warped(call: Call, name: str, grid: Grid, box: Box, method: str) -> Cube:
    """An argument resampled onto pixels of a grid; null where it has no data.

    Parameters
    ----------
    call : Call
    name : str
        Argument; a raster cube of numbers.
    grid : Grid
        Of the result.
    box : Box
        Pixels of it; `NOTHING` for the type.
    method : str
        openEO's name: `near`, `bilinear`, `cubic`, `average`, or one of `hpckit.space.gather.METHODS`.

    Raises
    ------
    GraphError
        If there is no such method, or the values are no numbers.
    """
    kind = call.type_of(name)
    assert kind.grid is not None
    if method not in _WARPED and method not in METHODS:
        listed = ", ".join(sorted({*_WARPED, *METHODS}))
        raise GraphError(
            f"there is no resampling method {method!r}",
            hint=f"it is one of {listed}",
            fault="ProcessParameterInvalid",
        )
    if kind.values.dtype.kind == "O":
        raise GraphError("only numbers can be resampled", fault="ProcessParameterInvalid")
    dtype = nullable(kind.values.dtype)
    if box == NOTHING:
        return replace(kind, values=kind.values.astype(dtype), grid=grid)
    source, target = kind.grid.geobox(kind.grid.box), grid.geobox(box)
    window: Any = needed(source, target, _WARPED[method]) if method in _WARPED else reach(source, target, method)  # type: ignore[arg-type]
    planes = with_planes_last(kind)
    made = np.full((*planes.values.shape[:-2], *box.shape), np.nan, dtype)
    if window is not None:
        rows, columns = window
        part = with_planes_last(call.cube(name, Box(rows.start, columns.start, rows.stop, columns.stop)))
        values, pull = with_null(part.values), _pull(method)
        for place in np.ndindex(values.shape[:-2]):
            pull(np.ascontiguousarray(values[place]), source[rows, columns], target, out=made[place])
    return in_order(replace(planes, values=made, grid=grid, box=box), kind.dims)


def _pull(method: str) -> Any:
    if method in _WARPED:
        return partial(warp, resampling=_WARPED[method], nodata=np.nan)  # type: ignore[arg-type]
    return partial(gather, method=method)

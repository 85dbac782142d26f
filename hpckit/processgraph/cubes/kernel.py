"""Weighted sums of neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled
from hpckit.base.quantities import format_count
from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube, Values
from hpckit.processgraph.cubes.parts import box_asked
from hpckit.processgraph.planes import grid_of, in_order, with_planes_last
from hpckit.processgraph.process import Call, on_cubes
from hpckit.space.box import Box

_BORDERS: Final = ("replicate", "reflect", "reflect_pixel", "wrap")
_Places = npt.NDArray[np.intp]


@on_cubes("apply_kernel")
def apply_kernel(call: Call) -> Cube:
    """Sum the pixels around each one with weights."""
    grid, kernel = grid_of(call.type_of("data")), _kernel(call.value("kernel"))
    border, invalid = call.value("border", 0), call.value("replace_invalid", 0)
    if border not in _BORDERS and not _is_number(border):
        raise GraphError(
            f"there is no border {border!r}",
            hint=f"it is a number or one of {', '.join(_BORDERS)}",
            fault="ProcessParameterInvalid",
        )
    kind, asked = call.type_of("data"), box_asked(call)
    if kind.values.dtype.kind == "O":
        raise GraphError("a kernel needs numbers", fault="ProcessParameterInvalid")
    dtype = np.result_type(kind.values.dtype, np.float32)
    if asked == NOTHING:
        return kind.with_values(kind.values.astype(dtype))
    planes = with_planes_last(kind)
    rows, columns = (
        _places(start - size // 2, stop + size // 2, count, border)
        for start, stop, size, count in zip(
            (asked.top, asked.left), (asked.bottom, asked.right), kernel.shape, grid.shape, strict=True
        )
    )
    parts = list(_read(call, rows, columns))
    factor = float(call.value("factor", 1))
    made = np.empty((*planes.values.shape[:-2], *asked.shape), dtype)
    for place in np.ndindex(made.shape[:-2]):
        around = np.full((len(rows), len(columns)), border if _is_number(border) else 0, dtype)
        for part in parts:
            part.put(around, place, dtype.type(invalid))
        _convolved(around, kernel, factor, made[place])
    return in_order(replace(planes, values=made, box=asked), kind.dims)


def _kernel(given: Any) -> npt.NDArray[np.float64]:
    try:
        kernel = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise GraphError(
            "the kernel is no two-dimensional array of numbers", fault="ProcessParameterInvalid"
        ) from error
    if kernel.ndim != 2 or not kernel.size or not np.isfinite(kernel).all():
        raise GraphError("the kernel is no two-dimensional array of numbers", fault="ProcessParameterInvalid")
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        rows, columns = format_count(kernel.shape[0], "row"), format_count(kernel.shape[1], "column")
        raise GraphError(
            f"the kernel has {rows} and {columns}, and both must be odd",
            fault="KernelDimensionsUneven",
        )
    return kernel


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _places(start: int, stop: int, count: int, border: Any) -> _Places:
    """Which pixel of a row or column stands at each position from start to stop; -1 for the constant."""
    at = np.arange(start, stop)
    if border == "wrap":
        return at % count
    if border == "replicate":
        return np.clip(at, 0, count - 1)
    if border == "reflect":
        at = at % (2 * count)
        return np.where(at < count, at, 2 * count - 1 - at)
    if border == "reflect_pixel":
        period = max(2 * count - 2, 1)
        at = at % period
        return np.where(at < count, at, period - at)
    return np.where((at >= 0) & (at < count), at, -1)


@dataclass(frozen=True)
class _Part:
    """Pixels that were read, and where they stand around those that are asked for."""

    values: Values
    """With y and x last."""
    down: _Places
    """Rows in which they stand, and for each which of their rows."""
    row: _Places
    along: _Places
    column: _Places

    def put(self, around: Values, place: tuple[int, ...], invalid: Any) -> None:
        """Put one plane in place, with a number where there is no finite one."""
        plane = self.values[place].astype(around.dtype, copy=False)
        plane = np.where(np.isfinite(plane), plane, invalid)
        if _is_run(self.row) and _is_run(self.column):
            around[self.down[0] : self.down[-1] + 1, self.along[0] : self.along[-1] + 1] = plane
        else:
            around[self.down[:, None], self.along] = plane[self.row[:, None], self.column]


def _read(call: Call, rows: _Places, columns: _Places) -> Iterator[_Part]:
    """Read the pixels of rows and columns, which may repeat: once each."""
    for top, bottom in _runs(rows):
        for left, right in _runs(columns):
            part = with_planes_last(call.cube("data", Box(top, left, bottom, right)))
            down = np.flatnonzero((rows >= top) & (rows < bottom))
            along = np.flatnonzero((columns >= left) & (columns < right))
            yield _Part(part.values, down, rows[down] - top, along, columns[along] - left)


def _runs(places: _Places) -> list[tuple[int, int]]:
    """Ranges of neighbouring pixels among some."""
    known = np.unique(places[places >= 0])
    cuts = np.flatnonzero(np.diff(known) > 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(known, cuts) if len(run)]


def _is_run(places: _Places) -> bool:
    return bool((np.diff(places) == 1).all())


def _convolved(around: Values, kernel: npt.NDArray[np.float64], factor: float, out: Values) -> None:
    factors = _factors(kernel) if kernel.size >= _WORTH_TWO_PASSES else None
    if factors is None:
        _convolve(around, kernel, factor, out)
        return
    column, row = factors
    between = np.empty((around.shape[0], out.shape[1]))
    _convolve(around, row[None], 1.0, between)
    _convolve(between, column[:, None], factor, out)


def _factors(kernel: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """A column and a row whose products are the kernel; None if there are none."""
    top, left = np.unravel_index(np.argmax(np.abs(kernel)), kernel.shape)
    pivot = kernel[top, left]
    if pivot == 0.0:
        return None
    column, row = kernel[:, left].copy(), kernel[top] / pivot
    return (column, row) if np.abs(np.outer(column, row) - kernel).max() <= 4e-16 * abs(pivot) else None


_WORTH_TWO_PASSES: Final = 25
"""Weights from which on two sums of rows and columns cost less than one of all."""


@compiled(nogil=True)
def _convolve(around, kernel, factor, out):  # type: ignore[no-untyped-def]
    """Sum row by row: each pixel's terms are added in the same order, wherever the part begins."""
    rows, columns = out.shape
    line = np.empty(columns)
    for row in range(rows):
        line[:] = 0.0
        for down in range(kernel.shape[0]):
            for along in range(kernel.shape[1]):
                weight = kernel[down, along]
                if weight != 0.0:
                    for column in range(columns):
                        line[column] += weight * around[row + down, column + along]
        for column in range(columns):
            out[row, column] = line[column] * factor

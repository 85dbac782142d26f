"""Resampling by what a target pixel covers of the source, and by wide kernels; `warp` has the other methods.

Positions, control points and the rule that a target pixel has a value where its centre lies in a valid source pixel
are those of `hpckit.space.warp`. Statistics are of the valid source pixels that a target pixel covers, as GDAL's:
quantiles select the value at position ceil(q n) of n, the mode is the value with the largest area and the first of
several, the sum weights each pixel by the share of it that is covered. Kernels are GDAL's: the cubic B-spline (radius
2) and Lanczos' (radius 3), widened where the source is finer.
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled
from hpckit.space.warp import STEP, control_points

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

METHODS: Final = {
    "min": 0, "max": 1, "sum": 2, "rms": 3, "mode": 4, "q1": 5, "med": 6, "q3": 7, "cubicspline": 8, "lanczos": 9
}  # fmt: skip
_RADII: Final = {"cubicspline": 2.0, "lanczos": 3.0}
_SNAP: Final = 1e-6


def gather(
    values: npt.NDArray[Any], source: GeoBox, target: GeoBox, method: str, out: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Resample a raster onto the pixels of a target.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape `source.shape`
        NaN has no data.
    source, target : GeoBox
        Where they lie, and pixels that are wanted, in any CRS.
    method : str
        One of `METHODS`.
    out : ndarray, shape `target.shape`
        Filled in place; what has no data is left as it is.
    """
    (first_row, first_column), columns, rows = control_points(source, target)
    _gather(values, out, columns, rows, first_row, first_column, STEP, METHODS[method])
    return out


def reach(source: GeoBox, target: GeoBox, method: str) -> tuple[slice, slice] | None:
    """Rows and columns of a source that a target is made from; None where the two do not meet."""
    _, columns, rows = control_points(source, target)
    if not np.isfinite(columns).any():
        return None
    radius = _RADII.get(method, 0.5)
    window = [_along(along, size, radius) for along, size in zip((rows, columns), source.shape, strict=True)]
    if any(start >= stop for start, stop in window):
        return None
    return slice(*window[0]), slice(*window[1])


def _along(along: npt.NDArray[np.float64], size: int, radius: float) -> tuple[int, int]:
    finite = np.where(np.isfinite(along), along, np.nan)
    steps = [np.nanmax(np.abs(np.diff(finite, axis=axis)), initial=0.0) for axis in (0, 1) if along.shape[axis] > 1]
    margin = ceil(radius * max([1.0, *(step / STEP for step in steps if np.isfinite(step))])) + 1
    return max(0, floor(np.nanmin(finite)) - margin), min(size, ceil(np.nanmax(finite)) + margin)


@compiled(nogil=True)
def _gather(values, out, columns, rows, first_row, first_column, step, method):  # type: ignore[no-untyped-def]
    for block_row in range(columns.shape[0] - 1):
        top = first_row + block_row * step
        for block_column in range(columns.shape[1] - 1):
            left = first_column + block_column * step
            x00, x01 = columns[block_row, block_column], columns[block_row, block_column + 1]
            x10, x11 = columns[block_row + 1, block_column], columns[block_row + 1, block_column + 1]
            y00, y01 = rows[block_row, block_column], rows[block_row, block_column + 1]
            y10, y11 = rows[block_row + 1, block_column], rows[block_row + 1, block_column + 1]
            if not (np.isfinite(x00 + x01 + x10 + x11) and np.isfinite(y00 + y01 + y10 + y11)):
                continue
            scale_x = max(abs(x01 - x00), abs(x10 - x00)) / step
            scale_y = max(abs(y01 - y00), abs(y10 - y00)) / step
            size = (int(np.ceil(scale_x)) + 2) * (int(np.ceil(scale_y)) + 2)
            found, weights = np.empty(size), np.empty(size)
            for row in range(max(top, 0), min(top + step, out.shape[0])):
                down = (row - top) / step
                x, dx = x00 + (x10 - x00) * down, (x01 - x00 + (x11 - x10 - x01 + x00) * down) / step
                y, dy = y00 + (y10 - y00) * down, (y01 - y00 + (y11 - y10 - y01 + y00) * down) / step
                for column in range(max(left, 0), min(left + step, out.shape[1])):
                    at_x, at_y = x + dx * (column - left), y + dy * (column - left)
                    i, j = int(np.floor(at_y + _SNAP)), int(np.floor(at_x + _SNAP))
                    if i < 0 or j < 0 or i >= values.shape[0] or j >= values.shape[1]:
                        continue
                    if np.isnan(values[i, j]):
                        continue
                    if method >= 8:
                        out[row, column] = _weighted(values, at_y, at_x, max(scale_y, 1.0), max(scale_x, 1.0), method)
                    else:
                        count = _covered(values, at_y, at_x, scale_y, scale_x, found, weights)
                        if count == 0:
                            found[0], weights[0], count = values[i, j], 1.0, 1
                        out[row, column] = _statistic(found[:count], weights[:count], method)


@compiled(nogil=True)
def _covered(values, y, x, scale_y, scale_x, found, weights):  # type: ignore[no-untyped-def]
    """Valid values that a target pixel covers, with the share of each pixel; their number."""
    top, bottom = y - 0.5 * scale_y, y + 0.5 * scale_y
    left, right = x - 0.5 * scale_x, x + 0.5 * scale_x
    count = 0
    for i in range(max(0, int(np.floor(top + _SNAP))), min(values.shape[0], int(np.ceil(bottom - _SNAP)))):
        down = min(bottom, i + 1.0) - max(top, float(i))
        for j in range(max(0, int(np.floor(left + _SNAP))), min(values.shape[1], int(np.ceil(right - _SNAP)))):
            if not np.isnan(values[i, j]):
                found[count] = values[i, j]
                weights[count] = down * (min(right, j + 1.0) - max(left, float(j)))
                count += 1
    return count


@compiled(nogil=True)
def _statistic(found, weights, method):  # type: ignore[no-untyped-def]
    if method == 0:
        return found.min()
    if method == 1:
        return found.max()
    if method == 2:
        return (found * weights).sum()
    if method == 3:
        return np.sqrt((found * found * weights).sum() / weights.sum())
    if method == 4:
        return _mode(found, weights)
    share = 0.25 * (method - 4)
    return np.sort(found)[max(0, int(np.ceil(share * len(found) - 1e-9)) - 1)]


@compiled(nogil=True)
def _mode(found, weights):  # type: ignore[no-untyped-def]
    best, most = found[0], -1.0
    for n in range(len(found)):
        total = 0.0
        for m in range(len(found)):
            if found[m] == found[n]:
                if m < n:
                    break  # counted before
                total += weights[m]
        if total > most + _SNAP:
            best, most = found[n], total
    return best


@compiled(nogil=True)
def _shape(t, method):  # type: ignore[no-untyped-def]
    """Weight of a kernel at a distance from its centre."""
    t = abs(t)
    if method == 8:
        if t < 1.0:
            return (4.0 + t * t * (3.0 * t - 6.0)) / 6.0
        return (2.0 - t) ** 3 / 6.0 if t < 2.0 else 0.0
    if t >= 3.0:
        return 0.0
    if t < 1e-9:
        return 1.0
    return 3.0 * np.sin(np.pi * t) * np.sin(np.pi * t / 3.0) / (np.pi * np.pi * t * t)


@compiled(nogil=True)
def _weighted(values, y, x, scale_y, scale_x, method):  # type: ignore[no-untyped-def]
    radius = 2.0 if method == 8 else 3.0
    reach_y, reach_x = radius * scale_y, radius * scale_x
    total = weight = 0.0
    for i in range(
        max(0, int(np.ceil(y - 0.5 - reach_y))), min(values.shape[0], int(np.floor(y - 0.5 + reach_y)) + 1)
    ):
        down = _shape((i + 0.5 - y) / scale_y, method)
        for j in range(
            max(0, int(np.ceil(x - 0.5 - reach_x))), min(values.shape[1], int(np.floor(x - 0.5 + reach_x)) + 1)
        ):
            if not np.isnan(values[i, j]):
                w = down * _shape((j + 0.5 - x) / scale_x, method)
                total += w * values[i, j]
                weight += w
    # Beside a gap negative lobes may outweigh the rest.
    return total / weight if weight > 0.1 else values[int(np.floor(y + _SNAP)), int(np.floor(x + _SNAP))]

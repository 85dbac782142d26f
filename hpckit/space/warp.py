"""Resampling: pixels of one raster onto the lattice of another, by pull, in one pass.

Every target pixel asks where its centre lies in the source. That is computed exactly at control points, which
stand `STEP` pixels apart on the target's lattice, counted from the origin of its CRS, and linearly in between
(off by less than a hundredth of a pixel for pixels up to 300 m). So a pixel's value depends on the pixel alone,
and not on how the target was cut into windows.

A target pixel has a value if its centre lies in a valid source pixel. What is not valid has no weight:
bilinear takes the valid ones of its four neighbours, cubic falls back to bilinear beside a gap, average takes
the valid part of what the pixel covers. Formulas as GDAL has them: cubic convolution with a = -0.5 (Keys 1981,
doi:10.1109/TASSP.1981.1163711); where the source is finer than the target, the kernels of bilinear and cubic
widen with the ratio, so that nothing is skipped. Rounding is half up.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled

if TYPE_CHECKING:
    from affine import Affine
    from odc.geo.geobox import GeoBox

Resampling = Literal["nearest", "bilinear", "cubic", "average"]

STEP: Final = 16
"""Pixels from one control point to the next."""
_MODES: Final = {"nearest": 0, "bilinear": 1, "cubic": 2, "average": 3}
_EXACT: Final = 1e-6
"""Pixels by which two lattices may differ and still be one."""
_SNAP: Final = 1e-6
_WIDEN_ABOVE: Final = 1 / 0.95
"""Ratio of pixel sizes from which kernels widen; GDAL's."""


def warp(
    values: npt.NDArray[Any],
    source: GeoBox,
    target: GeoBox,
    resampling: Resampling,
    *,
    nodata: float,
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Resample a raster onto the pixels of a target.

    Parameters
    ----------
    values : ndarray of uint8, uint16, int16 or float32, shape `source.shape`
    source : GeoBox
        Where they lie; any affine transform.
    target : GeoBox
        Pixels that are wanted, in any CRS.
    resampling : {"nearest", "bilinear", "cubic", "average"}
        Where both have the same pixels, all of them copy.
    nodata : float
        Value of pixels without data, in source and target; NaN for floats. NaN never counts as data. A valid
        integer never turns to nodata: it moves by one.
    out : ndarray, shape `target.shape`, optional
        Filled in place, where it holds nodata only: the first source with a valid pixel wins.

    Returns
    -------
    ndarray of the dtype of `values`, shape `target.shape`
        `out`, or a new array that is nodata where the source has no data.
    """
    if values.shape != tuple(source.shape):
        raise ValueError(f"values have the shape {values.shape}, their geobox {tuple(source.shape)}")
    if out is None:
        out = np.full(tuple(target.shape), nodata, dtype=values.dtype)
    offset = same_lattice(source, target)
    if offset is not None:
        _copy(values, out, offset, nodata)
        return out
    first, columns, rows = control_points(source, target)
    low, high = (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else (0, 0)
    fill = values.dtype.type(nodata)
    _pull(values, out, fill, columns, rows, *first, STEP, _MODES[resampling], low, high)
    return out


def needed(source: GeoBox, target: GeoBox, resampling: Resampling) -> tuple[slice, slice] | None:
    """Rows and columns of a source that a target is made from; None where the two do not meet.

    Decode these, and hand them to `warp` with `source[rows, columns]`.
    """
    offset = same_lattice(source, target)
    if offset is not None:
        window = tuple(
            (max(0, start), min(size, start + length))
            for start, length, size in zip(offset, target.shape, source.shape, strict=True)
        )
    else:
        _, columns, rows = control_points(source, target)
        if not np.isfinite(columns).any():
            return None
        window = tuple(
            _reach(along, size, resampling) for along, size in zip((rows, columns), source.shape, strict=True)
        )
    if any(start >= stop for start, stop in window):
        return None
    return slice(*window[0]), slice(*window[1])


def same_lattice(source: GeoBox, target: GeoBox) -> tuple[int, int] | None:
    """Row and column of the target's first pixel in the source, if both have the same pixels; else None."""
    if source.crs != target.crs:
        return None
    a, b, c, d, e, f = tuple(~source.transform * target.transform)[:6]
    reach = max(*target.shape, 1)
    same = abs(a - 1) * reach < _EXACT and abs(e - 1) * reach < _EXACT and (abs(b) + abs(d)) * reach < _EXACT
    if not same or abs(c - round(c)) > _EXACT or abs(f - round(f)) > _EXACT:
        return None
    return round(f), round(c)


def _copy(values: npt.NDArray[Any], out: npt.NDArray[Any], offset: tuple[int, int], nodata: float) -> None:
    row, column = offset
    top, left = max(0, -row), max(0, -column)
    bottom = min(out.shape[0], values.shape[0] - row)
    right = min(out.shape[1], values.shape[1] - column)
    if top >= bottom or left >= right:
        return
    given = values[row + top : row + bottom, column + left : column + right]
    part = out[top:bottom, left:right]
    np.copyto(part, given, where=np.isnan(part) if nodata != nodata else part == nodata)


def _reach(along: npt.NDArray[np.float64], size: int, resampling: Resampling) -> tuple[int, int]:
    """First and last source pixel that may have weight, on one axis."""
    finite = np.where(np.isfinite(along), along, np.nan)
    steps = [np.nanmax(np.abs(np.diff(finite, axis=axis)), initial=0.0) for axis in (0, 1) if along.shape[axis] > 1]
    scale = max([1.0, *(step / STEP for step in steps if np.isfinite(step))])
    margin = ceil({"nearest": 0.0, "bilinear": 1.0, "cubic": 2.0, "average": 0.5}[resampling] * scale) + 1
    return max(0, floor(np.nanmin(finite)) - margin), min(size, ceil(np.nanmax(finite)) + margin)


def control_points(
    source: GeoBox, target: GeoBox
) -> tuple[tuple[int, int], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where control points lie in the source.

    Returns
    -------
    first : tuple of int
        Row and column of the first control point in the target, zero or less.
    columns, rows : ndarray of float64
        Source coordinates in pixels (0 is the outer edge of the first one) of the centres of the target pixels
        that are control points; infinite where there is no transformation.
    """
    first, x, y = _projected(target, str(source.crs))
    return first, *_apply(~source.transform, x, y)


@lru_cache(maxsize=16)
def _projected(target: GeoBox, crs: str) -> tuple[tuple[int, int], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """First control point of a target, and all of them in the coordinates of a source: the same for all dates."""
    first_row, row = _lattice(target.transform.f / target.transform.e, target.shape[0])
    first_column, column = _lattice(target.transform.c / target.transform.a, target.shape[1])
    x, y = _apply(target.transform, *np.meshgrid(column + 0.5, row + 0.5))
    if crs != str(target.crs):
        x, y = transformer(str(target.crs), crs).transform(x, y)
    x.flags.writeable = y.flags.writeable = False
    return (first_row, first_column), x, y


def _apply(
    transform: Affine, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Many points through an affine transform."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * x + b * y + c, d * x + e * y + f


def _lattice(origin: float, count: int) -> tuple[int, npt.NDArray[np.float64]]:
    """First control point, and all, so that pixels 0 to `count` - 1 lie between them; in target pixels."""
    first = -(floor(origin + _EXACT) % STEP)
    last = first + ceil((count - first) / STEP) * STEP
    return first, np.arange(first, last + 1, STEP, dtype=np.float64)


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> Any:
    """From one CRS to another, x before y."""
    import pyproj

    return pyproj.Transformer.from_crs(source, target, always_xy=True)


@compiled(nogil=True)
def _valid(value, nodata):  # type: ignore[no-untyped-def]
    return value == value and value != nodata


@compiled(nogil=True)
def _pull(values, out, nodata, columns, rows, first_row, first_column, step, mode, low, high):  # type: ignore[no-untyped-def]
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
            for row in range(max(top, 0), min(top + step, out.shape[0])):
                down = (row - top) / step
                x, dx = x00 + (x10 - x00) * down, (x01 - x00 + (x11 - x10 - x01 + x00) * down) / step
                y, dy = y00 + (y10 - y00) * down, (y01 - y00 + (y11 - y10 - y01 + y00) * down) / step
                for column in range(max(left, 0), min(left + step, out.shape[1])):
                    if _valid(out[row, column], nodata):
                        continue
                    at_x, at_y = x + dx * (column - left), y + dy * (column - left)
                    i, j = int(np.floor(at_y + _SNAP)), int(np.floor(at_x + _SNAP))
                    if i < 0 or j < 0 or i >= values.shape[0] or j >= values.shape[1]:
                        continue
                    if not _valid(values[i, j], nodata):
                        continue
                    if mode == 0:
                        out[row, column] = values[i, j]
                    else:
                        result = _mixed(values, nodata, at_y, at_x, scale_y, scale_x, mode)
                        out[row, column] = _stored(result, nodata, low, high)


@compiled(nogil=True)
def _mixed(values, nodata, y, x, scale_y, scale_x, mode):  # type: ignore[no-untyped-def]
    """Value of several source pixels."""
    if mode == 3:
        return _average(values, nodata, y, x, scale_y, scale_x)
    if max(scale_x, scale_y) > _WIDEN_ABOVE:
        return _wide(values, nodata, y, x, scale_y, scale_x, mode)
    return _bilinear(values, nodata, y, x) if mode == 1 else _cubic(values, nodata, y, x)


@compiled(nogil=True)
def _stored(result, nodata, low, high):  # type: ignore[no-untyped-def]
    """What an integer raster holds of a result: rounded half up, within its range, and never nodata."""
    if low == high:
        return result
    number = min(max(np.floor(result + 0.5), low), high)
    if number == nodata:
        number += 1.0 if number < high else -1.0
    return number


@compiled(nogil=True)
def _bilinear(values, nodata, y, x):  # type: ignore[no-untyped-def]
    i, j = int(np.floor(y - 0.5)), int(np.floor(x - 0.5))
    fy, fx = y - 0.5 - i, x - 0.5 - j
    total = weight = 0.0
    for di in range(2):
        for dj in range(2):
            if 0 <= i + di < values.shape[0] and 0 <= j + dj < values.shape[1]:
                value = values[i + di, j + dj]
                if _valid(value, nodata):
                    w = (fy if di else 1 - fy) * (fx if dj else 1 - fx)
                    total += w * value
                    weight += w
    return total / weight


@compiled(nogil=True)
def _keys(t):  # type: ignore[no-untyped-def]
    """Weights of the four neighbours at `t` between the middle two."""
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


@compiled(nogil=True)
def _cubic(values, nodata, y, x):  # type: ignore[no-untyped-def]
    i, j = int(np.floor(y - 0.5)) - 1, int(np.floor(x - 0.5)) - 1
    if i < 0 or j < 0 or i + 4 > values.shape[0] or j + 4 > values.shape[1]:
        return _bilinear(values, nodata, y, x)
    down, along = _keys(y - 1.5 - i), _keys(x - 1.5 - j)
    total = 0.0
    for di in range(4):
        a, b, c, d = values[i + di, j], values[i + di, j + 1], values[i + di, j + 2], values[i + di, j + 3]
        if not (_valid(a, nodata) and _valid(b, nodata) and _valid(c, nodata) and _valid(d, nodata)):
            return _bilinear(values, nodata, y, x)
        total += down[di] * (along[0] * a + along[1] * b + along[2] * c + along[3] * d)
    return total


@compiled(nogil=True)
def _kernel(t, mode):  # type: ignore[no-untyped-def]
    t = abs(t)
    if mode == 1:
        return max(0.0, 1.0 - t)
    if t < 1.0:
        return (1.5 * t - 2.5) * t * t + 1.0
    return ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0 if t < 2.0 else 0.0


@compiled(nogil=True)
def _wide(values, nodata, y, x, scale_y, scale_x, mode):  # type: ignore[no-untyped-def]
    """Bilinear or cubic with a kernel as wide as the target's pixels."""
    scale_y, scale_x = max(scale_y, 1.0), max(scale_x, 1.0)
    reach_y, reach_x = mode * scale_y, mode * scale_x
    total = weight = 0.0
    for i in range(
        max(0, int(np.ceil(y - 0.5 - reach_y))), min(values.shape[0], int(np.floor(y - 0.5 + reach_y)) + 1)
    ):
        down = _kernel((i + 0.5 - y) / scale_y, mode)
        for j in range(
            max(0, int(np.ceil(x - 0.5 - reach_x))), min(values.shape[1], int(np.floor(x - 0.5 + reach_x)) + 1)
        ):
            value = values[i, j]
            if _valid(value, nodata):
                w = down * _kernel((j + 0.5 - x) / scale_x, mode)
                total += w * value
                weight += w
    # Beside a gap negative lobes may outweigh the rest.
    return total / weight if weight > 0.1 else _bilinear(values, nodata, y, x)


@compiled(nogil=True)
def _average(values, nodata, y, x, scale_y, scale_x):  # type: ignore[no-untyped-def]
    """Mean of the valid pixels by the area of each within the target's pixel."""
    top, bottom = y - 0.5 * scale_y, y + 0.5 * scale_y
    left, right = x - 0.5 * scale_x, x + 0.5 * scale_x
    total = weight = 0.0
    for i in range(max(0, int(np.floor(top + _SNAP))), min(values.shape[0], int(np.ceil(bottom - _SNAP)))):
        down = min(bottom, i + 1.0) - max(top, float(i))
        for j in range(max(0, int(np.floor(left + _SNAP))), min(values.shape[1], int(np.ceil(right - _SNAP)))):
            value = values[i, j]
            if _valid(value, nodata):
                w = down * (min(right, j + 1.0) - max(left, float(j)))
                total += w * value
                weight += w
    return total / weight if weight > 0.0 else float(values[int(np.floor(y + _SNAP)), int(np.floor(x + _SNAP))])

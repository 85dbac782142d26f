"""Whittaker smoothing of each pixel over its dates, on the CPU.

The curve is that of Whittaker's smoother on a grid of days (Whittaker 1923, Proc. Edinburgh Math. Soc. 41; Eilers
2003, Analytical Chemistry 75): it makes the squares of the residuals of the observations plus `lam` times the squares
of the second differences of all days least. A day without observation has weight 0. Upper or lower envelopes come
from asymmetric weights (Eilers & Boelens 2005), as the processors of MODIS series of FAO and WFP have them.

Days without observations cost nothing. Between observations the fourth differences of the curve are 0, so its second
differences are linear there, and Reinsch's algorithm of smoothing splines (1967, Numerische Mathematik 10) holds with
sums in the place of integrals. With gaps h of days between the observations, Q their second divided differences, and
R tridiagonal with (h + k) / 3 + (1/h + 1/k) / 6 beside gaps h and k, and k / 6 - 1 / (6 k) next to it,

    (R + lam Q' W^-1 Q) c = Q' y,    z = y - lam W^-1 Q c

where c are the second differences of the curve at the observations and z its values. A pixel has as many unknowns as
observations less two, and a matrix of five diagonals. Some pixels are solved side by side, each loop over them a
vector loop.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled, spread

LANES = 16
"""Pixels that are solved side by side: few enough that all of their numbers stay in the cache."""
_BLOCK = 64 * LANES
_ROW = np.uintp(LANES)
_TOP = np.uintp(2 * LANES)
"""Where the first observation stands: below two rows of zeros, so that the first rows are like all others."""
_WALL = 1e300
"""Diagonal of rows beyond a pixel's last observation: what they solve to is 0."""
MOST_TURNS = 10
"""Maximum number of times that weights of an envelope are computed; usually they stay the same after four to six."""

Stack = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]
_NO_MASK = np.zeros((1, 1), dtype=np.bool_)


def smooth(
    stack: Stack,
    days: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
    lam: float,
    envelope: float = 0.5,
    extend: int = 0,
    mask: Mask | None = None,
) -> npt.NDArray[np.float32]:
    """Values of the smooth curve of each pixel on the wanted days.

    Parameters
    ----------
    stack : ndarray of uint16, shape (dates, ...)
        0 is nodata.
    days : ndarray of int64, shape (dates,)
        Ascending. Observations of one day count as their mean, with the weight of all.
    wanted : ndarray of int64
        Ascending.
    lam : float
        How much smoothness counts, days cubed; 0 interpolates.
    envelope : float
        Between 0 and 1: weight of observations above the curve, over that of those above and below. 0.5 is no
        envelope, 0.9 draws the curve to the high values, 0.1 to the low ones.
    extend : int
        Days for which the curve goes on, as a line, before the first and after the last observation.

    Returns
    -------
    ndarray of float32, shape (len(wanted), ...)
        NaN further away from the observations than that. One observation makes a constant, two make a line.
    """
    flat = np.ascontiguousarray(stack).reshape(stack.shape[0], -1)
    left_out = _NO_MASK if mask is None else np.ascontiguousarray(mask).reshape(flat.shape)
    found = np.empty((len(wanted), flat.shape[1]), dtype=np.float32)
    knots, first = by_day(days)
    spread(
        _smooth, -(-flat.shape[1] // _BLOCK), flat, left_out, mask is not None, knots, first,
        np.asarray(wanted, np.int64), float(lam), float(envelope), extend, found,
    )  # fmt: skip
    return found.reshape(len(wanted), *stack.shape[1:])


def by_day(days: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct days, and the position of the first date of each; the number of dates stands at the end."""
    knots, first = np.unique(np.asarray(days, np.int64), return_index=True)
    return knots, np.append(first, len(days)).astype(np.int64)


@compiled(nogil=True, error_model="numpy")
def _smooth(start, stop, stack, mask, masked, knots, first, wanted, lam, envelope, extend, result):  # type: ignore[no-untyped-def]
    pixels = stack.shape[1]
    for number in range(start, stop):
        room = np.zeros((10, (len(knots) + 4) * LANES))
        after = np.empty((len(wanted), LANES), np.int64)
        end = np.empty(LANES, np.int64)
        for begin in range(number * _BLOCK, min(pixels, (number + 1) * _BLOCK), LANES):
            lanes = min(LANES, pixels - begin)
            height = _gather(stack, mask, masked, knots, first, wanted, begin, lanes, room, after, end)
            _fit(room, height, end, lam, envelope)
            for step in range(len(wanted)):
                _draw(room, after[step], end, np.float64(wanted[step]), extend, result[step, begin : begin + lanes])


@compiled(nogil=True, error_model="numpy")
def _gather(stack, mask, masked, knots, first, wanted, begin, lanes, room, after, end):  # type: ignore[no-untyped-def]
    """Put the observations of each pixel one below the other: day, value, one over the weight; return their number.

    `end` is where the observations of each pixel end, `after` where the first one not before a wanted day stands.
    """
    day, value, share = room[0], room[1], room[2]
    seen, total = np.empty(LANES), np.zeros(LANES)
    step = 0
    for p in range(LANES):
        end[p] = 2 * LANES + p
    for knot in range(len(knots)):
        while step < len(wanted) and wanted[step] <= knots[knot]:
            after[step] = end
            step += 1
        seen[:], total[:] = 0, 0
        for date in range(first[knot], first[knot + 1]):
            row = stack[date, begin : begin + lanes]
            left_out = mask[date, begin : begin + lanes] if masked else mask[0]
            for p in range(lanes):
                number = row[p] * np.uint16(not left_out[p]) if masked else row[p]
                total[p] += np.float64(number)
                seen[p] += np.float64(number != 0)
        for p in range(lanes):  # what is not there is overwritten by the next one that is
            place, some = end[p], max(seen[p], 1.0)
            day[place], value[place], share[place] = knots[knot], total[p] / some, 1 / some
            end[p] = place + LANES * (seen[p] > 0)
    after[step:] = end
    bottom = end.max() // LANES * LANES
    for p in range(LANES):  # days go on below the last observation, so that no gap is 0
        for place in range(end[p], bottom + 2 * LANES + p, LANES):
            day[place], value[place], share[place] = day[place - LANES] + 1, 0, 0
    return bottom // LANES - 2


@compiled(nogil=True, error_model="numpy")
def _fit(room, height, end, lam, envelope):  # type: ignore[no-untyped-def]
    """Find the curves; for an envelope again and again, until the weights stay the same."""
    value, share, weighed, curve = room[1], room[2], room[3], room[4]
    weighed[:] = share
    _solve(room, height, end, lam)
    if envelope == 0.5:
        return
    over, under = 0.5 / envelope, 0.5 / (1 - envelope)
    for _ in range(MOST_TURNS):
        changed = 0
        for i in range(2 * LANES, (height + 2) * LANES):
            new = share[i] * (over if value[i] > curve[i] else under)
            changed += new != weighed[i]
            weighed[i] = new
        if changed == 0:
            return
        _solve(room, height, end, lam)


@compiled(nogil=True, error_model="numpy")
def _solve(room, height, end, lam):  # type: ignore[no-untyped-def]
    """Solve the five diagonals by L D L', row by row for all pixels; unsigned places make vector loops."""
    day, value, share, curve, inverse = room[0], room[1], room[3], room[4], room[5]
    bend, diagonal, near, far = room[6], room[7], room[8], room[9]
    below = _TOP + np.uintp(height) * _ROW
    for i in range(_TOP, below):
        inverse[i] = 1 / (day[i + _ROW] - day[i])
    bend[:] = 0
    if height > 2:
        _set_up(day, value, share, inverse, bend, diagonal, near, far, below, lam)
        for p in range(LANES):
            for place in range(max(end[p] - LANES, 3 * LANES + p), (height + 1) * LANES, LANES):
                diagonal[place] = _WALL
        for begin in range(_TOP + _ROW, below - _ROW, _ROW):
            _eliminate(bend, diagonal, near, far, begin)
        for begin in range(below - _ROW - _ROW, _TOP, -LANES):
            _substitute(bend, diagonal, near, far, np.uintp(begin))
    for i in range(_TOP, below):
        slope, before = (bend[i + _ROW] - bend[i]) * inverse[i], (bend[i] - bend[i - _ROW]) * inverse[i - _ROW]
        curve[i] = value[i] - lam * share[i] * (slope - before)


@compiled(nogil=True, error_model="numpy")
def _set_up(day, value, share, inverse, bend, diagonal, near, far, below, lam):  # type: ignore[no-untyped-def]
    """Write the diagonals, and the right hand side into `bend`; one loop for each, which vectors take."""
    for i in range(_TOP + _ROW, below - _ROW):
        a, b = inverse[i - _ROW], inverse[i]
        fit = a * a * share[i - _ROW] + (a + b) * (a + b) * share[i] + b * b * share[i + _ROW]
        diagonal[i] = (day[i + _ROW] - day[i - _ROW]) / 3 + (a + b) / 6 + lam * fit
    for i in range(_TOP + _ROW, below - _ROW):
        a, b, c = inverse[i - _ROW], inverse[i], inverse[i + _ROW]
        fit = b * ((a + b) * share[i] + (b + c) * share[i + _ROW])
        near[i] = (day[i + _ROW] - day[i] - b) / 6 - lam * fit
    for i in range(_TOP + _ROW, below - _ROW):
        far[i] = lam * inverse[i] * inverse[i + _ROW] * share[i + _ROW]
    for i in range(_TOP + _ROW, below - _ROW):
        bend[i] = (value[i + _ROW] - value[i]) * inverse[i] - (value[i] - value[i - _ROW]) * inverse[i - _ROW]


@compiled(nogil=True, error_model="numpy")
def _eliminate(bend, diagonal, near, far, begin):  # type: ignore[no-untyped-def]
    """Factor one row, and carry its right hand side forward."""
    for i in range(begin, begin + _ROW):
        one, two = near[i - _ROW], far[i - _TOP]
        carried = diagonal[i - _ROW] * one
        pivot = diagonal[i] - carried * one - diagonal[i - _TOP] * two * two
        diagonal[i] = pivot
        near[i] = (near[i] - carried * far[i - _ROW]) / pivot
        far[i] = far[i] / pivot
        bend[i] = bend[i] - one * bend[i - _ROW] - two * bend[i - _TOP]


@compiled(nogil=True, error_model="numpy")
def _substitute(bend, diagonal, near, far, begin):  # type: ignore[no-untyped-def]
    for i in range(begin, begin + _ROW):
        bend[i] = bend[i] / diagonal[i] - near[i] * bend[i + _ROW] - far[i] * bend[i + _TOP]


@compiled(nogil=True, error_model="numpy")
def _draw(room, after, end, at, extend, result):  # type: ignore[no-untyped-def]
    """Values on one day: of the cubic between two observations, of a line before the first and after the last."""
    day, curve, bend = room[0], room[4], room[6]
    for p in range(len(result)):
        first, last = 2 * LANES + p, end[p] - LANES
        right = max(min(after[p], last), first + LANES)
        left = right - LANES
        gap = day[right] - day[left]
        low, high = (day[right] - at) / gap, (at - day[left]) / gap
        straight = low * curve[left] + high * curve[right]
        cubic = low * high * gap * gap * ((1 + high) * bend[right] + (1 + low) * bend[left])
        before, beyond = (gap * gap - 1) * bend[right] * high, (gap * gap - 1) * bend[left] * low
        cubic = before if high < 0 else beyond if low < 0 else cubic
        found = curve[first] if last <= first else straight - cubic / 6
        outside = last < first or at < day[first] - extend or at > day[last] + extend
        result[p] = np.nan if outside else found

"""Whittaker smoothing on a GPU: the twin of `hpckit.reduce.kernels.smooth_cpu`, where the formulas stand.

One thread solves one pixel after another. What it needs for that lies in global memory, those of neighbouring threads
side by side; enough threads run to fill a GPU, and the room does not grow with the pixels.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import config, cuda, float64

from hpckit.reduce.kernels.smooth_cpu import MOST_TURNS, Mask, Stack, by_day

__all__ = ["smooth"]

_THREADS = 8 if config.ENABLE_CUDASIM else 128
_BLOCKS = 512
_DAY, _VALUE, _SHARE, _WEIGHED, _CURVE, _BEND, _DIAGONAL, _NEAR, _FAR = range(9)


def smooth(
    stack: Stack,
    days: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
    lam: float,
    envelope: float = 0.5,
    extend: int = 0,
    mask: Mask | None = None,
) -> npt.NDArray[np.float32]:
    """Values of the smooth curve of each pixel on the wanted days; see the CPU twin."""
    flat = np.ascontiguousarray(stack).reshape(len(stack), -1)
    left_out = np.zeros((1, 1), np.bool_) if mask is None else np.ascontiguousarray(mask).reshape(flat.shape)
    pixels = flat.shape[1]
    blocks = max(1, min(_BLOCKS, -(-pixels // _THREADS)))
    knots, first = by_day(days)
    room = cuda.device_array((9, len(knots) + 2, blocks * _THREADS), np.float64)
    found = cuda.device_array((len(wanted), pixels), np.float32)
    _smooth[blocks, _THREADS](
        cuda.to_device(flat),
        cuda.to_device(left_out),
        mask is not None,
        cuda.to_device(knots),
        cuda.to_device(first),
        cuda.to_device(np.asarray(wanted, np.int64)),
        float(lam),
        float(envelope),
        extend,
        room,
        found,
    )
    return np.asarray(found.copy_to_host()).reshape(len(wanted), *stack.shape[1:])


@cuda.jit
def _smooth(stack, mask, masked, knots, first, wanted, lam, envelope, extend, room, result):  # type: ignore[no-untyped-def]
    thread, threads = cuda.grid(1), cuda.gridsize(1)
    for p in range(thread, stack.shape[1], threads):
        count = _gather(stack, mask, masked, knots, first, p, room, thread)
        _fit(room, thread, count, lam, envelope)
        _draw(room, thread, count, wanted, extend, result, p)


@cuda.jit(device=True)
def _gather(stack, mask, masked, knots, first, p, room, thread):  # type: ignore[no-untyped-def]
    """Put the observations of a pixel one below the other, those of a day as one; return their number."""
    count = 0
    for knot in range(len(knots)):
        seen, total = 0, float64(0)
        for date in range(first[knot], first[knot + 1]):
            if stack[date, p] != 0 and not (masked and mask[date, p]):
                seen += 1
                total += stack[date, p]
        if seen:
            room[_DAY, count, thread] = knots[knot]
            room[_VALUE, count, thread] = total / seen
            room[_SHARE, count, thread] = 1 / seen
            room[_WEIGHED, count, thread] = 1 / seen
            count += 1
    return count


@cuda.jit(device=True)
def _fit(room, thread, count, lam, envelope):  # type: ignore[no-untyped-def]
    """Find the curve; for an envelope again and again, until the weights stay the same."""
    _solve(room, thread, count, lam)
    if envelope == 0.5:
        return
    for _ in range(MOST_TURNS):
        changed = False
        for k in range(count):
            above = room[_VALUE, k, thread] > room[_CURVE, k, thread]
            new = room[_SHARE, k, thread] * (0.5 / envelope if above else 0.5 / (1 - envelope))
            changed = changed or new != room[_WEIGHED, k, thread]
            room[_WEIGHED, k, thread] = new
        if not changed:
            return
        _solve(room, thread, count, lam)


@cuda.jit(device=True)
def _solve(room, thread, count, lam):  # type: ignore[no-untyped-def]
    """Solve the five diagonals by L D L'."""
    for k in range(count + 2):
        room[_BEND, k, thread] = 0
    for k in range(1, count - 1):
        _eliminate(room, thread, count, lam, k)
    for k in range(count - 2, 0, -1):
        near = room[_NEAR, k, thread] * room[_BEND, k + 1, thread]
        far = room[_FAR, k, thread] * room[_BEND, k + 2, thread]
        room[_BEND, k, thread] = room[_BEND, k, thread] / room[_DIAGONAL, k, thread] - near - far
    before = float64(0)
    for k in range(count):
        after = float64(0)
        if k + 1 < count:
            after = (room[_BEND, k + 1, thread] - room[_BEND, k, thread]) / _gap(room, thread, k)
        residual = lam * room[_WEIGHED, k, thread] * (after - before)
        room[_CURVE, k, thread] = room[_VALUE, k, thread] - residual
        before = after


@cuda.jit(device=True)
def _gap(room, thread, k):  # type: ignore[no-untyped-def]
    return room[_DAY, k + 1, thread] - room[_DAY, k, thread]


@cuda.jit(device=True)
def _eliminate(room, thread, count, lam, k):  # type: ignore[no-untyped-def]
    """Set up and factor row k, and carry its right hand side forward."""
    left, right = _gap(room, thread, k - 1), _gap(room, thread, k)
    a, b = 1 / left, 1 / right
    previous, own, following = (
        room[_WEIGHED, k - 1, thread], room[_WEIGHED, k, thread], room[_WEIGHED, k + 1, thread],
    )  # fmt: skip
    fit = a * a * previous + (a + b) * (a + b) * own + b * b * following
    pivot = (left + right) / 3 + (a + b) / 6 + lam * fit
    near, far = float64(0), float64(0)
    if k + 2 < count:
        c = 1 / _gap(room, thread, k + 1)
        near = (right - b) / 6 - lam * b * ((a + b) * own + (b + c) * following)
        if k + 3 < count:
            far = lam * b * c * following
    high, low = room[_VALUE, k + 1, thread], room[_VALUE, k - 1, thread]
    bend = (high - room[_VALUE, k, thread]) * b - (room[_VALUE, k, thread] - low) * a
    if k > 1:
        one = room[_NEAR, k - 1, thread]
        carried = room[_DIAGONAL, k - 1, thread] * one
        pivot -= carried * one
        near -= carried * room[_FAR, k - 1, thread]
        bend -= one * room[_BEND, k - 1, thread]
    if k > 2:
        two = room[_FAR, k - 2, thread]
        pivot -= room[_DIAGONAL, k - 2, thread] * two * two
        bend -= two * room[_BEND, k - 2, thread]
    room[_DIAGONAL, k, thread] = pivot
    room[_NEAR, k, thread] = near / pivot
    room[_FAR, k, thread] = far / pivot
    room[_BEND, k, thread] = bend


@cuda.jit(device=True)
def _draw(room, thread, count, wanted, extend, result, p):  # type: ignore[no-untyped-def]
    """Values on the wanted days."""
    after = 0
    for step in range(len(wanted)):
        at = float64(wanted[step])
        while after < count and room[_DAY, after, thread] < at:
            after += 1
        if count == 0 or at < room[_DAY, 0, thread] - extend or at > room[_DAY, count - 1, thread] + extend:
            result[step, p] = math.nan
        elif count == 1:
            result[step, p] = room[_CURVE, 0, thread]
        else:
            result[step, p] = _between(room, thread, max(min(after, count - 1), 1), at)


@cuda.jit(device=True)
def _between(room, thread, right, at):  # type: ignore[no-untyped-def]
    """Value of the cubic between two observations, of a line before the first and after the last."""
    left = right - 1
    gap = _gap(room, thread, left)
    low, high = (room[_DAY, right, thread] - at) / gap, (at - room[_DAY, left, thread]) / gap
    straight = low * room[_CURVE, left, thread] + high * room[_CURVE, right, thread]
    if high < 0:
        return straight - (gap * gap - 1) * room[_BEND, right, thread] * high / 6
    if low < 0:
        return straight - (gap * gap - 1) * room[_BEND, left, thread] * low / 6
    bends = (1 + high) * room[_BEND, right, thread] + (1 + low) * room[_BEND, left, thread]
    return straight - low * high * gap * gap * bends / 6

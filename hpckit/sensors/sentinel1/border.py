"""Pixels at the edge of a Sentinel-1 swath that hold no signal: border noise, and half-empty lines between frames.

Products before March 2018 (processor older than 2.90) have a rim of low values along the swath, which is no
backscatter; where products were cut into frames, their first and last lines are empty or were filtered together
with emptiness.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled

Power = npt.NDArray[np.float32]

OLD_DEPTH: Final = 200
"""Pixels from the edge within which low values of old products count as border noise."""
FLOOR: Final = 0.0032
"""Linear power (-25 dB) below which they do: noise of old products lies lower, land seldom does."""
CLEAN_SINCE: Final = 2.9
"""Version of the processor from which the annotated border is right (ESA MPC-0243)."""


def mask_border(power: Power, depth: int, floor: float = FLOOR) -> None:
    """Set low values that are joined to nodata to nodata (0), in place.

    Only runs along rows and columns that start at nodata count: dark water inside the swath stays.

    Parameters
    ----------
    power : ndarray of float32, shape (rows, columns)
        Linear power, 0 for nodata.
    depth : int
        Longest run in pixels. Cut windows with this margin, then the result does not depend on the cut.
    floor : float
        Values below are low.
    """
    if depth > 0 and power.size:
        _clear_runs(power, depth, np.float32(floor))


def erode(power: Power, pixels: int) -> None:
    """Set pixels that lie within `pixels` rows or columns of nodata to nodata (0), in place.

    The edge of the array itself is no edge of the data.
    """
    if pixels <= 0 or not power.size:
        return
    empty = power == 0
    for axis in (0, 1):
        count = empty.shape[axis]
        grown = empty.copy()
        for step in range(1, min(pixels, count - 1) + 1):
            near = [slice(None), slice(None)]
            far = [slice(None), slice(None)]
            near[axis], far[axis] = slice(step, None), slice(None, -step)
            grown[tuple(near)] |= empty[tuple(far)]
            grown[tuple(far)] |= empty[tuple(near)]
        empty = grown
    power[empty] = 0


@compiled(nogil=True)
def _mark_runs(power, low, depth, floor):  # type: ignore[no-untyped-def]
    """Mark what is low at both ends of the data of each row."""
    rows, columns = power.shape
    for row in range(rows):
        for backward in range(2):
            run = depth
            for step in range(columns):
                column = columns - 1 - step if backward else step
                value = power[row, column]
                if value == 0:
                    run = 0
                elif value < floor and run < depth:
                    low[row, column] = True
                    run += 1
                else:
                    run = depth


@compiled(nogil=True)
def _clear_runs(power, depth, floor):  # type: ignore[no-untyped-def]
    """Find the runs before clearing any, so that rows and columns see the same picture."""
    rows, columns = power.shape
    low = np.zeros(power.shape, dtype=np.bool_)
    _mark_runs(power, low, depth, floor)
    _mark_runs(power.T, low.T, depth, floor)
    for row in range(rows):
        for column in range(columns):
            if low[row, column]:
                power[row, column] = 0

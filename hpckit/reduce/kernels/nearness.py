"""Distance to the next flagged pixel, no farther than asked for: for dilation, and for scores.

Exact Euclidean distances in two passes: along columns, then the least of all columns within reach. Both are
vector loops over a row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled, spread


def squared_distance(flags: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.uint32]:
    """Squared distance of each pixel to the next flagged one, in pixels.

    Parameters
    ----------
    flags : ndarray of bool, shape (dates, rows, columns)
    reach : int
        Pixels to look in each direction, 250 at most.

    Returns
    -------
    ndarray of uint32, shape of the flags
        Where nothing is flagged within reach, at least (reach + 1)**2.
    """
    found = np.empty(flags.shape, dtype=np.uint32)
    spread(_squared_distance, len(flags), np.ascontiguousarray(flags), min(reach, 250), found)
    return found


@compiled(nogil=True, error_model="numpy")
def _squared_distance(start, stop, flags, reach, result):  # type: ignore[no-untyped-def]
    rows, columns = flags.shape[1:]
    for date in range(start, stop):
        far = np.uint32((reach + 1) * (reach + 1))
        vertical = np.empty((rows, columns), np.uint32)
        _along_columns(flags[date], np.uint32(reach + 1), vertical)
        padded = np.full(columns + 2 * reach, far, np.uint32)
        for row in range(rows):
            padded[reach : reach + columns] = vertical[row] * vertical[row]
            target = result[date, row]
            target[:] = far
            for shift in range(2 * reach + 1):
                away = np.uint32((shift - reach) * (shift - reach))
                _lower(target, padded[shift : shift + columns], away)


@compiled(nogil=True, error_model="numpy")
def _along_columns(flags, far, vertical):  # type: ignore[no-untyped-def]
    """Distance to the next flagged pixel of the same column, `far` at most."""
    rows, columns = flags.shape
    for row in range(rows):
        for x in range(columns):
            before = vertical[row - 1, x] + np.uint32(1) if row else far
            vertical[row, x] = np.uint32(0) if flags[row, x] else min(before, far)
    for row in range(rows - 2, -1, -1):
        for x in range(columns):
            vertical[row, x] = min(vertical[row, x], vertical[row + 1, x] + np.uint32(1))


@compiled(nogil=True, error_model="numpy")
def _lower(target, source, away):  # type: ignore[no-untyped-def]
    for x in range(len(target)):
        target[x] = min(target[x], source[x] + away)

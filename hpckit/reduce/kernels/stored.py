"""Stored integers of a cube as what they stand for: physical values, or whatever a table says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled, spread

Values = npt.NDArray[Any]
_LEAST = 64
"""Rows below which a thread of its own is not worth while."""


def decode(
    stored: Values, scale: float, offset: float, nodata: int | None, found: npt.NDArray[np.float32], *, fresh: bool
) -> None:
    """Write number * scale + offset, computed as float64; NaN where there are no data.

    Parameters
    ----------
    stored : ndarray of uint8 or uint16, shape (dates, rows, columns)
    found : ndarray of float32, the same shape
        Any strides.
    fresh : bool
        Whether all of it is written; otherwise only where it is NaN.
    """
    none = -1 if nodata is None else nodata
    rows = stored.shape[0] * stored.shape[1]
    spread(_decode, rows, stored, float(scale), float(offset), none, found, fresh, least=_LEAST)


def look_up(stored: Values, table: Values, found: Values) -> None:
    """Write `table[number]`.

    Parameters
    ----------
    stored : ndarray of uint8 or uint16, shape (dates, rows, columns)
    table : ndarray
        One value for each integer.
    found : ndarray of the dtype of `table`, the same shape
    """
    spread(_look_up, stored.shape[0] * stored.shape[1], stored, table, found, least=_LEAST)


@compiled(nogil=True)
def _decode(first: Any, last: Any, stored: Any, scale: Any, offset: Any, nodata: Any, found: Any, fresh: Any) -> None:
    nothing = np.float32(np.nan)
    for line in range(first, last):
        given, into = _line(stored, line), _line(found, line)
        if fresh:
            for p in range(len(given)):
                value = np.float32(given[p] * scale + offset)
                into[p] = nothing if given[p] == nodata else value
        else:
            for p in range(len(given)):
                if into[p] != into[p] and given[p] != nodata:
                    into[p] = np.float32(given[p] * scale + offset)


@compiled(nogil=True)
def _look_up(first: Any, last: Any, stored: Any, table: Any, found: Any) -> None:
    for line in range(first, last):
        given, into = _line(stored, line), _line(found, line)
        for p in range(len(given)):
            into[p] = table[given[p]]


@compiled(nogil=True)
def _line(values: Any, line: Any) -> Any:
    """A row of a stack."""
    return values[line // values.shape[1], line % values.shape[1]]

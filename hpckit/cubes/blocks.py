"""Blocks of pixels to one: the mean of the valid ones, and of classes the one that most of them have."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled


def sums(
    values: npt.NDArray[Any], factor: int, nodata: float | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Sum and number of the valid pixels of each block.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        Integers, or floating-point numbers, of which NaN is never valid.
    factor : int
        Edge of a block in pixels; blocks at the lower and right edge may be smaller.
    nodata : float, optional
        What is not valid; all integers are if not given.

    Returns
    -------
    sums : ndarray of int64 or float64, shape (block rows, block columns)
    counts : ndarray of int64, of the same shape
    """
    shape = -(-values.shape[0] // factor), -(-values.shape[1] // factor)
    floating = values.dtype.kind == "f"
    totals = np.zeros(shape, np.float64 if floating else np.int64)
    counts = np.zeros(shape, np.int64)
    limited = nodata is not None and nodata == nodata
    _add(values, factor, limited, values.dtype.type(nodata if limited else 0), totals, counts)
    return totals, counts


def joined(values: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Sums of blocks of sums, or of counts."""
    starts = [np.arange(0, size, factor) for size in values.shape]
    return np.asarray(np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1))


def means(
    totals: npt.NDArray[Any], counts: npt.NDArray[np.int64], dtype: str, nodata: float | None, fill: float
) -> npt.NDArray[Any]:
    """Means of blocks, as they are stored: integers are rounded half up, and never become nodata.

    Parameters
    ----------
    dtype : str
        Of the result.
    nodata : float, optional
        What means no data.
    fill : float
        What stands where no pixel is valid.
    """
    if np.dtype(dtype).kind == "f":
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(counts > 0, totals / counts, fill).astype(dtype)
    found = (2 * totals + counts) // np.maximum(2 * counts, 1)
    if nodata is not None:
        found[(found == nodata) & (counts > 0)] += 1 if nodata < np.iinfo(dtype).max else -1
    return np.where(counts > 0, found, int(fill)).astype(dtype)


def modes(codes: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Class that most pixels of each block have, the lowest of several; 0 only where all are 0.

    Parameters
    ----------
    codes : ndarray of uint8, shape (rows, columns)
    factor : int
        Edge of a block in pixels.
    """
    found = np.zeros((-(-codes.shape[0] // factor), -(-codes.shape[1] // factor)), np.uint8)
    _most(codes, factor, found)
    return found


def picked(values: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """The pixel in the middle of each block, for bits and long lists of classes."""
    rows, columns = (np.minimum(np.arange(0, size, factor) + factor // 2, size - 1) for size in values.shape)
    return values[np.ix_(rows, columns)]


@compiled(nogil=True)
def _add(values, factor, limited, nodata, totals, counts):  # type: ignore[no-untyped-def]
    for row in range(values.shape[0]):
        line = row // factor
        for place in range(totals.shape[1]):
            total = totals[line, place]
            count = counts[line, place]
            for column in range(place * factor, min((place + 1) * factor, values.shape[1])):
                value = values[row, column]
                if value == value and not (limited and value == nodata):
                    total += value
                    count += 1
            totals[line, place] = total
            counts[line, place] = count


@compiled(nogil=True)
def _most(codes, factor, found):  # type: ignore[no-untyped-def]
    counts = np.zeros(256, np.int64)
    for line in range(found.shape[0]):
        for place in range(found.shape[1]):
            counts[:] = 0
            for row in range(line * factor, min((line + 1) * factor, codes.shape[0])):
                for column in range(place * factor, min((place + 1) * factor, codes.shape[1])):
                    counts[codes[row, column]] += 1
            best = 0
            for code in range(1, 256):
                if counts[code] > 0 and (best == 0 or counts[code] > counts[best]):
                    best = code
            found[line, place] = best

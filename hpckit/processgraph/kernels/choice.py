"""Choices between pixels: without branches, and in one pass."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled, spread
from hpckit.processgraph.cube import Values
from hpckit.processgraph.kernels.along import writable

FEW: Final = 2048
"""Pixels for which numpy is fast enough; kernels need not be loaded for them."""
_LEAST: Final = 1 << 18
"""Pixels below which a thread of its own is not worth while."""
_KNOWN: Final = (np.dtype(np.float32), np.dtype(np.float64))


def select(condition: npt.NDArray[np.bool_], accept: Any, reject: Any) -> Values:
    """`accept` where a condition is true, `reject` elsewhere: arrays or scalars, of one type of number or any."""
    dtype = np.result_type(accept, reject)
    if condition.size < FEW or dtype not in _KNOWN or not _alike(condition, accept) or not _alike(condition, reject):
        return np.asarray(np.where(condition, accept, reject))
    one, other = (_flat(_spread_out(each, condition.shape, dtype)) for each in (accept, reject))
    found = np.empty(condition.shape, dtype)
    spread(_select, found.size, _flat(condition), one, other, found.reshape(-1), least=_LEAST)
    return found


def blank(flags: npt.NDArray[np.bool_], operand: Values) -> npt.NDArray[np.float32]:
    """1 where a flag is true, 0 where it is not, and NaN where an operand is NaN."""
    if flags.size < FEW or operand.dtype not in _KNOWN or operand.shape != flags.shape:
        return np.where(np.isnan(operand), np.float32(np.nan), flags.astype(np.float32))
    found = np.empty(flags.shape, np.float32)
    spread(_blank, found.size, _flat(flags), _flat(operand), found.reshape(-1), least=_LEAST)
    return found


def _alike(condition: Values, choice: Any) -> bool:
    return not np.ndim(choice) or np.shape(choice) == condition.shape


def _flat(values: Values) -> Values:
    return writable(np.ravel(values))


def _spread_out(choice: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Values:
    return np.full(shape, choice, dtype) if not np.ndim(choice) else choice.astype(dtype, copy=False)


@compiled(nogil=True)
def _select(first: Any, last: Any, condition: Any, accept: Any, reject: Any, found: Any) -> None:
    # Slices, since the sign of an index from `first` would be looked at for each pixel.
    met, ones, others, into = condition[first:last], accept[first:last], reject[first:last], found[first:last]
    for p in range(len(into)):
        one, other = ones[p], others[p]
        into[p] = one if met[p] else other


@compiled(nogil=True)
def _blank(first: Any, last: Any, flags: Any, operand: Any, found: Any) -> None:
    true, false, nothing = np.float32(1), np.float32(0), np.float32(np.nan)
    raised, given, into = flags[first:last], operand[first:last], found[first:last]
    for p in range(len(into)):
        flag = true if raised[p] else false
        into[p] = flag if given[p] == given[p] else nothing

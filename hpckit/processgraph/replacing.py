"""Null in arrays, and values replaced by it or others; the data type depends on types alone, not on values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import Values
from hpckit.processgraph.process import Value

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def replaced(values: Values, where: npt.NDArray[np.bool_], replacement: Value = None) -> Values:
    """Values, and the replacement where `where` is true.

    Parameters
    ----------
    values : ndarray
    where : ndarray of bool
        Of a shape that is broadcast to that of `values`.
    replacement : number, bool, str, optional
        None is null: NaN, or None among objects.
    """
    if replacement is None and values.dtype in _FLOATS:
        return np.asarray(np.where(where, values.dtype.type(np.nan), values))
    result = values.astype(_type_of(values.dtype, replacement))
    np.copyto(
        result, np.asarray(null_of(result.dtype) if replacement is None else replacement, result.dtype), where=where
    )
    return result


def nullable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A data type that has all values of another one, and null."""
    if dtype.kind in "fO":
        return dtype
    return np.dtype(np.float32 if dtype.kind == "b" or dtype.itemsize < 4 else np.float64)


def with_null(values: Values) -> Values:
    """The same values in a data type that has null."""
    return values.astype(nullable(values.dtype), copy=False)


def null_of(dtype: np.dtype[Any]) -> Any:
    """Null of a data type that has one."""
    return None if dtype.kind == "O" else np.nan


def is_null(values: Values) -> npt.NDArray[np.bool_]:
    """Where values are null."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "O":
        return np.asarray(values == np.array(None), np.bool_)
    return np.zeros(values.shape, np.bool_)


def _type_of(dtype: np.dtype[Any], replacement: Value) -> np.dtype[Any]:
    if replacement is None:
        return nullable(dtype)
    if isinstance(replacement, str) or dtype.kind == "O":
        return np.dtype(object)
    if dtype.kind == "f" or (dtype.kind == "b" and isinstance(replacement, bool)):
        return dtype
    if dtype.kind in "iu" and float(replacement).is_integer():
        limits = np.iinfo(dtype)
        if limits.min <= replacement <= limits.max:
            return dtype
    return np.dtype(np.float64)

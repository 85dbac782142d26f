"""Arrays of numpy from columns of Arrow and back, without pandas: pyarrow's own ways import it, for half a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def numbers_of(column: Any) -> npt.NDArray[Any]:
    """Array of a column of numbers or truth values.

    Parameters
    ----------
    column : pyarrow.Array or pyarrow.ChunkedArray
        Of integers, floating-point numbers or booleans.

    Returns
    -------
    ndarray, shape (rows,)
        float64 with NaN for missing values where there are any, else of the column's own type; read-only where it
        shares the memory of the column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    is_truth = pa.types.is_boolean(column.type)
    if is_truth:
        column = column.cast(pa.uint8())
    if column.null_count:
        column, is_truth = pc.fill_null(column.cast(pa.float64()), float("nan")), False
    dtype = np.dtype(column.type.to_pandas_dtype())
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_values(chunk, dtype) for chunk in chunks if len(chunk)] or [np.empty(0, dtype)]
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return values.astype(np.bool_) if is_truth else values


def text(value: str) -> Any:
    """Text as a `pyarrow.Scalar`: functions of `pyarrow.compute` import pandas to find the type of a `str`."""
    import pyarrow as pa

    return pa.scalar(value, pa.string())


def rows_of(rows: npt.NDArray[np.int64]) -> Any:
    """Row numbers as a `pyarrow.Array`, to take these rows of a column."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows, np.int64))])


def _values(array: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.frombuffer(array.buffers()[1], dtype, array.offset + len(array))[array.offset :]

"""Columns of Arrow as arrays: the values of pyarrow's own conversion, without its import of pandas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.base.arrow import numbers_of, rows_of

WITHOUT_PANDAS = """\
import sys
import numpy as np
import pyarrow as pa
from hpckit.base.arrow import numbers_of, rows_of
rows = rows_of(np.array([2, 0]))
table = pa.Table.from_batches([pa.RecordBatch.from_arrays([rows], ["row"])])
assert numbers_of(table.column("row").take(rows_of(np.array([1])))).tolist() == [0]
assert "pandas" not in sys.modules
"""


@given(
    st.lists(st.lists(st.one_of(st.none(), st.integers(0, 1)), max_size=9), max_size=4),
    st.sampled_from([pa.bool_(), pa.uint8(), pa.int32(), pa.int64(), pa.float32(), pa.float64()]),
    st.integers(0, 3),
)
def test_numbers_are_those_of_pyarrow(parts, kind, first):
    column = pa.chunked_array([pa.array(part, pa.uint8()).cast(kind) for part in parts], kind).slice(first)
    found = numbers_of(column)
    if column.null_count:
        np.testing.assert_array_equal(found, np.array(column.to_pylist(), np.float64))
        assert found.dtype == np.float64
    else:
        np.testing.assert_array_equal(found, column.to_numpy())
        assert found.dtype == column.to_numpy().dtype


@pytest.mark.parametrize("rows", [[], [3, 1, 3]])
def test_rows_are_taken(rows):
    column = pa.array(["a", "b", "c", "d"])
    assert column.take(rows_of(np.array(rows, np.int64))).to_pylist() == [column[row].as_py() for row in rows]


def test_pandas_is_not_imported():
    subprocess.run([sys.executable, "-c", WITHOUT_PANDAS], check=True)

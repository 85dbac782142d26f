"""Windows of which few pixels are needed: rectangles that hold these, where they cost less than the whole window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpckit.sensors import parts
from hpckit.sensors.parts import cell_edge, rectangles, windows_of


@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))), st.integers(0, 63), st.integers(0, 63)
)
def test_rectangles_hold_what_is_needed_and_lie_apart(cells, short, narrow):
    rows, columns = slice(0, 64 * cells.shape[0] - short), slice(0, 64 * cells.shape[1] - narrow)
    found = rectangles(cells, 64, rows, columns)
    if found is None:
        assert cells.any()
        return
    times = np.zeros((rows.stop, columns.stop), int)
    cost = 0
    for down, along in found:
        assert down.stop > down.start and along.stop > along.start
        times[down, along] += 1
        cost += parts._WALK + (down.stop - down.start) * (along.stop - along.start)
    assert times.max(initial=0) <= 1
    needed = cells.repeat(64, axis=0).repeat(64, axis=1)[: rows.stop, : columns.stop]
    assert (times[needed] == 1).all()
    assert cost <= parts._WORTH * times.size


def test_a_field_in_a_window_is_cut_out_and_many_are_not():
    few, many = np.zeros((16, 16), bool), np.zeros((16, 16), bool)
    few[2, 3] = few[14, 12:14] = True
    many[::3, ::2] = True
    window = slice(1024, 2048)
    assert rectangles(np.pad(few, 16), 64, window, window) == [
        (slice(1024 + 128, 1024 + 192), slice(1024 + 192, 1024 + 256)),
        (slice(1024 + 896, 1024 + 960), slice(1024 + 768, 1024 + 896)),
    ]
    assert rectangles(np.pad(many, 16), 64, window, window) is None
    near = np.zeros((16, 16), bool)
    near[4, 4] = near[5, 5] = True
    assert len(rectangles(near, 64, slice(0, 1024), slice(0, 1024))) == 1, "neighbours are decoded together"


@pytest.mark.parametrize(("window", "edge"), [(1024, 64), (640, 64), (192, 64), (250, 50), (2048, 64), (251, 251)])
def test_squares_fill_windows(window, edge):
    assert cell_edge(window) == edge and window % edge == 0


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 5))
def test_windows_of_squares(cells, per_window):
    shape = (-(-cells.shape[0] // per_window), -(-cells.shape[1] // per_window))
    found = windows_of(cells, per_window, shape)
    assert found.shape == shape
    for row, column in np.ndindex(shape):
        block = cells[row * per_window : (row + 1) * per_window, column * per_window : (column + 1) * per_window]
        assert found[row, column] == block.any()

"""Forms that published graphs have, and that the specifications leave open."""

from __future__ import annotations

import numpy as np
import pytest

from hpckit.errors import GraphError
from hpckit.testing.graphs import GRID, MemoryEnvironment, bands, calling, evaluation_of, raster, result_of, times

SHAPE = (2, 3, GRID.rows, GRID.columns)
DATA = raster(
    np.random.default_rng(4).uniform(0, 9, SHAPE).astype(np.float32),
    times("2024-03-01T00:00:00Z", "2024-03-11T00:00:00Z"),
    bands(B02="blue", B03="green", B04="red"),
)


def test_one_value_of_apply_dimension_is_an_array_of_one_element():
    found = result_of("apply_dimension", data=DATA, dimension="bands", process=calling("max", "data"))
    assert found.names == ("t", "bands", "y", "x")
    assert found.dim("bands").labels == (0,)
    np.testing.assert_array_equal(found.values, DATA.values.max(axis=1, keepdims=True))
    kind = evaluation_of("apply_dimension", data=DATA, dimension="bands", process=calling("max", "data")).type()
    assert (kind.names, kind.dim("bands").labels) == (found.names, (0,))


def test_a_mask_of_one_band_hides_pixels_of_all_bands():
    clouds = (np.random.default_rng(5).uniform(size=(2, 1, *SHAPE[2:])) > 0.5).astype(np.float32)
    mask = raster(clouds, DATA.dim("t"), bands(SCL=""))
    found = result_of("mask", data=DATA, mask=mask)
    assert found.dims == DATA.dims
    np.testing.assert_array_equal(found.values, np.where(clouds == 1, np.nan, DATA.values))


def test_a_mask_of_other_bands_is_refused():
    mask = raster(np.zeros((2, 2, *SHAPE[2:])), DATA.dim("t"), bands(SCL="", CLD=""))
    with pytest.raises(GraphError, match="other labels") as caught:
        result_of("mask", MemoryEnvironment(), data=DATA, mask=mask)
    assert caught.value.fault == "IncompatibleDataCubes"

"""Numbers of images in a cube: whole numbers as they are, nothing clipped, and what cannot be stored is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.reduce.physical import physical
from hpckit.sensors.encode import encode
from hpckit.sensors.model import Asset
from hpckit.sensors.rasters.options import RasterBand


def stored(values, *, dtype, nodata=None, **fields):
    """A band, and numbers as its cube holds them; `nodata` is what the file says."""
    told = RasterBand.model_validate(fields | ({"nodata": 0} if nodata == 0 else {}))
    band = told.stored("x", 10)
    asset = Asset("/x.tif", dtype=dtype, nodata=nodata, scale=told.scale or 1.0, offset=told.offset or 0.0)
    return band, encode(np.asarray(values, dtype=dtype), asset, band)


@given(
    st.sampled_from([1.0, 0.1, 0.0001, 0.00002, 0.25]),
    st.sampled_from([0.0, -0.1, 273.15]),
    st.integers(-32767, 0),
    st.integers(1, 32767),
    st.data(),
)
def test_whole_numbers_in_a_range_are_kept(scale, offset, least, most, data):
    numbers = data.draw(st.lists(st.integers(least, most), min_size=1, max_size=50))
    valid = [least * scale + offset, most * scale + offset]
    band, found = stored(numbers, dtype="int32", scale=scale, offset=offset, valid=valid)
    assert (found - np.array(numbers)).astype(int).min() == (found - np.array(numbers)).astype(int).max() == 1 - least
    assert found.dtype == "uint16" and band.valid == (1, most - least + 1)
    np.testing.assert_allclose(
        found * band.scale + band.offset, np.array(numbers) * scale + offset, atol=1e-6 * scale
    )


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 65000), st.data())
def test_fractions_are_kept_to_half_a_step_and_whole_numbers_as_they_are(least, width, data):
    valid = [least, least + width]
    values = data.draw(st.lists(st.floats(*valid), min_size=1, max_size=50))
    band, found = stored(values, dtype="float64", valid=valid)
    assert width / 65534 <= band.scale * 1.0001 and band.scale <= width / 65534 * 5.1
    edge = (
        (found == 0)
        & (np.abs(np.array(values) - least) > band.scale)
        & (np.abs(np.array(values) - valid[1]) > band.scale)
    )
    assert not edge.any(), "only what is less than a step from the ends of the range may be lost"
    kept = found > 0
    assert (np.abs(found * band.scale + band.offset - values)[kept] <= band.scale * 0.5001 + 1e-9).all()
    whole = np.unique(np.rint(values)[kept])
    whole = whole[(whole >= valid[0]) & (whole <= valid[1])]
    _, again = stored(whole, dtype="float64", valid=valid)
    np.testing.assert_allclose(again[again > 0] * band.scale + band.offset, whole[again > 0], atol=1e-7)


@pytest.mark.parametrize(
    ("dtype", "nodata", "fields", "numbers"),
    [
        ("uint8", None, {}, [0, 1, 255]),
        ("uint16", 0, {"scale": 0.0001}, [1, 10000, 65535]),
        ("uint16", 65535, {}, [0, 1, 65534]),
        ("int16", -9999, {"valid": [-500, 9000]}, [-500, -1, 0, 9000]),
        ("int16", -32768, {"valid": [-32767, 32767]}, [-32767, 0, 32767]),
        ("float32", None, {"valid": [-1, 1], "step": 0.0001}, [-1, -0.1234, 0, 0.5, 1]),
        ("float32", None, {"scale": 0.01, "valid": [0, 100]}, [0, 1, 9999]),
    ],
)
def test_values_nodata_and_nan_of_every_data_type(dtype, nodata, fields, numbers):
    band, found = stored(numbers, dtype=dtype, nodata=nodata, **fields)
    assert (found > 0).all()
    want = np.array(numbers) * fields.get("scale", 1.0)
    np.testing.assert_allclose(physical(found, band), want, rtol=1e-6, atol=1e-6)
    if nodata is not None:
        assert stored([numbers[0], nodata], dtype=dtype, nodata=nodata, **fields)[1].tolist() == [found[0], 0]
    if dtype.startswith("float"):
        odd = stored([np.nan, np.inf, -np.inf, *numbers], dtype=dtype, **fields)[1]
        assert odd[:3].tolist() == [0, 0, 0] and np.array_equal(odd[3:], found)


def test_beyond_a_stated_range_is_no_data_and_beyond_none_is_refused():
    assert stored([-2000, 0, 12000], dtype="int16", scale=0.0001, valid=[-0.1, 1])[1].tolist() == [0, 1001, 0]
    with pytest.raises(ValueError, match=r"value -5, and band x stores 0 to 65534: write its `valid"):
        stored([1, -5], dtype="int16")
    with pytest.raises(ValueError, match="65535"):
        stored([65535], dtype="uint16")


def test_classes_and_bits():
    classes = {"classes": [1, 7, 255]}
    assert stored([0, 1, 7, 200, 255], dtype="uint16", nodata=255, **classes)[1].tolist() == [0, 1, 7, 200, 0]
    assert stored([1.0, np.nan], dtype="float32", **classes)[1].tolist() == [1, 0]
    for odd, dtype in ((256, "uint16"), (-1, "int16"), (1.5, "float32")):
        with pytest.raises(ValueError, match="has the code"):
            stored([odd], dtype=dtype, **classes)
    assert stored([0b1_0000_1010], dtype="uint16", bits={1: "cloud", 3: "shadow"})[1].tolist() == [0b1010]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"valid": [0, 10], "scale": 0.0001}, "100000 steps of 0.0001, and a cube stores 65534.*step: 0.0002"),
        ({"valid": [1, 1]}, "LEAST, GREATEST"),
        ({"classes": [0, 1]}, "class 0 cannot be told from pixels without data"),
        ({"classes": [1], "bits": [1]}, "either classes or bits"),
        ({"classes": [1], "scale": 2}, "no meaning for classes"),
        ({"bits": [8]}, "bits are 0 to 7"),
        ({"scale": 0}, "greater than 0"),
    ],
)
def test_bands_that_cannot_be_stored(fields, message):
    with pytest.raises(ValueError, match=message):
        RasterBand.model_validate(fields)

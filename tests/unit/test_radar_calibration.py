"""Calibration, noise and border of Sentinel-1 images, against formulas applied pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.errors import SceneError
from hpckit.sensors.sentinel1.border import erode, mask_border
from hpckit.sensors.sentinel1.calibration import calibrate, read_calibration, read_noise
from hpckit.sensors.sentinel1.grd import sidecars
from hpckit.testing.radar_grd import write_tables

SHAPE = (900, 700)
NAME = "measurement/s1a-iw-grd-vv-x.tiff"


def sigma(line, pixels):
    return 300 + 0.02 * line + 0.1 * np.asarray(pixels)


def gamma(line, pixels):
    return 260 + 0.01 * line + 0.05 * np.asarray(pixels)


def range_noise(line, pixels):
    return 900 + 0.1 * line - 0.5 * np.asarray(pixels)


def azimuth_noise(lines):
    return 1 + 0.0005 * np.asarray(lines)


def tables(folder, *, new=True):
    write_tables(
        folder, NAME, SHAPE, sigma=sigma, gamma=gamma, noise=range_noise, azimuth=azimuth_noise if new else None
    )
    names = sidecars(NAME)
    return (folder / names["calibration"]).read_bytes(), (folder / names["noise"]).read_bytes()


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("radiometry", ["sigma0", "gamma0"])
def test_power_is_dn_squared_less_noise_by_the_square_of_the_table(tmp_path, radiometry, new):
    """The tables are linear, so that interpolation has one right answer everywhere."""
    calibration, noise = tables(tmp_path, new=new)
    rows, columns = slice(113, 420), slice(51, 333)
    dn = np.random.default_rng(1).integers(0, 900, (307, 282)).astype(np.uint16)
    power = calibrate(dn, read_calibration("c", calibration, radiometry), read_noise("n", noise), rows, columns)
    line, pixel = np.mgrid[rows, columns].astype(np.float64)
    level = sigma(line, pixel) if radiometry == "sigma0" else gamma(line, pixel)
    taken = range_noise(line, pixel) * (azimuth_noise(line) if new else 1)
    wanted = np.maximum((dn.astype(np.float64) ** 2 - taken) / level**2, 1e-9)
    np.testing.assert_allclose(power[dn > 0], wanted[dn > 0], rtol=2e-5, atol=1e-6)
    assert (power[dn == 0] == 0).all() and (power[dn > 0] > 0).all()


def test_windows_agree_with_the_whole(tmp_path):
    calibration, noise = tables(tmp_path)
    table, thermal = read_calibration("c", calibration, "sigma0"), read_noise("n", noise)
    dn = np.random.default_rng(2).integers(1, 900, SHAPE).astype(np.uint16)
    whole = calibrate(dn, table, thermal, slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    rows, columns = slice(600, 900), slice(1, 77)
    np.testing.assert_allclose(
        calibrate(dn[rows, columns], table, thermal, rows, columns), whole[rows, columns], 1e-6
    )


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [("</calibration>", "", "no complete XML"), ("sigmaNought", "other", "0 values"), ("474", "x74", None)],
)
def test_broken_tables(tmp_path, old, new, what):
    data = tables(tmp_path)[0].decode().replace(old, new).encode()
    if what is None:
        assert read_calibration("c.xml", data, "sigma0").lines[0] == -668  # another table is broken, not this one
        return
    with pytest.raises(SceneError, match=what) as caught:
        read_calibration("c.xml", data, "sigma0")
    assert "c.xml" in str(caught.value)


def slow_mask(power, depth, floor):
    """Runs of low values from nodata, along each of four directions, pixel by pixel."""
    low = np.zeros(power.shape, bool)
    rows, columns = power.shape
    for i in range(rows):
        for j in range(columns):
            for di, dj in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                for reach in range(1, depth + 1):
                    y, x = i + di * reach, j + dj * reach
                    if not (0 <= y < rows and 0 <= x < columns):
                        break
                    if power[y, x] == 0:
                        low[i, j] |= 0 < power[i, j] < floor
                        break
                    if power[y, x] >= floor:
                        break
    return np.where(low, 0, power)


def slow_erode(power, pixels):
    """Nodata within a square of `pixels` around."""
    out = power.copy()
    for i, j in np.argwhere(power == 0):
        out[max(0, i - pixels) : i + pixels + 1, max(0, j - pixels) : j + pixels + 1] = 0
    return out


@given(st.integers(0, 10_000), st.integers(0, 6), st.tuples(st.integers(1, 14), st.integers(1, 14)))
def test_border_and_erosion(seed, depth, shape):
    random = np.random.default_rng(seed)
    power = random.choice([0.0, 0.001, 0.002, 0.05], shape, p=[0.15, 0.3, 0.25, 0.3]).astype(np.float32)
    masked, eroded = power.copy(), power.copy()
    mask_border(masked, depth, 0.0032)
    np.testing.assert_array_equal(masked, slow_mask(power, depth, np.float32(0.0032)))
    erode(eroded, depth)
    np.testing.assert_array_equal(eroded, slow_erode(power, depth) if depth else power)


def test_water_within_the_swath_stays():
    power = np.full((60, 60), 0.05, np.float32)
    power[:, :5] = 0
    power[:, 5:15] = 0.001
    power[30:40, 30:40] = 0.001
    mask_border(power, 200)
    assert (power[:, :15] == 0).all() and (power[30:40, 30:40] > 0).all() and (power[:, 15:] > 0).all()

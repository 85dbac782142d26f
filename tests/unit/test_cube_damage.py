"""Damage that GDAL does not always tell: no zeros in place of pixels, whatever threads GDAL is allowed."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.cubes.manifest import Manifest
from hpckit.cubes.verify import verify
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.sensors.source import harmonise
from tests import products
from tests.products import stored
from tests.unit.test_cube import B04, cube_spec, cut, fill, plane

EDGE = 2160
"""Three windows of 10 m, and two of the mask at 60 m."""


@pytest.fixture(autouse=True)
def many_threads(monkeypatch):
    """As a worker with several cores sets it; GDAL's own threads swallow errors of decoding."""
    monkeypatch.setenv("GDAL_NUM_THREADS", "4")
    monkeypatch.setenv("GDAL_CACHEMAX", "64")


def pixels(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "B04@10m": random.integers(1, 12000, (EDGE, EDGE)).astype(np.uint16),
        "SCL@60m": random.choice([4, 5, 6], (EDGE // 6, EDGE // 6)).astype(np.uint8),
    }


def image(folder: Path, band: str) -> Path:
    return next(folder.rglob(f"*_{band}_*0m.jp2"))


def blank(path: Path) -> None:
    """What a download with a gap leaves: the right length, zeros for a part of it."""
    data = bytearray(path.read_bytes())
    first, last = len(data) // 5, len(data) // 2
    data[first:last] = bytes(last - first)
    path.write_bytes(data)


def pack(root: Path) -> None:
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
            if file.is_file():
                file.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, blank])
@pytest.mark.parametrize("as_zip", [False, True])
def test_a_tile_that_cannot_be_decoded_never_becomes_zeros(tmp_path, damage, as_zip):
    whole = pixels()
    root = products.write(tmp_path / "s", 0, whole)
    damage(image(root, "B04"))
    if as_zip:
        pack(root)
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,))
    acquisitions = products.acquisitions(tmp_path / "s")
    results = fill(spec, acquisitions)
    failed = [bool(result.failures) for result in results]
    assert any(failed)
    expected, found = stored(whole["B04@10m"], -1000), plane(spec, B04, 0)
    for row, bad in enumerate(failed):
        rows = slice(row * 1024, (row + 1) * 1024)
        np.testing.assert_array_equal(found[rows], 0 if bad else expected[rows])
    kinds = {fault.kind for fault in verify(spec, {"31UFU": acquisitions}, Manifest.load(spec.path))}
    assert kinds == {"stale"}


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, blank])
def test_a_damaged_mask_costs_no_pixels(tmp_path, damage):
    whole = pixels()
    root = products.write(tmp_path / "s", 0, whole)
    damage(image(root, "SCL"))
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,), skip_cloudy=0.5)
    results = fill(spec, products.acquisitions(tmp_path / "s"))
    assert sum(result.skipped_windows for result in results) == 0
    np.testing.assert_array_equal(plane(spec, B04, 0), stored(whole["B04@10m"], -1000))


@pytest.mark.slow
def test_with_verify_a_damaged_mask_is_refused(tmp_path):
    root = products.write(tmp_path / "s", 0, pixels())
    path = image(root, "SCL")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,), verify=True)
    results = fill(spec, products.acquisitions(tmp_path / "s"))
    reasons = {str(reason) for result in results for _, reason in result.failures}
    assert len(reasons) == 1 and path.name in reasons.pop()
    fine = fill(replace(spec, path=tmp_path / "d.zarr", verify=False), products.acquisitions(tmp_path / "s"))
    assert not any(result.failures for result in fine)


@pytest.mark.slow
def test_a_product_made_without_a_band_has_no_data_in_it_and_one_that_lost_the_file_fails(tmp_path):
    products.write(tmp_path / "s", 0, pixels())
    whole = {**pixels(1), "B03@10m": pixels(2)["B04@10m"]}
    root = products.write(tmp_path / "s", 1, whole)
    b03 = SENTINEL2.parse("B03@10m")
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04, b03))
    results = fill(spec, products.acquisitions(tmp_path / "s"))
    assert not any(result.failures for result in results)
    assert not plane(spec, b03, 0).any() and plane(spec, B04, 0).all()
    np.testing.assert_array_equal(plane(spec, b03, 1), stored(whole["B03@10m"], -1000))
    image(root, "B03").unlink()
    again = fill(replace(spec, path=tmp_path / "d.zarr"), products.acquisitions(tmp_path / "s"))
    reasons = {str(reason) for result in again for _, reason in result.failures}
    assert len(reasons) == 1 and "has no band B03@10m" in reasons.pop()


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50), st.integers(-3000, 3000))
def test_any_shift_keeps_nodata_saturation_and_the_order(values, shift):
    numbers = np.array(values, np.uint16)
    before = numbers.copy()
    found = harmonise(numbers, shift)
    exact = np.clip(numbers.astype(np.int64) + shift, 1, 65535)
    exact = np.where((numbers == 0) | (numbers == 65535), numbers, exact)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, exact)
    np.testing.assert_array_equal(numbers, before)

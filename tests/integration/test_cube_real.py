"""Real products through the cube, and a disk that is full."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (registers the accessor)

from hpckit.catalogue import catalogue
from hpckit.cubes import ingest, layout, read
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.verify import verify
from hpckit.sensors.bands import split_key
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from tests import products

pytestmark = pytest.mark.integration

BANDS = tuple(SENTINEL2.parse(text) for text in ("B02@60m", "B04@60m", "B8A@60m", "SCL", "AOT@60m", "CLD", "SNW"))


@pytest.mark.realdata
@pytest.mark.parametrize("sharding", [True, False])
def test_the_real_product_reads_back_bit_for_bit(shared_data, tmp_path, sharding):
    found, _ = catalogue.acquisitions(catalogue.scan([shared_data / "s2-l2a-safe-t29unu-2022"]).scenes)
    spec = CubeSpec(tmp_path / "cube.zarr", BANDS, 4, sharding, 3, None, True, SENTINEL2.grid, sensor=SENTINEL2)
    layout.prepare(spec, "29UNU", found)
    manifest = Manifest.load(spec.path)
    skipped = 0
    for unit in ingest.ingest_units(spec, "29UNU", found):
        result = ingest.ingest(spec, unit, found, manifest, "test")
        assert not result.failures
        skipped += result.skipped_windows
    assert skipped > 0  # the swath ends within the granule
    assert verify(spec, {"29UNU": found}, Manifest.load(spec.path)) == []
    for ref in BANDS:
        with rasterio.open(found[0].scenes[0].assets[ref.key].uri) as source:
            # Baseline 04.00 has the offset that cubes are stored with.
            np.testing.assert_array_equal(read.read_plane(spec.path, "29UNU", ref, 0), source.read(1))
    data = read.open_tile(spec.path, "29UNU", 60)
    with rasterio.open(found[0].scenes[0].assets["B04@60m"].uri) as source:
        assert data.rio.transform()[:6] == source.transform[:6] and data.rio.crs == source.crs


@pytest.mark.realdata
def test_real_products_with_shrunken_rasters_fail_with_the_reason(shared_data, tmp_path):
    scenes = catalogue.scan([shared_data / "s2-l1c-ga-eodatasets"]).scenes
    scene = next(scene for scene in scenes if scene.tile == "53JQJ")
    found, _ = catalogue.acquisitions([scene])
    spec = CubeSpec(
        tmp_path / "cube.zarr",
        (SENTINEL2.parse("B02@10m"),),
        4,
        True,
        3,
        None,
        False,
        SENTINEL2.grid,
        sensor=SENTINEL2,
    )
    layout.prepare(spec, "53JQJ", found)
    unit = next(ingest.ingest_units(spec, "53JQJ", found))
    result = ingest.ingest(spec, unit, found, Manifest.load(spec.path), "test")
    assert "20 x 20 pixels, its metadata say 10980 x 10980" in str(result.failures[0][1])
    # Once the metadata agree with the files, the pixels are those of the zip file, harmonised.
    shapes = {10: (20, 20), 20: (10, 10), 60: (4, 4)}
    assets = {key: replace(asset, shape=shapes[split_key(key)[1]]) for key, asset in scene.assets.items()}
    small = replace(scene, frame=replace(scene.frame, shapes=shapes), assets=assets)
    found, _ = catalogue.acquisitions([small])
    spec = replace(spec, path=tmp_path / "small.zarr")
    layout.prepare(spec, "53JQJ", found)
    unit = next(ingest.ingest_units(spec, "53JQJ", found))
    assert not ingest.ingest(spec, unit, found, Manifest.load(spec.path), "test").failures
    with rasterio.open(small.assets["B02@10m"].uri) as source:
        expected = products.stored(source.read(1), 0)
    np.testing.assert_array_equal(read.read_plane(spec.path, "53JQJ", SENTINEL2.parse("B02@10m"), 0), expected)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_no_half_shard(tmp_path, small_disk):
    products.write(tmp_path / "s", 0, products.arrays(0))
    found = products.acquisitions(tmp_path / "s")
    spec = CubeSpec(
        small_disk / "cube.zarr",
        (SENTINEL2.parse("B04@10m"),),
        4,
        True,
        3,
        None,
        False,
        SENTINEL2.grid,
        sensor=SENTINEL2,
    )
    layout.prepare(spec, "31UFU", found)
    unit = next(ingest.ingest_units(spec, "31UFU", found))
    with pytest.raises(OSError, match="No space left"):
        ingest.ingest(spec, unit, found, Manifest.load(spec.path), "test")
    assert not [path for path in small_disk.rglob("*") if "partial" in path.name]
    manifest = Manifest.load(spec.path)
    kinds = {fault.kind for fault in verify(spec, {"31UFU": found}, manifest)}
    assert kinds == {"missing"}
    bigger = replace(spec, path=tmp_path / "cube.zarr")
    layout.prepare(bigger, "31UFU", found)
    assert not ingest.ingest(bigger, unit, found, Manifest.load(bigger.path), "test").failures

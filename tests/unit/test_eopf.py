"""EOPF Zarr products of Sentinel-2: scenes and pixels of the SAFE product, or one clear sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.sensors.sensor import Sensor
from hpckit.sensors.sentinel2.details import details_of
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.testing.eopf import GENERATIONS, write_eopf
from hpckit.testing.safe import ProductSpec, write_product
from hpckit.testing.sensor import SensorTests
from tests import products
from tests.eopf_cases import B04, EDGE, SPEC, change, only, pixels, same, windows

pytestmark = pytest.mark.slow


class TestSensor(SensorTests):
    """The contract, with products of this form."""

    @pytest.fixture
    def sensor(self) -> Sensor:
        return SENTINEL2

    @pytest.fixture
    def products(self, tmp_path: Path) -> Path:
        write_eopf(tmp_path / "scenes", SPEC, products.arrays(0))
        return tmp_path / "scenes"


@pytest.mark.parametrize(
    ("generation", "level", "baseline"),
    [
        *((generation, "L2A", "05.10") for generation in GENERATIONS),
        *((generation, "L2A", "02.14") for generation in ("2025-08", "2.8")),
        *((generation, "L1C", "04.00") for generation in ("2025-01", "3.0")),
    ],
)
def test_every_generation_gives_what_the_safe_of_the_product_gives(tmp_path, generation, level, baseline):
    """Identity, pass, place and each pixel, also resampled, whatever converters wrote as offset."""
    spec, arrays = replace(SPEC, level=level, baseline=baseline, cloud_cover=12.5), pixels(level)
    safe = only(write_product(tmp_path / "safe", spec, arrays))
    scene = only(write_eopf(tmp_path / "eopf", spec, arrays, generation, chunk_m=1300))
    for field in ("id", "level", "platform", "sensed", "datatake", "baseline", "relative_orbit", "cloud_cover"):
        assert getattr(scene, field) == getattr(safe, field), field
    assert scene.frame == safe.frame and scene.assets.keys() == safe.assets.keys()
    assert scene.footprint.symmetric_difference(safe.footprint).area < 1e-6 * safe.footprint.area
    for key in arrays:
        assert scene.assets[key].geobox == safe.assets[key].geobox
        assert scene.assets[key].offset == safe.assets[key].offset
        if key != "SNW@20m":  # nothing but 0
            same(windows(scene, key), windows(safe, key))
    same(windows(scene, "B04@10m", "bilinear"), windows(safe, "B04@10m", "bilinear"))
    told = details_of(scene).offset_from
    assert told == ("offset 0: baseline 02.14" if baseline == "02.14" else "offset -0.1: declared by its arrays")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_product_in_both_forms_counts_once(tmp_path, generation):
    arrays = {"B04@10m": pixels()["B04@10m"]}
    write_product(tmp_path, SPEC, arrays)
    write_eopf(tmp_path, SPEC, arrays, generation)
    found, dropped = catalogue.acquisitions(catalogue.scan([tmp_path]).scenes)
    assert len(found) == 1 and [scene.href[-5:] for scene in found[0].scenes] == [".SAFE"]
    assert [item.scene_id for item in dropped] == [SPEC.name] and "same product" in dropped[0].reason


@pytest.mark.parametrize("chunk_m", [18_300, 1300, 600])
@pytest.mark.parametrize("generation", ["2.8", "3.0"])
def test_windows_do_not_depend_on_chunks(tmp_path, generation, chunk_m):
    arrays = {key: pixels()[key] for key in ("B04@10m", "B08@10m")}
    scene = only(write_eopf(tmp_path, SPEC, arrays, generation, chunk_m=chunk_m))
    for edge in (64, 131, 360):
        for (row, column), window in windows(scene, "B04@10m", edge=edge).items():
            part = arrays["B04@10m"][row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
            np.testing.assert_array_equal(window, part)


@pytest.mark.parametrize("generation", ["2025-01", "2.8"])
def test_metadata_need_not_be_consolidated(tmp_path, generation):
    arrays = pixels()
    one = only(write_eopf(tmp_path / "a", SPEC, arrays, generation, consolidated=False))
    other = only(write_eopf(tmp_path / "b", SPEC, arrays, generation))
    assert one.assets.keys() == other.assets.keys() and one.content == other.content
    same(windows(one, "SCL@20m"), windows(other, "SCL@20m"))


def test_products_are_found_by_what_they_hold_and_no_hierarchy_is_entered(tmp_path):
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]})
    path.rename(tmp_path / "renamed")
    cube = zarr.open_group(tmp_path / "cube.zarr", mode="w")
    shutil.copytree(tmp_path / "renamed", tmp_path / "cube.zarr" / "31UFU")
    cube.create_array("B04", shape=(1,), dtype="u2")
    other = write_eopf(tmp_path / "other", replace(SPEC, platform="S2B"), {"B04@10m": pixels()["B04@10m"]})
    change(other, lambda told: told["stac_discovery"].update(id="S03OLCEFR", properties={"platform": "sentinel-3a"}))
    assert list(find_products([tmp_path])) == [tmp_path / "renamed"]
    assert only(tmp_path).id == SPEC.name


def test_where_the_name_of_the_safe_is_nowhere_it_is_made(tmp_path):
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]})

    def alter(told: dict[str, Any]) -> None:
        del told["processing_history"]
        told["stac_discovery"]["properties"] |= {"grid:code": f"MGRS-{SPEC.tile}", "eopf:datatake_id": "null"}

    change(path, alter)
    scene = only(path)
    assert scene.id == SPEC.name and scene.tile == SPEC.tile and scene.datatake == SPEC.datatake


def test_a_replaced_product_is_another_input(tmp_path):
    arrays = {"B04@10m": pixels()["B04@10m"]}
    first = only(write_eopf(tmp_path, SPEC, arrays, consolidated=False))
    shutil.copytree(first.href, tmp_path / "copy" / "x.zarr")
    assert only(tmp_path / "copy").content == first.content
    arrays["B04@10m"] = arrays["B04@10m"] + np.uint16(1)
    pixels_changed = only(write_eopf(tmp_path, SPEC, arrays))
    again = only(write_eopf(tmp_path, replace(SPEC, cloud_cover=1.0), arrays))
    assert len({scene.content for scene in (first, pixels_changed, again)}) == 3


def test_other_codecs_are_read_by_zarr(tmp_path):
    arrays = {"B04@10m": pixels()["B04@10m"]}
    path = write_eopf(tmp_path, SPEC, arrays, "3.0", chunk_m=1300)
    group: Any = zarr.open_group(path, mode="r+")[B04.rpartition("/")[0]]
    for more in ({"compressors": zarr.codecs.GzipCodec()}, {"shards": (260, 260)}, {"dtype": ">u2"}):
        options = {"dtype": "u2", "chunks": (130, 130), "fill_value": 0, "overwrite": True, **more}
        group.create_array("b04", shape=(EDGE, EDGE), **options)[...] = arrays["B04@10m"]
        for (row, column), window in windows(only(path), "B04@10m").items():
            part = arrays["B04@10m"][row * 100 : (row + 1) * 100, column * 100 : (column + 1) * 100]
            np.testing.assert_array_equal(window, part)


def test_a_scan_reads_again_only_what_changed(tmp_path):
    arrays = {"B04@10m": pixels()["B04@10m"]}
    path, listed = write_eopf(tmp_path, SPEC, arrays), tmp_path / "c.parquet"
    catalogue.write(listed, catalogue.scan([tmp_path]).scenes)
    assert catalogue.scan([tmp_path], previous=listed).reused == 1
    change(path, lambda told: told["stac_discovery"]["properties"].update({"eo:cloud_cover": 77.0}))
    report = catalogue.scan([tmp_path], previous=listed)
    assert report.reused == 0 and report.scenes[0].cloud_cover == 77.0


def test_the_generator_gives_what_it_says(tmp_path):
    """So that tests of generations are tests of generations."""
    one, new = (write_eopf(tmp_path, SPEC, pixels(), name) for name in ("2025-01", "3.0"))
    assert (one / ".zmetadata").is_file() and (new / "zarr.json").is_file() and not (new / ".zmetadata").exists()
    told: Any = zarr.open_group(one, mode="r")
    assert told[B04].attrs["proj:epsg"] == SPEC.epsg and told["measurements/reflectance/r10m/x"].dtype == "int64"
    newest: Any = zarr.open_group(new, mode="r")
    assert "proj:epsg" not in newest[B04].attrs and newest["quality/probability/r20m/cld"].dtype == "float32"
    assert isinstance(SPEC, ProductSpec) and SPEC.tile not in new.name

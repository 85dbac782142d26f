"""EOPF Zarr products of Sentinel-2: scenes and pixels of the SAFE product, or one clear sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.errors import SceneError
from hpckit.sensors.model import Scene
from hpckit.sensors.reader import Treatment, WindowRequest
from hpckit.sensors.sensor import Sensor
from hpckit.sensors.sentinel2.details import details_of
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.testing.eopf import GENERATIONS, write_eopf
from hpckit.testing.safe import ProductSpec, write_product
from hpckit.testing.sensor import SensorTests
from tests import products

EDGE = 360
SPEC = products.spec(0)
B04 = "measurements/reflectance/r10m/b04"


def pixels(level: str = "L2A", edge: int = EDGE) -> dict[str, np.ndarray]:
    """Digital numbers, without data on the left and in one corner."""
    random = np.random.default_rng(3)
    made = {
        "B04@10m": random.integers(1, 12000, (edge, edge)).astype(np.uint16),
        "B08@10m": random.integers(1, 65536, (edge, edge)).astype(np.uint16),
        "B8A@20m": random.integers(1, 12000, (edge // 2, edge // 2)).astype(np.uint16),
        "B09@60m": random.integers(1, 12000, (edge // 6, edge // 6)).astype(np.uint16),
    }
    if level == "L2A":
        half = (edge // 2, edge // 2)
        made |= {
            "SCL@20m": random.choice([4, 5, 6, 8], half).astype(np.uint8),
            "AOT@20m": random.integers(1, 500, half).astype(np.uint16),
            "WVP@10m": random.integers(1, 4000, (edge, edge)).astype(np.uint16),
            "CLD@20m": random.integers(0, 101, half).astype(np.uint8),
            "SNW@20m": np.zeros(half, np.uint8),
        }
    for array in made.values():
        array[:, : array.shape[1] // 3] = 0
    return made


def only(path: Path) -> Scene:
    report = catalogue.scan([path])
    assert not report.failures and len(report.scenes) == 1, report.failures
    return report.scenes[0]


def refused(path: Path) -> str:
    report = catalogue.scan([path])
    assert not report.scenes
    (failure,) = report.failures
    assert "\n" not in failure.reason
    return failure.reason


def windows(scene: Scene, key: str, onto: str | None = None, edge: int = 100) -> dict[Any, np.ndarray]:
    """What a cube holds of a band, in windows that chunks cut."""
    ref = SENTINEL2.parse(key, level=scene.level)
    frame = replace(scene.frame, edges={10: edge, 20: edge, 60: edge})
    ((acquisition,), _) = catalogue.acquisitions([scene])
    rows, columns = frame.windows(ref.resolution_m)
    found = {}
    for row in range(rows):
        treatment = Treatment(verify=True, onto=onto)
        request = WindowRequest(frame, ref, row, range(columns), acquisition, treatment)
        found |= {(row, column): window for column, window in SENTINEL2.read_windows(request).windows.items()}
    return found


def same(one: dict[Any, np.ndarray], other: dict[Any, np.ndarray]) -> None:
    assert one.keys() == other.keys() and one
    for place, window in one.items():
        assert window.dtype == other[place].dtype
        np.testing.assert_array_equal(window, other[place], err_msg=str(place))


def change(path: Path, alter: Callable[[dict[str, Any]], None], array: str = "") -> None:
    """Change attributes, consolidated ones too."""
    node: Any = zarr.open_group(path, mode="r+", use_consolidated=False)
    told = json.loads(json.dumps((node[array] if array else node).attrs.asdict()))
    alter(told)
    (node[array] if array else node).attrs.put(told)
    if (path / ".zmetadata").exists():
        zarr.consolidate_metadata(path, zarr_format=2)


def chunk_files(path: Path, array: str = B04) -> list[Path]:
    return sorted(file for file in (path / array).rglob("*") if file.is_file() and file.name[0].isdigit())


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


def _lose_tile(told: dict[str, Any]) -> None:
    del told["processing_history"]


def _other_tile(told: dict[str, Any]) -> None:
    told["stac_discovery"]["properties"]["grid:code"] = "MGRS-32TQM"


def _no_baseline(told: dict[str, Any]) -> None:
    _lose_tile(told)
    told["stac_discovery"]["properties"] |= {"processing:version": "", "eopf:datatake_id": "MISSING"}


@pytest.mark.parametrize(
    ("alter", "array", "words"),
    [
        (_lose_tile, "", "nothing tells its tile"),
        (_other_tile, "", "different tiles: 31UFU and 32TQM"),
        (_no_baseline, "", "no processing baseline"),
        (lambda told: told.update(add_offset=0.0), B04, "add_offset 0, and products of baseline 05.10 have -0.1"),
        (lambda told: told.update({"proj:code": "EPSG:32632"}), B04, "is in EPSG:32632, its product in EPSG:32631"),
        (lambda told: told.update({"proj:transform": [10, 0, 0, 0, -10, 0]}), B04, "contradicts the coordinates"),
        (lambda told: told["stac_discovery"]["properties"].update({"proj:code": "EPSG:4326"}), "", "no zone of UTM"),
        (lambda told: told.pop("stac_discovery"), "", "no stac_discovery"),
        (lambda told: told["stac_discovery"]["properties"].pop("platform"), "", None),
        (lambda told: told.pop("add_offset"), B04, None),
        (lambda told: told["stac_discovery"].update(geometry="null", bbox="MISSING"), "", None),
    ],
)
def test_attributes_that_contradict_or_lack_something(tmp_path, alter, array, words):
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]})
    change(path, alter, array)
    if words is None:
        assert only(path).assets["B04@10m"].offset == -0.1
    elif words == "no stac_discovery":
        with pytest.raises(SceneError, match=words):
            SENTINEL2.read(path)
        assert not list(find_products([path]))
    else:
        assert words in refused(path) and path.name in refused(path)


def test_damaged_metadata(tmp_path):
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]})
    for name in (".zmetadata", ".zattrs"):
        (path / name).write_text('{"stac_disc')
    assert "metadata are damaged" in refused(path)
    for name in (".zmetadata", ".zattrs", ".zgroup"):
        (path / name).unlink()
    assert "incomplete" in refused(path) or "damaged" in refused(path)


@pytest.mark.parametrize("generation", ["2025-08", "2.8", "3.0"])
def test_lost_and_damaged_chunks_cost_the_date_and_are_named(tmp_path, generation):
    arrays = {key: array for key, array in pixels().items() if key in ("B04@10m", "B08@10m", "SCL@20m")}
    path = write_eopf(tmp_path, SPEC, arrays, generation, chunk_m=1300)
    scene, files = only(path), chunk_files(path)
    whole = files[-1].read_bytes()
    for damage in (
        b"",
        whole[:10],
        whole[: len(whole) // 2],
        whole[:-1],
        b"\x07" * len(whole),
        whole[:16] + b"\xff" * 999,
    ):
        files[-1].write_bytes(damage)
        with pytest.raises(SceneError, match=rf"{scene.id}: chunk 2.2 of {B04} is truncated or damaged"):
            windows(scene, "B04@10m")
    files[-1].unlink()
    with pytest.raises(SceneError, match=rf"chunk 2.2 of {B04} is missing"):
        windows(scene, "B04@10m")
    assert windows(scene, "B08@10m"), "other bands are read"


def test_chunks_that_version_3_leaves_out_hold_no_data(tmp_path):
    """They are missing in all bands; of probabilities whose fill value is 0, where all are 0."""
    arrays = pixels()
    arrays["SCL@20m"][:, :65] = 4  # so that nothing is left out for the mask
    path = write_eopf(tmp_path, SPEC, arrays, "3.0", chunk_m=1000)
    group: Any = zarr.open_group(path, mode="r+")["quality/probability/r20m"]
    options = {"dtype": "u1", "chunks": (50, 50), "fill_value": 0, "overwrite": True}
    group.create_array("snw", shape=(EDGE // 2, EDGE // 2), **options)[...] = arrays["SNW@20m"]
    assert len(chunk_files(path)) == 12 and not chunk_files(path, "quality/probability/r20m/snw")
    scene = only(path)
    for key in ("B04@10m", "WVP@10m", "CLD@20m", "SNW@20m"):
        found = windows(scene, key)
        size = arrays[key].shape[0]
        whole = np.zeros((size, size), arrays[key].dtype)
        for (row, column), window in found.items():
            whole[row * 100 : (row + 1) * 100, column * 100 : (column + 1) * 100] = window
        np.testing.assert_array_equal(whole, arrays[key])
    chunk_files(path, "quality/probability/r20m/cld")[-1].unlink()
    with pytest.raises(SceneError, match="cld is missing"):
        windows(scene, "CLD@20m")


def test_shapes_that_lie(tmp_path):
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]})
    told = json.loads((path / ".zmetadata").read_text())
    told["metadata"][f"{B04}/.zarray"]["shape"] = [366, 366]
    (path / ".zmetadata").write_text(json.dumps(told))
    scene = only(path)
    with pytest.raises(SceneError, match="360 x 360 pixels, its metadata say 366 x 366"):
        windows(scene, "B04@10m")


def test_lost_arrays_are_told(tmp_path):
    path = write_eopf(tmp_path, SPEC, pixels())
    shutil.rmtree(path / B04)
    scene = only(path)
    assert scene.missing == (B04,) and SENTINEL2.is_lost(scene, "B04") and not SENTINEL2.is_lost(scene, "B08")
    assert "B04@10m" not in scene.assets


def test_a_replaced_product_is_another_input(tmp_path):
    arrays = {"B04@10m": pixels()["B04@10m"]}
    first = only(write_eopf(tmp_path, SPEC, arrays, consolidated=False))
    shutil.copytree(first.href, tmp_path / "copy" / "x.zarr")
    assert only(tmp_path / "copy").content == first.content
    arrays["B04@10m"] = arrays["B04@10m"] + np.uint16(1)
    pixels_changed = only(write_eopf(tmp_path, SPEC, arrays))
    again = only(write_eopf(tmp_path, replace(SPEC, cloud_cover=1.0), arrays))
    assert len({scene.content for scene in (first, pixels_changed, again)}) == 3


def test_a_folder_that_cannot_be_read_may_pass(tmp_path):
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]}, consolidated=False)
    (path / B04).chmod(0)
    try:
        report = catalogue.scan([tmp_path])
        if report.scenes:
            pytest.skip("this account may read everything")
        assert [failure.passes for failure in report.failures] == [True]
    finally:
        (path / B04).chmod(0o755)


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


def test_a_zip_file_of_one_says_what_to_do(tmp_path):
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]}, "2025-08")
    shutil.make_archive(str(path), "zip", tmp_path, path.name)
    shutil.rmtree(path)
    assert "unpack it" in refused(tmp_path)


def test_the_generator_gives_what_it_says(tmp_path):
    """So that tests of generations are tests of generations."""
    one, new = (write_eopf(tmp_path, SPEC, pixels(), name) for name in ("2025-01", "3.0"))
    assert (one / ".zmetadata").is_file() and (new / "zarr.json").is_file() and not (new / ".zmetadata").exists()
    told: Any = zarr.open_group(one, mode="r")
    assert told[B04].attrs["proj:epsg"] == SPEC.epsg and told["measurements/reflectance/r10m/x"].dtype == "int64"
    newest: Any = zarr.open_group(new, mode="r")
    assert "proj:epsg" not in newest[B04].attrs and newest["quality/probability/r20m/cld"].dtype == "float32"
    assert isinstance(SPEC, ProductSpec) and SPEC.tile not in new.name

"""EOPF Zarr products that are damaged, lack something or contradict themselves: one sentence, and no wrong pixel."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
import zarr

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.errors import SceneError
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.testing.eopf import write_eopf
from tests.eopf_cases import B04, EDGE, SPEC, change, chunk_files, only, pixels, refused, windows

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize(
    ("kind", "words"), [("GRD", "malformed"), ("SLC", "unsupported: products of Sentinel-1 other")]
)
def test_products_of_sentinel1_without_attributes_or_of_other_kinds_are_told(tmp_path, kind, words):
    """Names of groups are those of a real product."""
    for polarisation in ("VV", "VH"):
        group = f"S01SIW{kind}_20250912T053648_0025_C023_5AA4_0081FD_{polarisation}"
        made: Any = zarr.open_group(tmp_path / "x.zarr", mode="a", zarr_format=2).create_group(group)
        made.create_array("measurements/grd", shape=(4, 4), dtype="u2")
    assert words in refused(tmp_path)


def test_values_of_odd_types_never_stop_a_scan(tmp_path):
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]}, consolidated=False)
    told = json.loads((path / ".zattrs").read_text())
    read = 0
    for part in ("stac_discovery", "other_metadata", "processing_history"):
        inner = told[part]["properties"] if part == "stac_discovery" else told[part]
        for key, value in dict(inner).items():
            for odd in (None, [], {"a": [1]}):
                inner[key] = odd
                (path / ".zattrs").write_text(json.dumps(told))
                try:
                    read += len(SENTINEL2.read(path))
                except SceneError as error:
                    assert path.name in error.message
            inner[key] = value
    assert read > 20


@pytest.mark.parametrize("generation", ["2025-08", "2.8"])
def test_coordinates_that_are_lost(tmp_path, generation):
    """Older products tell the place of each array, too; nothing else tells it of newer ones."""
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]}, generation)
    whole = only(path).frame
    axis = path / "measurements/reflectance/r10m/x"
    (axis / "0").unlink()
    assert "r10m/x is damaged" in refused(path)
    shutil.rmtree(axis)
    zarr.consolidate_metadata(path, zarr_format=2)
    if generation == "2025-08":
        assert only(path).frame == whole
    else:
        assert "nothing tells where measurements/reflectance/r10m/b04 lies" in refused(path)


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


def test_a_zip_file_of_one_says_what_to_do(tmp_path):
    path = write_eopf(tmp_path, SPEC, {"B04@10m": pixels()["B04@10m"]}, "2025-08")
    shutil.make_archive(str(path), "zip", tmp_path, path.name)
    shutil.rmtree(path)
    assert "unpack it" in refused(tmp_path)

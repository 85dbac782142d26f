"""A real product of ESA's converter (EOPF-CPM 2.8.1) against the SAFE product it was made from; real metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from hpckit.catalogue import catalogue
from hpckit.cubes import ingest, layout, read
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.verify import verify
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel1.model import radar_of, relative_orbit
from hpckit.sensors.sentinel2.details import details_of
from hpckit.sensors.sentinel2.sensor import SENTINEL2

pytestmark = [pytest.mark.integration, pytest.mark.realdata]
REAL = (
    *(f"{name}@60m" for name in ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B09", "B11", "B12")),
    *("SCL@20m", "SCL@60m", "AOT@10m", "AOT@20m", "AOT@60m", "WVP@60m", "CLD@20m", "SNW@20m"),
)
"""Rasters of the cut whose pixels are those of the SAFE product (SOURCE.txt beside it)."""


@pytest.fixture(scope="module")
def scene(shared_data: Path) -> Scene:
    (found,) = catalogue.scan(sorted((shared_data / "eopf-t29unu").glob("*.zarr"))).scenes
    return found


@pytest.fixture(scope="module")
def safe(shared_data: Path) -> Scene:
    (found,) = catalogue.scan([shared_data / "s2-l2a-safe-t29unu-2022"]).scenes
    return found


def test_it_is_the_product_that_it_was_made_from(scene: Scene, safe: Scene) -> None:
    for field in (
        "id",
        "level",
        "platform",
        "sensed",
        "datatake",
        "part",
        "baseline",
        "relative_orbit",
        "cloud_cover",
    ):
        assert getattr(scene, field) == getattr(safe, field), field
    assert scene.tile == safe.tile and details_of(scene).offset_from == "offset -0.1: declared by its arrays"
    found, dropped = catalogue.acquisitions([scene, safe])
    assert len(found) == len(found[0].scenes) == len(dropped) == 1


def test_a_cube_of_it_holds_the_pixels_of_the_safe_product(scene: Scene, safe: Scene, tmp_path: Path) -> None:
    refs = tuple(SENTINEL2.parse(key) for key in REAL)
    ((acquisition,), _) = catalogue.acquisitions([scene])
    spec = CubeSpec(tmp_path / "cube.zarr", refs, 4, True, 3, None, True, SENTINEL2.grid, sensor=SENTINEL2)
    layout.prepare(spec, scene.tile, [acquisition])
    manifest = Manifest.load(spec.path)
    for unit in ingest.ingest_units(spec, scene.tile, [acquisition]):
        assert not ingest.ingest(spec, unit, [acquisition], manifest, "test").failures
    assert verify(spec, {scene.tile: [acquisition]}, Manifest.load(spec.path)) == []
    for ref in refs:
        asset, whole = scene.assets[ref.key], safe.assets[ref.key]
        column, row = (round(number) for number in ~whole.affine @ (asset.transform[2], asset.transform[5]))
        with rasterio.open(whole.uri) as source:
            wanted = source.read(1, window=Window(column, row, asset.shape[1], asset.shape[0]))
        np.testing.assert_array_equal(read.read_plane(spec.path, scene.tile, ref, 0), wanted, err_msg=ref.key)


@pytest.mark.parametrize("number", range(3))
def test_real_metadata_of_older_generations(shared_data: Path, tmp_path: Path, number: int) -> None:
    models = shared_data / "stac-items" / "static" / "eopf-zarr-metadata" / "s2_examples"
    model = sorted(models.glob("*.json"))[number]
    told = json.loads(model.read_text())
    _write_node(tmp_path / "x.zarr", told)
    report = catalogue.scan([tmp_path])
    assert not report.failures
    (scene,) = report.scenes
    name = model.stem
    platform, level, start, baseline, orbit, tile, _ = name.split("_")
    assert scene.id == name and scene.tile == tile[1:] and scene.level == level[3:] and scene.platform == platform
    assert scene.datatake.startswith(f"G{platform}_{start}_") and scene.baseline == f"{baseline[1:3]}.{baseline[3:]}"
    assert scene.relative_orbit == int(orbit[1:]) and scene.frame is not None
    assert scene.frame.shapes == {10: (10980, 10980), 20: (5490, 5490), 60: (1830, 1830)}
    assert scene.assets["B02@10m"].offset == -0.1 and ("SCL@20m" in scene.assets) == (level == "MSIL2A")
    assert len(scene.assets) == (13 if level == "MSIL1C" else 35)


def _write_node(folder: Path, node: Mapping[str, Any]) -> None:
    """Metadata of a group or array, of version 2; coordinates get their values, since the models have none."""
    folder.mkdir(parents=True)
    (folder / ".zattrs").write_text(json.dumps(node["attributes"]))
    members = node.get("members")
    if members is None:
        told = {key: value for key, value in node.items() if key != "attributes"}
        (folder / ".zarray").write_text(json.dumps(told))
        return
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    for name, member in members.items():
        _write_node(folder / name, member)
    placed = next((m["attributes"] for m in members.values() if "proj:transform" in m["attributes"]), None)
    for axis, step, corner in (("x", 0, 2), ("y", 4, 5)) if placed and "x" in members else ():
        numbers = placed["proj:transform"]
        centres = numbers[corner] + numbers[step] * (np.arange(members[axis]["shape"][0]) + 0.5)
        plain = {**members[axis], "compressor": None, "chunks": members[axis]["shape"]}
        plain.pop("attributes")
        (folder / axis / ".zarray").write_text(json.dumps(plain))
        (folder / axis / "0").write_bytes(centres.astype(members[axis]["dtype"]).tobytes())


@pytest.mark.parametrize("number", range(3))
def test_real_metadata_of_sentinel1(shared_data: Path, tmp_path: Path, number: int) -> None:
    models = shared_data / "stac-items" / "static" / "eopf-zarr-metadata" / "s1_examples"
    model = sorted(models.glob("*.json"))[number]
    _write_node(tmp_path / "x.zarr", json.loads(model.read_text()))
    for folder in (*tmp_path.rglob("calibration/pixel"), *tmp_path.rglob("ground_range")):
        told = json.loads((folder / ".zarray").read_text()) | {"compressor": None}
        if len(told["shape"]) == 1:
            (folder / ".zarray").write_text(json.dumps({**told, "chunks": told["shape"]}))
            steps = np.arange(told["shape"][0]) * (40 if "calibration" in folder.parts else 1)
            (folder / "0").write_bytes(
                (steps * (1 if folder.name == "pixel" else 10)).astype(told["dtype"]).tobytes()
            )
    (scene,) = catalogue.scan([tmp_path]).scenes
    assert scene.id == model.stem and scene.level == "GRD" and scene.assets.keys() >= {"VV@10m", "VH@20m"}
    _, _, _, _, _, _, orbit, datatake, _ = model.stem.split("_")
    assert scene.datatake.endswith(f"_{datatake}") and float(scene.baseline) > 3 and scene.footprint is not None
    assert radar_of(scene).absolute_orbit == int(orbit) and relative_orbit(scene.platform, int(orbit)) in (
        scene.relative_orbit,
        0,
    )

"""Real products: metadata of several baselines against what stactools made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpckit.errors import SceneError
from hpckit.scenes import catalogue
from hpckit.scenes.integrity import check_files
from hpckit.scenes.metadata import parse_granule, parse_product
from hpckit.scenes.sentinel2 import find_products, read_product

pytestmark = [pytest.mark.integration, pytest.mark.realdata]


def expectations(shared_data: Path) -> list[tuple[Path, dict]]:
    folder = shared_data / "s2-stactools-metadata" / "data-files"
    return [
        (path.parent, json.loads(path.read_text()))
        for path in sorted(folder.glob("*.SAFE/expected_output.json"))
        if list(path.parent.glob("MTD_MSIL*.xml")) and list(path.parent.glob("GRANULE/*/MTD_TL.xml"))
    ]


def test_metadata_agree_with_stactools(shared_data):
    cases = expectations(shared_data)
    assert len(cases) >= 8
    for safe, item in cases:
        metadata = next(safe.glob("MTD_MSIL*.xml"))
        product = parse_product(metadata.name, metadata.read_bytes())
        granule_file = next(safe.glob("GRANULE/*/MTD_TL.xml"))
        granule = parse_granule(granule_file.name, granule_file.read_bytes())
        properties = item["properties"]
        code = properties.get("proj:epsg") or int(properties["proj:code"].partition(":")[2])
        assert granule.epsg == code, safe.name
        assert properties["s2:processing_baseline"] == product.baseline
        assert properties["s2:datatake_id"] == product.datatake
        assert properties["sat:relative_orbit"] == product.relative_orbit
        assert properties["eo:cloud_cover"] == pytest.approx(product.cloud_cover)
        assert f"MGRS-{granule.tile}" == properties["grid:code"] or granule.tile.endswith(
            properties["mgrs:grid_square"]
        )
        transforms = [a["proj:transform"] for a in item["assets"].values() if "proj:transform" in a]
        assert any(t[2] == granule.ulx and t[5] == granule.uly for t in transforms), safe.name
        offset = set(product.offsets.values())
        assert offset == ({-1000} if float(product.baseline) >= 4 else set()), safe.name


def test_the_real_level_2a_product(shared_data):
    (scene,) = catalogue.scan([shared_data / "s2-l2a-safe-t29unu-2022"]).scenes
    assert scene.tile == "29UNU" and scene.baseline == "04.00" and scene.relative_orbit == 23
    assert set(scene.offsets.values()) == {-1000} and len(scene.missing) == 18
    assert scene.nodata == pytest.approx(40.419397)
    check_files(scene, scene.assets)


def test_real_zip_files(shared_data):
    scenes = [read_product(path) for path in find_products([shared_data / "s2-l1c-ga-eodatasets"])]
    assert {scene.tile for scene in scenes} == {"56JMM", "53JQJ", "48LWP"}
    assert all(scene.level == "L1C" and not scene.offsets for scene in scenes)


def test_products_without_pixels_are_reported_one_by_one(shared_data):
    report = catalogue.scan([shared_data / "s2-stactools-metadata"])
    assert not report.scenes and len(report.failures) >= 10
    for failure in report.failures:
        with pytest.raises(SceneError):
            read_product(failure.path)

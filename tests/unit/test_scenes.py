"""Products, catalogues, and which scenes of a pass are used."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pystac
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.catalogue.stac import from_item, to_item
from hpckit.errors import CatalogueError, SceneError
from hpckit.sensors.integrity import check_files
from hpckit.sensors.model import Scene
from hpckit.space.footprint import polygon
from hpckit.testing.safe import ProductSpec, write_product
from tests.products import read_safe as read_product
from tests.scene_samples import DAY, scene


def small() -> dict[str, np.ndarray]:
    return {"B04@10m": np.full((60, 60), 2000, np.uint16), "SCL@20m": np.full((30, 30), 4, np.uint8)}


def product(folder: Path, *, as_zip: bool = False, **spec) -> Path:
    return write_product(folder, ProductSpec(**spec), small(), as_zip=as_zip)


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize(
    ("level", "baseline", "offset"), [("L2A", "05.10", -1000), ("L2A", "03.01", 0), ("L1C", "04.00", -1000)]
)
def test_a_product_is_read_as_it_was_written(tmp_path, level, baseline, offset, as_zip):
    arrays = {"B04@10m": small()["B04@10m"]}
    spec = ProductSpec(level=level, baseline=baseline, sensed=DAY, tile="31UFU", cloud_cover=12.5)
    scene = read_product(write_product(tmp_path, spec, arrays, as_zip=as_zip))
    assert scene.id == spec.name and scene.level == level and scene.baseline == baseline
    assert (
        scene.tile == "31UFU"
        and scene.frame.epsg == 32631
        and (scene.frame.ulx, scene.frame.uly) == (600000, 5700000)
    )
    red = scene.assets["B04@10m"]
    assert (red.scale, red.offset) == (1e-4, offset / 10000) and red.shape == (60, 60)
    assert red.affine == scene.frame.transform(10) and red.crs == "EPSG:32631"
    assert scene.frame.shapes[10] == (60, 60) and scene.cloud_cover == 12.5 and scene.relative_orbit == 51
    assert scene.sensed == DAY + timedelta(seconds=180) and scene.datatake == spec.datatake
    check_files(scene, scene.assets)
    west, south, east, north = scene.footprint.bounds
    assert 4 < west < east < 5 and 51 < south < north < 52


@given(
    st.builds(
        dict,
        cloud_cover=st.none() | st.floats(0, 100),
        nodata=st.none() | st.floats(0, 100),
        baseline=st.sampled_from(["02.06", "05.11", "99.99"]),
        missing=st.lists(st.text(min_size=1), max_size=3).map(tuple),
        sensed=st.datetimes(datetime(2015, 6, 23), datetime(2030, 1, 1)).map(lambda d: d.replace(tzinfo=UTC)),
    )
)
def test_items_keep_all_of_a_scene(tmp_path_factory, changes):
    scene = dataclasses.replace(_template(tmp_path_factory), **changes)
    item = to_item(scene)
    assert from_item(item) == scene
    parsed = pystac.Item.from_dict(item)
    assert parsed.properties["grid:code"] == "MGRS-31UFU" and parsed.assets["B04_10m"].media_type == "image/jp2"


_cached: list[Scene] = []


def _template(factory) -> Scene:
    if not _cached:
        _cached.append(read_product(product(factory.mktemp("p"), sensed=DAY)))
    return _cached[0]


def test_a_catalogue_keeps_its_scenes_and_reuses_unchanged_products(tmp_path):
    for number in range(3):
        product(tmp_path / "deep" / "er", sensed=DAY + timedelta(days=number), as_zip=number == 1)
    first = catalogue.scan([tmp_path])
    catalogue.write(tmp_path / "c.parquet", first.scenes)
    assert catalogue.read(tmp_path / "c.parquet") == sorted(first.scenes, key=lambda s: (s.tile, s.sensed, s.id))
    again = catalogue.scan([tmp_path], previous=tmp_path / "c.parquet")
    assert again.reused == 3 and not again.failures
    metadata = next(tmp_path.rglob("MTD_MSIL2A.xml"))
    os.utime(metadata, ns=(1, 1))
    assert catalogue.scan([tmp_path], previous=tmp_path / "c.parquet").reused == 2


def test_scanning_follows_links_once_and_does_not_enter_products(tmp_path):
    safe = product(tmp_path / "a", sensed=DAY)
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (safe / "GRANULE" / "S2A_MSIL2A_20240101T000000_x.SAFE").mkdir()
    assert list(find_products([tmp_path, tmp_path / "a"])) == [safe]


def broken_xml(path: Path) -> Path:
    target = path / "MTD_MSIL2A.xml"
    target.write_bytes(target.read_bytes()[:700])
    return path


def entity_bomb(path: Path) -> Path:
    target = path / "MTD_MSIL2A.xml"
    text = target.read_text().replace("?>", '?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', 1)
    target.write_text(text.replace(">05.10<", ">&e;<"))
    return path


def no_granule(path: Path) -> Path:
    next(path.rglob("MTD_TL.xml")).unlink()
    return path


def no_metadata(path: Path) -> Path:
    (path / "MTD_MSIL2A.xml").unlink()
    return path


def no_images(path: Path) -> Path:
    for image in path.rglob("*.jp2"):
        image.unlink()
    return path


def old_name(path: Path) -> Path:
    """The name that products had before December 2016, without their metadata."""
    (path / "MTD_MSIL2A.xml").unlink()
    return path.rename(path.with_name("S2A_OPER_PRD_MSIL1C_PDMC_20160210T005347_R002_V20160129T010047.SAFE"))


def cut_zip(path: Path) -> Path:
    target = path.parent / f"{path.stem}.zip"
    target.write_bytes(b"PK\x03\x04" + bytes(500))
    return target


def climbing_zip(path: Path) -> Path:
    target = path.parent / f"{path.stem}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(f"{path.name}/../../evil", "x")
    return target


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (broken_xml, "no complete XML"),
        (entity_bomb, "it defines entities"),
        (no_granule, "no GRANULE"),
        (no_metadata, "no MTD_MSIL1C.xml or MTD_MSIL2A.xml"),
        (no_images, "none of its image files"),
        (old_name, "no S2A_OPER_MTD_SAFL1C_"),
        (cut_zip, "damaged or truncated"),
        (climbing_zip, "points outside"),
    ],
)
def test_a_broken_product_is_reported_by_name_and_does_not_stop_the_scan(tmp_path, damage, words):
    whole = product(tmp_path / "good", sensed=DAY)
    bad = damage(product(tmp_path / "bad", sensed=DAY + timedelta(days=1)))
    with pytest.raises(SceneError, match=words) as caught:
        read_product(bad)
    assert bad.stem.split(".")[0][:40] in str(caught.value)
    report = catalogue.scan([whole, bad])
    assert [scene.href for scene in report.scenes] == [str(whole)]
    assert [failure.path for failure in report.failures] == [bad]


def test_an_incomplete_product_is_used_for_what_it_has(tmp_path):
    safe = product(tmp_path, sensed=DAY)
    next(safe.rglob("*B04_10m.jp2")).unlink()
    report = catalogue.scan([tmp_path])
    (scene,) = report.incomplete
    assert len(scene.missing) == 1 and "B04@10m" not in scene.assets and "SCL@20m" in scene.assets


def test_digests_find_a_flipped_byte_and_a_cut_file(tmp_path):
    safe = product(tmp_path, sensed=DAY)
    scene = read_product(safe)
    image = scene.assets["B04@10m"].file
    data = bytearray(image.read_bytes())
    data[-10] ^= 1
    image.write_bytes(data)
    with pytest.raises(SceneError, match="SHA3-256 digest"):
        check_files(scene, ["B04@10m"])
    image.write_bytes(data[:-1])
    with pytest.raises(SceneError, match=r"manifest\.safe says"):
        check_files(scene, ["B04@10m"])
    check_files(scene, ["SCL@20m"])


def test_missing_paths_and_foreign_catalogues_are_refused(tmp_path):
    with pytest.raises(CatalogueError, match="no such folder"):
        catalogue.scan([tmp_path / "nowhere"])
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    with pytest.raises(CatalogueError, match="no catalogue that hpckit wrote"):
        catalogue.read(tmp_path / "x.parquet")


def version(
    baseline: str, *, produced: str = "20240501T115031", strip: str = "105331", href: str = "/x", nodata=0.0
) -> Scene:
    return scene(
        id=f"S2A_MSIL2A_20240501T105031_N{baseline.replace('.', '')}_R051_T31UFU_{produced}",
        baseline=baseline,
        datatake=f"GS2A_20240501T105031_046000_N{baseline}",
        part=f"S2A_OPER_MSI_L2A_DS_2APS_{produced}_S20240501T{strip}_N{baseline}",
        href=href,
        nodata=nodata,
    )


def test_the_newest_baseline_wins_and_the_reprocessing_tool_comes_last():
    (found,), dropped = catalogue.acquisitions(
        [version("05.00"), version("99.99"), version("02.08"), version("05.10")]
    )
    assert [s.baseline for s in found.scenes] == ["05.10"]
    assert len(dropped) == 3 and all("05.10" in item.reason for item in dropped)
    (found,), _ = catalogue.acquisitions([version("99.99"), version("02.08")])
    assert found.scenes[0].baseline == "02.08"


def test_datastrips_of_one_pass_merge_fullest_first():
    halves = [version("05.10", strip="105331", nodata=80.0), version("05.10", strip="105401", nodata=20.0)]
    (found,), dropped = catalogue.acquisitions(halves)
    assert [s.nodata for s in found.scenes] == [20.0, 80.0] and not dropped


def test_the_same_datastrip_twice_counts_once():
    twice = [version("05.10", produced="20240501T115031"), version("05.10", produced="20240502T115031")]
    (found,), dropped = catalogue.acquisitions(twice)
    assert [s.id for s in found.scenes] == [twice[1].id] and "same datastrip" in dropped[0].reason


versions = st.builds(
    version,
    st.sampled_from(["02.08", "05.00", "05.10", "99.99"]),
    produced=st.sampled_from(["20240501T115031", "20240601T115031"]),
    strip=st.sampled_from(["105331", "105401"]),
)


@given(st.lists(versions, min_size=1, max_size=8), st.randoms())
def test_order_does_not_matter_and_nothing_is_lost_without_a_reason(scenes, random):
    scenes = [dataclasses.replace(s, href=f"/{n}") for n, s in enumerate(scenes)]
    found, dropped = catalogue.acquisitions(scenes)
    used = [s for item in found for s in item.scenes]
    assert len(found) == 1 and len(used) + len(dropped) == len(scenes)
    shuffled = list(scenes)
    random.shuffle(shuffled)
    again, _ = catalogue.acquisitions(shuffled)
    assert [s.id for item in again for s in item.scenes] == [s.id for s in used]


def test_selection_says_why_a_scene_is_left_out():
    area = shapely.box(4, 51, 5, 52)
    scenes = [
        scene(href="/1"),
        scene(href="/2", cloud_cover=80.0),
        scene(href="/3", sensed=DAY - timedelta(days=99)),
        scene(href="/4", level="L1C"),
        scene(href="/5", place={"tile": "01KAB"}),
        scene(href="/6", footprint=shapely.box(0, 0, 1, 1)),
    ]
    chosen, dropped = catalogue.select(
        scenes,
        aoi=area,
        period=(date(2024, 5, 1), date(2024, 5, 1)),
        max_cloud_cover=50,
        tiles=["31UFU"],
        level="L2A",
    )
    assert [s.href for s in chosen] == ["/1"]
    assert [item.reason for item in dropped] == [
        "cloud cover 80 %",
        "sensed on 2024-01-23, outside of the period",
        "level L1C",
        "tile 01KAB",
        "outside of the area of interest",
    ]


def test_footprints_are_cut_at_the_antimeridian():
    ring = [(179.5, -17), (-179.5, -17), (-179.5, -18), (179.5, -18), (179.5, -17)]
    shape = shapely.geometry.shape(polygon(ring))
    assert shape.geom_type == "MultiPolygon" and shape.area == pytest.approx(1.0)
    assert shape.bounds == (-180.0, -18.0, 180.0, -17.0)

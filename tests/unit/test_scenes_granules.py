"""Products before December 2016: several granules in one product, each of which is a scene of its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from hpckit.catalogue import catalogue, tiling
from hpckit.catalogue.discover import read_scenes
from hpckit.errors import SceneError
from hpckit.sensors.integrity import check_files
from hpckit.sensors.model import Scene
from hpckit.sensors.verified import verify_file
from hpckit.space import footprint
from hpckit.testing.safe import ProductSpec, write_old_product, write_product
from tests.products import read_product

SENSED = datetime(2016, 1, 29, 1, 0, 47, tzinfo=UTC)
PLACES = {
    "53JQJ": (700000, 7000020),
    "53JPJ": (600000, 7000020),
    "53JQK": (700000, 7100020),
    "54JTP": (300000, 7000020),
}


def spec(tile: str, **changes: object) -> ProductSpec:
    ulx, uly = PLACES[tile]
    values = {"baseline": "02.04", "level": "L1C", "sensed": SENSED, "absolute_orbit": 3145, "relative_orbit": 2}
    return ProductSpec(tile=tile, epsg=32700 + int(tile[:2]), ulx=ulx, uly=uly, **values | changes)  # type: ignore[arg-type]


def pixels(tile: str, level: str = "L1C") -> dict[str, np.ndarray]:
    """Bands with numbers of the tile's own."""
    random = np.random.default_rng(sorted(PLACES).index(tile))
    made = {
        key: random.integers(1, 9000, (edge, edge)).astype(np.uint16)
        for key, edge in {"B04@10m": 96, "B8A@20m": 48, "B01@60m": 16}.items()
    }
    return made | ({"SCL@20m": random.integers(2, 12, (48, 48)).astype(np.uint8)} if level == "L2A" else {})


def old_product(folder: Path, tiles: list[str], *, as_zip: bool = False, **changes: object) -> Path:
    level = str(changes.get("level", "L1C"))
    granules = [
        (spec(tile, cloud_cover=10.0 * number, **changes), pixels(tile, level)) for number, tile in enumerate(tiles)
    ]
    return write_old_product(folder, granules, as_zip=as_zip)


def by_tile(scenes: list[Scene]) -> dict[str, Scene]:
    assert len({scene.tile for scene in scenes}) == len(scenes)
    return {scene.tile: scene for scene in scenes}


def require_pixels(scene: Scene, expected: dict[str, np.ndarray]) -> None:
    assert scene.assets.keys() == expected.keys()
    for key, array in expected.items():
        with rasterio.open(scene.assets[key].uri) as source:
            np.testing.assert_array_equal(source.read(1), array)


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize("tiles", [["53JQJ"], ["53JQJ", "53JPJ"], ["54JTP", "53JQK", "53JQJ", "53JPJ"]])
def test_every_granule_is_a_scene_with_its_own_values(tmp_path, tiles, level, as_zip):
    path = old_product(tmp_path, tiles, level=level, as_zip=as_zip)
    scenes = by_tile(list(catalogue.scan([tmp_path]).scenes))
    assert scenes.keys() == set(tiles)
    for number, tile in enumerate(tiles):
        scene, told = scenes[tile], spec(tile, level=level)
        assert scene.href == str(path) and scene.level == level and not scene.missing
        assert (scene.frame.epsg, scene.frame.ulx, scene.frame.uly) == (told.epsg, *PLACES[tile])
        assert scene.cloud_cover == pytest.approx(10.0 * number) and scene.nodata is None
        assert scene.part == told.datastrip and scene.relative_orbit == 2 and scene.baseline == "02.04"
        assert scene.id == f"{path.stem}_T{tile}_{told.production:%Y%m%dT%H%M%S}"
        require_pixels(scene, pixels(tile, level))
        for key in scene.assets:
            verify_file(scene, key)
        square = footprint.square(scene.frame.epsg, scene.frame.ulx, scene.frame.uly, scene.frame.shapes[10])
        outline = shapely.geometry.shape(scene.footprint)
        assert outline.intersection(square).area == pytest.approx(square.area, rel=0.01)
        assert outline.area == pytest.approx(square.area, rel=0.01)


@pytest.mark.parametrize("name", ["old", "S2A_MSIL1C_renamed.SAFE"])
def test_a_renamed_product_keeps_its_names(tmp_path, name):
    path = old_product(tmp_path / "a", ["53JQJ", "53JPJ"])
    names = {scene.id for scene in read_scenes(path)}
    moved = path.rename(tmp_path / name)
    assert {scene.id for scene in read_scenes(moved)} == names


def test_what_the_product_lists_and_what_is_there(tmp_path):
    """A granule that was not fetched is no scene; an image that was lost is missing in its own scene only."""
    path = old_product(tmp_path, ["53JQJ", "53JPJ", "53JQK"])
    shutil.rmtree(next(path.glob("GRANULE/*T53JPJ*")))
    lost = next(path.glob("GRANULE/*T53JQK*/IMG_DATA/*B8A.jp2"))
    lost.unlink()
    scenes = by_tile(read_scenes(path))
    assert scenes.keys() == {"53JQJ", "53JQK"}
    assert not scenes["53JQJ"].missing and scenes["53JQK"].missing == (lost.name,)
    assert "B8A@20m" not in scenes["53JQK"].assets and "B8A@20m" in scenes["53JQJ"].assets


def test_two_strips_of_one_tile_are_two_scenes_of_one_acquisition(tmp_path):
    later = {"strip_offset_s": 200, "produced": SENSED + timedelta(hours=2)}
    halves = [(spec("53JQJ"), pixels("53JQJ")), (spec("53JQJ", **later), pixels("53JPJ"))]
    path = write_old_product(tmp_path, halves)
    scenes = read_scenes(path)
    require_pixels(next(scene for scene in scenes if scene.part == halves[0][0].datastrip), halves[0][1])
    require_pixels(next(scene for scene in scenes if scene.part == halves[1][0].datastrip), halves[1][1])
    ((acquisition,), dropped) = catalogue.acquisitions(scenes)
    assert not dropped and len(acquisition.scenes) == 2
    selected, tiles = tmp_path / "s.parquet", tmp_path / "t.parquet"
    catalogue.write(selected, scenes)
    tiling.write(tiles, {"53JQJ": [acquisition]})
    assert tiling.read(tiles, selected)[0] == {"53JQJ": (acquisition,)}
    assert tiling.read(tiles, selected, ["53JQJ"])[0] == {"53JQJ": (acquisition,)}


def test_granules_that_nothing_distinguishes_are_refused(tmp_path):
    path = old_product(tmp_path, ["53JQJ", "53JPJ"])
    (granule,) = path.glob("GRANULE/*T53JQJ*")
    shutil.copytree(granule, other := granule.with_name(granule.name.replace("JQJ", "JQX")))
    (metadata,) = other.glob("*.xml")
    metadata.write_text(metadata.read_text().replace("<NROWS>96<", "<NROWS>95<"))
    with pytest.raises(SceneError, match="3 granules in one product, whose metadata list 2"):
        read_scenes(path)
    shutil.rmtree(next(path.glob("GRANULE/*T53JPJ*")))
    with pytest.raises(SceneError, match=r"it has 2 granules S2A_OPER_PRD\S*_T53JQJ_"):
        read_scenes(path)


def test_a_copy_of_a_granules_metadata_is_passed_over(tmp_path):
    path = old_product(tmp_path, ["53JQJ", "53JPJ"])
    before = read_scenes(path)
    shutil.copy(next(path.glob("GRANULE/*T53JQJ*/*.xml")), path / "GRANULE")
    assert read_scenes(path) == before


def test_a_damaged_granule_is_named(tmp_path):
    path = old_product(tmp_path, ["53JQJ", "53JPJ"])
    for image in path.glob("GRANULE/*T53JPJ*/IMG_DATA/*"):
        image.unlink()
    with pytest.raises(SceneError, match=r"none of its image files is there \(granule S2A_OPER_MSI_L1C_TL_\S*T53JPJ"):
        read_scenes(path)


# --- of one pass, the newest processing ------------------------------------------------------------------------

PROCESSED = [
    # (first, second, which is used): baseline and hours after sensing, "old" with several granules
    (("02.04", 9, "old"), ("05.00", 60000, "compact"), 1),
    (("02.04", 9, "old"), ("02.04", 7000, "compact"), 1),
    (("02.04", 7000, "old"), ("02.04", 9, "compact"), 0),
    (("02.01", 9, "old"), ("02.04", 7000, "old"), 1),
    (("02.04", 9, "old"), ("99.99", 70000, "compact"), 0),
]


def written(folder: Path, baseline: str, hours: int, form: str) -> Scene:
    made = {"baseline": baseline, "produced": SENSED + timedelta(hours=hours)}
    if form == "old":
        return by_tile(read_scenes(old_product(folder, ["53JQJ", "53JPJ"], **made)))["53JQJ"]
    path = write_product(folder, spec("53JQJ", **made), pixels("53JQJ"))
    scene = read_product(path)
    if hours < 10000:  # before November 2017, the last part of a name was the time of sensing
        scene = replace(scene, id=f"{scene.id.rpartition('_')[0]}_20160129T010047")
    return scene


@pytest.mark.parametrize(("first", "second", "used"), PROCESSED)
@pytest.mark.parametrize("turned", [False, True])
def test_the_newest_processing_is_used_whatever_its_form(tmp_path, first, second, used, turned):
    scenes = [written(tmp_path / "a", *first), written(tmp_path / "b", *second)]
    assert len({scene.acquisition_id for scene in scenes}) == 1
    ((acquisition,), (dropped,)) = catalogue.acquisitions(scenes[::-1] if turned else scenes)
    assert acquisition.scenes == (scenes[used],) and dropped.scene_id == scenes[1 - used].id
    assert "superseded" in dropped.reason or "the same datastrip" in dropped.reason


# --- what results depend on ------------------------------------------------------------------------------------


def test_a_changed_granule_is_noticed_in_itself_alone(tmp_path):
    before = by_tile(read_scenes(old_product(tmp_path / "a", ["53JQJ", "53JPJ"])))
    other = [(spec("53JQJ", cloud_cover=0.0), pixels("53JQJ")), (spec("53JPJ", cloud_cover=10.0), pixels("54JTP"))]
    after = by_tile(read_scenes(write_old_product(tmp_path / "b", other)))
    assert before["53JQJ"].made_of == after["53JQJ"].made_of
    assert before["53JPJ"].made_of != after["53JPJ"].made_of
    assert before["53JQJ"].made_of != before["53JPJ"].made_of


def test_a_scan_reuses_what_is_unchanged_and_finds_granules_that_came_later(tmp_path):
    path = old_product(tmp_path / "scenes", ["53JQJ", "53JPJ", "53JQK"])
    (late,) = path.glob("GRANULE/*T53JQK*")
    late.rename(tmp_path / late.name)
    listed = tmp_path / "c.parquet"
    first = catalogue.scan([tmp_path / "scenes"])
    catalogue.write(listed, first.scenes)
    assert by_tile(catalogue.read(listed)) == by_tile(list(first.scenes))
    again = catalogue.scan([tmp_path / "scenes"], previous=listed)
    assert again.reused == 2 and by_tile(list(again.scenes)) == by_tile(list(first.scenes))
    (tmp_path / late.name).rename(late)
    more = catalogue.scan([tmp_path / "scenes"], previous=listed)
    assert by_tile(list(more.scenes)).keys() == {"53JQJ", "53JPJ", "53JQK"}


def test_damage_is_found_by_the_products_checksums(tmp_path):
    path = old_product(tmp_path, ["53JQJ", "53JPJ"])
    (image,) = path.glob("GRANULE/*T53JQJ*/IMG_DATA/*B04.jp2")
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes(data)
    scenes = by_tile(read_scenes(path))
    check_files(scenes["53JPJ"], scenes["53JPJ"].assets)
    with pytest.raises(SceneError, match=r"digest of S2A_OPER_MSI_L1C_TL_\S*T53JQJ_B04.jp2"):
        check_files(scenes["53JQJ"], ["B04@10m"])


# --- tiles on AWS ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lists", [True, False])
def test_a_tile_on_aws_of_an_old_product(tmp_path, lists):
    path = old_product(tmp_path, ["53JQJ", "53JPJ"])
    delivered = by_tile(read_scenes(path))["53JQJ"]
    target = tmp_path / "tiles/53/J/QJ/2016/1/29/0"
    target.mkdir(parents=True)
    (granule,) = path.glob("GRANULE/*T53JQJ*")
    shutil.copy(next(granule.glob("*.xml")), target / "metadata.xml")
    (target / "tileInfo.json").write_text("{}")
    told = {"name": path.stem, "datatakeIdentifier": delivered.datatake}
    if lists:
        told["datastrips"] = [{"id": delivered.part}]
    (target / "productInfo.json").write_text(json.dumps(told))
    for image in granule.glob("IMG_DATA/*.jp2"):
        shutil.copy(image, target / f"{image.stem.rpartition('_')[2]}.jp2")
    (scene,) = read_scenes(target)
    for field in ("id", "tile", "datatake", "baseline", "relative_orbit", "platform", "level", "frame"):
        assert getattr(scene, field) == getattr(delivered, field)
    require_pixels(scene, pixels("53JQJ"))
    told["datastrips"] = [{"id": delivered.part.replace("_S", "_X")}]
    (target / "productInfo.json").write_text(json.dumps(told))
    with pytest.raises(SceneError, match="names no product of tile 53JQJ"):
        read_scenes(target)


def test_a_product_whose_metadata_are_gone_is_reported(tmp_path):
    path = old_product(tmp_path, ["53JQJ", "53JPJ"])
    next(path.glob("*_MTD_SAFL1C_*.xml")).unlink()
    report = catalogue.scan([tmp_path])
    assert not report.scenes and "the metadata of a product before December 2016" in report.failures[0].reason

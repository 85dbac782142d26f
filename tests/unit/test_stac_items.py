"""Products that STAC items describe: what catalogues say is believed only where it holds."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.catalogue.foreign import read_items
from hpckit.errors import SceneError
from hpckit.inputs import httpfiles
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.reader import Treatment, WindowRequest
from hpckit.sensors.sensor import Sensor
from hpckit.sensors.sentinel2.bands import BANDS
from hpckit.sensors.sentinel2.details import details_of
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.sensors.source import harmonise, recode
from hpckit.sensors.stac.dialects import band_of_key, dialect_of
from hpckit.sensors.stac.files import file_of, href_of
from hpckit.sensors.stac.item import read_item
from hpckit.sensors.stac.options import ItemOptions
from hpckit.sensors.stac.radiometry import reflectance
from hpckit.sensors.verified import verify_file
from hpckit.testing.safe import ProductSpec, write_product
from hpckit.testing.sensor import SensorTests
from tests import stac_samples
from tests.servers.files import FileServer, serve, status
from tests.stac_samples import DIALECTS, SENSED, write_item

EDGE = 120


def pixels(seed: int = 1) -> dict[str, np.ndarray]:
    """Numbers of baseline 05.10, with pixels without data."""
    random = np.random.default_rng(seed)
    made = {
        "B04@10m": random.integers(1001, 12000, (EDGE, EDGE)).astype(np.uint16),
        "B11@20m": random.integers(1001, 12000, (EDGE // 2, EDGE // 2)).astype(np.uint16),
        "SCL@20m": random.choice([4, 5, 6], (EDGE // 2, EDGE // 2)).astype(np.uint8),
    }
    for array in made.values():
        array[:, : array.shape[1] // 10] = 0
    return made


def only(path: Path, options: ItemOptions | None = None) -> Scene:
    report = catalogue.scan([path], items=options)
    assert not report.failures and len(report.scenes) == 1, report
    return report.scenes[0]


def refused(path: Path, options: ItemOptions | None = None) -> str:
    report = catalogue.scan([path], items=options)
    assert not report.scenes
    (failure,) = report.failures
    assert "\n" not in failure.reason
    return failure.reason


def stored(scene: Scene, key: str) -> np.ndarray:
    """What a cube holds of a band."""
    ref = SENTINEL2.parse(key)
    frame = SENTINEL2.grid.frame(scene.tile, scene.frame.shapes, scene.frame)
    ((acquisition,), _) = catalogue.acquisitions([scene])
    request = WindowRequest(frame, ref, 0, [0], acquisition, Treatment(verify=True))
    return SENTINEL2.read_windows(request).windows[0]


@pytest.mark.parametrize("baseline", ["02.14", "05.10"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_what_the_safe_of_the_product_gives(tmp_path, dialect, baseline):
    """Identity, pass, tile, place and numbers, although Earth Search has changed its pixels and says otherwise."""
    name = stac_samples.product_name(baseline=baseline)
    write_item(tmp_path, pixels(), dialect, baseline=baseline)
    scene = only(tmp_path)
    shift = 1000 if baseline == "02.14" else 0
    assert scene.id == name and scene.tile == "31UFU" and scene.baseline == baseline and scene.level == "L2A"
    assert scene.platform == "S2A" and scene.relative_orbit == 51 and scene.cloud_cover == 12.5
    orbit = "000000" if dialect == "earth-search-v0" else "046000"
    assert scene.acquisition_id == f"GS2A_20240501T105031_{orbit}"
    assert set(scene.assets) == set(pixels()) and scene.frame.shapes == {10: (120, 120), 20: (60, 60), 60: (20, 20)}
    for key, array in pixels().items():
        wanted = array if key.startswith("SCL") else harmonise(array, shift)
        np.testing.assert_array_equal(stored(scene, key), wanted, err_msg=key)
    expected = -0.1 if baseline == "05.10" and not dialect.startswith("earth-search") else 0.0
    assert scene.assets["B04@10m"].offset == expected
    assert f"offset {expected:g}" in details_of(scene).offset_from


def test_an_item_and_the_safe_of_one_product_are_one(tmp_path):
    """The same name, pass and datastrip: one of them is used."""
    arrays = pixels()
    spec = ProductSpec(sensed=SENSED, baseline="05.10")
    safe = write_product(tmp_path / "safe", spec, arrays)
    item = write_item(tmp_path / "item", arrays, "collection-1", sensed=SENSED)
    told = json.loads(item.read_text())
    (delivered,) = catalogue.scan([safe]).scenes
    told["properties"] |= {
        "s2:product_uri": f"{delivered.id}.SAFE",
        "s2:datatake_id": delivered.datatake,
        "s2:datastrip_id": delivered.part,
    }
    item.write_text(json.dumps(told))
    found, dropped = catalogue.acquisitions(catalogue.scan([tmp_path]).scenes)
    assert len(found) == 1 and len(found[0].scenes) == 1 and len(dropped) == 1
    for key in ("B04@10m", "B11@20m"):
        np.testing.assert_array_equal(stored(only(item.parent), key), stored(delivered, key))


@pytest.mark.parametrize(
    ("dialect", "changes", "words"),
    [
        ("earth-search", {"applied": False}, "earthsearch:boa_offset_applied is false"),
        ("earth-search", {"earthsearch:boa_offset_applied": None, "sentinel:product_id": "x"}, "is not there"),
        ("collection-1", {"s2:processing_baseline": "02.14"}, "declares the offset -0.1 for red"),
        ("data-space", {"processing:version": "02.14"}, "baseline 02.14 have 0"),
        ("planetary-computer", {"s2:processing_baseline": None, "s2:product_uri": None}, "nothing tells the offset"),
        ("stactools", {"s2:product_uri": None, "s2:datastrip_id": None}, "of no catalogue that hpckit knows"),
    ],
)
def test_what_cannot_be_decided_is_refused_and_the_campaign_can_say_it(tmp_path, dialect, changes, words):
    path = write_item(tmp_path, pixels(), dialect, **changes)
    reason = refused(path)
    assert words in reason and json.loads(path.read_text())["id"] in reason
    assets = {"B04": "red", "SCL": "scl"} if dialect == "stactools" else None
    scene = only(path, ItemOptions(assets=assets, offset=-0.1))
    assert scene.assets["B04@10m"].offset == -0.1 and "scenes.items.offset" in details_of(scene).offset_from


@pytest.mark.parametrize("sensor", ["sentinel-1", "sentinel-2"])
def test_items_whose_only_image_is_a_zip_file(tmp_path, sensor):
    """As EODC has them, with a place on its own file system beside the address."""
    path = write_item(tmp_path, pixels(), "data-space")
    item = json.loads(path.read_text())
    here = tmp_path / "product.zip"
    asset = {"type": "application/zip", "alternate": {"local": {"href": str(here)}}}
    item["assets"] = {
        "safe-zip": {"href": "https://data.example.org/p.zip?sig=secret", **asset},
        "thumbnail": {"href": "p.jpg", "type": "image/jpeg"},
    }
    if sensor == "sentinel-1":
        item["properties"] |= {"sar:instrument_mode": "IW", "platform": "sentinel-1a"}
    path.write_text(json.dumps(item))
    reason = refused(path)
    assert f"{item['id']}: its only image is a zip file of the whole product on a server" in reason
    assert "https://data.example.org/p.zip: download it, and name its folder in `scenes.paths`" in reason
    assert "secret" not in reason
    here.write_bytes(b"")
    assert f"{here}: name its folder in `scenes.paths` instead of the item" in refused(path)


def test_a_real_item_whose_only_image_is_a_zip_file(shared_data, tmp_path):
    found = json.loads((shared_data / "stac-items/static/eodag-provider-responses/geodes_search.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps(found["features"][0]))
    assert "its only image is a zip file of the whole product on a server" in refused(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("constellation", "platform", "name", "remedy"),
    [
        ("sentinel-3", "sentinel-3a", "S3A_OL_2_LFR____20240501T095011", "scenes.rasters"),
        (None, "landsat-9", "LC09_L2SP_198024_20240501", "scenes.rasters"),
    ],
)
def test_items_of_other_missions_are_refused_also_where_bands_are_described(
    tmp_path, constellation, platform, name, remedy
):
    path = write_item(tmp_path, pixels(), "stactools")
    item = json.loads(path.read_text())
    item["id"] = name
    item["properties"] |= {"constellation": constellation, "platform": platform, "s2:product_uri": None}
    path.write_text(json.dumps(item))
    for options in (ItemOptions(), ItemOptions(assets={"B04": "red"}, offset=0)):
        _, (error,) = read_items(path, options)
        assert f"{name}: its STAC item is of {constellation or platform}, and items are" in str(error)
        assert error.hint is not None and remedy in error.hint


def test_an_offset_that_is_given_twice(tmp_path):
    path = write_item(tmp_path, pixels(), "collection-1")
    item = json.loads(path.read_text())
    item["assets"]["red"]["raster:offset"] = 0
    path.write_text(json.dumps(item))
    assert "declares offset twice: -0.1 and 0" in refused(path)
    item["assets"]["red"]["raster:offset"] = -0.1
    path.write_text(json.dumps(item))
    assert only(path).assets["B04@10m"].offset == -0.1


def change(path: Path, key: str, value: Any) -> None:
    item = json.loads(path.read_text())
    item["assets"][key]["href"] = value
    path.write_text(json.dumps(item))


@pytest.mark.parametrize("how", ["relative", "absolute", "file"])
def test_names_of_files(tmp_path, how):
    path = write_item(tmp_path / "with space", pixels(), "stactools")
    file = path.parent / "red.tif"
    change(path, "red", {"relative": "red.tif", "absolute": str(file), "file": file.as_uri()}[how])
    assert only(path).assets["B04@10m"].file == file


@given(folder=st.text("/#a.json", max_size=12), name=st.sampled_from(["a.json", "b.GeoJSON", "c.parquet"]))
def test_the_file_of_an_item_is_found_by_the_address_of_its_scene(folder, name):
    path = Path(f"/x/{folder.replace('.json#', '')}/{name}").absolute()
    assert file_of(href_of(path, "S2A#1")) == path
    assert file_of(str(path)) is None and file_of(f"/x/{folder.replace('.json', '')}.SAFE") is None


def test_files_that_are_elsewhere_or_gone(tmp_path):
    path = write_item(tmp_path, pixels(), "stactools")
    change(path, "red", "ftp://example.org/a/B04.tif?sig=secret")
    assert set(only(path).assets) == {"B11@20m", "SCL@20m"} and only(path).missing == ()
    (path.parent / "swir16.tif").unlink()
    scene = only(path)
    assert scene.missing == ("B11: swir16.tif",) and set(scene.assets) == {"SCL@20m"}
    change(path, "scl", "gs://bucket/SCL.tif")
    change(path, "swir16", "gs://bucket/B11.tif")
    reason = refused(path)
    assert "none of its images can be read: they are at ftp://example.org/a/B04.tif" in reason
    assert "secret" not in reason


def test_files_on_a_server(tmp_path, monkeypatch):
    """The same numbers; what is not there is missing, and what is another file by now is another product."""
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})
    arrays = pixels()
    path = write_item(tmp_path, arrays, "collection-1")
    here = only(path)
    wanted = {key: stored(here, key) for key in arrays}
    (path.parent / "served").mkdir()
    with serve(FileServer(path.parent / "served")) as server:
        for key in ("red", "swir16"):
            (path.parent / f"{key}.tif").rename(path.parent / "served" / f"{key}.tif")
            change(path, key, f"{server.url}/{key}.tif?sig=secret")
        there = only(path)
        assert there.assets["B04@10m"].is_remote and there.assets["B04@10m"].digest.startswith("sha256:")
        assert there.content == here.content and there.missing == ()
        for key in arrays:
            np.testing.assert_array_equal(stored(there, key), wanted[key], err_msg=key)
        red = path.parent / "served" / "red.tif"
        stac_samples.write_raster(red, arrays["B04@10m"] + 7, 10, compress="lzw")
        with pytest.raises(SceneError, match=r"red\.tif was replaced since it was scanned"):
            stored(there, "B04@10m")
        assert "bytes, its item says" in refused(path)
        item = json.loads(path.read_text())
        del item["assets"]["red"]["file:size"], item["assets"]["red"]["file:checksum"]
        path.write_text(json.dumps(item))
        again = only(path)
        assert again.assets["B04@10m"].digest.startswith("etag:") and again.content != here.content
        red.unlink()
        assert only(path).missing == ("B04: red.tif",) and "B04@10m" not in only(path).assets
        server.every = status(403)
        assert "HTTP status 403" in refused(path)


@pytest.mark.parametrize("where", ["local", "https"])
def test_other_addresses_of_a_file(tmp_path, where):
    """A federation's members keep the same file on their own disks."""
    path = write_item(tmp_path, pixels(), "stactools")
    item = json.loads(path.read_text())
    here = str(path.parent / "red.tif")
    first, other = (
        ("https://example.org/red.tif", here) if where == "local" else (here, "https://example.org/red.tif")
    )
    item["assets"]["red"] |= {"href": first, "alternate": {where: {"href": other}}}
    path.write_text(json.dumps(item))
    assert only(path).assets["B04@10m"].uri == here


def test_files_that_are_not_what_the_item_says(tmp_path):
    arrays = pixels()
    path = write_item(tmp_path, arrays, "stactools")
    red, raster = path.parent / "red.tif", stac_samples.write_raster
    jp2 = raster(tmp_path / "x.jp2", arrays["B04@10m"], 10, driver="JP2OpenJPEG", compress=None, tiled=None)
    shutil.copy(jp2, red)
    assert "red.tif cannot be read as GeoTIFF" in refused(path)
    raster(red, arrays["B04@10m"], 30)
    assert "asset red has pixels of 30 m" in refused(path)
    raster(red, arrays["B04@10m"], 10, crs="EPSG:32632")
    assert "red.tif is in EPSG:32632, its item says EPSG:32631" in refused(path)
    raster(red, arrays["B04@10m"], 10, crs=None)
    assert only(path).assets["B04@10m"].crs == "EPSG:32631"
    raster(red, arrays["B04@10m"], 10, transform=rasterio.Affine(10, 0, 600_010, 0, -10, 5_700_000))
    assert "lies elsewhere" in refused(path)


def test_collections_of_items_lose_no_good_one(tmp_path):
    """A bad item costs its own scene; a collection of items, a table and single files give the same scenes."""
    paths = [
        write_item(tmp_path / "items", pixels(n), "collection-1", sensed=SENSED + timedelta(days=n)) for n in range(3)
    ]
    items = [json.loads(path.read_text()) for path in paths]
    for item, path in zip(items, paths, strict=True):
        for asset in item["assets"].values():
            asset["href"] = f"items/{path.parent.name}/{asset['href']}"
    wrong = json.loads(json.dumps(items[1]))
    wrong["id"], wrong["properties"]["s2:processing_baseline"] = "wrong", "02.14"
    (tmp_path / "all.json").write_text(json.dumps({"type": "FeatureCollection", "features": [*items, wrong]}))
    report = catalogue.scan([tmp_path / "all.json"])
    assert [failure.reason.partition(":")[0] for failure in report.failures] == ["wrong"]
    single = catalogue.scan([tmp_path / "items"]).scenes
    assert sorted(scene.made_of for scene in report.scenes) == sorted(scene.made_of for scene in single)
    import stac_geoparquet.arrow as stac

    stac.to_parquet(stac.parse_stac_items_to_arrow(items), tmp_path / "all.parquet")
    assert not catalogue.is_catalogue(tmp_path / "all.parquet")
    table = catalogue.scan([tmp_path / "all.parquet"]).scenes
    assert sorted(scene.made_of for scene in table) == sorted(scene.made_of for scene in single)
    catalogue.write(tmp_path / "own.parquet", table)
    assert catalogue.is_catalogue(tmp_path / "own.parquet")
    assert set(catalogue.read(tmp_path / "own.parquet")) == set(table)


def test_folders_give_items_of_products_and_nothing_else(tmp_path):
    path = write_item(tmp_path, pixels(), "stactools")
    (tmp_path / "catalog.json").write_text('{"type": "Catalog", "id": "sentinel-2"}')
    (tmp_path / "field.geojson").write_text('{"type": "FeatureCollection", "features": [], "name": "sentinel-2"}')
    (tmp_path / "other.json").write_text(
        '{"type": "Feature", "id": "S2A_MSIL2A_", "properties": {}, "assets": {}, "geometry": null}'
    )
    (tmp_path / "cut.json").write_text('{"type": "Feature", "id": "S2A_MSIL2A_')
    assert list(find_products([tmp_path])) == [path]
    assert "no complete JSON" in refused(tmp_path / "cut.json")


def test_files_are_compared_with_the_digests_of_their_item(tmp_path):
    path = write_item(tmp_path, pixels(), "collection-1")
    scene = only(path)
    verify_file(scene, "B04@10m")
    file = scene.assets["B04@10m"].file
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(SceneError, match=r"sha256 digest of red.tif is not that of its item"):
        verify_file(scene, "B04@10m")
    file.write_bytes(data[:-1])
    with pytest.raises(SceneError, match=f"red.tif has {len(data) - 1} bytes, its item says {len(data)}"):
        verify_file(scene, "B04@10m")
    assert only(path).made_of == scene.made_of, "the item has the digest of the file that was meant"


def test_files_of_another_data_type_come_to_the_numbers_of_cubes(tmp_path):
    """Reflectance * 10000 without an offset in signed integers, -9999 without data, of an unknown catalogue."""
    arrays = {"B04@10m": pixels()["B04@10m"]}
    path = write_item(tmp_path, arrays, "stactools", **{"s2:product_uri": None})
    signed = np.where(arrays["B04@10m"] == 0, -9999, arrays["B04@10m"].astype(np.int32) - 1000).astype(np.int16)
    stac_samples.write_raster(path.parent / "red.tif", signed, 10, nodata=-9999)
    scene = only(path, ItemOptions(assets={"B04": "red"}, offset=0))
    np.testing.assert_array_equal(stored(scene, "B04@10m"), arrays["B04@10m"])


@given(
    values=arrays_of.arrays(
        st.sampled_from([np.int16, np.float32, np.uint8]), (4, 5), elements=st.integers(0, 100), fill=st.nothing()
    ),
    scale=st.sampled_from([1e-4, 1e-3, 0.01]),
    offset=st.sampled_from([0.0, -0.1, 0.05]),
    nodata=st.sampled_from([None, 7.0, 99.0]),
)
def test_numbers_are_recoded_by_what_they_mean(values, scale, offset, nodata):
    band = BANDS["B04"]
    found = recode(values, Asset("/x.tif", scale=scale, offset=offset, nodata=nodata), band)
    assert found.dtype == np.uint16
    for number, result in zip(values.ravel().tolist(), found.ravel().tolist(), strict=True):
        if number in (0, nodata):
            assert result == 0
        else:
            wanted = (number * scale + offset + 0.1) * 1e4
            assert result == max(1, round(wanted)) or abs(result - wanted) <= 0.5000001


class TestItems(SensorTests):
    """Scenes of items keep the contract of their sensor."""

    @pytest.fixture
    def sensor(self) -> Sensor:
        return SENTINEL2

    @pytest.fixture
    def products(self, tmp_path: Path) -> Path:
        write_item(tmp_path / "scenes", pixels(), "collection-1")
        return tmp_path / "scenes"

    def test_products_are_found_once_and_read(self, sensor: Sensor, products: Path) -> None:
        (path,) = find_products([products])
        scene = only(products)
        assert scene.href == f"{path}#{json.loads(path.read_text())['id']}" and hash(scene) == hash(only(products))


# --- real items ------------------------------------------------------------------------------------------------


def real_items(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text(errors="replace"))
        found = content.get("features", [content]) if isinstance(content, dict) else []
        yield from (item for item in found if isinstance(item, dict) and item.get("type") == "Feature")


@pytest.mark.realdata
def test_real_items_have_the_offset_that_their_pixels_have(shared_data):
    """By what is known of each catalogue: Earth Search declares -0.1 and has none, and so on."""
    seen: Counter[tuple[str, float]] = Counter()
    for item in real_items(shared_data / "stac-items"):
        dialect = dialect_of(item)
        key = next((key for key in item.get("assets", {}) if band_of_key(key) == "B04"), None)
        if dialect is None or key is None:
            continue
        said = item["properties"]
        text = str(said.get("s2:processing_baseline") or said.get("processing:version") or "")
        baseline = float(text) if text else None
        try:
            told = reflectance(item, key, dialect, baseline, ItemOptions(), is_original=False)
        except SceneError:
            seen[f"{dialect.name} refused", 0.0] += 1
            continue
        seen[dialect.name, round(told.offset, 3)] += 1
        assert told.scale == 1e-4
    assert seen["Earth Search", 0.0] >= 20 and ("Earth Search", -0.1) not in seen
    assert seen["Earth Search, Collection 1", -0.1] >= 16 and ("Earth Search, Collection 1", 0.0) not in seen
    assert seen["Planetary Computer", 0.0] >= 30 and ("Planetary Computer", -0.1) not in seen
    assert seen["Copernicus Data Space", -0.1] >= 6 and ("Copernicus Data Space", 0.0) not in seen


@pytest.mark.realdata
def test_real_items_without_files_are_refused_by_name(shared_data, monkeypatch):
    monkeypatch.setattr(httpfiles, "_is_private", lambda host: True)  # nobody is asked
    count = 0
    for item in real_items(shared_data / "stac-items" / "earth-search.aws.element84.com" / "sentinel-2-c1-l2a"):
        if dialect_of(item) is None:
            continue  # an answer from which fields were left out
        with pytest.raises(SceneError, match="is no public address") as caught:
            read_item(item, Path("/items.json"), ItemOptions())
        assert item["id"] in str(caught.value)
        count += 1
    assert count >= 6

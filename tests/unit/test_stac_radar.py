"""STAC items of Sentinel-1 rasters, on this machine and on a web server: the scenes and pixels of the files."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.catalogue.foreign import read_items
from hpckit.errors import SceneError
from hpckit.inputs import httpfiles, web
from hpckit.inputs.transfer import AbsentError
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel1.model import radar_of
from hpckit.sensors.sentinel1.placing import place
from hpckit.sensors.sentinel1.reading import RadarReading
from hpckit.sensors.sentinel1.sensor import SENTINEL1
from hpckit.sensors.sentinel1.windows import read_strip
from hpckit.sensors.stac.dialects import is_radar
from hpckit.sensors.stac.item import read_item
from hpckit.sensors.stac.options import ItemOptions
from hpckit.space.mgrs import mgrs_tile
from hpckit.testing.radar import RadarSpec, write_series
from tests.products import read_product
from tests.servers.files import FileServer, serve, status

TILE = mgrs_tile("31UFU")
SPEC = RadarSpec(ulx=TILE.xmin, uly=TILE.ymax)
RNG = np.random.default_rng(7)
SPECKLE = {pol: RNG.gamma(2, 0.05, (300, 320)).astype(np.float32) for pol in ("VV", "VH")}
POWER = {pol: np.where(power < 0.005, 0, power) for pol, power in SPECKLE.items()}
KEYS = {"sentinel-1-rtc": "{}", "first": "{}-rtc", "stactools": "gamma0_{}"}
"""Keys of assets: of the Planetary Computer now and before, of stactools."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})


def write_item(folder: Path, dialect: str = "sentinel-1-rtc", base: str = ".", **changes: Any) -> Path:
    """Files, and an item elsewhere that refers to them; the files say nothing of nodata."""
    first = write_series(folder / "files", SPEC, POWER)
    (note,) = (folder / "files").rglob("*.json")
    item = json.loads(note.read_text())
    note.unlink()
    files = first.parent.relative_to(folder).as_posix()
    item["id"] = "S1A_20240502_31UFU_DSC" if dialect == "stactools" else f"{SPEC.name.rpartition('_')[0]}_rtc"
    item["collection"] = "sentinel-1-rtc"
    item["properties"] |= {"constellation": "Sentinel-1", "sar:product_type": "GRD", "proj:epsg": SPEC.epsg}
    if dialect == "stactools":
        del item["properties"]["s1:datatake_id"]
        item["properties"]["sentinel:product_ids"] = [SPEC.name]
    if dialect == "first":
        item["geometry"]["coordinates"] = [[[6e5, 5.7e6], [6.032e5, 5.7e6], [6.032e5, 5.697e6], [6e5, 5.7e6]]]
    item["assets"] = {
        KEYS[dialect].format(pol.lower()): {
            "href": f"{base}/{files}/iw-{pol.lower()}.rtc.tiff",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "raster:bands": [{"nodata": 0, "data_type": "float32"}],
        }
        for pol in POWER
    }
    item["assets"]["tilejson"] = {"href": "https://example.org/vv", "roles": ["tiles"]}
    item["properties"] = {key: value for key, value in {**item["properties"], **changes}.items() if value is not None}
    path = folder / f"{item['id']}.json"
    path.write_text(json.dumps(item))
    return path


def only(path: Path, options: ItemOptions | None = None) -> Scene:
    scenes, errors = read_items(path, options or ItemOptions())
    assert not errors, errors
    (scene,) = scenes
    return scene


def refused(path: Path, options: ItemOptions | None = None) -> str:
    _, (error,) = read_items(path, options or ItemOptions())
    return f"{error} {error.hint}"


def window(scene: Scene, band: str) -> np.ndarray:
    """Pixels as cubes store them, of the window that holds the product."""
    placed = on_tile(scene)
    assert placed.frame is not None
    frame = SENTINEL1.grid.frame(TILE.tile, [10], placed.frame)
    return read_strip(RadarReading(), placed, SENTINEL1.parse(band), frame, 0, [0])[0]


def on_tile(scene: Scene) -> Scene:
    return place(scene, TILE)


@pytest.mark.parametrize("dialect", KEYS)
def test_every_dialect_gives_the_scene_and_the_pixels_of_the_files(tmp_path: Path, dialect: str):
    local = read_product(write_series(tmp_path / "here", SPEC, POWER))
    with serve(FileServer(tmp_path / "there")) as server:
        path = write_item(tmp_path / "there", dialect, server.url)
        scene = only(path)
        for field in ("sensor", "level", "platform", "sensed", "datatake", "part", "relative_orbit"):
            assert getattr(scene, field) == getattr(local, field), field
        ours, theirs = radar_of(scene), radar_of(local)
        assert replace(ours, polarisations=theirs.polarisations) == theirs
        assert set(scene.assets) == set(local.assets) and scene.footprint.equals_exact(local.footprint, 1e-9)
        for band in ("VV@10m", "VH@10m"):
            found = window(scene, band)
            np.testing.assert_array_equal(found, window(local, band))
            assert 0.3 < (found[2:298, 2:318] > 0).mean() < 1, "some pixels have no data"
    (acquisition,), (dropped,) = catalogue.acquisitions([on_tile(scene), on_tile(local)])
    assert acquisition.scenes == (on_tile(local),), "the acquisition of two catalogues is one"
    assert dropped.scene_id == scene.id


def test_no_data_and_the_scale_of_angles_by_the_item_where_files_say_nothing(tmp_path: Path):
    path = write_item(tmp_path)
    item = json.loads(path.read_text())
    (tmp_path / "files").rename(tmp_path / "old")
    place = tmp_path / item["assets"]["vv"]["href"]
    place.parent.mkdir(parents=True)
    with rasterio.open(next((tmp_path / "old").rglob("iw-vv*"))) as source:
        profile = {**source.profile, "driver": "GTiff", "nodata": None}
        power = np.where(source.read(1) == 0, -32768, source.read(1))
    with rasterio.open(place, "w", **profile) as target:
        target.write(power, 1)
    with rasterio.open(place.with_name("angle.tif"), "w", **{**profile, "dtype": "uint16"}) as target:
        target.write(np.full(power.shape, 3456, np.uint16), 1)
    item["assets"]["vv"]["raster:bands"] = [{"nodata": -32768}]
    item["assets"]["incidence"] = {
        "href": str(place.with_name("angle.tif")),
        "raster:bands": [{"nodata": 0, "scale": 0.01, "unit": "degrees"}],
    }
    del item["assets"]["vh"]
    path.write_text(json.dumps(item))
    scene = only(path)
    assert radar_of(scene).polarisations == ("VV",)
    found = window(scene, "VV@10m")
    lacking = power[10:290, 10:310] == -32768
    assert lacking.any() and (found[10:290, 10:310][lacking] == 0).all()
    assert (window(scene, "INC@10m")[10:290, 10:310] == 3456).all()


def test_items_beside_their_files_are_notes_and_others_products(tmp_path: Path):
    first = write_series(tmp_path / "a", SPEC, POWER)
    note = first.parent.parent / f"{first.parent.parent.name}.json"
    note.write_text(json.dumps(json.loads(write_item(tmp_path / "c", base="https://example.org").read_text())))
    path = write_item(tmp_path / "b")
    assert len(list(find_products([tmp_path / "a"]))) == 1
    assert path not in find_products([tmp_path / "b"]), "its files are a product that is found without it"
    shutil.move(tmp_path / "b" / "files", tmp_path / "files")
    item = json.loads(path.read_text())
    for asset in item["assets"].values():
        asset["href"] = asset["href"].replace("./", "../", 1)
    path.write_text(json.dumps(item))
    assert list(find_products([tmp_path / "b"])) == [path]
    assert [scene.id for scene in catalogue.scan([tmp_path / "b"]).scenes] == [item["id"]]


def test_items_of_no_known_catalogue_are_described(tmp_path: Path):
    path = write_item(tmp_path)
    item = json.loads(path.read_text())
    item["id"] = "pass of May"
    item["collection"] = "radar"
    item["assets"]["co"] = item["assets"].pop("vv")
    path.write_text(json.dumps(item))
    assert "gamma0 or sigma0" in refused(path, ItemOptions(assets={"VV": "co"}))
    item["assets"]["co"]["roles"] = ["data", "sigma0"]
    path.write_text(json.dumps(item))
    once, twice = (only(path, ItemOptions(assets={"VV": "co"}, scale=scale)) for scale in (None, 2))
    assert radar_of(once).radiometry == "sigma0" and set(once.assets) == {"VV@10m", "VV@20m"}
    one, two = (window(scene, "VV@10m").astype(int) for scene in (once, twice))
    assert np.abs(two - 2 * one).max() <= 1 and one.max() > 1000
    assert "of Sentinel-1, not of" in refused(path, ItemOptions(assets={"B04": "co"}))
    with pytest.raises(ValueError, match="make a campaign for each"):
        ItemOptions(assets={"B04": "red", "VV": "vv"})


def test_what_is_wrong_is_named(tmp_path: Path):
    with serve(FileServer(tmp_path)) as server:
        path = write_item(tmp_path, base=server.url)
        scene = only(path)
        server.every = status(403)
        assert "HTTP status 403" in refused(path)
        server.every = status(404)
        assert "iw-vv.rtc.tiff cannot be read" in refused(path)
        httpfiles._private.clear()
        assert "scenes: {hosts: [127.0.0.1]}" in refused(path)
        httpfiles._private.add("127.0.0.1")
        server.every = None
        file = next(tmp_path.rglob("iw-vv*"))
        file.write_bytes(file.read_bytes() + b"more")
        with pytest.raises(SceneError, match="was replaced since it was scanned"):
            window(scene, "VV@10m")
        server.every = status(503)
        with pytest.raises(SceneError, match="cannot be read"):
            window(scene, "VH@10m")
    path = write_item(tmp_path / "here")
    item = json.loads(path.read_text())
    item["assets"]["vv"]["raster:bands"] = [{"offset": -40}]
    path.write_text(json.dumps(item))
    assert "has an offset of -40: it is no linear power" in refused(path)
    item["assets"]["vv"]["raster:bands"] = [{"unit": "dB"}]
    path.write_text(json.dumps(item))
    assert "its values are in dB" in refused(path)
    item["assets"] = {"tilejson": item["assets"]["tilejson"]}
    path.write_text(json.dumps(item))
    assert "it has no asset vv, vh, hh or hv" in refused(path)


# --- real items ------------------------------------------------------------------------------------------------


def real_items(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text(errors="replace"))
        found = content.get("features", [content]) if isinstance(content, dict) else content
        if isinstance(found, list):
            yield from (item for item in found if isinstance(item, dict) and item.get("type") == "Feature")


@pytest.mark.realdata
def test_real_items_are_known_and_ask_for_their_own_files(shared_data: Path, monkeypatch: pytest.MonkeyPatch):
    """Raw products are looked for where images are, and geocoded ones are their images."""
    asked: list[str] = []

    def away(uri: str, *_: object) -> Any:
        asked.append(uri)
        raise AbsentError("not here")

    monkeypatch.setattr(httpfiles, "fetch", away)
    monkeypatch.setattr("hpckit.inputs.stored.list_below", away)
    seen: Counter[str] = Counter()
    for item in real_items(shared_data / "stac-items"):
        if not is_radar(item) or "assets" not in item:
            continue
        asked.clear()
        with pytest.raises(SceneError, match=f"^{item['id']}: "):
            read_item(item, Path("/items.json"), ItemOptions())
        seen[kind_of(next(iter(asked), "here"))] += 1
    assert seen["product in a store"] >= 13, "Earth Search"
    assert seen["product on a server"] >= 1, "Planetary Computer, raw"
    assert seen["raster"] >= 8, "Planetary Computer and stactools, geocoded"
    assert seen["here"] >= 2, "samples of stactools refer to files beside them"


def kind_of(uri: str) -> str:
    """What it is that is asked for first."""
    if uri.startswith("s3://"):
        return "product in a store" if re.search(r"_[0-9A-F]{4}$", uri) else uri
    return "product on a server" if uri.endswith("/manifest.safe") else "raster" if uri.endswith("f") else uri

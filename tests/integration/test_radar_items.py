"""STAC items of raw GRD, with the annotation of a real product: as the SAFE product itself, from wherever it lies."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import zarr
from lxml import etree
from odc.geo.geobox import GeoBox

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue.foreign import read_items
from hpckit.catalogue.stac import from_item, to_item
from hpckit.errors import SceneError
from hpckit.inputs import fetched, remote_documents
from hpckit.production.driver import run_campaign
from hpckit.production.fetchable import read_notes
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel1.terrain import read_geometry
from hpckit.sensors.stac.options import ItemOptions
from hpckit.testing.radar_eopf import write_eopf_grd
from tests.integration.test_radar_eopf import _forget, delivered, serving, stored, target
from tests.integration.test_radar_grd_real import CAMPAIGN, NAME, STEM, corner, real, safe, write_dem
from tests.servers.files import status
from tests.small_campaign import write_zones

__all__ = ["delivered", "real", "safe", "target"]
pytestmark = [pytest.mark.integration, pytest.mark.realdata]

SAMPLES = "stac-items/static/stactools-sentinel1/grd"
SAMPLE = "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13"
PRODUCT = NAME.removesuffix(".SAFE")
KINDS = ("product", "calibration", "noise")
SHORT = {"measurement/iw-vv.tiff", "annotation/iw-vv.xml", "annotation/calibration/calibration-iw-vv.xml"}


def sample(shared_data: Path, place: str) -> dict[str, Any]:
    """A real item of stactools, whose product is another one: that of the test at some place."""
    text = (shared_data / SAMPLES / SAMPLE / f"{SAMPLE}.json").read_text()
    text = re.sub(r"\.\./[^\"]*?\.SAFE", place, text)
    text = re.sub(r"s1a-iw-grd-vv-[^\"./]*", STEM, text)
    text = re.sub(r"s1a-iw-grd-vh-[^\"./]*", STEM.replace("-vv-", "-vh-").replace("-001", "-002"), text)
    item: dict[str, Any] = json.loads(text.replace(SAMPLE, PRODUCT.rpartition("_")[0]))
    return item


def shortened(item: dict[str, Any], place: str) -> dict[str, Any]:
    """The item as the archives of Amazon and Microsoft have it: short names, and another annotation."""
    item["assets"] = {
        key: {**asset, "href": re.sub(r"s1b-iw-grd-(v[vh])-[^\"/.]*", r"iw-\1", asset["href"])}
        for key, asset in item["assets"].items()
    }
    for pol in ("vv", "vh"):
        item["assets"][f"schema-product-{pol}"]["href"] = f"{place}/annotation/rfi/rfi-iw-{pol}.xml"
    return item


def short_copy(safe: Path, folder: Path) -> Path:
    """The product with short names, in a folder that has no ending."""
    made = folder / PRODUCT
    for file in safe.rglob("*"):
        if file.is_file():
            name = re.sub(r"s1b-iw-grd-(v[vh])-[^/.]*", r"iw-\1", file.relative_to(safe).as_posix())
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, made / name)
    assert {file.relative_to(made).as_posix() for file in made.rglob("*")} > SHORT
    return made


def say_truth(product: Path) -> None:
    """Let the manifest say what the files are that the test made; stores compare that."""
    tree = etree.parse(product / "manifest.safe")
    changed = 0
    for stream in tree.iterfind(".//{*}byteStream"):
        path = product / stream.find("{*}fileLocation").get("href")
        if path.is_file():
            stream.set("size", str(path.stat().st_size))
            checksum = stream.find("{*}checksum")
            assert checksum.get("checksumName") == "MD5"
            checksum.text = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            changed += 1
    assert changed >= 4 or not (product / "measurement" / f"{STEM}.tiff").exists()
    tree.write(product / "manifest.safe")


def only(folder: Path, item: dict[str, Any]) -> Scene:
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    scenes, errors = read_items(path, ItemOptions())
    assert not errors, errors
    return scenes[0]


def require_same(scene: Scene, delivered: Scene) -> None:
    """All of a scene but where it lies, and what servers say of its files."""
    assets = {
        key: replace(delivered.assets[key], uri=asset.uri, nbytes=asset.nbytes, digest=asset.digest)
        for key, asset in scene.assets.items()
    }
    assert scene.beside.keys() == ({f"VV/{kind}" for kind in KINDS} if scene.assets["VV@10m"].is_remote else set())
    assert scene.made_of.startswith(f"{PRODUCT} ") and scene.href.endswith(f"items.json#{PRODUCT.rpartition('_')[0]}")
    left_out = {"href": scene.href, "content": scene.content, "missing": scene.missing, "beside": scene.beside}
    assert replace(delivered, assets=assets, **left_out) == scene


@pytest.mark.parametrize("names", ["long", "short"])
@pytest.mark.parametrize("where", ["here", "web", "signed", "store"])
def test_an_item_is_the_product_and_holds_its_backscatter(
    where: str,
    names: str,
    shared_data: Path,
    safe: Path,
    delivered: Scene,
    target: GeoBox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    served = tmp_path / "served"
    product = short_copy(safe, served) if names == "short" else shutil.copytree(safe, served / NAME)
    say_truth(product)
    with serving(served, monkeypatch) as server:
        base = {"here": f"served/{product.name}", "store": f"s3://served/{product.name}"}
        place = base.get(where, f"{server.url}/{product.name}")
        item = sample(shared_data, place)
        if names == "short":
            item = shortened(item, place)
        if where == "signed":
            for asset in item["assets"].values():
                asset["href"] += "?sig=secret"
        scene = only(tmp_path, item)
        require_same(scene, delivered)
        _forget()
        np.testing.assert_array_equal(stored(scene, target), stored(delivered, target))
        again = only(tmp_path, item)
        assert again == scene == from_item(to_item(scene))
        if where in ("web", "signed"):
            asked = {path.rpartition("/")[2] for path, _, _ in server.requests}
            assert not any(name.startswith("rfi") for name in asked)
            assert all("sig=secret" in asset.uri for asset in scene.assets.values()) == (where == "signed")
            server.every = status(403)
            _forget()
            with pytest.raises(SceneError) as caught:
                stored(scene, target)
            assert "secret" not in str(caught.value) and PRODUCT in str(caught.value)


def test_a_product_that_is_not_there_or_not_whole(
    shared_data: Path, safe: Path, delivered: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    served = tmp_path / "served"
    product = shutil.copytree(safe, served / NAME)

    def refused(item: dict[str, Any]) -> str:
        path = tmp_path / "items.json"
        path.write_text(json.dumps(item))
        scenes, errors = read_items(path, ItemOptions())
        assert not scenes
        return f"{errors[0]} {errors[0].hint}"

    with serving(served, monkeypatch) as server:
        item = sample(shared_data, f"{server.url}/{NAME}")
        (product / "annotation/calibration" / f"noise-{STEM}.xml").unlink()
        assert f"noise-{STEM}.xml" in only(tmp_path, item).missing
        (product / "manifest.safe").rename(tmp_path / "kept")
        assert "has no manifest.safe" in refused(item)
        shutil.move(tmp_path / "kept", product / "manifest.safe")
        (product / "measurement" / f"{STEM}.tiff").unlink()
        assert "none of its measurement files is there" in refused(item)
        item["assets"]["vv"]["href"] = f"{server.url}/other/measurement/{STEM}.tiff"
        assert "its images are of several products" in refused(item)
        item["assets"]["vv"]["href"] = item["assets"]["vh"]["href"] = f"{server.url}/{STEM}.tiff"
        assert "lies in no product" in refused(item)


def with_vh(product: Path) -> Path:
    """The product, whole: with files of VH, which are those of VV."""
    for file in [path for path in product.rglob("*") if STEM in path.name]:
        other = file.name.replace("-vv-", "-vh-").replace("-001", "-002")
        shutil.copy(file, file.with_name(other))
    say_truth(product)
    return product


def campaign_of(folder: Path, safe: Path, paths: str) -> Path:
    """A campaign of 5 km around the corner of the image."""
    folder.mkdir()
    geometry = read_geometry(STEM, (safe / "annotation" / f"{STEM}.xml").read_bytes())
    x, y = corner(geometry, 800.0)
    write_zones(folder / "zones.gpkg", [shapely.box(x, y - 400, x + 210, y - 200)], crs="EPSG:32633")
    write_dem(folder / "dem.tif", 800.0)
    text = CAMPAIGN.format(scenes=paths).replace("  collection", "  hosts: [127.0.0.1]\n  collection")
    (folder / "c.yaml").write_text(text)
    return folder / "c.yaml"


def pixels_of(campaign: Path) -> dict[str, np.ndarray]:
    """The band's arrays of a campaign's cube, after a run."""
    _forget()
    loaded = load_campaign(campaign)
    result = run_campaign(loaded, Console(quiet=True), workers=1)
    assert result.exit_code == 0, result
    found = {
        path.relative_to(loaded.cube_path).as_posix(): np.asarray(zarr.open_array(path, mode="r")[:])
        for path in loaded.cube_path.glob("*/*/VV")
    }
    assert found and all(array.any() for array in found.values())
    return found


@pytest.mark.parametrize("where", ["web", "curl", "store"])
def test_what_was_fetched_suffices_without_a_network(
    where: str, shared_data: Path, safe: Path, delivered: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetched, "_folders", {})
    served = tmp_path / "served"
    product = with_vh(shutil.copytree(safe, served / NAME))
    here = pixels_of(campaign_of(tmp_path / "here", safe, str(product)))
    with serving(served, monkeypatch) as server:
        place = "s3://served" if where == "store" else f"{tmp_path}/items.json"
        (tmp_path / "items.json").write_text(json.dumps(sample(shared_data, f"{server.url}/{NAME}")))
        campaign = campaign_of(tmp_path / "there", safe, place)
        if where == "curl":
            (tmp_path / "list").write_text(api.fetch_list(campaign, "curl"))
            subprocess.run(["curl", "-sS", "--config", tmp_path / "list"], check=True, timeout=60)
            assert api.verify_fetched(campaign).right == 4
            assert not api.fetch_list(campaign, "curl")
        else:
            there = 0
            if where == "store":
                with monkeypatch.context() as earlier:
                    earlier.setattr("hpckit.sensors.stored.beside", lambda scene, files: {})
                    told = api.fetch(campaign)
                assert "an earlier version of hpckit scanned it" in told.failed[0].reason
                there = told.files
            found = api.fetch(campaign)
            assert (found.files + there, found.failed) == (4, []), "the image, and what calibrates it; not VH"
        listed = api.fetch(campaign)
        assert (listed.files, listed.there, listed.failed) == (0, 4, [])
        if where == "store":
            staged = campaign_of(tmp_path / "staged", safe, place)
            staged.write_text(staged.read_text().replace("  hosts:", "  fetch: {}\n  hosts:"))
            by_stage = pixels_of(staged)
            assert len(read_notes(staged.parent / "fetched")) == 4, "the stage fetches the same files"
            assert all(np.array_equal(by_stage[name], array) for name, array in here.items())
    copies = {path.name.rpartition("-")[0]: path for path in (campaign.parent / "fetched").glob("*/*.*")}
    assert copies.keys() == {STEM, f"calibration-{STEM}", f"noise-{STEM}"}
    assert {path.suffix for path in (campaign.parent / "fetched").glob("*/*")} == {".xml", ".tiff"}

    noise = copies[f"noise-{STEM}"]
    whole = noise.read_bytes()
    noise.write_bytes(whole[:-1] + b" ")
    (wrong,) = api.verify_fetched(campaign).failed
    assert wrong.name.endswith(noise.name) and "another digest" in wrong.reason
    noise.write_bytes(whole)
    assert api.verify_fetched(campaign).right == len(read_notes(campaign.parent / "fetched")) == 4
    for cut in (noise, next(noise.parent.glob("*.tiff"))):
        content = cut.read_bytes()
        cut.write_bytes(content[:-5])
        _forget()
        result = run_campaign(load_campaign(campaign), Console(quiet=True), workers=1)
        assert result.exit_code == 75, "a copy that is cut is not used, and the server is gone"
        assert f"its copy {cut} has" in str(result.failed)
        cut.write_bytes(content)
    there = pixels_of(campaign)
    assert there.keys() == here.keys()
    for name, array in here.items():
        np.testing.assert_array_equal(there[name], array)
    assert api.remove_fetched(campaign).files == 4
    assert not list((campaign.parent / "fetched").glob("*/*"))


@pytest.mark.parametrize("generation", ["2024", "2.8"])
def test_what_was_fetched_of_eopf_suffices_without_a_network(
    generation: str, safe: Path, delivered: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetched, "_folders", {})
    (tmp_path / "served").mkdir()
    made = write_eopf_grd(tmp_path / "served", safe, delivered, generation)
    here = pixels_of(campaign_of(tmp_path / "here", safe, str(made)))
    with serving(made.parent, monkeypatch) as server:
        campaign = campaign_of(tmp_path / "there", safe, f"{server.url}/{made.name}")
        assert (api.fetch(campaign).failed, api.verify_fetched(campaign).failed) == ([], [])
    remote_documents.forget()
    table = next((campaign.parent / "fetched").glob("*/*gamma+*.*"))
    content = table.read_bytes()
    table.write_bytes(content[:-5])
    _forget()
    result = run_campaign(load_campaign(campaign), Console(quiet=True), workers=1)
    assert result.exit_code == 75 and str(table) in str(result.failed), "the server is gone"
    table.write_bytes(content)
    there = pixels_of(campaign)
    assert there.keys() == here.keys()
    for name, array in here.items():
        np.testing.assert_array_equal(there[name], array)

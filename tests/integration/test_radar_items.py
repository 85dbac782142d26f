"""STAC items of raw GRD, with the annotation of a real product: as the SAFE product itself, from wherever it lies."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from hpckit.catalogue.foreign import read_items
from hpckit.errors import SceneError
from hpckit.sensors.model import Scene
from hpckit.sensors.stac.options import ItemOptions
from tests.integration.test_radar_eopf import _forget, delivered, serving, stored, target
from tests.integration.test_radar_grd_real import NAME, STEM, real, safe
from tests.servers.files import status

__all__ = ["delivered", "real", "safe", "target"]
pytestmark = [pytest.mark.integration, pytest.mark.realdata]

SAMPLES = "stac-items/static/stactools-sentinel1/grd"
SAMPLE = "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13"
PRODUCT = NAME.removesuffix(".SAFE")
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


def say_size(product: Path) -> None:
    """Let the manifest say how large the image is that the test made; stores compare that."""
    text, image = (product / "manifest.safe").read_text(), product / "measurement" / f"{STEM}.tiff"
    if image.exists():
        changed = re.sub(
            rf'size="\d+"(>\s*<fileLocation[^>]*{STEM}\.tiff)', rf'size="{image.stat().st_size}"\1', text
        )
        assert changed != text
        (product / "manifest.safe").write_text(changed)


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
    assert scene.made_of.startswith(f"{PRODUCT} ") and scene.href.endswith(f"items.json#{PRODUCT.rpartition('_')[0]}")
    left_out = {"href": scene.href, "content": scene.content, "missing": scene.missing}
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
    say_size(product)
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
        assert again == scene
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

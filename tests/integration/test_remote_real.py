"""The real product T29UNU from wherever it lies: one cube, equal bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rasterio
import zarr

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.inputs import httpfiles, remote, remote_documents, web
from hpckit.production.driver import run_campaign
from hpckit.sensors.model import Scene
from hpckit.testing.eopf import write_eopf
from hpckit.testing.safe import ProductSpec
from tests.eopf_cases import change
from tests.servers import moto
from tests.servers.files import FileServer, serve

pytestmark = [pytest.mark.integration, pytest.mark.realdata, pytest.mark.slow]

KEYS = ("B04@60m", "B8A@60m", "B09@60m", "SCL@60m")
"""Rasters that the SAFE folder at hand has: all of them real, of the whole granule."""
CAMPAIGN = """\
name: real
aoi: '{box}'
period: 2022-10-01/2022-10-31
scenes: {{paths: "{place}", hosts: [127.0.0.1]}}
cube: {{bands: [{bands}], extent: {extent}}}
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with moto.running() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path, s3) -> None:
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})
    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setenv("HPCKIT_SCRATCH", str(tmp_path / "scratch"))
    moto.give_access(monkeypatch, s3)
    remote_documents.forget()


@pytest.fixture(scope="module")
def safe(shared_data: Path) -> Path:
    (found,) = (shared_data / "s2-l2a-safe-t29unu-2022").glob("*.SAFE")
    return found


@pytest.fixture(scope="module")
def scene(safe: Path) -> Scene:
    (found,) = catalogue.scan([safe]).scenes
    return found


@pytest.fixture(scope="module")
def places(
    safe: Path, scene: Scene, shared_data: Path, s3: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """Where the product lies: as folder, in a store, as files of an item, as EOPF Zarr here and there."""
    top = tmp_path_factory.mktemp("places")
    served = top / "served"
    (served / "jp2").mkdir(parents=True)
    for key in KEYS:
        shutil.copy(scene.assets[key].file, served / "jp2" / scene.assets[key].name)
    made = write_eopf(served, _spec(scene), {key: _pixels(scene, key) for key in KEYS}, "2.8")
    change(made, lambda told: _told(told, scene))
    (cut,) = (shared_data / "eopf-t29unu").glob("*.zarr")
    shutil.copytree(cut, served / "cut" / cut.name)
    moto.make_bucket(s3, "eodata")
    moto.upload(s3, "eodata", safe, f"Sentinel-2/MSI/L2A/2022/10/05/{safe.name}/")
    moto.upload(s3, "eodata", made, f"zarr/2022/10/05/{made.name}/")
    moto.upload(s3, "eodata", cut, f"cut/{cut.name}/")
    with serve(FileServer(served)) as server:
        (top / "item.json").write_text(json.dumps(_item(scene, f"{server.url}/jp2")))
        yield {
            "folder": str(safe),
            "store": "s3://eodata/Sentinel-2/MSI/L2A",
            "item": str(top / "item.json"),
            "zarr": str(made),
            "zarr by http": f"{server.url}/{made.name}",
            "zarr in a store": "s3://eodata/zarr",
            "cut": str(cut),
            "cut by http": f"{server.url}/cut/{cut.name}",
            "cut in a store": f"s3://eodata/cut/{cut.name}",
        }


def _pixels(scene: Scene, key: str) -> Any:
    with rasterio.open(scene.assets[key].uri) as source:
        return source.read(1)


def _spec(scene: Scene) -> ProductSpec:
    """What the product is, for the writer of EOPF Zarr."""
    assert scene.frame is not None
    return ProductSpec(
        tile=scene.tile,
        epsg=scene.frame.epsg,
        ulx=scene.frame.ulx,
        uly=scene.frame.uly,
        sensed=datetime(2022, 10, 5, 11, 54, 11, tzinfo=UTC),
        baseline=scene.baseline,
        cloud_cover=scene.cloud_cover or 0.0,
        platform=scene.platform,
        relative_orbit=scene.relative_orbit,
        absolute_orbit=38058,
        produced=datetime(2022, 10, 5, 16, 44, 54, tzinfo=UTC),
    )


def _told(attributes: dict[str, Any], scene: Scene) -> None:
    """What ESA's converter takes over from the metadata of the product, and the writer makes up."""
    attributes["other_metadata"]["mean_sensing_time"] = scene.sensed.isoformat()
    attributes["stac_discovery"]["properties"]["eopf:datastrip_id"] = scene.part


def _item(scene: Scene, base: str) -> dict[str, Any]:
    """An item as the Copernicus Data Space has it."""
    return {
        "type": "Feature",
        "id": scene.id,
        "collection": "sentinel-2-l2a",
        "geometry": None,
        "properties": {
            "datetime": scene.sensed.isoformat(),
            "platform": "sentinel-2a",
            "grid:code": f"MGRS-{scene.tile}",
            "eopf:datatake_id": scene.datatake,
            "eopf:datastrip_id": scene.part,
            "processing:version": scene.baseline,
            "eo:cloud_cover": scene.cloud_cover,
        },
        "assets": {
            key.replace("@", "_"): {
                "href": f"{base}/{scene.assets[key].name}",
                **({} if key.startswith("SCL") else {"raster:scale": 1e-4, "raster:offset": -0.1}),
            }
            for key in KEYS
        },
    }


def cube_of(
    folder: Path, place: str, bands: tuple[str, ...], box: str = "-10,51,-7,54", extent: str = "granule"
) -> dict[str, bytes]:
    """All shards of the cube of a campaign, by their paths in it."""
    folder.mkdir()
    text = CAMPAIGN.format(place=place, bands=", ".join(bands), box=box, extent=extent)
    (folder / "campaign.yaml").write_text(text)
    campaign = load_campaign(folder / "campaign.yaml")
    assert run_campaign(campaign, Console(quiet=True), workers=1).exit_code == 0
    shards = {
        path.relative_to(campaign.cube_path).as_posix(): path.read_bytes()
        for path in campaign.cube_path.rglob("c/*")
        if path.is_file() or path.is_dir()
        for path in ([path] if path.is_file() else path.rglob("*"))
        if path.is_file()
    }
    arrays = [zarr.open_array(path.parent, mode="r") for path in campaign.cube_path.rglob("r60m/*/zarr.json")]
    bands_held = [array for array in arrays if array.ndim == 3]
    assert len(bands_held) == len(bands) and all(array[:].any() for array in bands_held)
    return shards


def test_one_cube_from_everywhere(places, tmp_path):
    expected = cube_of(tmp_path / "folder", places["folder"], KEYS)
    assert len(expected) > 4 * 50
    for number, where in enumerate(("store", "item", "zarr", "zarr by http", "zarr in a store")):
        found = cube_of(tmp_path / str(number), places[where], KEYS)
        assert found.keys() == expected.keys(), where
        assert [name for name in expected if found[name] != expected[name]] == [], where


def test_windows_of_an_area(places, tmp_path):
    """A part of the granule: of JPEG 2000 in a store only its tiles are read."""
    box = "-8.6,52.6,-8.4,52.7"
    expected = cube_of(tmp_path / "folder", places["folder"], KEYS, box, "aoi")
    for number, where in enumerate(("store", "item", "zarr by http", "zarr in a store")):
        assert cube_of(tmp_path / str(number), places[where], KEYS, box, "aoi") == expected, where


def test_the_product_of_esas_converter(places, tmp_path):
    """A part of the granule that EOPF-CPM 2.8.1 converted, here and on servers."""
    expected = cube_of(tmp_path / "here", places["cut"], KEYS)
    assert cube_of(tmp_path / "http", places["cut by http"], KEYS) == expected
    assert cube_of(tmp_path / "s3", places["cut in a store"], KEYS) == expected


def test_they_count_as_one_product(places, tmp_path):
    """Of all forms together one is used, one that has digests."""
    found = [scene for where in places if "cut" not in where for scene in catalogue.scan([places[where]]).scenes]
    assert len(found) == 6 and len({scene.id for scene in found}) == 1
    (acquisition,), dropped = catalogue.acquisitions(found)
    assert len(dropped) == 5 and not acquisition.scenes[0].missing, "the folder at hand lacks images"
    assert not any(asset.array for asset in acquisition.scenes[0].assets.values())

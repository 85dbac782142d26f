"""`load_stac` of images that no program for Sentinel-2 wrote: values, places, and items that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from hpckit.errors import GraphError
from hpckit.inputs import httpfiles, web
from hpckit.processgraph.parse import parse
from hpckit.reduce.graphs.environment import GraphEnvironment
from hpckit.reduce.graphs.job import Job
from hpckit.space.box import Box
from tests.graph_examples import calling, node, of
from tests.raster_samples import LEFT, TOP, write_image
from tests.servers.files import FileServer, serve

SHAPE = (300, 260)
COG: dict[str, Any] = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", set())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    with serve(FileServer(tmp_path)) as found:
        yield found


def nir(seed: int) -> np.ndarray:
    """Digital numbers, 0 without data."""
    values = np.random.default_rng(seed).integers(1, 65536, SHAPE).astype("uint16")
    values[:20, :30] = 0
    return values


def ndvi(seed: int) -> np.ndarray:
    """Numbers with a sign, -32768 without data."""
    values = np.random.default_rng(10 + seed).integers(-10_000, 10_001, SHAPE).astype("int16")
    values[-9:] = -32768
    return values


def cover(seed: int) -> np.ndarray:
    """Of 20 m; 0 is a value."""
    return np.random.default_rng(20 + seed).integers(0, 7, (SHAPE[0] // 2, SHAPE[1] // 2)).astype("uint8")


def lst(seed: int) -> np.ndarray:
    """Kelvin, NaN without data."""
    values = np.random.default_rng(30 + seed).uniform(270, 320, SHAPE).astype("float32")
    values[:, :5] = np.nan
    return values


BANDS: dict[str, Any] = {
    "nir": {"raster:bands": [{"data_type": "uint16", "scale": 1e-4, "offset": -0.1, "nodata": 0}]},
    "ndvi": {"bands": [{"raster:scale": 1e-4, "nodata": -32768}]},
    "cover": {},
    "lst": {"raster:bands": [{"statistics": {"minimum": 270, "maximum": 320}, "unit": "K"}]},
}


def write_item(folder: Path, seed: int, east_m: float = 0.0, **assets: Any) -> dict[str, Any]:
    """An item of a day, and its files."""
    made = {}
    for name, make in (("nir", nir), ("ndvi", ndvi), ("cover", cover), ("lst", lst)):
        pixel = 20 if name == "cover" else 10
        place = Affine(pixel, 0, LEFT + east_m, 0, -pixel, TOP)
        write_image(folder / f"{name}{seed}.tif", make(seed), transform=place, **COG)
        kind = "image/tiff; application=geotiff; profile=cloud-optimized"
        made[name] = {"href": f"./{name}{seed}.tif", "type": kind, "roles": ["data"], **BANDS[name]}
    preview = {"href": f"./nir{seed}.tif", "type": "image/tiff", "roles": ["thumbnail"]}
    properties = {"datetime": f"2024-05-{1 + seed:02d}T10:00:00Z", "proj:code": "EPSG:32631", "eo:cloud_cover": seed}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"made-{seed}",
        "geometry": None,
        "properties": properties,
        "assets": {**made, "preview": preview, **assets},
        "links": [],
    }


def listed(folder: Path, *items: dict[str, Any]) -> str:
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items, "links": []}))
    return "items.json"


def job(address: str, more: dict[str, Any] | None = None, **arguments: Any) -> Job:
    graph = {"load": node("load_stac", url=address, **arguments), **(more or {})}
    graph[list(graph)[-1]]["result"] = True
    return Job(parse(graph), GraphEnvironment({}, hosts=frozenset(["127.0.0.1"])))


def test_values_of_integers_with_scale_and_offset(server: FileServer, tmp_path: Path) -> None:
    name = listed(tmp_path, *(write_item(tmp_path, seed) for seed in (0, 1)))
    made = job(f"{server.url}/{name}", bands=["nir", "ndvi", "cover", "lst"])
    (output,) = made.outputs
    assert output.type.grid.shape == SHAPE and str(output.type.grid.crs) == "EPSG:32631"
    assert [label[:10] for label in output.type.dim("t").labels] == ["2024-05-01", "2024-05-02"]
    found = made.evaluate(output, Box(0, 0, *SHAPE)).values
    for seed in (0, 1):
        numbers = nir(seed)
        wanted = np.where(numbers == 0, np.nan, numbers * 1e-4 - 0.1)
        np.testing.assert_allclose(found[seed, 0], wanted, rtol=1e-6, atol=1e-6)
        numbers = ndvi(seed)
        wanted = np.where(numbers == -32768, np.nan, numbers * 1e-4)
        np.testing.assert_allclose(found[seed, 1], wanted, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(found[seed, 2], cover(seed).repeat(2, 0).repeat(2, 1))
        np.testing.assert_allclose(found[seed, 3], lst(seed), atol=50 / 65_000)


def test_a_graph_over_tiles_beside_each_other(server: FileServer, tmp_path: Path) -> None:
    width = SHAPE[1] * 10
    first, second = write_item(tmp_path, 0), write_item(tmp_path, 1, east_m=width)
    second["properties"]["datetime"] = first["properties"]["datetime"]
    name = listed(tmp_path, first, second)
    doubled = node("apply", data=of("load"), process=calling("multiply", "x", y=2))
    extent = {"west": LEFT + width - 500, "east": LEFT + width + 500, "south": TOP - 1000, "north": TOP - 500}
    made = job(f"{server.url}/{name}", {"doubled": doubled}, bands=["ndvi"], spatial_extent={**extent, "crs": 32631})
    (output,) = made.outputs
    found = made.evaluate(output, Box(0, 0, 50, 100)).values
    assert found.shape == (1, 1, 50, 100)
    wanted = np.hstack([ndvi(0)[50:100, -50:], ndvi(1)[50:100, :50]]) * 2e-4
    np.testing.assert_allclose(found[0, 0], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float32", "bands": {}}, "nothing tells their range"),
        ({"crs": None, "said": None}, "has no CRS, and its item does not tell it either"),
        ({"said": "EPSG:32632"}, "is in EPSG:32631, its item says EPSG:32632"),
        ({"crs": "EPSG:4326", "said": None, "pixel": 1e-4}, "pixels of a cube are metres|degrees wide"),
        ({"layers": 3}, "has 3 bands"),
        ({"bands": {"raster:bands": [{"scale": -1}]}}, "it must be above 0"),
        ({"key": "B 4"}, "cannot be a band"),
        ({"missing": True}, "cannot be read"),
        ({"mask": True}, "has a mask or alpha layer"),
    ],
)
def test_items_that_cannot_be_used(server: FileServer, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    said = change.get("said", "EPSG:32631")
    profile: dict[str, Any] = {"crs": change.get("crs", "EPSG:32631")}
    profile["transform"] = Affine(change.get("pixel", 10), 0, 4, 0, -change.get("pixel", 10), 50)
    layers = [np.ones((8, 8), change.get("dtype", "uint8"))] * change.get("layers", 1)
    write_image(tmp_path / "a.tif", layers, **profile)
    if change.get("mask"):
        with rasterio.open(tmp_path / "a.tif", "r+") as target:
            target.write_mask(np.eye(8, dtype="uint8") * 255)
    if change.get("missing"):
        (tmp_path / "a.tif").unlink()
    asset = {"href": "a.tif", "type": "image/tiff", "proj:code": said, **change.get("bands", {})}
    item = {**write_item(tmp_path, 0), "assets": {change.get("key", "a"): asset}}
    item["properties"] = {"datetime": "2024-05-01T10:00:00Z"}
    with pytest.raises(GraphError, match=message) as caught:
        assert job(f"{server.url}/{listed(tmp_path, item)}").outputs
    assert "made-0" in str(caught.value) and caught.value.fault == "ProcessParameterInvalid"


def test_values_beyond_what_an_item_says_are_no_nulls(server: FileServer, tmp_path: Path) -> None:
    item = write_item(tmp_path, 0)
    item["assets"]["lst"]["raster:bands"] = [{"statistics": {"minimum": 280, "maximum": 300}}]
    made = job(f"{server.url}/{listed(tmp_path, item)}", bands=["lst"])
    (output,) = made.outputs
    with pytest.raises(Exception, match="band lst stores 280"):
        made.evaluate(output, Box(0, 0, *SHAPE))

"""STAC of results: valid by pystac's schemas, and what clients look for."""

from __future__ import annotations

import json

import numpy as np
import pystac
import pytest

from hpckit.processgraph.cube import Cube
from hpckit.reduce.graphs.formats import About, result_items, results_stac, write
from hpckit.testing.graphs import MemoryResult, bands, raster, times

DAYS = times("2022-06-01T10:50:31Z", "2022-06-03T10:56:21Z")
RED_NIR = bands(B04="red", B08="nir")
GRAPH = {"load1": {"process_id": "load_collection", "arguments": {}, "result": True}}
ABOUT = About(
    "job-1",
    "2026-11-30T16:00:00Z",
    title="NDVI",
    graph=GRAPH,
    derived_from=["https://example.org/collections/S2"],
    links=[{"rel": "canonical", "href": "https://example.org/jobs/1/results", "type": "application/json"}],
)


def address(file):
    return f"https://example.org/files/{file.path.name}"


def saved(value, name, folder, **options):
    return write(MemoryResult(value), name, options, folder)


def cube(*dims):
    values = np.arange(np.prod([len(dim.labels) for dim in dims], dtype=int) * 12 * 16, dtype="f4")
    values = values.reshape(*(len(dim.labels) for dim in dims), 12, 16)
    values[..., 0, 0] = np.nan
    return raster(values, *dims)


def valid(told):
    """Valid by the schemas of STAC 1.1 that pystac has; those of extensions are on the network."""
    json.dumps(told, allow_nan=False)
    kind = pystac.Item if told["type"] == "Feature" else pystac.Collection
    kind.from_dict({**told, "stac_extensions": []}).validate()
    return kind.from_dict(told)


def test_files_by_date_are_a_collection(tmp_path):
    files = saved(cube(DAYS, RED_NIR), "GTiff", tmp_path)
    told = results_stac(files, ABOUT, address)
    found = valid(told)
    assert told["type"] == "Collection" and list(found.assets) == [
        "openEO_2022-06-01Z.tif",
        "openEO_2022-06-03Z.tif",
    ]
    assert told["extent"]["temporal"]["interval"] == [["2022-06-01T10:50:31Z", "2022-06-03T10:56:21Z"]]
    asset = told["assets"]["openEO_2022-06-01Z.tif"]
    assert asset["proj:code"] == "EPSG:32632" and asset["proj:shape"] == [12, 16]
    assert asset["proj:bbox"] == [600000, 5199880, 600160, 5200000]
    band = asset["bands"][1]
    assert band["name"] == "B08" and band["eo:common_name"] == "nir" and band["nodata"] == "nan"
    assert band["statistics"]["minimum"] == 193 and band["statistics"]["valid_percent"] == pytest.approx(
        100 * 191 / 192
    )
    assert told["processing:expression"] == {"format": "openeo", "expression": GRAPH}
    assert {"rel": "derived_from", "href": "https://example.org/collections/S2"} in told["links"]


def test_one_file_is_an_item_with_a_time(tmp_path):
    (file,) = saved(cube(DAYS, RED_NIR), "netCDF", tmp_path)
    told = results_stac([file], ABOUT, address)
    found = valid(told)
    assert told["type"] == "Feature" and found.datetime is not None
    assert told["properties"]["start_datetime"] < told["properties"]["end_datetime"]
    dimensions = told["properties"]["cube:dimensions"]
    assert dimensions["x"]["extent"] == [600000, 600160] and dimensions["bands"]["values"] == ["B04", "B08"]
    assert dimensions["t"]["type"] == "temporal" and dimensions["y"]["reference_system"] == 32632


def test_a_value_is_an_item_without_a_place(tmp_path):
    told = results_stac(saved(3.5, "JSON", tmp_path), About("job-2", "2026-11-30T16:00:00Z"), address)
    valid(told)
    assert (
        told["geometry"] is None and "bbox" not in told and told["properties"]["datetime"] == "2026-11-30T16:00:00Z"
    )


def test_series_without_place_are_a_collection_of_the_world(tmp_path):
    series = Cube(np.zeros((2, 2)), (DAYS, RED_NIR))
    files = saved(series, "CSV", tmp_path) + saved(series, "JSON", tmp_path)
    told = results_stac(files, ABOUT, address)
    valid(told)
    assert told["extent"]["spatial"]["bbox"] == [[-180, -90, 180, 90]]


def test_items_by_place_and_time(tmp_path):
    files = saved(cube(DAYS, RED_NIR), "GTiff", tmp_path, separate_asset_per_band=True)
    items = result_items(files, ABOUT, address)
    assert [item["id"] for item in items] == ["job-1_2022-06-01", "job-1_2022-06-03"]
    for item in items:
        found = valid({**item, "links": [{"rel": "collection", "href": "./c.json"}]})
        assert len(found.assets) == 2 and item["collection"] == "job-1"

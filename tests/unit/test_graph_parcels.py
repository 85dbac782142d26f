"""The graph of JRC's Sentinel Parcel Viewer: bands and an index of parcels, a netCDF file for each."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyproj
import pytest
import rasterio
import shapely

from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.parse import parse
from hpckit.reduce.graphs.formats import write
from hpckit.testing.graphs import GRID, MemoryEnvironment, bands, raster, times

NAMES = ("B02", "B03", "B04", "B08", "B11", "SCL")
DAYS = ("2022-06-01T10:10:31Z", "2022-06-06T10:10:31Z", "2022-06-11T10:10:31Z")
GENERATOR = np.random.default_rng(4)
VALUES = GENERATOR.integers(1, 5000, (3, 6, 40, 50)).astype(np.float32)
VALUES[:, 5] = GENERATOR.choice([4, 5, 8, 9], (3, 40, 50))
CUBE = raster(VALUES, times(*DAYS), bands(**dict.fromkeys(NAMES, "")))
PARCELS = {"17": (600053, 5199810, 600147, 5199893), "a/b": (600301, 5199702, 600388, 5199777)}


def in_degrees(box):
    onto = pyproj.Transformer.from_crs(32632, 4326, always_xy=True)
    return shapely.transform(shapely.box(*box), lambda xy: np.column_stack(onto.transform(xy[:, 0], xy[:, 1])))


def features():
    """Boxes around parcels, as geopandas writes them."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "id": str(number),
                "type": "Feature",
                "properties": {"parcel": name},
                "geometry": shapely.geometry.mapping(in_degrees(box)),
                "bbox": list(in_degrees(box).bounds),
            }
            for number, (name, box) in enumerate(PARCELS.items())
        ],
        "bbox": [10, 46, 11, 47],
    }


def element(index):
    return {
        "process_id": "array_element",
        "arguments": {"data": {"from_parameter": "data"}, "index": index},
    }


def compared(name, value):
    return {"process_id": "eq", "arguments": {"x": {"from_node": name}, "y": value}}


def binary(process, one, other, **more):
    return {"process_id": process, "arguments": {"x": {"from_node": one}, "y": {"from_node": other}}, **more}


def viewer_graph():
    west, south, east, north = shapely.union_all([in_degrees(box) for box in PARCELS.values()]).bounds
    cloudy = {
        "scl": element(5),
        "high": compared("scl", 9),
        "medium": compared("scl", 8),
        "cloud": binary("or", "high", "medium", result=True),
    }
    index = {
        "red": element(2),
        "nir": element(3),
        "difference": binary("subtract", "nir", "red"),
        "sum": binary("add", "nir", "red"),
        "ndvi": binary("divide", "difference", "sum"),
        "modify": {
            "process_id": "array_modify",
            "arguments": {"data": {"from_parameter": "data"}, "index": 6, "values": [{"from_node": "ndvi"}]},
            "result": True,
        },
    }
    few_clouds = {
        "lte": {
            "process_id": "lte",
            "arguments": {"x": {"from_parameter": "value"}, "y": 50},
            "result": True,
        }
    }
    return {
        "load": {
            "process_id": "load_collection",
            "arguments": {
                "id": "SENTINEL2_L2A",
                "spatial_extent": {"west": west, "south": south, "east": east, "north": north, "crs": "EPSG:4326"},
                "temporal_extent": ["2022-06-01", "2022-07-01"],
                "bands": list(NAMES),
                "properties": {"eo:cloud_cover": {"process_graph": few_clouds}},
            },
        },
        "cloudy": {
            "process_id": "reduce_dimension",
            "arguments": {"data": {"from_node": "load"}, "dimension": "bands", "reducer": {"process_graph": cloudy}},
        },
        "onto": {
            "process_id": "resample_cube_spatial",
            "arguments": {"data": {"from_node": "cloudy"}, "target": {"from_node": "load"}, "method": "near"},
        },
        "clear": {
            "process_id": "mask",
            "arguments": {"data": {"from_node": "load"}, "mask": {"from_node": "onto"}},
        },
        "parcels": {
            "process_id": "filter_spatial",
            "arguments": {"data": {"from_node": "clear"}, "geometries": features()},
        },
        "index": {
            "process_id": "apply_dimension",
            "arguments": {
                "data": {"from_node": "parcels"},
                "dimension": "bands",
                "process": {"process_graph": index},
            },
        },
        "named": {
            "process_id": "rename_labels",
            "arguments": {"data": {"from_node": "index"}, "dimension": "bands", "target": [*NAMES, "NDVI"]},
        },
        "save": {
            "process_id": "save_result",
            "arguments": {
                "data": {"from_node": "named"},
                "format": "netCDF",
                "options": {
                    "filename_prefix": "S2_extract_2022-06-01_2022-07-01_parcelid",
                    "feature_id_property": "parcel",
                    "sample_by_feature": True,
                },
            },
            "result": True,
        },
    }


@dataclass
class Evaluated:
    """A result that a graph gives, part by part."""

    evaluation: Evaluation

    @property
    def type(self):
        return self.evaluation.type()

    def read(self, asked):
        return self.evaluation.evaluate(asked)


@pytest.fixture
def environment():
    return MemoryEnvironment(
        {"SENTINEL2_L2A": CUBE}, {"SENTINEL2_L2A": [{"eo:cloud_cover": cover} for cover in (10, 80, 50)]}
    )


def test_the_parcel_viewer_gets_a_file_for_each_parcel(environment, tmp_path):
    evaluation = Evaluation(parse(json.dumps(viewer_graph())), environment)
    assert evaluation.type().dim("bands").labels == (*NAMES, "NDVI")
    name, options = environment.formats[-1]
    files = write(Evaluated(evaluation), name, options, tmp_path)
    assert [file.path.name for file in files] == [
        "S2_extract_2022-06-01_2022-07-01_parcelid_17.nc",
        "S2_extract_2022-06-01_2022-07-01_parcelid_a_b.nc",
    ]
    assert [file.feature for file in files] == ["17", "a_b"]
    for file, box in zip(files, PARCELS.values(), strict=True):
        for band in ("B04", "NDVI"):
            with rasterio.open(f"netcdf:{file.path}:{band}") as source:
                found = source.read(masked=True).filled(np.nan)
                bounds, shape = source.bounds, source.shape
            assert bounds.left <= box[0] and bounds.right >= box[2] and found.shape[0] == 2  # one day is too cloudy
            top, left = round((GRID.top - bounds.top) / 10), round((bounds.left - GRID.left) / 10)
            window = np.s_[:, top : top + shape[0], left : left + shape[1]]
            np.testing.assert_allclose(found, expected(band, box)[window], rtol=1e-5)


def expected(band, box):
    """By numpy: clear pixels whose centres lie in a parcel, of the days with few clouds."""
    days = VALUES[[0, 2]]
    red, nir, classes = (days[:, NAMES.index(name)].astype(float) for name in ("B04", "B08", "SCL"))
    values = (nir - red) / (nir + red) if band == "NDVI" else red
    x = GRID.left + (np.arange(50) + 0.5) * 10
    y = GRID.top - (np.arange(40) + 0.5) * 10
    inside = ((x > box[0]) & (x < box[2]))[None, :] & ((y > box[1]) & (y < box[3]))[:, None]
    return np.where(inside & ~np.isin(classes, (8, 9)), values, np.nan)

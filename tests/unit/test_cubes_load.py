"""Loading of collections, and the faults of raster processes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Band
from hpckit.processgraph.graph import FromParameter
from hpckit.space.box import Box
from hpckit.testing.graphs import (
    GRID,
    MemoryEnvironment,
    bands,
    calling,
    child,
    evaluation_of,
    raster,
    result_of,
    step,
    times,
)

VALUES = np.arange(3 * 2 * 12 * 16, dtype=np.float32).reshape(3, 2, 12, 16)
S2 = raster(VALUES, times("2024-01-01", "2024-01-11", "2024-02-01"), bands(B04="red", B08="nir"))
CLOUDS = [{"eo:cloud_cover": 5}, {"eo:cloud_cover": 90}, {"eo:cloud_cover": 20}]
CORNERS = {
    "west": GRID.left + 15,
    "east": GRID.left + 46,
    "south": GRID.top - 45,
    "north": GRID.top - 5,
    "crs": 32632,
}


def loaded(box: Box | None = None, **arguments):
    environment = MemoryEnvironment({"S2": S2, "https://x.test/S2": S2}, {"S2": CLOUDS})
    name = {"url": "https://x.test/S2"} if arguments.pop("stac", False) else {"id": "S2"}
    process = "load_stac" if "url" in name else "load_collection"
    whole = {**name, "spatial_extent": None, "temporal_extent": None, **arguments}
    return result_of(process, environment, box, **whole), environment


def fault_of(process: str, /, **arguments) -> str:
    with pytest.raises(GraphError) as caught:
        evaluation_of(process, MemoryEnvironment({"S2": S2}), **arguments).type()
    assert caught.value.node == "call"
    return caught.value.fault


@pytest.mark.parametrize("stac", [False, True])
def test_extent_period_and_bands_limit_a_collection(stac):
    found, environment = loaded(
        stac=stac, spatial_extent=CORNERS, temporal_extent=["2024-01-11", "2024-02-01"], bands=["nir"]
    )
    np.testing.assert_array_equal(found.values, VALUES[1:2, 1:, :5, 1:5])
    assert found.dims[1].labels == ("B08",) and found.dims[1].bands == (Band("nir"),)
    assert (found.grid.left, found.grid.top, found.grid.shape) == (GRID.left + 10, GRID.top, (5, 4))
    assert environment.opened[0].boxes == [Box(0, 1, 5, 5)]
    assert environment.requests[0].bands == ("nir",)


def test_products_are_chosen_by_properties():
    found, _ = loaded(properties={"eo:cloud_cover": calling("lt", x=FromParameter("value"), y=50)})
    assert found.dims[0].labels == ("2024-01-01", "2024-02-01")


@pytest.mark.parametrize("box", [None, Box(1, 0, 4, 3)])
def test_polygons_hide_what_is_outside(box):
    triangle = shapely.Polygon([(GRID.left, GRID.top), (GRID.left + 75, GRID.top), (GRID.left, GRID.top - 75)])
    document = {**shapely.geometry.mapping(triangle), "crs": {"properties": {"name": "EPSG:32632"}}}
    found, _ = loaded(box, spatial_extent={"type": "Feature", "geometry": document, "crs": document["crs"]})
    columns, rows = np.meshgrid(GRID.xs(GRID.box), GRID.ys(GRID.box))
    expected = np.where(shapely.intersects_xy(triangle, columns, rows), VALUES, np.nan)[..., :8, :8]
    part = box or Box(0, 0, 8, 8)
    np.testing.assert_array_equal(found.values, expected[..., part.top : part.bottom, part.left : part.right])
    assert found.grid.shape == (8, 8) and found.values.dtype == np.float32


def test_the_extent_of_another_cube_is_taken():
    found, _ = loaded(spatial_extent=raster(np.zeros((3, 4))))
    np.testing.assert_array_equal(found.values, VALUES[..., :3, :4])


def test_an_extent_in_degrees_covers_its_corners():
    west, south, east, north = 10.3144, 46.9452, 10.3155, 46.9458
    found, _ = loaded(spatial_extent={"west": west, "south": south, "east": east, "north": north})
    assert 0 < found.grid.rows < 12 and 0 < found.grid.columns < 16


def test_formats_are_checked_once_and_the_cube_is_handed_on():
    environment = MemoryEnvironment()
    evaluation = evaluation_of("save_result", environment, data=S2, format="GTiff", options={"tiled": True})
    for box in (Box(0, 0, 2, 2), Box(2, 2, 4, 4)):
        np.testing.assert_array_equal(
            evaluation.evaluate(box).values, VALUES[..., box.top : box.bottom, box.left : box.right]
        )
    assert environment.formats == [("GTiff", {"tiled": True})]
    assert fault_of("save_result", data=S2, format="NONE") == "FormatUnsuitable"


def test_messages_tell_what_a_cube_is_once():
    environment = MemoryEnvironment()
    evaluation = evaluation_of("inspect", environment, data=S2, message="here", code="A", level="warning")
    evaluation.type()
    assert not environment.messages
    for box in (Box(0, 0, 2, 2), Box(2, 2, 4, 4)):
        evaluation.evaluate(box)
    ((level, code, message, data),) = environment.messages
    assert (level, code, message) == ("warning", "A", "here")
    assert data["dimensions"] == {"t": 3, "bands": 2, "y": 12, "x": 16} and data["valid"] == 24


def test_backscatter_is_handed_on_if_it_is_what_is_asked_for():
    calibrated = raster(VALUES, *S2.dims[:2])
    calibrated.attributes["backscatter"] = "gamma0-ellipsoid"
    found = result_of("sar_backscatter", data=calibrated, coefficient="gamma0-ellipsoid")
    np.testing.assert_array_equal(found.values, VALUES)
    masked = result_of("sar_backscatter", data=calibrated, coefficient="gamma0-ellipsoid", mask=True)
    assert masked.dims[1].labels == ("B04", "B08", "mask") and (masked.values[:, 2] == 1).all()
    assert fault_of("sar_backscatter", data=calibrated) == "FeatureUnsupported"
    assert fault_of("sar_backscatter", data=S2, coefficient="gamma0-ellipsoid") == "FeatureUnsupported"


def test_clouds_are_those_of_the_scene_classification():
    classes = raster(np.float32([[[3, 4, 8, 9, 10, np.nan]]]), bands(SCL=Band(clouds=(8, 9, 10), shadows=(3,))))
    found = result_of("cloud_detection", data=classes, method="Sen2Cor")
    np.testing.assert_array_equal(found.values[:, 0], [[0, 0, 1, 1, 1, np.nan], [1, 0, 0, 0, 0, np.nan]])


ONE = raster(np.ones((4, 5)))
SUM = child(call=step("add", x=FromParameter("x"), y=FromParameter("y")))


@pytest.mark.parametrize(
    ("fault", "process", "arguments"),
    [
        ("CollectionNotFound", "load_collection", {"id": "S9", "spatial_extent": None, "temporal_extent": None}),
        ("NoDataAvailable", "load_collection", {"id": "S2", "temporal_extent": ["2030-01-01", None]}),
        (
            "NoDataAvailable",
            "load_collection",
            {"id": "S2", "spatial_extent": {"west": 1, "south": 1, "east": 2, "north": 2}},
        ),
        ("TemporalExtentEmpty", "load_collection", {"id": "S2", "temporal_extent": ["2024-01-02", "2024-01-01"]}),
        ("ProcessParameterInvalid", "load_collection", {"id": "S2", "temporal_extent": [None, None]}),
        ("ProcessParameterInvalid", "load_collection", {"id": "S2", "temporal_extent": ["tomorrow", None]}),
        (
            "ProcessParameterInvalid",
            "load_collection",
            {"id": "S2", "spatial_extent": {"west": 3, "south": 5, "east": 4, "north": 4}},
        ),
        (
            "ProcessParameterInvalid",
            "load_collection",
            {"id": "S2", "spatial_extent": {"type": "Point", "coordinates": [1, 2]}},
        ),
        ("CRSUnsupported", "load_collection", {"id": "S2", "spatial_extent": {**CORNERS, "crs": 99999}}),
        ("BandNotFound", "load_collection", {"id": "S2", "bands": ["B99"]}),
        ("DimensionMissing", "filter_bands", {"data": ONE, "bands": ["B04"]}),
        (
            "DimensionNotAvailable",
            "reduce_dimension",
            {"data": S2, "dimension": "z", "reducer": calling("mean", "data")},
        ),
        (
            "ProcessGraphInvalid",
            "reduce_dimension",
            {"data": S2, "dimension": "t", "reducer": calling("extrema", "data")},
        ),
        (
            "ProcessParameterInvalid",
            "filter_labels",
            {"data": S2, "dimension": "x", "condition": calling("neq", x=FromParameter("value"), y=GRID.left + 25)},
        ),
        ("IncompatibleDataCubes", "mask", {"data": ONE, "mask": S2}),
        (
            "IncompatibleDataCubes",
            "mask",
            {"data": S2, "mask": raster(VALUES[:2], times("2024-01-01", "2024-01-02"), S2.dims[1])},
        ),
        ("OverlapResolverMissing", "merge_cubes", {"cube1": S2, "cube2": ONE}),
        ("ProcessParameterInvalid", "resample_spatial", {"data": ONE, "resolution": 20, "method": "best"}),
        ("CRSUnsupported", "resample_spatial", {"data": ONE, "projection": 1}),
        ("ProcessParameterInvalid", "resample_spatial", {"data": ONE, "resolution": -5}),
        ("DimensionMismatch", "resample_cube_temporal", {"data": S2, "target": ONE}),
        ("DimensionExists", "rename_dimension", {"data": S2, "source": "t", "target": "x"}),
        ("DimensionLabelCountMismatch", "drop_dimension", {"data": S2, "name": "x"}),
        ("TargetDimensionExists", "flatten_dimensions", {"data": S2, "dimensions": ["t"], "target_dimension": "x"}),
        ("NirBandAmbiguous", "ndvi", {"data": S2, "nir": "B99"}),
        ("RedBandAmbiguous", "ndvi", {"data": S2, "red": "B99"}),
        ("BandExists", "ndvi", {"data": S2, "target_band": "B04"}),
        ("DimensionAmbiguous", "ndvi", {"data": ONE}),
        ("KernelDimensionsUneven", "apply_kernel", {"data": ONE, "kernel": [[1, 1]]}),
        ("ProcessParameterInvalid", "apply_kernel", {"data": ONE, "kernel": [[1], [1, 2]]}),
        (
            "ProcessParameterInvalid",
            "apply_neighborhood",
            {"data": ONE, "size": [{"dimension": "x", "value": 15, "unit": "m"}], "process": SUM},
        ),
        ("ProcessParameterInvalid", "climatological_normal", {"data": S2, "period": "month"}),
        (
            "ProcessParameterInvalid",
            "anomaly",
            {"data": S2, "normals": raster(VALUES[:1], times("07"), S2.dims[1]), "period": "month"},
        ),
        ("FeatureUnsupported", "atmospheric_correction", {"data": S2, "method": None}),
    ],
)
def test_faults_have_the_names_of_openeo_and_come_without_pixels(fault, process, arguments):
    assert fault_of(process, **arguments) == fault


def test_one_label_gets_one_new_name_without_its_own():
    """As in openEO's first example; of several labels it must be said which."""
    days = times("2017-03-02", "2017-03-14")
    one = raster(VALUES[:2, :1], days, bands(VV=""))
    assert result_of("rename_labels", data=one, dimension="bands", target=["R"]).dim("bands").labels == ("R",)
    several = raster(VALUES[:2], days, bands(VV="", VH=""))
    for target in (["R"], ["R", "G"]):
        with pytest.raises(GraphError) as caught:
            result_of("rename_labels", data=several, dimension="bands", target=target)
        assert caught.value.fault == "LabelsNotEnumerated"

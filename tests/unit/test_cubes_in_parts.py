"""Raster processes give the same pixels however the result is cut, and the types that they promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpckit.processgraph.cube import NOTHING, Band, Cube, Grid
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import FromParameter
from hpckit.space.box import Box
from hpckit.testing.graphs import (
    GRID,
    MemoryEnvironment,
    bands,
    calling,
    child,
    evaluation_of,
    graph,
    in_parts,
    node,
    raster,
    step,
    times,
)

METHODS = ("near", "bilinear", "cubic", "average", "lanczos", "cubicspline", "q1", "med", "mode", "sum", "rms")
TIMES = times("2023-12-28", "2024-01-03", "2024-01-09T10:30:00Z", "2024-02-20")
BANDS = bands(B04="red", B08="nir", SCL=Band(clouds=(8, 9, 10), shadows=(3,)))
ONE_EACH = [{"dimension": name, "value": 1, "unit": "px"} for name in ("x", "y", "bands")]
KERNEL = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 0, 1], [0, 0, 2]]
MEAN, MAXIMUM = calling("mean", "data"), child(max=step("max", data=[FromParameter("x"), FromParameter("y")]))
TRIANGLE = {
    "type": "Polygon",
    "coordinates": [[[10.3141, 46.9453], [10.3158, 46.9458], [10.3151, 46.9449], [10.3141, 46.9453]]],
}
SMOOTH = child(smooth=step("apply_kernel", data=FromParameter("data"), kernel=[[1, 2, 1], [0, 3, 0], [1, 0, 2]]))


def sample(
    rows: int, columns: int, *, seed: int = 0, dims=(TIMES, BANDS), grid: Grid = GRID, dtype=np.float32
) -> Cube:
    random = np.random.default_rng(seed)
    shape = (*(len(dim.labels) for dim in dims), rows, columns)
    values = random.uniform(0, 100, shape).round(2).astype(dtype)
    if values.dtype.kind == "f":
        values[random.uniform(size=shape) < 0.2] = np.nan
    return raster(values, *dims, grid=grid)


def moved(right: float, down: float, **changes) -> Grid:
    """The sample grid, shifted by pixels."""
    return replace(GRID, left=GRID.left + right * GRID.dx, top=GRID.top + down * GRID.dy, **changes)


def box(west, north, east, south):
    """A bounding box by pixels of the sample grid."""
    return {
        "west": GRID.left + west * 10,
        "east": GRID.left + east * 10,
        "north": GRID.top - north * 10,
        "south": GRID.top - south * 10,
        "crs": 32632,
    }


CALLS = {
    "filter_bbox": {"extent": box(2.2, 1.6, 9.7, 8.4)},
    "filter_spatial": {"geometries": TRIANGLE},
    "filter_temporal": {"extent": ["2024-01-01", None]},
    "filter_bands": {"bands": ["nir", "B04"]},
    "filter_labels": {
        "dimension": "t",
        "condition": calling("text_begins", data=FromParameter("value"), pattern="2024"),
    },
    "filter_labels x": {"dimension": "x", "condition": calling("gt", x=FromParameter("value"), y=GRID.left + 32)},
    "reduce_dimension": {"dimension": "t", "reducer": MEAN},
    "reduce_dimension bands": {"dimension": "bands", "reducer": calling("array_element", "data", label="B08")},
    "apply": {"process": calling("multiply", "x", y=3)},
    "apply null": {"process": calling("add", "x", y=None)},
    "apply_dimension": {"dimension": "t", "process": calling("cumsum", "data")},
    "apply_dimension to another": {
        "dimension": "t",
        "target_dimension": "quantiles",
        "process": calling("quantiles", "data", probabilities=[0.1, 0.5, 0.9]),
    },
    "apply_dimension along x": {"dimension": "x", "process": calling("cumsum", "data", ignore_nodata=True)},
    "apply_dimension along y": {
        "dimension": "y",
        "process": calling("array_apply", "data", process=calling("add", "x", y=FromParameter("index"))),
    },
    **{
        f"apply_kernel {border}": {"kernel": KERNEL, "border": border}
        for border in (0, -3.5, "replicate", "reflect", "reflect_pixel", "wrap")
    },
    "apply_kernel of ones": {"kernel": [[1] * 7] * 5, "factor": 1 / 35, "replace_invalid": 9},
    "apply_neighborhood": {
        "size": [{"dimension": "x", "value": 5, "unit": "px"}, {"dimension": "y", "value": 40, "unit": "m"}],
        "overlap": [{"dimension": "x", "value": 2, "unit": "px"}],
        "process": SMOOTH,
    },
    "apply_neighborhood t": {
        "size": [{"dimension": "t", "value": "P10D"}, *ONE_EACH],
        "overlap": [{"dimension": "t", "value": "P7D"}],
        "process": calling("cumsum", "data", ignore_nodata=False),
    },
    "aggregate_temporal": {"intervals": [["2023-01-01", "2024-01-05"], ["2025-01-01", None]], "reducer": MEAN},
    "aggregate_temporal_period": {"period": "month", "reducer": MEAN},
    "resample_spatial": {"resolution": [30, 20], "method": "average"},
    "resample_spatial corner": {"resolution": 35, "align": "lower-right", "method": "max"},
    **{f"resample_spatial {method}": {"projection": 3035, "resolution": 17, "method": method} for method in METHODS},
    "resample_spatial degrees": {"projection": 4326},
    "ndvi": {},
    "ndvi kept": {"target_band": "ndvi"},
    "climatological_normal": {"period": "season", "climatology_period": [2023, 2024]},
    "add_dimension": {"name": "run", "label": "one"},
    "rename_dimension": {"source": "x", "target": "easting"},
    "rename_labels": {"dimension": "bands", "source": ["SCL"], "target": ["classes"]},
    "flatten_dimensions": {"dimensions": ["bands", "t"], "target_dimension": "both"},
    "trim_cube": {},
    "cloud_detection": {"method": None},
    "inspect": {"message": "here"},
    "save_result": {"format": "GTiff"},
}
OTHERS = {
    "mask": {"mask": sample(9, 11, seed=3, dims=(TIMES,))},
    "mask elsewhere": {"mask": sample(9, 11, seed=3, dims=(), grid=moved(-3, 4)), "replacement": -1},
    "mask resampled": {"mask": sample(5, 6, seed=3, dims=(), grid=replace(GRID, dx=23.0, dy=-31.0))},
    "merge_cubes": {"cube2": sample(9, 11, seed=3), "overlap_resolver": MAXIMUM},
    "merge_cubes elsewhere": {"cube2": sample(6, 7, seed=3, grid=moved(-3, 4)), "overlap_resolver": MAXIMUM},
    "merge_cubes apart": {"cube2": sample(4, 3, seed=3, grid=moved(40, -30))},
    "merge_cubes bands": {"cube2": sample(9, 11, seed=3, dims=(TIMES, bands(VV=Band(), VH=Band())))},
    "merge_cubes times": {
        "cube2": sample(9, 11, seed=3, dims=(times("2024-01-01", "2024-01-03"), BANDS)),
        "overlap_resolver": MAXIMUM,
    },
    "merge_cubes heights": {"cube2": sample(7, 9, seed=3, dims=(), grid=moved(1, 1)), "overlap_resolver": MAXIMUM},
    "merge_cubes resampled": {
        "cube2": sample(5, 6, seed=3, grid=replace(GRID, dx=23.0, dy=-31.0)),
        "overlap_resolver": MAXIMUM,
    },
    "resample_cube_spatial": {
        "target": sample(7, 6, seed=3, dims=(), grid=moved(-2.3, 1.4, dx=13.0, dy=-7.0)),
        "method": "bilinear",
    },
    "resample_cube_spatial degrees": {
        "target": sample(7, 6, seed=3, dims=(), grid=Grid("EPSG:4326", 10.3138, 46.9461, 2e-4, -1e-4, 7, 6)),
        "method": "cubic",
    },
    "resample_cube_temporal": {"target": sample(1, 1, dims=(times("2023-11-01", "2024-01-06", "2024-01-31"),))},
    "resample_cube_temporal valid": {
        "target": sample(1, 1, dims=(times("2024-01-06", "2024-01-31"),)),
        "valid_within": 20,
    },
    "anomaly": {"normals": sample(9, 11, seed=3, dims=(times("01", "02", "12"), BANDS)), "period": "month"},
}
CUTS = st.lists(st.integers(1, 16), max_size=3)


def call_of(name: str, data: Cube) -> tuple[str, dict[str, object]]:
    process = name.split()[0]
    arguments = {**CALLS, **OTHERS}[name]
    return process, {("cube1" if process == "merge_cubes" else "data"): data, **arguments}


@pytest.mark.parametrize("name", [*CALLS, *OTHERS])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=CUTS, columns=CUTS, size=st.tuples(st.integers(9, 16), st.integers(11, 16)), seed=st.integers(0, 99))
def test_parts_are_those_of_the_whole(name, rows, columns, size, seed):
    data = sample(*size, seed=seed)
    process, arguments = call_of(name, data)
    whole = evaluation_of(process, **arguments).evaluate()
    parts = in_parts(evaluation_of(process, **arguments), rows, columns)
    if "degrees" in name:  # the position in a part of another CRS is another sum of floats
        np.testing.assert_allclose(whole.values, parts.values, rtol=2e-6, atol=1e-6)
    else:
        np.testing.assert_array_equal(whole.values, parts.values)
    assert whole.values.dtype == parts.values.dtype
    assert whole.grid == parts.grid and whole.dims == parts.dims


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.bool_])
@pytest.mark.parametrize("name", [*CALLS, *OTHERS])
def test_types_are_those_of_the_whole(name, dtype):
    process, arguments = call_of(name, sample(12, 14, dtype=dtype))
    evaluation = evaluation_of(process, **arguments)
    kind, whole = evaluation.type(), evaluation.evaluate()
    assert kind.dims == whole.dims and kind.grid == whole.grid and kind.box == NOTHING
    assert kind.values.dtype == whole.values.dtype
    others = [size for size, dim in zip(whole.values.shape, whole.dims, strict=True) if dim.axis not in ("x", "y")]
    assert [
        size for size, dim in zip(kind.values.shape, kind.dims, strict=True) if dim.axis not in ("x", "y")
    ] == others
    assert others == [len(dim.labels) for dim in whole.dims if dim.axis not in ("x", "y")]
    if dtype == np.float32 and process not in ("merge_cubes",):
        assert whole.values.dtype == np.float32


@pytest.mark.parametrize("name", [*CALLS, *OTHERS])
def test_arguments_stay_as_they_are(name):
    data = sample(12, 14)
    kept = data.values.copy()
    data.values.flags.writeable = False
    process, arguments = call_of(name, data)
    evaluation_of(process, **arguments).evaluate()
    np.testing.assert_array_equal(data.values, kept)


@pytest.mark.parametrize(
    "process", ["filter_bbox", "filter_temporal", "ndvi", "apply_kernel replicate", "resample_spatial near"]
)
def test_only_what_is_needed_is_read(process):
    """A part of the result reads a part of a collection; a kernel reads its margin."""
    environment = MemoryEnvironment({"S2": sample(400, 400)})
    name = process.split()[0]
    made = graph(
        load=step("load_collection", id="S2", spatial_extent=None, temporal_extent=None),
        call=step(name, data=node("load"), **CALLS[process]),
    )
    if name == "filter_bbox":
        made.nodes["call"].arguments["extent"] = box(0, 0, 400, 400)
    evaluation = Evaluation(made, environment)
    evaluation.evaluate(Box(100, 120, 110, 130))
    (source,) = environment.opened
    assert len(source.boxes) == 1
    rows, columns = source.boxes[0].shape
    assert 10 <= rows <= 60 and 10 <= columns <= 60

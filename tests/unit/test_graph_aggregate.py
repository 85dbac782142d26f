"""Statistics of geometries against numpy; by kernels and one by one; whatever part is asked for."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.errors import GraphError
from hpckit.processgraph import zones
from hpckit.processgraph.cube import Dimension
from hpckit.processgraph.cubes import aggregate_spatial
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import FromParameter
from hpckit.processgraph.kernels.zonal import STATISTICS, reduce_zones
from hpckit.processgraph.neighbours import neighbours
from hpckit.processgraph.reducers import fast
from hpckit.reduce.kernels.cpu import signatures
from hpckit.reduce.signatures.index import build_index, gather
from hpckit.testing.graphs import (
    GRID,
    MemoryEnvironment,
    bands,
    calling,
    child,
    evaluation_of,
    graph,
    node,
    raster,
    result_of,
    step,
    times,
)

pytestmark = pytest.mark.slow

GENERATOR = np.random.default_rng(11)
VALUES = GENERATOR.normal(100, 30, (3, 2, 12, 16)).astype(np.float32)
VALUES[GENERATOR.uniform(size=VALUES.shape) < 0.2] = np.nan
T, B = times("2024-03-01T00:00:00Z", "2024-03-06T00:00:00Z", "2024-03-11T00:00:00Z"), bands(red="red", nir="nir")
CUBE = raster(VALUES, T, B)
ONE = FromParameter("data")
REDUCERS = ["mean", "median", "sd", "variance", "min", "max", "sum", "product", "count", "first", "last"]


def collection(*shapes):
    features = [
        {"type": "Feature", "id": number, "properties": {"n": number}, "geometry": shapely.geometry.mapping(shape)}
        for number, shape in enumerate(shapes)
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    return {"type": "FeatureCollection", "features": features, "crs": crs}


def fields(count, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.uniform((599990, 5199870), (600170, 5200010), (count, 2))
    return [shapely.Point(at).buffer(size) for at, size in zip(centres, generator.uniform(4, 60, count), strict=True)]


def of_numpy(shape, reduce, values=VALUES):
    """What numpy makes of the pixels whose centres are within; shape (times, bands)."""
    x, y = np.meshgrid(GRID.xs(GRID.box), GRID.ys(GRID.box))
    inside = shapely.contains_xy(shape, x, y)
    if not inside.any():
        return np.full(values.shape[:2], np.nan)
    kept = values[..., inside].astype(float)
    return np.array([[reduce(layer[~np.isnan(layer)]) for layer in time] for time in kept])


NUMPY = {
    "mean": np.mean,
    "median": np.median,
    "sd": lambda values: np.std(values, ddof=1) if len(values) > 1 else np.nan,
    "variance": lambda values: np.var(values, ddof=1) if len(values) > 1 else np.nan,
    "min": np.min,
    "max": np.max,
    "sum": np.sum,
    "product": np.prod,
    "count": len,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}


@pytest.mark.parametrize("name", REDUCERS)
@pytest.mark.parametrize("way", ["kernels", "one by one"])
def test_reducers_give_what_numpy_gives(name, way):
    shapes = fields(40)
    reduce = NUMPY[name] if name == "count" else lambda values: NUMPY[name](values) if len(values) else np.nan
    with patch.object(aggregate_spatial, "fast", fast if way == "kernels" else lambda reducer: None):
        found = result_of(
            "aggregate_spatial", data=CUBE, geometries=collection(*shapes), reducer=calling(name, "data")
        )
    assert found.names == ("geometry", "t", "bands") and found.values.dtype == np.float64
    expected = np.stack([of_numpy(shape, reduce) for shape in shapes])
    np.testing.assert_allclose(found.values, expected, rtol=1e-9)
    assert found.features == range(40) and found.geometries.ids == tuple(range(40))


@pytest.mark.parametrize("name", [*REDUCERS, "quantiles", "extrema"])
@pytest.mark.parametrize("ignore", [True, False])
def test_kernels_give_what_the_processes_give(name, ignore):
    arguments = {"ignore_nodata": ignore} if name != "count" else {"condition": None if ignore else True}
    if name == "quantiles":
        arguments |= {"probabilities": [0, 0.1, 0.5, 0.75, 1]}
    shapes = [*fields(30, 5), shapely.Polygon(), shapely.box(0, 0, 1, 1), shapely.Point(600005, 5199995)]
    given = {"data": CUBE, "geometries": collection(*shapes), "reducer": calling(name, "data", **arguments)}
    assert fast(_callback(given["reducer"])) is not None
    quick = result_of("aggregate_spatial", **given, target_dimension="info")
    with patch.object(aggregate_spatial, "fast", lambda reducer: None):
        slow = result_of("aggregate_spatial", **given, target_dimension="info")
    np.testing.assert_allclose(quick.values, slow.values, rtol=1e-9)
    assert [dim.name for dim in quick.dims] == [dim.name for dim in slow.dims]


def type_7(values, fraction):
    """A quantile as Hyndman & Fan (1996) define their type 7, of sorted values."""
    rank = fraction * (len(values) - 1)
    lower = int(rank)
    part = rank - lower
    if part == 0:
        return float(values[lower])
    return float(values[lower]) + part * (float(values[lower + 1]) - float(values[lower]))


SPREADS = {
    "even": lambda random, size: random.normal(0.2, 0.05, size),
    "ties": lambda random, size: random.integers(0, 3, size) / 10,
    "equal": lambda random, size: np.full(size, 0.3),
    "skewed": lambda random, size: np.exp(random.normal(0, 4, size)),
    "an outlier": lambda random, size: np.append(random.normal(0, 1, size - 1), 1e30),
    "extreme": lambda random, size: random.choice([-1.7e308, -1e308, 3.0, 1.7e308], size),
    "infinite": lambda random, size: random.choice([-np.inf, 0.0, 1.0, 2.0, np.inf], size),
    "tiny": lambda random, size: random.choice([0.0, 5e-324, 1e-323], size),
}


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(list(SPREADS)),
    st.lists(st.integers(0, 300), min_size=1, max_size=5),
    st.lists(st.sampled_from([0.0, 0.05, 0.25, 1 / 3, 0.5, 0.9, 0.999, 1.0]), max_size=10).map(sorted),
    st.sampled_from([np.float32, np.float64]),
)
def test_selected_and_sorted_quantiles_are_those_of_the_definition(seed, spread, sizes, fractions, dtype):
    random = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        parts = [SPREADS[spread](random, size).astype(dtype) if size else np.empty(0, dtype) for size in sizes]
    values = np.concatenate(parts)
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    layers = np.stack([np.where(random.random(len(values)) < share, np.nan, values) for share in (0, 0.4)])
    found = reduce_zones(layers.astype(dtype), offsets, np.array(fractions))[..., len(STATISTICS) :]
    with np.errstate(all="ignore"):
        for zone, (first, last) in enumerate(pairwise(offsets)):
            for layer, kept in enumerate(layers[:, first:last]):
                known = np.sort(kept[~np.isnan(kept)])
                wanted = [type_7(known, fraction) if len(known) else np.nan for fraction in fractions]
                np.testing.assert_array_equal(found[zone, layer], wanted)


def _callback(argument):
    return evaluation_of("aggregate_spatial").value(argument)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.data())
def test_any_part_has_the_results_of_the_whole(seed, data):
    shapes = fields(12, seed)
    way = data.draw(st.sampled_from([fast, lambda reducer: None]))
    most = data.draw(st.sampled_from([1, 7, 200, 10**6]))
    reducer = child(
        a=step("mean", data=ONE), b=step("sd", data=ONE), c=step("array_create", data=[node("a"), node("b")])
    )
    with (
        patch.object(aggregate_spatial, "fast", way),
        patch.object(zones, "_MOST_VALUES", most),
        patch.object(zones, "_ROWS", 1),
    ):
        call = evaluation_of("aggregate_spatial", data=CUBE, geometries=collection(*shapes), reducer=reducer)
        some = tuple(sorted(data.draw(st.sets(st.integers(0, 11)))))
        part = call.evaluate(some)
        first, last = sorted((data.draw(st.integers(0, 12)), data.draw(st.integers(0, 12))))
        run = call.evaluate(range(first, last))
    whole = result_of("aggregate_spatial", data=CUBE, geometries=collection(*shapes), reducer=reducer)
    if way is fast:
        np.testing.assert_array_equal(part.values, whole.values[list(some)])
        np.testing.assert_array_equal(run.values, whole.values[first:last])
    else:
        np.testing.assert_allclose(part.values, whole.values[list(some)], rtol=1e-9)
        np.testing.assert_allclose(run.values, whole.values[first:last], rtol=1e-9)
    assert part.features == some and run.features == range(first, last)


def test_groups_of_neighbours_make_up_the_whole():
    shapes = fields(50, 3)
    call = evaluation_of(
        "aggregate_spatial", data=CUBE, geometries=collection(*shapes), reducer=calling("median", "data")
    )
    whole = call.evaluate()
    groups = neighbours(call.type().geometries, GRID, 40)
    assert len(groups) > 3
    for group in groups:
        np.testing.assert_array_equal(call.evaluate(tuple(group.tolist())).values, whole.values[group])


def test_results_of_several_reducers_are_a_dimension_with_their_names():
    shapes = fields(10)
    several = child(
        low=step("min", data=ONE),
        middle=step("median", data=ONE),
        all=step("array_create", data=[node("low"), node("middle")]),
    )
    found = result_of("aggregate_spatial", data=CUBE, geometries=collection(*shapes), reducer=several)
    assert found.dims[-1] == Dimension("statistics", "other", ("min", "median"))
    np.testing.assert_allclose(found.values[..., 0], np.stack([of_numpy(shape, _or_nan(np.min)) for shape in shapes]))
    quantiles = calling("quantiles", "data", probabilities=[0.25, 0.5])
    found = result_of("aggregate_spatial", data=CUBE, geometries=collection(*shapes), reducer=quantiles)
    assert found.dims[-1] == Dimension("statistics", "other", ("q0.25", "q0.5"))


def _or_nan(reduce):
    return lambda values: reduce(values) if len(values) else np.nan


def test_arithmetic_of_reducers_is_done_for_all_geometries_at_once():
    shapes = fields(20)
    spread = child(
        high=step("max", data=ONE), low=step("min", data=ONE), range=step("subtract", x=node("high"), y=node("low"))
    )
    assert fast(_callback(spread)) is not None
    found = result_of("aggregate_spatial", data=CUBE, geometries=collection(*shapes), reducer=spread)
    expected = np.stack([of_numpy(shape, _or_nan(np.ptp)) for shape in shapes])
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


def test_a_callback_that_looks_at_values_is_called_for_each_geometry():
    above = child(
        which=step("array_filter", data=ONE, condition=child(gt=step("gt", x=FromParameter("x"), y=100))),
        count=step("count", data=node("which")),
    )
    assert fast(_callback(above)) is None
    shapes = fields(8)
    found = result_of("aggregate_spatial", data=raster(VALUES[0, 0]), geometries=collection(*shapes), reducer=above)
    x, y = np.meshgrid(GRID.xs(GRID.box), GRID.ys(GRID.box))
    inside = [shapely.contains_xy(shape, x, y) for shape in shapes]
    expected = [np.sum(VALUES[0, 0][mask] > 100) if mask.any() else np.nan for mask in inside]
    np.testing.assert_array_equal(found.values, expected)


def test_counts_of_pixels_are_added_in_the_target_dimension():
    shapes = [shapely.box(600000, 5199980, 600020, 5200000), shapely.Polygon(), shapely.box(0, 0, 1, 1)]
    values = np.full((12, 16), 5, np.float32)
    values[0, 0] = np.nan
    found = result_of(
        "aggregate_spatial",
        data=raster(values),
        geometries=collection(*shapes),
        reducer=calling("mean", "data"),
        target_dimension="info",
    )
    assert found.dims[-1] == Dimension("info", "other", ("value", "total_count", "valid_count"))
    np.testing.assert_array_equal(found.values, [[5, 4, 3], [np.nan] * 3, [np.nan, 0, 0]])


def test_lines_and_points_have_the_pixels_that_they_touch():
    values = np.arange(192, dtype=np.float32).reshape(12, 16)
    shapes = [
        shapely.LineString([(600005, 5199995), (600035, 5199995)]),
        shapely.Point(600015, 5199985),
        shapely.MultiPoint([(600005, 5199995), (600155, 5199885)]),
    ]
    found = result_of(
        "aggregate_spatial", data=raster(values), geometries=collection(*shapes), reducer=calling("sum", "data")
    )
    assert found.values.tolist() == [0 + 1 + 2 + 3, 17, 0 + 191]


def test_dimensions_may_lie_in_any_order():
    turned = CUBE.moved("x", 0).moved("y", 2)
    shapes = fields(9)
    given = {"geometries": collection(*shapes), "reducer": calling("mean", "data")}
    np.testing.assert_array_equal(
        result_of("aggregate_spatial", data=turned, **given).values,
        result_of("aggregate_spatial", data=CUBE, **given).values,
    )


def test_whole_numbers_are_reduced_as_numbers():
    whole = raster(np.arange(192, dtype=np.int16).reshape(12, 16))
    found = result_of(
        "aggregate_spatial",
        data=whole,
        geometries=collection(shapely.box(600000, 5199980, 600020, 5200000)),
        reducer=calling("mean", "data"),
    )
    assert found.values.tolist() == [8.5]


def test_only_pixels_around_the_geometries_are_read():
    environment = MemoryEnvironment({"S2": CUBE})
    steps = graph(
        load=step("load_collection", id="S2", spatial_extent=None, temporal_extent=None),
        all=step(
            "aggregate_spatial",
            data=node("load"),
            geometries=collection(shapely.box(600020, 5199960, 600040, 5199980)),
            reducer=calling("mean", "data"),
        ),
    )
    Evaluation(steps, environment).evaluate()
    read = [box for source in environment.opened for box in source.boxes if not box.is_empty]
    assert [(box.top, box.left, box.bottom, box.right) for box in read] == [(2, 2, 4, 4)]


def test_types_come_without_pixels_and_without_geometries():
    for count in (0, 3):
        call = evaluation_of(
            "aggregate_spatial",
            data=CUBE,
            geometries=collection(*fields(count)),
            reducer=calling("extrema", "data"),
            target_dimension="info",
        )
        found = call.type()
        assert found.values.shape == (0, 3, 2, 2, 3) and found.values.dtype == np.float64
        assert found.names == ("geometry", "t", "bands", "statistics", "info")
        assert found.dims[-2].labels == ("min", "max") and len(found.geometries) == count
    assert result_of(
        "aggregate_spatial", data=CUBE, geometries=collection(), reducer=calling("mean", "data")
    ).values.shape == (0, 3, 2)


def test_a_target_dimension_that_there_is_is_refused():
    for name in ("t", "geometry"):
        with pytest.raises(GraphError, match="already") as caught:
            evaluation_of(
                "aggregate_spatial",
                data=CUBE,
                geometries=collection(*fields(1)),
                reducer=calling("mean", "data"),
                target_dimension=name,
            ).type()
        assert caught.value.fault == "TargetDimensionExists"


def test_a_vector_cube_as_data_is_refused():
    vectors = result_of("load_geojson", data=collection(*fields(2)))
    with pytest.raises(GraphError, match="without the dimensions x and y"):
        result_of(
            "aggregate_spatial", data=vectors, geometries=collection(*fields(1)), reducer=calling("mean", "data")
        )


def test_results_are_those_of_the_signatures_of_a_campaign():
    """The rooms of signatures and graphs give the same numbers for the same polygons and pixels."""
    shapes = [shapely.MultiPolygon([shape]) for shape in fields(200, 9)]
    found = result_of(
        "aggregate_spatial",
        data=raster(VALUES[0, 0]),
        geometries=collection(*shapes),
        reducer=calling("quantiles", "data", probabilities=[0.1, 0.5, 0.9]),
    )
    mean = result_of(
        "aggregate_spatial",
        data=raster(VALUES[0, 0]),
        geometries=collection(*shapes),
        reducer=calling("mean", "data"),
    )
    index = build_index(
        np.array(shapes, dtype=object),
        np.arange(200, dtype=np.int32),
        GRID.geobox(GRID.box).transform,
        (12, 16),
        "centre",
    )
    statistics = signatures(
        gather(VALUES[0, 0], index), index.offsets, None, None, None, None, np.array([10.0, 50.0, 90.0])
    )
    np.testing.assert_allclose(mean.values, statistics.values[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.values, statistics.values[:, 4:], rtol=1e-6)


@pytest.mark.parametrize(
    ("reducer", "is_known"),
    [
        (calling("mean", "data"), True),
        (calling("quantiles", "data", probabilities=4), True),
        (calling("quantiles", "data", q=2), True),
        (calling("quantiles", "data", probabilities=[0.9, 0.1]), False),
        (calling("quantiles", "data"), False),
        (calling("any", "data"), False),
        (child(constant=step("pi")), True),
        (calling("count", "data", condition=calling("gt", "x", y=3)), False),
    ],
)
def test_which_callbacks_kernels_know(reducer, is_known):
    assert (fast(_callback(reducer)) is not None) is is_known


def test_a_constant_is_the_result_of_all_geometries_with_pixels():
    shapes = [*fields(3), shapely.Polygon()]
    found = result_of(
        "aggregate_spatial", data=raster(VALUES[0, 0]), geometries=collection(*shapes), reducer=child(c=step("pi"))
    )
    np.testing.assert_array_equal(found.values, [np.pi, np.pi, np.pi, np.nan])
    assert fast(_callback(child(c=step("pi")))) is not None

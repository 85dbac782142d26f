"""Graphs that were read once: features in bulk, packed for workers, and read back as they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.errors import DamagedFileError, GraphError
from hpckit.processgraph.compact import packed, unpacked
from hpckit.processgraph.cube import Geometries, Grid
from hpckit.processgraph.document import LARGE
from hpckit.processgraph.extents import area_of
from hpckit.processgraph.footprints import footprints_of
from hpckit.processgraph.geojson import from_geojson
from hpckit.processgraph.graph import FromNode, Graph, KnownGeometries, Node
from hpckit.processgraph.parse import read, read_text
from hpckit.reduce.graphs.geometryfile import read_geometries, write_geometries

JSON = Any


def features(count: int, **members: JSON) -> JSON:
    """Squares beside each other; every seventh feature has no geometry."""
    ring = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * 0.001
    found = []
    for number in range(count):
        square = {"type": "Polygon", "coordinates": [(ring + np.array([5 + number * 0.002, 52])).tolist()]}
        geometry = None if number % 7 == 3 else square
        found.append(
            {"type": "Feature", "id": number, "geometry": geometry, "properties": {"crop": f"c{number % 5}"}}
        )
    return {"type": "FeatureCollection", "features": found, **members}


def graph_with(geometries: JSON, context: JSON = None) -> JSON:
    """Means of geometries."""
    mean = {"process_graph": {"mean": node("mean", data={"from_parameter": "data"}, result=True)}}
    arguments = {"data": {"from_node": "load"}, "geometries": geometries, "reducer": mean, "context": context}
    extent = {"west": 5, "south": 52, "east": 6, "north": 53}
    return {
        "load": node("load_collection", id="S2", spatial_extent=extent, temporal_extent=None),
        "means": node("aggregate_spatial", **arguments, result=True),
    }


def node(process: str, result: bool = False, **arguments: JSON) -> JSON:
    return {"process_id": process, "arguments": arguments, **({"result": True} if result else {})}


def text(document: JSON) -> bytes:
    return json.dumps(document).encode()


def same(one: Geometries, other: Geometries) -> bool:
    return (
        one.crs == other.crs
        and one.ids == other.ids
        and one.properties == other.properties
        and bool(np.all(shapely.equals_exact(one.shapes, other.shapes, 0)))
    )


def test_many_features_are_read_once_and_as_few_are():
    document = features(LARGE, crs={"type": "name", "properties": {"name": "EPSG:4258"}})
    graph, faults = read_text(text(graph_with(document)))
    known = graph.nodes["means"].arguments["geometries"]
    assert not faults and isinstance(known, KnownGeometries)
    assert same(from_geojson(known), from_geojson(document))
    few, _ = read_text(text(graph_with(features(LARGE - 1))))
    assert not isinstance(few.nodes["means"].arguments["geometries"], KnownGeometries)


def test_features_that_are_no_geometries_of_a_process_stay_json():
    graph, faults = read_text(text(graph_with(features(3), context=features(LARGE))))
    assert not faults and graph.nodes["means"].arguments["context"] == features(LARGE)


def test_features_of_a_parameter_are_read_once_for_all_nodes():
    nodes = graph_with({"from_parameter": "parcels"})
    nodes["also"] = node("filter_spatial", data={"from_node": "load"}, geometries={"from_parameter": "parcels"})
    parcels = {"name": "parcels", "schema": {"type": "object", "subtype": "geojson"}, "default": features(LARGE)}
    graph, faults = read_text(text({"process_graph": nodes, "parameters": [parcels]}))
    one, other = (graph.nodes[name].arguments["geometries"] for name in ("means", "also"))
    assert not faults and isinstance(one, KnownGeometries) and one is other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found["features"][5].update(type="feature"), "feature 6 is no object of the type 'Feature'"),
        (lambda found: found["features"][5]["geometry"].update(coordinates=[[[1, 2], [3]]]), "feature 6"),
        (lambda found: found.update(crs={"properties": {"name": "EPSG:1"}}), "no known CRS"),
    ],
)
def test_faulty_features_have_the_message_of_few(change, message: str):
    document = features(LARGE)
    change(document)
    graph, _ = read_text(text(graph_with(document)))
    with pytest.raises(GraphError, match=message):
        from_geojson(graph.nodes["means"].arguments["geometries"])


@pytest.mark.parametrize("reference", [{"from_node": "load"}, {"from_parameter": "x"}, {"process_graph": {}}])
def test_features_that_refer_to_something_are_looked_into(reference: JSON):
    document = features(LARGE)
    document["features"][9]["properties"]["crop"] = reference
    graph, faults = read_text(text(graph_with(document)))
    assert faults or not isinstance(graph.nodes["means"].arguments["geometries"], KnownGeometries)


def test_features_nested_too_deeply_are_refused():
    deep: JSON = 1
    for _ in range(250):
        deep = [deep]
    document = features(LARGE)
    document["features"][1]["properties"]["deep"] = deep
    _, faults = read_text(text(graph_with(document)))
    assert [fault.fault for fault in faults] == ["ProcessGraphComplexity"]


def test_brackets_in_texts_are_no_nesting():
    document = features(LARGE)
    document["features"][1]["properties"]["crop"] = '\\"' + "[{" * 300
    graph, faults = read_text(text(graph_with(document)))
    assert not faults and isinstance(graph.nodes["means"].arguments["geometries"], KnownGeometries)


def test_an_extent_of_many_features_is_that_of_few():
    found = area_of(KnownGeometries(from_geojson(features(300))), "spatial_extent")
    wanted = area_of(features(300), "spatial_extent")
    assert found.crs == wanted.crs and shapely.equals(found.shape, wanted.shape)


def test_packed_and_unpacked(tmp_path: Path):
    graph, _ = read_text(text(graph_with(features(LARGE), context={"note": ["a", {"b": None}]})))
    document, known = packed(graph)
    write_geometries(tmp_path / "0.parquet", known[0])
    found = unpacked(json.loads(json.dumps(document)), [read_geometries(tmp_path / "0.parquet")])
    assert len(known) == 1 and same(from_geojson(found.nodes["means"].arguments["geometries"]), known[0])
    without = {name: item for name, item in found.nodes["means"].arguments.items() if name != "geometries"}
    assert without == {name: item for name, item in graph.nodes["means"].arguments.items() if name != "geometries"}
    assert found.nodes["load"] == graph.nodes["load"] and found.result == graph.result


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
KEYS = st.one_of(st.sampled_from(["node", "graph", "constant", "geometries", "object", "parameter"]), st.text())
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_json_may_stand_in_arguments(arguments: Mapping[str, JSON]):
    graph = Graph({"a": Node("a", "x", {**arguments, "of": [FromNode("b"), arguments]}, "a")}, "a")
    document, known = packed(graph)
    assert unpacked(json.loads(json.dumps(document)), known) == graph


def test_official_examples_are_packed_and_unpacked():
    for path in sorted(Path("docs/examples/graphs").glob("*.json")):
        graph, faults = read(path.read_bytes())
        if not faults:
            assert unpacked(json.loads(json.dumps(packed(graph)[0])), packed(graph)[1]) == graph


def test_damaged_geometries_are_named(tmp_path: Path):
    path = tmp_path / "geometries-0.parquet"
    write_geometries(path, from_geojson(features(50)))
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"geometries-0\.parquet: damaged"):
        read_geometries(path)


def test_geometries_over_a_grid_are_made_once_and_never_those_of_others():
    grid = Grid("EPSG:32631", 640000.0, 5780000.0, 10, -10, 100, 100)
    one, other = from_geojson(features(5)), from_geojson(features(6))
    assert footprints_of(one, grid) is footprints_of(one, grid)
    assert len(footprints_of(other, grid)) == 6
    moved = Grid("EPSG:32631", 640010.0, 5780000.0, 10, -10, 100, 100)
    assert footprints_of(one, moved).grid == moved


def test_one_text_is_read_once():
    document = text(graph_with(features(3)))
    assert read_text(document)[0] is read_text(bytes(bytearray(document)))[0]
    assert read_text(document, {"x": 1})[0] is not read_text(document)[0]


def test_properties_without_ids_stay(tmp_path: Path):
    shapes = np.array([shapely.Point(1, 2), shapely.GeometryCollection()], dtype=object)
    for known in (
        Geometries(shapes, "EPSG:4326"),
        Geometries(shapes, "EPSG:32631", (), ({"a": float("inf")}, {"ü": [1]})),
        Geometries(shapes[:0], "EPSG:4326"),
    ):
        write_geometries(tmp_path / "g.parquet", known)
        assert same(read_geometries(tmp_path / "g.parquet"), known)

"""Specifications of processes, and arguments that are checked against their schemas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.processgraph import specs
from hpckit.processgraph.graph import ChildGraph, FromNode, FromParameter, Graph
from hpckit.processgraph.schema import mismatch
from hpckit.processgraph.specs import Parameter, documents, specification, subtypes

JSON = Any
OURS = {"minimumExclusive", "maximumExclusive", "dimensions"}
"""Keywords that JSON Schema does not have."""
SPECIAL = {
    "datacube", "raster-cube", "vector-cube", "process-graph", "metadata-filter", "geojson", "date", "date-time",
    "time", "epsg-code", "wkt2-definition", "temporal-interval", "temporal-intervals", "stac",
}  # fmt: skip
"""Subtypes whose values are checked for more than JSON Schema says."""


def test_there_are_all_specifications_and_their_origin():
    assert len(documents()) == 155
    assert {"load_collection", "reduce_dimension", "sar_backscatter", "if"} <= set(documents())
    assert all(specification(name).name == name for name in documents())
    folder = Path(specs.__file__).parent
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "98ae0148287b6a59beaa9b00a506fdd6f725c098" in (folder / "ORIGIN.md").read_text(encoding="utf-8")


def test_what_a_specification_says():
    reduce = specification("reduce_dimension")
    assert list(reduce.parameters) == ["data", "reducer", "dimension", "context"]
    assert reduce.defaults == {"context": None}
    assert [one.name for one in reduce.parameters["reducer"].callback] == ["data", "context"]
    assert reduce.parameters["data"].callback is None
    assert set(reduce.exceptions) == {"DimensionNotAvailable"}
    load = specification("load_collection")
    assert [one.name for one in load.parameters["properties"].callback] == ["value"]
    assert not load.parameters["spatial_extent"].optional
    assert specification("nothing") is None
    assert specification("sum").takes_default("ignore_nodata")
    assert not specification("load_collection").takes_default("bands")
    assert Parameter.of({"name": "a", "schema": {"description": "Any."}}).schemas == ()


def plain_schemas() -> list[JSON]:
    """Schemas of parameters that mean no more than JSON Schema does."""
    found: list[JSON] = []
    for name in documents():
        for parameter in specification(name).parameters.values():
            found += [schema for schema in parameter.schemas if is_plain(schema)]
    return found + [schema for name, schema in subtypes().items() if is_plain(schema) and "$ref" not in str(schema)]


def is_plain(schema: JSON) -> bool:
    if isinstance(schema, list):
        return all(map(is_plain, schema))
    if not isinstance(schema, dict):
        return True
    return not OURS & set(schema) and schema.get("subtype") not in SPECIAL and all(map(is_plain, schema.values()))


WORDS = st.sampled_from(
    ["", "B04", "P1M", "PT5H", "https://example.org/a", "a/b.py", "near", "asc", "import a\n", "x y", "day", "mean"]
)
SCALARS = st.none() | st.booleans() | st.integers(-3, 40_000) | st.floats(allow_nan=False) | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.fixed_dictionaries({key: st.floats(0, 9) | SCALARS for key in ("west", "south", "east", "north")})
        | st.fixed_dictionaries({"dimension": WORDS, "value": SCALARS})
        | st.dictionaries(WORDS, inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=600)
@given(st.sampled_from(plain_schemas()), VALUES)
def test_arguments_match_as_json_schema_says(schema, value):
    expected = jsonschema.Draft7Validator(schema).is_valid(value)
    found = mismatch(value, schema)
    assert (found is None) == expected, found


BOX = {"west": 1, "south": 2, "east": 3, "north": 4}


@pytest.mark.parametrize(
    ("subtype", "right", "wrong"),
    [
        ("date", ["2024-02-29"], ["2023-02-29", "2024-2-9", "2024-02-29T00:00:00Z", "", 2024]),
        (
            "date-time",
            ["2024-02-29T10:00:00Z", "2024-02-29T10:00:00.5+01:00"],
            ["2024-02-29", "2024-02-29T25:00:00Z"],
        ),
        ("time", ["23:59:59"], ["24:00:01", "23:59"]),
        ("epsg-code", [4326, 32632], [1, 999999, "4326", 4326.5]),
        ("wkt2-definition", ["EPSG:4326"], ["nowhere"]),
        ("duration", ["P1D", "PT1H", "P1Y2M"], ["P", "1D", "month"]),
        (
            "temporal-interval",
            [["2024-01-01", "2024-02-01"], ["2024-01-01", None]],
            [["2024-01-01"], ["a", "b"], "2024"],
        ),
        ("kernel", [[[1, 2], [3, 4.5]]], [[1, 2], [["a"]], {}]),
        ("band-name", ["B04"], [4]),
        (
            "bounding-box",
            [BOX, BOX | {"crs": 32632}, BOX | {"base": None, "height": 3}],
            [{"west": 1}, BOX | {"west": "1"}, [1, 2, 3, 4], BOX | {"west": None}, BOX | {"crs": 1}],
        ),
        (
            "geojson",
            [
                {"type": "Point", "coordinates": [1, 2]},
                {"type": "FeatureCollection", "features": []},
                {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": None},
            ],
            [
                {"type": "Circle", "coordinates": []},
                {"type": "Point"},
                {},
                {"type": "FeatureCollection", "features": 1},
            ],
        ),
        ("process-graph", [ChildGraph(Graph({}, ""))], [{}, 1, "mean"]),
        ("datacube", [], [{}, 1, {"cube:dimensions": {}}]),
    ],
)
def test_subtypes(subtype, right, wrong):
    schema = dict(subtypes()[subtype])
    if subtype == "temporal-interval":
        schema = next(one for one in specification("load_collection").parameters["temporal_extent"].schemas)
    for value in right:
        assert mismatch(value, schema) is None, value
    for value in wrong:
        assert mismatch(value, schema) is not None, value
    for reference in (FromNode("a"), FromParameter("a")):
        assert mismatch(reference, schema) is None


def test_a_reference_within_a_value_has_no_type_yet():
    box = subtypes()["bounding-box"]
    assert mismatch({"west": FromParameter("w"), "south": 1, "east": FromNode("e"), "north": 2}, box) is None
    assert mismatch([[1, FromNode("a")]], subtypes()["kernel"]) is None


def test_a_mismatch_says_where_and_what():
    box = subtypes()["bounding-box"]
    assert str(mismatch({"west": "1", "south": 1, "east": 2, "north": 2}, box)) == "`west`: '1' is not a number"
    assert str(mismatch([[1, "a"]], subtypes()["kernel"])) == "`[0][1]`: 'a' is not a number"
    assert re.search("`north`: it is missing", str(mismatch({"west": 1, "south": 1, "east": 1}, box)))

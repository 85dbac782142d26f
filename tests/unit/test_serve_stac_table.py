"""Searches of an index of items against a search item by item, and conditions against the library cql2."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("cql2", reason="cql2 is not installed")
pytest.importorskip("orjson", reason="orjson is not installed")

import cql2

from hpckit.catalogue.moments import time_of
from hpckit.serve.stac import table as table_module
from hpckit.serve.stac.building import build
from hpckit.serve.stac.conditions import holds
from hpckit.serve.stac.order import Order, SortKey
from hpckit.serve.stac.query import Search, SearchError, of_body
from hpckit.serve.stac.table import ItemTable

BEGIN = datetime(2024, 3, 1, 10, 30, tzinfo=UTC)


def item(number: int) -> dict:
    """An item of many kinds: equal times, missing values, intervals, triangles."""
    when = BEGIN + timedelta(hours=7 * (number // 3))
    west, south = 5 + number % 7 * 0.3, 52 + number % 5 * 0.2
    outline = shapely.Polygon([(west, south), (west + 0.25, south), (west, south + 0.25)])
    times = {"datetime": when.isoformat()}
    if number % 11 == 0:
        times = {"datetime": None, "start_datetime": when.isoformat(),
                 "end_datetime": (when + timedelta(days=3)).isoformat()}  # fmt: skip
    more = {"eo:cloud_cover": float(number * 37 % 100)} if number % 4 else {}
    more |= {"platform": f"sentinel-2{'abc'[number % 3]}", "orbit": number % 5, "ready": number % 2 == 0}
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": f"item-{number * 7919 % 1000:04d}",
        "collection": "even" if number % 2 == 0 else "odd", "geometry": shapely.geometry.mapping(outline),
        "bbox": list(outline.bounds), "properties": {**times, **more}, "links": [], "assets": {},
    }  # fmt: skip


ITEMS = [item(n) for n in range(150)]


@cache
def table() -> ItemTable:
    folder = Path(mkdtemp()) / "index"
    assert build(folder, ITEMS) == len(ITEMS)
    return ItemTable(folder)


def ends(one: dict) -> tuple[int, int]:
    told = one["properties"]
    if told.get("end_datetime"):
        return time_of(one), time_of({"properties": {"datetime": told["end_datetime"]}})
    return time_of(one), time_of(one)


def slowly(search: Search) -> list[str]:
    """Ids of all items that fit, in order, item by item."""
    found = []
    for one in ITEMS:
        start, end = ends(one)
        if search.ids is not None and one["id"] not in search.ids:
            continue
        if search.collections is not None and one["collection"] not in search.collections:
            continue
        if (search.start is not None and end < search.start) or (search.end is not None and start > search.end):
            continue
        if search.area is not None and not shapely.intersects(shapely.geometry.shape(one["geometry"]), search.area):
            continue
        found.append(one)
    return [one["id"] for one in sorted(found, key=lambda one: search.order.place(search.order.values(one)))]


def walk(search: Search, page: int) -> tuple[list[str], set[int | None]]:
    ids, after, matched = [], None, set()
    while True:
        found = table().find(search, search.collections, after, page)
        rows = table().read(found.rows)
        ids += [one["id"] for one in rows]
        matched.add(found.matched)
        if not found.more:
            return ids, matched
        assert len(rows) == page
        after = search.order.values(rows[-1])


fields = st.sampled_from(["datetime", "id", "eo:cloud_cover", "platform", "orbit", "ready", "collection", "absent"])
keys = st.lists(st.builds(SortKey, fields, st.booleans()), max_size=3)
places = st.tuples(*[st.floats(0, 1)] * 4)


@given(
    keys,
    st.integers(1, 40),
    st.none() | places,
    st.booleans(),
    st.none() | st.tuples(st.integers(0, 400), st.integers(0, 400)),
    st.none() | st.lists(st.sampled_from([*[one["id"] for one in ITEMS], "nobody"]), max_size=9),
    st.none() | st.sampled_from([("even",), ("odd",), ("even", "odd"), ("none",)]),
)
def test_pages_are_what_a_search_item_by_item_finds(sort, page, place, slanted, hours, ids, collections):
    area = None
    if place is not None:
        xs, ys = sorted((5 + 2.5 * place[0], 5 + 2.5 * place[1])), sorted((52 + 1.5 * place[2], 52 + 1.5 * place[3]))
        area = shapely.box(xs[0], ys[0], xs[1], ys[1])
        if slanted:
            area = shapely.Polygon([(xs[0], ys[0]), (xs[1], ys[0]), (xs[1], ys[1])])
    start = end = None
    if hours is not None:
        start, end = (time_of({"properties": {"datetime": (BEGIN + timedelta(hours=h)).isoformat()}})
                      for h in sorted(hours))  # fmt: skip
    search = Search(collections, None if ids is None else tuple(ids), area, start, end, order=Order.of(sort))
    wanted = slowly(search)
    found, matched = walk(search, page)
    assert found == wanted and matched == {len(wanted)}


@given(keys, st.integers(1, 40))
def test_many_items_are_sorted_as_few_are(sort, page):
    few = walk(Search(order=Order.of(sort)), page)
    with mock.patch.object(table_module, "_MANY", 0):
        assert walk(Search(order=Order.of(sort)), page) == few


def test_a_page_goes_on_where_its_last_item_is_gone():
    for key in (SortKey("eo:cloud_cover", True), SortKey("platform"), SortKey("id", True), SortKey("datetime")):
        order = Order.of([key])
        values = [order.values(one) for one in ITEMS]
        ordered = sorted(values, key=order.place)
        for number in (0, 17, 80, 149):
            value = ordered[number][0]
            gone = f"{value}x" if isinstance(value, str) else None if value is None else value + 0.5
            after = (gone, *ordered[number][1:])
            wanted = [v for v in ordered if order.place(v) > order.place(after)]
            found = table().find(Search(order=order), None, after, 1000)
            assert [order.values(one) for one in table().read(found.rows)] == wanted


numbers = st.floats(-10, 110).map(lambda x: round(x, 1))
named = st.sampled_from(["eo:cloud_cover", "orbit"]).map(lambda name: {"property": name})
texts = st.sampled_from(["sentinel-2a", "sentinel-2b", "x", ""])
times = st.integers(-50, 400).map(
    lambda h: {"timestamp": (BEGIN + timedelta(hours=h)).strftime("%Y-%m-%dT%H:%M:%SZ")}
)
compare = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
simple = st.one_of(
    st.builds(lambda op, a, b: {"op": op, "args": [a, b]}, compare, named, numbers),
    st.builds(lambda op, b: {"op": op, "args": [{"property": "platform"}, b]}, compare, texts),
    st.builds(lambda a, b, c: {"op": "between", "args": [a, min(b, c), max(b, c)]}, named, numbers, numbers),
    st.builds(lambda a, b: {"op": "in", "args": [a, b]}, named, st.lists(numbers, min_size=1, max_size=4)),
    st.builds(lambda b: {"op": "in", "args": [{"property": "platform"}, b]}, st.lists(texts, min_size=1, max_size=2)),
    st.builds(lambda b: {"op": "like", "args": [{"property": "platform"}, b]}, st.sampled_from(["s%", "%b", "s_n%"])),
    st.builds(lambda a: {"op": "isNull", "args": [a]}, named),
    st.builds(lambda op, t: {"op": op, "args": [{"property": "datetime"}, t]},
              st.sampled_from(["t_before", "t_after"]), times),
    st.builds(lambda p: {"op": "s_intersects", "args": [{"property": "geometry"}, {
        "type": "Point", "coordinates": [5 + 2 * p[0], 52 + p[1]]}]}, places),
)  # fmt: skip
conditions = st.recursive(
    simple,
    lambda inner: st.builds(
        lambda op, parts: {"op": op, "args": parts},
        st.sampled_from(["and", "or"]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=5,
)


@given(conditions)
def test_conditions_hold_for_the_items_for_which_cql2_says_so(condition):
    expression = cql2.parse_json(json.dumps(condition))
    wanted = []
    for number, one in enumerate(ITEMS):
        if _lacks(condition, one):
            continue
        if expression.matches(one):
            wanted.append(number)
    told = np.array([not _lacks(condition, one) for one in ITEMS])
    assert np.flatnonzero(holds(condition, table()) & told).tolist() == wanted


def _lacks(condition, one: dict) -> bool:
    """Whether a condition asks for a value that an item lacks, which cql2 cannot decide."""
    if isinstance(condition, dict):
        if condition.get("op") == "isNull":
            return False
        if "property" in condition and condition["property"] != "geometry":
            return one["properties"].get(condition["property"]) is None
        return any(_lacks(part, one) for part in condition.get("args", ()))
    return isinstance(condition, list) and any(_lacks(part, one) for part in condition)


def test_what_an_item_lacks_is_neither_true_nor_false():
    without = {n for n, one in enumerate(ITEMS) if "eo:cloud_cover" not in one["properties"]}
    below = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 50]}
    some, others = (set(np.flatnonzero(holds(c, table()))) for c in (below, {"op": "not", "args": [below]}))
    assert some | others == set(range(len(ITEMS))) - without and not some & others
    either = {"op": "or", "args": [below, {"op": "=", "args": [{"property": "orbit"}, 0]}]}
    assert set(np.flatnonzero(holds(either, table()))) == some | {n for n in range(150) if n % 5 == 0}
    assert not holds({"op": "=", "args": [{"property": "nowhere"}, 1]}, table()).any()
    assert holds({"op": "isNull", "args": [{"property": "nowhere"}]}, table()).all()


@pytest.mark.parametrize(
    "condition",
    [
        {"op": "drop", "args": []},
        {"op": "and", "args": []},
        {"op": "=", "args": [{"property": "orbit"}]},
        {"op": "=", "args": [{"property": "orbit"}, {"op": "rm", "args": []}]},
        {"op": "+", "args": [{"property": "platform"}, 1]},
        {"op": "<", "args": [{"op": "+", "args": [{"property": "platform"}, 1]}, 1]},
        {"op": "s_intersects", "args": [{"property": "platform"}, {"type": "Point", "coordinates": [0, 0]}]},
        {"op": "s_intersects", "args": [{"property": "geometry"}, {"type": "Circle"}]},
        {"op": "t_before", "args": [{"property": "datetime"}, {"timestamp": "soon"}]},
        {"op": "t_before", "args": [{"property": "platform"}, {"timestamp": "2024-01-01T00:00:00Z"}]},
        {"op": "in", "args": [{"property": "orbit"}, 3]},
        {"property": "platform"},
        {"op": "like", "args": [{"property": "orbit"}, "x"]},
        ["and"],
        None,
    ],
)
def test_conditions_that_are_none_are_refused(condition):
    with pytest.raises(SearchError, match="`filter`"):
        holds(condition, table())


def test_a_condition_that_is_nested_too_deep_is_refused():
    deep = {"op": "=", "args": [{"property": "orbit"}, 1]}
    for _ in range(100):
        deep = {"op": "not", "args": [deep]}
    with pytest.raises(SearchError, match="deeper"):
        holds(deep, table())


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"bbox": "1,2,3,4"}, "bbox"),
        ({"bbox": [0, 50, 10, 40]}, "bbox"),
        ({"bbox": [0, 0, 0, float("nan")]}, "bbox"),
        ({"bbox": [0, 0, 200, 1]}, "bbox"),
        ({"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}}, "together"),
        ({"intersects": {"type": "Point"}}, "intersects"),
        ({"intersects": {"type": "Point", "coordinates": ["a", 0]}}, "intersects"),
        ({"intersects": {"type": "Feature"}}, "intersects"),
        ({"intersects": []}, "intersects"),
        ({"datetime": "2024-03-01"}, "datetime"),
        ({"datetime": "../.."}, "datetime"),
        ({"datetime": "2024-03-02T00:00:00Z/2024-03-01T00:00:00Z"}, "before it begins"),
        ({"datetime": "2024-03-01T00:00:00Z\r\nSet-Cookie: x=1"}, "datetime"),
        ({"datetime": 3}, "datetime"),
        ({"ids": "a"}, "ids"),
        ({"ids": [1]}, "ids"),
        ({"collections": {"a": 1}}, "collections"),
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": "10"}, "limit"),
        ({"sortby": "datetime"}, "sortby"),
        ({"sortby": [{"field": "a b"}]}, "sortby"),
        ({"sortby": [{"field": "id", "direction": "up"}]}, "sortby"),
        ({"fields": ["id"]}, "fields"),
        ({"fields": {"include": [1]}}, "fields"),
        ({"filter": "cloud <"}, "filter"),
        ({"filter": {"op": "="}}, "filter"),
        ({"filter": [1]}, "filter"),
        ({"filter": "a = 1", "filter-lang": "sql"}, "filter-lang"),
        ({"token": 5}, "token"),
    ],
)
def test_searches_that_cannot_be_understood_name_the_parameter(body, word):
    with pytest.raises(SearchError, match=word) as caught:
        of_body(body)
    assert str(caught.value).isprintable()


def test_a_limit_above_the_largest_is_clamped():
    assert of_body({"limit": 10**9}).limit == 10_000

"""Zones by identifier and place."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.api import open_campaign
from hpckit.errors import ZoneError
from hpckit.runs.run import find_run
from hpckit.serve.viewer.describe import zone
from hpckit.serve.zonemap import ZoneMap, _boxes, open_zones
from tests.unit.look_samples import make_campaign


def zone_map(ids: list[str], shapes: list[shapely.Geometry], labels: list[str | None], crs: int = 32631) -> ZoneMap:
    wkb, text = pa.array(shapely.to_wkb(np.array(shapes, dtype=object))), pyproj.CRS(crs).to_wkt()
    return ZoneMap("r", pa.array(ids), wkb, text, _boxes(wkb, text), np.array(labels, dtype=object))


names = st.lists(st.text("ab12é -/", min_size=1, max_size=5), unique=True, min_size=1, max_size=30)


@given(ids=names, asked=st.text("ab12é -/", max_size=3))
def test_identifiers_are_found_by_their_begin(ids, asked):
    shapes = [shapely.box(500_000 + 10 * k, 5.7e6, 500_008 + 10 * k, 5.7e6 + 8) for k in range(len(ids))]
    made = zone_map(ids, shapes, [None] * len(ids))
    for row, name in enumerate(ids):
        assert made.row(name) == row
    assert {ids[row] for row in made.find(asked, 100)} == {name for name in ids if name.startswith(asked)}
    assert len(made.find(asked, 3)) == min(3, len(made.find(asked, 100)))
    if "?" not in ids:
        with pytest.raises(ZoneError, match="no zone '\\?'"):
            made.row("?")


def test_shorter_names_come_first_and_numbers_in_their_order():
    ids = ["P10", "P2", "P1", "P100", "Q1"]
    made = zone_map(ids, [shapely.box(5e5, 5.7e6, 5e5 + 9, 5.7e6 + 9)] * 5, [None] * 5)
    assert [ids[row] for row in made.find("P", 9)] == ["P1", "P2", "P10", "P100"]


def test_a_zone_shows_the_attributes_that_were_chosen():
    made = replace(
        zone_map(["a", "b"], [shapely.box(5e5, 5.7e6, 5e5 + 9, 5.7e6 + 9)] * 2, [None] * 2),
        attributes={
            "crop": pa.array(["maize", None]),
            "sown": pa.array([date(2024, 4, 2), None]),
            "share": pa.array([0.5, float("nan")]),
        },
    )
    assert zone(made, 0, outline=False)["attributes"] == {"crop": "maize", "sown": "2024-04-02", "share": 0.5}
    assert zone(made, 1, outline=False)["attributes"] == {"crop": None, "sown": None, "share": None}


def test_labels_are_found_too():
    made = zone_map(
        ["a", "b", "c"], [shapely.box(5e5, 5.7e6, 5e5 + 9, 5.7e6 + 9)] * 3, ["Winter wheat", None, "maize"]
    )
    assert made.find("WHEAT", 5) == [0]
    assert made.kinds == {"Winter wheat": 1, "maize": 1}


@given(
    crs=st.sampled_from([32631, 4326, 3035, 28992]),
    place=st.tuples(st.floats(5.0, 5.02), st.floats(52.0, 52.02)),
    data=st.lists(
        st.tuples(st.floats(5.0, 5.02), st.floats(52.0, 52.02), st.floats(0.0005, 0.01)), min_size=1, max_size=8
    ),
)
def test_places_are_found_in_any_crs(crs, place, data):
    forward = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    shapes = [
        shapely.transform(shapely.box(x, y, x + size, y + size), forward.transform, interleaved=False)
        for x, y, size in data
    ]
    made = zone_map([str(k) for k in range(len(shapes))], shapes, [None] * len(shapes), crs)
    here = shapely.Point(*forward.transform(*place))
    wanted = [k for k, one in enumerate(shapes) if one.intersects(here)]
    found = made.at(*place)
    assert sorted(found) == wanted
    assert [shapes[k].area for k in found] == sorted(shapes[k].area for k in wanted)


def test_a_run_has_the_zones_that_it_has_frozen(tmp_path):
    view = open_campaign(make_campaign(tmp_path))
    run = find_run(view.campaign.run_dir)
    frozen, layer = open_zones(view, run, "parcels"), open_zones(view, None, "parcels")
    assert frozen.ids.to_pylist() == layer.ids.to_pylist() == list(view.zones().ids)
    assert np.array_equal(frozen.boxes, layer.boxes)
    for row, shape in enumerate(view.zones().geometries):
        assert frozen.geometry(row).equals(shape)
    (tmp_path / "parcels.gpkg").unlink()
    again = open_zones(view, run, "parcels")
    assert again.ids.to_pylist() == frozen.ids.to_pylist(), "results stay readable when the layer is gone"
    assert set(again.labels) == {None}
    west, south, east, north = frozen.bounds
    assert -180 <= west < east <= 180 and -90 <= south < north <= 90


def test_area_is_that_of_the_ellipsoid():
    made = zone_map(["a"], [shapely.box(500_000, 5_700_000, 501_000, 5_701_000)], [None])
    # On the central meridian UTM is 0.9996 times too short.
    assert made.area_m2(0) == pytest.approx(1e6 / 0.9996**2, rel=1e-5)

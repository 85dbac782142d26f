"""Footprints and boxes of STAC, across the antimeridian and elsewhere."""

from __future__ import annotations

import pytest

from hpckit.space.footprint import around, bbox, of_box


@pytest.mark.parametrize(
    ("epsg", "west", "north", "crosses"),
    [
        (32701, 176000, 8120000, True), (32601, 340000, 7900020, True), (32760, 700000, 5900020, True),
        (32631, 499980, 5700000, False), (3035, 3900000, 3200000, False), (32733, 499980, 8120000, False),
    ],
)  # fmt: skip
def test_footprints_of_tiles(epsg, west, north, crosses):
    shape = of_box((west, north - 109800, west + 109800, north), epsg)
    assert shape.is_valid and shape.area < 12
    assert (shape.geom_type == "MultiPolygon") is crosses
    left, south, right, top = bbox(shape)
    assert (left > right) is crosses and south < top
    assert (right - left) % 360 < 15


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[4, 51, 5, 52]], [4, 51, 5, 52]),
        ([[4, 51, 5, 52], [7, 50, 8, 51]], [4, 50, 8, 52]),
        ([[179, -18, -179, -17]], [179, -18, -179, -17]),
        ([[178, -18, 179.5, -17], [179, -18, -179, -17]], [178, -18, -179, -17]),
        ([[178, -18, 179, -17], [-179, -19, -178, -17]], [178, -19, -178, -17]),
        ([[-10, 0, 10, 1], [100, 0, 110, 1]], [-10, 0, 110, 1]),
        ([[-180, -1, 180, 1]], [-180, -1, 180, 1]),
        ([[-170, 0, 10, 1], [0, 0, 170, 1], [160, 0, -160, 1]], [-180, 0, 180, 1]),
    ],
)
def test_boxes_around_boxes(boxes, expected):
    assert around(boxes) == pytest.approx(expected)

"""Vector tiles against an independent decoder."""

from __future__ import annotations

import itertools

import mapbox_vector_tile
import numpy as np
import pyarrow as pa
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.look.mercator import bounds_of_map_tile as tile_box
from hpckit.serve.viewer.vectortile import EXTENT, buffered, encode_polygons
from hpckit.serve.viewer.zonetiles import COUNTS, LAYER, zone_tile
from hpckit.serve.zonemap import ZoneMap, _boxes

TILE = (12, 2105, 1368)
BOX = tile_box(*TILE)
EDGE = BOX[2] - BOX[0]


def decoded(data: bytes) -> dict:
    return mapbox_vector_tile.decode(data, default_options={"y_coord_down": True}) if data else {}


def in_units(shape: shapely.Geometry, box=BOX) -> shapely.Geometry:
    edge = box[2] - box[0]
    return shapely.transform(
        shape, lambda c: np.stack([(c[:, 0] - box[0]) / edge * EXTENT, (box[3] - c[:, 1]) / edge * EXTENT], axis=1)
    )


def test_a_tile_is_where_web_maps_have_it():
    assert tile_box(0, 0, 0) == pytest.approx((-20037508.34, -20037508.34, 20037508.34, 20037508.34), abs=0.01)
    to_degrees = pyproj.Transformer.from_crs(3857, 4326, always_xy=True)
    # The tile 8/131/84 has its north-western corner at 4.21875 E, 52.48278 N (independent: the slippy-map formula).
    lon, lat = to_degrees.transform(*[tile_box(8, 131, 84)[k] for k in (0, 3)])
    assert lon == pytest.approx(131 / 256 * 360 - 180)
    assert lat == pytest.approx(np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * 84 / 256)))))


shape = st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2), st.floats(0.002, 0.6), st.integers(3, 9), st.booleans())


@given(shapes=st.lists(shape, min_size=1, max_size=12), names=st.lists(st.text(max_size=6), min_size=12, max_size=12))
def test_shapes_come_back_to_half_a_unit(shapes, names):
    made = []
    for x, y, radius, corners, holed in shapes:
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius * EDGE
        center = (BOX[0] + x * EDGE, BOX[1] + y * EDGE)
        made.append(shapely.Polygon(ring + center, [ring[::-1] / 2 + center] if holed else None))
    values = [None if k % 3 == 2 else k for k in range(len(made))]
    floats = [k / 7 for k in range(len(made))]
    tile = encode_polygons("z", BOX, np.array(made, object), {"name": names, "n": values, "f": floats})
    found = decoded(tile).get("z", {"features": []})
    back = {feature["id"] - 1: feature for feature in found["features"]}
    if back:
        assert (found["extent"], found["version"]) == (EXTENT, 2)
    for number, one in enumerate(made):
        wanted = in_units(shapely.clip_by_rect(one, *buffered(BOX)))
        if number not in back:
            assert wanted.area < 40, "only what is too small to see is left out"
            continue
        got = shapely.geometry.shape(back[number]["geometry"])
        # Corners are rounded to whole units: the area may change by half a unit along the outline.
        assert abs(got.area - wanted.area) <= 0.8 * wanted.length + 4
        assert shapely.hausdorff_distance(got.boundary, wanted.boundary) < 3
        properties = {"name": names[number], "n": values[number], "f": floats[number]}
        assert back[number]["properties"] == {key: value for key, value in properties.items() if value is not None}


def test_rings_turn_as_the_format_asks():
    """Outer rings have a positive area by the surveyor's formula in tile units (y down), holes a negative one."""
    box = shapely.box(BOX[0] + EDGE * 0.2, BOX[1] + EDGE * 0.2, BOX[0] + EDGE * 0.8, BOX[1] + EDGE * 0.8)
    holed = shapely.difference(box, shapely.buffer(shapely.centroid(box), EDGE * 0.1))
    for one in (holed, shapely.reverse(holed)):
        tile = decoded(encode_polygons("z", BOX, np.array([one]), {}))
        (feature,) = tile["z"]["features"]
        rings = feature["geometry"]["coordinates"]
        areas = [sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(r)) for r in rings]
        assert areas[0] > 0 > areas[1]


def zones(count: int, size: float, label: str = "maize") -> ZoneMap:
    side = int(np.ceil(count**0.5))
    rows, columns = np.divmod(np.arange(count), side)
    west = 600_000 + columns * size * 1.2
    south = 5_690_000 + rows * size * 1.2
    shapes = shapely.box(west, south, west + size, south + size)
    wkb, crs = pa.array(shapely.to_wkb(shapes)), pyproj.CRS(32631).to_wkt()
    return ZoneMap(
        "r", pa.array([f"z{k}" for k in range(count)]), wkb, crs, _boxes(wkb, crs), np.full(count, label, object)
    )


def covering(zone_map: ZoneMap, z: int) -> list[tuple[int, int, int]]:
    west, south = zone_map.boxes[:, :2].min(axis=0)
    east, north = zone_map.boxes[:, 2:].max(axis=0)
    edge = 2 * 20037508.342789244 / 2**z
    xs = range(int((west + 20037508.34) // edge), int((east + 20037508.34) // edge) + 1)
    ys = range(int((20037508.34 - north) // edge), int((20037508.34 - south) // edge) + 1)
    return [(z, x, y) for x in xs for y in ys]


@pytest.mark.parametrize("z", [11, 13, 15])
def test_each_zone_is_on_some_tile_with_its_name(z):
    made = zones(400, 90)
    found = set()
    for tile in covering(made, z):
        layer = decoded(zone_tile(made, *tile, {"value": np.arange(400.0)})).get(LAYER, {"features": []})
        for feature in layer["features"]:
            name = feature["properties"]["id"]
            found.add(name)
            assert feature["properties"] == {"id": name, "label": "maize", "value": float(name[1:])}
    assert found == {f"z{k}" for k in range(400)}


@pytest.mark.parametrize("z", [4, 7, 9])
def test_counts_of_zones_too_small_to_see_add_up(z):
    made = zones(3000, 40)
    tiles = [decoded(zone_tile(made, *tile)) for tile in covering(made, z)]
    assert not any(LAYER in tile for tile in tiles)
    counted = [f["properties"]["zones"] for tile in tiles if COUNTS in tile for f in tile[COUNTS]["features"]]
    assert sum(counted) == 3000


def test_a_tile_elsewhere_is_empty():
    assert zone_tile(zones(5, 90), 14, 0, 0) == b""

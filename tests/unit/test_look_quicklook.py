from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from matplotlib.collections import LineCollection

from hpckit.errors import CubeError
from hpckit.look.mapframe import outlines
from hpckit.look.pixels import PictureExtent, Snapshot
from hpckit.look.quicklook import Composition, compose, draw_index, draw_rgb
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.zones import ZoneLayer

pytestmark = pytest.mark.slow

WEST, NORTH = 500_000.0, 5_700_000.0
NDVI = SENTINEL2.pictures.index
EXTENT = PictureExtent(32631, WEST, NORTH, 10, (80, 100))
MADE = {
    "id": "GS2A_20240501T105031_046000",
    "time": "2024-05-01T10:50:31+00:00",
    "platform": "S2A",
    "relative_orbit": 51,
    "processing_baseline": "05.09",
    "products": [],
}


def snapshot(*, classes: np.ndarray | None = None, **layers: np.ndarray) -> Snapshot:
    return Snapshot(
        "31UFU", EXTENT, MADE, {name: v.astype(np.float32) for name, v in layers.items()}, classes, SENTINEL2
    )


def ramp(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, 8000).reshape(80, 100)


def zone_layer(shapes: list[shapely.Geometry], epsg: int = 32631) -> ZoneLayer:
    geometries = np.empty(len(shapes), dtype=object)
    geometries[:] = shapes
    return ZoneLayer(tuple(f"z{n}" for n in range(len(shapes))), geometries, pyproj.CRS(epsg).to_wkt())


def shown_image(picture):
    return picture.figure.axes[0].get_images()[0]


def square(x: float, y: float, edge: float = 100) -> shapely.Geometry:
    return shapely.MultiPolygon([shapely.box(WEST + x, NORTH - y - edge, WEST + x + edge, NORTH - y)])


@pytest.mark.parametrize("epsg", [32631, 32632, 4326, 3035])
def test_outlines_lie_where_the_zones_are(epsg):
    inside, outside = square(100, 200), square(5000, 5000)
    crossing = square(950, 0)
    away = pyproj.Transformer.from_crs(32631, epsg, always_xy=True)
    moved = [
        shapely.transform(shape, lambda xy: np.column_stack(away.transform(xy[:, 0], xy[:, 1])))
        for shape in (inside, outside, crossing)
    ]
    rings, labels = outlines(zone_layer(moved, epsg), EXTENT)
    assert [name for name, _, _ in labels] == ["z0", "z2"]
    np.testing.assert_allclose(
        [ring.min(0) for ring in rings], [(WEST + 100, NORTH - 300), (WEST + 950, NORTH - 100)], atol=0.01
    )
    assert shapely.contains_xy(inside, *labels[0][1:])


@pytest.mark.parametrize("epsg", [32631, 4326, 3035])
def test_long_edges_are_drawn_where_they_are(epsg):
    """A zone of 60 km and more, whose northern edge crosses the picture."""
    middle = pyproj.Transformer.from_crs(32631, epsg, always_xy=True).transform(WEST + 500, NORTH - 500)
    wide, high = (0.6, 0.5) if epsg == 4326 else (60_000, 50_000)
    zone = shapely.box(middle[0] - wide, middle[1] - high, middle[0] + wide, middle[1])
    ((ring,), _) = outlines(zone_layer([shapely.MultiPolygon([zone])], epsg), EXTENT)
    back = pyproj.Transformer.from_crs(32631, epsg, always_xy=True)
    drawn = shapely.segmentize(shapely.LineString(ring), 100)
    moved = shapely.transform(drawn, lambda xy: np.column_stack(back.transform(xy[:, 0], xy[:, 1])))
    off = shapely.distance(shapely.points(shapely.get_coordinates(moved)), zone.exterior).max()
    assert off < (0.2 / 60_000 if epsg == 4326 else 0.2)


def test_outlines_have_all_rings_of_multipolygons_with_holes():
    hole = shapely.box(WEST + 300, NORTH - 400, WEST + 500, NORTH - 200)
    whole = shapely.box(WEST + 200, NORTH - 500, WEST + 600, NORTH - 100)
    shape = shapely.MultiPolygon([whole.difference(hole), shapely.box(WEST, NORTH - 50, WEST + 50, NORTH)])
    rings, labels = outlines(zone_layer([shape]), EXTENT)
    assert sorted(shapely.Polygon(ring).area for ring in rings) == [2500, 40_000, 160_000]
    assert len(labels) == 1


def test_zones_far_away_are_no_fault():
    antipodes = shapely.MultiPolygon([shapely.box(-177, -52, -176, -51)])
    assert outlines(zone_layer([antipodes], 4326), EXTENT) == ([], [])


def test_rgb_maps_reflectance_to_the_same_colours_on_every_date():
    layers = {"B04": ramp(0, 0.3), "B03": np.full((80, 100), 0.15), "B02": np.full((80, 100), 0.6)}
    image = np.asarray(shown_image(draw_rgb(snapshot(**layers), ["B04", "B03", "B02"])).get_array())
    assert image.shape == (80, 100, 4)
    np.testing.assert_allclose(image[0, 0, 0], 0)
    np.testing.assert_allclose(image[-1, -1, 0], 1)
    assert np.ptp(image[:, :, 1]) == 0
    assert (image[:, :, 2] == 1).all()


def test_nodata_is_transparent_over_hatching():
    layers = {band: ramp(0, 0.3) for band in ("B04", "B03", "B02")}
    layers["B03"][:20] = np.nan
    picture = draw_rgb(snapshot(**layers), ["B04", "B03", "B02"])
    alpha = np.asarray(shown_image(picture).get_array())[:, :, 3]
    assert (alpha[:20] == 0).all()
    assert (alpha[20:] == 1).all()
    assert picture.figure.axes[0].patch.get_hatch()
    assert "75 % covered" in picture.figure.texts[1].get_text()


def test_date_without_any_data_can_be_drawn():
    layers = {band: np.full((80, 100), np.nan) for band in ("B08", "B03", "B02")}
    assert draw_rgb(snapshot(**layers), ["B08", "B03", "B02"], stretch="percentile").png
    assert draw_index(snapshot(B08=layers["B08"], B04=layers["B08"]), "NDVI", NDVI).png
    assert draw_index(snapshot(B08=layers["B08"]), "B08", "B08").png


@pytest.mark.parametrize(("stretch", "low", "high"), [("fixed", 0.0, 0.3), ("percentile", 0.102, 0.198)])
def test_stretch_is_told(stretch, low, high):
    layers = {band: ramp(0.1, 0.2) for band in ("B04", "B03", "B02")}
    text = draw_rgb(snapshot(**layers), ["B04", "B03", "B02"], stretch=stretch).figure.texts[1].get_text()
    assert f"reflectance {low:.2g} to {high:.2g}" in text


def test_index_is_evaluated_and_has_a_colour_bar():
    picture = draw_index(snapshot(B08=np.full((80, 100), 0.6), B04=ramp(0.2, 0.2)), "NDVI", NDVI)
    image = shown_image(picture)
    np.testing.assert_allclose(image.get_array(), 0.5, atol=1e-6)
    assert image.get_clim() == (-0.3, 1.0)
    assert len(picture.figure.axes) == 2


def test_ndvi_reads_in_grey_too():
    image = shown_image(draw_index(snapshot(B08=ramp(0.1, 0.6), B04=ramp(0.1, 0.05)), "NDVI", NDVI))
    colours = image.cmap(image.norm(np.linspace(0, 1, 50)))[:, :3]
    lightness = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) <= 0).all()


@pytest.mark.parametrize(
    ("values", "symmetric"), [(ramp(-0.8, 0.4), True), (ramp(0.1, 0.4), False), (np.full((80, 100), 0.2), False)]
)
def test_other_indices_choose_their_range(values, symmetric):
    low, high = shown_image(draw_index(snapshot(B08=values), "X", "B08")).get_clim()
    assert low < high
    assert (low == -high) == symmetric


def test_division_by_zero_is_nodata():
    picture = draw_index(snapshot(B08=np.zeros((80, 100)), B04=np.zeros((80, 100))), "NDVI", NDVI)
    assert "0 % covered" in picture.figure.texts[1].get_text()


def test_zones_are_outlined_and_few_are_labelled():
    layers = {band: ramp(0, 0.3) for band in ("B04", "B03", "B02")}
    few = draw_rgb(snapshot(**layers), list(layers), zones=zone_layer([square(100 * n, 100) for n in range(5)]))
    axes = few.figure.axes[0]
    assert {len(c.get_segments()) for c in axes.collections if isinstance(c, LineCollection)} == {5}
    assert {"z0", "z4"} <= {text.get_text() for text in axes.texts}
    many = draw_rgb(snapshot(**layers), list(layers), zones=zone_layer([square(10 * n, 100) for n in range(50)]))
    assert "z0" not in {text.get_text() for text in many.figure.axes[0].texts}


def test_clouds_are_outlined_and_said_to_be():
    classes = np.full((80, 100), 4, np.uint8)
    layers = {band: ramp(0, 0.3) for band in ("B04", "B03", "B02")}
    clear = draw_rgb(snapshot(classes=classes, **layers), list(layers))
    classes = classes.copy()
    classes[30:50, 30:50] = 9
    cloudy = draw_rgb(snapshot(classes=classes, **layers), list(layers))
    assert len(cloudy.figure.axes[0].collections) > len(clear.figure.axes[0].collections)
    assert "dashed: clouds" in cloudy.figure.texts[2].get_text()


def test_map_is_north_up_in_metres_with_a_round_scale_bar():
    picture = draw_rgb(snapshot(**{band: ramp(0, 0.3) for band in ("B04", "B03", "B02")}), ["B04", "B03", "B02"])
    axes = picture.figure.axes[0]
    assert axes.get_xlim() == (WEST, WEST + 1000)
    assert axes.get_ylim() == (NORTH - 800, NORTH)
    assert shown_image(picture).get_extent() == [WEST, WEST + 1000, NORTH - 800, NORTH]
    bar = axes.get_lines()[-1].get_xdata()
    assert bar[1] - bar[0] == 200
    assert "200 m" in {text.get_text() for text in axes.texts}
    assert "EPSG:32631" in axes.get_xlabel()
    texts = [text.get_text() for text in picture.figure.texts]
    assert texts[0] == "True colour · 1 May 2024"
    assert "tile 31UFU · 10:50 UTC" in texts[1]
    assert "S2A · orbit 051 · baseline 05.09 · 10 m pixels" in texts[2]


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3)])
def test_odd_shapes(shape):
    values = np.full(shape, 0.2, np.float32)
    odd = Snapshot("31UFU", PictureExtent(32631, WEST, NORTH, 10, shape), MADE, {"B08": values}, None, SENTINEL2)
    assert draw_index(odd, "B08", "B08").png


HELD = [
    SENTINEL2.parse("B02@10m"),
    SENTINEL2.parse("B03@10m"),
    SENTINEL2.parse("B04@10m"),
    SENTINEL2.parse("B08@10m"),
    SENTINEL2.parse("SCL@20m"),
]
EVI = "2.5 * (B08 - B04) / (B08 + 6 * B04 - 7.5 * B02 + 1)"


@pytest.mark.parametrize(
    ("held", "rgb", "index", "chosen"),
    [
        (HELD, None, None, Composition(("B04", "B03", "B02"))),
        (HELD[2:], None, None, Composition(("B04", "B08"), "NDVI", NDVI)),
        (HELD, ["B08", "B04", "B03"], None, Composition(("B08", "B04", "B03"))),
        (HELD, None, "ndvi", Composition(("B04", "B08"), "NDVI", NDVI)),
        (HELD, None, "evi", Composition(("B02", "B04", "B08"), "EVI", EVI)),
        (HELD, None, "b08", Composition(("B08",), "B08", "B08")),
        (HELD, None, "B11@60m", Composition(("B11@60M",), "B11@60M", "B11")),
    ],
)
def test_compositions(held, rgb, index, chosen):
    assert compose(SENTINEL2, held, {"EVI": EVI}, rgb, index) == chosen


@pytest.mark.parametrize(
    ("held", "band"),
    [
        ([SENTINEL2.parse("B11@20m"), SENTINEL2.parse("SCL@20m")], "B11"),
        ([SENTINEL2.parse("B02@10m"), SENTINEL2.parse("B08@10m")], "B02"),
        ([SENTINEL2.parse("B8A@20m"), SENTINEL2.parse("B05@20m")], "B8A"),
        ([SENTINEL2.parse("SCL@20m"), SENTINEL2.parse("B03@10m"), SENTINEL2.parse("B04@20m")], "B04"),
    ],
)
def test_cube_without_colour_and_ndvi_shows_a_band_in_grey(held, band):
    shown = compose(SENTINEL2, held, {"EVI": EVI})
    assert shown == Composition((band,), band, band)
    image = shown_image(draw_index(snapshot(**{band: ramp(0.1, 0.4)}), band, band))
    assert image.cmap.name == "gray"


@pytest.mark.parametrize("text", ["(B8A - B11) / (B8A + B11)", "(B8A@20m - B11@20m) / (B8A@20m + B11@20m)"])
def test_index_of_the_campaign_goes_before_a_band(text):
    held = [SENTINEL2.parse("B8A@20m"), SENTINEL2.parse("B11@20m"), SENTINEL2.parse("SCL@20m")]
    assert compose(SENTINEL2, held, {"EVI": EVI, "NDMI": text}).index == "NDMI"


def test_cube_of_classes_has_a_picture_of_classes():
    shown = compose(SENTINEL2, [SENTINEL2.parse("SCL@20m")], {})
    assert shown.bands == ("SCL",) and shown.classes(SENTINEL2) is SENTINEL2.bands["SCL"]


def test_campaign_may_define_ndvi_otherwise():
    own = "(B8A - B04) / (B8A + B04)"
    assert compose(SENTINEL2, HELD, {"NDVI": own}, index="NDVI").expression == own


@pytest.mark.parametrize(
    ("rgb", "index", "message"),
    [
        (["B04", "B03"], None, "needs three bands"),
        (None, "EVI2", "no index 'EVI2'"),
        (["B04", "SCL", "B02"], None, "SCL holds classes"),
    ],
)
def test_impossible_compositions(rgb, index, message):
    with pytest.raises(CubeError, match=message):
        compose(SENTINEL2, HELD, {"EVI": EVI}, rgb, index)

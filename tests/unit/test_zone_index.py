"""The zone index against rasterio (centres) and exactextract (fractions)."""

from __future__ import annotations

import warnings
from pathlib import Path

import exactextract
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from exactextract.raster import NumPyRasterSource
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.errors import ZoneError
from hpckit.reduce.signatures.index import ZoneIndex, build_index, gather

SHAPE = (24, 30)
TRANSFORM = Affine(10, 0, 600000, 0, -10, 5300040)
EAST, SOUTH = 600000 + 300, 5300040 - 240

# Half-pixel steps put vertices and edges on pixel centres and borders, where rules differ.
lattice = st.builds(lambda x, y: (600000 + 5.0 * x, 5300040 - 5.0 * y), st.integers(-6, 66), st.integers(-6, 54))
anywhere = st.tuples(st.floats(600000 - 40, EAST + 40), st.floats(SOUTH - 40, 5300040 + 40))


def polygon(points: list[tuple[float, float]]) -> shapely.Geometry | None:
    shape = shapely.make_valid(shapely.Polygon(points)) if len(points) > 2 else None
    if shape is None:
        return None
    parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon" and p.area > 0]
    return shapely.MultiPolygon(parts) if parts else None


polygons = (
    st.one_of(st.lists(lattice, min_size=3, max_size=9), st.lists(anywhere, min_size=3, max_size=9))
    .map(polygon)
    .filter(lambda shape: shape is not None and shape.is_valid)
)


def index_of(shapes, coverage="centre", shape=SHAPE, transform=TRANSFORM) -> ZoneIndex:
    return build_index(
        np.array(shapes, dtype=object), np.arange(len(shapes), dtype=np.int32), transform, shape, coverage
    )


def burned(shape, size=SHAPE, transform=TRANSFORM) -> np.ndarray:
    mask = rasterio.features.rasterize([(shape, 1)], out_shape=size, transform=transform, dtype="uint8")
    return np.flatnonzero(mask)


def coverage_of(shape, size=SHAPE, transform=TRANSFORM) -> np.ndarray:
    source = NumPyRasterSource(
        np.zeros(size),
        xmin=transform.c,
        ymax=transform.f,
        xmax=transform.c + size[1] * transform.a,
        ymin=transform.f + size[0] * transform.e,
    )
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (result,) = exactextract.exact_extract(source, [feature], ["cell_id", "coverage"], output="geojson")
    covered = np.zeros(size[0] * size[1])
    covered[result["properties"]["cell_id"]] = result["properties"]["coverage"]
    return covered


@settings(max_examples=300)
@given(st.lists(polygons, min_size=1, max_size=4))
def test_centre_mode_burns_what_rasterio_burns(shapes):
    index = index_of(shapes)
    for number, shape in enumerate(shapes):
        pixels = index.pixels[index.offsets[number] : index.offsets[number + 1]]
        assert pixels.tolist() == burned(shape).tolist()


def test_the_orientation_of_a_ring_decides_on_edges_along_centres_as_in_gdal():
    ring = [(600005.0, 5300035.0), (600095.0, 5300035.0), (600095.0, 5299985.0), (600005.0, 5299985.0)]
    for points in (ring, ring[::-1]):
        shape = shapely.Polygon(points)
        assert index_of([shape]).pixels.tolist() == burned(shape).tolist()


def fractions_of(shape) -> np.ndarray:
    index = index_of([shape], "fraction")
    covered = np.zeros(SHAPE[0] * SHAPE[1])
    covered[index.pixels] = index.weights
    return covered


@settings(max_examples=200)
@given(polygons)
def test_fractions_are_the_areas_of_the_intersections(shape):
    rows, columns = np.divmod(np.arange(SHAPE[0] * SHAPE[1]), SHAPE[1])
    west, north = 600000 + 10 * columns, 5300040 - 10 * rows
    pixels = shapely.box(west, north - 10, west + 10, north)
    expected = shapely.area(shapely.intersection(shape, pixels)) / 100
    np.testing.assert_allclose(fractions_of(shape), expected, atol=2e-6)


@settings(max_examples=100)
@given(st.integers(0, 2**31), st.integers(3, 12), st.floats(3, 110))
def test_fractions_are_those_of_exactextract(seed, corners, radius):
    # Well-behaved shapes within the raster: of degenerate ones, or with edges along pixel borders, exactextract 0.3
    # takes some for more than they are, and of some it does not come back.
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    reach = radius * random.uniform(0.4, 1, corners)
    points = np.column_stack([600150 + reach * np.cos(angles), 5299920 + reach * np.sin(angles)])
    shape = shapely.Polygon(points)
    if shape.is_valid and shape.area > 1:
        np.testing.assert_allclose(fractions_of(shape), coverage_of(shape), atol=2e-6)


@given(st.lists(polygons, min_size=1, max_size=4))
def test_covered_area_and_area_outside_add_up_to_the_zone(shapes):
    index = index_of(shapes, "fraction")
    covered = np.add.reduceat(np.append(index.weights, 0.0).astype(float), index.offsets[:-1])
    covered[np.diff(index.offsets) == 0] = 0
    expected = shapely.area(np.array(shapes)) / 100
    np.testing.assert_allclose(covered + index.outside, expected, rtol=1e-5, atol=1e-4)


def test_holes_are_left_out_whatever_their_direction():
    outer = [(600000, 5300040), (600200, 5300040), (600200, 5299840), (600000, 5299840)]
    inner = [(600050, 5299990), (600100, 5299990), (600100, 5299940), (600050, 5299940)]
    for hole in (inner, inner[::-1]):
        shape = shapely.Polygon(outer, [hole])
        assert index_of([shape]).pixels.tolist() == burned(shape).tolist()
        assert index_of([shape], "fraction").weights.sum() == pytest.approx(400 - 25)


def test_a_sliver_keeps_its_place_without_a_pixel():
    sliver = shapely.box(600001, 5300001, 600002, 5300002)
    index = index_of([shapely.box(600000, 5300000, 600040, 5300040), sliver])
    assert len(index) == 2 and np.diff(index.offsets).tolist() == [16, 0]
    assert index_of([sliver], "fraction").weights.tolist() == pytest.approx([0.01])


def test_a_zone_beyond_the_raster_has_no_pixels_and_all_its_area_outside():
    index = index_of([shapely.box(0, 0, 100, 100), shapely.box(599950, 5299990, 600050, 5300090)])
    assert np.diff(index.offsets).tolist() == [0, 25]
    assert index.outside.tolist() == [100.0, 75.0]


def test_large_zones_in_strips():
    shape, transform = (3000, 2500), Affine(10, 0, 600000, 0, -10, 5300040)
    circle = shapely.Point(612000, 5286000).buffer(11000)
    index = index_of([circle], "fraction", shape, transform)
    np.testing.assert_allclose(index.weights.astype(float).sum(), circle.area / 100, rtol=1e-6)
    assert index_of([circle], "centre", shape, transform).pixels.tolist() == burned(circle, shape, transform).tolist()


@given(st.lists(polygons, min_size=1, max_size=6), st.data())
def test_a_subset_has_the_pixels_of_its_zones(shapes, data):
    whole = index_of(shapes, "fraction")
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(shapes) - 1)))), dtype=np.int32)
    part = whole.subset(rows)
    alone = index_of([shapes[row] for row in rows], "fraction") if len(rows) else None
    assert part.zones.tolist() == rows.tolist()
    if alone is not None:
        assert part.pixels.tolist() == alone.pixels.tolist()
        assert part.weights.tolist() == alone.weights.tolist()


@given(st.lists(polygons, min_size=1, max_size=4))
def test_windows_are_those_with_a_pixel(shapes):
    index = index_of(shapes)
    expected = np.zeros((3, 4), dtype=bool)
    for pixel in index.pixels.tolist():
        expected[pixel // 30 // 8, pixel % 30 // 8] = True
    assert (index.windows(8) == expected).all()


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0, 3.0, 6.0])
def test_gather_takes_the_pixel_that_holds_the_centre(ratio):
    index = index_of([shapely.box(600000, SOUTH, EAST, 5300040)])
    edge = 10 * ratio
    rows, columns = int(np.ceil(240 / edge)), int(np.ceil(300 / edge))
    plane = np.arange(rows * columns, dtype=np.uint16).reshape(rows, columns)
    values = gather(plane, index, ratio)
    centres = [((pixel // 30 + 0.5) * 10, (pixel % 30 + 0.5) * 10) for pixel in index.pixels.tolist()]
    assert values.tolist() == [plane[int(y // edge), int(x // edge)] for y, x in centres]


def test_saving_and_loading(tmp_path: Path):
    for coverage in ("centre", "fraction"):
        saved = index_of([shapely.box(599950, 5299990, 600050, 5300090)], coverage)
        saved.save(tmp_path / "index.npz")
        loaded = ZoneIndex.load(tmp_path / "index.npz")
        assert loaded.shape == saved.shape
        assert loaded.pixels.tolist() == saved.pixels.tolist() and loaded.outside.tolist() == saved.outside.tolist()
        assert (loaded.weights is None) == (coverage == "centre")
    (tmp_path / "index.npz").write_bytes((tmp_path / "index.npz").read_bytes()[:300])
    with pytest.raises(ZoneError, match="damaged"):
        ZoneIndex.load(tmp_path / "index.npz")


def test_a_raster_that_is_not_north_up_is_refused():
    with pytest.raises(ZoneError, match="north up"):
        index_of([shapely.box(0, 0, 1, 1)], transform=Affine(10, 1, 0, 0, -10, 0))

"""Real parcels and real pixels: zone layers of several countries, and signatures of a real stack."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import rasterstats
import shapely
from affine import Affine

from hpckit.reduce.kernels import cpu
from hpckit.reduce.signatures.index import ZoneIndex, build_index, gather
from hpckit.space.zones import load_zones, read_zones, write_zones

pytestmark = [pytest.mark.integration, pytest.mark.realdata]

FIBOA = "parcels-fiboa-cli-samples/convert"
LAYERS = [
    (f"{FIBOA}/nl/brpgewaspercelen_definitief_2023.gpkg", "id", None),
    (f"{FIBOA}/ec_si/SI_2021.zip", "ID", None),
    (f"{FIBOA}/at/inspire_schlaege_2025-1_polygon.gpkg.zip", "fid", None),
    (f"{FIBOA}/de_sh/Feldbloecke_2026_GPKG.zip", "FLIK", None),
    (f"{FIBOA}/de_fusion/de_test_2019.geojson", "fid", None),
    (f"{FIBOA}/es_cat/Cultius_DUN2023_GPKG.zip", "fid", None),
    (f"{FIBOA}/pt/Continente.gpkg", "CUL_ID", "Culturas_Aveiro"),
    (f"{FIBOA}/lv/1_100.xml", "PARCEL_ID", None),
    (f"{FIBOA}/us_ca_scm/i15_crop_mapping_2023_provisional_20241127.gdb.zip", "UniqueID", None),
    ("s1s2-worldcereal-training-patches/DERIVED_parcels_from_OUTPUT_CT.gpkg", "fid", "epsg32631"),
]
PERCENTILES = np.array([25.0, 50.0, 75.0])
STACK = "s2-openeo-zarr-sample/data/stac/S2_L2A_sample.zarr"


@pytest.mark.filterwarnings("ignore:.*geometry types are not supported")
@pytest.mark.filterwarnings("ignore:More than one layer found")
@pytest.mark.parametrize(("name", "field", "layer"), LAYERS)
def test_parcels_of_many_countries(shared_data, tmp_path, name, field, layer):
    import geopandas

    path = shared_data / name
    frame = geopandas.read_file(path, layer=layer) if layer else geopandas.read_file(path)
    zones = read_zones(path, field, layer)
    assert len(zones) + len(zones.dropped) == len(frame)
    assert shapely.is_valid(zones.geometries).all() and not shapely.has_z(zones.geometries).any()
    sound = frame.geometry.is_valid & ~frame.geometry.is_empty
    assert len(zones.repaired) == (~sound & frame.geometry.notna()).sum() - len(zones.dropped)
    if not zones.repaired and not zones.dropped:
        np.testing.assert_allclose(
            shapely.area(zones.geometries), shapely.area(frame.geometry.to_numpy()), rtol=1e-12
        )
    write_zones(tmp_path / "zones.parquet", zones)
    assert load_zones(tmp_path / "zones.parquet").digest == zones.digest


@cache
def crop_fields(folder: Path) -> np.ndarray:
    """Some 4,000 parcels in UTM zone 31."""
    import geopandas

    path = folder / "parcels-nl-carpentries/data/crop_fields/cf_boundary_crop.shp"
    frame = geopandas.read_file(path).to_crs(32631)
    return np.asarray(shapely.make_valid(frame.geometry.to_numpy()))


def polygonal(shapes: np.ndarray) -> np.ndarray:
    return shapes[np.isin(shapely.get_type_id(shapes), (3, 6))]


def raster_of(shapes: np.ndarray, edge: float) -> tuple[Affine, tuple[int, int]]:
    """Transform and shape of a raster over all but the outermost 500 m of the zones."""
    west, south, east, north = shapely.total_bounds(shapes)
    west, south, east, north = west + 500, south + 500, east - 500, north - 500
    west, north = np.floor(west / 60) * 60, np.ceil(north / 60) * 60
    return Affine(edge, 0, west, 0, -edge, north), (int((north - south) // edge), int((east - west) // edge))


@pytest.mark.parametrize("edge", [10.0, 20.0, 60.0])
def test_centres_of_real_parcels_are_those_that_rasterio_burns(shared_data, edge):
    shapes = polygonal(crop_fields(shared_data))
    transform, shape = raster_of(shapes, edge)
    index = build_index(shapes, np.arange(len(shapes), dtype=np.int32), transform, shape, "centre")
    for zone, geometry in enumerate(shapes):
        window, corner, size = window_of(geometry, transform, shape)
        found = index.pixels[index.offsets[zone] : index.offsets[zone + 1]]
        if min(size) < 1:
            assert len(found) == 0
            continue
        burned = rasterio.features.rasterize([(geometry, 1)], out_shape=size, transform=window, dtype="uint8")
        rows, columns = np.nonzero(burned)
        assert found.tolist() == ((rows + corner[0]) * shape[1] + columns + corner[1]).tolist()


def window_of(geometry, transform: Affine, shape: tuple[int, int]):
    """Transform, first row and column, and size of the part of a raster that a zone may touch."""
    west, south, east, north = geometry.bounds
    top = max(0, int((transform.f - north) // -transform.e) - 1)
    left = max(0, int((west - transform.c) // transform.a) - 1)
    bottom = min(shape[0], int((transform.f - south) // -transform.e) + 2)
    right = min(shape[1], int((east - transform.c) // transform.a) + 2)
    return transform @ Affine.translation(left, top), (top, left), (bottom - top, right - left)


def test_fractions_of_real_parcels_add_up_to_their_area(shared_data):
    shapes = polygonal(crop_fields(shared_data))
    transform, shape = raster_of(shapes, 10.0)
    index = build_index(shapes, np.arange(len(shapes), dtype=np.int32), transform, shape, "fraction")
    covered = np.zeros(len(shapes))
    np.add.at(covered, np.repeat(np.arange(len(shapes)), np.diff(index.offsets)), index.weights.astype(float))
    assert (index.outside > 0).any()
    np.testing.assert_allclose(covered + index.outside, shapely.area(shapes) / 100, rtol=1e-5, atol=1e-4)


@cache
def stack(folder: Path) -> tuple[dict[str, np.ndarray], Affine]:
    """Bands of a real series of 12 dates as stored integers (0 is nodata), and the transform."""
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(folder / STACK, mode="r")
        bands = {name: np.nan_to_num(group[name][:]).clip(0, 65535).astype(np.uint16) for name in ("B04", "B08")}
        bands["SCL"] = np.nan_to_num(group["SCL"][:]).astype(np.uint8)
        west, north = float(group["x"][0]) - 5, float(group["y"][0]) + 5
    return bands, Affine(10, 0, west, 0, -10, north)


def fields(transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """Irregular fields over a raster, some of them overlapping, some beyond its border."""
    random = np.random.default_rng(4)
    shapes = []
    for _ in range(120):
        x = transform.c + random.uniform(-50, shape[1] * 10 + 50)
        y = transform.f - random.uniform(-50, shape[0] * 10 + 50)
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(5, 20)))
        radius = random.uniform(15, 400) * random.uniform(0.6, 1, len(angles))
        ring = np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])
        shapes.append(shapely.Polygon(ring).buffer(0))
    whole = shapely.box(transform.c, transform.f - shape[0] * 10, transform.c + shape[1] * 10, transform.f)
    return polygonal(np.array([*shapes, whole], dtype=object))


def stack_index(folder: Path, coverage: str) -> tuple[np.ndarray, ZoneIndex]:
    bands, transform = stack(folder)
    shape = bands["B04"].shape[1:]
    shapes = fields(transform, shape)
    return shapes, build_index(shapes, np.arange(len(shapes), dtype=np.int32), transform, shape, coverage)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_centre_signatures_of_a_real_series_are_those_of_rasterstats(shared_data):
    bands, transform = stack(shared_data)
    shapes, index = stack_index(shared_data, "centre")
    names = ["count", "mean", "std", "min", "max", "percentile_25", "percentile_50", "percentile_75"]
    for date in (0, 5, 11):
        plane = bands["B08"][date]
        found = cpu.signatures(plane.ravel(), index.offsets, index.pixels, None, None, 0, PERCENTILES)
        expected = rasterstats.zonal_stats(list(shapes), plane, affine=transform, nodata=0, stats=names)
        for zone, one in enumerate(expected):
            assert found.valid[zone] == one["count"]
            numbers = [np.nan if one[name] is None else float(one[name]) for name in names[1:]]
            np.testing.assert_allclose(found.values[zone], numbers, rtol=1e-9, atol=1e-9)


def test_masks_and_derived_bands_of_a_real_series(shared_data):
    bands, _ = stack(shared_data)
    _, index = stack_index(shared_data, "centre")
    cloudy = np.isin(np.arange(256), (3, 8, 9, 10))
    for date in range(12):
        excluded = cloudy[gather(bands["SCL"][date], index)]
        red, infrared = (gather(bands[name][date], index).astype(np.float32) for name in ("B04", "B08"))
        with np.errstate(invalid="ignore", divide="ignore"):
            ndvi = (infrared - red) / (infrared + red)
        found = cpu.signatures(ndvi, index.offsets, None, None, excluded, None, PERCENTILES)
        for zone in range(len(index)):
            entries = slice(index.offsets[zone], index.offsets[zone + 1])
            values = ndvi[entries][~excluded[entries]].astype(float)
            values = values[~np.isnan(values)]
            assert found.valid[zone] == len(values)
            if len(values):
                expected = (values.mean(), values.std(), *np.percentile(values, [0, 100, 25, 50, 75]))
                np.testing.assert_allclose(found.values[zone], expected, rtol=1e-6, atol=1e-7)


def test_fraction_signatures_of_a_real_series_are_those_of_exactextract(shared_data):
    import exactextract
    from exactextract.raster import NumPyRasterSource

    bands, transform = stack(shared_data)
    plane = bands["B08"][3]
    shapes, index = stack_index(shared_data, "fraction")
    found = cpu.signatures(plane.ravel(), index.offsets, index.pixels, index.weights, None, 0, PERCENTILES)
    rows, columns = plane.shape
    bounds = {"xmin": transform.c, "ymax": transform.f}
    bounds |= {"xmax": transform.c + 10 * columns, "ymin": transform.f - 10 * rows}
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)} for shape in shapes
    ]
    quantiles = [f"quantile_{p:g}" for p in PERCENTILES]
    operations = ["count", "mean", "stdev", "min", "max", *(f"quantile(q={p / 100})" for p in PERCENTILES)]
    names = ["count", "mean", "stdev", "min", "max", *quantiles]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = NumPyRasterSource(plane.astype(float), nodata=0, **bounds)
        results = exactextract.exact_extract(source, features, operations)
    for zone, result in enumerate(results):
        count, *numbers = (result["properties"][name] for name in names)
        assert found.valid[zone] == pytest.approx(count, rel=1e-6, abs=1e-6)
        if found.valid[zone] > 0:
            # Coverage is a float32 on both sides: where a percentile lies between two values far apart, its
            # rounding shows.
            np.testing.assert_allclose(found.values[zone, :4], numbers[:4], rtol=1e-6)
            np.testing.assert_allclose(found.values[zone, 4:], numbers[4:], rtol=3e-6)


def test_class_counts_of_a_real_series(shared_data):
    bands, _ = stack(shared_data)
    _, index = stack_index(shared_data, "centre")
    for plane in bands["SCL"]:
        counts = cpu.histogram(plane.ravel(), index.offsets, index.pixels, None)
        assert (counts.sum(axis=1) == np.diff(index.offsets)).all()
        # The last zone is the whole raster.
        assert counts[-1].tolist() == np.bincount(plane.ravel(), minlength=256).tolist()

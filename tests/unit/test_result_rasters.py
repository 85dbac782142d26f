"""Files of rasters, read back by programs of others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Band, Cube, Dimension, Geometries, Grid
from hpckit.reduce.graphs.formats import arrange, find_format, require_format, write
from hpckit.space.box import Box
from hpckit.testing.graphs import GRID, MemoryResult, X, Y, bands, raster, times

pytestmark = pytest.mark.slow

DAYS = times("2022-06-01T10:50:31Z", "2022-06-03T10:56:21.024Z")
RED_NIR = bands(B04=Band("red", 0.665), B08=Band("nir", 0.842))
TYPES = ("f4", "f8", "i2", "u1", "u2", "i4", "i8", "f2", "?")


def numbers(shape, dtype="f4", seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        found = rng.normal(3, 2, shape).astype(dtype)
        found[rng.random(shape) < 0.2] = np.nan
        return found
    return rng.integers(0, 2 if dtype == "?" else 100, shape).astype(dtype)


def cube(*dims, dtype="f4", grid=GRID, seed=0):
    shape = tuple(len(dim.labels) for dim in dims) + grid.shape
    return raster(numbers(shape, dtype, seed), *dims, grid=grid)


def refused(fault, *words, value, name="GTiff", **options):
    with pytest.raises(GraphError) as caught:
        require_format(name, options, MemoryResult(value).type)
    said = f"{caught.value.message} {caught.value.hint}"
    assert caught.value.fault == fault
    for word in words:
        assert word in said, said


def same(read, written):
    np.testing.assert_array_equal(read, written.astype("u1") if written.dtype == bool else written)


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of few pixels, so that small cubes have many."""
    monkeypatch.setattr(arrange, "EDGES", (4,))


# --- GeoTIFF


def test_geotiff_has_a_file_for_each_date_with_all_bands(tmp_path, small_windows):
    given_cube = cube(DAYS, RED_NIR)
    files = write(MemoryResult(given_cube), "gtiff", {}, tmp_path)
    assert [file.path.name for file in files] == ["openEO_2022-06-01Z.tif", "openEO_2022-06-03Z.tif"]
    for number, file in enumerate(files):
        with rasterio.open(file.path) as source:
            same(source.read(), given_cube.values[number])
            assert source.descriptions == ("B04", "B08")
            assert source.crs == pyproj.CRS("EPSG:32632") and np.isnan(source.nodata)
            assert source.transform == Affine(10, 0, 600000, 0, -10, 5200000)
            assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert source.tags()["TIME"] == DAYS.labels[number]
            valid = given_cube.values[number, 1]
            assert float(source.tags(2)["STATISTICS_MEAN"]) == pytest.approx(np.nanmean(valid.astype("f8")))
        (red, nir), pixels = file.bands, given_cube.values[number].astype("f8")
        assert (red.common_name, nir.wavelength, red.dtype) == ("red", 0.842, "float32")
        for band, values in ((red, pixels[0]), (nir, pixels[1])):
            assert band.statistics.stddev == pytest.approx(np.nanstd(values))
            assert band.statistics.minimum == np.nanmin(values)
            assert band.statistics.valid_percent == pytest.approx(100 * np.isfinite(values).mean())
    assert files[1].start == files[1].end == "2022-06-03T10:56:21.024000Z"
    assert (files[0].epsg, files[0].shape) == (32632, (12, 16))
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        file.path.name for file in files
    ]


def test_geotiff_is_a_valid_cog_with_overviews(tmp_path):
    validate = pytest.importorskip("rio_cogeo").cog_validate
    grid = replace(GRID, rows=1300, columns=1100)
    for dtype in ("f4", "u2"):
        (file,) = write(MemoryResult(cube(RED_NIR, dtype=dtype, grid=grid)), "COG", {}, tmp_path)
        valid, errors, warnings = validate(file.path, strict=True)
        assert valid, (errors, warnings)
        with rasterio.open(file.path) as source:
            assert source.overviews(1) == [2, 4]
    (file,) = write(MemoryResult(cube(RED_NIR, grid=grid)), "GTiff", {"overviews": "OFF"}, tmp_path)
    with rasterio.open(file.path) as source:
        assert source.overviews(1) == []


def test_geotiff_options(tmp_path):
    options = {
        "filename_prefix": "ndvi",
        "separate_asset_per_band": True,
        "bands_metadata": {"B08": {"SCALE": 0.5, "OFFSET": 2, "source": "me"}},
        "file_metadata": {"author": "somebody"},
        "compression": "zstd",
    }
    given_cube = cube(DAYS, RED_NIR)
    files = write(MemoryResult(given_cube), "GTiff", options, tmp_path)
    assert [file.path.name for file in files][:2] == ["ndvi_2022-06-01Z_B04.tif", "ndvi_2022-06-01Z_B08.tif"]
    with rasterio.open(files[3].path) as source:
        same(source.read(1), given_cube.values[1, 1])
        assert source.scales == (0.5,) and source.offsets == (2.0,)
        assert source.tags(1)["source"] == "me" and source.tags()["author"] == "somebody"
        assert source.profile["compress"] == "zstd"


def test_vienna_example_is_a_picture_of_three_months(tmp_path):
    """The bands R, G and B are colours; a cube without time is one file."""
    (file,) = write(MemoryResult(cube(bands(R="", G="", B=""))), "GTiff", {}, tmp_path)
    assert file.path.name == "openEO.tif"
    with rasterio.open(file.path) as source:
        assert [colour.name for colour in source.colorinterp] == ["red", "green", "blue"]


def test_dates_of_one_day_and_labels_that_are_no_dates_have_names_of_their_own(tmp_path):
    labels = times("2022-06-01T10:00:00Z", "2022-06-01T12:00:00Z", "2022-06", "first date/1", "first date:1")
    files = write(MemoryResult(cube(labels)), "GTiff", {}, tmp_path)
    assert [file.path.stem.removeprefix("openEO_") for file in files] == [
        "20220601T100000Z",
        "20220601T120000Z",
        "2022-06",
        "first_date_1",
        "first_date_1-2",
    ]


def test_four_bytes_are_no_colours(tmp_path):
    (file,) = write(MemoryResult(cube(bands(a="", b="", c="", d=""), dtype="u1")), "GTiff", {}, tmp_path)
    with rasterio.open(file.path) as source:
        assert [colour.name for colour in source.colorinterp] == ["gray", "undefined", "undefined", "undefined"]
        assert source.nodata is None


def test_geotiff_refuses_what_it_cannot_hold():
    more = Dimension("quantile", "other", (0.25, 0.5, 0.75))
    refused("FormatUnsuitable", "quantile", "netCDF", value=cube(DAYS, RED_NIR, more))
    refused("FormatUnsuitable", "x and y", value=3.5)
    refused("FormatUnsuitable", "texts", value=raster(np.full((3, 4), "a", object)))
    refused("FormatUnsuitable", "no label along t", value=cube(times()))
    refused("ProcessParameterInvalid", "B8", "B08", value=cube(RED_NIR), bands_metadata={"B8": {}})
    refused("ProcessParameterInvalid", "SCALE", value=cube(RED_NIR), bands_metadata={"B08": {"SCALE": "two"}})
    refused("ProcessParameterInvalid", "filename_prefx", "filename_prefix", value=cube(), filename_prefx="a")
    refused("ProcessParameterInvalid", "letters", value=cube(), filename_prefix="../a")
    refused("ProcessParameterInvalid", "AUTO", value=cube(), overviews="some")
    refused("ProcessParameterInvalid", "boolean", value=cube(), separate_asset_per_band=1)
    refused("FormatUnsuitable", "GTif", "GTiff", value=cube(), name="GTif")


# --- netCDF, by GDAL's own netCDF library everywhere, and by xarray where one of its engines is installed


def opened(path, **options):
    for engine in ("netcdf4", "h5netcdf"):
        try:
            return xr.open_dataset(path, engine=engine, **options)
        except (ValueError, ImportError, ModuleNotFoundError):
            continue
    return pytest.skip("xarray has no engine for netCDF-4 here")


def test_netcdf_is_georeferenced_for_gdal(tmp_path):
    given_cube = cube(DAYS, RED_NIR)
    (file,) = write(MemoryResult(given_cube), "netCDF", {}, tmp_path)
    assert file.path.name == "openEO.nc" and file.start < file.end
    for number, name in enumerate(("B04", "B08")):
        with rasterio.open(f"netcdf:{file.path}:{name}") as source:
            same(source.read(), given_cube.values[:, number])
            assert source.transform.almost_equals(Affine(10, 0, 600000, 0, -10, 5200000))
            assert source.crs.to_epsg() == 32632
            assert np.isnan(source.nodata)


def test_netcdf_as_xarray_reads_it(tmp_path):
    given_cube = cube(DAYS, RED_NIR)
    (file,) = write(MemoryResult(given_cube), "netCDF", {"filename_prefix": "a"}, tmp_path)
    data = opened(file.path)
    assert list(data.data_vars) == ["crs", "B04", "B08"] and data["B08"].dims == ("t", "y", "x")
    same(data["B08"].values, given_cube.values[:, 1])
    assert data["t"].values.astype("M8[ms]").tolist() == [
        np.datetime64("2022-06-01T10:50:31", "ms").item(),
        np.datetime64("2022-06-03T10:56:21.024", "ms").item(),
    ]
    np.testing.assert_array_equal(data["x"], 600005 + 10 * np.arange(16))
    np.testing.assert_array_equal(data["y"], 5199995 - 10 * np.arange(12))
    assert pyproj.CRS.from_wkt(data["crs"].attrs["crs_wkt"]).to_epsg() == 32632
    assert data["B04"].encoding["grid_mapping"] == "crs" if "grid_mapping" in data["B04"].encoding else True


def from_suite(path, dimension="bands"):
    """As openeo-test-suite opens a netCDF file (lib/workflows/io.py)."""
    opened(path).close()
    try:
        return xr.open_dataarray(path)
    except ValueError:
        data = xr.open_dataset(path, decode_coords="all")
        if list(data.data_vars) == ["var"]:
            return data["var"]
        return data.to_dataarray(dim=dimension)


def test_workflows_of_the_test_suite_find_their_dimensions(tmp_path):
    box = {"west": 680000, "east": 680100, "south": 5151500, "north": 5151600}
    grid = Grid("EPSG:32632", box["west"], box["north"], 10, -10, 10, 10)

    def saved(given_cube, name):
        return from_suite(write(MemoryResult(given_cube), "netCDF", {"filename_prefix": name}, tmp_path)[0].path)

    one = saved(cube(times("2022-06-02T10:00:00Z"), bands(B04="red"), grid=grid), "one")
    assert set(one.dims) == {"bands", "t", "y", "x"} and np.prod(one.shape) == 100
    half = abs(float(one["x"][0] - one["x"][1])) / 2
    assert float(one["x"].min()) - half == box["west"] and float(one["x"].max()) + half == box["east"]
    assert float(one["y"].min()) - half == box["south"] and float(one["y"].max()) + half == box["north"]
    assert set(saved(cube(bands(B04="red"), grid=grid), "no_time").dims) == {"bands", "y", "x"}
    reduced = saved(cube(DAYS, grid=grid), "no_bands")
    assert set(reduced.dims) == {"t", "y", "x"}
    renamed = saved(cube(times("first_date"), bands(red="", nir=""), grid=grid), "renamed")
    assert renamed["t"].values == ["first_date"] and renamed["bands"].values.tolist() == ["red", "nir"]
    boolean = saved(cube(DAYS, dtype="?", grid=grid), "boolean")
    assert set(np.unique(boolean)) == {0, 1}


def test_netcdf_has_a_file_for_each_feature_as_jrc_s_parcel_viewer_wants_it(tmp_path):
    """`S2_extract_…_parcelid_ID.nc`, opened by `xr.open_dataset`, whose variable `crs` has `crs_wkt`."""
    onto = pyproj.Transformer.from_crs(32632, 4326, always_xy=True)
    boxes = [
        (600015, 5199915, 600045, 5199985),
        (600101, 5199900, 600119, 5199960),
        (700000, 5000000, 700010, 5000010),
    ]
    shapes = shapely.transform(
        np.array([shapely.box(*bounds) for bounds in boxes]),
        lambda points: np.column_stack(onto.transform(points[:, 0], points[:, 1])),
    )
    features = Geometries(shapes, "EPSG:4326", ("a", "b", "c"), ({"pid": 11}, {"pid": "b/2"}, {"pid": 3}))
    given_cube = replace(cube(DAYS, bands(B04="", NDVI="")), samples=features)
    options = {
        "filename_prefix": "S2_extract_2022-06-01_2022-07-01_parcelid",
        "feature_id_property": "pid",
        "sample_by_feature": True,
    }
    files = write(MemoryResult(given_cube), "netCDF", options, tmp_path)
    assert [file.path.name.rpartition("parcelid_")[2] for file in files] == [
        "11.nc",
        "b_2.nc",
    ]  # the third is elsewhere
    with rasterio.open(f"netcdf:{files[0].path}:NDVI") as source:
        west, south, east, north = source.bounds
        assert west <= 600015 and east >= 600045 and south <= 5199915 and north >= 5199985
        assert source.width <= 5 and source.height <= 9
        row, column = round((5200000 - north) / 10), round((west - 600000) / 10)
        part = given_cube.values[:, 1, row : row + source.height, column : column + source.width]
        same(source.read(), part)
    data = opened(files[0].path)
    assert pyproj.CRS.from_wkt(data["crs"].attrs.get("crs_wkt")).to_epsg() == 32632
    assert len(np.unique(data.t)) == 2 and np.isfinite(np.mean(np.abs(np.diff(data.x.values))))
    refused(
        "ProcessParameterInvalid",
        "PID",
        "pid",
        value=given_cube,
        name="netCDF",
        **{**options, "feature_id_property": "PID"},
    )
    refused("FormatUnsuitable", "filter_spatial", value=cube(DAYS), name="netCDF", sample_by_feature=True)


def test_netcdf_refuses_a_band_that_has_the_name_of_a_dimension():
    for name in ("netCDF", "Zarr"):
        refused("FormatUnsuitable", "'x'", "rename_labels", value=cube(bands(x="", B04="")), name=name)


def test_geographic_grid_has_longitude_and_latitude(tmp_path):
    grid = Grid("EPSG:4326", 10.0, 47.0, 0.1, -0.1, 5, 7)
    (file,) = write(MemoryResult(cube(DAYS, grid=grid)), "netCDF", {}, tmp_path)
    data = opened(file.path)
    assert data["x"].attrs["standard_name"] == "longitude" and data["y"].attrs["units"] == "degrees_north"
    assert file.bbox == pytest.approx((10.0, 46.5, 10.7, 47.0))


# --- Zarr


def test_zarr_as_xarray_reads_it(tmp_path):
    given_cube = cube(DAYS, RED_NIR)
    (file,) = write(MemoryResult(given_cube), "Zarr", {}, tmp_path)
    data = xr.open_zarr(file.path, decode_coords="all")
    assert list(data.data_vars) == ["B04", "B08"] and "crs" in data.coords
    same(data["B04"].values, given_cube.values[:, 0])
    assert data["t"].values[0] == np.datetime64("2022-06-01T10:50:31")
    told = json.loads((file.path / "zarr.json").read_text())
    assert told["attributes"]["proj:code"] == "EPSG:32632" and "consolidated_metadata" in told
    again = cube(DAYS, RED_NIR, seed=1)
    write(MemoryResult(again), "Zarr", {}, tmp_path)
    same(xr.open_zarr(file.path)["B04"].values, again.values[:, 0])
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".hpckit")] == ["openEO.zarr"]


def test_large_windows_are_shards(tmp_path):
    grid = replace(GRID, rows=1500, columns=1100)
    (file,) = write(MemoryResult(cube(bands(a=""), grid=grid, dtype="u1")), "Zarr", {}, tmp_path)
    assert len([path for path in (file.path / "a").rglob("*") if path.is_file()]) == 2
    assert xr.open_zarr(file.path)["a"].shape == (1500, 1100)


# --- PNG


def test_png_is_rounded_and_null_is_transparent(tmp_path):
    values = np.array([[[0.4, 254.6, 300.0, np.nan]]] * 3, "f4")
    (file,) = write(MemoryResult(raster(values, bands(R="", G="", B=""))), "PNG", {}, tmp_path)
    with rasterio.open(file.path) as source:
        assert source.count == 4
        assert source.read(1).tolist() == [[0, 255, 255, 0]] and source.read(4).tolist() == [[255, 255, 255, 0]]
    refused("FormatUnsuitable", "one band or three", value=cube(RED_NIR), name="PNG")


# --- all of them


@st.composite
def cubes(draw):
    """Rasters of any order of dimensions."""
    dims = [Y, X]
    lengths = {"y": draw(st.integers(1, 9)), "x": draw(st.integers(1, 9))}
    if draw(st.booleans()):
        dims.append(times(*[f"2022-06-{day:02}T10:00:00Z" for day in range(1, draw(st.integers(2, 4)))]))
    if draw(st.booleans()):
        dims.append(bands(**{f"B{number}": "" for number in range(1, draw(st.integers(2, 5)))}))
    dims = draw(st.permutations(dims))
    shape = tuple(lengths.get(dim.name, len(dim.labels)) for dim in dims)
    values = numbers(shape, draw(st.sampled_from(TYPES)), draw(st.integers(0, 99)))
    grid = Grid("EPSG:32632", 600000.0, 5200000.0, 10.0, -10.0, lengths["y"], lengths["x"])
    return Cube(values, tuple(dims), grid, Box(0, 0, *grid.shape))


def arranged(cube):
    """Values with dimensions t, bands, y, x."""
    order = sorted(cube.names, key=("t", "bands", "y", "x").index)
    values = cube.values.transpose([cube.names.index(name) for name in order])
    if "t" not in order:
        values = values[np.newaxis]
    return values if "bands" in order else values[:, np.newaxis]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_cube=cubes())
def test_what_is_read_equals_what_was_written(given_cube, tmp_path, small_windows):
    result, expected = MemoryResult(given_cube), arranged(given_cube)
    files = write(result, "GTiff", {}, tmp_path)
    for file, values in zip(files, expected, strict=True):
        with rasterio.open(file.path) as source:
            same(source.read(), values)
    (file,) = write(result, "netCDF", {}, tmp_path)
    (hierarchy,) = write(result, "Zarr", {}, tmp_path)
    opened_zarr = xr.open_zarr(hierarchy.path)
    for number, band in enumerate(file.bands):
        with rasterio.open(f"netcdf:{file.path}:{band.name}") as source:
            same(source.read(), expected[:, number])
        found = opened_zarr[band.name].values
        same(found.reshape(expected[:, number].shape), expected[:, number])
    (told,) = write(result, "JSON", {}, tmp_path)
    array = xr.DataArray.from_dict(json.loads(told.path.read_text()))
    wanted = [name for name in ("t", "bands", "y", "x") if name in given_cube.names]
    read = array.transpose(*wanted).values.astype("f8").reshape(expected.shape)
    np.testing.assert_allclose(read, expected.astype("f8"), rtol=1e-6)
    assert all(max(asked.shape) <= 4 for asked in result.asked if asked is not None)


def test_files_of_others_are_not_replaced(tmp_path):
    (tmp_path / "openEO.nc").write_text("mine")
    with pytest.raises(GraphError, match="there already"):
        write(MemoryResult(cube()), "netCDF", {}, tmp_path)
    assert (tmp_path / "openEO.nc").read_text() == "mine"
    (file,) = write(MemoryResult(cube()), "netCDF", {"filename_prefix": "ours"}, tmp_path)
    before = file.path.read_bytes()
    write(MemoryResult(cube(seed=1)), "netCDF", {"filename_prefix": "ours"}, tmp_path)
    assert file.path.read_bytes() != before


def test_results_of_one_graph_do_not_replace_each_other(tmp_path):
    write(MemoryResult(cube()), "netCDF", {}, tmp_path, "save1")
    write(MemoryResult(cube()), "netCDF", {}, tmp_path, "save1")
    with pytest.raises(GraphError, match=r"openEO\.nc is a file of another result, save1"):
        write(MemoryResult(cube()), "netCDF", {}, tmp_path, "save2")


class Broken(MemoryResult):
    def read(self, asked):
        raise OSError("the disk is gone")


@pytest.mark.parametrize("name", ["GTiff", "netCDF", "Zarr", "PNG", "JSON"])
def test_a_result_that_fails_leaves_no_file(name, tmp_path):
    with pytest.raises(OSError, match="gone"):
        write(Broken(cube(DAYS)), name, {}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".hpckit-results"]


def test_formats_describe_themselves():
    told = find_format("COG").described()
    assert told["gis_data_types"] == ["raster"] and told["parameters"]["filename_prefix"]["type"] == "string"
    json.dumps(told)

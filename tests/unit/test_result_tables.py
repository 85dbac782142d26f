"""Files of vector cubes and of values, read back by programs of others."""

from __future__ import annotations

import json
import math

import geopandas
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pytest
import shapely
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Dimension, Geometries
from hpckit.processgraph.labelled import Labelled
from hpckit.reduce.graphs.formats import arrange, require_format, write
from hpckit.testing.graphs import MemoryResult, bands, raster, times

DAYS = times("2022-06-01T10:50:31Z", "2022-06-03T10:56:21Z", "2022-06-06")
BANDS = bands(B04="red", B08="nir")
CRS = "EPSG:32632"


def parcels(count=3, crs=CRS, ids=True):
    shapes = np.array([shapely.box(600000 + 50 * n, 5199900, 600040 + 50 * n, 5199960) for n in range(count)])
    names = tuple(f"p{n}" for n in range(count)) if ids else ()
    properties = tuple({"pid": 100 + n, "crop": "maize" if n % 2 else None} for n in range(count)) if ids else ()
    return Geometries(shapes, crs, names, properties)


GEOMETRY = Dimension("geometry", "geometry", crs=CRS)


def vector(*dims, count=3, dtype="f8", seed=0, ids=True):
    """A vector cube with geometries last."""
    rng = np.random.default_rng(seed)
    shape = (*(len(dim.labels) for dim in dims), count)
    values = rng.normal(0.2, 1, shape).astype(dtype)
    if np.dtype(dtype).kind == "f":
        values[rng.random(shape) < 0.3] = np.nan
    return Cube(values, (*dims, GEOMETRY), geometries=parcels(count, ids=ids), features=range(count))


def saved(value, name, folder, **options):
    (file,) = write(MemoryResult(value), name, options, folder)
    return file


@pytest.fixture
def one_by_one(monkeypatch):
    """Features are read in groups of few."""
    monkeypatch.setattr(arrange, "WINDOW_BYTES", 64)


def test_csv_is_what_clients_read(tmp_path, one_by_one):
    cube = vector(DAYS, BANDS, dtype="f4")
    file = saved(cube, "CSV", tmp_path)
    lines = file.path.read_text().splitlines()
    assert lines[0] == "date,feature_index,feature_id,B04,B08"
    frame = pd.read_csv(file.path, dtype={"B04": "f4", "B08": "f4"})
    assert len(frame) == 9
    wide = frame.pivot(index="date", columns="feature_index", values="B08")
    assert list(wide.index) == sorted(DAYS.labels)
    np.testing.assert_array_equal(wide.to_numpy(), cube.values[:, 1])
    assert set(frame["feature_id"]) == {"p0", "p1", "p2"}
    valid = cube.values[:, 1].astype("f8")
    assert file.bands[1].statistics.mean == pytest.approx(np.nanmean(valid))
    named = saved(cube, "CSV", tmp_path, feature_id_property="pid", filename_prefix="named")
    assert set(pd.read_csv(named.path)["feature_id"]) == {100, 101, 102}


def test_rows_of_csv_are_dates_by_features(tmp_path):
    cube = vector(DAYS, bands(a=""), ids=False)
    lines = saved(cube, "CSV", tmp_path).path.read_text().splitlines()
    assert lines[0] == "date,feature_index,a"
    assert [tuple(line.split(",")[:2]) for line in lines[1:]] == [
        (day, str(feature)) for day in DAYS.labels for feature in range(3)
    ]


def test_text_in_csv_is_quoted(tmp_path):
    values = np.array([['say "a", then b', None, "plain"]], object)
    cube = Cube(values, (bands(**{"a": ""}), GEOMETRY), geometries=parcels(ids=False), features=range(3))
    frame = pd.read_csv(saved(cube, "CSV", tmp_path).path)
    assert frame["a"].fillna("none").tolist() == ['say "a", then b', "none", "plain"]


def timeseries_json_to_pandas(told):
    """As `openeo.rest.conversions` reads it: dates, then features, then bands."""
    return {date: np.array(rows, "f8") for date, rows in told.items()}


def test_json_is_what_clients_read(tmp_path, one_by_one):
    cube = vector(DAYS, BANDS, dtype="f4")
    text = saved(cube, "JSON", tmp_path).path.read_text()
    assert "NaN" not in text
    told = timeseries_json_to_pandas(json.loads(text))
    assert list(told) == list(DAYS.labels)
    for number, rows in enumerate(told.values()):
        assert rows.shape == (3, 2)
        np.testing.assert_array_equal(rows.astype("f4"), cube.values[number].T)


def test_json_of_series_without_features_and_of_features_without_dates(tmp_path):
    (one, two), three = (0.5, math.nan), 2.0
    series = Cube(np.array([[one, two], [three, 1.0], [0.0, 0.0]]), (DAYS, BANDS))
    assert json.loads(saved(series, "JSON", tmp_path).path.read_text()) == {
        DAYS.labels[0]: [0.5, None],
        DAYS.labels[1]: [2.0, 1.0],
        DAYS.labels[2]: [0.0, 0.0],
    }
    features = Cube(np.array([[1, 2, 3], [4, 5, 6]]), (BANDS, GEOMETRY), geometries=parcels(), features=range(3))
    assert json.loads(saved(features, "JSON", tmp_path).path.read_text()) == [[1, 4], [2, 5], [3, 6]]
    assert json.loads(saved(Cube(np.array([1.5, 2.5, np.nan]), (DAYS,)), "JSON", tmp_path).path.read_text()) == {
        DAYS.labels[0]: 1.5,
        DAYS.labels[1]: 2.5,
        DAYS.labels[2]: None,
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3, 3),
        (True, True),
        (None, None),
        (math.nan, None),
        (math.inf, None),
        ("a", "a"),
        ([1, None, math.nan, "b"], [1, None, None, "b"]),
        (np.float32(0.1), pytest.approx(0.1)),
        (np.array([0.1, np.nan], "f4"), [0.1, None]),
        (np.array([True, False]), [True, False]),
        (Labelled(np.array([1.0, 2.0]), ("a", "b")), [1.0, 2.0]),
        ({"a": [math.nan]}, {"a": [None]}),
    ],
)
def test_values_are_json(value, told, tmp_path):
    assert json.loads(saved(value, "JSON", tmp_path).path.read_text()) == told


def test_geojson_is_read_by_ogr_in_degrees(tmp_path, one_by_one):
    cube = vector(DAYS, BANDS)
    file = saved(cube, "GeoJSON", tmp_path)
    frame = pyogrio.read_dataframe(file.path)
    assert frame.crs.to_epsg() == 4326 and frame["pid"].tolist() == [100, 101, 102]
    np.testing.assert_array_equal(frame[f"{DAYS.labels[1]}~B08"].astype("f8"), cube.values[1, 1])
    told = json.loads(file.path.read_text())
    assert [feature["id"] for feature in told["features"]] == ["p0", "p1", "p2"]
    assert told["features"][0]["properties"]["crop"] is None
    back = frame.to_crs(CRS).geometry
    assert np.allclose(back.area, shapely.area(cube.geometries.shapes), rtol=1e-3)
    outer = frame.total_bounds
    assert file.bbox == pytest.approx(tuple(outer), abs=1e-6)


def test_geoparquet_is_read_by_geopandas(tmp_path, one_by_one):
    cube = vector(DAYS, BANDS, dtype="f4")
    file = saved(cube, "GeoParquet", tmp_path)
    frame = geopandas.read_parquet(file.path)
    assert frame.crs == pyproj.CRS(CRS) and len(frame) == 9
    assert list(frame.columns) == ["date", "feature_index", "feature_id", "B04", "B08", "pid", "crop", "geometry"]
    wide = frame.pivot(index="date", columns="feature_index", values="B04")
    assert wide.index[0] == pd.Timestamp("2022-06-01T10:50:31Z")
    np.testing.assert_array_equal(wide.to_numpy(), cube.values[:, 0])
    assert (
        frame.geometry.geom_equals(geopandas.GeoSeries(cube.geometries.shapes[frame["feature_index"]], crs=CRS))
    ).all()
    assert pq.read_table(file.path)["B04"].null_count == int(np.isnan(cube.values[:, 0]).sum())
    known = pq.ParquetFile(file.path)
    kinds = {field.name: str(field.type) for field in known.schema_arrow}
    assert kinds["date"] == "timestamp[us, tz=UTC]" and (kinds["pid"], kinds["geometry"]) == ("int64", "binary")
    assert (kinds["feature_id"], kinds["crop"]) == ("string", "string"), "texts are no dictionaries to readers"
    columns = [known.metadata.row_group(0).column(place) for place in range(len(kinds))]
    written = {column.path_in_schema: set(column.encodings) for column in columns}
    assert "RLE_DICTIONARY" in written["geometry"] and "RLE_DICTIONARY" not in written["B04"], "repeated, not numbers"
    plain = saved(cube, "Parquet", tmp_path, geometry=False, filename_prefix="plain")
    assert "geometry" not in pd.read_parquet(plain.path) and not pq.read_schema(plain.path).metadata


def test_properties_of_several_types_become_text(tmp_path):
    shapes = parcels(2).shapes
    mixed = Geometries(shapes, CRS, (), ({"a": 1, "B04": "mine"}, {"a": "x", "geometry": [1]}))
    cube = Cube(np.array([[1.0, 2.0]]), (bands(B04=""), GEOMETRY), geometries=mixed, features=range(2))
    frame = geopandas.read_parquet(saved(cube, "Parquet", tmp_path).path)
    assert frame["a"].tolist() == ["1", "x"] and frame["B04"].tolist() == [1.0, 2.0]
    assert frame["B04-2"].fillna("").tolist() == ["mine", ""] and frame.geometry.notna().all()


def test_netcdf_has_a_dimension_of_features(tmp_path, one_by_one):
    cube = vector(DAYS, BANDS)
    file = saved(cube, "netCDF", tmp_path, feature_id_property="pid")
    data = None
    for engine in ("netcdf4", "h5netcdf"):
        try:
            data = xr.open_dataset(file.path, engine=engine)
            break
        except (ValueError, ImportError):
            continue
    if data is None:
        pytest.skip("xarray has no engine for netCDF-4 here")
    assert data["B08"].dims == ("t", "feature") and data.attrs["featureType"] == "timeSeries"
    np.testing.assert_array_equal(data["B08"], cube.values[:, 1])
    assert data["feature_names"].values.tolist() == ["100", "101", "102"]
    assert float(data["lat"][0]) == pytest.approx(46.9, abs=0.1) and data["t"].dtype.kind == "M"


def test_dimensions_besides_time_and_bands_are_columns(tmp_path):
    quantile = Dimension("quantile", "other", (0.25, 0.75))
    cube = vector(DAYS, quantile, BANDS)
    frame = pd.read_csv(saved(cube, "CSV", tmp_path).path)
    assert list(frame.columns) == ["date", "quantile", "feature_index", "feature_id", "B04", "B08"]
    row = frame[(frame["date"] == DAYS.labels[2]) & (frame["quantile"] == 0.75) & (frame["feature_index"] == 1)]
    np.testing.assert_array_equal(row[["B04", "B08"]].to_numpy()[0], cube.values[2, 1, :, 1])


@pytest.mark.parametrize("name", ["CSV", "JSON", "GeoJSON", "Parquet", "netCDF"])
def test_no_feature_is_no_row(name, tmp_path):
    cube = vector(DAYS, BANDS, count=0, ids=False)
    file = saved(cube, name, tmp_path)
    if name == "CSV":
        assert file.path.read_text() == "date,feature_index,B04,B08\n"
    elif name == "Parquet":
        assert len(pd.read_parquet(file.path)) == 0
    elif name == "JSON":
        assert json.loads(file.path.read_text()) == {label: [] for label in DAYS.labels}
    elif name == "GeoJSON":
        assert json.loads(file.path.read_text())["features"] == []
    else:
        assert file.path.stat().st_size


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CSV", raster(np.zeros((3, 4))), "aggregate_spatial"),
        ("Parquet", 3, "JSON"),
        ("GeoJSON", Cube(np.zeros(3), (DAYS,)), "no geometries"),
        ("Zarr", Cube(np.zeros(3), (DAYS,)), "Parquet"),
        ("netCDF", "a", "no"),
        ("CSV", Cube(np.zeros((3, 1)), (DAYS, bands(date=""))), "'date'"),
        ("JSON", raster(np.zeros((2000, 1000), "u1")), "2,000,000"),
    ],
)
def test_formats_refuse_what_they_cannot_hold(name, value, words):
    with pytest.raises(GraphError) as caught:
        require_format(name, None, MemoryResult(value).type)
    assert caught.value.fault == "FormatUnsuitable" and words in f"{caught.value.message} {caught.value.hint}"


def test_a_property_that_features_lack_is_named():
    with pytest.raises(GraphError, match="feature 0 has no property 'Pid'") as caught:
        require_format("CSV", {"feature_id_property": "Pid"}, MemoryResult(vector(BANDS)).type)
    assert "pid" in caught.value.hint


@st.composite
def vectors(draw):
    """Vector cubes of any order of dimensions."""
    dims = [GEOMETRY]
    if draw(st.booleans()):
        dims.append(DAYS)
    if draw(st.booleans()):
        dims.append(BANDS)
    dims = draw(st.permutations(dims))
    count = draw(st.integers(1, 7))
    shape = tuple(count if dim is GEOMETRY else len(dim.labels) for dim in dims)
    dtype = draw(st.sampled_from(["f4", "f8", "i4", "u1", "?"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = (rng.normal(size=shape) * 50).astype(dtype)
    if values.dtype.kind == "f":
        values[rng.random(shape) < 0.3] = np.nan
    return Cube(values, tuple(dims), geometries=parcels(count), features=range(count))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cube=vectors())
def test_what_is_read_equals_what_was_written(cube, tmp_path, one_by_one):
    order = [dim for dim in (DAYS, GEOMETRY, BANDS) if dim in cube.dims]
    values = cube.values.transpose([cube.dims.index(dim) for dim in order])
    columns = ["B04", "B08"] if BANDS in order else ["value"]
    rows = values.reshape(-1, len(columns))
    keys = (["date"] if DAYS in order else []) + ["feature_index"]
    table = saved(cube, "Parquet", tmp_path).path
    for frame in (pd.read_parquet(table), pd.read_csv(saved(cube, "CSV", tmp_path).path)):
        found = frame.sort_values(keys, kind="stable")[columns].to_numpy()
        np.testing.assert_allclose(found.astype("f8"), rows.astype("f8"), rtol=1e-6)
    told = json.loads(saved(cube, "JSON", tmp_path).path.read_text())
    listed = list(told.values()) if DAYS in order else told
    found = np.array(listed, object).astype("f8").reshape(values.shape)
    np.testing.assert_allclose(found, values.astype("f8"), rtol=1e-6)


def test_text_of_csv_is_short_for_single_precision(tmp_path):
    cube = Cube(np.array([[0.1, 2.5, 1e-7]], "f4"), (bands(a=""), GEOMETRY), geometries=parcels(), features=range(3))
    lines = saved(cube, "CSV", tmp_path).path.read_text().splitlines()
    assert [line.rpartition(",")[2] for line in lines] == ["a", "0.1", "2.5", "1e-7"]

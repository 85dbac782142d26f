"""Attributes of zones: values and types as the file has them, under names that tables can bear, or one sentence."""

from __future__ import annotations

import json
from datetime import date, datetime, time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.campaign.signatures import SignatureReduction
from hpckit.errors import HpckitError, VectorError, ZoneError
from hpckit.space.attributes import Attributes, Names, require_names
from hpckit.space.zones import findings, load_zones, read_zones, write_zones

SQUARE = shapely.box(4.0, 51.0, 4.001, 51.001)
VALUES = {
    "crop": ["wheat", None, "Zuckerrübe"],
    "holding": [4_611_686_018_427_387_904, 2, None],
    "area_ha": [1.5, float("nan"), None],
    "organic": [True, None, False],
    "sown": [date(2024, 3, 1), None, date(1899, 12, 31)],
    "seen": [datetime(2024, 3, 1, 10, 30, 31, 24000), None, datetime(1950, 1, 1)],
    "größe": ["a'b\"c;--", "", "x"],
}


def parquet(path, columns, rows=3):
    shapes = pa.array([shapely.to_wkb(SQUARE)] * rows, pa.binary())
    table = pa.table({"name": [f"z{n}" for n in range(rows)], **columns, "geometry": shapes})
    about = {"geometry": {"encoding": "WKB", "geometry_types": []}}
    geo = json.dumps({"version": "1.0.0", "primary_column": "geometry", "columns": about})
    pq.write_table(table.replace_schema_metadata({"geo": geo}), path)
    return path


def ogr(path, columns, **options):
    import pyogrio

    table = pa.table({"name": ["z0", "z1", "z2"], **columns, "wkb": pa.array([shapely.to_wkb(SQUARE)] * 3)})
    pyogrio.write_arrow(table, path, geometry_name="wkb", geometry_type="Polygon", crs="EPSG:4326", **options)
    return path


def plain(layer):
    return {name: column.to_pylist() for name, column in layer.attributes.columns.items()}


@pytest.mark.parametrize("name", ["zones.parquet", "zones.gpkg", "zones.fgb", "zones.geojson"])
def test_values_are_those_of_the_file(tmp_path, name):
    columns = {key: pa.array(values) for key, values in VALUES.items()}
    path = (parquet if name.endswith("parquet") else ogr)(tmp_path / name, columns)
    layer = read_zones(path, "name", attributes=list(VALUES))
    found = plain(layer)
    expected = {**VALUES, "area_ha": [1.5, None, None]}
    if name.endswith("geojson"):  # has no such types of its own
        found["organic"] = [None if value is None else bool(value) for value in found["organic"]]
    if name.endswith("fgb"):
        found["sown"] = [None if value is None else value.date() for value in found["sown"]]
    assert found == expected
    assert layer.digest == read_zones(path, "name").digest
    write_zones(tmp_path / "frozen.parquet", layer)
    frozen = load_zones(tmp_path / "frozen.parquet")
    assert plain(frozen) == plain(layer)
    assert (frozen.attributes.digest, frozen.digest) == (layer.attributes.digest, layer.digest)
    assert read_zones(path, "name", attributes=["crop"]).attributes.digest != layer.attributes.digest


def test_text_of_a_shapefile_is_read_in_its_code_page(tmp_path):
    import pyogrio

    path = tmp_path / "zones.shp"
    texts = np.array([["z0", "z1", "z2"], ["Zuckerrübe", None, "Mais"]], dtype=object)
    shapes = np.array([shapely.to_wkb(SQUARE)] * 3, dtype=object)
    options = {"geometry_type": "Polygon", "crs": "EPSG:4326", "encoding": "cp1252"}
    pyogrio.raw.write(path, shapes, list(texts), ["name", "kultur"], **options)
    found = plain(read_zones(path, "name", attributes=["kultur"]))
    assert found == {"kultur": ["Zuckerrübe", None, "Mais"]}
    path.with_suffix(".cpg").unlink(missing_ok=True)
    found = plain(read_zones(path, "name", attributes=["kultur"], encoding="cp1252"))
    assert found["kultur"][0] == "Zuckerrübe"
    with pytest.raises(VectorError, match="the text of 'kultur' is not UTF-8"):
        read_zones(path, "name", attributes=["kultur"], encoding="UTF-8")


def test_attributes_follow_their_zones_where_some_are_left_out(tmp_path):
    import pyogrio

    table = pa.table({
        "name": ["a", "b", "c"], "n": [1, 2, 3],
        "wkb": [shapely.to_wkb(SQUARE), shapely.to_wkb(shapely.Point(1, 1)), shapely.to_wkb(SQUARE)],
    })  # fmt: skip
    path = tmp_path / "zones.gpkg"
    pyogrio.write_arrow(table, path, geometry_name="wkb", geometry_type="Unknown", crs="EPSG:4326")
    layer = read_zones(path, "name", attributes={"number": "n", "again": "n"})
    assert plain(layer) == {"number": [1, 3], "again": [1, 3]}


def test_all_renames_what_is_taken_and_leaves_out_what_is_no_value(tmp_path):
    columns = {
        "Time": [1, 2, 3], "crop": ["a", "b", "c"], "Crop": ["d", "e", "f"], "NDVI_mean": [0.1, 0.2, 0.3],
        "list": pa.array([[1], [2], None]), "raw": pa.array([b"x", b"y", b"z"]), "x" * 90: [1, 2, 3],
        "nul": ["a\0b", None, ""], "at": pa.array([time(10, 30), None, None]), "zone_time": [4, 5, 6],
    }  # fmt: skip
    path = parquet(tmp_path / "zones.parquet", columns)
    layer = read_zones(path, "name", attributes="all", taken=Names(("B04", "NDVI")))
    names = list(layer.attributes.columns)
    assert names == ["zone_Time_2", "crop", "zone_Crop", "zone_NDVI_mean", "zone_" + "x" * 53, "at", "zone_time"]
    assert plain(layer)["at"] == ["10:30:00", None, None]
    assert len(layer.attributes.notes) == 7
    assert any("field 'raw' left out" in note for note in layer.attributes.notes)
    (said,) = findings(layer, 0)
    assert "field 'Time' is attribute 'zone_Time_2': hpckit has a column of this name" in said
    with pytest.raises(ZoneError, match="field 'list' is no attribute, since it holds"):
        read_zones(path, "name", attributes=["list"])
    with pytest.raises(VectorError, match="no field 'corp' for `attributes`") as caught:
        read_zones(path, "name", attributes=["corp"])
    assert "did you mean 'crop'" in caught.value.hint


def test_three_hundred_fields(tmp_path):
    path = parquet(tmp_path / "zones.parquet", {f"f{n}": [n, None, n] for n in range(300)})
    layer = read_zones(path, "name", attributes="all")
    assert len(layer.attributes.columns) == 300 and layer.attributes.notes == ()
    many = parquet(tmp_path / "many.parquet", {f"f{n}": [1, 2, 3] for n in range(1001)})
    with pytest.raises(ZoneError, match="1001 fields are more than the 1000"):
        read_zones(many, "name", attributes="all")


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (["time"], "hpckit has a column of this name; write `new_name: time` instead"),
        (["P25"], "hpckit has a column"),
        (["ndvi_mean"], "hpckit has a column"),
        (["crop", "Crop"], "attributes 'crop' and 'Crop' have one name in databases"),
        (["crop", "crop"], "have one name"),
        ([""], "it is empty"),
        (["a\nb"], "cannot be printed"),
        (["ü" * 32], "longer than 63 bytes"),
        (["name"], "is the identifier of the zones"),
        ("some", "attributes"),
        ({"time": "crop"}, "hpckit has a column"),
    ],
)
def test_names_that_tables_cannot_bear_are_refused_in_the_campaign(attributes, words):
    settings = {
        "name": "fields",
        "zones": "zones.gpkg",
        "id": "name",
        "bands": ["B04"],
        "indices": {"NDVI": "B08 - B04"},
    }
    with pytest.raises(ValueError, match=r"attributes|attribute") as caught:
        SignatureReduction.model_validate({**settings, "attributes": attributes})
    assert words in str(caught.value)


@given(st.lists(st.text(max_size=70), max_size=4))
def test_names_that_pass_are_names_of_columns_in_sqlite(names):
    import sqlite3

    try:
        require_names(names, Names(("B04",)))
    except ValueError:
        return
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in ["fid", "B04_mean", *names])
    with sqlite3.connect(":memory:") as db:
        db.execute(f"CREATE TABLE t ({quoted})")
        assert [row[1] for row in db.execute("PRAGMA table_info(t)")][2:] == names


def test_a_file_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(HpckitError):
        read_zones(tmp_path / "none.gpkg", "name", attributes="all")


def test_titles_begin_with_the_crop_and_are_short():
    columns = {
        "holding": [7, None],
        "Crop": ["winter\nwheat", " "],
        "area": [2.3456789, None],
        "more": ["x" * 90, "y"],
    }
    attributes = Attributes({name: pa.array(values) for name, values in columns.items()})
    assert attributes.describe(0) == "winter wheat · holding 7 · area 2.34568"
    assert attributes.describe(1) == "more y"
    assert attributes.describe(0, 4) == attributes.describe(0)  # there is no room for a fourth one
    assert len(Attributes({"more": pa.array(["x" * 90])}).describe(0)) == 40
    assert Attributes({"a": pa.array([None], pa.string())}).describe(0) is None

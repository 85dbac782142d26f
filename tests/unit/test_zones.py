"""Zone layers: what is read, what is mended or left out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.errors import ZoneError
from hpckit.space.zones import ZoneLayer, load_zones, read_zones, write_zones

BOW_TIE = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])


def write(
    path: Path,
    shapes: list,
    ids: list,
    *,
    crs: str | None = "EPSG:32631",
    field: str = "pid",
    layer: str | None = None,
) -> Path:
    """Write a layer as someone's GIS would."""
    column = np.array(ids, dtype=object) if any(isinstance(value, str) or value is None for value in ids) else ids
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array(shapes, dtype=object)),
        field_data=[np.asarray(column)],
        fields=[field],
        geometry_type="Unknown",
        crs=crs,
        layer=layer,
        append=path.exists(),
    )
    return path


def squares(count: int) -> list[shapely.Geometry]:
    return [shapely.box(100 * number, 0, 100 * number + 50, 50) for number in range(count)]


@pytest.mark.parametrize(
    "name", ["zones.gpkg", "zones.geojson", "zones.shp", "zones.fgb", "with 'quotes' and space.gpkg"]
)
def test_formats_give_the_same_zones(tmp_path, name):
    found = read_zones(write(tmp_path / name, squares(3), ["a", "b", "c"], crs="EPSG:4326"), "pid")
    # FlatGeobuf sorts features by place.
    assert sorted(found.ids) == ["a", "b", "c"] and len(found) == 3
    for name, square in zip("abc", squares(3), strict=True):
        assert found.geometries[found.rows[name]].equals(square)
    assert found.repaired == () and found.dropped == ()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([7, 8], ("7", "8")),
        (np.array([7.0, 8.0]), ("7", "8")),
        (np.array([7.5, 2.0**53]), ("7.5", "9007199254740992")),
        (["007", "ñ é 中"], ("007", "ñ é 中")),
        (["x'); DROP TABLE zones; --", '" OR 1=1'], ("x'); DROP TABLE zones; --", '" OR 1=1')),
    ],
)
def test_identifiers_of_any_type_become_text(tmp_path, ids, expected):
    assert read_zones(write(tmp_path / "zones.gpkg", squares(2), ids), "pid").ids == expected


def test_the_feature_number_can_be_the_identifier(tmp_path):
    assert read_zones(write(tmp_path / "zones.gpkg", squares(2), ["a", "b"]), "fid").ids == ("1", "2")


def test_z_is_dropped_curves_become_lines_and_holes_stay(tmp_path):
    raised = shapely.force_3d(shapely.box(0, 0, 9, 9), 42.0)
    holed = shapely.Polygon(shapely.box(0, 0, 9, 9).exterior, [shapely.box(2, 2, 3, 3).exterior])
    found = read_zones(write(tmp_path / "zones.gpkg", [raised, holed], [1, 2]), "pid")
    assert not shapely.has_z(found.geometries).any()
    assert shapely.area(found.geometries).tolist() == [81, 80]

    curved = tmp_path / "curved.csv"
    circle = "CURVEPOLYGON (CIRCULARSTRING (0 0, 10 10, 20 0, 10 -10, 0 0))"
    curved.write_text(f'pid,WKT\n1,"{circle}"\n')
    with pytest.raises(ZoneError, match="no CRS"):
        read_zones(curved, "pid")
    (shape,) = read_zones(curved, "pid", crs="EPSG:32631").geometries
    assert shape.area == pytest.approx(np.pi * 100, rel=0.01)


def test_invalid_geometries_are_mended_and_named(tmp_path):
    line_and_area = shapely.from_wkt("POLYGON ((0 0, 10 0, 10 10, 0 10, 0 0, -5 0, 0 0))")
    found = read_zones(
        write(tmp_path / "zones.gpkg", [BOW_TIE, line_and_area, *squares(1)], ["tie", "spike", "sound"]), "pid"
    )
    assert found.repaired == ("tie", "spike")
    assert shapely.is_valid(found.geometries).all()
    assert set(shapely.get_type_id(found.geometries).tolist()) == {6}
    assert shapely.area(found.geometries).tolist() == [50, 100, 2500]


def test_what_is_no_polygon_is_left_out_with_a_reason(tmp_path):
    shapes = [*squares(1), None, shapely.Polygon(), shapely.Point(1, 1), shapely.LineString([(0, 0), (1, 1)])]
    flat = shapely.Polygon([(0, 0), (5, 5), (10, 10)])
    found = read_zones(
        write(tmp_path / "zones.gpkg", [*shapes, flat], ["ok", "null", "void", "point", "line", "flat"]), "pid"
    )
    assert found.ids == ("ok",)
    reasons = dict(found.dropped)
    assert reasons["null"] == reasons["void"] == "no geometry"
    assert "Point" in reasons["point"] and "LineString" in reasons["line"] and "without area" in reasons["flat"]


def test_the_polygons_of_a_collection_count(tmp_path):
    mixed = shapely.GeometryCollection(
        [shapely.Point(0, 0), shapely.box(0, 0, 2, 2), shapely.MultiPolygon(squares(2))]
    )
    found = read_zones(write(tmp_path / "zones.geojson", [mixed], [1], crs="EPSG:4326"), "pid")
    (shape,) = found.geometries
    # The first box lies in the second: it may not count twice.
    assert shape.area == 5000 and shape.is_valid and shape.geom_type == "MultiPolygon"
    assert found.repaired == ("1",)


def test_parts_that_overlap_are_united(tmp_path):
    # A multipolygon with overlapping parts is invalid: its pixels would count twice.
    double = shapely.MultiPolygon([shapely.box(0, 0, 10, 10), shapely.box(5, 0, 15, 10)])
    found = read_zones(write(tmp_path / "zones.gpkg", [double], [1]), "pid")
    assert found.repaired == ("1",) and found.geometries[0].is_valid
    assert found.geometries[0].area <= 150


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["a", "b", "a"], "'a'"),
        ([1, 2, 2], "'2'"),
        ([None, "a", "b"], "1 zone without"),
        (["a", " ", "b"], "number 2"),
    ],
)
def test_identifiers_must_be_there_and_unique(tmp_path, ids, words):
    with pytest.raises(ZoneError, match=words) as caught:
        read_zones(write(tmp_path / "zones.gpkg", squares(3), ids), "pid")
    assert caught.value.hint


def test_many_duplicates_are_not_all_listed(tmp_path):
    path = write(tmp_path / "zones.gpkg", squares(40), [number % 20 for number in range(40)])
    with pytest.raises(ZoneError, match="20 values") as caught:
        read_zones(path, "pid")
    assert str(caught.value).count("'") < 20


def test_a_missing_field_is_named_with_its_neighbours(tmp_path):
    path = write(tmp_path / "zones.gpkg", squares(1), [1], field="parcel_id")
    with pytest.raises(ZoneError, match="parcel_id") as caught:
        read_zones(path, "parcelid")
    assert "'parcel_id'" in caught.value.hint


def test_layers_must_exist_and_be_chosen(tmp_path):
    path = write(tmp_path / "zones.gpkg", squares(1), [1], layer="first")
    write(path, squares(2), [1, 2], layer="second")
    assert len(read_zones(path, "pid", "second")) == 2
    with pytest.raises(ZoneError, match="'first', 'second'"):
        read_zones(path, "pid")
    with pytest.raises(ZoneError, match=r"no layer 'third'; it has 'first', 'second'"):
        read_zones(path, "pid", "third")


def test_files_that_are_no_zone_layers(tmp_path):
    with pytest.raises(ZoneError, match="no such"):
        read_zones(tmp_path / "none.gpkg", "pid")
    (tmp_path / "noise.gpkg").write_bytes(b"\0" * 500)
    with pytest.raises(ZoneError, match="content is not what its name"):
        read_zones(tmp_path / "noise.gpkg", "pid")
    with pytest.raises(ZoneError, match="no CRS"), pytest.warns(UserWarning, match="crs"):
        read_zones(write(tmp_path / "bare.shp", squares(1), [1], crs=None), "pid")
    (tmp_path / "table.csv").write_text("pid,crop\n1,wheat\n")
    with pytest.raises(ZoneError, match="no layer with geometries"):
        read_zones(tmp_path / "table.csv", "pid")
    with pytest.raises(ZoneError, match="empty"):
        read_zones(write(tmp_path / "empty.gpkg", [], []), "pid")
    with pytest.raises(ZoneError, match="none of its 2 features is a polygon"):
        read_zones(write(tmp_path / "points.gpkg", [shapely.Point(0, 0), shapely.Point(1, 1)], [1, 2]), "pid")


def test_a_file_that_is_cut_off(tmp_path):
    path = write(tmp_path / "zones.gpkg", squares(2000), list(range(2000)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ZoneError, match=r"zones\.gpkg"):
        read_zones(path, "pid")


def test_a_frozen_copy_is_the_same(tmp_path):
    shapes = [BOW_TIE, None, *squares(2)]
    zones = read_zones(write(tmp_path / "zones.gpkg", shapes, ["tie", "void", "a'b", "ñ"]), "pid")
    write_zones(tmp_path / "frozen" / "zones.parquet", zones)
    loaded = load_zones(tmp_path / "frozen" / "zones.parquet")
    assert (loaded.ids, loaded.crs, loaded.repaired) == (zones.ids, zones.crs, zones.repaired)
    assert loaded.dropped == zones.dropped == (("void", "no geometry"),)
    assert loaded.digest == zones.digest and loaded.rows == {"tie": 0, "a'b": 1, "ñ": 2}


def test_a_damaged_frozen_copy_is_refused(tmp_path):
    path = tmp_path / "zones.parquet"
    with pytest.raises(ZoneError, match="no frozen"):
        load_zones(path)
    write_zones(path, read_zones(write(tmp_path / "zones.gpkg", squares(2), [1, 2]), "pid"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ZoneError, match="damaged"):
        load_zones(path)
    pq.write_table(pa.table({"id": ["1"]}), path)
    with pytest.raises(ZoneError, match="damaged"):
        load_zones(path)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True), st.data())
def test_the_digest_tells_layers_apart(names, data):
    shapes = np.array([shapely.MultiPolygon([square]) for square in squares(len(names))], dtype=object)
    layer = ZoneLayer(tuple(names), shapes, "EPSG:32631")
    assert layer.digest == ZoneLayer(tuple(names), shapes.copy(), "EPSG:32631").digest
    other = data.draw(st.lists(st.text(max_size=4), min_size=len(names), max_size=len(names), unique=True))
    assert (ZoneLayer(tuple(other), shapes, "EPSG:32631").digest == layer.digest) == (other == names)
    assert ZoneLayer(tuple(names), shapes, "EPSG:32632").digest != layer.digest

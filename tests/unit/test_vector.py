"""Zone layers and areas as people's files have them: geometries, identifiers, encodings, CRSs, layers, GeoParquet."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import sqlite3
import struct
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpckit.errors import AoiError, ZoneError
from hpckit.reduce.signatures.index import build_index
from hpckit.space.aoi import read_aoi
from hpckit.space.areafile import AreaFile
from hpckit.space.vector.shapes import clean_shapes, read_shapes
from hpckit.space.zones import read_zones

SQUARE = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, 0.0)]


def write(path: Path, values: list | np.ndarray, *, crs: str | None = "EPSG:32631", **options: object) -> Path:
    """A layer of as many squares as there are values, in the field `id`."""
    column = np.array(values, dtype=object) if isinstance(values, list) and isinstance(values[0], str) else values
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array([shapely.box(9 * n, 0, 9 * n + 4, 4) for n in range(len(values))])),
        field_data=[np.asarray(column)],
        fields=["id"],
        geometry_type="Unknown",
        crs=crs,
        **options,
    )
    return path


def change(path: Path, sql: str, *values: object) -> Path:
    """Write into a GeoPackage as a careless tool would."""
    with sqlite3.connect(path) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f'DROP TRIGGER "{name}"')
        db.execute(sql, values)
    return path


def geometry(path: Path, row: int, wkb: bytes) -> Path:
    return change(
        path, f"UPDATE {path.stem} SET geom = ? WHERE fid = ?", b"GP\0\1" + struct.pack("<i", 32631) + wkb, row
    )


boxes = st.builds(
    lambda x, y, w, h: shapely.box(x, y, x + w, y + h), *(st.integers(0, 12),) * 2, *(st.integers(1, 8),) * 2
)


@settings(max_examples=40)
@given(st.lists(boxes, min_size=1, max_size=4), st.sampled_from(["MultiPolygon", "GeometryCollection"]))
def test_what_parts_cover_together_counts_once(parts, kind):
    shape = shapely.MultiPolygon(parts) if kind == "MultiPolygon" else shapely.GeometryCollection(parts)
    found = clean_shapes(np.array([shape], dtype=object))
    (zone,) = found.geometries
    assert zone.is_valid and zone.area == pytest.approx(shapely.union_all(parts).area)
    assert found.repaired[0] == (not shapely.MultiPolygon(parts).is_valid)
    transform = Affine(1, 0, -0.25, 0, -1, 24.75)
    burnt = rasterio.features.rasterize(parts, (25, 25), transform=transform)
    for given_shape in (zone, shapely.MultiPolygon(parts)):
        index = build_index(
            np.array([given_shape], dtype=object), np.array([0], np.int32), transform, (25, 25), "centre"
        )
        assert index.pixels.tolist() == np.flatnonzero(burnt).tolist()
        parted = build_index(
            np.array([given_shape], dtype=object), np.array([0], np.int32), transform, (25, 25), "fraction"
        )
        assert parted.weights is not None and parted.weights.max() <= 1
        assert parted.weights.sum() == pytest.approx(zone.area, rel=1e-5)


def polygon_wkb(ring: list[tuple[float, ...]], kind: int = 3) -> bytes:
    numbers = b"".join(struct.pack(f"<{len(point)}d", *point) for point in ring)
    return struct.pack("<BIII", 1, kind, 1, len(ring)) + numbers


@pytest.mark.parametrize(
    ("wkb", "words"),
    [
        (polygon_wkb(SQUARE[:-1]), "not closed"),
        (polygon_wkb(SQUARE[:1]), "1 point"),
        (polygon_wkb(SQUARE[:2]), "2 points"),
        (polygon_wkb([*SQUARE[:2], (np.nan, 1.0), SQUARE[0]]), "no number"),
        (polygon_wkb([*SQUARE[:2], (np.inf, 1.0), SQUARE[0]]), "no number"),
        (struct.pack("<BII", 1, 6, 2) + polygon_wkb(SQUARE) + polygon_wkb(SQUARE[:-1]), "not closed"),
        (polygon_wkb(SQUARE)[:-9], "damaged"),
        (struct.pack("<BII", 1, 99, 1), "type 99"),
    ],
)
def test_a_damaged_polygon_has_a_reason_and_harms_no_other(wkb, words):
    found = read_shapes(np.array([polygon_wkb(SQUARE), wkb, None], dtype=object))
    assert found.geometries[0].area == 16 and words in found.reasons[1] and found.broken == {1}
    assert found.reasons[2] == "no geometry"


@pytest.mark.parametrize("flag", [0, 1000, 2000, 3000, 0x80000000, 0xC0000000])
@pytest.mark.parametrize("kind", [15, 16, 17, 7])
def test_surfaces_of_every_kind_are_polygons(kind, flag):
    dimensions = {0: 2, 3000: 4, 0xC0000000: 4}.get(flag, 3)
    ring = [point + (5.0,) * (dimensions - 2) for point in SQUARE[:3] + SQUARE[:1]]
    triangle = polygon_wkb(ring, flag + 17)
    whole = triangle if kind == 17 else struct.pack("<BII", 1, flag + kind, 1) + triangle
    found = read_shapes(np.array([whole], dtype=object))
    assert found.geometries[0].area == 8 and not found.reasons


@pytest.mark.parametrize("name", ["CurvePolygon", "MultiSurface", "TIN", "PolyhedralSurface", "Triangle"])
def test_layers_with_curves_and_surfaces_are_read(tmp_path, name):
    arc = struct.pack("<BII", 1, 8, 5) + struct.pack("<10d", 0, 0, 2, 2, 4, 0, 2, -2, 0, 0)
    curve = struct.pack("<BII", 1, 10, 1) + arc
    triangle = polygon_wkb(SQUARE[:3] + SQUARE[:1], 17)
    wkb, area = {
        "CurvePolygon": (curve, 4 * np.pi),
        "MultiSurface": (struct.pack("<BII", 1, 12, 1) + curve, 4 * np.pi),
        "TIN": (struct.pack("<BII", 1, 16, 1) + triangle, 8),
        "PolyhedralSurface": (struct.pack("<BII", 1, 15, 1) + polygon_wkb(SQUARE), 16),
        "Triangle": (triangle, 8),
    }[name]
    path = geometry(write(tmp_path / "zones.gpkg", ["a", "b"]), 2, wkb)
    zones = read_zones(path, "id")
    assert zones.ids == ("a", "b") and zones.geometries[1].area == pytest.approx(area, rel=0.01)
    assert not zones.dropped
    assert read_aoi(path).bounds[0] < read_aoi(path).bounds[2]


def test_what_is_left_out_is_named_or_refused(tmp_path):
    path = geometry(write(tmp_path / "zones.gpkg", ["a", "b", "c"]), 2, polygon_wkb(SQUARE[:-1]))
    zones = read_zones(path, "id")
    assert (
        zones.ids == ("a", "c") and zones.dropped == (("b", "a ring is not closed"),) and zones.dropped_fids == (2,)
    )
    with pytest.raises(ZoneError, match=r"zones\.gpkg: 1 feature .* 'b' \(fid 2\): a ring is not closed"):
        read_zones(path, "id", invalid="refuse")
    with pytest.raises(AoiError, match=r"zones\.gpkg: feature 2 \(fid 2\): a ring is not closed"):
        read_aoi(path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([2**53 + 1, 2**62 + 1]), ("9007199254740993", "4611686018427387905")),
        (np.array([-7, 7], np.int32), ("-7", "7")),
        (["007", " 7"], ("007", " 7")),
        (np.array(["2024-05-01", "2024-05-02"], "datetime64[D]"), ("2024-05-01", "2024-05-02")),
        (np.array([True, False]), ("True", "False")),
    ],
)
@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
def test_identifiers_keep_every_digit_and_letter(tmp_path, values, expected, suffix):
    assert read_zones(write(tmp_path / f"zones{suffix}", values, crs="EPSG:4326"), "id").ids == expected


@settings(max_examples=20, deadline=None)
@example([0, 2**53 + 1])
@example([-(2**53) - 1, 2**53])
@given(st.lists(st.integers(-(10**19), 10**20 - 1), min_size=2, max_size=5, unique=True))
def test_wide_numbers_of_dbf_and_json_are_read_digit_by_digit(tmp_path_factory, numbers):
    folder = tmp_path_factory.mktemp("wide")
    write(folder / "zones.shp", np.arange(len(numbers)))
    head = struct.pack("<B3BIHH20x", 3, 124, 1, 1, len(numbers), 65, 22)
    field = b"id".ljust(11, b"\0") + b"N" + b"\0" * 4 + bytes([21, 0]) + b"\0" * 14
    rows = b"".join(b" " + str(number).encode().rjust(21) for number in numbers)
    (folder / "zones.dbf").write_bytes(head + field + b"\r" + rows + b"\x1a")
    assert read_zones(folder / "zones.shp", "id").ids == tuple(map(str, numbers))
    features = [
        {
            "type": "Feature",
            "properties": {"id": number},
            "geometry": shapely.geometry.mapping(shapely.box(n, 0, n + 1, 1)),
        }
        for n, number in enumerate(numbers)
    ]
    (folder / "z.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_zones(folder / "z.geojson", "id").ids == tuple(map(str, numbers))


def test_digits_that_a_file_has_lost_are_not_made_up(tmp_path):
    path = write(tmp_path / "zones.gpkg", np.array([1.5, 2.0**60]))
    with pytest.raises(ZoneError, match=r"lost digits .* fid 2"):
        read_zones(path, "id")


def test_gaps_do_not_make_numbers_of_a_column_inexact(tmp_path):
    path = change(
        write(tmp_path / "zones.gpkg", np.array([2**53 + 1, 5])), "UPDATE zones SET id = NULL WHERE fid = 2"
    )
    with pytest.raises(ZoneError, match=r"1 zone without 'id' .*fid 2"):
        read_zones(path, "id")


def feature(identifier: object, n: int) -> dict:
    shape = shapely.geometry.mapping(shapely.box(n, 0, n + 0.5, 1))
    return {"type": "Feature", "id": identifier, "properties": {"n": n}, "geometry": shape}


@pytest.mark.parametrize("ids", [("a", "b"), (2**53 + 1, 3), ("2", "1")])
def test_ids_of_geojson_features(tmp_path, ids):
    features = [feature(identifier, n) for n, identifier in enumerate(ids)]
    (tmp_path / "z.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_zones(tmp_path / "z.geojson", "id").ids == tuple(map(str, ids))


def test_ids_of_geojson_features_that_are_not_unique_are_refused(tmp_path):
    features = [feature(5, 0), feature(5, 1)]
    (tmp_path / "z.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(ZoneError, match="more than once"):
        read_zones(tmp_path / "z.geojson", "id")


@pytest.mark.parametrize("suffix", [".shp", ".geojson", ".gpkg"])
def test_the_feature_number_identifies_in_every_format(tmp_path, suffix):
    first = 1 if suffix == ".gpkg" else 0
    zones = read_zones(write(tmp_path / f"z{suffix}", ["a", "b"], crs="EPSG:4326"), "fid")
    assert zones.ids == (str(first), str(first + 1))


@pytest.mark.parametrize(
    ("page", "encoding"), [("ISO-8859-1", "latin-1"), ("1250", "cp1250"), ("ANSI 1252", "cp1252"), ("UTF-8", "utf-8")]
)
def test_text_of_shapefiles_is_what_their_code_page_says(tmp_path, page, encoding):
    path = write(tmp_path / "zones.shp", ["XY1", "B2"])
    name = "Äü1"
    written = name.encode(encoding)
    table = tmp_path / "zones.dbf"
    table.write_bytes(table.read_bytes().replace(b"XY1".ljust(len(written)), written, 1))
    (tmp_path / "zones.cpg").write_text(page)
    assert read_zones(path, "id").ids == (name, "B2")
    assert read_zones(path, "id", encoding=encoding).ids == (name, "B2")


@pytest.mark.parametrize(("page", "written"), [("UTF-8", b"\xc41"), ("ISO-8859-1", "Ä".encode()), ("", b"\xc41")])
def test_text_that_is_not_as_declared_is_refused_until_told(tmp_path, page, written):
    path = write(tmp_path / "zones.shp", ["XY", "B2"])
    table = tmp_path / "zones.dbf"
    table.write_bytes(table.read_bytes().replace(b"XY", written, 1))
    (tmp_path / "zones.cpg").write_text(page)
    with pytest.raises(ZoneError, match=r"zones\.shp: the text of 'id' is not .* fid 0") as caught:
        read_zones(path, "id")
    assert "encoding" in str(caught.value.hint)
    encoding = "utf-8" if page == "ISO-8859-1" else "cp1252"
    assert read_zones(path, "id", encoding=encoding).ids[0] == written.decode(encoding)


def test_text_of_a_geopackage_that_is_not_utf_8(tmp_path):
    path = change(
        write(tmp_path / "zones.gpkg", ["a", "b"]), "UPDATE zones SET id = cast(x'c431' AS text) WHERE fid = 1"
    )
    with pytest.raises(ZoneError, match=r"zones\.gpkg: the text of 'id' is not UTF-8 .*fid 1"):
        read_zones(path, "id")
    assert read_zones(path, "id", encoding="cp1252").ids == ("Ä1", "b")


@pytest.mark.parametrize("srs", [-1, 0, 99999])
def test_an_undefined_crs_is_refused_until_it_is_said(tmp_path, srs):
    path = write(tmp_path / "zones.gpkg", ["a", "b"])
    change(path, "UPDATE gpkg_geometry_columns SET srs_id = ?", srs)
    change(path, "UPDATE gpkg_contents SET srs_id = ?", srs)
    for read, error in ((lambda **k: read_zones(path, "id", **k), ZoneError), (read_aoi, AoiError)):
        with pytest.raises(error, match=r"zones\.gpkg: the layer('s CRS is undefined| has no CRS)") as caught:
            read(path) if read is read_aoi else read()
        assert "crs" in str(caught.value.hint)
    assert "32631" in read_zones(path, "id", crs="EPSG:32631").crs
    assert read_aoi(AreaFile(path=str(path), crs="EPSG:32631")).area > 0


@pytest.mark.parametrize(
    ("wkt", "words"),
    [('LOCAL_CS["site",UNIT["metre",1]]', "Earth"), ("EPSG:5703", "Earth"), ("EPSG:4978", "Earth")],
)
def test_a_crs_without_a_place_on_earth_is_refused(tmp_path, wkt, words):
    path = tmp_path / "zones.parquet"
    write_parquet(path, {"crs": wkt})
    with pytest.raises(ZoneError, match=words):
        read_zones(path, "id")


@pytest.mark.parametrize("wkt", ["EPSG:7415", "EPSG:4979"])
def test_heights_of_a_crs_do_not_matter(tmp_path, wkt):
    path = tmp_path / "zones.parquet"
    write_parquet(path, {"crs": wkt})
    assert len(read_zones(path, "id")) == 2


def test_the_layer_of_an_area_is_never_guessed(tmp_path):
    write(tmp_path / "area.gpkg", ["a"], layer="buildings", crs="EPSG:4326")
    write(tmp_path / "area.gpkg", ["a", "b"], layer="region", crs="EPSG:4326", append=True)
    with pytest.raises(AoiError, match="several layers, 'buildings', 'region'"):
        read_aoi("area.gpkg", tmp_path)
    assert read_aoi(AreaFile(path="area.gpkg", layer="region"), tmp_path).area == 32
    with pytest.raises(AoiError, match="no layer 'roads'"):
        read_aoi(AreaFile(path="area.gpkg", layer="roads"), tmp_path)


def write_parquet(
    path: Path, about: dict, geometry: pa.Array | None = None, ids: pa.Array | None = None, encoding: str = "WKB"
) -> None:
    """GeoParquet with what the metadata say of its geometry column."""
    shapes = (
        geometry
        if geometry is not None
        else pa.array(shapely.to_wkb([shapely.box(1, 1, 5, 5), shapely.box(6, 1, 9, 5)]))
    )
    geo = {
        "version": "1.1.0",
        "primary_column": "g",
        "columns": {"g": {"encoding": encoding, "geometry_types": [], **about}},
    }
    table = pa.table({"g": shapes, "id": ids if ids is not None else pa.array(["a", "b"])})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)


@pytest.mark.parametrize("encoding", ["WKB", "multipolygon", "polygon"])
def test_geoparquet_in_every_encoding(tmp_path, encoding):
    holed = shapely.Polygon(SQUARE, [[(1, 1), (2, 1), (2, 2), (1, 1)]])
    shapes = np.array([holed, shapely.box(6, 1, 9, 5)])
    if encoding == "WKB":
        column = pa.array(shapely.to_wkb(shapes))
    else:
        column = native(shapes if encoding == "polygon" else shapely.multipolygons(shapes, indices=[0, 1]))
    write_parquet(tmp_path / "z.parquet", {}, column, encoding=encoding)
    zones = read_zones(tmp_path / "z.parquet", "id")
    assert zones.ids == ("a", "b") and shapely.area(zones.geometries).tolist() == [15.5, 12]
    assert "CRS84" in zones.crs or "4326" in zones.crs
    assert read_aoi(tmp_path / "z.parquet").area == 27.5


def native(shapes: np.ndarray) -> pa.Array:
    _, xy, offsets = shapely.to_ragged_array(shapes)
    array = pa.StructArray.from_arrays([pa.array(xy[:, 0]), pa.array(xy[:, 1])], ["x", "y"])
    for starts in offsets:
        array = pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), array)
    return array


def test_geoparquet_without_a_crs_is_longitude_and_latitude_and_null_is_undefined(tmp_path):
    write_parquet(tmp_path / "z.parquet", {})
    assert read_aoi(tmp_path / "z.parquet").bounds == (1, 1, 9, 5)
    write_parquet(tmp_path / "n.parquet", {"crs": None})
    with pytest.raises(AoiError, match=r"n\.parquet: the layer has no CRS"):
        read_aoi(tmp_path / "n.parquet")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "plain.parquet")
    with pytest.raises(ZoneError, match="no GeoParquet"):
        read_zones(tmp_path / "plain.parquet", "id")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "z.parquet").read_bytes()[:-20])
    with pytest.raises(ZoneError, match="damaged"):
        read_zones(tmp_path / "cut.parquet", "id")


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([2**63 + 1, 5], pa.uint64()), (str(2**63 + 1), "5")),
        (pa.array([decimal.Decimal(10**29 + 1), decimal.Decimal(5)], pa.decimal128(38, 0)), (str(10**29 + 1), "5")),
        (pa.array([dt.date(2024, 5, 1), dt.date(2024, 5, 2)]), ("2024-05-01", "2024-05-02")),
        (
            pa.array([uuid.UUID(int=7).bytes, uuid.UUID(int=8).bytes], pa.binary(16)),
            (str(uuid.UUID(int=7)), str(uuid.UUID(int=8))),
        ),
        (pa.array(["a", "ñ"]).dictionary_encode(), ("a", "ñ")),
        (pa.array([b"\x01", b"\xff"]), ("01", "ff")),
        (pa.array([7.0, 7.5]), ("7", "7.5")),
    ],
)
def test_identifiers_of_geoparquet(tmp_path, ids, expected):
    write_parquet(tmp_path / "z.parquet", {}, ids=ids)
    assert read_zones(tmp_path / "z.parquet", "id").ids == expected
    assert read_zones(tmp_path / "z.parquet", "fid").ids == ("1", "2")

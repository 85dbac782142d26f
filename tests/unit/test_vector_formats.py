"""Areas and zones are data: what names other files or addresses is refused, and nothing is fetched."""

from __future__ import annotations

import http.server
import json
import sqlite3
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from hpckit.errors import AoiError, ZoneError
from hpckit.space.aoi import read_aoi
from hpckit.space.areafile import AreaFile
from hpckit.space.crops import zone_labels
from hpckit.space.zones import read_zones

pytestmark = pytest.mark.slow

COLLECTION = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"id": "a", "crop": "maize"},
            "geometry": shapely.geometry.mapping(shapely.box(1, 1, 3, 3)),
        }
    ],
}


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that notes what is asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(COLLECTION).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def vrt(source: str) -> str:
    return (
        f'<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{source}</SrcDataSource>'
        "<SrcLayer>a</SrcLayer></OGRVRTLayer></OGRVRTDataSource>"
    )


def pipeline(source: str) -> str:
    return json.dumps({"type": "gdal_streamed_alg", "command_line": f"gdal vector pipeline ! read {source}"})


@pytest.mark.parametrize("name", ["a.vrt", "a.geojson", "a.json", "a.gml", "a.kml", "a.csv", "a.shp", "a.gpkg", "a"])
@pytest.mark.parametrize("make", [vrt, lambda at: " <!-- -->" + vrt(at), pipeline])
@pytest.mark.parametrize("remote", [True, False])
def test_what_names_others_is_refused_under_any_name(tmp_path, listener, name, make, remote):
    address, asked = listener
    (tmp_path / "hidden.geojson").write_text(json.dumps(COLLECTION))
    path = tmp_path / name
    path.write_text(make(f"{address}/a.geojson" if remote else str(tmp_path / "hidden.geojson")))
    with pytest.raises(AoiError, match="is refused"):
        read_aoi(path)
    with pytest.raises(ZoneError, match="is refused"):
        read_zones(path, "id")
    assert zone_labels(path, "id", None, ["a"]) == [None]
    assert not asked


@pytest.mark.parametrize("member", ["a.vrt", "a.geojson", "inner/a.json"])
def test_what_names_others_is_refused_in_a_zip_file(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, vrt("/etc/passwd"))
    with pytest.raises(AoiError, match="is refused"):
        read_aoi(tmp_path / "a.zip")


@pytest.mark.parametrize(
    "source", ["/vsicurl/{}/a.geojson", "{}/a.geojson", "WFS:{}/wfs", "/vsizip//vsicurl/{}/a.zip"]
)
def test_addresses_are_no_files(tmp_path, listener, source):
    address, asked = listener
    for text in (source.format(address), AreaFile(path=source.format(address))):
        with pytest.raises(AoiError, match="no such file"):
            read_aoi(text, tmp_path)
    with pytest.raises(ZoneError, match="no such"):
        read_zones(Path(source.format(address)), "id")
    assert not asked


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW v AS SELECT ogr_geocode('Paris') AS g",
        "CREATE VIEW v AS SELECT \"ogr_layer_Extent\" ('zones')",
        "CREATE VIEW v AS SELECT gdal_get_layer_pixel_value('/etc/x', 1, 'georef', 0, 0)",
        "CREATE VIEW v AS SELECT Load_Extension('/tmp/x.so')",
        "CREATE TRIGGER t AFTER INSERT ON zones BEGIN SELECT ogr_datasource_load_layers('/etc/x'); END",
        "CREATE VIRTUAL TABLE d USING dbstat",
    ],
)
@pytest.mark.parametrize("ending", ["gpkg", "sqlite"])
def test_databases_that_do_more_than_hold_data_are_refused(tmp_path, sql, ending):
    path = layer(tmp_path / f"zones.{ending}")
    assert read_zones(path, "id").ids == ("a", "b")
    with sqlite3.connect(path) as db:
        try:
            db.execute(sql)
        except sqlite3.OperationalError as error:
            pytest.skip(f"this SQLite refuses it itself: {error}")
    with pytest.raises(ZoneError, match="is refused"):
        read_zones(path, "id")


def test_views_that_only_select_are_read(tmp_path):
    path = layer(tmp_path / "zones.gpkg")
    with sqlite3.connect(path) as db:
        db.execute("CREATE VIEW few AS SELECT * FROM zones WHERE fid = 1")
    assert read_zones(path, "id", "zones").ids == ("a", "b")


def layer(path: Path) -> Path:
    options = {"GEOMETRY": "AS_WKT"} if path.suffix == ".csv" else {}
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array([shapely.box(n, 0, n + 0.5, 4) for n in (1, 2)])),
        field_data=[np.array(["a", "b"], dtype=object)],
        fields=["id"],
        geometry_type="Polygon",
        crs="EPSG:4326",
        driver={".gdb": "OpenFileGDB", ".kml": "LIBKML"}.get(path.suffix),
        **options,
    )
    return path


@pytest.mark.parametrize(
    "ending", ["gpkg", "shp", "geojson", "geojsonl", "fgb", "gml", "kml", "csv", "sqlite", "gdb"]
)
def test_known_formats_are_read(tmp_path, ending):
    path = layer(tmp_path / f"z.{ending}")
    assert len(read_zones(path, "fid", crs="EPSG:4326")) == 2
    assert read_aoi(AreaFile(path=str(path), crs="EPSG:4326")).area == pytest.approx(4)


def test_zipped_shapefiles_are_read(tmp_path):
    layer(tmp_path / "z.shp")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for file in tmp_path.glob("z.*"):
            if file.suffix != ".zip":
                archive.write(file, file.name)
        archive.writestr("readme.txt", "zones")
    assert read_zones(tmp_path / "z.zip", "id").ids == ("a", "b")


@pytest.mark.parametrize("place", ["{}/s.xsd", "http://example.invalid {}/s.xsd"])
def test_schemas_of_gml_are_not_fetched(tmp_path, listener, place):
    address, asked = listener
    path = layer(tmp_path / "z.gml")
    text = path.read_text()
    (tmp_path / "z.xsd").unlink()
    head, tail = text.split("schemaLocation=", 1)
    path.write_text(
        f'{head}schemaLocation="http://ogr.maptools.org/ {place.format(address)}"{tail.split(chr(34), 2)[2]}'
    )
    assert len(read_zones(path, "fid", crs="EPSG:4326")) == 2
    assert not asked


def test_gml_that_names_files_or_declares_entities_is_refused(tmp_path):
    text = layer(tmp_path / "z.gml").read_text()
    for name, changed in {
        "a.gml": text.replace(" z.xsd", " ../../etc/other.xsd"),
        "b.gml": text.replace("<ogr:", '<!DOCTYPE a [<!ENTITY e SYSTEM "/etc/passwd">]><ogr:', 1),
    }.items():
        assert changed != text
        (tmp_path / name).write_text(changed)
        with pytest.raises(AoiError, match="is refused"):
            read_aoi(tmp_path / name)


SHAPES = [
    shapely.box(5, 51, 5.1, 51.1),
    shapely.Polygon(shapely.box(5.2, 51, 5.3, 51.1).exterior, [shapely.box(5.22, 51.02, 5.25, 51.05).exterior]),
    shapely.MultiPolygon([shapely.box(6, 51, 6.1, 51.1), shapely.box(6.2, 51, 6.3, 51.1)]),
]
IDS = ["Ä1", "0012", "x"]


def written(path: Path, driver: str, **options: object) -> Path:
    kind = {"ESRI Shapefile": "Polygon", "OpenFileGDB": "MultiPolygon"}.get(driver, "Unknown")
    wkb = np.array([shapely.to_wkb(shape) for shape in SHAPES], dtype=object)
    columns = [np.array(IDS, dtype=object)]
    pyogrio.raw.write(path, wkb, columns, ["key"], geometry_type=kind, crs="EPSG:4326", driver=driver, **options)
    return path


def require_shapes(path: Path) -> None:
    zones = read_zones(path, "key", crs="EPSG:4326" if path.suffix == ".csv" else None)
    found = dict(zip(zones.ids, zones.geometries, strict=True))
    assert found.keys() == set(IDS)
    for name, shape in zip(IDS, SHAPES, strict=True):
        assert found[name].symmetric_difference(shape).area < 1e-9


@pytest.mark.parametrize(
    ("name", "driver", "options"),
    [
        ("a.gml", "GML", {}),
        ("a.gml", "GML", {"dataset_options": {"FORMAT": "GML3.2"}}),
        ("a.gml", "GML", {"dataset_options": {"XSISCHEMA": "OFF"}}),
        ("a.fgb", "FlatGeobuf", {}),
        ("a.geojson", "GeoJSON", {}),
        ("a.shp", "ESRI Shapefile", {}),
        ("a.gdb", "OpenFileGDB", {}),
        ("a.csv", "CSV", {"layer_options": {"GEOMETRY": "AS_WKT"}}),
    ],
)
def test_formats_give_the_same_zones(tmp_path: Path, name: str, driver: str, options: dict[str, object]) -> None:
    require_shapes(written(tmp_path / name, driver, **options))


@pytest.mark.parametrize("schema", ["", "<broken", None])
def test_a_gml_with_a_schema_beside_it_that_is_of_no_use(tmp_path: Path, schema: str | None) -> None:
    path = written(tmp_path / "a.gml", "GML")
    beside = path.with_suffix(".xsd")
    assert beside.exists()
    if schema is None:
        beside.unlink()
    else:
        beside.write_text(schema)
    require_shapes(path)


@pytest.mark.parametrize("folder", ["", "in/", "in/it/"])
def test_zipped_shapefiles(tmp_path: Path, folder: str) -> None:
    files = list(written(tmp_path / "a.shp", "ESRI Shapefile").parent.glob("a.*"))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for path in files:
            archive.write(path, f"{folder}{path.name}")
    if not folder:
        require_shapes(tmp_path / "z.zip")
        return
    with pytest.raises(ZoneError, match=rf"z\.zip: {folder}a\.shp lies in a folder of the zip file") as caught:
        read_zones(tmp_path / "z.zip", "key")
    assert caught.value.hint == "unpack it"


def test_a_shapefile_without_its_index_is_named(tmp_path: Path) -> None:
    written(tmp_path / "a.shp", "ESRI Shapefile").with_suffix(".shx").unlink()
    with pytest.raises(ZoneError, match=r"a\.shx is missing beside it") as caught:
        read_zones(tmp_path / "a.shp", "key")
    assert "copy all files" in (caught.value.hint or "")

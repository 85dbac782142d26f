"""The GeoPackage as a file: what QGIS finds in it, and what becomes of bad ones."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely

from hpckit.errors import StoreError, StoreUnavailableError
from hpckit.reduce.signatures.spool import Segment, read_segment, write_segment
from hpckit.store.geopackage import GeoPackage
from hpckit.testing.signatures import BANDS, REDUCTION, STATISTICS, batch, header, segment, zone_layer

pytestmark = pytest.mark.integration

LAYER = zone_layer()


@pytest.fixture
def sealed(tmp_path: Path) -> Segment:
    folder = tmp_path / "spool"
    folder.mkdir()
    return segment(folder, [batch(0), batch(1, empty=[2])], LAYER)


@pytest.fixture
def loaded(tmp_path: Path, sealed: Segment) -> Path:
    path = tmp_path / "store.gpkg"
    store = GeoPackage(path)
    store.prepare()
    store.load_zones(REDUCTION, LAYER)
    store.load_segment(sealed)
    store.close()
    return path


def test_gdal_finds_zones_and_tables(loaded: Path) -> None:
    layers = dict(pyogrio.list_layers(loaded))
    assert layers[f"zones_{REDUCTION}"] == "MultiPolygon"
    for table in (f"record_{REDUCTION}", f"signature_{REDUCTION}", "acquisition", "observation", "hpckit_ledger"):
        assert table in layers
        assert layers[table] is None
    zones = pyogrio.read_dataframe(loaded, layer=f"zones_{REDUCTION}")
    assert list(zones["id"]) == list(LAYER.ids)
    assert zones.crs == pyproj.CRS(32631)
    assert shapely.equals(zones.geometry.to_numpy(), LAYER.geometries).all()
    info = pyogrio.read_info(loaded, layer=f"zones_{REDUCTION}")
    assert info["capabilities"]["fast_spatial_filter"], "there is a spatial index"


def test_gdal_reads_the_tall_view(loaded: Path, sealed: Segment) -> None:
    frame = pyogrio.read_dataframe(
        loaded, layer=f"signature_{REDUCTION}", where="band = 'NDVI' AND zone = '%s %(x)s'"
    )
    assert len(frame) == 2
    assert np.float32(frame["mean"][0]) == sealed.batches[0].values[3, 2, 0]
    assert str(frame["time"].dtype).startswith("datetime64")
    everything = pyogrio.read_dataframe(loaded, layer=f"signature_{REDUCTION}", fid_as_index=True)
    assert len(everything) == 16 * len(BANDS)
    assert everything.index.is_unique


VIEW_TYPES = {
    f"signature_{REDUCTION}": {
        "zone": "object",
        "time": "datetime64[ms]",
        "band": "object",
        **dict.fromkeys(
            ["valid", "total", "valid_fraction", "mean", "std", "min", "max", "p25", "p50", "p75"], "float64"
        ),
        **dict.fromkeys(["acquisition", "platform", "tile", "baseline"], "object"),
        "relative_orbit": "int64",
        "run_id": "object",
    },
    f"latest_{REDUCTION}": {
        "zone": "object",
        "time": "datetime64[ms]",
        **dict.fromkeys(["NDVI_valid", "NDVI_total", "B04_mean", "B08@60m_mean", "NDVI_mean"], "float64"),
        **dict.fromkeys(["acquisition", "platform"], "object"),
    },
    f"wide_{REDUCTION}": {
        "zone": "object",
        "time": "datetime64[ms]",
        **dict.fromkeys([f"{band}_{name}" for band in BANDS for name in ("valid", "total", *STATISTICS)], "float64"),
        **dict.fromkeys(["SCL_4", "SCL_5", "SCL_9"], "float64"),
        **dict.fromkeys(["acquisition", "platform", "tile", "baseline"], "object"),
        "relative_orbit": "int64",
        "run_id": "object",
    },
    "hpckit_ledger": {
        **dict.fromkeys(["spool_id", "campaign", "run_id"], "object"),
        "reduction": "int64",
        "units": "int64",
    },
}


def _view_types(path: Path) -> dict[str, dict[str, str]]:
    with sqlite3.connect(path) as db:
        views = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
    read = {view: pyogrio.read_info(path, layer=view) for view in views}
    return {view: dict(zip(info["fields"], info["dtypes"], strict=True)) for view, info in read.items()}


def test_columns_of_views_have_types_whatever_is_in_them(loaded: Path, sealed: Segment) -> None:
    """SQLite that comes with Python, and that which comes with GDAL: what is declared counts, not the first row."""
    assert _view_types(loaded) == VIEW_TYPES
    everything = pyogrio.read_dataframe(loaded, layer=f"signature_{REDUCTION}", where="band = 'NDVI'")
    expected = sealed.batches[0].valid[3, 2] / sealed.batches[0].total[3, 2]
    zone = everything[everything["zone"] == LAYER.ids[3]]
    assert zone["valid_fraction"].to_list()[0] == pytest.approx(expected)
    assert pyogrio.read_dataframe(loaded, layer="hpckit_ledger")["units"].to_list() == [2]
    with sqlite3.connect(loaded) as db:
        declared = {row[1]: row[2] for row in db.execute(f"PRAGMA table_info(signature_{REDUCTION})")}
    assert declared["valid_fraction"] == declared["mean"] == "REAL"


@pytest.mark.parametrize("emptied", ["numbers", "rows"])
def test_columns_of_views_have_types_without_numbers(loaded: Path, emptied: str) -> None:
    with sqlite3.connect(loaded) as db:
        if emptied == "rows":
            db.execute(f"DELETE FROM record_{REDUCTION}")
            db.execute("DELETE FROM observation")
        else:
            names = [row[1] for row in db.execute(f"PRAGMA table_info(record_{REDUCTION})") if row[2] == "REAL"]
            kept = [name for name in names if not name.endswith("_total")]
            changes = ", ".join(f'"{name}" = NULL' for name in kept)
            db.execute(f"UPDATE record_{REDUCTION} SET {changes}")
    # Without rows GDAL takes the feature number for a column.
    types = {view: {k: v for k, v in found.items() if k != "OGC_FID"} for view, found in _view_types(loaded).items()}
    assert types == VIEW_TYPES


def forget_attributes(db: sqlite3.Connection) -> None:
    """What the script for attributes added."""
    db.execute(f"DROP VIEW IF EXISTS wide_{REDUCTION}")
    for column in ("attributes", "attributes_digest"):
        db.execute(f"ALTER TABLE hpckit_reduction DROP COLUMN {column}")


def test_views_of_an_earlier_version_get_types(loaded: Path) -> None:
    with sqlite3.connect(loaded) as db:
        view = f"signature_{REDUCTION}"
        (made,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", [view]).fetchone()
        db.execute(f"DROP VIEW {view}")
        db.execute("DROP VIEW hpckit_ledger")
        db.execute(f"CREATE VIEW {view} AS {made.partition(' UNION ALL ')[2]}")
        db.execute(
            "CREATE VIEW hpckit_ledger AS SELECT MIN(id) AS OGC_FID, segment AS spool_id, campaign, run_id,"
            " reduction, COUNT(*) AS units FROM observation"
            " WHERE segment <> '' GROUP BY segment, campaign, run_id, reduction"
        )
        forget_attributes(db)
        db.execute("DELETE FROM hpckit_schema WHERE version > 2")
    assert _view_types(loaded) != VIEW_TYPES
    store = GeoPackage(loaded)
    store.prepare()
    store.close()
    assert _view_types(loaded) == VIEW_TYPES


def test_the_file_is_sound(loaded: Path) -> None:
    with sqlite3.connect(loaded) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        listed = {name for (name,) in db.execute("SELECT table_name FROM gpkg_contents")}
        present = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    assert listed <= present


def test_the_view_takes_the_index(loaded: Path) -> None:
    query = f"EXPLAIN QUERY PLAN SELECT mean FROM signature_{REDUCTION} WHERE zone = 'x' AND band = 'NDVI'"
    with sqlite3.connect(loaded) as db:
        plan = " ".join(row[-1] for row in db.execute(query))
    assert f"record_{REDUCTION}_key" in plan
    # The first SELECT gives types; it has no rows, and its condition is looked at before any table.
    assert "SCAN r" not in plan.partition(" UNION ALL ")[2]


def test_a_users_own_layers_stay(tmp_path: Path) -> None:
    path = tmp_path / "mine.gpkg"
    geometry = shapely.to_wkb(np.array([shapely.Point(1, 2)]))
    pyogrio.raw.write(
        path, geometry, [np.array([5])], ["n"], layer="wells", driver="GPKG", geometry_type="Point", crs="EPSG:4326"
    )
    store = GeoPackage(path)
    store.prepare()
    store.load_zones(REDUCTION, LAYER)
    store.close()
    assert "wells" in {name for name, _ in pyogrio.list_layers(path)}


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nothing\.gpkg: no such GeoPackage"):
        GeoPackage(tmp_path / "nothing.gpkg").series(REDUCTION, "1")
    assert not (tmp_path / "nothing.gpkg").exists()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\7" * 5000])
def test_not_a_geopackage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.gpkg"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"other\.gpkg"):
        GeoPackage(path).prepare()
    assert path.read_bytes() == content


def test_another_sqlite_file(tmp_path: Path) -> None:
    path = tmp_path / "other.gpkg"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="is no GeoPackage"):
        GeoPackage(path).prepare()


def test_damaged(loaded: Path) -> None:
    data = bytearray(loaded.read_bytes())
    data[4096 * 3 :] = b"\xff" * (len(data) - 4096 * 3)
    loaded.write_bytes(data)
    with pytest.raises(StoreError, match=r"store\.gpkg"):
        GeoPackage(loaded).series(REDUCTION, LAYER.ids[0])


def test_locked(loaded: Path, sealed: Segment, tmp_path: Path) -> None:
    other = sqlite3.connect(loaded, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError, match="another program") as caught:
        GeoPackage(loaded, timeout_s=0.1).load_segment(sealed)
    assert caught.value.exit_code == 75
    other.execute("ROLLBACK")
    assert GeoPackage(loaded, timeout_s=0.1).load_segment(sealed) == 0


def test_newer_schema(loaded: Path) -> None:
    with sqlite3.connect(loaded) as db:
        db.execute("INSERT INTO hpckit_schema (version) VALUES (99)")
    with pytest.raises(StoreError, match="version 99"):
        GeoPackage(loaded).prepare()


def test_read_only(loaded: Path, tmp_path: Path) -> None:
    """Series can be read; loading says what is wrong. In a child without root's rights."""
    script = """
import os, sys
from pathlib import Path
import pandas
from hpckit.errors import StoreError
from hpckit.store.geopackage import GeoPackage
from hpckit.testing.signatures import zone_layer
GeoPackage(Path(sys.argv[1])).series("parcels", "x")  # imports all that is imported late
layer = zone_layer()
layer.digest
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
store = GeoPackage(Path(sys.argv[1]))
print(len(store.series("parcels", "\\\\", "NDVI")))
try:
    store.load_zones("other", layer)
except StoreError as error:
    print(error)
"""
    loaded.chmod(0o444)
    tmp_path.chmod(0o555)
    # Folders above are pytest's own, up to pytest-of-<user>; how many depends on whether it runs in parallel.
    for folder in takewhile(lambda folder: folder != Path(tempfile.gettempdir()), tmp_path.parents):
        folder.chmod(0o755)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(loaded)], capture_output=True, text=True, check=False
        )
    finally:
        tmp_path.chmod(0o755)
    assert done.stdout.splitlines()[0] == "2", done.stderr
    assert "store.gpkg: is read-only" in done.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small tmpfs cannot be mounted here: that takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full(small_disk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    layer = zone_layer([str(number) for number in range(2000)])
    first = segment(folder, [batch(0, range(2000))], layer)
    more = segment(folder, [batch(n, range(2000)) for n in range(1, 9)], layer)
    store = GeoPackage(small_disk / "store.gpkg")
    store.prepare()
    store.load_zones(REDUCTION, layer)
    store.load_segment(first)
    with pytest.raises(StoreError, match="disk is full"):
        store.load_segment(more)
    store.close()
    assert store.made_from(REDUCTION) == {item.unit: item.inputs for item in first.batches}
    assert store.summary()[REDUCTION]["records"] == 2000
    store.close()


def test_disk_full_while_spooling(small_disk: Path) -> None:
    """The runner marks the units failed on OSError; nothing half-written may look like a segment."""
    with pytest.raises(OSError):
        write_segment(small_disk / "a.h5", header(LAYER), [batch(0, range(100_000))])
    assert list(small_disk.iterdir()) == []
    write_segment(small_disk / "b.h5", header(LAYER), [batch(0, range(100))])
    assert read_segment(small_disk / "b.h5").rows == 100

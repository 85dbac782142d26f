"""Syncs that are killed: the next one finds a whole store, loads the same rows, and leaves nothing beside it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from hpckit.errors import StoreError
from hpckit.space.zones import ZoneLayer
from hpckit.store.geopackage import GeoPackage
from hpckit.store.leftovers import remove_leftovers
from hpckit.testing.signatures import REDUCTION, batch, segment, zone_layer

pytestmark = pytest.mark.integration

MANY = 12_000
"""Zones from which on GDAL builds the spatial index in a file of its own."""
WRITE = """
import sys
from pathlib import Path
from tests.integration.test_store_leftovers import large, REDUCTION
from hpckit.store.geopackage import GeoPackage
layer = large()
print("ready", flush=True)
store = GeoPackage(Path(sys.argv[1]))
store.prepare()
print("prepared", flush=True)
store.load_zones(REDUCTION, layer)
print("loaded", flush=True)
"""


def large() -> ZoneLayer:
    corner = np.arange(MANY)
    x, y = 600_000 + 30.0 * (corner % 200), 5_600_000 + 30.0 * (corner // 200)
    return ZoneLayer(tuple(f"z{n}" for n in range(MANY)), shapely.box(x, y, x + 20, y + 20), "EPSG:32631")


def beside(path: Path) -> set[str]:
    return {other.name for other in path.parent.iterdir()} - {path.name}


def killed(path: Path, word: str, wait_s: float) -> None:
    """A process that loads zones, killed some time after it said a word."""
    with subprocess.Popen([sys.executable, "-c", WRITE, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() not in (word, "loaded"):
            pass
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)


def test_whenever_it_is_killed_nothing_is_left_by_the_next_sync(tmp_path: Path) -> None:
    path, layer, seen = tmp_path / "folder" / "store.gpkg", large(), set[str]()
    path.parent.mkdir()
    moments = random.Random(1)
    for attempt in range(5):
        killed(path, "ready" if attempt % 2 else "prepared", moments.uniform(0, 0.03 if attempt % 2 else 0.4))
        seen |= beside(path)
    store = GeoPackage(path)
    store.prepare()
    store.load_zones(REDUCTION, layer)
    store.close()
    assert beside(path) == set(), f"of {seen}"
    assert store.layers() == {REDUCTION: layer.digest}
    store.close()
    zones = pyogrio.read_dataframe(path, layer=f"zones_{REDUCTION}")
    assert list(zones["id"]) == list(layer.ids)
    assert pyogrio.read_info(path, layer=f"zones_{REDUCTION}")["capabilities"]["fast_spatial_filter"]
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("name", [REDUCTION, "other"])
def test_indexes_that_gdal_was_building_are_removed_of_own_layers_only(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store.gpkg"
    ours, theirs = f"store.gpkg.tmp_rtree_zones_{name}.db", "store.gpkg.tmp_rtree_wells.db"
    for each in (ours, f"{ours}-journal", theirs):
        (tmp_path / each).write_bytes(b"half")
    store = GeoPackage(path)
    store.prepare()
    store.load_zones(name, zone_layer())
    store.close()
    assert beside(path) == {theirs}, "of a layer that a person writes nothing is known"


PROBES = [
    f".store.{'a1' * 6}.partial.gpkg",
    f".locks.{'0f' * 16}.partial",
    f"..store.gpkg.lock.{'0f' * 16}.partial",
    f".store.gpkg.{'0f' * 16}.partial",
]
KEPT = [
    ".store.gpkg.partial",
    ".locks.mine.partial",
    f".other.{'a1' * 6}.partial.gpkg",
    "store.gpkg.bak",
    "a.partial",
]


def test_probes_are_removed_when_nobody_can_use_them_any_more(tmp_path: Path) -> None:
    path, hour = tmp_path / "store.gpkg", 3600
    for name in [*PROBES, *KEPT]:
        (tmp_path / name).touch()
    GeoPackage(path).prepare()
    assert beside(path) == {*PROBES, *KEPT}, "another program may have made them just now"
    for name in [*PROBES, *KEPT]:
        os.utime(tmp_path / name, (time.time() - 2 * hour, time.time() - 2 * hour))
    GeoPackage(path).prepare()
    assert beside(path) == set(KEPT), "what hpckit has not named so is a person's"


def test_a_folder_that_cannot_be_listed_is_left_alone(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "missing" / "store.gpkg", []) == []


def test_an_empty_file_is_no_store_yet_and_becomes_one(tmp_path: Path) -> None:
    """What is left of a store that was killed before its first transaction ended."""
    path = tmp_path / "store.gpkg"
    path.touch()
    store = GeoPackage(path)
    assert not store.is_made()
    with pytest.raises(StoreError, match="no such GeoPackage"):
        store.reductions()
    store.prepare()
    assert store.is_made() and store.reductions() == []
    store.close()


def test_two_programs_that_make_a_store_at_once_share_it(tmp_path: Path) -> None:
    """Neither replaces the file of the other."""
    path = tmp_path / "store.gpkg"
    script = (
        "import sys; from pathlib import Path; from hpckit.store.geopackage import GeoPackage\n"
        "from hpckit.testing.signatures import zone_layer\n"
        "layer = zone_layer(); print('ready', flush=True); sys.stdin.readline()\n"
        "store = GeoPackage(Path(sys.argv[1])); store.prepare(); store.load_zones(sys.argv[2], layer); store.close()"
    )
    names = ["one", "two", "three"]
    programs = [
        subprocess.Popen([sys.executable, "-c", script, path, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in names
    ]
    for program in programs:
        assert program.stdout is not None and program.stdout.readline() == b"ready\n"
    for program in programs:
        program.communicate(b"\n")
    assert [program.returncode for program in programs] == [0, 0, 0]
    store = GeoPackage(path)
    assert set(store.reductions()) == set(names)
    store.close()


def test_rows_that_were_loaded_stay(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    layer, path = zone_layer(), tmp_path / "store.gpkg"
    for _ in range(2):
        store = GeoPackage(path)
        store.prepare()
        store.load_zones(REDUCTION, layer)
        store.load_segment(segment(tmp_path / "spool", [batch(0)], layer))
        store.close()
    assert store.summary()[REDUCTION]["records"] == len(batch(0).zone)
    store.close()

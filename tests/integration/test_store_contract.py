"""What every store must do; checked around the store, in SQL of its own."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg2
import pytest

from hpckit.errors import SpoolError, StoreError
from hpckit.spool import Segment, SignatureBatch
from hpckit.store.geopackage import GeoPackage
from hpckit.store.model import Store
from hpckit.store.postgis import PostGis
from tests.store_samples import BANDS, INJECTIONS, REDUCTION, STATISTICS, batch, segment, zone_layer

pytestmark = pytest.mark.integration

LAYER = zone_layer()
Count = Callable[[str], int]


@pytest.fixture(params=["geopackage", pytest.param("postgis", marks=pytest.mark.postgis)])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Callable[[], Store], Count]]:
    """Makes a store object for one and the same empty store; counts rows of a table around it."""
    if request.param == "geopackage":
        path = tmp_path / "a 'b' \"c\" #?.gpkg"
        names = {"record": f"record_{REDUCTION}", "ledger": "hpckit_ledger"}

        def count(table: str) -> int:
            with sqlite3.connect(path) as db:
                return int(db.execute(f"SELECT COUNT(*) FROM {names.get(table, table)}").fetchone()[0])

        yield lambda: GeoPackage(path), count
        return
    dsn, schema = request.getfixturevalue("postgis_dsn"), f"t_{uuid.uuid4().hex[:12]}"

    def count_postgis(table: str) -> int:
        with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {schema}.{table}")
            return int(cursor.fetchone()[0])  # type: ignore[index]

    yield lambda: PostGis(dsn, schema), count_postgis
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def count(fresh: tuple[Callable[[], Store], Count]) -> Count:
    return fresh[1]


@pytest.fixture
def store(fresh: tuple[Callable[[], Store], Count]) -> Iterator[Store]:
    made = fresh[0]()
    made.prepare()
    made.load_zones(REDUCTION, LAYER)
    yield made
    made.close()


@pytest.fixture
def seal(tmp_path: Path) -> Callable[..., Segment]:
    folder = tmp_path / "spool"
    folder.mkdir()
    return lambda *batches, layer=LAYER, **options: segment(folder, batches, layer, **options)


def check_series(store: Store, made: SignatureBatch, row: int) -> None:
    """Series of a zone equals what the batch holds of it, to the bit."""
    frame = store.series(REDUCTION, LAYER.ids[made.zone[row]])
    frame = frame[frame["acquisition"] == made.acquisition.id]
    assert list(frame["band"]) == list(made.bands)
    np.testing.assert_array_equal(frame[list(made.statistics)].to_numpy(np.float32), made.values[row])
    np.testing.assert_array_equal(frame["valid"].to_numpy(np.float32), made.valid[row])
    np.testing.assert_array_equal(frame["total"].to_numpy(np.float32), made.total[row])
    info = made.acquisition
    assert set(frame["time"]) == {pd.Timestamp(info.time).tz_localize(None)}
    assert set(frame["baseline"]) == {info.baseline}
    assert set(frame["relative_orbit"]) == {info.relative_orbit}
    assert set(frame["platform"]) == {info.platform}
    assert set(frame["tile"]) == {info.tile}


def test_series_are_what_was_computed(store: Store, count: Count, seal: Callable[..., Segment]) -> None:
    made = [batch(2, empty=[1, 4]), batch(0), batch(1, range(3))]
    assert store.load_segment(seal(*made)) == 19
    for one in made:
        for row in range(len(one.zone)):
            check_series(store, one, row)
    frame = store.series(REDUCTION, LAYER.ids[0])
    assert list(frame["time"]) == sorted(frame["time"])
    np.testing.assert_allclose(frame["valid_fraction"], frame["valid"] / frame["total"])
    one_band = store.series(REDUCTION, LAYER.ids[0], "NDVI")
    pd.testing.assert_frame_equal(one_band, frame[frame["band"] == "NDVI"].reset_index(drop=True))
    assert set(frame["run_id"]) == {"run-1"}
    assert (count("record"), count("ledger")) == (19, 1)


def test_a_segment_counts_once(fresh: Any, store: Store, count: Count, seal: Callable[..., Segment]) -> None:
    sealed = seal(batch(0), batch(1))
    assert store.load_segment(sealed) == 16
    assert store.load_segment(sealed) == 0
    other = fresh[0]()
    other.prepare()
    other.load_zones(REDUCTION, LAYER)
    assert other.loaded_ids() == {sealed.spool_id}
    assert other.load_segment(sealed) == 0
    other.close()
    assert (count("record"), count("ledger"), count("observation"), count("acquisition")) == (16, 1, 2, 2)


def test_two_programs_load_the_same_segments_at_once(
    fresh: Any, store: Store, count: Count, seal: Callable[..., Segment]
) -> None:
    sealed = [seal(batch(number)) for number in range(6)]
    results: list[int] = []

    def work() -> None:
        mine = fresh[0]()
        results.extend(mine.load_segment(item) for item in sealed)
        mine.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 18
    assert sum(results) == 6 * 8
    assert (count("record"), count("ledger")) == (48, 6)


@pytest.mark.parametrize("newer_first", [True, False])
@pytest.mark.parametrize(("older", "newer"), [("04.00", "05.10"), ("02.08", "04.00"), ("99.99", "02.08")])
def test_newest_baseline_stays(
    store: Store, count: Count, seal: Callable[..., Segment], older: str, newer: str, newer_first: bool
) -> None:
    """N9999 is a test of the ground segment and gives way to all others. Part of the zones overlaps."""
    old, new = batch(0, range(6), seed=1, baseline=older), batch(0, range(4, 8), seed=2, baseline=newer)
    for one in (new, old) if newer_first else (old, new):
        store.load_segment(seal(one))
    for row in range(4):
        check_series(store, new, row)
        check_series(store, old, row)
    assert store.series(REDUCTION, LAYER.ids[4])["baseline"].unique().tolist() == [newer]
    assert count("record") == 8


def test_of_equal_baselines_the_last_loaded_stays(store: Store, count: Count, seal: Callable[..., Segment]) -> None:
    store.load_segment(seal(batch(0, seed=1)))
    again = batch(0, range(2, 5), seed=2)
    store.load_segment(seal(again, run_id="run-2"))
    check_series(store, again, 0)
    assert set(store.series(REDUCTION, LAYER.ids[2])["run_id"]) == {"run-2"}
    assert set(store.series(REDUCTION, LAYER.ids[5])["run_id"]) == {"run-1"}
    assert count("record") == 8


def test_a_zone_twice_in_one_segment(store: Store, count: Count, seal: Callable[..., Segment]) -> None:
    """A unit that was done twice by one worker, and a zone that moved to another tile."""
    first, second = batch(0, seed=1), batch(0, range(4), seed=2, tile="31UFU+31UGU")
    store.load_segment(seal(first, second))
    check_series(store, second, 3)
    check_series(store, first, 5)
    assert count("record") == 8


def test_bands_and_statistics_may_change(store: Store, seal: Callable[..., Segment]) -> None:
    old = batch(0, bands=("B04",), statistics=("mean", "std", "min", "max", "p12.5"))
    new = batch(1, bands=("NDVI", "B04"))
    store.load_segment(seal(old))
    store.load_segment(seal(new))
    assert store.bands(REDUCTION) == ["B04", "NDVI"]
    frame = store.series(REDUCTION, LAYER.ids[3])
    assert [(str(row.band), row.acquisition) for row in frame.itertuples()] == [
        ("B04", "GS2A_00000"),
        ("B04", "GS2A_00001"),
        ("NDVI", "GS2A_00001"),
    ]
    assert np.float32(frame["p12.5"][0]) == old.values[3, 0, 4]
    assert np.isnan(frame["p50"][0])
    assert np.float32(frame["p50"][1]) == new.values[3, 1, 5]
    replaced = batch(0, bands=("NDVI",))
    store.load_segment(seal(replaced))
    assert store.series(REDUCTION, LAYER.ids[3], "NDVI")["mean"].notna().sum() == 2
    assert len(store.series(REDUCTION, LAYER.ids[3], "B04")) == 1, "what the newer record lacks is gone"


@pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=-9, minutes=-30))])
def test_times_are_utc(
    store: Store, seal: Callable[..., Segment], zone: timezone | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        moment = datetime(2024, 6, 30, 23, 59, 58, 999000)
        given = moment if zone is None else moment.replace(tzinfo=UTC).astimezone(zone)
        store.load_segment(seal(batch(0, time=given)))
        assert set(store.series(REDUCTION, LAYER.ids[0])["time"]) == {pd.Timestamp(moment)}
    finally:
        monkeypatch.undo()
        time.tzset()


def test_class_counts(store: Store, seal: Callable[..., Segment]) -> None:
    made = batch(0, empty=[2])
    store.load_segment(seal(made, batch(1)))
    frame = store.class_counts(REDUCTION, LAYER.ids[2])
    assert list(frame.columns) == ["time", "acquisition", "4", "5", "9"]
    np.testing.assert_array_equal(frame[["4", "5", "9"]].to_numpy()[0], made.classes["SCL"][1][2])
    with pytest.raises(StoreError, match="CLD"):
        store.class_counts(REDUCTION, LAYER.ids[2], "CLD")


def test_image(store: Store, seal: Callable[..., Segment]) -> None:
    made = batch(1, range(5), empty=[0])
    store.load_segment(seal(batch(0), made, batch(1, range(5, 8), tile="31UGU")))
    frame = store.image(REDUCTION, "GS2A_00001", "NDVI")
    assert list(frame["zone"]) == list(LAYER.ids)
    np.testing.assert_array_equal(frame[list(STATISTICS)].to_numpy(np.float32)[:5], made.values[:, 2])
    assert len(store.image(REDUCTION, "no such", "NDVI")) == 0


def test_summary_and_names(store: Store, seal: Callable[..., Segment]) -> None:
    assert store.summary() == {REDUCTION: {"zones": 8, "acquisitions": 0, "records": 0, "signatures": 0}}
    store.load_segment(seal(batch(0), batch(1, range(3))))
    assert store.summary() == {REDUCTION: {"zones": 8, "acquisitions": 2, "records": 11, "signatures": 33}}
    assert store.reductions() == [REDUCTION]
    assert store.bands(REDUCTION) == list(BANDS)
    assert store.zone_ids(REDUCTION) == list(LAYER.ids)


def test_what_is_not_there(store: Store, seal: Callable[..., Segment]) -> None:
    store.load_segment(seal(batch(0)))
    assert store.series(REDUCTION, "nobody").empty
    assert "mean" in store.series(REDUCTION, "nobody").columns
    with pytest.raises(StoreError, match="B99"):
        store.series(REDUCTION, LAYER.ids[0], "B99")
    with pytest.raises(StoreError, match="meadows"):
        store.series("meadows", LAYER.ids[0])


@pytest.mark.parametrize("zone", [*INJECTIONS, "' OR '1'='1", "x\0y"])
def test_injection(store: Store, count: Count, seal: Callable[..., Segment], zone: str) -> None:
    store.load_segment(seal(batch(0)))
    assert len(store.series(REDUCTION, zone)) == (3 if zone in INJECTIONS else 0)
    for hostile in (zone, f'a"; DROP TABLE {zone}'):
        with pytest.raises(StoreError):
            store.series(REDUCTION, LAYER.ids[0], hostile)
        with pytest.raises(StoreError):
            store.series(hostile, LAYER.ids[0])
        if "\0" not in hostile:
            assert store.image(REDUCTION, hostile, "NDVI").empty
    assert count("record") == 8


def test_changed_zones_remove_their_results(store: Store, count: Count, seal: Callable[..., Segment]) -> None:
    old = seal(batch(0))
    store.load_segment(old)
    store.load_zones(REDUCTION, LAYER)
    assert count("record") == 8, "the same layer again changes nothing"
    changed = zone_layer(["new", *LAYER.ids])
    store.load_zones(REDUCTION, changed)
    assert (count("record"), count("ledger"), count("observation")) == (0, 0, 0)
    with pytest.raises(StoreError, match="zone layer"):
        store.load_segment(old)
    made = batch(0, range(9))
    store.load_segment(seal(made, layer=changed))
    assert np.float32(store.series(REDUCTION, "new", "B04")["mean"][0]) == made.values[0, 0, 0]
    store.load_zones(REDUCTION, LAYER)
    assert store.load_segment(old) == 8, "the first layer is back, and its segments with it"


def test_several_reductions(store: Store, seal: Callable[..., Segment]) -> None:
    layer = zone_layer(["a", "b"], epsg=3035)
    store.load_zones("forest", layer)
    one, other = seal(batch(0)), seal(batch(0, range(2), seed=5), layer=layer)
    other = replace(other, header=replace(other.header, reduction="forest"))
    store.load_segment(one)
    store.load_segment(other)
    assert store.reductions() == [REDUCTION, "forest"]
    assert len(store.series("forest", "b")) == len(store.series(REDUCTION, LAYER.ids[0])) == 3
    assert store.series("forest", LAYER.ids[0]).empty
    store.load_zones("forest", zone_layer(["a", "c"], epsg=3035))
    assert store.series("forest", "a").empty
    assert len(store.series(REDUCTION, LAYER.ids[0])) == 3


@pytest.mark.parametrize("zones", [[7, 8], [-1, 3]])
def test_rows_beyond_the_layer(store: Store, count: Count, seal: Callable[..., Segment], zones: list[int]) -> None:
    with pytest.raises(SpoolError, match="beyond"):
        store.load_segment(seal(batch(0), batch(1, zones)))
    assert (count("record"), count("ledger")) == (0, 0)


def test_failure_in_the_middle_leaves_nothing(store: Store, count: Count, seal: Callable[..., Segment]) -> None:
    store.load_segment(seal(batch(0)))
    sealed = seal(batch(1), batch(2))
    torn = replace(sealed.batches[1], valid=sealed.batches[1].valid[:3])
    with pytest.raises((ValueError, StoreError)):
        store.load_segment(replace(sealed, batches=(sealed.batches[0], torn)))
    assert (count("record"), count("ledger")) == (8, 1)
    assert store.load_segment(sealed) == 16


def test_segment_without_rows(store: Store, seal: Callable[..., Segment]) -> None:
    assert store.load_segment(seal(batch(0, []))) == 0
    assert store.series(REDUCTION, LAYER.ids[0]).empty

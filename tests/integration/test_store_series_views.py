"""Series views of both stores, tall and wide: what `series` says, with attributes, read by SQL of the test's own."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg2
import pyarrow as pa
import pytest

from hpckit.errors import StoreError
from hpckit.space.attributes import NO_ATTRIBUTES, Attributes
from hpckit.store.geopackage import GeoPackage
from hpckit.store.migrations import migrations
from hpckit.store.model import Store
from hpckit.store.postgis import PostGis
from hpckit.testing.signatures import INJECTIONS, REDUCTION, batch, segment, zone_layer

pytestmark = pytest.mark.integration

LAYER = zone_layer()
ROWS = len(INJECTIONS)
ATTRIBUTES = Attributes(
    {
        "crop": pa.array(["wheat", None, "Zuckerrübe", *["maize"] * (ROWS - 3)]),
        "Größe %s 'ha\"": pa.array([1.5, None, float("inf"), *[2.0] * (ROWS - 3)]),
        "holding": pa.array([2**62 + 1, None, *range(ROWS - 2)]),
        "organic": pa.array([True, None, *[False] * (ROWS - 2)]),
        "sown": pa.array([date(2024, 3, 1), None, *[date(1899, 12, 31)] * (ROWS - 2)]),
        "seen": pa.array([datetime(2024, 3, 1, 10, 30, 31, 24000), None, *[datetime(1950, 1, 1)] * (ROWS - 2)]),
        "text": pa.array(list(INJECTIONS)),
    }
)


@dataclass
class Place:
    """A store, and its SQL as somebody else asks it."""

    open: Callable[..., Store]
    query: Callable[[str], pd.DataFrame]
    change: Callable[[str], None]
    zones: str
    said: list[str] = field(default_factory=list)


@pytest.fixture(params=["geopackage", pytest.param("postgis", marks=pytest.mark.postgis)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    said: list[str] = []
    if request.param == "geopackage":
        path = tmp_path / "store.gpkg"

        def ask(text: str) -> pd.DataFrame:
            with sqlite3.connect(path) as db:
                return pd.read_sql_query(text, db)

        def change(text: str) -> None:
            with sqlite3.connect(path) as db:
                db.execute(text)

        yield Place(lambda: GeoPackage(path, tell=said.append), ask, change, f"zones_{REDUCTION}", said)
        return
    dsn, schema = request.getfixturevalue("postgis_dsn"), f"t_{uuid.uuid4().hex[:12]}"

    def run(text: str) -> Any:
        with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET search_path TO {schema}, public")
            cursor.execute(text)
            if cursor.description is None:
                return None
            return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])

    yield Place(lambda: PostGis(dsn, schema, tell=said.append), run, run, "zone", said)
    run(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def store(place: Place, tmp_path: Path) -> Iterator[Store]:
    made = place.open()
    made.prepare()
    made.load_zones(REDUCTION, LAYER)
    made.note_attributes(REDUCTION, ATTRIBUTES)
    (tmp_path / "spool").mkdir()
    made.load_segment(segment(tmp_path / "spool", [batch(0, empty=[2]), batch(1, range(4))], LAYER))
    yield made
    made.close()


def plain(value: Any) -> Any:
    """A value of an attribute, whatever a store keeps it as."""
    if value is None or value is pd.NaT or value != value:
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return value.isoformat() if isinstance(value, date) else value


def attributes_of(frame: pd.DataFrame, attributes: Attributes = ATTRIBUTES) -> None:
    rows = [LAYER.rows[zone] for zone in frame["zone"]]
    for name, column in attributes.columns.items():
        values = [column[row].as_py() for row in rows]
        found = [plain(value) for value in frame[name].astype(object)]
        if name == "seen":
            found = [value and str(value).removesuffix("Z") for value in found]
        if name == "organic":
            found = [None if value is None else bool(value) for value in found]
        if name == "holding":
            found = [None if value is None else int(value) for value in found]
        expected = [plain(value) for value in values]
        if name == "holding" and any(isinstance(value, float) for value in frame[name]):
            continue  # pandas has made floats of it; another query below looks at the digits
        assert found == expected, name


def times(values: Any) -> list[pd.Timestamp]:
    return [pd.Timestamp(value).tz_localize(None) if pd.Timestamp(value).tz is None
            else pd.Timestamp(value).tz_convert("UTC").tz_localize(None) for value in values]  # fmt: skip


def test_tall_is_what_series_says(place: Place, store: Store) -> None:
    frame = place.query(f"SELECT * FROM signature_{REDUCTION} ORDER BY zone, time, band")
    assert len(frame) == 12 * 3
    attributes_of(frame)
    for zone in LAYER.ids:
        mine = frame[frame["zone"] == zone].assign(time=lambda f: times(f["time"]))
        mine = mine.sort_values(["time", "band"]).reset_index(drop=True)
        series = store.series(REDUCTION, zone).sort_values(["time", "band"]).reset_index(drop=True)
        for name in ("time", "band", "acquisition", "tile", "run_id"):
            assert list(mine[name]) == list(series[name])
        numbers = ["valid", "total", "valid_fraction", "mean", "std", "min", "max", "p25", "p50", "p75"]
        np.testing.assert_allclose(mine[numbers].to_numpy(float), series[numbers].to_numpy(float), rtol=1e-6)
    digits = place.query(f"SELECT CAST(holding AS TEXT) AS holding FROM signature_{REDUCTION} WHERE crop = 'wheat'")
    assert set(digits["holding"]) == {str(2**62 + 1)}


def test_wide_has_a_column_for_each_band_and_statistic(place: Place, store: Store) -> None:
    wide = place.query(f"SELECT * FROM wide_{REDUCTION}")
    assert len(wide) == 12
    attributes_of(wide)
    for _, row in wide.iterrows():
        records = store.records(REDUCTION, row["zone"])
        at = times(records.time).index(times([row["time"]])[0])
        for k, band in enumerate(records.layout.bands):
            for j, name in enumerate(records.layout.statistics):
                np.testing.assert_allclose(
                    np.array(row[f"{band}_{name}"], float), records.values[at, k, j], rtol=1e-6
                )
            assert row[f"{band}_total"] == records.total[at, k]
        for j, code in enumerate(records.layout.classes["SCL"]):
            assert row[f"SCL_{code}"] == records.classes["SCL"][at, j]


def test_views_follow_layouts_and_attributes(place: Place, store: Store, tmp_path: Path) -> None:
    other = batch(2, bands=("B04", "EVI"), statistics=("mean", "p10"))
    store.load_segment(segment(tmp_path / "spool", [other], LAYER))
    tall = place.query(f"SELECT * FROM signature_{REDUCTION} WHERE acquisition = 'GS2A_00002' AND band = 'EVI'")
    values = dict(zip([LAYER.ids[row] for row in other.zone], other.values[:, 1, 1], strict=True))
    assert {row["zone"]: pytest.approx(row["p10"]) for _, row in tall.iterrows()} == values
    assert tall["std"].isna().all()
    wide = place.query(f"SELECT * FROM wide_{REDUCTION} WHERE acquisition = 'GS2A_00002'")
    np.testing.assert_allclose(np.sort(wide["EVI_mean"]), np.sort(other.values[:, 1, 0]))
    assert wide["NDVI_mean"].isna().all() and wide["B04_std"].isna().all()
    changed = Attributes({"area": ATTRIBUTES.columns["text"], "crop": pa.array(range(ROWS))})
    store.note_attributes(REDUCTION, changed)
    tall = place.query(f"SELECT * FROM signature_{REDUCTION}")
    attributes_of(tall, changed)
    assert "holding" not in tall.columns
    assert store.attributes() == {REDUCTION: changed.digest}
    store.note_attributes(REDUCTION, NO_ATTRIBUTES)
    assert not {"area", "crop"} & set(place.query(f"SELECT * FROM wide_{REDUCTION}").columns)
    assert store.attributes() == {REDUCTION: ""}
    assert len(store.series(REDUCTION, LAYER.ids[0])) == 8


def test_other_zones_have_their_own_attributes_and_views(place: Place, store: Store) -> None:
    store.load_zones("second", zone_layer(["a", "b"]))
    store.note_attributes("second", Attributes({"holding": pa.array(["x", "y"])}))
    assert store.attributes() == {REDUCTION: ATTRIBUTES.digest, "second": store.attributes()["second"]}
    attributes_of(place.query(f"SELECT * FROM signature_{REDUCTION}"))
    store.load_zones(REDUCTION, zone_layer(["n"]))
    assert store.attributes()[REDUCTION] == ""
    store.remove(REDUCTION)
    with pytest.raises((sqlite3.OperationalError, pd.errors.DatabaseError, psycopg2.errors.UndefinedTable)):
        place.query(f"SELECT * FROM wide_{REDUCTION}")


def test_what_a_person_made_stays(place: Place, store: Store, tmp_path: Path) -> None:
    if place.zones == "zone":
        place.change(f"CREATE VIEW mine AS SELECT zone, crop FROM wide_{REDUCTION}")
    else:
        place.change(f"ALTER TABLE {place.zones} ADD COLUMN note TEXT")
        with pytest.raises(StoreError, match="a field 'note' that hpckit did not write"):
            store.note_attributes(REDUCTION, Attributes({"Note": pa.array(list(INJECTIONS))}))
        assert store.attributes() == {REDUCTION: ATTRIBUTES.digest}
        return
    store.note_attributes(REDUCTION, Attributes({"area": pa.array(list(INJECTIONS))}))
    assert len(place.query("SELECT * FROM mine")) == 12
    assert any(f"the view wide_{REDUCTION} stays as it was" in text for text in place.said)
    place.change("DROP VIEW mine")
    store.note_attributes(REDUCTION, Attributes({"area": pa.array(list(INJECTIONS))}))
    assert set(place.query(f"SELECT * FROM wide_{REDUCTION}")["area"]) == set(INJECTIONS)


def test_three_hundred_attributes(place: Place, store: Store) -> None:
    many = Attributes({f"f{n}": pa.array([n + row for row in range(ROWS)]) for n in range(300)})
    store.note_attributes(REDUCTION, many)
    tall = place.query(f"SELECT * FROM signature_{REDUCTION} WHERE band = 'NDVI'")
    assert [list(tall[f"f{n}"] - tall["f0"]) for n in (1, 299)] == [[n] * len(tall) for n in (1, 299)]


def test_a_store_of_an_earlier_version_is_migrated(place: Place, store: Store) -> None:
    if place.zones == "zone":
        for view in (f"signature_{REDUCTION}", f"wide_{REDUCTION}", "latest"):
            place.change(f"DROP VIEW {view}")
        place.change("ALTER TABLE zone DROP COLUMN attributes")
        place.change("ALTER TABLE reduction DROP COLUMN attributes, DROP COLUMN attributes_digest")
        known = migrations("postgis")
        number = next(n for n, text in enumerate(known, 1) if "ADD COLUMN attributes_digest" in text)
        place.change(f"DELETE FROM schema_version WHERE version >= {number}")
        before = next(text for text in known if "CREATE VIEW latest" in text)
        start = before.index("CREATE VIEW latest")
        place.change(before[start : before.index(";", start)])
    else:
        store.note_attributes(REDUCTION, NO_ATTRIBUTES)
        place.change("ALTER TABLE hpckit_reduction DROP COLUMN attributes")
        place.change("ALTER TABLE hpckit_reduction DROP COLUMN attributes_digest")
        known = migrations("geopackage")
        number = next(n for n, text in enumerate(known, 1) if "ADD COLUMN attributes_digest" in text)
        place.change(f"DELETE FROM hpckit_schema WHERE version >= {number}")
    store.close()
    other = place.open()
    assert other.attributes() == {}
    other.prepare()
    other.note_attributes(REDUCTION, ATTRIBUTES)
    attributes_of(place.query(f"SELECT * FROM signature_{REDUCTION}"))
    other.close()


def test_a_changed_value_changes_the_digest() -> None:
    assert len({ATTRIBUTES.digest, ATTRIBUTES.kept(range(ROWS)[::-1]).digest, NO_ATTRIBUTES.digest}) == 3
    assert replace(ATTRIBUTES).digest == ATTRIBUTES.digest

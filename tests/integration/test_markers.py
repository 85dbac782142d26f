"""Markers in stores: made from what the store has, when it or a rule changes, and never twice."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cli import main
from hpckit.errors import StoreError, ZoneError
from hpckit.production.sync import is_synced
from hpckit.reduce.signatures.spool import SignatureBatch
from hpckit.runs.run import find_run
from hpckit.space.attributes import Attributes
from hpckit.store import open_store
from hpckit.store.markerrows import joined
from hpckit.store.owner import StoreOwner
from hpckit.testing.signatures import REDUCTION, batch, zone_layer
from tests.integration.test_sync import compute
from tests.unit.marker_reference import Seen, markers_of

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LAYER = zone_layer()
QUIET = Console(quiet=True)
CAMPAIGN = """
name: events
aoi: [2, 45, 3, 46]
period: 2024-03-01/..
scenes: {paths: [products]}
cube: {bands: [B04, B08, SCL]}
reductions:
  - {name: parcels, zones: parcels.gpkg, id: id, bands: [B04], indices: {NDVI: (B08 - B04) / (B08 + B04)}}
"""
RULES = """
markers:
  - {name: cut, band: NDVI, drop: 0.15, within: 20, events: all, min_pixels: 30}
  - {name: bare, band: NDVI, below: 0.3, hold: 2}
  - {name: bright, band: B04, statistic: p75, rise: 0.1, season: 04-01/10-31}
"""


def observed(number: int, seed: int = 0) -> SignatureBatch:
    """Random signatures in which zone 3 is under cloud at times."""
    return batch(number, seed=seed, bands=("B04", "NDVI"), empty=[3] if number % 4 == 1 else [])


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN + RULES)
    compute(path, [observed(number) for number in range(30)])
    return path


@pytest.fixture(params=["geopackage", pytest.param("postgis", marks=pytest.mark.postgis)])
def either(request: pytest.FixtureRequest, campaign: Path) -> Iterator[Path]:
    """The campaign with either store."""
    if request.param == "geopackage":
        yield campaign
        return
    dsn, schema = request.getfixturevalue("postgis_dsn"), f"t_{uuid.uuid4().hex[:12]}"
    campaign.write_text(f"{CAMPAIGN}store: {{dsn: '{dsn}', schema: {schema}}}{RULES}")
    yield campaign
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA {schema} CASCADE")


def rows(path: Path) -> pd.DataFrame:
    return api.markers(path)


def expected(path: Path) -> pd.DataFrame:
    """What plain Python finds in the series of each zone."""
    campaign, found = load_campaign(path), []
    store = open_store(campaign)
    for zone in store.zone_ids(REDUCTION):
        for rule in campaign.markers:
            frame = store.series(REDUCTION, zone, rule.band)
            seen = [
                Seen(row.time.to_pydatetime(), row.relative_orbit, row.valid, row.total, getattr(row, rule.statistic))
                for row in frame.itertuples()
            ]
            for one in markers_of(seen, rule):
                names = [frame["acquisition"][frame["time"] == pd.Timestamp(moment)].item() for moment in one.used]
                found.append((zone, rule.name, *one.times, *one.values, one.confidence, names))
    store.close()
    columns = ["foi_id", "marker", "time_start", "time_main", "time_end", "value_1", "value_2", "value_3"]
    return pd.DataFrame(found, columns=[*columns, "confidence", "observations"])


def check(path: Path) -> pd.DataFrame:
    found, wanted = rows(path), expected(path)
    order = ["foi_id", "time_main", "marker"]
    one = found[list(wanted.columns)].sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(one, wanted.sort_values(order, ignore_index=True), check_dtype=False, rtol=1e-6)
    return found


def test_markers_of_a_store_are_those_of_plain_python(either: Path) -> None:
    report = api.sync(either, console=QUIET).report
    assert report is not None and report.markers is not None
    assert set(report.markers.made) == {"cut", "bare", "bright"}
    found = check(either)
    assert report.markers.made == found["marker"].value_counts().to_dict()
    assert found["marker"].value_counts().min() > 3, "a comparison of nothing shows nothing"
    assert len(api.markers(either, LAYER.ids[3])) < len(found)
    with pytest.raises(ZoneError, match="nobody"):
        api.markers(either, "nobody")


def test_rules_look_at_zones_with_these_attributes_alone(either: Path) -> None:
    api.sync(either, console=QUIET)
    before = rows(either)
    crops = [["maize", "110", None, "rye"][n % 4] for n in range(len(LAYER))]
    organic = [None if n == 0 else n % 3 != 1 for n in range(len(LAYER))]
    where = "where: {crop: [maize, 110, null], organic: [true]}"
    text = either.read_text().replace("bands: [B04],", "attributes: all, bands: [B04],")
    either.write_text(text.replace("min_pixels: 30}", f"min_pixels: 30, {where}}}"))

    def note(values: list[str | None]) -> set[str]:
        store = open_store(load_campaign(either))
        store.note_attributes(REDUCTION, Attributes({"crop": pa.array(values), "organic": pa.array(organic)}))
        store.close()
        return {LAYER.ids[n] for n, crop in enumerate(values) if crop != "rye" and organic[n]}

    with pytest.raises(StoreError, match="marker rule 'cut': zones of reduction 'parcels' have no attribute 'crop'"):
        api.find_markers(either)
    for values in (crops, [*crops[:2], "rye", *crops[3:]]):
        wanted = note(values)
        assert 0 < len(wanted) < len(LAYER)
        assert not api.has_current_markers(either)
        report = api.find_markers(either)
        assert list(report.made) == ["cut"] and report.known == ["bare", "bright"]
        assert api.has_current_markers(either) and api.find_markers(either).is_empty
        expected = before[(before["marker"] != "cut") | before["foi_id"].isin(wanted)].drop(columns="pid")
        found = rows(either).drop(columns="pid")
        order = ["marker", "foi_id", "time_main"]
        pd.testing.assert_frame_equal(
            found.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True)
        )
        assert set(found["foi_id"][found["marker"] == "cut"]) == wanted & set(
            before["foi_id"][before["marker"] == "cut"]
        )


def test_what_did_not_change_is_not_computed(either: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.sync(either, console=QUIET)
    before = rows(either)
    monkeypatch.setattr("hpckit.production.markers._of_block", lambda *_: pytest.fail("computed again"))
    assert api.find_markers(either).known == ["cut", "bare", "bright"]
    assert api.has_current_markers(either)
    report = api.sync(either, console=QUIET).report
    assert report is not None and report.markers is not None and report.markers.is_empty
    pd.testing.assert_frame_equal(rows(either), before)


def test_changed_rules_replace_their_markers_and_no_others(either: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.sync(either, console=QUIET)
    first = rows(either)
    text = either.read_text()
    without = text.replace("\n  - {name: bare, band: NDVI, below: 0.3, hold: 2}", "")
    either.write_text(without.replace("drop: 0.15", "drop: 0.3"))
    assert not api.has_current_markers(either)
    assert is_synced(load_campaign(either), find_run(either)) is False
    report = api.find_markers(either)
    assert (list(report.made), report.known, report.removed) == (["cut"], ["bright"], ["bare"])
    second = check(either)
    assert len(second[second["marker"] == "cut"]) < len(first[first["marker"] == "cut"])
    other = first[first["marker"] == "bright"].reset_index(drop=True)
    pd.testing.assert_frame_equal(second[second["marker"] == "bright"].reset_index(drop=True), other)
    either.write_text(text[: text.index("markers:")])
    assert sorted(api.find_markers(either).removed) == ["bright", "cut"]
    assert rows(either).empty
    either.write_text(text)
    api.find_markers(either)
    pd.testing.assert_frame_equal(rows(either), first)


def test_new_and_replaced_acquisitions_change_markers(either: Path) -> None:
    api.sync(either, console=QUIET)
    compute(either, [*(observed(number) for number in range(30) if number != 7), observed(30), observed(7, seed=1)])
    report = api.sync(either, console=QUIET).report
    assert report is not None and report.markers is not None and len(report.markers.made) == 3
    check(either)


def test_markers_of_others_stay(either: Path) -> None:
    """Another campaign has zones and markers in the same store."""
    api.sync(either, console=QUIET)
    campaign = load_campaign(either)
    store, owner = open_store(campaign), StoreOwner("other", "run-9", "there:/b.yaml")
    theirs, layer = campaign.markers[0].model_copy(update={"reduction": "theirs"}), zone_layer(["a"])
    store.load_zones("theirs", layer, owner)
    store.load_markers("theirs", theirs, "id", layer.digest, joined([]))
    either.write_text(either.read_text().partition("markers:")[0])
    api.sync(either, console=QUIET)
    assert store.marker_rules("theirs") == {"cut": "id"} and store.marker_rules(REDUCTION) == {}
    with pytest.raises(StoreError, match="belongs to campaign"):
        store.load_zones(REDUCTION, LAYER, owner)
        api.find_markers(either)
    store.close()


@pytest.mark.slow
def test_killed_at_any_moment(either: Path) -> None:
    """Whatever was killed: the next call has all markers, each once."""
    api.sync(either, console=QUIET)
    wanted = rows(either)
    command = [sys.executable, "-m", "hpckit", "markers", str(either)]
    text, killed = either.read_text(), 0
    for number in range(6):
        either.write_text(text.replace("drop: 0.15", f"drop: 0.{20 + number}"))
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(0.4 + 0.25 * number)
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
    assert killed
    either.write_text(text)
    api.find_markers(either)
    pd.testing.assert_frame_equal(rows(either), wanted)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = 0
    try:
        main(["markers", *map(str, words)])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.sync(campaign, console=QUIET)
    text = campaign.read_text()
    campaign.write_text(text.replace("below: 0.3", "below: 0.25"))
    code, _, err = run(capsys, campaign, "--as-is")
    assert code == 0 and "not up to date" in err
    assert api.find_markers(campaign).made.keys() == {"bare"}, "--as-is computed nothing"
    code, out, err = run(capsys, campaign)
    assert code == 0 and "cut unchanged" in err
    assert [line.split()[0] for line in out.splitlines()] == ["rule", "cut", "bare", "bright"]
    code, out, _ = run(capsys, campaign, "--zone", LAYER.ids[0], "--rule", "cut")
    assert code == 0 and out.startswith("reduction,foi_id,marker,marker_type,date_start,date_main,date_end,duration")
    code, out, _ = run(capsys, campaign, "--json")
    told = json.loads(out)
    assert len(told) == len(rows(campaign)) and told[0]["observations"][0].startswith("GS2A_")
    assert told[0]["date_main"] == told[0]["time_main"][:10]


def test_files(campaign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.sync(campaign, console=QUIET)
    found = rows(campaign)
    for name in ("events.csv", "events.parquet"):
        assert run(capsys, campaign, "-o", tmp_path / name)[0] == 0
    table = pq.read_table(tmp_path / "events.parquet")
    assert str(table.schema.field("date_main").type) == "date32[day]"
    assert table["observations"].to_pylist() == found["observations"].tolist()
    assert table["time_main"].to_pylist()[0].utcoffset().total_seconds() == 0
    csv = pd.read_csv(tmp_path / "events.csv")
    assert csv["foi_id"].tolist() == found["foi_id"].tolist()
    np.testing.assert_allclose(csv["value_2"], found["value_2"], atol=1e-6)
    (tmp_path / "events.csv").write_text("mine")
    code, _, err = run(capsys, campaign, "-o", tmp_path / "events.csv")
    assert code == 1 and "exists already" in err and (tmp_path / "events.csv").read_text() == "mine"
    assert run(capsys, campaign, "-o", tmp_path / "events.csv", "--overwrite")[0] == 0
    for words, message in [
        (["-o", tmp_path / "events.xlsx"], ".csv or .parquet"),
        (["-o", campaign / "events.csv"], "cannot be written"),
        (["--rule", "sowing"], "no marker rule 'sowing'"),
        (["--zone", "nobody"], "nobody"),
    ]:
        code, _, err = run(capsys, campaign, *words)
        assert code == 1 and message in err and "error in hpckit itself" not in err


def test_a_band_that_the_store_lacks_yet(campaign: Path) -> None:
    """The rule is of an index that was added since the last run."""
    text = campaign.read_text()
    campaign.write_text(
        text.replace("(B08 + B04)}", "(B08 + B04), SUM: B08 + B04}").replace("band: B04", "band: SUM")
    )
    report = api.sync(campaign, console=QUIET).report
    assert report is not None and report.markers is not None
    assert report.markers.made["bright"] == 0 and report.markers.made["cut"] > 0


def test_an_archive_without_the_run(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The store alone still says what was found."""
    api.sync(campaign, console=QUIET)
    found = rows(campaign)
    shutil.rmtree(campaign.parent / "events.run")
    pd.testing.assert_frame_equal(rows(campaign), found)
    code, out, err = run(capsys, campaign, "--as-is", "--csv")
    assert code == 0 and len(pd.read_csv(io.StringIO(out))) == len(found) and "up to date" not in err
    code, _, err = run(capsys, campaign)
    assert code == 1 and "no run there" in err


def test_a_store_of_an_earlier_version(campaign: Path) -> None:
    """It has no table of markers: reading finds nothing, and the next sync adds it."""
    api.sync(campaign, console=QUIET)
    with sqlite3.connect(campaign.parent / "events.gpkg") as db:
        db.executescript("DROP TABLE markers; DROP TABLE hpckit_marker_rule")
        for column in ("attributes", "attributes_digest"):
            db.execute(f"ALTER TABLE hpckit_reduction DROP COLUMN {column}")
        db.execute("DELETE FROM hpckit_schema WHERE version > 4")
    assert rows(campaign).empty
    assert not api.has_current_markers(campaign)
    api.sync(campaign, console=QUIET)
    check(campaign)

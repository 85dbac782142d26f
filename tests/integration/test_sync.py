"""`hpckit sync`: from a run directory into a store, through the command line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyogrio
import pytest

from hpckit.campaign.campaign import load_campaign
from hpckit.cli import main
from hpckit.production.check import check_campaign
from hpckit.reduce.signatures.spool import SignatureBatch, write_segment
from hpckit.runs.journal import Entry, Journal
from hpckit.runs.plan import Unit
from hpckit.runs.run import Run
from hpckit.space.zones import ZoneLayer
from hpckit.store import open_store
from hpckit.testing.signatures import REDUCTION, batch, header, zone_layer
from tests.faulty import PASSING, faulty, hpckit, needs_cc
from tests.frozen_samples import freeze

pytestmark = pytest.mark.integration

LAYER = zone_layer()
CAMPAIGN = """
name: {name}
aoi: [2, 45, 3, 46]
period: 2024-03-01/2024-10-31
scenes: {{paths: [products]}}
cube: {{bands: [B04, SCL]}}
reductions:
  - {{name: parcels, zones: parcels.gpkg, id: id, bands: [B04]}}
{store}
"""


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    return make_campaign(tmp_path / "folder with 'quotes' \"and\" spaces")


def make_campaign(folder: Path, store: str = "") -> Path:
    """A campaign with a run whose units are done and spooled."""
    folder.mkdir()
    path = folder / "campaign.yaml"
    path.write_text(CAMPAIGN.format(name="N.o-1_x", store=store))
    compute(path, [batch(number) for number in range(3)])
    return path


def compute(path: Path, made: Sequence[SignatureBatch], layer: ZoneLayer = LAYER, planned: int = 0) -> Run:
    """Plan, spool and journal results, a segment for each; more may be planned than is done."""
    units = [Unit(item.unit, "signatures", 1.0, item.inputs) for item in made]
    units += [
        Unit(f"signatures/{REDUCTION}/later/{number}", "signatures", 1.0, "none yet") for number in range(planned)
    ]
    run = freeze(load_campaign(path), {REDUCTION: layer}, units)
    for item in made:
        name = f"{len(list(run.spool.glob('*')))}.h5"
        write_segment(run.spool / name, header(layer), [item])
        Journal(run.path, "w").append(
            Entry(item.unit, "signatures", "done", item.inputs, f"{len(name):030d}", 1.0, "w", segment=name)
        )
    return run


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["sync", *arguments])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def records(campaign: Path) -> int:
    with sqlite3.connect(campaign.parent / "N.o-1_x.gpkg") as db:
        return int(db.execute("SELECT COUNT(*) FROM record_parcels").fetchone()[0])


def test_sync_and_again(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = command(capsys, str(campaign), "--json")
    assert (code, json.loads(out)) == (
        0,
        {"loaded": 3, "known": 0, "removed": 0, "rows": 24, "markers": None, "failures": [], "unread": []},
    )
    code, out, err = command(capsys, str(campaign))
    assert (code, out) == (0, "")
    assert "0 spool files loaded" in err
    assert "3 results known already" in err
    assert records(campaign) == 24
    code, out, _ = command(capsys, str(campaign.parent / "N.o-1_x.run"), "--json")
    assert (code, json.loads(out)["known"]) == (0, 3)


def test_damaged_segments_do_not_stop_the_others(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = campaign.parent / "N.o-1_x.run" / "spool"
    data = bytearray((spool / "1.h5").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (spool / "1.h5").write_bytes(data[:-10])
    (spool / ".2.0123456789ab.partial.h5").write_bytes(b"a writer was killed here")
    code, _, err = command(capsys, str(campaign))
    assert code == 1
    assert "1.h5" in err
    assert "partial" not in err
    assert "1 damaged" in err
    assert records(campaign) == 16


@needs_cc
@pytest.mark.parametrize("number", PASSING)
@pytest.mark.parametrize("call", ["open", "read"])
def test_a_file_system_that_fails_for_a_moment_condemns_nothing(campaign: Path, call: str, number: int) -> None:
    spool = campaign.parent / "N.o-1_x.run" / "spool"
    first = hpckit("sync", campaign, "--json", env=faulty(call, "/spool/1.h5", number))
    assert first.returncode == 75, first.stderr
    assert "1.h5 cannot be read at the moment" in first.stderr
    report = json.loads(first.stdout)
    assert (report["loaded"], report["failures"], len(report["unread"])) == (2, [], 1)
    assert sorted(path.name for path in spool.iterdir()) == ["0.h5", "1.h5", "2.h5"]
    second = hpckit("sync", campaign, "--json")
    assert (second.returncode, json.loads(second.stdout)["loaded"], records(campaign)) == (0, 1, 24)


@needs_cc
def test_a_spool_folder_that_cannot_be_listed_is_not_empty(campaign: Path) -> None:
    done = hpckit("sync", campaign, env=faulty("scandir", "/spool", errno.ESTALE))
    assert done.returncode == 75
    assert "spool cannot be read at the moment" in done.stderr


def test_the_store_follows_the_plan_there_and_back(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = [batch(number) for number in range(3)]
    command(capsys, str(campaign))
    before = content(campaign)
    other = [replace(batch(0, seed=5), bands=("B04", "B08@60m", "EVI")), batch(2)]
    compute(campaign, other)
    code, out, _ = command(capsys, str(campaign), "--json")
    assert (code, json.loads(out)["removed"], json.loads(out)["known"], records(campaign)) == (0, 2, 1, 16)
    assert set(content(campaign)["band"]) == {"B04", "B08@60m", "EVI", "NDVI"}
    freeze(load_campaign(campaign), {REDUCTION: LAYER}, [Unit(b.unit, "signatures", 1.0, b.inputs) for b in first])
    for path in (campaign.parent / "N.o-1_x.run" / "spool").glob("*.h5"):
        os.utime(path, (1e9, 1e9 + path.stat().st_size))  # when files were written says nothing
    command(capsys, str(campaign))
    pd.testing.assert_frame_equal(content(campaign), before)
    (campaign.parent / "N.o-1_x.gpkg").unlink()
    command(capsys, str(campaign))
    pd.testing.assert_frame_equal(content(campaign), before)


def test_what_is_planned_and_not_done_has_no_rows(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(capsys, str(campaign))
    compute(campaign, [batch(1, seed=9)], planned=3)
    code, out, _ = command(capsys, str(campaign), "--json")
    assert (code, json.loads(out)["removed"], records(campaign)) == (0, 3, 8)


def test_a_segment_that_is_gone(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = campaign.parent / "N.o-1_x.run" / "spool"
    gone = sorted(spool.glob("*.h5"))[1]
    content_of_gone = gone.read_bytes()
    gone.unlink()
    code, _, err = command(capsys, str(campaign))
    assert (code, records(campaign)) == (1, 16)
    assert gone.name in err and "gone" in err
    gone.write_bytes(content_of_gone)
    assert command(capsys, str(campaign))[0] == 0
    gone.unlink()
    code, out, _ = command(capsys, str(campaign), "--json")
    assert (code, json.loads(out)["known"], records(campaign)) == (0, 3, 24), "the store has what it held"


def test_a_segment_of_other_inputs_than_the_journal_says(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = campaign.parent / "N.o-1_x.run" / "spool"
    changed = sorted(spool.glob("*.h5"))[0]
    write_segment(changed, header(LAYER), [batch(0, seed=3)])
    code, _, err = command(capsys, str(campaign))
    assert (code, records(campaign)) == (1, 16)
    assert "does not hold the result" in err and not changed.exists()


def test_a_changed_zone_layer_and_a_removed_reduction(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(capsys, str(campaign))
    changed = zone_layer(["a", "b"])
    compute(campaign, [batch(7, range(2))], changed)
    assert command(capsys, str(campaign))[0] == 0
    assert records(campaign) == 2
    campaign.write_text(campaign.read_text().replace("name: parcels", "name: meadows"))
    freeze(load_campaign(campaign), {"meadows": changed})
    assert command(capsys, str(campaign))[0] == 0
    with sqlite3.connect(campaign.parent / "N.o-1_x.gpkg") as db:
        tables = {name for (name,) in db.execute("SELECT table_name FROM gpkg_contents")}
    assert {"zones_meadows", "record_meadows"} <= tables and not any("parcels" in name for name in tables)
    assert set(pyogrio.list_layers(campaign.parent / "N.o-1_x.gpkg")[:, 0]) >= {"zones_meadows"}


def test_reductions_of_others_are_left_alone(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(capsys, str(campaign))
    before = content(campaign)
    other = campaign.with_name("other.yaml")
    other.write_text(campaign.read_text().replace("name: N.o-1_x", "name: second") + "store: {path: N.o-1_x.gpkg}\n")
    compute(other, [batch(4, range(2))], zone_layer(["a", "b"]))
    code, _, err = command(capsys, str(other))
    assert code == 1
    assert "reduction 'parcels'" in err and "belongs to campaign 'N.o-1_x'" in err and "store.path" in err
    assert any("belongs to" in item.text for item in check_campaign(load_campaign(other)))
    pd.testing.assert_frame_equal(content(campaign), before)


def test_a_fresh_run_and_a_copy_go_on_with_what_is_theirs(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(capsys, str(campaign))
    before = content(campaign)
    twin = campaign.parent.parent / "twin"
    shutil.copytree(campaign.parent, twin)
    shared = campaign.with_name("N.o-1_x.gpkg")
    code, out, _ = command(capsys, str(twin / "campaign.yaml"), "--json")
    assert (code, json.loads(out)["known"]) == (0, 3)
    mine = twin / "campaign.yaml"
    mine.write_text(mine.read_text() + f"store: {{path: {json.dumps(str(shared))}}}\n")
    code, _, err = command(capsys, str(mine))
    assert code == 1 and "a copy of" in err
    shutil.rmtree(campaign.with_name("N.o-1_x.run"))
    compute(campaign, [batch(number) for number in range(3)])
    code, out, _ = command(capsys, str(campaign), "--json")
    assert (code, json.loads(out)["known"]) == (0, 3)
    pd.testing.assert_frame_equal(content(campaign), before)


def test_killed_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaign = make_campaign(tmp_path / "killed")
    layer = zone_layer([str(number) for number in range(5000)])
    compute(campaign, [batch(number, range(5000)) for number in range(3, 15)], layer)
    store = campaign.parent / "N.o-1_x.gpkg"
    for wait in (0.0, 0.05):
        with subprocess.Popen(
            [sys.executable, "-m", "hpckit", "sync", str(campaign)], stderr=subprocess.DEVNULL
        ) as child:
            before, limit = ledger(store), time.monotonic() + 60
            while ledger(store) <= before and time.monotonic() < limit and child.poll() is None:
                time.sleep(0.002)
            time.sleep(wait)
            child.send_signal(signal.SIGKILL)
    assert 2 <= ledger(store, "rw") < 12, "it was killed too early or too late to prove anything"
    assert records(campaign) == ledger(store) * 5000
    assert command(capsys, str(campaign))[0] == 0
    assert (ledger(store), records(campaign)) == (12, 60_000)


def content(campaign: Path) -> pd.DataFrame:
    """All signatures of the store."""
    store = open_store(load_campaign(campaign))
    try:
        frames = [store.series(REDUCTION, zone).assign(zone=zone) for zone in store.zone_ids(REDUCTION)]
    finally:
        store.close()
    return pd.concat(frames).reset_index(drop=True)


def ledger(store: Path, mode: str = "ro") -> int:
    """Segments that were loaded; `ro` takes no lock from sync, but cannot read after a kill in a transaction."""
    try:
        with sqlite3.connect(f"{store.as_uri()}?mode={mode}", uri=True, timeout=5) as db:
            return int(db.execute("SELECT COUNT(*) FROM hpckit_ledger").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_no_run_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN.format(name="fresh", store=""))
    code, _, err = command(capsys, str(path))
    assert code == 1
    assert "no run there" in err


def test_database_unreachable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_campaign(tmp_path / "c", "store: {dsn: 'postgresql://me@127.0.0.1:1/crops'}")
    code, _, err = command(capsys, str(path))
    assert code == 75
    assert "database crops on 127.0.0.1" in err


@pytest.mark.postgis
def test_into_postgis(tmp_path: Path, postgis_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    import psycopg2

    path = make_campaign(tmp_path / "c", f"store: {{dsn: '{postgis_dsn}', schema: sync_test}}")
    code, out, _ = command(capsys, str(path), "--json")
    assert (code, json.loads(out)["rows"]) == (0, 24)
    with psycopg2.connect(postgis_dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*), COUNT(DISTINCT zone) FROM sync_test.signature")
        assert cursor.fetchone() == (72, 8)
        cursor.execute("DROP SCHEMA sync_test CASCADE")

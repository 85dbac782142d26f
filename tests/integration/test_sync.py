"""`hpckit sync`: from a run directory into a store, through the command line."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpckit.cli import main
from hpckit.reduce.zones import write_zones
from hpckit.spool import write_segment
from tests.store_samples import REDUCTION, batch, header, zone_layer

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
    from hpckit.campaign import load_campaign
    from hpckit.run import open_run

    folder.mkdir()
    path = folder / "campaign.yaml"
    path.write_text(CAMPAIGN.format(name="N.o-1_x", store=store))
    run = open_run(load_campaign(path))
    write_zones(run.zones(REDUCTION), LAYER)
    for number in range(3):
        write_segment(run.spool / f"{number}.h5", header(LAYER), [batch(number)])
    return path


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
    assert (code, json.loads(out)) == (0, {"loaded": 3, "known": 0, "stale": 0, "rows": 24, "failures": []})
    code, out, err = command(capsys, str(campaign))
    assert (code, out) == (0, "")
    assert "0 spool files loaded" in err
    assert "3 known already" in err
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


def test_segments_of_an_earlier_zone_layer_are_left_alone(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(capsys, str(campaign))
    run = campaign.parent / "N.o-1_x.run"
    changed = zone_layer(["a", "b"])
    write_zones(run / "zones" / "parcels.parquet", changed)
    write_segment(run / "spool" / "new.h5", header(changed), [batch(7, range(2))])
    code, out, _ = command(capsys, str(campaign), "--json")
    assert code == 0
    assert {key: json.loads(out)[key] for key in ("loaded", "stale", "rows")} == {"loaded": 1, "stale": 3, "rows": 2}
    assert records(campaign) == 2


def test_killed_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaign = make_campaign(tmp_path / "killed")
    run, layer = campaign.parent / "N.o-1_x.run", zone_layer([str(number) for number in range(5000)])
    write_zones(run / "zones" / "parcels.parquet", layer)
    for number in range(3, 15):
        write_segment(run / "spool" / f"{number}.h5", header(layer), [batch(number, range(5000))])
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
    code, out, _ = command(capsys, str(campaign), "--json")
    assert (code, json.loads(out)["stale"]) == (0, 3)
    assert (ledger(store), records(campaign)) == (12, 60_000)


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

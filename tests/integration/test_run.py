"""Whole campaigns: right numbers, and nothing lost whatever is killed or damaged."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio.features
import shapely

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import BusyError, CatalogueError, PlanError, RunError
from hpckit.production.driver import plan_campaign, run_campaign, verify_campaign
from hpckit.runs.journal import read_journal
from hpckit.runs.run import claim, find_run, open_run
from hpckit.runs.status import read_status
from hpckit.store import open_store
from tests import products
from tests.small_campaign import DATES, copy, pixels_of, results, same, write_campaign, write_zones, zones

pytestmark = pytest.mark.integration

QUIET = Console(quiet=True)


@pytest.fixture
def campaign(made: Path, tmp_path: Path) -> Campaign:
    return load_campaign(copy(made, tmp_path / "it's a campaign"))


def test_every_number_is_that_of_numpy_and_rasterio(expected):
    shapes = zones()
    transform = rasterio.Affine(10, 0, 600000, 0, -10, 5700000)
    coarse = rasterio.Affine(20, 0, 600000, 0, -20, 5700000)
    edge = products.EDGE
    pixels_in = {
        size: [
            np.nonzero(rasterio.features.rasterize([shape], size, transform=affine, dtype="uint8"))
            for shape in shapes
        ]
        for affine, size in ((transform, (edge, edge)), (coarse, (edge // 2, edge // 2)))
    }
    assert len(expected) == len(shapes) * DATES * 3
    days = expected.time.dt.date
    for number in range(DATES):
        pixels = pixels_of(number)
        offset = 0 if number == 0 else -1000
        red, infrared = (products.stored(pixels[f"{b}@10m"], offset) * 1e-4 - 0.1 for b in ("B04", "B08"))
        swir = products.stored(pixels["B11@20m"], offset) * 1e-4 - 0.1
        clear20 = ~np.isin(pixels["SCL@20m"], (0, 1, 3, 8, 9, 10, 11))
        clear10 = np.kron(clear20, np.ones((2, 2), bool))
        with np.errstate(all="ignore"):
            ndvi = (infrared - red) / (infrared + red)
        bands = {
            "B04": (red, clear10),
            "NDVI": (ndvi, clear10 & np.isfinite(ndvi)),
            "B11": (swir, clear20),
        }
        day = (products.FIRST + pd.Timedelta(days=5 * number)).date()
        for row in range(len(shapes)):
            found = expected[(expected.zone == f"z{row}") & (days == day)].set_index("band")
            for band, (values, clear) in bands.items():
                inside = pixels_in[values.shape][row]
                used = values[inside][clear[inside]]
                assert found.valid[band] == len(used), (row, band)
                if row != 60:
                    assert found.total[band] == len(inside[0])
                if not len(used):
                    assert np.isnan(found["mean"][band])
                    continue
                numbers = (used.mean(), used.std(), used.min(), used.max(), *np.percentile(used, (25, 50, 75)))
                stored = found.loc[band, ["mean", "std", "min", "max", "p25", "p50", "p75"]].astype(float)
                np.testing.assert_allclose(stored, numbers, rtol=2e-5, atol=2e-6)


def test_a_zone_that_sticks_out_shows_how_much_of_it_is_missing(expected):
    found = expected[(expected.zone == "z60") & (expected.band == "B04")]
    assert (found.total == 150 * 50).all() and (found.valid <= 50 * 50).all() and (found.valid > 0).any()


def test_class_counts_are_kept(made, tmp_path, expected):
    campaign = load_campaign(copy(made, tmp_path / "c"))
    run_campaign(campaign, QUIET, workers=1)
    store = open_store(campaign)
    counts = store.class_counts("fields", "z3", "SCL")
    store.close()
    inside = rasterio.features.rasterize(
        [zones()[3]],
        (products.EDGE // 2,) * 2,
        transform=rasterio.Affine(20, 0, 600000, 0, -20, 5700000),
        dtype="uint8",
    )
    classes = pixels_of(0)["SCL@20m"][inside == 1]
    first = counts.iloc[0]
    for code in (4, 5, 6, 9):
        column = next(name for name in counts.columns if str(name).rpartition("_")[2] == str(code) or name == code)
        assert first[column] == (classes == code).sum()
    same(results(campaign), expected)  # one worker gives the same as two


def test_running_again_does_nothing_and_changes_nothing(campaign, expected):
    run_campaign(campaign, QUIET, workers=2)
    files = {
        path: path.stat().st_mtime_ns
        for path in campaign.cube_path.rglob("*")
        if path.is_file() and ".manifest" not in str(path)
    }
    again = run_campaign(campaign, QUIET, workers=2)
    assert again.done == {} and again.exit_code == 0 and again.sync.rows == 0
    assert all(path.stat().st_mtime_ns == time for path, time in files.items())
    same(results(campaign), expected)
    command = (
        "import atexit, sys\nfrom hpckit.cli import main\nheavy = {'pandas', 'geopandas', 'numba', 'scipy'}\n"
        "atexit.register(lambda: print(*heavy & set(sys.modules), file=sys.stderr))\nmain()"
    )
    for word in ("run", "status"):  # each of these would cost a command a third of a second and more
        told = subprocess.run(
            [sys.executable, "-c", command, word, campaign.path], capture_output=True, text=True, check=True
        )
        assert told.stderr.splitlines()[-1] == ""


def start(campaign: Campaign) -> subprocess.Popen:
    command = [sys.executable, "-m", "hpckit", "run", str(campaign.path), "--workers", "2"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    )


def wait_for(campaign: Campaign, stage: str, count: int, process: subprocess.Popen) -> None:
    """Wait until so many units of a stage are in the journal."""
    for _ in range(3000):
        done = (
            [entry for entry in read_journal(campaign.run_dir) if entry.stage == stage]
            if campaign.run_dir.exists()
            else []
        )
        if len(done) >= count or process.poll() is not None:
            return
        time.sleep(0.02)
    raise AssertionError("nothing happened")


@pytest.mark.parametrize(("stage", "count"), [("ingest", 1), ("ingest", 9), ("zones", 1), ("signatures", 1)])
def test_killing_everything_loses_nothing(campaign, expected, stage, count):
    process = start(campaign)
    wait_for(campaign, stage, count, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    result = run_campaign(campaign, QUIET, workers=2)
    assert result.exit_code == 0
    same(results(campaign), expected)
    assert verify_campaign(campaign, QUIET) == []
    assert not list(campaign.run_dir.rglob("*.partial*"))


def test_killing_a_worker_takes_only_its_unit(campaign, expected):
    process = start(campaign)
    wait_for(campaign, "ingest", 1, process)
    os.kill(_children(_server(process.pid))[-1], signal.SIGKILL)
    _, messages = process.communicate(timeout=240)
    assert process.returncode in (0, 1), messages  # 0 if it was between two units
    failed = [entry for entry in read_journal(campaign.run_dir) if entry.state == "failed"]
    assert all("SIGKILL" in entry.reason or "not ingested" in entry.reason for entry in failed)
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    same(results(campaign), expected)


def test_end_of_the_process_that_forks_workers_fails_no_unit(campaign, expected):
    process = start(campaign)
    wait_for(campaign, "ingest", 1, process)
    os.kill(_server(process.pid), signal.SIGKILL)
    _, messages = process.communicate(timeout=240)
    assert process.returncode == 0, messages
    assert all(entry.state == "done" for entry in read_journal(campaign.run_dir))
    same(results(campaign), expected)


def _server(pid: int) -> int:
    """The child that forks workers; the other one is the tracker of resources."""
    (server,) = (child for child in _children(pid) if _children(child))
    return server


def _children(pid: int) -> list[int]:
    done = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in done.stdout.split()]


def test_ctrl_c_finishes_the_units_in_work_and_the_same_command_goes_on(campaign, expected):
    process = start(campaign)
    wait_for(campaign, "ingest", 1, process)
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 130, messages
    assert "the same command continues" in messages
    assert not [entry for entry in read_journal(campaign.run_dir) if entry.state == "failed"]
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    same(results(campaign), expected)


def test_a_broken_scene_costs_its_date_only_and_is_made_good(campaign, expected):
    image = next(campaign.folder.glob("scenes/*20240506*/GRANULE/*/IMG_DATA/R10m/*B04_10m.jp2"))
    sound = image.read_bytes()
    image.write_bytes(sound[: len(sound) // 2])
    result = run_campaign(campaign, QUIET, workers=2)
    assert result.exit_code == 1
    reasons = {entry.reason for entry in result.failed}
    assert any("truncated" in reason and image.name in reason for reason in reasons)
    assert any("not ingested" in reason for reason in reasons)
    status = read_status(find_run(campaign.path))
    assert any("truncated" in reason for reason in status.failures)
    found = results(campaign)
    assert set(found.time.dt.strftime("%m-%d")) == {"05-01", "05-11", "05-16"}
    same(found, expected[expected.time.dt.strftime("%m-%d") != "05-06"].reset_index(drop=True))
    image.write_bytes(sound)
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    same(results(campaign), expected)


def test_later_scenes_are_appended_and_deleted_products_stay_in_the_cube(campaign, expected):
    later = sorted(campaign.folder.glob("scenes/*"))[-1]
    aside = campaign.folder / later.name
    later.rename(aside)
    run_campaign(campaign, QUIET, workers=2)
    first = results(campaign)
    assert len(first) == len(expected) * (DATES - 1) // DATES
    for path in campaign.folder.glob("scenes/*"):
        subprocess.run(["rm", "-r", path], check=True)
    aside.rename(later)
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    same(results(campaign), expected)


def test_a_changed_zone_layer_replaces_the_results(campaign):
    run_campaign(campaign, QUIET, workers=2)
    (campaign.folder / "zones.gpkg").unlink()
    write_zones(
        campaign.folder / "zones.gpkg", zones()[:5], ids=["a", "b'); DROP TABLE observation; --", "c", "d", "e"]
    )
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    found = results(campaign)
    assert set(found.zone) == {"a", "b'); DROP TABLE observation; --", "c", "d", "e"}
    assert len(found) == 5 * DATES * 3


def test_fraction_mode_weighs_pixels(made, tmp_path, expected):
    path = copy(made, tmp_path / "c")
    write_campaign(path.parent, coverage="fraction")
    campaign = load_campaign(path)
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    found = results(campaign)
    areas = dict(zip((f"z{n}" for n in range(64)), (shape.area / 100 for shape in zones()), strict=True))
    red = found[found.band == "B04"]
    np.testing.assert_allclose(red.total, red.zone.map(areas), rtol=1e-4)
    sliver = red[red.zone == "z61"]
    assert (sliver.total > 0).all() and np.isfinite(sliver[sliver.valid > 0]["mean"]).all()


def test_zones_across_two_granules_and_two_utm_zones_are_answered_for_once(tmp_path):
    pixels = {key: np.full_like(array, 3000) for key, array in products.arrays(0).items() if key.startswith("B")}
    classes = {key: np.full_like(array, 4) for key, array in products.arrays(0).items() if key.startswith("SCL")}
    east = 600000 + 10 * products.EDGE - 2000  # neighbours overlap by two kilometres
    for ulx, tile in ((600000, "31UFT"), (east, "31UGT")):
        products.write(tmp_path / "scenes", 0, {**pixels, **classes}, tile=tile, ulx=ulx)
    shapes = [
        shapely.box(601000, 5695000, 601500, 5695500),
        shapely.box(east + 500, 5695000, east + 900, 5695500),
        shapely.box(east + 5000, 5695000, east + 5500, 5695500),
        shapely.box(603000, 5693000, east + 6000, 5694000),  # no granule holds it whole
    ]
    degrees = pyproj.Transformer.from_crs(32631, 4326, always_xy=True)
    shapes = [
        shapely.transform(shapely.segmentize(s, 50), lambda xy: np.column_stack(degrees.transform(*xy.T)))
        for s in shapes
    ]
    write_zones(tmp_path / "zones.gpkg", shapes, crs="EPSG:4326")
    campaign = load_campaign(write_campaign(tmp_path))
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    found = results(campaign)
    assert len(found) == len(shapes) * 3
    red = found[found.band == "B04"].set_index("zone")
    widths = (50, 40, 50, (east + 6000 - 603000) // 10)
    for number, (width, height) in enumerate(zip(widths, (50, 50, 50, 100), strict=True)):
        assert red.valid[f"z{number}"] == red.total[f"z{number}"] == width * height
        assert red["mean"][f"z{number}"] == pytest.approx(0.2, abs=1e-6)
    assert red.tile["z3"] == "31UFT+31UGT"


def test_a_second_run_on_the_same_campaign_is_told_who_works_on_it(campaign):
    with claim(open_run(campaign)):
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            run_campaign(campaign, QUIET)
        code = subprocess.run(
            [sys.executable, "-m", "hpckit", "run", str(campaign.path)], capture_output=True, text=True, check=False
        )
        assert code.returncode == 75 and "another hpckit works on" in code.stderr
    with claim(open_run(campaign)):
        pass


def test_a_claim_of_a_process_that_is_gone_is_taken_over(campaign):
    run = open_run(campaign)
    lock = run.path / "run.lock"
    with claim(run):
        content = json.loads(lock.read_text())
    lock.write_text(json.dumps({**content, "pid": 2**22 - 1}))
    with claim(run):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


def test_a_plan_shows_numbers_and_refuses_what_cannot_fit(campaign, monkeypatch):
    _, estimate = plan_campaign(campaign, QUIET, workers=2)
    assert [stage.units for stage in estimate.stages] == [2 * (2 + 2 + 1 + 1), 1, DATES]
    assert all(stage.pending == stage.units for stage in estimate.stages)
    run_campaign(campaign, QUIET, workers=2)
    written = [path for path in campaign.cube_path.rglob("c/*/*/*") if path.is_file() and "B" in str(path)]
    nbytes = sum(path.stat().st_size for path in campaign.cube_path.rglob("*/c/*/*/*"))
    assert estimate.files == len(list(campaign.cube_path.rglob("*/c/*/*/*"))) and written
    assert 0.5 < estimate.cube_bytes / nbytes < 2
    monkeypatch.setattr("hpckit.production.estimate.available_memory", lambda: 100 * 2**20)
    _, estimate = plan_campaign(load_campaign(campaign.path), QUIET, workers=2)
    from dataclasses import replace

    tight = replace(estimate, stages=tuple(replace(stage, pending=1) for stage in estimate.stages))
    with pytest.raises(PlanError, match="memory"):
        tight.require_fit()
    with pytest.raises(PlanError, match="are free"):
        replace(estimate, cube_bytes=2**60).require_fit()


def test_the_memory_model_is_above_and_near_what_workers_take(campaign):
    _, estimate = plan_campaign(campaign, QUIET, workers=1)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hpckit.production.worker import Worker\n"
        "from hpckit.runs.plan import bundles, read_plan\n"
        "run, stage = Path(sys.argv[1]), sys.argv[2]\n"
        "from hpckit.runs.run import find_run\n"
        "units = [u for u in read_plan(find_run(run).plan) if u.stage == stage]\n"
        "Worker(run, 'measure-' + stage, 1).work(bundles(units), lambda entry: None)\n"
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM')))\n"
    )
    for stage in estimate.stages:
        command = [sys.executable, "-c", script, str(campaign.run_dir), stage.stage]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert peak < stage.peak_memory * 1.1, stage.stage
        assert peak > stage.peak_memory / 3, stage.stage


def test_a_damaged_spool_file_is_set_aside_and_its_units_are_done_again(campaign, expected):
    assert run_campaign(campaign, QUIET, workers=1, with_sync=False).exit_code == 0
    segment = next((campaign.run_dir / "spool").glob("*.h5"))
    segment.write_bytes(segment.read_bytes()[:-100])
    again = run_campaign(campaign, QUIET, workers=2)
    assert again.exit_code == 0 and again.done["signatures"] > 0
    assert segment.with_name(segment.name + ".damaged").exists()
    same(results(campaign), expected)


def test_scenes_that_do_not_fit_are_explained(campaign):
    campaign.path.write_text(campaign.path.read_text().replace("2024-04-01/2024-12-31", "2019-01-01/2019-12-31"))
    with pytest.raises(CatalogueError, match="outside of the period"):
        run_campaign(load_campaign(campaign.path), QUIET)


def test_the_name_of_another_campaigns_run_is_not_taken(campaign):
    open_run(campaign)
    other = campaign.folder / "other.yaml"
    other.write_text(campaign.path.read_text())
    with pytest.raises(RunError, match="belongs to the campaign file"):
        open_run(load_campaign(other))


def test_a_read_only_store_keeps_the_results_in_the_spool(campaign, expected):
    campaign.store_path.write_bytes(b"this is no GeoPackage")
    command = [sys.executable, "-m", "hpckit", "run", str(campaign.path), "--workers", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "GeoPackage" in result.stderr and "Traceback" not in result.stderr
    campaign.store_path.unlink()
    sync = subprocess.run(
        [sys.executable, "-m", "hpckit", "sync", str(campaign.path)], capture_output=True, text=True, check=False
    )
    assert sync.returncode == 0, sync.stderr
    same(results(campaign), expected)
    with sqlite3.connect(campaign.store_path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_address_space_of_a_login_node_is_enough(expected, campaign):
    """`ulimit -v` of 4 GB for each process: libraries map memory for each of their threads."""
    command = 'ulimit -v 4000000; exec "$0" -m hpckit run "$1" --workers 2'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, str(campaign.path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    same(results(campaign), expected)

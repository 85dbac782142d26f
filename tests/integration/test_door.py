"""The door: a whole campaign by its verbs, from a thread, with nothing printed."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import shapely

import hpckit
from hpckit import api, errors
from tests.small_campaign import DATES, copy, results, same

pytestmark = [pytest.mark.integration, pytest.mark.slow]

COMPOSITE = "  - {name: season, kind: composite, period: year, bands: [B04], methods: [median]}\n"
VERBS = (
    *("check", "plan", "run", "submit", "status", "follow", "retry", "cancel", "verify", "sync", "cube"),
    *("composite", "series", "signatures", "zones", "items", "tile", "scan", "scenes", "search"),
)


def test_verbs_are_documented():
    for verb in VERBS:
        assert inspect.getdoc(getattr(api, verb)), verb
    assert set(VERBS) <= set(dir(hpckit))
    assert all(getattr(hpckit, verb) is getattr(api, verb) for verb in VERBS), "no room has the name of a verb"


@pytest.mark.parametrize("how", ["file", "module", "stdin"])
def test_a_script_as_a_person_writes_it(how: str, made: Path, tmp_path: Path) -> None:
    """Workers do not run it once more, though it calls hpckit at its top."""
    path = copy(made, tmp_path / "c")
    text = f"import hpckit\nprint('begins')\nprint(hpckit.run({str(path)!r}, workers=2).exit_code, __file__)\n"
    text = text.replace(", __file__", "") if how == "stdin" else text
    (tmp_path / "script.py").write_text(text)
    # Kernels are compiled in processes of their own too, where none are kept.
    env = {**os.environ, "HPCKIT_KERNELS": str(tmp_path / "kernels")} if how == "file" else dict(os.environ)
    command = {"file": ["script.py"], "module": ["-m", "script"], "stdin": ["-"]}[how]
    script = text if how == "stdin" else None
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=env, input=script, capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["begins", "0"]), done.stderr
    assert how == "stdin" or done.stdout.split()[2].endswith("script.py")


def test_a_campaign_from_a_thread(
    made: Path, expected: pd.DataFrame, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = copy(made, tmp_path / "c")
    path.write_text(path.read_text() + COMPOSITE)
    with ThreadPoolExecutor(1) as pool:
        assert not [item for item in pool.submit(api.check, path).result() if item.verdict == "error"]
        forecast = pool.submit(api.plan, path).result()
        assert forecast.estimate.cube_bytes > 0 and forecast.layout is None
        assert pool.submit(api.run, path, workers=2, with_sync=False).result().exit_code == 0
        done = pool.submit(api.sync, path).result()
        assert done.report is not None and done.report.rows > 0 and len(done.collections) == 1
        progress = pool.submit(api.status, path).result()
        assert not any(stage.failed or stage.waiting for stage in progress.status.stages)
        assert pool.submit(api.verify, path).result() == []
    said = capfd.readouterr()
    assert said.out == "" and said.err == ""
    same(results(api.open_campaign(path).campaign), expected)
    assert len(api.items(path)) == DATES and len(api.zones(path)) == 64
    one = api.series(path, "z3")
    everything = api.signatures(path)
    mine = everything[everything["zone"] == "z3"].drop(columns="zone").reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, one, check_dtype=False)
    _check_all_zones(path, tmp_path)
    red = api.cube(path, resolution_m=10)["B04"]
    season = api.composite(path)["B04_median"]
    assert red.sizes["time"] == DATES and season.sizes["time"] == 1
    assert np.isfinite(season.isel(time=0, x=slice(0, 50), y=slice(0, 50)).values).any()


def _check_all_zones(path: Path, folder: Path) -> None:
    """All zones and bands are what series say, as pandas, Arrow, batches and GeoParquet."""
    view = api.open_campaign(path)
    zones = view.zones()
    everything = view.signatures("all")
    for band in view.reduction().indices or ["NDVI"]:
        for zone in zones.ids[::9]:
            found = everything[(everything["zone"] == zone) & (everything["band"] == band)].drop(columns="zone")
            expected = view.series(zone, band)
            pd.testing.assert_frame_equal(found.reset_index(drop=True), expected, check_dtype=False, check_exact=True)
    assert everything["zone"].drop_duplicates().tolist() == [
        name for name in zones.ids if name in set(everything.zone)
    ]
    table = view.signatures("all", format="arrow")
    assert table.equals(view.signatures("all", format="batches").read_all()) and len(table) == len(everything)
    out = folder / "out" / "signatures.parquet"
    assert api.export_signatures(path, out) == len(everything)
    written = geopandas.read_parquet(out)
    assert written.crs == zones.crs and [entry.name for entry in out.parent.iterdir()] == [out.name]
    places = [zones.rows[name] for name in written["zone"]]
    assert shapely.equals_exact(written.geometry.to_numpy(), zones.geometries[places]).all()
    plain = pd.DataFrame(written.drop(columns="geometry"))
    pd.testing.assert_frame_equal(plain, everything, check_dtype=False, check_exact=True)
    view.export_signatures(out, "NDVI", geometry=False)
    assert pyarrow.parquet.read_schema(out).names == list(everything.columns)
    assert len(pd.read_parquet(out)) == (everything["band"] == "NDVI").sum()


def test_a_site_is_planned_for(made: Path, tmp_path: Path) -> None:
    forecast = api.plan(copy(made, tmp_path / "c"), site="slurm-generic")
    assert forecast.layout is not None and forecast.layout.stages and forecast.site is not None


def test_nothing_submitted_is_said(made: Path, tmp_path: Path) -> None:
    path = copy(made, tmp_path / "c")
    api.plan(path)
    for verb in (api.cancel, lambda run: next(api.follow(run))):
        with pytest.raises(errors.SubmissionError, match="nothing was submitted yet") as caught:
            verb(path)
        assert caught.value.code == "submission"


def test_codes_of_errors_are_unique_and_stay():
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.HpckitError)]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert {"campaign", "store-unavailable", "busy", "plan", "scheduler-unavailable", "shard"} <= set(codes)

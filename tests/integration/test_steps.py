"""Steps of a campaign: the shipped examples for real, failures, kills, and what is done again and what not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy.ndimage import uniform_filter

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.cli import cli
from hpckit.errors import HpckitError, PlanError
from hpckit.production.check import check_campaign
from hpckit.production.driver import Result, run_campaign
from hpckit.production.planning import plan_products
from hpckit.runs.journal import read_journal
from hpckit.runs.run import open_run
from hpckit.store import open_store
from hpckit.testing.radar import write_series
from tests import products, small_campaign, step_examples
from tests.step_examples import EDGE, FIELD, SECOND

pytestmark = pytest.mark.integration

QUIET = Console(quiet=True)


def run(path: Path) -> Result:
    return run_campaign(load_campaign(path), QUIET, workers=2)


def attempts(result: Result, stage: str) -> list[str]:
    return [entry.unit for entry in read_journal(result.run.path) if entry.stage == stage]


# Products from products


@pytest.fixture
def speckle(tmp_path: Path) -> Path:
    """In a folder whose name needs quoting."""
    return step_examples.speckle(tmp_path / "speckle: it's, here")


def test_products_are_made_and_then_ingested(speckle: Path):
    result = run(speckle)
    assert result.exit_code == 0 and result.done["exec-filter"] == 2
    store = open_store(load_campaign(speckle))
    try:
        series = store.series("fields", "z0")
    finally:
        store.close()
    found = series[series.band == "VV"].sort_values("time")
    assert len(found) == 2
    raw = sorted((speckle.parent / "rtc").rglob("iw-vv.rtc.tiff"))
    transform = rasterio.open(raw[0]).transform
    inside = rasterio.features.geometry_mask([FIELD], (EDGE, EDGE), transform, invert=True)
    for path, (_, row) in zip(raw, found.iterrows(), strict=True):
        pixels = rasterio.open(path).read(1)
        # Where there is nothing but speckle, Lee's filter is nearly the mean of its window.
        assert row["mean"] == pytest.approx(pixels[inside].mean(), rel=0.02)
        assert row["std"] < 0.4 * pixels[inside].std()
        assert row["std"] == pytest.approx(uniform_filter(pixels, 5)[inside].std(), rel=0.35)


def test_nothing_is_done_twice_and_a_new_product_alone_is_made(speckle: Path):
    run(speckle)
    again = run(speckle)
    assert again.exit_code == 0 and not again.done
    third = replace(SECOND, start=SECOND.start + timedelta(days=12), absolute_orbit=54035, datatake=0x68700)
    write_series(speckle.parent / "rtc", third, {pol: np.full((EDGE, EDGE), 0.1, np.float32) for pol in ("VV", "VH")})
    assert run(speckle).done["exec-filter"] == 1


def test_a_changed_script_makes_all_anew_and_a_lost_product_itself(speckle: Path):
    first = run(speckle)
    made = sorted((speckle.parent / "filtered").iterdir())
    shutil.rmtree(made[0])
    assert run(speckle).done == {"exec-filter": 1}  # equal pixels: nothing that is made from them is stale
    script = speckle.parent / "lee.py"
    script.write_text(script.read_text().replace("ROWS = 5,", "ROWS = 7,"))
    assert run(speckle).done["exec-filter"] == 2
    assert len(attempts(first, "exec-filter")) == 5


def test_a_product_that_fails_takes_no_other_down(speckle: Path):
    broken = next((speckle.parent / "rtc").rglob("*_053685_*/measurement/iw-vh.rtc.tiff"))
    broken.write_bytes(broken.read_bytes()[:3000])
    result = run(speckle)
    assert result.exit_code == 1 and result.done["exec-filter"] == 1 and result.done["signatures"] == 1
    (failure,) = result.failed
    assert "exit code 1" in str(failure.reason) and "iw-vh.rtc.tiff" in str(failure.reason)
    log = result.run.path / "logs" / f"{failure.unit}.log"
    assert "iw-vh.rtc.tiff" in log.read_text()
    assert not list((speckle.parent / "filtered").glob(".*"))


def test_products_of_a_list_that_is_shorter_than_the_folder(speckle: Path):
    found = catalogue.scan([speckle.parent / "rtc"]).scenes
    catalogue.write(speckle.parent / "some.parquet", found[:1])
    speckle.write_text(speckle.read_text().replace("paths: [rtc]", "paths: [some.parquet]"))
    planned = plan_products(open_run(load_campaign(speckle)), QUIET)
    assert planned is not None and [unit.args["words"]["id"] for unit in planned.plan.units] == [found[0].id]


def test_products_that_cannot_be_read_are_told_and_those_that_are_gone_stay_done(
    speckle: Path, capsys: pytest.CaptureFixture[str]
):
    run = open_run(load_campaign(speckle))
    plan_products(run, QUIET)
    broken = next((speckle.parent / "rtc").rglob("*.tiff"))
    for path in broken.parent.glob("*.tiff"):
        path.write_bytes(b"no image")
    plan_products(run, QUIET)
    assert broken.parent.parent.name in capsys.readouterr().err
    shutil.rmtree(speckle.parent / "rtc")
    (speckle.parent / "rtc").mkdir()
    planned = plan_products(run, QUIET)
    assert planned is not None and len(planned.plan.units) == 1


def test_a_folder_that_cannot_be_made_is_named(speckle: Path):
    (speckle.parent / "filtered").touch()
    with pytest.raises(HpckitError, match=r"steps\.filter\.into: .*filtered "):
        plan_products(open_run(load_campaign(speckle)), QUIET)


def test_status_and_plan_know_steps(speckle: Path, capsys: pytest.CaptureFixture[str]):
    for words in (["plan", str(speckle), "--json"], ["run", str(speckle)], ["status", str(speckle)]):
        with pytest.raises(SystemExit) as ended:
            cli(words)
        assert not ended.value.code
    shown = capsys.readouterr().out
    assert "exec-filter" in shown.partition("]")[0] and "ingest" in shown
    assert shown.rindex("exec-filter") < shown.rindex("ingest")


# A script over each tile


@pytest.fixture
def greening(tmp_path: Path) -> Path:
    return step_examples.greening(tmp_path / "greening")


def test_a_script_over_the_cube_of_a_tile(greening: Path):
    text = greening.read_text()
    greening.write_text(text.replace("cube: {", "cube: {extent: granule, "))
    assert greening.read_text() != text
    result = run(greening)
    assert result.exit_code == 0 and result.done["exec-amplitude"] == 1
    with rasterio.open(next((greening.parent / "amplitude").glob("*.tif"))) as made:
        found, transform = made.read(1), made.transform
    values = []
    for number in range(small_campaign.DATES):
        pixels = small_campaign.pixels_of(number)
        offset = 0 if number == 0 else 1000
        low, high = ((pixels[key].astype(float) - offset) / 10000 for key in ("B04@10m", "B08@10m"))
        clear = ~np.isin(pixels["SCL@20m"], (0, 1, 3, 8, 9, 10, 11)).repeat(2, 0).repeat(2, 1)
        valid = clear & (pixels["B04@10m"] > 0) & (pixels["B08@10m"] > 0)
        values.append(np.where(valid, (high - low) / (high + low), np.nan))
    stack = np.stack(values)
    enough = np.isfinite(stack).sum(axis=0) > 1
    want = np.nanmax(stack, axis=0, initial=-9) - np.nanmin(stack, axis=0, initial=9)
    assert np.array_equal(np.isfinite(found), enough)
    assert np.allclose(found[enough], want[enough], atol=1e-5)
    assert (transform.c, transform.f) == (products.spec(0).ulx, products.spec(0).uly)


def test_a_new_date_runs_the_script_anew(greening: Path):
    run(greening)
    number = small_campaign.DATES
    products.write(greening.parent / "scenes", number, small_campaign.pixels_of(number), baseline="05.10")
    assert run(greening).done["exec-amplitude"] == 1


# What commands do


STEP = """\
name: own
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {paths: [scenes]}
cube: {bands: [SCL]}
steps:
  - name: own
    each: scene
"""


def own(made: Path, target: Path, step: str) -> Path:
    path = small_campaign.copy(made, target)
    path.write_text(STEP + "\n".join(f"    {line}" for line in step.strip().splitlines()) + "\n")
    return path


def test_words_that_would_be_shell_are_no_shell(made: Path, tmp_path: Path):
    words = ["sh", "-c", 'printf %s "$1" > "$2"', "x", "$(touch pwned); `id` {id}; rm -rf *", "{text}"]
    path = own(made, tmp_path / "a", f"command: {json.dumps(words)}\noutputs: {{text: '{{id}}.txt'}}")
    assert run(path).exit_code == 0
    texts = sorted((path.parent / "own").glob("*.txt"))
    assert len(texts) == small_campaign.DATES
    assert texts[0].read_text() == f"$(touch pwned); `id` {texts[0].stem}; rm -rf *"
    assert not list(path.parent.rglob("pwned"))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("command: [false]\noutputs: {a: '{id}'}", "exit code 1: it wrote nothing"),
        ("command: [sh, -c, 'echo oh dear >&2; exit 3']\noutputs: {a: '{id}'}", "exit code 3: oh dear"),
        ("command: [sh, -c, 'kill -9 $$']\noutputs: {a: '{id}'}", "killed by SIGKILL (out of memory?)"),
        ("command: [no-such-program]\noutputs: {a: '{id}'}", "no-such-program: cannot be started: No such file"),
        ("command: ['true']\noutputs: {a: '{id}.dim', b: '{id}.data'}", ".data into {out}"),
        ("command: [sleep, '60']\ntimeout: 1s\noutputs: {a: '{id}'}", "lasted longer than 1.0 s"),
        ("command: ['true']\ninputs: {x: 'aux/{date}.bin'}\noutputs: {a: '{id}'}", "input x is not there"),
        ("command: ['true']\nimage: docker://x\nenvironment: {PATH: ''}\noutputs: {a: '{id}'}", "apptainer"),
    ],
)
def test_what_goes_wrong_is_said(made: Path, tmp_path: Path, step: str, reason: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HPCKIT_APPTAINER", raising=False)
    result = run(own(made, tmp_path / "a", step.replace("false", "'false'")))
    failed = [entry for entry in result.failed if entry.stage == "exec-own"]
    assert len(failed) == small_campaign.DATES and result.exit_code == 1
    assert all(reason in str(entry.reason) for entry in failed)
    assert result.done["ingest"]  # nothing else is taken down
    assert not list((tmp_path / "a").glob("own/*"))


def test_outputs_in_the_place_of_an_input_are_refused(made: Path, tmp_path: Path):
    with pytest.raises(HpckitError, match=r"steps\.own\.into: .*zones\.gpkg"):
        run(own(made, tmp_path / "a", "command: ['true']\ninto: zones.gpkg\noutputs: {a: '{id}'}"))


def test_two_units_must_not_write_one_file(made: Path, tmp_path: Path):
    path = own(made, tmp_path / "a", "command: [touch, '{a}']\noutputs: {a: 'the.txt'}")
    with pytest.raises(PlanError, match=r"would both write the\.txt"):
        run(path)


def test_products_are_not_replaced_by_what_is_made_from_them(made: Path, tmp_path: Path):
    path = own(made, tmp_path / "a", "command: [touch, '{a}']\noutputs: {a: '{id}.SAFE'}\ninto: scenes")
    with pytest.raises(PlanError, match="would replace the product"):
        run(path)


def test_patterns_find_names_that_nobody_knows_before(made: Path, tmp_path: Path):
    path = own(
        made,
        tmp_path / "a",
        'command: [sh, -c, \'mkdir "$1/$2_$$.SAFE" && echo x > "$1/$2_$$.SAFE/f"\', x, "{out}", "{id}"]\n'
        "outputs: {product: '{id}_*.SAFE'}",
    )
    assert run(path).done["exec-own"] == small_campaign.DATES
    assert len(list((path.parent / "own").glob("*.SAFE/f"))) == small_campaign.DATES
    assert "exec-own" not in run(path).done


def test_steps_follow_each_other(made: Path, tmp_path: Path):
    path = own(made, tmp_path / "a", "command: [sh, -c, 'echo one > \"$1\"', x, '{one}']\noutputs: {one: '{id}.1'}")
    path.write_text(
        path.read_text()
        + """\
  - name: second
    each: scene
    after: own
    inputs: {before: "own/{id}.1"}
    command: [sh, -c, 'cat "$1" "$1" > "$2"', x, "{before}", "{two}"]
    outputs: {two: "{id}.2"}
"""
    )
    result = run(path)
    assert result.done["exec-second"] == small_campaign.DATES
    assert {file.read_text() for file in (path.parent / "second").iterdir()} == {"one\none\n"}
    path.write_text(path.read_text().replace("echo one", "echo uno"))
    assert run(path).done == {"exec-own": small_campaign.DATES, "exec-second": small_campaign.DATES}
    assert {file.read_text() for file in (path.parent / "second").iterdir()} == {"uno\nuno\n"}


def test_what_was_made_from_something_old_does_not_count(made: Path, tmp_path: Path):
    one = 'echo one > "$1"; [ ! -e "$HERE/fail" ]'
    path = own(
        made,
        tmp_path / "a",
        f"command: [sh, -c, '{one}', x, '{{one}}']\nenvironment: {{HERE: '{tmp_path}'}}\noutputs: {{one: '{{id}}'}}",
    )
    path.write_text(
        path.read_text()
        + """\
  - name: b
    each: scene
    after: own
    inputs: {before: "own/{id}"}
    command: cp {before} {two}
    outputs: {two: "{id}"}
"""
    )
    run(path)
    (tmp_path / "fail").touch()
    path.write_text(path.read_text().replace("echo one", "echo uno"))
    failed = [entry for entry in run(path).failed if entry.stage == "exec-b"]
    assert len(failed) == small_campaign.DATES
    assert all("done before what it waits for, which failed (exec/own/S2A" in str(entry.reason) for entry in failed)
    (tmp_path / "fail").unlink()
    assert run(path).done == {"exec-own": small_campaign.DATES, "exec-b": small_campaign.DATES}
    assert {file.read_text() for file in (path.parent / "b").iterdir()} == {"uno\n"}


def test_kill_and_go_on(made: Path, tmp_path: Path):
    (tmp_path / "wait.sh").write_text('echo $$ >> "$HERE/pids"; sleep 600; true')
    script = 'echo $$ >> "$HERE/pids"; [ -e "$HERE/go" ] || sh "$HERE/wait.sh"; echo done > "$1"'
    path = own(
        made,
        tmp_path / "a",
        f"command: [sh, -c, '{script}', x, '{{a}}']\nenvironment: {{HERE: '{tmp_path}'}}\noutputs: {{a: '{{id}}'}}",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "hpckit", "run", str(path), "--workers", "2"], start_new_session=True
    )
    pids = tmp_path / "pids"
    _until(lambda: pids.exists() and len(pids.read_text().split()) == 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _until(lambda: not any(_alive(int(pid)) for pid in pids.read_text().split()))
    assert len(list((path.parent / "own").glob(".*partial"))) == 2
    (tmp_path / "go").touch()
    result = run(path)
    assert result.done["exec-own"] == small_campaign.DATES and result.exit_code == 0
    assert sorted(file.read_text() for file in (path.parent / "own").iterdir()) == ["done\n"] * small_campaign.DATES


def _until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_check_looks_at_steps(speckle: Path):
    found = {item.what: item for item in check_campaign(load_campaign(speckle))}
    assert found["scenes"].verdict == "ok" and "filter makes them" in found["scenes"].text
    assert found["steps.filter"].verdict == "ok"
    (speckle.parent / "lee.py").unlink()
    shutil.rmtree(speckle.parent / "rtc")
    texts = [item.text for item in check_campaign(load_campaign(speckle)) if item.verdict == "error"]
    assert any("rtc: no such folder" in text for text in texts)


def test_a_missing_input_is_named_before_anything_runs(speckle: Path):
    (speckle.parent / "lee.py").unlink()
    with pytest.raises(PlanError, match=r"step filter: input script is not there: .*lee\.py"):
        run(speckle)

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.base.files import write_json
from hpckit.campaign.campaign import load_campaign
from hpckit.errors import HpckitError
from hpckit.look.report import collect, render, write_report
from hpckit.look.timeline import busy_seconds, draw_timeline, spans
from hpckit.runs.journal import Entry, Journal
from hpckit.runs.plan import Unit, write_plan
from hpckit.runs.run import Run, find_run
from hpckit.sites.parts import Energy
from tests.frozen_samples import freeze
from tests.unit.look_samples import CAMPAIGN, make_campaign

pytestmark = pytest.mark.slow

START = datetime(2024, 11, 1, 9, 0, tzinfo=UTC)


def entry(
    unit: str, *, at: float = 0, seconds: float = 1, inputs: str = "1", writer: str = "local-0", **changes
) -> Entry:
    known = {"state": "done", "reason": None, "metrics": {}}
    start = (START + timedelta(seconds=at)).isoformat(timespec="milliseconds")
    return Entry(
        unit=unit,
        stage=unit.partition("/")[0],
        inputs=inputs,
        start=start,
        seconds=seconds,
        writer=writer,
        **{**known, **changes},
    )


def record(run: Run, units: list[str], entries: list[Entry]) -> None:
    write_plan(run.plan, [Unit(unit, unit.partition("/")[0], 1.0, "1") for unit in units])
    for item in entries:
        Journal(run.path, item.writer).append(item)


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    return freeze(load_campaign(tmp_path / "campaign.yaml"))


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> str:
    """Report of a run that left everything there is to tell."""
    path = make_campaign(tmp_path_factory.mktemp("a <b>campaign"))
    run = find_run(path)
    ingest = [f"ingest/31UFU/r10m/B04/b0000/w{n:02d}" for n in range(4)]
    others = ["zones/parcels/31UFU", "signatures/parcels/31UFU/GS2A_1", "signatures/parcels/31UFU/GS2A_2"]
    metrics = {"decoded_pixels": 4e6, "written_bytes": 2e6, "decode_s": 1.0}
    reason = "S2A_X.SAFE: <script>alert(1)</script> is truncated"
    entries = [entry(u, at=2 * n, seconds=2, metrics=metrics) for n, u in enumerate(ingest[:2])]
    entries += [entry(u, at=n, writer="local-1", state="failed", reason=reason) for n, u in enumerate(ingest[2:])]
    entries += [
        entry(others[0], at=10, metrics={"zones": 3, "slivers": 1}),
        entry(others[1], at=1000, writer="local-7"),
    ]
    record(run, [*ingest, *others], entries)
    write_json(
        run.selection,
        {
            "used": ["S2A_USED"],
            "dropped": [{"scene": "S2A_OLD", "reason": "05.09 supersedes 02.07"}],
            "failed": [{"path": "/data/S2A_BAD.SAFE", "reason": "S2A_BAD.SAFE: cut in half"}],
        },
    )
    return write_report(run).read_text()


def text_of(page: str) -> str:
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>|base64,[^\"]+", "", page, flags=re.S))
    )


def test_page_needs_nothing_beside_itself(full):
    assert full.startswith("<!doctype html>")
    links = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']+)", full)
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"url\(|@import|<script|<link|https?://", full)


def test_page_escapes_what_it_shows(full):
    assert "&lt;script&gt;alert(1)&lt;/script&gt; is truncated" in full


def test_page_tells_how_the_units_went(full):
    rows = re.findall(r"<tr>\s*<td><span class=\"dot (\w+)\">.*?</tr>", full, flags=re.S)
    assert rows == ["ingest", "zones", "signatures"]
    text = text_of(full)
    assert "2 units failed" in text
    # Two workers: 2 x 4 Mpx and 2 x 2 MB in the four seconds in which any of them worked.
    assert "2.0 Mpx/s, 1.0 MB/s" in text
    assert re.search(r"ingest 4 2 2 0 4\.0 s 75 % 2\.0 s 2\.0 s 2\.0 s", text)
    assert re.search(r"signatures 2 1 0 1 ", text)


def test_page_tells_energy_only_by_figures(run, full):
    assert "Energy: unknown (work outside of jobs not measured, and no site file has figures (energy))" in text_of(
        full
    )
    record(run, ["ingest/a"], [entry("ingest/a", seconds=7200)])
    page = text_of(write_report(run, figures={"": Energy(watt_per_core=5, g_co2_per_kwh=300)}).read_text())
    assert "Energy: 0.01 kWh , 0.003 kg CO₂e (estimated from 2 core-hours for work outside of jobs;" in page


def test_page_groups_failures_by_reason(full):
    assert full.count('class="failure"') == 1
    assert "2 units" in text_of(full)
    assert "ingest/31UFU/r10m/B04/b0000/w03" in full


def test_page_tells_scenes_zones_and_files(full):
    text = text_of(full)
    assert "S2A_OLD 05.09 supersedes 02.07" in text
    assert "S2A_BAD.SAFE cut in half" in text
    assert re.search(r"parcels 3 1 0 1 ", text)
    assert re.search(r"In the store.*parcels 3 3 9 27", text)
    assert "hpckit 0.1" in text
    assert "numba" in text


def test_page_has_timeline_quicklook_and_series(full):
    assert full.count("data:image/png;base64,") == 3
    assert "Not everything could be read" not in full


def test_run_that_has_done_nothing(run):
    page = write_report(run).read_text()
    assert "not started" in page
    assert "Nothing was planned yet" in page


def test_run_that_failed_wholly(run):
    units = [f"ingest/31UFU/r10m/B04/b0000/w{n:02d}" for n in range(30)]
    record(run, units, [entry(u, state="failed", reason="disk full") for u in units])
    report = collect(run)
    assert report.verdict == ("failed", "30 units failed")
    assert [len(failure.units) for failure in report.failures] == [30]
    page = render(report)
    assert "and 10 more" in page


def test_damaged_files_become_warnings(tmp_path):
    run = find_run(make_campaign(tmp_path))
    record(run, [], [])
    (tmp_path / "cube.zarr" / "31UFU" / "r10m" / "B04" / "zarr.json").write_text("{")
    run.zones("parcels").write_bytes(b"PAR1 no parquet")
    (tmp_path / "sample.gpkg").write_bytes(b"no sqlite")
    run.selection.write_text("[")
    report = collect(run)
    assert {warning.partition(":")[0] for warning in report.warnings} >= {"cube", "zones", "store"}
    assert "Not everything could be read" in render(report)


def test_last_attempt_counts_and_old_inputs_do_not(run):
    unit = "ingest/31UFU/r10m/B04/b0000/w00"
    record(
        run,
        [unit, "zones/parcels/31UFU"],
        [
            entry(unit, at=0, state="failed", reason="disk full"),
            entry(unit, at=10),
            entry("zones/parcels/31UFU", at=20, inputs="of another time"),
        ],
    )
    report = collect(run)
    assert [(s.name, s.done, s.failed, s.waiting) for s in report.stages] == [("ingest", 1, 0, 0), ("zones", 0, 0, 1)]
    assert report.failures == []
    assert report.verdict == ("waiting", "1 unit to do")


def test_report_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HpckitError, match="cannot be written"):
        write_report(run, tmp_path / "file" / "report.html")


def test_foreign_lines_in_the_run_json_are_no_fault(run):
    known = json.loads((run.path / "run.json").read_text())
    del known["packages"], known["host"], known["created"]
    (run.path / "run.json").write_text(json.dumps(known))
    assert "Made with" in write_report(run).read_text()


attempts = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 300), st.integers(0, 3)), min_size=1, max_size=25
).map(lambda rows: [entry("ingest/x", at=a, seconds=s, writer=f"w-{w}") for a, s, w in rows])


@given(attempts)
def test_busy_seconds_counts_each_second_once(entries):
    busy = set()
    for item in entries:
        start = round((datetime.fromisoformat(item.start) - START).total_seconds())
        busy |= set(range(start, start + int(item.seconds)))
    assert busy_seconds(entries) == pytest.approx(len(busy), abs=1e-3)


@given(attempts)
def test_spans_keep_order_lengths_and_overlaps(entries):
    placed = spans(entries)
    began = np.array([datetime.fromisoformat(item.start).timestamp() for item in entries])
    assert placed.start.min() == pytest.approx(0)
    np.testing.assert_allclose(placed.end - placed.start, [item.seconds for item in entries], atol=1e-5)
    # A clock that stops never makes a distance longer, and leaves those within a run as they are.
    apart = np.abs(began[:, None] - began[None, :])
    shown = np.abs(placed.start[:, None] - placed.start[None, :])
    assert (shown <= apart + 1e-5).all()
    if not placed.pauses:
        np.testing.assert_allclose(shown, apart, atol=1e-5)
    order = np.argsort(began, kind="stable")
    idle = placed.start[order][1:] - np.maximum.accumulate(placed.end[order])[:-1]
    assert (idle <= 120 + 1e-5).all()


def test_no_entries_no_time():
    assert busy_seconds([]) == 0


def test_workers_of_later_runs_share_lanes():
    entries = [entry(f"ingest/{n}", at=n % 2 + 1000 * (n // 2), writer=f"local-{n}") for n in range(6)]
    figure = draw_timeline(entries, {"ingest": "#2166ac"}).figure
    assert len(figure.axes[0].get_yticks()) == 1
    assert "pauses left out" in figure.axes[1].get_xlabel()
    both = [entry(f"ingest/{n}", at=0, writer=f"local-{n}") for n in range(6)]
    assert len(draw_timeline(both, {}).figure.axes[0].get_yticks()) == 6


def test_timeline_of_a_large_run_stays_small():
    entries = [entry(f"ingest/{n}", at=n / 50, seconds=1, writer=f"rank-{n % 200}") for n in range(20_000)]
    picture = draw_timeline(entries, {"ingest": "#2166ac"})
    assert picture.figure.get_figheight() < 8
    assert len(picture.png) < 2_000_000

"""Zones that no acquisition has shown: told apart from cloud by what the store has, and by nothing else."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.api import open_campaign
from hpckit.cli import cli
from hpckit.errors import HpckitError, ZoneError
from hpckit.look.observed import never_observed, observed_of, with_observed
from hpckit.look.tables import print_series
from hpckit.store.blocks import Origins, RecordBlock
from hpckit.store.frames import RowLayout
from tests.unit import look_samples
from tests.unit.look_samples import make_campaign, series_frame


def rows(valid: list[float], total: float = 100.0) -> pd.DataFrame:
    return series_frame(valid, [0.5] * len(valid)).assign(
        total=total, acquisition=[f"a{n}" for n in range(len(valid))]
    )


def classes(**counts: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame({name.strip("c"): values for name, values in counts.items()})
    return frame.assign(time=pd.Timestamp("2024-01-01"), acquisition=[f"a{n}" for n in range(len(frame))])


@pytest.mark.parametrize(
    ("counts", "observed"),
    [
        (classes(c0=[25, 0, 5], c9=[0, 25, 20]), [False, True, True]),
        (classes(c0=[25, 25, 25]), [False, False, False]),
        (classes(c4=[0, 0, 3], c9=[0, 1, 0]), [None, True, True]),
        (classes(c0=[0, np.nan, 25], c9=[0, np.nan, 0]), [None, None, False]),
        (None, [None, None, None]),
    ],
)
def test_classes_say_what_was_observed(counts, observed):
    found = with_observed(rows([0, 0, 0]), counts, masked=True)["observed"]
    assert [None if value is pd.NA else bool(value) for value in found] == observed


def test_valid_pixels_were_observed_whatever_classes_say():
    assert with_observed(rows([3, 100]), classes(c0=[25, 25]), masked=True)["observed"].tolist() == [True, True]


def test_without_a_mask_only_missing_data_leave_pixels_out():
    assert with_observed(rows([0, 40]), None, masked=False)["observed"].tolist() == [False, True]


def test_a_zone_without_pixels_has_no_data():
    assert with_observed(rows([0, 0], total=0.0), None, masked=True)["observed"].tolist() == [False, False]


@pytest.mark.parametrize(
    ("observed", "sentence"),
    [([False], "no data there in 1 acquisition"), ([False] * 3, "no data there in 3 acquisitions")],
)
def test_never_observed_is_said_with_a_count(observed, sentence):
    frame = rows([0] * len(observed)).assign(observed=pd.array(observed, dtype="boolean"))
    assert never_observed("7", frame) == f"zone '7' was never observed: {sentence}"


@pytest.mark.parametrize("observed", [[False, True], [pd.NA], [False, pd.NA]])
def test_unknown_or_observed_is_not_called_never_observed(observed):
    assert never_observed("7", rows([0] * len(observed)).assign(observed=pd.array(observed, dtype="boolean"))) is None


def test_table_says_no_data(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    frame = rows([0, 0, 0, 80]).assign(observed=pd.array([False, True, pd.NA, True], dtype="boolean"))
    print_series({"7": frame}, "NDVI", None)
    shown = capsys.readouterr().out
    assert re.findall(r"no data|\d+/100", shown) == ["no data", "0/100", "0/100", "80/100"]


@pytest.fixture
def partly(tmp_path, monkeypatch) -> Path:
    """A campaign whose zone 18 no unit has computed, and whose class counts say that date 0 was beyond the swath."""
    made = look_samples._batch

    def batch(date, zones):
        whole = made(date, zones)
        kept = np.array([0, 2])
        counts = np.array([[25, 0], [0, 25]][: len(kept)] if date == 0 else [[0, 25]] * 2, np.float32)
        return whole.__class__(
            **{name: getattr(whole, name) for name in ("unit", "acquisition", "bands", "statistics")},
            zone=whole.zone[kept],
            valid=whole.valid[kept],
            total=whole.total[kept],
            values=whole.values[kept],
            classes={"SCL": (np.array([0, 9], np.uint8), counts)},
        )

    monkeypatch.setattr(look_samples, "_batch", batch)
    return make_campaign(tmp_path)


def call(*arguments: object):
    return CliRunner().invoke(cli, ["series", *(str(argument) for argument in arguments)])


def test_series_has_what_classes_of_the_store_say(partly):
    view = open_campaign(partly)
    assert view.series("17")["observed"].tolist() == [False, True, True]
    assert view.series("x'; DROP TABLE zones --")["observed"].tolist() == [True, True, True]


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_zone_never_seen_is_said_and_no_error(partly, form):
    result = call(partly, "--zone", "18", form)
    assert result.exit_code == 0, result.output
    assert result.stderr == ("zone '18' was never observed: the store has no acquisition that covers it\n")
    found = json.loads(result.stdout) if form == "--json" else list(csv.DictReader(io.StringIO(result.stdout)))
    assert found == []
    if form == "--csv":
        assert result.stdout.startswith("zone,band,time,")


def test_zone_never_seen_beside_others(partly, tmp_path):
    result = call(partly, "--zone", "18", "--zone", "17", "--csv", "--plot", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    assert [line.split(",")[0] for line in result.stdout.splitlines()[2:]] == ["17"] * 3
    assert result.stderr.count("\n") == 1


def test_no_picture_of_a_zone_never_seen(partly, tmp_path):
    result = call(partly, "--zone", "18", "--plot", tmp_path / "a.png")
    assert isinstance(result.exception, HpckitError) and not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("zone", ["19", "1", "177"])
def test_zone_that_does_not_exist_is_an_error_with_near_names(partly, zone):
    result = call(partly, "--zone", zone)
    assert isinstance(result.exception, ZoneError)
    assert result.exception.hint and "17" in result.exception.hint


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_blocks_say_of_all_zones_what_series_say_of_one(data: st.DataObject) -> None:
    rows, codes = data.draw(st.integers(1, 6)), data.draw(st.sampled_from([None, (0, 4), (4, 5), (0,)]))
    number = st.sampled_from([0.0, 3.0, np.nan])
    counts = (
        None
        if codes is None
        else np.array(
            data.draw(
                st.lists(st.lists(number, min_size=len(codes), max_size=len(codes)), min_size=rows, max_size=rows)
            )
        )
    )
    valid = np.array(data.draw(st.lists(st.sampled_from([0.0, 2.0]), min_size=rows, max_size=rows)))
    total = valid + np.array(data.draw(st.lists(st.sampled_from([0.0, 2.0]), min_size=rows, max_size=rows)))
    masked = data.draw(st.booleans())
    names = [f"a{row}" for row in range(rows)]
    origins = Origins(np.arange(rows), np.arange(rows).astype("datetime64[D]"), {})
    layout = RowLayout(("B04",), (), {} if codes is None else {"SCL": codes})
    place = np.arange(rows)
    classes = {} if counts is None else {"SCL": counts}
    block = RecordBlock(
        layout, origins, ["z"], 0 * place, place, valid[:, None], total[:, None], np.empty((0, rows, 1)), classes
    )
    frame = pd.DataFrame({"valid": valid, "total": total, "acquisition": names})
    table = (
        None
        if counts is None
        else pd.DataFrame(
            {"time": 0, "acquisition": names, **{str(code): counts[:, k] for k, code in enumerate(codes or ())}}
        )
    )
    expected = with_observed(frame, table, masked=masked)["observed"]
    assert observed_of(block, masked=masked)[:, 0].tolist() == [-1 if pd.isna(one) else int(one) for one in expected]

"""Expressions, atomic files, the journal, the plan file, quantities."""

from __future__ import annotations

import doctest
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.base import quantities
from hpckit.base.files import append_line, atomic_path, write_text
from hpckit.campaign.expression import Expression, ExpressionError
from hpckit.errors import PlanError
from hpckit.runs.journal import Entry, Journal, outcomes, read_journal
from hpckit.runs.plan import Plan, Unit, read_plan, write_plan
from hpckit.sensors.sentinel2.sensor import SENTINEL2

leaves = st.sampled_from(["B04", "B08", "2", "0.5"])
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda text: f"-{text}"),
        inner.map(lambda text: f"abs({text})"),
        st.tuples(inner, inner).map(lambda t: f"minimum({t[0]}, {t[1]})"),
    ),
    max_leaves=8,
)


@given(expressions, st.floats(0.01, 1), st.floats(0.01, 1))
def test_expressions_mean_what_python_means(text, red, infrared):
    if "B0" not in text:
        with pytest.raises(ExpressionError, match="names no band"):
            Expression.parse(text)
        return
    values = {"B04": np.array([red], np.float64), "B08": np.array([infrared], np.float64)}
    with np.errstate(all="ignore"):
        names = {"abs": np.abs, "minimum": np.minimum}
        expected = np.float32(eval(text, {"__builtins__": {}, **names}, values))
    found = Expression.parse(text).evaluate(values)
    if np.isfinite(expected).all():
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "B04.__class__",
        "B04[0]",
        "(lambda: B04)()",
        "B04 if B08 else 1",
        "open('x')",
        "B04 and B08",
        "[B04]",
        "'B04'",
        "B04 @ B08",
        "sqrt(B04, B08)",
        "abs(x=B04)",
        "True + B04",
        "B04 :=",
        "",
        "1 + 1",
        "(" * 500 + "B04" + ")" * 500,
    ],
)
def test_anything_but_arithmetic_is_refused(text):
    with pytest.raises(ExpressionError):
        Expression.parse(text)


def test_undefined_is_nan():
    found = Expression.parse("B04 / B08").evaluate({"B04": np.float32([1, 1]), "B08": np.float32([0, 2])})
    assert np.isnan(found[0]) and found[1] == 0.5


@pytest.mark.parametrize(
    ("text", "name", "resolution"), [("b4", "B04", 10), ("B8A", "B8A", 20), ("SCL@60m", "SCL", 60)]
)
def test_band_references(text, name, resolution):
    ref = SENTINEL2.parse(text)
    assert (ref.name, ref.resolution_m) == (name, resolution) and SENTINEL2.parse(str(ref)) == ref


NATIVE = {10: ["B02", "B03", "B04", "B08", "AOT", "WVP"], 60: ["B01", "B09"]}
NATIVE[20] = ["B05", "B06", "B07", "B8A", "B11", "B12", "SCL", "CLD", "SNW"]


@pytest.mark.parametrize(("resolution", "names"), NATIVE.items())
def test_a_name_alone_is_the_native_resolution(resolution, names):
    """Of the instrument, or the finest of what Level-2A derives; all others are written with theirs."""
    for name in names:
        assert SENTINEL2.parse(name).resolution_m == resolution and str(SENTINEL2.parse(name)) == name
        assert SENTINEL2.parse(name, level="L2A").resolution_m == resolution
        if name.startswith("B"):
            assert SENTINEL2.parse(name, level="L1C").resolution_m == resolution
    assert SENTINEL2.parse("B10", level="L1C").resolution_m == 60
    assert str(SENTINEL2.parse("B01@20m")) == "B01@20m"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom hpckit.base.files import atomic_open\n"
        "with atomic_open(Path(sys.argv[1])) as file:\n"
        " file.write(b'new'); file.flush(); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert path.read_text() == "old"


def test_lines_are_appended_whole(tmp_path):
    for number in range(3):
        append_line(tmp_path / "lines", f"line {number}\n")
    assert (tmp_path / "lines").read_text() == "line 0\nline 1\nline 2\n"


def entry(unit: str, state: str, inputs: str = "i", start: str = "2024-01-01T00:00:00+00:00") -> Entry:
    return Entry(unit, "ingest", state, inputs, start, 1.0, "w")  # type: ignore[arg-type]


def test_the_journal_survives_a_cut_line(tmp_path):
    Journal(tmp_path, "one").append(entry("a", "done"))
    path = tmp_path / "journal" / "one.jsonl"
    path.write_bytes(path.read_bytes() + b'{"unit": "b", "sta')
    Journal(tmp_path, "one").append(entry("c", "done"))
    Journal(tmp_path, "two").append(entry("d", "failed"))
    assert [item.unit for item in read_journal(tmp_path)] == ["a", "c", "d"]


@given(st.permutations([entry("a", "failed"), entry("a", "done"), entry("a", "failed"), entry("b", "done", "old")]))
def test_done_counts_whatever_the_clocks_say_and_only_for_the_same_inputs(entries):
    known = outcomes(entries, {"a": "i", "b": "new"})
    assert known["a"].state == "done" and "b" not in known


def test_a_plan_keeps_its_units_and_orders_the_longest_first(tmp_path):
    units = [
        Unit("a", "ingest", 1.0, "x", {"tile": "31UFU"}),
        Unit("b", "ingest", 5.0, "y"),
        Unit("c", "signatures", 2.0, "z"),
    ]
    write_plan(tmp_path / "plan.parquet", units)
    assert read_plan(tmp_path / "plan.parquet") == units
    plan = Plan(units, frozenset({"a", "b"}))
    assert [unit.id for unit in plan.todo("ingest")] == ["b", "a"] and plan.todo("signatures") == []
    (tmp_path / "plan.parquet").write_bytes(b"PAR1")
    with pytest.raises(PlanError, match="damaged"):
        read_plan(tmp_path / "plan.parquet")
    with pytest.raises(PlanError, match="no plan"):
        read_plan(tmp_path / "nowhere.parquet")


def test_quantities():
    assert doctest.testmod(quantities).failed == 0
    assert quantities.available_memory() > 2**20 and 1 <= quantities.available_cores() <= os.cpu_count()

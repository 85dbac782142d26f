"""Journals: counting them fast gives what reading them line by line gives, whatever was cut or compacted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.runs.journal import Entry, Journal, compact, line_of, outcomes, read_attempts, read_journal, tally

UNITS = [f"ingest/{number}" for number in range(12)]
INPUTS = dict.fromkeys(UNITS, "now")

entries = st.builds(
    Entry,
    unit=st.sampled_from([*UNITS, "of another plan"]),
    stage=st.just("ingest"),
    state=st.sampled_from(["done", "failed"]),
    inputs=st.sampled_from(["now", "before"]),
    start=st.integers(0, 10**6).map(
        lambda n: f"2026-01-{1 + n // 40000:02d}T00:00:{n % 60:02d}.{n % 1000:03d}+00:00"
    ),
    seconds=st.floats(0, 1e4).map(lambda s: round(s, 3)),
    writer=st.just("w"),
    reason=st.sampled_from([None, "it's broken", "the value is null", 'a "b" ü\n']),
    metrics=st.fixed_dictionaries({}, optional={"slivers": st.integers(0, 9), "pixels": st.floats(0, 1e9)}),
)


def write(folder: Path, groups) -> None:
    for number, group in enumerate(groups):
        for entry in group:
            Journal(folder, f"s0001-ingest-{number % 2:03d}/{number:06d}").append(entry)


def counted(folder: Path):
    return tally(folder, pa.array(UNITS), pa.array([INPUTS[unit] for unit in UNITS]))


@pytest.mark.slow
@given(st.lists(st.lists(entries, max_size=6), max_size=4))
def test_counting_is_reading(tmp_path_factory, groups):
    folder = tmp_path_factory.mktemp("run")
    write(folder, groups)
    expected = outcomes(read_journal(folder), INPUTS)
    for _ in range(2):
        found = counted(folder)
        for number, unit in enumerate(UNITS):
            entry = expected.get(unit)
            assert found.done[number] == (entry is not None and entry.state == "done")
            assert found.failed[number] == (entry is not None and entry.state == "failed")
        assert set(found.reasons) == set(np.flatnonzero(found.failed).tolist())
        compact(folder)
    assert outcomes(read_journal(folder), INPUTS).keys() == expected.keys()


def entry(unit: str, state: str = "done") -> Entry:
    return Entry(unit, "ingest", state, "now", "2026-01-01T00:00:00.000+00:00", 1.0, "w")  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [b'{"unit": "ingest/2", "st', b'{"unit": "ingest/2"}', b"\xff\xfe"])
def test_lines_that_were_cut_are_left_out(tmp_path, cut):
    Journal(tmp_path, "one").append(entry(UNITS[0]))
    path = tmp_path / "journal" / "one.jsonl"
    path.write_bytes(path.read_bytes() + cut)
    Journal(tmp_path, "two").append(entry(UNITS[1]))
    Journal(tmp_path, "one").append(entry(UNITS[3]))  # another attempt of that name closes the line
    assert np.flatnonzero(counted(tmp_path).done).tolist() == [0, 1, 3]
    compact(tmp_path)
    assert np.flatnonzero(counted(tmp_path).done).tolist() == [0, 1, 3]


def test_attempts_at_one_element_are_told_from_its_neighbours(tmp_path):
    for name in ("000017", "000017-t1", "000017-r0001", "000018"):
        Journal(tmp_path, f"s0001-ingest-000/{name}").append(entry(f"ingest/{name}"))
    found = {item.unit for item in read_attempts(tmp_path, "s0001-ingest-000/000017")}
    assert found == {"ingest/000017", "ingest/000017-t1", "ingest/000017-r0001"}


def test_compacting_leaves_a_file_for_each_thousand(tmp_path):
    write(tmp_path, [[entry(unit)] for unit in UNITS])
    assert len(list((tmp_path / "journal").rglob("*"))) == 2 + len(UNITS)
    compact(tmp_path)
    paths = sorted((tmp_path / "journal").iterdir())
    assert [path.name for path in paths] == ["s0001-ingest-000.jsonl", "s0001-ingest-001.jsonl"]
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    assert sorted(line["unit"] for line in lines) == sorted(UNITS)
    assert lines[0].keys() == json.loads(line_of(entry("x"))).keys()


@pytest.mark.parametrize(
    "damage",
    [
        b"null",
        b'}null{"unit":1}',
        b'{"unit":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"metrics":' * 60_000 + b"1" + b"}" * 60_000,
        b'{"unit":"\xff\xfe"}',
        b'{"unit":"a","inputs":null,"state":"done","reason":"the value is null"}',
    ],
    ids=["null", "null between", "deep lists", "deep objects", "no text", "words"],
)
def test_tally_survives_lines_that_end_the_parser_of_arrow(tmp_path, damage):
    start = "2026-01-01T00:00:00.000+00:00"
    for number in range(3):
        Journal(tmp_path, "w").append(Entry(f"ingest/{number}", "ingest", "done", "now", start, 1.0, "w"))
    path = tmp_path / "journal" / "w.jsonl"
    first, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(first + b"\n" + damage + b"\n" + rest)
    assert counted(tmp_path).done.sum() == 3 == len(read_journal(tmp_path))

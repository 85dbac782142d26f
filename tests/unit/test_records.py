"""Records of shards for readers: what one thread loads again, all others see."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.records import Records

RECORD = ShardRecord("31UFU/r10m/B04/c/0/0/0", 10, "first", ("a",))


def writes(cube: Path, record: ShardRecord) -> None:
    Manifest.load(cube).append([record], "somebody")


def test_a_thread_that_asks_while_another_one_loads_sees_what_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes(tmp_path, RECORD)
    records = Records(tmp_path, "31UFU")
    writes(tmp_path, replace(RECORD, digest="second"))
    load, loads, is_loading, may_end = Manifest.load, [], threading.Event(), threading.Event()

    def slow(*words: object) -> Manifest:
        loads.append(words)
        is_loading.set()
        assert may_end.wait(20)
        return load(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(Manifest, "load", slow)

    def seen() -> list[str]:
        return [record.digest for record in records.editions(RECORD.key) if record is not None]

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(seen)]
        assert is_loading.wait(20)
        asked += [pool.submit(seen) for _ in range(3)]
        threading.Event().wait(0.2)  # they look while the first one loads
        may_end.set()
        assert [answer.result(20) for answer in asked] == [["first", "second"]] * 4
    assert len(loads) == 1


def test_editions_end_where_nothing_was_written(tmp_path: Path) -> None:
    writes(tmp_path, RECORD)
    records = Records(tmp_path, "31UFU")
    found = []
    for number, record in enumerate(records.editions(RECORD.key)):
        assert record is not None
        found.append(record.digest)
        if number < 2:
            writes(tmp_path, replace(RECORD, digest=f"later {number}"))
    assert found == ["first", "later 0", "later 1"]
    assert records.get(RECORD.key) == replace(RECORD, digest="later 1", generation=2)

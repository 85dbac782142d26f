"""Segments are read by several threads, and what cannot be read now is neither right nor damaged."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hpckit.base.reading import unavailable
from hpckit.reduce.signatures import results
from hpckit.reduce.signatures.results import damage, lost, results_of, verify_segments
from hpckit.reduce.signatures.spool import write_segment
from hpckit.runs.run import Run
from hpckit.testing.signatures import batch, header, zone_layer
from tests.integration.test_sync import compute, make_campaign

pytestmark = pytest.mark.slow

LAYER = zone_layer()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    campaign = make_campaign(tmp_path / "campaign")
    return compute(campaign, [batch(number) for number in range(3, 12)])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_each_fault_is_found_under_its_name(run: Run) -> None:
    names = sorted(path.name for path in run.spool.iterdir())
    assert damage(run, names, again=True) == {}
    cut(run.spool / names[1])
    (run.spool / names[4]).unlink()
    found = damage(run, names, again=True)
    assert {name: kind for name, (kind, _) in found.items()} == {names[1]: "corrupt", names[4]: "missing"}
    assert (run.spool / f"{names[1]}.damaged").exists(), "it is set aside"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_verify_names_what_cannot_be_read_now(run: Run, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    of_run = [result.segments[0] for result in results_of(run).values()]
    refused = {of_run[0], of_run[3]}
    read: Any = results.read_segment

    def refuse(path: Path) -> Any:
        if path.name in refused:
            raise unavailable(path, OSError(number, os.strerror(number)))
        return read(path)

    monkeypatch.setattr(results, "read_segment", refuse)
    faults = verify_segments(run)
    assert {(Path(fault.key).name, fault.kind) for fault in faults} == {(name, "unread") for name in refused}
    assert lost(run, results_of(run)) == set(), "a plan computes nothing again that may be right"
    assert all((run.spool / name).exists() for name in refused)


def test_reading_is_spread_over_threads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file costs a file server's answer; they are asked for at the same time."""
    read: Any = results.read_segment

    def slowly(path: Path) -> Any:
        time.sleep(0.3)
        return read(path)

    names = sorted(path.name for path in run.spool.iterdir())
    monkeypatch.setattr(results, "read_segment", slowly)
    seen: list[tuple[int, int]] = []
    begin = time.monotonic()
    assert damage(run, names, again=True, progress=lambda done, total: seen.append((done, total))) == {}
    assert time.monotonic() - begin < 0.75 * 0.3 * len(names)
    assert seen[-1] == (len(names), len(names))


def test_what_was_found_right_is_noted_once(run: Run) -> None:
    names = sorted(path.name for path in run.spool.iterdir())
    damage(run, names, again=True)
    seen = run.seen(results.SEEN, "other")
    assert all(seen.has(str(run.spool / name), (run.spool / name).stat(), "digests") for name in names)
    write_segment(run.spool / names[0], header(LAYER), [batch(1)])
    assert not seen.has(str(run.spool / names[0]), (run.spool / names[0]).stat(), "digests")

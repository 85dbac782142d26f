"""Last words of elements: what the end of an output tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpckit.sites.scheduler.model import State
from hpckit.sites.scheduler.pbs import Pbs
from hpckit.submissions.traces import LastWord, last_word

BEGUN = "2026-11-29T06:00:00Z ingest element 3 on n1\n"
ENDED = "2026-11-29T06:10:00Z exit code "
TABLE = "Resource Usage on 2026-11-29 06:10:01:\n   NCPUs Requested: 4     Exit Status: 0\n" + "=" * 2000 + "\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{BEGUN}{ENDED}0\n", LastWord(State.SUCCEEDED, 0)),
        (f"{BEGUN}hpckit: 3 units were given back\n{ENDED}75\n", LastWord(State.FAILED, 75)),
        (f"{BEGUN}{ENDED}1\n", LastWord(State.FAILED, 1)),
        (f"{BEGUN}{ENDED}137\n", LastWord(State.OUT_OF_MEMORY, 137)),
        (f"{BEGUN}{'x' * 100_000}\n{ENDED}0\n{TABLE}", LastWord(State.SUCCEEDED, 0)),
        (f"{BEGUN}=>> PBS: job killed: walltime 61 exceeded limit 60\n{ENDED}75\n", LastWord(State.TIMEOUT, 75)),
        (f"{BEGUN}=>> PBS: job killed: mem 9kb exceeded limit 8kb\n", LastWord(State.OUT_OF_MEMORY, None)),
        ("2026-11-29T06:00:00Z gate of submission 2 on n1\n" + f"{ENDED}1\n", LastWord(State.FAILED, 1)),
        ("hpckit: `module load x` failed on n1: see `modules`; no unit was begun\n", LastWord(State.FAILED, 1)),
    ],
)
def test_the_last_line_of_the_script_tells_how_it_ended(tmp_path: Path, text: str, expected: LastWord) -> None:
    (tmp_path / "out").write_text(text)
    assert last_word(tmp_path / "out", Pbs()) == expected


@pytest.mark.parametrize(
    "text",
    ["", BEGUN, f"{BEGUN}{ENDED}75\n{BEGUN}", f"{BEGUN}=>> PBS: job killed: walltime 61\n{BEGUN}", "exit code 0\n"],
)
def test_an_attempt_that_has_not_said_its_last_word_has_none(tmp_path: Path, text: str) -> None:
    """Nor does one that was asked to end and began once more."""
    (tmp_path / "out").write_text(text)
    assert last_word(tmp_path / "out", Pbs()) is None
    assert last_word(tmp_path / "nosuch", Pbs()) is None

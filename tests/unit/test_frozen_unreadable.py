"""Files of a run that the file system refuses just now: that is neither damage nor "no run there"."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpckit.campaign.campaign import load_campaign
from hpckit.errors import FileUnavailableError, RunError
from hpckit.runs.run import CAMPAIGN_JSON, DIGESTS, RUN_JSON, Run, find_run, open_frozen
from tests.faulty import faulty, needs_cc
from tests.frozen_samples import freeze
from tests.small_campaign import write_campaign

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return freeze(load_campaign(write_campaign(tmp_path)))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("name", [CAMPAIGN_JSON, DIGESTS, RUN_JSON])
def test_what_cannot_be_read_now_is_not_damaged(
    run: Run, name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[[Path], bytes] = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == name:
            raise OSError(number, "refused", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    for opened in (lambda: open_frozen(run.path, run.frozen), lambda: find_run(run.path)):
        with pytest.raises(FileUnavailableError, match=name):
            opened()


def test_a_run_folder_that_cannot_be_looked_at_is_not_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look: Callable[..., Any] = Path.stat

    def refuse(path: Path, **options: Any) -> Any:
        if path.name == RUN_JSON:
            raise OSError(errno.ESTALE, "stale", str(path))
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(FileUnavailableError, match=RUN_JSON):
        find_run(run.path)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOLCK])
@pytest.mark.parametrize("place", [CAMPAIGN_JSON, "plan.parquet", DIGESTS, "zones"])
@needs_cc
def test_frozen_inputs_that_cannot_be_read_now_are_not_replaced(run: Run, place: str, number: int) -> None:
    """A plan of the same inputs looks whether what was frozen before is whole; workers may read it meanwhile."""
    (run.inputs / "zones").mkdir(exist_ok=True)
    before = {path: path.read_bytes() for path in sorted(run.inputs.rglob("*")) if path.is_file()}
    calls = "scandir" if place == "zones" else "open"
    code = (
        "import sys; from pathlib import Path; from hpckit.campaign.campaign import load_campaign;"
        "from hpckit.errors import FileUnavailableError; from tests.frozen_samples import freeze\n"
        "try: freeze(load_campaign(Path(sys.argv[1])))\n"
        "except FileUnavailableError: sys.exit(75)"
    )
    below = f"{run.inputs}/{place}"
    done = subprocess.run([sys.executable, "-c", code, run.campaign.path], env=faulty(calls, below, number))
    assert done.returncode == 75
    assert {path: path.read_bytes() for path in sorted(run.inputs.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize("name", [CAMPAIGN_JSON, "plan.parquet", DIGESTS])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_damaged_frozen_inputs_are_frozen_again(run: Run, name: str, content: bytes | None) -> None:
    before = {path.name: path.read_bytes() for path in sorted(run.inputs.rglob("*")) if path.is_file()}
    if content is None:
        (run.inputs / name).unlink()
    else:
        (run.inputs / name).write_bytes(content)
    again = freeze(run.campaign)
    assert again.frozen == run.frozen
    assert {path.name: path.read_bytes() for path in sorted(run.inputs.rglob("*")) if path.is_file()} == before


def test_what_is_gone_is_said_so(run: Run) -> None:
    (run.inputs / CAMPAIGN_JSON).unlink()
    with pytest.raises(RunError, match="missing or damaged"):
        open_frozen(run.path, run.frozen)

"""`hpckit clean`: only what is certainly not needed goes, in any order of kills; what was computed is not lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cli import cli
from hpckit.errors import BusyError, HpckitError
from hpckit.inputs.scratch import Scratch
from hpckit.production.driver import run_campaign
from hpckit.reduce.signatures.cleaned import cleaned
from hpckit.runs.journal import read_journal
from hpckit.runs.run import claim, find_run
from tests.integration.campaigns import made_once
from tests.small_campaign import copy, results, same

pytestmark = [pytest.mark.integration, pytest.mark.slow]

QUIET = Console(quiet=True)


@pytest.fixture(scope="session")
def done(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign that has run; take copies."""

    def run(folder: Path) -> None:
        campaign = load_campaign(copy(made, folder / "c"))
        assert run_campaign(campaign, QUIET, workers=2).exit_code == 0

    return made_once(tmp_path_factory, "cleaned", run)


@pytest.fixture
def path(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done / "c", tmp_path / "c")
    return tmp_path / "c" / "campaign.yaml"


def spool(path: Path) -> list[str]:
    return sorted(file.name for file in (load_campaign(path).run_dir / "spool").iterdir())


def files(path: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time."""
    found = [file for file in path.parent.rglob("*") if file.is_file()]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in found}


def run(path: Path) -> int:
    """Run; returns how many units were done."""
    campaign = load_campaign(path)
    before = len(read_journal(campaign.run_dir))
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    return len(read_journal(campaign.run_dir)) - before


def test_a_look_changes_nothing_and_says_what_would_go(path: Path) -> None:
    before, present = files(path), spool(path)
    result = CliRunner().invoke(cli, ["clean", str(path), "--older-than", "0", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert not report["removed"]
    found = [item for item in report["items"] if item["what"] == "spool"]
    assert sorted(Path(item["path"]).name for item in found) == present
    assert sum(item["bytes"] for item in found) == sum(
        file.stat().st_size for file in (load_campaign(path).run_dir / "spool").iterdir()
    )
    assert files(path) == before
    shown = CliRunner().invoke(cli, ["clean", str(path), "--older-than", "0"])
    assert "nothing was removed; --yes removes it" in shown.output
    young = CliRunner().invoke(cli, ["clean", str(path), "--yes"])
    assert "they are young" in young.output and spool(path) == present


def test_cleaned_results_count_as_done(path: Path, expected: pd.DataFrame) -> None:
    campaign = load_campaign(path)
    api.clean(path, older_than_days=0, remove=True)
    assert spool(path) == []
    same(results(campaign), expected)
    assert run(path) == 0
    assert api.sync(path, console=QUIET).report.failures == []
    assert api.verify(path) == []
    same(results(campaign), expected)
    assert api.clean(path, older_than_days=0, remove=True).of("spool") == []


def test_a_store_that_lost_them_gets_them_again(path: Path, expected: pd.DataFrame) -> None:
    campaign = load_campaign(path)
    api.clean(path, older_than_days=0, remove=True)
    campaign.store_path.unlink()
    report = api.sync(path, console=QUIET).report
    assert report.exit_code == 1 and "the next `hpckit run` computes it again" in report.failures[0]
    assert cleaned(find_run(campaign.run_dir)) == set()
    assert run(path) > 0
    same(results(campaign), expected)


def test_a_campaign_says_how_long_what_stays(path: Path, expected: pd.DataFrame) -> None:
    """Indexes of earlier settings go, those of the plan stay; the run directory goes whole, if nothing needs it."""
    campaign = load_campaign(path)
    indexes = set((campaign.run_dir / "index").rglob("*.npz"))
    text = path.read_text()
    path.write_text(text.replace("coverage: centre", "coverage: fraction"))
    assert run(path) > 0
    later = set((campaign.run_dir / "index").rglob("*.npz")) - indexes
    assert indexes and later
    path.write_text(path.read_text() + "retention: {spool: 1000, logs: 1000, inputs: 1000, indexes: 0}\n")
    shown = CliRunner().invoke(cli, ["clean", str(path), "--json"])
    found = json.loads(shown.output)["items"]
    assert {Path(item["path"]) for item in found if item["what"] == "indexes"} == indexes
    assert {item["what"] for item in found} == {"indexes"}
    assert all(file.exists() for file in indexes), "a dry run"
    api.clean(path, remove=True)
    assert set((campaign.run_dir / "index").rglob("*.npz")) == later
    assert run(path) == 0, "nothing that the plan needs has gone"

    path.write_text(text)
    assert run(path) > 0
    same(results(campaign), expected)
    young = api.clean(path, what=["run"], remove=True)
    assert young.items == [] and young.stays == "it is young: --older-than"
    path.write_text(text.replace("2024-12-31", ".."))
    open_end = api.clean(path, older_than_days=0, what=["run"], remove=True)
    assert open_end.items == [] and "the period is not over" in open_end.stays
    path.write_text(text + "retention: {run: 0}\n")
    stored = campaign.store_path.rename(path.parent / "away.gpkg")
    lacking = api.clean(path, remove=True)
    assert all(item.kind != "run" for item in lacking.items) and "the store lacks results" in lacking.stays
    stored.rename(campaign.store_path)
    assert [item.kind for item in api.clean(path).items] == ["run"] and campaign.run_dir.exists()
    gone = api.clean(path, remove=True)
    assert [item.path for item in gone.items] == [campaign.run_dir] and not campaign.run_dir.exists()
    same(results(campaign), expected)


def test_what_the_store_lacks_stays(path: Path) -> None:
    campaign, present = load_campaign(path), spool(path)
    campaign.store_path.unlink()
    report = api.clean(path, older_than_days=0, remove=True, what=["spool", "outdated"])
    assert report.items == [] and spool(path) == present
    assert "the store lacks results of them: `hpckit sync` loads them" in report.kept


def test_a_store_that_does_not_answer_keeps_the_spool(path: Path) -> None:
    present = spool(path)
    load_campaign(path).store_path.write_bytes(b"no store" * 100)
    result = CliRunner().invoke(cli, ["clean", str(path), "--older-than", "0", "--yes"])
    assert result.exit_code == 75 and "all spool files stay" in result.output
    assert spool(path) == present


def test_another_campaign_with_the_store_keeps_the_spool(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(path.parent, other)
    text = (other / "campaign.yaml").read_text()
    (other / "campaign.yaml").write_text(text + f"store: {{path: {load_campaign(path).store_path}}}\n")
    report = api.clean(other / "campaign.yaml", older_than_days=0, remove=True)
    assert report.of("spool") == [] and report.unknown
    assert spool(other / "campaign.yaml") == spool(path)


def test_results_of_earlier_settings_stay_unless_named(path: Path, expected: pd.DataFrame) -> None:
    plain, old = path.read_text(), spool(path)
    path.write_text(plain.replace("bands: [B04, B11, SCL]", "bands: [B04, SCL]"))
    assert run(path) > 0
    report = api.clean(path, older_than_days=0, remove=True)
    assert spool(path) == old
    assert any("earlier settings" in reason for reason in report.kept)
    path.write_text(plain)
    assert run(path) == 0  # the edit is undone, and the results are still there
    same(results(load_campaign(path)), expected)
    path.write_text(plain.replace("bands: [B04, B11, SCL]", "bands: [B04, SCL]"))
    assert run(path) > 0  # those of the edit were cleaned, and the store has others since
    api.clean(path, older_than_days=0, remove=True, what=["spool", "outdated"])
    assert spool(path) == []
    path.write_text(plain)
    assert run(path) > 0
    same(results(load_campaign(path)), expected)


def test_unknown_files_and_files_of_others_stay(path: Path) -> None:
    campaign = load_campaign(path)
    stranger = campaign.run_dir / "spool" / "stranger.h5"
    shutil.copy(next((campaign.run_dir / "spool").glob("*.h5")), stranger)
    mine = [campaign.run_dir / name for name in ("notes.txt", "spool/readme.txt", "logs/mine.txt", ".hidden")]
    rest = campaign.run_dir / "spool" / f".x.{'a' * 12}.partial.h5"
    for file in [*mine, rest]:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    orphan = campaign.run_dir / "frozen" / "0123456789abcdef"
    shutil.copytree(find_run(campaign.run_dir).inputs, orphan)
    report = api.clean(path, older_than_days=0, remove=True)
    assert all(file.exists() for file in [*mine, stranger])
    assert not rest.exists() and not orphan.exists()
    assert report.kept["no journal names them: what they hold is unknown"] == 1
    assert find_run(campaign.run_dir).inputs.is_dir()
    same(results(campaign), results(campaign))
    assert run(path) == 0


def test_while_somebody_works_nothing_goes(path: Path) -> None:
    campaign, present = load_campaign(path), spool(path)
    with claim(find_run(campaign.run_dir)):
        for remove in (False, True):
            with pytest.raises(BusyError):
                api.clean(path, older_than_days=0, remove=remove)
    folder = campaign.run_dir / "submissions" / "0001"
    (folder / "logs").mkdir(parents=True)
    (folder / "submission.json").write_text("{}")
    with pytest.raises(HpckitError):  # nobody can tell whether its jobs have ended
        api.clean(path, older_than_days=0, remove=True)
    assert spool(path) == present


_KILLED = """
import os, signal, sys
from pathlib import Path
from hpckit import api
from hpckit.production import clean
left = [int(sys.argv[2])]
remove = clean._remove
def dying(*args):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    remove(*args)
clean._remove = dying
api.clean(sys.argv[1], older_than_days=0, remove=True)
"""


@pytest.mark.parametrize("after", [0, 1])
def test_killed_in_the_middle(path: Path, expected: pd.DataFrame, after: int) -> None:
    command = [sys.executable, "-c", _KILLED, str(path), str(after)]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert run(path) == 0
    same(results(load_campaign(path)), expected)
    api.clean(path, older_than_days=0, remove=True)
    assert spool(path) == []
    assert run(path) == 0
    load_campaign(path).store_path.unlink()
    api.sync(path, console=QUIET)
    assert run(path) > 0
    same(results(load_campaign(path)), expected)


def test_scratch_is_cleaned_where_nobody_uses_it(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("HPCKIT_SCRATCH", str(folder))
    old, used, young, mine = "a" * 32 + ".jp2", "b" * 32 + ".jp2", "c" * 32, "thesis.jp2"
    for name in (old, used, young, mine):
        (folder / name).write_text("x")
        if name != young:
            os.utime(folder / name, (time.time() - 10 * 86_400,) * 2)
    import fcntl

    with (folder / ("b" * 32 + ".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = api.clean(path, what=["scratch"], remove=True)
    assert len(report.items) == 2
    assert {entry.name for entry in folder.iterdir() if entry.suffix != ".lock"} == {used, young, mine}
    assert Scratch(folder).unused(0) == []

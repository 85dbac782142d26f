"""A scheduler in one folder, found by its entry point: the contract, and a whole campaign by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from hpckit.campaign.campaign import load_campaign
from hpckit.errors import SiteError
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.registry import scheduler_named, scheduler_names
from hpckit.sites.site import load_site, site_from
from hpckit.testing.scheduler import SchedulerTests
from tests.small_campaign import copy, results, same

pytestmark = [pytest.mark.integration, pytest.mark.slow]

HERE = Path(__file__).parent
SITE = """name: fair
scheduler: turnstile
stages: {default: {ranks: 1}, ingest: {walltime: 1s}}
poll: {first_s: 0.3, submit_pause_s: 0}
"""


@pytest.fixture
def turnstile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    """Installed, for this process and those that it starts."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("tsend", "tlist", "tdrop", "topen"):
        path = programs / name
        path.write_text(f'#!/bin/bash\nexec {sys.executable} -m turnstile.gates {name} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{os.environ['PYTHONPATH']}")
    monkeypatch.setenv("TURN_SPOOL", str(tmp_path / "spool"))
    monkeypatch.syspath_prepend(HERE)
    return scheduler_named("turnstile")


class TestTurnstile(SchedulerTests):
    @pytest.fixture
    def scheduler(self, turnstile: Scheduler) -> Scheduler:
        return turnstile


def hpckit(*words: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hpckit", *map(str, words)], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def campaign(made: Path, tmp_path: Path, turnstile: Scheduler) -> Path:
    (tmp_path / "fair.yaml").write_text(SITE)
    return copy(made, tmp_path / "campaign")


def test_a_campaign(campaign: Path, tmp_path: Path, expected: pd.DataFrame) -> None:
    site = tmp_path / "fair.yaml"
    said = hpckit("submit", campaign, "--site", site)
    assert "submission 1 on fair" in said and "job t1" in said
    hpckit("watch", campaign)
    run = load_campaign(campaign).run_dir
    jobs = [json.loads(line) for line in (run / "submissions/0001/jobs.jsonl").read_text().splitlines()]
    counts = {job["stage"]: job["count"] for job in jobs}
    assert counts["ingest"] > 1 and {"gate", "sync"} <= set(counts)
    status = json.loads(hpckit("status", campaign, "--json"))
    assert all(not stage["failed"] and not stage["waiting"] for stage in status["stages"])
    assert "exit code 0" in hpckit("logs", campaign, "t1/0")
    hpckit("sync", campaign)
    same(results(load_campaign(campaign)), expected)


def test_cancelled_jobs_are_submitted_again(campaign: Path, tmp_path: Path, expected: pd.DataFrame) -> None:
    hpckit("submit", campaign, "--site", tmp_path / "fair.yaml")
    hpckit("cancel", campaign)
    hpckit("retry", campaign)
    hpckit("watch", campaign)
    same(results(load_campaign(campaign)), expected)


def test_a_cluster_with_it_is_probed_and_its_site_file_checked(turnstile: Scheduler, tmp_path: Path) -> None:
    path = tmp_path / "probed.yaml"
    hpckit("site", "probe", "-o", path)
    assert "Turnstile 3.1" in path.read_text() and load_site(path).scheduler == "turnstile"
    findings = {item["what"]: item["ok"] for item in json.loads(hpckit("site", "check", path, "--json"))}
    assert findings["scheduler"] is True and findings["version"] is True


def test_without_its_package_site_files_with_it_are_refused_and_frozen_ones_are_read(tmp_path: Path) -> None:
    assert "turnstile" not in scheduler_names()
    path = tmp_path / "fair.yaml"
    path.write_text(SITE)
    code = f"from hpckit.sites.site import load_site; from pathlib import Path; load_site(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "fair.yaml:2: scheduler: there is no scheduler 'turnstile'" in done.stderr
    assert site_from({"name": "fair", "scheduler": "turnstile"}).scheduler == "turnstile", "workers ask no scheduler"


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "broken-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        "[hpckit.schedulers]\nbroken = nosuchmodule:Broken\nodd = json:JSONDecoder\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SiteError, match="nosuchmodule:Broken cannot be loaded"):
        scheduler_named("broken")
    with pytest.raises(SiteError, match="is no hpckit scheduler"):
        scheduler_named("odd")

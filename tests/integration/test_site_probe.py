"""`hpckit site probe` and `check` on a real Slurm."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hpckit.sites.site import load_site

pytestmark = pytest.mark.integration


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpckit", "site", *words], capture_output=True, text=True, check=False
    )


def test_what_probe_writes_passes_check_and_wrong_values_do_not(slurm, tmp_path):
    path = tmp_path / "lab.yaml"
    done = call("probe", "-o", str(path))
    assert done.returncode == 0, done.stderr
    site = load_site(path)
    assert [partition.name for partition in site.partitions] == ["short", "long"]
    short = site.partition("short")
    assert (short.cores, short.memory_mib, short.walltime) == (2, 4000, 3600)
    assert site.arrays.max_size == 1001 and site.account.default == "eo"
    assert "exists already" in call("probe", "-o", str(path)).stderr
    checked = call("check", str(path), "--json")
    assert checked.returncode == 0, checked.stdout
    path.write_text(path.read_text().replace('name: "short"', 'name: "shorter"').replace("1001", "9999"))
    wrong = call("check", str(path), "--json")
    assert wrong.returncode == 1
    assert {item["what"] for item in json.loads(wrong.stdout) if item["ok"] is False} == {
        "partition shorter",
        "arrays.max_size",
    }
    assert "NO" in call("check", str(path)).stdout


def test_a_controller_that_is_away_is_said(slurm, tmp_path):
    slurm.stop_controller()
    try:
        done = call("probe")
    finally:
        slurm.start_controller()
    assert done.returncode == 1 and "no scheduler answers" in done.stderr

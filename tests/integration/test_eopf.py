"""A whole campaign from EOPF Zarr and SAFE products, mixed: the results are those of SAFE products alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import plan_campaign, run_campaign
from hpckit.testing.eopf import write_eopf
from tests import products
from tests.small_campaign import copy, pixels_of, results, same

pytestmark = pytest.mark.integration
QUIET = Console(quiet=True)
GENERATIONS = {0: "2025-08", 1: "2.8", 2: "3.0"}
"""Of the dates that are EOPF Zarr; the last one is SAFE. The first has no offset, though its arrays declare one."""


def test_results_are_those_of_safe_products(made: Path, expected, tmp_path: Path):
    path = copy(made, tmp_path / "c")
    scenes = path.parent / "scenes"
    for number, generation in GENERATIONS.items():
        spec = products.spec(number, baseline="03.01" if number == 0 else "05.10")
        shutil.rmtree(scenes / f"{spec.name}.SAFE")
        write_eopf(scenes, spec, pixels_of(number), generation, chunk_m=3500)
    campaign = load_campaign(path)
    lost = next(scenes.glob("*.zarr/measurements/reflectance/r10m/b08/1.1"))
    whole = lost.read_bytes()
    lost.write_bytes(whole[:-7])
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 1, "a damaged chunk costs its date"
    lost.write_bytes(whole)
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    same(results(campaign), expected)
    planned, _ = plan_campaign(campaign, QUIET)
    assert not planned.plan.pending

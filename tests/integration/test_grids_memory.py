"""What resampling a strip takes of memory, against what a plan says it takes."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from hpckit.testing.ground import granule_at
from hpckit.testing.safe import ProductSpec, write_product
from tests.products import FIRST

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
EDGE = 5000
CASES = {
    "own zone": ("utm:20480@10", 5.97, "B04", "bilinear"),
    "next zone": ("utm:20480@10", 6.05, "B04", "bilinear"),
    "another projection": ("EPSG:3035:20000@10", 6.05, "B04", "cubic"),
    "20 m onto 10 m": ("EPSG:3035:20000@10", 6.05, "B11", "bilinear"),
    "10 m onto 40 m, all of them": ("EPSG:3035:20000@40", 6.05, "B04", "average"),
}
_MEASURE = """
import ctypes, json, sys
from dataclasses import replace
from pathlib import Path
from hpckit.campaign.campaign import Campaign
from hpckit.cubes import ingest, layout
from hpckit.sensors import regrid
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.catalogue import catalogue
from hpckit.catalogue.tiling import group

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

def fill(path):
    made = replace(spec, path=path)
    layout.prepare(made, tile, acquisitions)
    (unit,) = ingest.ingest_units(made, tile, acquisitions)
    assert not ingest.ingest(made, unit, acquisitions, Manifest.load(path), "w").failures

folder, found = Path(sys.argv[1]), {}
scenes = catalogue.scan([folder / "scenes"]).scenes
for name, (grid, longitude, band, resampling) in json.loads(sys.argv[2]).items():
    campaign = Campaign.model_validate({
        "name": "m", "aoi": [longitude, 51.35, longitude + 1e-4, 51.3501], "period": "2024-01-01/2024-12-31",
        "scenes": {"paths": ["x"]}, "grid": grid, "cube": {"bands": [band], "resampling": resampling},
    })
    spec = CubeSpec.of(campaign)
    ((tile, acquisitions),) = group(campaign, scenes)[0].items()
    fill(folder / "first" / name)  # loads what is loaded once
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = status("VmRSS")
    fill(folder / "second" / name)
    (ref,) = spec.bands
    found[name] = status("VmHWM") - before, regrid.strip_bytes(spec.frame(tile, acquisitions), ref, acquisitions)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, tuple[int, int]]:
    """Peak and what is said of it, by case, in a process that does nothing else."""
    folder = tmp_path_factory.mktemp("memory")
    spec = granule_at(ProductSpec(tile="31UGT", epsg=32631, sensed=FIRST), 6.05, 51.35, EDGE)
    arrays = {
        f"B{band}@{size}m": np.full((EDGE * 10 // size,) * 2, 1500, np.uint16)
        for band, size in (("04", 10), ("11", 20))
    }
    write_product(folder / "scenes", spec, arrays)
    command = [sys.executable, "-W", "ignore", "-c", _MEASURE, str(folder), json.dumps(CASES)]
    found: dict[str, tuple[int, int]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_model_is_above_and_near_what_a_strip_takes(measured: dict[str, tuple[int, int]], case: str) -> None:
    peak, said = measured[case]
    assert said / 2 < peak < 1.1 * said

"""Files of cubes and composites that are deleted or damaged behind hpckit's back: `run` alone repairs them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes import read
from hpckit.production.driver import run_campaign
from hpckit.sensors.bands import BandRef
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from tests.small_campaign import DATES, copy, results, same

pytestmark = pytest.mark.integration
QUIET = Console(quiet=True)
COMPOSITE = """\
  - {name: all, kind: composite, bands: [B11], methods: [median], outputs: {mosaic: none}}
"""


@pytest.fixture(scope="module")
def done(made, tmp_path_factory) -> Path:
    path = copy(made, tmp_path_factory.mktemp("damage") / "c")
    path.write_text(path.read_text() + COMPOSITE)
    assert run(path) == 0
    return path


def run(path: Path) -> int:
    return run_campaign(load_campaign(path), QUIET, workers=2).exit_code


def shards(path: Path, band: str) -> list[Path]:
    found = path.parent.rglob(f"{band}/c/*/*/*")
    return sorted(file for file in found if file.is_file())


def content(path: Path) -> dict[str, np.ndarray]:
    campaign, found = load_campaign(path), {}
    for ref in campaign.cube_bands():
        planes = [read.read_plane(campaign.cube_path, "31UFU", ref, date) for date in range(DATES)]
        found[ref.key] = np.stack(planes)
    layer = BandRef("B11_median", 20, SENTINEL2.bands["B11"])
    found["composite"] = read.read_plane(path.parent / "composites/all.zarr", "31UFU", layer, 0)
    for file in sorted((path.parent / "composites/all").rglob("*.tif")):
        with rasterio.open(file) as source:
            found[file.name] = source.read()
    return found


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys() and any("tif" in name for name in one)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)


def rot(path: Path) -> None:
    status = path.stat()
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def test_a_run_that_ends_well_leaves_what_a_fresh_one_makes(done, expected):
    before = content(done)
    bands = shards(done, "B08")
    bands[0].unlink()
    swap(bands[1], bands[2])
    flip(shards(done, "SCL")[0])
    shards(done, "B11_median")[0].unlink()
    next((done.parent / "composites/all").rglob("*.tif")).unlink()
    assert run(done) == 0
    equal(content(done), before)
    flip(next((done.parent / "composites/all").rglob("*.tif")))
    assert run(done) == 0
    equal(content(done), before)
    same(results(load_campaign(done)), expected)


def test_rot_that_leaves_no_trace_costs_the_unit_that_reads_it_until_the_next_run(done, expected):
    before = content(done)
    text = done.read_text()
    done.write_text(text.replace("coverage: centre", "coverage: centre\n    percentiles: [50]"))
    rot(shards(done, "B08")[0])
    report = run_campaign(load_campaign(done), QUIET, workers=2)
    assert report.exit_code == 1
    assert {entry.stage for entry in report.failed} == {"signatures"}
    reasons = [str(entry.reason) for entry in report.failed]
    assert any("the next run writes it again" in reason and "/B08/c/0/0/0: " in reason for reason in reasons)
    assert run(done) == 0
    equal(content(done), before)
    kept = ["zone", "time", "band", "valid", "total", "mean", "std", "p50"]
    same(results(load_campaign(done))[kept], expected[kept])

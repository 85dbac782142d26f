"""Kernels are compiled once, before workers start: no worker, and no rank of a job, compiles any."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.small_campaign import copy, write_campaign

pytestmark = [pytest.mark.integration, pytest.mark.slow]

COMPOSITES = """\
  - name: leaf
    kind: composite
    bands: [B04, B08]
    indices: {NDVI: (B08 - B04) / (B08 + B04)}
    methods: [median, mean, best, max_ndvi, medoid, geomad, interpolate, smooth]
    mask: {dilate: 40m}
    outputs: {cog: false}
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the packages of this one, and without its compiled kernels."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return folder / "bin" / "python"


@pytest.mark.parametrize(("coverage", "extra"), [("centre", ""), ("fraction", ""), ("centre", COMPOSITES)])
def test_workers_compile_nothing(made: Path, python: Path, tmp_path: Path, coverage: str, extra: str) -> None:
    campaign = copy(made, tmp_path / "c")
    write_campaign(campaign.parent, coverage=coverage, extra=extra)
    environment = {**os.environ, "HPCKIT_KERNELS": str(tmp_path / "kernels")}
    words = [python, "-m", "hpckit", "run", campaign, "--workers", "2", "--no-sync"]
    subprocess.run(words, env=environment, check=True, capture_output=True)
    (folder,) = (tmp_path / "kernels").iterdir()
    (mark,) = folder.glob("ready.*")
    assert len(list(folder.iterdir())) > 5
    late = [path.name for path in folder.iterdir() if path.stat().st_mtime_ns > mark.stat().st_mtime_ns]
    assert late == []

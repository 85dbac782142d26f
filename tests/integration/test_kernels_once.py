"""Kernels are compiled once, before workers start: no worker, and no rank of a job, compiles any."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from hpckit.campaign.campaign import load_campaign
from hpckit.production.kernels import of_campaign, of_graphs
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


RECORDER = """
import os, sys

def note(event, arguments):
    folder, name = os.path.split(arguments[0]) if event == "open" and isinstance(arguments[0], str) else ("", "")
    if folder.startswith(os.environ["HPCKIT_KERNELS"]) and not name.startswith((".", "ready.")):
        record = os.open(os.environ["RECORD"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(record, name.encode() + b"\\n")
        os.close(record)

if "RECORD" in os.environ:
    sys.addaudithook(note)
"""
"""Notes which files of kernels any process of the environment asks for, whether they exist or not."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the packages of this one, and without its compiled kernels."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "recorder.py").write_text(RECORDER)
    ours = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (packages / "ours.pth").write_text(f"{ours}import recorder\n")
    return folder / "bin" / "python"


def test_workers_compile_nothing(made: Path, python: Path, tmp_path: Path) -> None:
    campaign = copy(made, tmp_path / "c")
    run(python, tmp_path / "kernels", "run", str(campaign), "--workers", "2", "--no-sync")
    (folder,) = (tmp_path / "kernels").iterdir()
    ready = min(path.stat().st_mtime_ns for path in folder.glob("ready.*"))
    kernels = [path for path in folder.iterdir() if not path.name.startswith("ready.")]
    assert len(kernels) > 5
    assert [path.name for path in kernels if path.stat().st_mtime_ns > ready] == []


@pytest.mark.parametrize(("coverage", "extra"), [("fraction", ""), ("centre", COMPOSITES)])
def test_workers_ask_only_for_kernels_that_were_compiled_ahead(
    made: Path, python: Path, tmp_path: Path, coverage: str, extra: str
) -> None:
    campaign = copy(made, tmp_path / "c")
    write_campaign(campaign.parent, coverage=coverage, extra=extra)
    # What `make kernels` compiled is taken, since compiling all of this takes a minute and more.
    here, kernels = Path(sys.prefix) / "share" / "hpckit" / "kernels", tmp_path / "kernels"
    shutil.copytree(here, kernels, ignore=shutil.ignore_patterns("ready.*")) if here.exists() else kernels.mkdir()
    names = of_campaign(load_campaign(campaign))
    ahead = run(python, kernels, "kernels", *names, record=tmp_path / "ahead")
    asked = run(python, kernels, "run", str(campaign), "--workers", "2", "--no-sync", record=tmp_path / "asked")
    assert len(asked) > 5
    assert asked - ahead == set()


EVERY_REDUCER = """
import numpy as np
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import processes

run = {name: process.run for name, process in processes().items()}
for dtype in ("float32", "float64"):
    whole = np.zeros((5, 60, 70), dtype)
    fixed = whole.copy()
    fixed.flags.writeable = False
    for stack in (whole, fixed, whole[:, 3:50], whole[:, :, 4:60], whole.transpose(1, 0, 2)):
        data = Labelled(stack)
        for name in ("sum", "product", "mean", "variance", "sd", "min", "max", "extrema", "median", "count", "first",
                     "last", "order", "sort", "cumsum", "cummin", "cummax", "cumproduct", "array_interpolate_linear"):
            run[name](data=data)
        for name in ("order", "sort"):
            run[name](data=data, asc=False, nodata=False)
        run["quantiles"](data=data, probabilities=[0.1, 0.5], ignore_nodata=False)
        flags = run["between"](x=stack[0], min=0, max=1)
        run["if"](value=run["and"](x=flags, y=run["gt"](x=stack[0], y=0.5)), accept=stack[1], reject=1)
"""


def test_reducers_of_process_graphs_ask_only_for_kernels_that_were_compiled_ahead(
    python: Path, tmp_path: Path
) -> None:
    here, kernels = Path(sys.prefix) / "share" / "hpckit" / "kernels", tmp_path / "kernels"
    shutil.copytree(here, kernels, ignore=shutil.ignore_patterns("ready.*")) if here.exists() else kernels.mkdir()
    ahead = run(python, kernels, "kernels", *of_graphs(), record=tmp_path / "ahead")
    environment = {**os.environ, "HPCKIT_KERNELS": str(kernels), "RECORD": str(tmp_path / "asked")}
    subprocess.run([python, "-c", EVERY_REDUCER], env=environment, check=True)
    asked = set((tmp_path / "asked").read_text().split())
    assert len(asked) >= 20
    assert asked - ahead == set()


def run(python: Path, kernels: Path, *words: str, record: Path | None = None) -> set[str]:
    """Call hpckit with a folder of kernels; give the names of the kernels that were asked for."""
    environment = {**os.environ, "HPCKIT_KERNELS": str(kernels), **({"RECORD": str(record)} if record else {})}
    subprocess.run([python, "-m", "hpckit", *words], env=environment, check=True, capture_output=True)
    return set(record.read_text().split()) if record is not None else set()


def test_a_named_folder_is_filled_whatever_the_environment_has(python: Path, tmp_path: Path) -> None:
    def compile_into(folder: Path, *words: str) -> list[str]:
        run(python, folder, "kernels", *words, "gather uint8")
        return sorted({path.parent.name[:9] for path in folder.glob("*/index._gather_equal.*")})

    shipped = python.parents[1] / "share" / "hpckit" / "kernels"
    assert compile_into(shipped, "--level", "x86-64-v2") == ["x86-64-v2"]
    assert compile_into(tmp_path / "unneeded", "--lacking", "--level", "x86-64-v2") == []
    both = ("--level", "x86-64-v2", "--level", "x86-64-v3")
    assert compile_into(tmp_path / "lacking", "--lacking", *both) == ["x86-64-v3"]
    assert compile_into(tmp_path / "named", *both) == ["x86-64-v2", "x86-64-v3"]

"""From labels to a map: the page of the documentation as it is written, and real patches of WorldCereal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpckit
from hpckit import api
from hpckit.base.console import Console
from hpckit.demo.lessons import OPTICAL, write_data
from hpckit.testing.landscape import season
from tests.integration.campaigns import made_once

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(hpckit.__file__).parents[1]
PAGE = ROOT / "docs/how-to/learn.md"
EXAMPLE = ROOT / "docs/examples/worldcereal"
PATCHES = ROOT.parent / "shared/data/s1s2-worldcereal-training-patches/worldcerealtraining"


def blocks() -> list[str]:
    """Code of the page, in its order."""
    found = re.findall(r"(?:^    .*\n|^\n)+", PAGE.read_text(), re.MULTILINE)
    return [re.sub(r"^ {4}", "", text, flags=re.MULTILINE).strip("\n") for text in found if text.strip()]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What the page's blocks make, one after the other, in the folder of a small demonstration."""
    for package in ("sklearn", "joblib", "skl2onnx", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra `learn`")

    def data(folder: Path) -> None:
        write_data(folder, Console(quiet=True), passes=season()[1:21:2], radar_dates=0)

    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(made_once(tmp_path_factory, "lessons", data), folder / "demo")
    composite, sample, train, predict, onnx = blocks()
    campaign = folder / "demo/campaign.yaml"
    head = OPTICAL[: OPTICAL.index("reductions:")]
    names: dict[str, Any] = {}
    before = Path.cwd()
    os.chdir(folder)
    try:
        campaign.write_text(f"{head}{composite}\n")
        assert api.run(campaign, workers=2).exit_code == 0
        for code in (sample, train):
            exec(compile(code, str(PAGE), "exec"), names)
        campaign.write_text(f"{campaign.read_text()}{predict}\n".replace("\n- name: crops", "\n  - name: crops"))
        assert api.run(campaign, workers=2).exit_code == 0
        exec(compile(onnx, str(PAGE), "exec"), names)
    finally:
        os.chdir(before)
    return campaign, names


def test_the_page_makes_the_map_of_its_model(learned: tuple[Path, dict[str, Any]]) -> None:
    path, names = learned
    model, wanted = names["model"], names["samples"].features
    found = api.composite(path, "seasons")
    layers = [found[name.rpartition("_")[0]].sel(time=name.rpartition("_")[2]).values.reshape(-1) for name in wanted]
    features = np.stack(layers, 1).astype(np.float32)
    whole = ~np.isnan(features).any(axis=1)
    mapped = hpckit.open_campaign(path).result("crops")["class"].values.reshape(-1)
    assert np.array_equal(np.isfinite(mapped), whole) and whole.mean() > 0.9
    likely = model.predict_proba(features[whole])
    np.testing.assert_array_equal(mapped[whole], likely.argmax(axis=1))


def test_the_model_of_the_page_is_better_than_chance(learned: tuple[Path, dict[str, Any]]) -> None:
    _, names = learned
    table, test = names["table"], ~names["train"]
    most = table.label[test].value_counts(normalize=True).max()
    assert names["model"].score(table.loc[test, names["samples"].features], table.label[test]) > most + 0.2


def test_the_onnx_model_of_the_page_maps_the_same(learned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    path, names = learned
    (path.parent / "crops.onnx").write_bytes(names["made"].SerializeToString())
    job = path.parent / "onnx.yaml"
    job.write_text(
        "name: onnx\nreductions:\n"
        "  - {name: other, kind: predict, model: crops.onnx, collection: campaign.yaml, composite: seasons}\n"
    )
    assert api.run(job, workers=2).exit_code == 0
    first, second = hpckit.open_campaign(path).result("crops"), hpckit.open_campaign(job).result()
    assert list(first) == list(second)
    differ = first["class"].values != second["class"].values
    assert differ[np.isfinite(first["class"].values)].mean() < 1e-3  # float32 within ONNX


@pytest.mark.realdata
def test_the_example_of_worldcereal(tmp_path: Path) -> None:
    """Another place, year and mixture of crops than those of the training."""
    pytest.importorskip("sklearn", reason="needs the extra `learn`")
    if not PATCHES.exists():
        pytest.skip(f"{PATCHES} is not there")
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder)
    run_script("prepare.py", PATCHES, folder)
    for year in ("2018", "2019"):
        assert api.run(folder / year / "campaign.yaml", workers=2).exit_code == 0
    said = run_script("train.py", folder)
    assert float(accuracy(said)) > 0.6
    assert api.run(folder / "2018/map.yaml", workers=2).exit_code == 0
    said = run_script("assess.py", folder)
    assert "2236 labelled pixels, 0 of them without a class" in said
    assert float(accuracy(said)) > float(said.split()[-1]) + 0.15


def accuracy(report: str) -> str:
    found = re.search(r"accuracy +([0-9.]+)", report)
    assert found is not None, report
    return found[1]


def run_script(name: str, *words: object) -> str:
    command = [sys.executable, str(EXAMPLE / name), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout

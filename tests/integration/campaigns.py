"""Fixtures: a small campaign, and what comes out of it on this machine; made once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign
from tests.small_campaign import copy, make, results


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; take copies."""
    return made_once(tmp_path_factory, "made", make)


@pytest.fixture(scope="session")
def expected(made: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Results of a local run."""

    def run(folder: Path) -> None:
        campaign = load_campaign(copy(made, folder / "c"))
        assert run_campaign(campaign, Console(quiet=True), workers=2).exit_code == 0
        results(campaign).to_pickle(folder / "results.pickle")

    folder = made_once(tmp_path_factory, "expected", run)
    return pd.read_pickle(folder / "results.pickle")


def made_once(factory: pytest.TempPathFactory, name: str, make_in: Callable[[Path], None]) -> Path:
    """A folder that the first process which needs it fills, while the others wait."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of the run; each process has a folder of its own in it
    folder, partial = root / name, root / f"{name}.partial"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(partial, ignore_errors=True)  # of a process that failed
            partial.mkdir()
            make_in(partial)
            partial.rename(folder)
    return folder

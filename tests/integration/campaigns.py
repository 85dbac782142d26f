"""Fixtures: a small campaign that is made once, and what comes out of it on this machine."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from hpckit.campaign import load_campaign
from hpckit.console import Console
from hpckit.driver import run_campaign
from tests.small_campaign import copy, make, results


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; take copies."""
    folder = tmp_path_factory.mktemp("made")
    make(folder)
    return folder


@pytest.fixture(scope="session")
def expected(made: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Results of a local run."""
    campaign = load_campaign(copy(made, tmp_path_factory.mktemp("here") / "c"))
    assert run_campaign(campaign, Console(quiet=True), workers=2).exit_code == 0
    return results(campaign)

"""Campaigns that tests of the openEO door serve, and the door on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign
from hpckit.serve.identity.passwords import set_password
from hpckit.serve.service import open_service
from hpckit.serve.settings import Settings
from tests import small_campaign
from tests.integration.campaigns import made_once
from tests.raster_samples import write_image
from tests.servers.served import serving

QUIET = Console(quiet=True)
VIENNA = {"crs": "EPSG:32633", "transform": Affine(1000, 0, 580_000, 0, -1000, 5_360_000)}
PASSWORDS = {"anna": "annas password", "bert": "berts password"}


@pytest.fixture(scope="session")
def ingested(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small campaign with its cube; only to be read."""

    def run(folder: Path) -> None:
        campaign = load_campaign(small_campaign.copy(made, folder / "c"))
        assert run_campaign(campaign, QUIET, workers=2).exit_code == 0

    return made_once(tmp_path_factory, "ingested", run) / "c" / "campaign.yaml"


@pytest.fixture(scope="session")
def moisture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Soil moisture of 1 km around Vienna, as the payloads of openEO's test suite ask for."""

    def run(folder: Path) -> None:
        random = np.random.default_rng(5)
        for day in ("20200115", "20200620", "20201101"):
            values = random.integers(1, 200, (60, 60)).astype("uint8")
            write_image(folder / "images" / f"{day}_B01.tif", values, nodata=255, **VIENNA)
        (folder / "campaign.yaml").write_text(
            """\
name: moisture
aoi: [16.1, 48.0, 16.7, 48.35]
period: 2020-01-01/2020-12-31
scenes:
  paths: images
  rasters:
    pattern: "{date}_{band}.tif"
    pixel: 1000
    bands: {B01: {scale: 0.5, nodata: 255}}
cube: {bands: [B01]}
"""
        )
        assert run_campaign(load_campaign(folder / "campaign.yaml"), QUIET, workers=2).exit_code == 0

    return made_once(tmp_path_factory, "moisture", run) / "campaign.yaml"


def door_settings(folder: Path, datasets: dict[str, Path], **changes: Any) -> Settings:
    """Settings with two users, who may do everything; others may know what collections there are."""
    folder.mkdir(parents=True, exist_ok=True)
    users = folder / "users.txt"
    if not users.exists():
        for name, password in PASSWORDS.items():
            set_password(users, name, password)
    asked: dict[str, Any] = {
        "datasets": [{"campaign": path, "name": name} for name, path in datasets.items()],
        "doors": ["openeo"],
        "users": users,
        "state": folder / "state",
        "grants": [{"users": ["anyone"], "actions": ["info"]}, {"users": ["signed-in"]}],
        "openeo": {"poll_s": 2, **changes.pop("openeo", {})},
    }
    return Settings.model_validate(asked | changes)


@contextmanager
def openeo_door(settings: Settings) -> Iterator[str]:
    """The door while the block runs; yields the address that clients connect to."""
    service = open_service(settings, QUIET)
    with serving(settings, service) as url:
        yield f"{url}/openeo/1.2"

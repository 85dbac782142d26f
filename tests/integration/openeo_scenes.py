"""Made-up products of June 2022 in tile 32TPS and of spring 2017 near Vienna, for clients of the openEO door."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign
from hpckit.testing.radar import RadarSpec, write_card_bs
from hpckit.testing.safe import ProductSpec, quantise, write_product
from tests.integration.campaigns import made_once

EDGE = 180
"""Pixels of 10 m of the part of the granule that there is: one window."""
LEFT, TOP = 679_200.0, 5_152_020.0
DAYS = (2, 7, 12, 17, 22, 27)
COVERS = (5.0, 20.0, 80.0, 0.0, 50.0, 35.0)
"""Cloud cover in percent of the days; conditions on it leave one out."""
_SOIL = {"B02": 0.08, "B03": 0.11, "B04": 0.15, "B08": 0.22, "B11": 0.3}
_LEAF = {"B02": 0.03, "B03": 0.06, "B04": 0.03, "B08": 0.46, "B11": 0.17}


def reflectance(number: int) -> dict[str, np.ndarray]:
    """Bands of a day, with a bright cloud in every part of the scene, and classes of the scene.

    Returns
    -------
    dict of str to ndarray of float64, shape (EDGE, EDGE), B11 and SCL of half of it
    """
    random = np.random.default_rng(320 + number)
    green = np.kron(random.random((EDGE // 10, EDGE // 10)), np.ones((10, 10)))
    cloud = np.kron(random.random((EDGE // 20, EDGE // 20)) < 0.2, np.ones((20, 20))).astype(bool)
    found = {}
    for band, soil in _SOIL.items():
        values = soil + green * (_LEAF[band] - soil) + random.uniform(0, 0.01, green.shape)
        values[cloud] = random.uniform(0.9, 1.3, int(cloud.sum()))
        found[band] = values if band != "B11" else values[::2, ::2]
    classes = random.choice([4, 5, 6], (EDGE // 2, EDGE // 2))
    classes[cloud[::2, ::2]] = 9
    return found | {"SCL": classes}


@pytest.fixture(scope="session")
def optical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentinel-2 where and when openEO's test suite looks; its campaign file, with a cube."""

    def make(folder: Path) -> None:
        for number, (day, cover) in enumerate(zip(DAYS, COVERS, strict=True)):
            spec = ProductSpec(
                tile="32TPS",
                epsg=32632,
                ulx=LEFT,
                uly=TOP,
                sensed=datetime(2022, 6, day, 10, 6, 11, tzinfo=UTC),
                baseline="04.00",
                relative_orbit=22,
                absolute_orbit=27_000 + number,
                cloud_cover=cover,
            )
            bands = reflectance(number)
            keys = {band: f"{band}@{20 if band in ('B11', 'SCL') else 10}m" for band in bands}
            arrays = {keys[name]: quantise(values, spec.offset) for name, values in bands.items() if name != "SCL"}
            arrays["SCL@20m"] = bands["SCL"].astype(np.uint8)
            write_product(folder / "scenes", spec, arrays)
        _ingest(
            folder,
            """\
name: optical
aoi: [11.335, 46.484, 11.362, 46.498]
period: 2022-06-01/2022-06-30
scenes: {paths: [scenes]}
cube: {bands: [B02, B03, B04, B08, B11, SCL], dates_per_block: 6}
""",
        )

    return made_once(tmp_path_factory, "optical", make) / "campaign.yaml"


RADAR = RadarSpec(ulx=598_000, uly=5_341_000, epsg=32633, state="ascending")
"""In Vienna, on the pixels of tiles; where 33UWP and 33UXP overlap."""
RADAR_EDGE = 260
RADAR_DAYS = ((3, 2), (3, 14), (3, 26), (4, 7), (4, 19), (5, 1), (5, 13))
"""Month and day of 2017."""


def backscatter(number: int) -> np.ndarray:
    """Linear power of VV of a day, as it is stored: in steps of 1e-4; float64, shape (RADAR_EDGE, RADAR_EDGE)."""
    power = np.random.default_rng(160 + number).gamma(4.4, 0.1 / 4.4, (RADAR_EDGE, RADAR_EDGE))
    return np.rint(np.clip(power, 2e-4, 6) * 1e4) / 1e4


@pytest.fixture(scope="session")
def radar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentinel-1 over Vienna in March to May 2017; its campaign file, with a cube."""

    def make(folder: Path) -> None:
        for number, (month, day) in enumerate(RADAR_DAYS):
            start = datetime(2017, month, day, 16, 43, 12, tzinfo=UTC)
            spec = replace(RADAR, start=start, absolute_orbit=15_500 + 175 * number, datatake=0x19900 + number)
            vv = backscatter(number)
            write_card_bs(folder / "scenes", spec, {"VV": vv.astype(np.float32), "VH": (vv / 5).astype(np.float32)})
        _ingest(
            folder,
            """\
name: radar
aoi: [16.322, 48.191, 16.354, 48.212]
period: 2017-03-01/2017-05-31
scenes: {paths: [scenes], collection: sentinel-1-card-bs}
cube: {bands: [VV, VH], dates_per_block: 7}
""",
        )

    return made_once(tmp_path_factory, "radar", make) / "campaign.yaml"


def _ingest(folder: Path, text: str) -> None:
    (folder / "campaign.yaml").write_text(text)
    assert run_campaign(load_campaign(folder / "campaign.yaml"), Console(quiet=True), workers=2).exit_code == 0

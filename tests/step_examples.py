"""The examples of steps in the documentation, with something to work on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import shapely

from hpckit.space.mgrs import mgrs_tile
from hpckit.testing.radar import RadarSpec, write_series
from tests import small_campaign
from tests.small_campaign import write_zones

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
EDGE = 200
TILE = mgrs_tile("31UFU")
FIRST = RadarSpec(ulx=TILE.xmin + 30_000, uly=TILE.ymax - 20_000)
SECOND = replace(
    FIRST, start=FIRST.start + timedelta(days=12), absolute_orbit=FIRST.absolute_orbit + 175, datatake=0x68600
)
FIELD = shapely.Point(FIRST.ulx + 1000, FIRST.uly - 1000).buffer(400)


def speckle(folder: Path) -> Path:
    """Two products of nothing but speckle, and a field; the campaign that filters them."""
    shutil.copytree(EXAMPLES / "speckle", folder)
    random = np.random.default_rng(5)
    for spec in (FIRST, SECOND):
        arrays = {
            pol: random.gamma(4.4, level / 4.4, (EDGE, EDGE)).astype(np.float32)
            for pol, level in (("VV", 0.1), ("VH", 0.02))
        }
        write_series(folder / "rtc", spec, arrays)
    write_zones(folder / "fields.gpkg", [FIELD])
    return folder / "campaign.yaml"


def greening(folder: Path) -> Path:
    """Four dates of a granule; the campaign that runs a script over its cube."""
    folder.mkdir(parents=True)
    small_campaign.make(folder)
    shutil.copy(folder / "zones.gpkg", folder / "fields.gpkg")
    for name in ("campaign.yaml", "amplitude.py"):
        shutil.copy(EXAMPLES / "greening" / name, folder / name)
    return folder / "campaign.yaml"

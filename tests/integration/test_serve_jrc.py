"""JRC's own client (`cbm` 0.0.18, unchanged) against `hpckit serve`, on the demonstration's data and on radar."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio

from hpckit.api import open_campaign
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign
from hpckit.serve.identity.passwords import set_password
from hpckit.serve.settings import Settings
from hpckit.space.mgrs import mgrs_tile
from hpckit.testing.radar import RadarSpec, write_card_bs
from tests.integration.campaigns import made_once
from tests.servers.served import serving

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.serve, pytest.mark.timeout(900)]

CLIENT = Path(__file__).parents[1] / "servers" / "cbm_client.py"
PACKAGES = ("cbm==0.0.18", "pandas<2", "numpy<2", "setuptools<81", "matplotlib<3.9")
RADAR = """\
name: radar
aoi: parcels.gpkg
period: 2024-05-01/2024-07-31
scenes: {paths: [scenes], collection: sentinel-1-card-bs, tiles: [31UFS]}
cube: {bands: [VV, VH], dates_per_block: 4}
reductions:
  - {name: parcels, zones: parcels.gpkg, id: parcel_id, bands: [VV, VH]}
"""


def _python() -> str | None:
    """An interpreter of Python 3.10, which the client's requirements need."""
    places = [shutil.which("python3.10"), *map(str, Path.home().glob(".pyenv/versions/3.10*/bin/python"))]
    for place in filter(None, places):
        if (
            subprocess.run(
                [place, "-c", "import sys; assert sys.version_info[:2] == (3, 10)"], check=False
            ).returncode
            == 0
        ):
            return place
    return None


@pytest.fixture(scope="session")
def cbm_python() -> Path:
    """The client's environment, in the user's cache folder; made once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpckit" / "tests" / "cbm-0.0.18"
    python = cache / "bin" / "python"
    if (cache / "complete").exists():
        return python
    base = _python()
    if base is None:
        pytest.skip("cbm 0.0.18 needs Python 3.10, which is not installed")
    subprocess.run([base, "-m", "venv", "--clear", cache], check=True)
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", *PACKAGES], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cbm 0.0.18 cannot be installed: {done.stderr[-300:]}")
    (cache / "complete").touch()
    return python


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the demonstration, after its run."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "hpckit", "demo", str(folder / "demo"), "--dates", "6", "--workers", "2"]
        subprocess.run(command, check=True, capture_output=True)

    return made_once(tmp_path_factory, "served-demo", make) / "demo"


@pytest.fixture(scope="session")
def radar(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of Sentinel-1 over the same parcels, after its run."""

    def make(folder: Path) -> None:
        shutil.copy(demo / "parcels.gpkg", folder)
        (folder / "campaign.yaml").write_text(RADAR)
        tile, random = mgrs_tile("31UFS"), np.random.default_rng(4)
        # Around parcel P0000, on the tile's own pixels.
        first = RadarSpec(ulx=tile.xmin + 39_400, uly=tile.ymax - (tile.ymax - 5_677_600) // 10 * 10)
        for number in range(4):
            later = timedelta(days=12 * number)
            spec = replace(
                first,
                start=first.start + later,
                absolute_orbit=first.absolute_orbit + 175 * number,
                datatake=first.datatake + 100 * number,
            )
            bands = {
                pol: np.clip(random.gamma(4.4, level / 4.4, (200, 200)), 2e-4, 6).astype(np.float32)
                for pol, level in (("VV", 0.1), ("VH", 0.02))
            }
            write_card_bs(folder / "scenes", spec, bands)
        campaign = load_campaign(folder / "campaign.yaml")
        assert run_campaign(campaign, Console(quiet=True), workers=1).exit_code == 0

    return made_once(tmp_path_factory, "served-radar", make)


def settings(folder: Path, demo: Path, radar: Path, **changes: Any) -> Settings:
    set_password(folder / "users.txt", "anna", "annas password")
    asked: dict[str, Any] = {
        "datasets": [
            {"campaign": demo / "campaign.yaml", "aoi": "nl", "year": 2024},
            {"campaign": radar / "campaign.yaml", "aoi": "nl", "year": 2024},
        ],
        "doors": ["jrc"],
        "users": folder / "users.txt",
        "state": folder / "state",
        "grants": [{"users": ["anna"]}],
    }
    return Settings.model_validate(asked | changes)


def call(python: Path, folder: Path, url: str, asked: dict[str, Any]) -> dict[str, Any]:
    folder.mkdir()
    login = {"url": url, "user": "anna", "password": "annas password"}
    (folder / "asked.json").write_text(json.dumps(asked | login))
    environment = {**os.environ, "MPLCONFIGDIR": str(folder / "mpl")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, CLIENT, folder / "asked.json", folder / "answer.json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return found


@pytest.mark.parametrize("prefix", ["", "/eo"])
def test_all_calls_of_the_client(cbm_python, demo, radar, tmp_path, prefix):
    view = open_campaign(demo / "campaign.yaml")
    series = view.series("P0000", "B08")
    middle = view.zones().geometries[0].centroid
    import pyproj

    lon, lat = pyproj.Transformer.from_crs(view.zones().crs, 4326, always_xy=True).transform(middle.x, middle.y)
    asked = {
        "aoi": "nl",
        "year": "2024",
        "pid": "P0000",
        "lon": lon,
        "lat": lat,
        "start": "2024-03-01",
        "end": "2024-10-31",
        "peers": ["P0002", "P0005"],
        "polygon": f"{lon - 0.01}_{lat - 0.01}-{lon + 0.01}_{lat - 0.01}-{lon + 0.01}_{lat + 0.01}",
    }
    with serving(settings(tmp_path, demo, radar, prefix=prefix)) as url:
        found = call(cbm_python, tmp_path / "client", url, asked)
    # No weather, so nothing to show of it; every other call of the client works.
    assert {name: item["error"] for name, item in found.items() if "error" in item} == {}
    gave = {name: item["gave"] for name, item in found.items()}
    assert gave["options"]["aois"]["nl"]["2024"]["tstypes"] == ["s2", "bs"]
    assert gave["info by location"] == gave["info by pid"]
    assert gave["info by pid"]["pid"] == ["P0000"] and gave["info by pid"]["cropname"] == view.labels(["P0000"])
    assert gave["info missing"] is None
    assert "P0000" in gave["info by polygon"]["pid"]
    assert 0 < len(gave["peers"]["pids"]) <= 5 and gave["peers"]["distance"] == sorted(gave["peers"]["distance"])
    s2 = pd.DataFrame(gave["series s2"])
    b08 = s2[s2["band"] == "B08"].reset_index(drop=True)
    np.testing.assert_allclose(b08["mean"].astype(float), series["mean"] * 10_000, rtol=1e-5)
    assert pd.to_datetime(b08["date_part"], unit="s").tolist() == series["time"].dt.floor("s").tolist()
    assert set(s2["band"]) == {"B04", "B08", "B11"}
    assert all(isinstance(item, dict) and item for item in s2["hist"])
    assert gave["weather"] == {}
    radar_series = open_campaign(radar / "campaign.yaml").series("P0000", "VV")
    bs = pd.DataFrame(gave["series bs"])
    assert set(bs["band"]) == {"VVb", "VHb"}
    np.testing.assert_allclose(bs.loc[bs["band"] == "VVb", "mean"], radar_series["mean"], rtol=1e-5)
    assert gave["show ndvi"].startswith("figure") and gave["show s1"].startswith("figure")
    assert gave["page of chips"].startswith("<!doctype html>")
    tiffs = [tmp_path / "client" / name for name in gave["files"] if "chip_images" in name]
    assert {path.name.split(".")[1] for path in tiffs} >= {"B02", "B03", "B04", "B08", "B11"}
    for path in tiffs[:3]:
        with rasterio.open(path) as source:
            assert source.crs.to_epsg() == 32631 and source.shape == (64, 64) and source.read(1).max() > 0
    assert {Path(name).name for name in gave["files"] if "backgrounds" in name} >= {
        "google.tif",
        "osm.tif",
        "bing.tif",
    }

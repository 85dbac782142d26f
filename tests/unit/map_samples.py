"""A cube of two tiles in two UTM zones that overlap, for the tests of maps and chips."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyproj
import zarr

from hpckit.base.files import digest
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.look.view import CampaignView
from hpckit.space.frame import Frame
from tests.unit.look_samples import acquisition, write_cube

CAMPAIGN = """\
name: sample
aoi: [5.0, 51.0, 7.0, 53.0]
period: 2024-03-01/2024-10-31
scenes: {paths: products}
cube: {bands: [B02, B03, B04, B08, B11, SCL]}
reductions:
  - name: parcels
    zones: parcels.gpkg
    id: parcel
    bands: [B04, B08]
    indices: {NDWI: (B03 - B08) / (B03 + B08)}
"""

SHAPES = {10: (1140, 1260), 20: (570, 630)}
WEST = "31UGT"
EAST = "32ULC"
CORNERS = {WEST: (32631, 699_960.0, 5_780_000.0), EAST: (32632, 297_000.0, 5_778_000.0)}
TIMES = [datetime(2024, 4, 1 + 10 * n, 10, 50, 31, tzinfo=UTC) for n in range(3)]
DAYS = [time.date() for time in TIMES]


def arrays(seed: int) -> dict[str, np.ndarray]:
    """Stored integers with gaps, three dates."""
    random = np.random.default_rng(seed)
    found = {}
    for name, size in (("B02", 10), ("B03", 10), ("B04", 10), ("B08", 10), ("B11", 20)):
        pixels = random.integers(1000, 4000, (3, *SHAPES[size])).astype(np.uint16)
        edge = 1400 // size
        pixels[:, -edge:, -2 * edge :] = 0
        pixels[1, :, : 3 * edge] = 0
        found[f"{name}@{size}m"] = pixels
    classes = random.choice(np.array([0, 3, 4, 5, 8, 9], np.uint8), (3, *SHAPES[20]))
    return found | {"SCL@20m": classes}


def make(folder: Path) -> CampaignView:
    """Write the cube and the campaign file."""
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    for seed, (tile, (epsg, ulx, uly)) in enumerate(CORNERS.items()):
        frame = Frame(tile, epsg, ulx, uly, SHAPES, {})
        found = [
            acquisition(time, SHAPES, tile=tile, frame=frame, cloud_cover=10.0 * n) for n, time in enumerate(TIMES)
        ]
        write_cube(folder / "cube.zarr", arrays(seed), found)
    return CampaignView(load_campaign(folder / "campaign.yaml"))


def record(cube: Path, tile: str, inputs: Mapping[int, str] | None = None) -> None:
    """Give all shards of a tile a record, as ingest does.

    Parameters
    ----------
    inputs : mapping of int to str
        What a date was made from, where that is not its number.
    """
    dates = tuple({0: "0", 1: "1", 2: "2", **(inputs or {})}.values())
    records = []
    for path in sorted((cube / tile).glob("r*m/*/c/*/*/*")):
        data = path.read_bytes()
        records.append(ShardRecord(str(path.relative_to(cube)), len(data), digest(data), dates))
    Manifest.load(cube, [tile]).append(records, "test")


def pixel_of(x: np.ndarray, y: np.ndarray, tile: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Fractional column and row of places in EPSG:3857, by pyproj alone."""
    epsg, ulx, uly = CORNERS[tile]
    east, north = pyproj.Transformer.from_crs(3857, epsg, always_xy=True).transform(x, y)
    return (east - ulx) / size, (uly - north) / size


def stored(cube: Path, tile: str, name: str, size: int = 10) -> np.ndarray:
    """An array as zarr-python reads it."""
    return zarr.open_array(cube / tile / f"r{size}m" / name, mode="r")[:]

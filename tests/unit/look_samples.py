"""Small cubes, series and a whole campaign made from arrays, for the tests of looking at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import zarr

from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.cubes.layout import CubeSpec, prepare
from hpckit.reduce.signatures.spool import AcquisitionInfo, Segment, SignatureBatch, SpoolHeader
from hpckit.sensors.model import Acquisition, Scene
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.frame import Frame
from hpckit.space.zones import ZoneLayer, read_zones
from hpckit.store import open_store
from tests.frozen_samples import freeze

ULX, ULY, EPSG = 500_000.0, 5_700_000.0, 32631


def acquisition(
    time: datetime,
    shapes: Mapping[int, tuple[int, int]],
    *,
    tile: str = "31UFU",
    cloud_cover: float | None = 10.0,
    **changes: Any,
) -> Acquisition:
    stamp = f"{time:%Y%m%dT%H%M%S}"
    known: dict[str, Any] = {
        "id": f"S2A_MSIL2A_{stamp}_N0509_R051_T{tile}_{stamp}",
        "href": "/products/none.SAFE",
        "level": "L2A",
        "platform": "S2A",
        "sensed": time,
        "datatake": f"GS2A_{stamp}_012345_N05.09",
        "part": "DS",
        "frame": Frame(tile, EPSG, ULX, ULY, shapes, {}),
        "baseline": "05.09",
        "relative_orbit": 51,
        "cloud_cover": cloud_cover,
        "nodata": 0.0,
        "assets": {},
        "sensor": "sentinel-2",
    }
    scene = Scene(**{**known, **changes})
    return Acquisition(tile, scene.acquisition_id, time, (scene,))


def write_cube(
    cube: Path, arrays: Mapping[str, np.ndarray], acquisitions: Sequence[Acquisition], *, sharding: bool = True
) -> None:
    """Write stored integers, `{"B04@10m": array[time, y, x]}`."""
    refs = [SENTINEL2.parse(key) for key in arrays]
    spec = CubeSpec(cube, tuple(refs), 4, sharding, 3, None, False, SENTINEL2.grid, sensor=SENTINEL2)
    tile = acquisitions[0].tile
    prepare(spec, tile, acquisitions)
    for ref, values in zip(refs, arrays.values(), strict=True):
        zarr.open_array(spec.array(tile, ref), mode="r+")[:] = values


def series_frame(
    valid: Sequence[float], middle: Sequence[float], *, start: str = "2024-03-01", days: Sequence[float] | None = None
) -> pd.DataFrame:
    """A series as a store answers it: 100 pixels, quartiles 0.05 around the median."""
    offsets = days if days is not None else np.arange(len(valid)) * 5.0
    valid_, middle_ = np.array(valid, float), np.where(np.array(valid) > 0, np.array(middle, float), np.nan)
    return pd.DataFrame(
        {
            "time": pd.Timestamp(start) + pd.to_timedelta(np.asarray(offsets, float), unit="D"),
            "band": "NDVI",
            "valid": valid_,
            "total": 100.0,
            "valid_fraction": valid_ / 100,
            "mean": middle_,
            "std": 0.02,
            "min": middle_ - 0.1,
            "max": middle_ + 0.1,
            "p25": middle_ - 0.05,
            "p50": middle_,
            "p75": middle_ + 0.05,
            "platform": "S2A",
            "tile": "31UFU",
            "baseline": "05.09",
            "relative_orbit": 51,
        }
    )


CAMPAIGN = """\
name: sample
aoi: [3.0, 51.0, 4.0, 52.0]
period: 2024-03-01/2024-10-31
scenes:
  paths: products
cube:
  bands: [B02, B03, B04, B08, SCL]
reductions:
  - name: parcels
    zones: parcels.gpkg
    id: parcel
    bands: [B04, B08, SCL]
    indices:
      NDVI: (B08 - B04) / (B08 + B04)
"""

SHAPES = {10: (96, 120), 20: (48, 60)}
TIMES = [datetime(2024, 4, 1 + 10 * n, 10, 50, 31, tzinfo=UTC) for n in range(3)]
CLOUDS = (60.0, 5.0, 30.0)


def make_campaign(folder: Path, more: str = "") -> Path:
    """A campaign as it lies there after a run: cube of three dates, zones, filled store. Returns its file."""
    path = folder / "campaign.yaml"
    path.write_text(CAMPAIGN + more)
    acquisitions = [acquisition(time, SHAPES, cloud_cover=cover) for time, cover in zip(TIMES, CLOUDS, strict=True)]
    write_cube(folder / "cube.zarr", make_arrays(), acquisitions)
    zones = make_zones(folder / "parcels.gpkg")
    campaign = load_campaign(path)
    freeze(campaign, {"parcels": zones})
    _fill_store(campaign, zones)
    return path


def make_arrays() -> dict[str, np.ndarray]:
    """Stored integers: vegetation grows; clouds cover all of the first date and the left of the last."""
    rng = np.random.default_rng(3)
    arrays: dict[str, np.ndarray] = {}
    for name, level in (("B02", 1400), ("B03", 1700), ("B04", 1600), ("B08", 3500)):
        growth = np.array([0, 300, 600])[:, None, None] if name == "B08" else 0
        arrays[f"{name}@10m"] = (level + growth + rng.integers(0, 80, (3, *SHAPES[10]))).astype(np.uint16)
        arrays[f"{name}@10m"][:, :, -8:] = 0
    scl = np.full((3, *SHAPES[20]), 4, np.uint8)
    scl[0], scl[2, :, :30], scl[:, :, -4:] = 9, 8, 0
    return arrays | {"SCL@20m": scl}


def make_zones(path: Path) -> ZoneLayer:
    """Three parcels, one of them invalid, in the CRS of Europe's statistics."""
    boxes = [shapely.box(ULX + 100 + 350 * n, ULY - 700, ULX + 350 + 350 * n, ULY - 300) for n in range(2)]
    bowtie = shapely.Polygon(
        [(ULX + 800, ULY - 700), (ULX + 1000, ULY - 400), (ULX + 1000, ULY - 700), (ULX + 800, ULY - 400)]
    )
    table = gpd.GeoDataFrame(
        {"parcel": ["17", "18", "x'; DROP TABLE zones --"], "crop_name": ["maize", "winter wheat", None]},
        geometry=[*boxes, bowtie],
        crs=EPSG,
    )
    table.to_crs(3035).to_file(path, layer="parcels")
    return read_zones(path, "parcel")


def _fill_store(campaign: Campaign, zones: ZoneLayer) -> None:
    store = open_store(campaign)
    store.prepare()
    store.load_zones("parcels", zones)
    header = SpoolHeader("sample", "0", "run", "parcels", zones.digest, "0")
    store.load_segment(Segment(Path("one.h5"), "spool-1", header, tuple(_batch(n, len(zones)) for n in range(3))))
    store.close()


def _batch(date: int, zones: int) -> SignatureBatch:
    valid = np.full((zones, 3), (0, 90, 30)[date], np.float32)
    middle = np.array([0.05, 0.3, 0.7], np.float32) + np.arange(zones, dtype=np.float32)[:, None] / 100
    spread = np.array([0, 0.02, -0.1, 0.1, -0.05, 0, 0.05], np.float32)
    values = np.where(valid[:, :, None] > 0, middle[:, :, None] + spread, np.nan).astype(np.float32)
    values[:, :, 1] = 0.02
    stamp = f"{TIMES[date]:%Y%m%dT%H%M%S}"
    info = AcquisitionInfo(
        f"GS2A_{stamp}_012345", TIMES[date], "S2A", "L2A", "31UFU", "05.09", 51, ("product",), CLOUDS[date]
    )
    return SignatureBatch(
        unit=f"signatures/parcels/31UFU/{date}",
        acquisition=info,
        zone=np.arange(zones, dtype=np.int32),
        bands=("B04", "B08", "NDVI"),
        statistics=("mean", "std", "min", "max", "p25", "p50", "p75"),
        valid=valid,
        total=np.full((zones, 3), 100, np.float32),
        values=values,
    )


def make_two_reductions(folder: Path) -> Path:
    """`make_campaign` with a second reduction, `blocks`: one block whose id holds markup, and one band."""
    path = make_campaign(folder)
    second = "  - {name: blocks, zones: blocks.gpkg, id: block, bands: [B08]}\n"
    path.write_text(path.read_text() + second)
    shape = shapely.box(ULX + 100, ULY - 700, ULX + 700, ULY - 300)
    table = gpd.GeoDataFrame(
        {"block": ["<b>1"], "crop_name": ["a long name of a crop, " * 8]}, geometry=[shape], crs=EPSG
    )
    table.to_file(folder / "blocks.gpkg", layer="blocks")
    layers = {
        "parcels": read_zones(folder / "parcels.gpkg", "parcel"),
        "blocks": read_zones(folder / "blocks.gpkg", "block"),
    }
    campaign = load_campaign(path)
    freeze(campaign, layers)
    store = open_store(campaign)
    store.load_zones("blocks", layers["blocks"])
    header = SpoolHeader("sample", "0", "run", "blocks", layers["blocks"].digest, "0")
    batches = tuple(replace(_of_one_band(_batch(n, 1)), unit=f"signatures/blocks/31UFU/{n}") for n in range(3))
    store.load_segment(Segment(Path("two.h5"), "spool-2", header, batches))
    store.close()
    return path


def _of_one_band(batch: SignatureBatch) -> SignatureBatch:
    one = slice(1, 2)
    return replace(
        batch, bands=("B08",), valid=batch.valid[:, one], total=batch.total[:, one], values=batch.values[:, one]
    )

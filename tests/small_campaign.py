"""A small campaign: four dates of a granule of 12 km, sixty zones, and what it takes to compare results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyogrio
import shapely

from hpckit.campaign.campaign import Campaign
from hpckit.store import open_store
from tests import products

DATES = 4


def write_zones(path: Path, shapes, ids=None, crs="EPSG:32631") -> None:
    names = np.array([f"z{n}" for n in range(len(shapes))] if ids is None else ids, dtype=object)
    pyogrio.raw.write(
        path,
        geometry=np.array([shapely.to_wkb(shape) for shape in shapes], dtype=object),
        field_data=[names],
        fields=["name"],
        geometry_type="Unknown",
        crs=crs,
        layer="zones",
        driver="GPKG",
    )


def zones(count: int = 60) -> list[shapely.Geometry]:
    """Fields within the granule, one that sticks out, one sliver, two that are equal, one with a hole."""
    random = np.random.default_rng(3)
    shapes = [
        shapely.Point(x, y).buffer(radius, 4)
        for x, y, radius in zip(
            random.uniform(600200, 611000, count),
            random.uniform(5689000, 5699800, count),
            random.uniform(20, 300, count),
            strict=True,
        )
    ]
    shapes.append(shapely.box(599000, 5695000, 600500, 5695500))
    shapes.append(shapely.box(605001, 5695001, 605003, 5695003))
    shapes.append(shapes[0])
    shapes.append(
        shapely.Polygon(
            shapely.box(602000, 5692000, 603000, 5693000).exterior,
            [shapely.Point(602500, 5692500).buffer(200).exterior],
        )
    )
    return shapes


def write_campaign(folder: Path, *, coverage: str = "centre", extra: str = "", cube: str = "") -> Path:
    path = folder / "campaign.yaml"
    path.write_text(
        f"""\
name: test
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {{paths: [scenes]}}
cube: {{bands: [B04, B08, B11, SCL], dates_per_block: 3{cube}}}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [B04, B11, SCL]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
    coverage: {coverage}
{extra}"""
    )
    return path


def pixels_of(number: int) -> dict[str, np.ndarray]:
    # Dark enough and no darker: where red and infrared cancel, NDVI has no digits to compare.
    pixels = {
        key: np.maximum(array, 1500).astype(array.dtype) if key.startswith("B") else array
        for key, array in products.arrays(number).items()
    }
    random = np.random.default_rng(100 + number)
    cloud = np.kron(random.random((products.EDGE // 60, products.EDGE // 60)) < 0.3, np.ones((30, 30))).astype(bool)
    pixels["SCL@20m"][cloud] = 9
    return pixels


def make(folder: Path) -> None:
    """Write products, zones and the campaign file."""
    for number in range(DATES):
        baseline = "03.01" if number == 0 else "05.10"
        products.write(folder / "scenes", number, pixels_of(number), baseline=baseline)
    write_zones(folder / "zones.gpkg", zones())
    write_campaign(folder)


def copy(made: Path, target: Path) -> Path:
    """Another folder with the same campaign. No hard links: what one test does to a file would be seen by others."""
    target.mkdir(parents=True)
    shutil.copytree(made / "scenes", target / "scenes")
    for name in ("zones.gpkg", "campaign.yaml"):
        (target / name).write_bytes((made / name).read_bytes())
    return target / "campaign.yaml"


def results(campaign: Campaign) -> pd.DataFrame:
    """All signatures of the store."""
    store = open_store(campaign)
    try:
        frames = [store.series("fields", zone).assign(zone=zone) for zone in store.zone_ids("fields")]
    finally:
        store.close()
    return pd.concat(frames).sort_values(["zone", "time", "band"]).reset_index(drop=True)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    columns = [name for name in one.columns if name != "run_id"]
    pd.testing.assert_frame_equal(one[columns], other[columns])

"""Data for `graphs.py`: the products of a part of a granule, a campaign that makes its cube, and parcels on it.

Bands B04 and B08 at about nine bits a pixel, and a scene classification with clouds that cover a third, on dates that
lie five days apart. Made once for a folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely

from hpckit.testing.landscape import noise
from hpckit.testing.safe import ProductSpec, write_product

LEFT, TOP, EPSG, TILE = 640000.0, 5680000.0, 32631, "31UFT"
FIRST = datetime(2024, 4, 2, 10, 50, 31, tzinfo=UTC)
CAMPAIGN = """\
name: bench
aoi: [4, 50, 7, 52]
period: 2024-01-01/2024-12-31
scenes: {paths: [scenes]}
cube: {bands: [B04, B08, SCL]}
"""
SIGNATURES = (
    CAMPAIGN.replace("[scenes]", "[../scenes]")
    + """\
reductions:
  - {name: parcels, zones: ../parcels.gpkg, id: number, bands: [B04, B08], mask: {exclude: [3, 8, 9, 10]}}
store: {path: store.gpkg}
"""
)


def make(folder: Path, edge: int, dates: int, parcels: int, bands: Sequence[str] = ("B04", "B08", "SCL")) -> None:
    """Products, parcels and campaign files; what is there with the same settings stays."""
    mark, settings = folder / "made.json", {"edge": edge, "dates": dates, "parcels": parcels, "bands": list(bands)}
    if mark.exists() and json.loads(mark.read_text()) == settings:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_product, [folder] * dates, [edge] * dates, range(dates), [bands] * dates))
    shapes = polygons(edge, parcels)
    frame = geopandas.GeoDataFrame({"number": np.arange(len(shapes))}, geometry=shapes, crs=EPSG).to_crs(4326)
    frame.to_file(folder / "parcels.gpkg")
    frame.to_file(folder / "parcels.geojson", COORDINATE_PRECISION=7)
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    (folder / "signatures").mkdir(exist_ok=True)
    (folder / "signatures" / "campaign.yaml").write_text(SIGNATURES)
    mark.write_text(json.dumps(settings))


def polygons(edge: int, count: int) -> list[shapely.Geometry]:
    """Quadrangles on a lattice with jitter, that cover about two thirds."""
    random = np.random.default_rng(1)
    side = int(np.ceil(np.sqrt(count)))
    step = edge * 10 / side
    corners = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]])
    found = []
    for number in range(count):
        row, column = divmod(number, side)
        ring = (corners + random.uniform(-0.08, 0.08, corners.shape) + [column, row]) * step
        found.append(shapely.Polygon(np.column_stack([LEFT + ring[:, 0], TOP - ring[:, 1]])))
    return found


@cache
def _fields(edge: int) -> list[np.ndarray[Any, Any]]:
    return [noise(edge, slope, seed) for slope, seed in ((1.0, 1), (1.0, 2), (2.1, 3))]


def _product(folder: Path, edge: int, number: int, bands: Sequence[str]) -> None:
    red, infrared, sky = _fields(edge)
    random = np.random.default_rng(number)
    moved = np.roll(sky, tuple(random.integers(0, edge, 2)), axis=(0, 1))
    cloud, shadow = moved > 0.6, np.roll(moved, (-38, -52), axis=(0, 1)) > 0.9
    season = np.sin(number / 24 * np.pi)

    def seen(mean: float, spread: float, field: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        surface = mean + spread * field + 15 * random.standard_normal(field.shape, dtype=np.float32)
        surface = np.where(shadow, surface * 0.5, surface)
        return np.rint(np.where(cloud, 6000 + 400 * field, surface)).clip(1, 15000).astype(np.uint16) + np.uint16(
            1000
        )

    classes = np.where(infrared > 0, 4, 5).astype(np.uint8)
    classes[shadow], classes[cloud] = 3, 9
    spec = ProductSpec(TILE, EPSG, LEFT, TOP, FIRST + timedelta(days=5 * number))
    arrays = {
        "B04@10m": seen(1400 - 700 * season, 120, red),
        "B08@10m": seen(2200 + 1800 * season, 250, infrared),
        "SCL@20m": classes[::2, ::2],
    }
    wanted = {name: array for name, array in arrays.items() if name.partition("@")[0] in bands}
    write_product(folder / "scenes", replace(spec, absolute_orbit=46000 + number), wanted)

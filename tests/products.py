"""Small products that several tests ingest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import read_scenes
from hpckit.sensors.model import Acquisition, Scene
from hpckit.sensors.sentinel2 import product
from hpckit.testing.safe import ProductSpec, write_product

FIRST = datetime(2024, 5, 1, 10, 50, 31, tzinfo=UTC)
EDGE = 1140
"""Pixels of 10 m: two windows, the second one cut; a multiple of 6."""


def arrays(seed: int, edge: int = EDGE) -> dict[str, np.ndarray]:
    """Random bands without nodata, and a scene classification without clouds."""
    random = np.random.default_rng(seed)
    return {
        "B04@10m": _relief(random, edge),
        "B08@10m": _relief(random, edge),
        "B11@20m": _relief(random, edge // 2),
        "SCL@20m": random.choice([4, 5, 6], (edge // 2, edge // 2)).astype(np.uint8),
        "SCL@60m": np.full((edge // 6, edge // 6), 4, np.uint8),
    }


def _relief(random: np.random.Generator, edge: int) -> np.ndarray:
    """Numbers from 1 to 11999, no two rows or columns alike, that JPEG 2000 takes half the time for of pure noise."""
    rows, columns = (np.cumsum(random.integers(-200, 201, edge)) for _ in range(2))
    slopes = (random.integers(0, 12000) + rows[:, None] + columns) % 23984
    noise = random.integers(0, 8, (edge, edge))
    return (1 + np.where(slopes < 11992, slopes, 23983 - slopes) + noise).astype(np.uint16)


def spec(number: int, **changes: object) -> ProductSpec:
    """The product of the day `5 * number`."""
    return ProductSpec(**{"sensed": FIRST + timedelta(days=5 * number), **changes})  # type: ignore[arg-type]


def write(folder: Path, number: int, pixels: dict[str, np.ndarray], **changes: object) -> Path:
    """Write the product of the day `5 * number`."""
    as_zip = bool(changes.pop("as_zip", False))
    return write_product(folder, spec(number, **changes), pixels, as_zip=as_zip)


def acquisitions(folder: Path) -> list[Acquisition]:
    """Acquisitions of all products in a folder."""
    found, _ = catalogue.acquisitions(catalogue.scan([folder]).scenes)
    return found


def stored(pixels: np.ndarray, offset: int) -> np.ndarray:
    """What a cube should hold of a reflectance band."""
    wide = pixels.astype(np.int64)
    return np.where(wide == 0, 0, np.clip(wide + 1000 + offset, 1, 65535)).astype(np.uint16)


def read_product(path: Path) -> Scene:
    """The scene of a product that has one."""
    (scene,) = read_scenes(path)
    return scene


def read_safe(path: Path) -> Scene:
    """The scene of a Sentinel-2 product of one granule, without the digest of its content."""
    (scene,) = product.read_scenes(path)
    return scene

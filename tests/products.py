"""Small products that several tests ingest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from hpckit.scenes import catalogue
from hpckit.scenes.model import Acquisition
from hpckit.testing.safe import ProductSpec, write_product

FIRST = datetime(2024, 5, 1, 10, 50, 31, tzinfo=UTC)
EDGE = 1140
"""Pixels of 10 m: two windows, the second one cut; a multiple of 6."""


def arrays(seed: int, edge: int = EDGE) -> dict[str, np.ndarray]:
    """Random bands without nodata, and a scene classification without clouds."""
    random = np.random.default_rng(seed)
    return {
        "B04@10m": random.integers(1, 12000, (edge, edge)).astype(np.uint16),
        "B08@10m": random.integers(1, 12000, (edge, edge)).astype(np.uint16),
        "B11@20m": random.integers(1, 12000, (edge // 2, edge // 2)).astype(np.uint16),
        "SCL@20m": random.choice([4, 5, 6], (edge // 2, edge // 2)).astype(np.uint8),
        "SCL@60m": np.full((edge // 6, edge // 6), 4, np.uint8),
    }


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

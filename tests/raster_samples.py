"""Images of a user's own: GeoTIFF files with the date and band in their names, as researchers have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from hpckit.sensors.rasters.options import RasterOptions

LEFT, TOP = 600_000.0, 5_700_000.0
PLACE = {"crs": "EPSG:32631", "transform": Affine(10, 0, LEFT, 0, -10, TOP)}


def options(**fields: Any) -> RasterOptions:
    """Options with two bands, or as given."""
    bands = {"ndvi": {"scale": 0.0001, "valid": [-1, 1]}, "crop": {"classes": {1: "wheat", 2: "maize"}}}
    return RasterOptions.model_validate({"pattern": "{date}_{band}.tif", "pixel": 10, "bands": bands, **fields})


def write_image(path: Path, layers: np.ndarray | Sequence[np.ndarray], **profile: Any) -> Path:
    """One GeoTIFF file."""
    stack = np.asarray(layers) if np.ndim(layers) == 3 else np.asarray(layers)[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {**PLACE, "count": len(stack), "height": stack.shape[1], "width": stack.shape[2], "dtype": stack.dtype}
    with rasterio.open(path, "w", driver="GTiff", **(whole | profile)) as target:
        target.write(stack)
    return path


def index(seed: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """NDVI times 10 000 in 16 bits, negative ones too, -9999 in a corner."""
    values = np.random.default_rng(seed).integers(-3000, 9500, shape).astype("int16")
    values[:9, :7] = -9999
    return values


def crops(seed: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Codes 1 to 3, and 0 in a corner."""
    values = np.random.default_rng(100 + seed).integers(1, 4, shape).astype("uint8")
    values[-5:, -6:] = 0
    return values


def write_pair(folder: Path, date: str, seed: int, **profile: Any) -> None:
    """NDVI and crops of a date."""
    write_image(folder / f"{date}_ndvi.tif", index(seed), nodata=-9999, **profile)
    write_image(folder / f"{date}_crop.tif", crops(seed), **profile)

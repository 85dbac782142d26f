"""Ground whose reflectance is a formula in longitude and latitude, and granules of any UTM zone that see it.

What a resampled pixel should hold is known exactly, wherever the pixel lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from hpckit.sensors.bands import split_key
from hpckit.testing.safe import ProductSpec, quantise, write_product

Field = npt.NDArray[np.float64]

WAVE_M: Final = 1500
"""Length of the waves in the ground: long against pixels, so that interpolation errs by little."""
PHASES: Final = {"B04": 0.0, "B08": 1.0, "B11": 2.0}


def reflectance(band: str, longitude: Field, latitude: Field) -> Field:
    """Reflectance of the ground, 0.1 to 0.3."""
    x, y = longitude * 70_000 / WAVE_M * 2 * np.pi, latitude * 111_000 / WAVE_M * 2 * np.pi
    return np.asarray(0.2 + 0.05 * np.sin(x + PHASES[band]) + 0.05 * np.cos(y - 0.7 * x + PHASES[band]))


def classes(longitude: Field, latitude: Field) -> npt.NDArray[np.uint8]:
    """Vegetation and soil, in patches."""
    return np.where(reflectance("B04", longitude, latitude) > 0.2, 4, 5).astype(np.uint8)


def degrees(epsg: int, west: float, north: float, shape: tuple[int, int], size_m: float) -> tuple[Field, Field]:
    """Longitude and latitude of the centres of pixels."""
    x = west + (np.arange(shape[1]) + 0.5) * size_m
    y = north - (np.arange(shape[0]) + 0.5) * size_m
    longitude, latitude = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True).transform(*np.meshgrid(x, y))
    return np.asarray(longitude), np.asarray(latitude)


def granule_at(spec: ProductSpec, longitude: float, latitude: float, edge: int) -> ProductSpec:
    """A granule with its middle at a place, on the lattice of real ones (multiples of 60 m)."""
    x, y = pyproj.Transformer.from_crs(4326, spec.epsg, always_xy=True).transform(longitude, latitude)
    half = edge * 10 / 2
    return replace(spec, ulx=float((x - half) // 60 * 60), uly=float((y + half) // 60 * 60))


def write_granule(
    folder: Path,
    spec: ProductSpec,
    edge: int,
    *,
    bands: Sequence[str] = ("B04@10m", "B08@10m", "B11@20m"),
    seen: Callable[[Field, Field], npt.NDArray[np.bool_]] = lambda longitude, latitude: longitude > -999,
) -> Path:
    """Write a product of `edge` pixels of 10 m on a side.

    Parameters
    ----------
    bands : sequence of str
        Keys of reflectance bands; the scene classification comes besides, in Level-2A.
    seen : callable
        Where there are data, by longitude and latitude.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    keys = [*bands, "SCL@20m", "SCL@60m"] if spec.level == "L2A" else bands
    for key in keys:
        name, size_m = split_key(key)
        count = edge * 10 // size_m
        place = degrees(spec.epsg, spec.ulx, spec.uly, (count, count), size_m)
        if name == "SCL":
            arrays[key] = np.where(seen(*place), classes(*place), 0).astype(np.uint8)
        else:
            arrays[key] = quantise(np.where(seen(*place), reflectance(name, *place), np.nan), spec.offset)
    return write_product(folder, spec, arrays)

"""Cases that both the CPU and the CUDA kernels are tested with, and slow references in numpy."""

from __future__ import annotations

import numpy as np

PERCENTILES = np.array([0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 100.0])


def random_case(seed: int, dtype: str, *, zones: int = 12, largest: int = 400, with_pixels: bool = True):
    """Raster, offsets, pixels, weights, excluded: ragged zones, some empty, some of one pixel, ties, nodata."""
    random = np.random.default_rng(seed)
    sizes = random.integers(0, largest, zones)
    sizes[:3] = (0, 1, 2)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    spread = random.choice([2, 50, 5000])
    if dtype == "float32":
        raster = (random.normal(0.3, 0.2, 4000)).astype(np.float32)
        raster[random.random(4000) < 0.1] = np.nan
    else:
        raster = random.integers(0, min(spread, np.iinfo(dtype).max), 4000).astype(dtype)
    raster[:5] = 0 if dtype == "float32" else np.iinfo(dtype).max
    pixels = random.integers(0, 4000, offsets[-1]).astype(np.uint32)
    weights = np.where(random.random(offsets[-1]) < 0.6, 1.0, random.random(offsets[-1])).astype(np.float32)
    excluded = random.random(offsets[-1]) < 0.2
    if not with_pixels:
        raster, pixels = raster[pixels], None
    return raster, offsets, pixels, weights, excluded


def valid_values(case, zone: int, nodata: int | None, *, masked: bool):
    """Values of a zone that count, and their weights."""
    raster, offsets, pixels, weights, excluded = case
    entries = np.arange(offsets[zone], offsets[zone + 1])
    values = raster[entries] if pixels is None else raster[pixels[entries]]
    keep = ~np.isnan(values.astype(float))
    if nodata is not None:
        keep &= values != nodata
    if masked:
        keep &= ~excluded[entries]
    return values[keep].astype(float), weights[entries][keep].astype(float)


def reference(values: np.ndarray, percentiles=PERCENTILES) -> np.ndarray:
    """Mean, deviation, extremes and percentiles of values that all count the same."""
    if not len(values):
        return np.full(4 + len(percentiles), np.nan)
    fixed = (values.mean(), values.std(), values.min(), values.max())
    return np.array([*fixed, *np.percentile(values, percentiles)])


def weighted_quantile(values: np.ndarray, weights: np.ndarray, fraction: float) -> float:
    """Quantile of weighted values, straight from its definition; equal values are one, with their weights' sum."""
    x, where = np.unique(values, return_inverse=True)
    w = np.bincount(where, weights=weights)
    n = len(x)
    s = np.arange(n) * w + (n - 1) * (np.cumsum(w) - w)
    target = fraction * w.sum() * (n - 1)
    right = int(np.searchsorted(s, target, side="right"))
    if right == n:
        return float(x[-1])
    step = (target - s[right - 1]) / (s[right] - s[right - 1])
    return float(x[right - 1] + step * (x[right] - x[right - 1]))

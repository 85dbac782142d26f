"""Stacks for tests of composites, and slow references that share nothing with the kernels."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

EXTREMES = st.sampled_from([0, 1, 2, 1000, 1001, 32767, 32768, 65534, 65535])
NUMBERS = st.one_of(EXTREMES, st.integers(0, 65535), st.integers(900, 12000))


@st.composite
def stacks(draw, most_dates: int = 12, most_pixels: int = 90):
    """A stack with a mask or without: any values, many of them nodata, more pixels than lanes or fewer."""
    dates, pixels = draw(st.integers(1, most_dates)), draw(st.integers(1, most_pixels))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    few = np.array(draw(st.lists(NUMBERS, min_size=1, max_size=8)), dtype=np.uint16)
    stack = np.where(
        random.random((dates, pixels)) < draw(st.sampled_from([0.0, 0.5, 1.0])),
        few[random.integers(0, len(few), (dates, pixels))],
        random.integers(0, 65536, (dates, pixels)),
    ).astype(np.uint16)
    mask = random.random((dates, pixels)) < draw(st.sampled_from([0.1, 0.6, 1.0])) if draw(st.booleans()) else None
    return stack, mask


def as_floats(stack: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """float64 with NaN for what does not count."""
    left_out = (stack == 0) if mask is None else (stack == 0) | mask
    return np.where(left_out, np.nan, stack.astype(np.float64))


def reflectances(seed: int, bands: int, dates: int, pixels: int, clouds: float = 0.2) -> np.ndarray:
    """Stored reflectances with a season and bright outliers; a tenth of the values nodata."""
    random = np.random.default_rng(seed)
    level = random.integers(1100, 4000, (bands, 1, pixels))
    season = random.normal(0, 500, (bands, 1, pixels)) * np.sin(np.arange(dates) / dates * np.pi)[None, :, None]
    stack = level + season + random.normal(0, 60, (bands, dates, pixels))
    stack += (random.random((1, dates, pixels)) < clouds) * random.uniform(500, 6000, (1, dates, pixels))
    stack = stack.clip(1, 65535)
    stack[random.random((bands, dates, pixels)) < 0.1 / bands] = 0
    return stack.astype(np.uint16)


def weiszfeld(points: np.ndarray) -> np.ndarray:
    """Geometric median of points (n, bands), in float64, slowly and surely."""
    centre = points.mean(axis=0)
    for _ in range(20_000):
        away = np.sqrt(((points - centre) ** 2).sum(axis=1) + 1e-18)
        moved = (points / away[:, None]).sum(axis=0) / (1 / away).sum()
        if np.abs(moved - centre).max() < 1e-9:
            return moved
        centre = moved
    return centre

"""Features of pixels: bands at dates, or layers of composites at periods, by names that training and maps share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import Cube

Values = npt.NDArray[Any]


def feature_names(cube: Cube) -> list[str]:
    """Names of the features of a cube `t, bands, y, x`, dates outermost: `B04_2024-05-03`.

    The day names a date; the whole time, if another date is of the same day.
    """
    times, bands = cube.dims[0].labels, cube.dims[1].labels
    days = Counter(str(time)[:10] for time in times)
    shown = [str(time)[:10] if days[str(time)[:10]] == 1 else str(time) for time in times]
    return [f"{band}_{time}" for time in shown for band in bands]


def features_of(cube: Cube, places: Sequence[int] | None = None) -> Values:
    """Features of all pixels.

    Parameters
    ----------
    cube : Cube
        `t, bands, y, x`, float32; NaN where there are no data.
    places : sequence of int, optional
        Which features, in which order; all if not given.

    Returns
    -------
    ndarray, shape (pixels, features)
        Pixels in the order of rows.
    """
    planes = cube.values.reshape(-1, cube.values.shape[2] * cube.values.shape[3])
    chosen = planes if places is None else planes[list(places)]
    return np.ascontiguousarray(chosen.T)

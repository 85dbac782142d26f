"""What the kernels give back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Statistics(NamedTuple):
    """Statistics of zones."""

    valid: npt.NDArray[np.float64]
    """Pixels, or covered pixels, that count: neither nodata nor excluded; shape (zones,)."""
    total: npt.NDArray[np.float64]
    """Pixels, or covered pixels, of the zone in the raster; shape (zones,)."""
    values: npt.NDArray[np.float64]
    """Mean, standard deviation, minimum, maximum, percentiles; shape (zones, 4 + percentiles)."""

"""Stored integers to physical units, for expressions over bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.sensors.bands import Band


def physical(values: npt.NDArray[Any], band: Band) -> npt.NDArray[np.float32]:
    """Physical units in float32, NaN for nodata.

    The offset is taken off before scaling, in stored numbers: a reflectance of 0 is 0, and dividing by it undefined.
    """
    found = values.astype(np.float32)
    found += np.float32(band.offset / band.scale)
    found *= np.float32(band.scale)
    if band.nodata is not None:
        found[values == band.nodata] = np.nan
    return found

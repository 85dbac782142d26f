"""Numbers of a file as a cube stores them, where 0 is a number like any other and nothing is clipped."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.sensors.bands import Band
from hpckit.sensors.model import Asset

_EXACT: Final = 1e-3
"""Of a step, by which decimal fractions err."""


def encode(values: npt.NDArray[Any], asset: Asset, band: Band) -> npt.NDArray[Any]:
    """Stored integers of numbers of any data type, 0 where there is no value.

    No values are `Asset.nodata`, infinite numbers and NaN, and what is beyond `Band.valid` if that is left out.

    Raises
    ------
    ValueError
        If a number cannot be stored: the end of a sentence that begins with the file.
    """
    known = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, dtype=bool)
    if asset.nodata is not None:
        known &= values != asset.nodata
    if band.is_categorical:
        return _codes(values, known, band)
    least, most = band.valid or (1, int(np.iinfo(band.dtype).max))
    stored = _steps(np.where(known, values, 0), asset, band)
    within = (stored >= least) & (stored <= most)
    if band.beyond == "refuse" and not within[known].all():
        low, high = (limit * band.scale + band.offset for limit in (least, most))
        odd = values[known & ~within][0] * asset.scale + asset.offset
        raise ValueError(
            f"has the value {odd:g}, and band {band.name} stores {low:g} to {high:g}: "
            "write its `valid: [LEAST, GREATEST]`"
        )
    return np.where(known & within, stored, 0).astype(band.dtype)


def _steps(values: npt.NDArray[Any], asset: Asset, band: Band) -> npt.NDArray[Any]:
    """Steps of the cube that numbers are: of whole numbers of the same step a sum, which is faster."""
    shift = (asset.offset - band.offset) / band.scale
    if values.dtype.kind in "iu" and asset.scale == band.scale and abs(shift - round(shift)) < _EXACT:
        wide: npt.NDArray[Any] = values.astype(np.int32 if values.dtype.itemsize <= 2 else np.int64)
        wide += round(shift)
        return wide
    physical = values.astype(np.float64) * asset.scale + asset.offset
    return np.asarray(np.rint((physical - band.offset) / band.scale))


def _codes(values: npt.NDArray[Any], known: npt.NDArray[np.bool_], band: Band) -> npt.NDArray[Any]:
    """Codes of classes, or bits."""
    codes = np.where(known, values, 0)
    most = int(np.iinfo(band.dtype).max)
    if band.kind == "bits" and codes.dtype.kind in "iu":
        codes = codes & most  # only the low bits have a meaning
    odd = (codes < 0) | (codes > most) | (codes != np.rint(codes))
    if odd.any():
        raise ValueError(f"has the code {codes[odd][0]:g} in band {band.name}; codes are whole numbers up to {most}")
    return codes.astype(band.dtype)

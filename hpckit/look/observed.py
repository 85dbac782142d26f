"""Whether a zone was observed at all: beyond the swath there is neither land nor cloud to see.

A store has as many valid pixels, 0, of a zone under cloud as of one that the instrument did not reach. What tells
them apart is the count of each class, where class 0 is no data, with which a cube fills what it lacks; where there is
no mask, nothing but missing data leaves a pixel out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from hpckit.base.quantities import format_count

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from hpckit.store.blocks import RecordBlock

NO_DATA: Final = "0"
"""Class of pixels without data."""


def with_observed(frame: pd.DataFrame, counts: pd.DataFrame | None, *, masked: bool) -> pd.DataFrame:
    """Add `observed` to a series: True, False (no data), or missing where the store does not contain this.

    Parameters
    ----------
    frame : DataFrame
        Rows with `valid`, `total` and `acquisition`.
    counts : DataFrame, optional
        Pixels of each class by `acquisition`.
    masked : bool
        Whether a mask may have left pixels out.
    """
    import pandas as pd

    observed = pd.Series(pd.NA, index=frame.index, dtype="boolean")
    if counts is not None:
        observed = frame["acquisition"].map(_seen(counts)).astype("boolean")
    observed[(frame["total"] <= 0) | (not masked)] = False
    observed[frame["valid"] > 0] = True
    return frame.assign(observed=observed)


def _seen(counts: pd.DataFrame) -> Mapping[str, bool | None]:
    """By acquisition: whether a class other than no data occurs; None where no pixel has a class."""
    pixels = counts.drop(columns="time").groupby("acquisition").sum(min_count=1)
    without = pixels[NO_DATA] if NO_DATA in pixels else 0 * pixels.sum(axis=1)
    others = pixels.drop(columns=NO_DATA, errors="ignore").sum(axis=1)
    return {
        str(name): True if some > 0 else False if none > 0 else None
        for name, some, none in zip(pixels.index, others, without, strict=True)
    }


def observed_of(block: RecordBlock, *, masked: bool) -> npt.NDArray[np.int8]:
    """What `with_observed` says, of many zones.

    Parameters
    ----------
    block : RecordBlock
        With the pixels of one class band, or of none.

    Returns
    -------
    ndarray of int8, shape (rows, bands)
        1 for True, 0 for False, -1 where the store does not contain this.
    """
    import numpy as np

    seen = np.full(len(block.zone), -1, np.int8)
    for band, counts in block.classes.items():
        codes = (block.layout.classes or {})[band]
        others = np.nansum(counts[:, [code != int(NO_DATA) for code in codes]], axis=1)
        lacking = np.nansum(counts[:, [code == int(NO_DATA) for code in codes]], axis=1)
        seen[lacking > 0] = 0
        seen[others > 0] = 1
    observed = np.repeat(seen[:, None], len(block.layout.bands), axis=1)
    observed[(block.total <= 0) | (not masked)] = 0
    observed[block.valid > 0] = 1
    return observed


def never_observed(zone: str, frame: pd.DataFrame) -> str | None:
    """One sentence on a zone that no acquisition has shown; None if one has, or if that is not known."""
    if frame.empty:
        return f"zone {zone!r} was never observed: the store has no acquisition that covers it"
    if "observed" not in frame or not frame["observed"].eq(False).fillna(False).all():
        return None
    return f"zone {zone!r} was never observed: no data there in {format_count(len(frame), 'acquisition')}"

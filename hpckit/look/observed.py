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
    import pandas as pd

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


def never_observed(zone: str, frame: pd.DataFrame) -> str | None:
    """One sentence on a zone that no acquisition has shown; None if one has, or if that is not known."""
    if frame.empty:
        return f"zone {zone!r} was never observed: the store has no acquisition that covers it"
    if "observed" not in frame or not frame["observed"].eq(False).fillna(False).all():
        return None
    return f"zone {zone!r} was never observed: no data there in {format_count(len(frame), 'acquisition')}"

"""Arrays along one dimension, of one pixel or of many at once: what reducers and other callbacks get."""

from __future__ import annotations

from dataclasses import dataclass

from hpckit.processgraph.cube import Band, Kind, Label, Values


@dataclass(frozen=True, eq=False)
class Labelled:
    """An array whose elements may have labels.

    Parameters
    ----------
    values : ndarray
        The first axis is that of the array, the others are those of pixels (none for one array alone). Of
        floating-point numbers NaN is null; an array of objects may hold texts, dates and None.
    labels : tuple, optional
        One for each element; None if there are none.
    kind : str
        Kind of the dimension that it was taken from.
    bands : tuple of Band, optional
        What is known of bands: one for each element; empty if nothing is.
    """

    values: Values
    labels: tuple[Label, ...] | None = None
    kind: Kind = "other"
    bands: tuple[Band, ...] = ()

    def __len__(self) -> int:
        """Number of elements."""
        return int(self.values.shape[0])

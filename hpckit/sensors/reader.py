"""What a cube asks of a sensor's products, and what it gets: windows of one acquisition on the pixels of a tile."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition
from hpckit.sensors.parts import Cells, Rectangle, rectangles
from hpckit.space.frame import Frame

if TYPE_CHECKING:
    from hpckit.space.warp import Resampling


@dataclass(frozen=True, slots=True)
class Treatment:
    """How products are brought to a cube."""

    verify: bool
    """Compare files with the checksums of their product before they are decoded."""
    skip_cloudy: float | None = None
    """Windows with at least this fraction of cloud or nodata are not decoded; None decodes all."""
    onto: Resampling | None = None
    """How pixels come onto a grid that is not the product's own; None where tiles are the product's own."""
    options: Any = None
    """What the sensor itself made of its options in the campaign file."""


@dataclass(frozen=True, slots=True)
class Needed:
    """Pixels of a raster that are needed, by squares that hold some of them."""

    cells: Cells
    edge: int
    """Of a square, in pixels of the raster; windows have a whole number of squares along their edges."""

    def rectangles(self, rows: slice, columns: slice) -> list[Rectangle] | None:
        """Rectangles of a window that hold its needed pixels; None if the whole window costs less to decode."""
        return rectangles(self.cells, self.edge, rows, columns)


@dataclass(frozen=True, slots=True)
class WindowRequest:
    """Windows of one row of a tile: of one band and one acquisition."""

    frame: Frame
    """The tile, with the pixel size of the band."""
    band: BandRef
    row: int
    """Row of windows, counted from the north."""
    columns: Collection[int]
    """Columns of windows, counted from the west."""
    acquisition: Acquisition
    """Its scenes in the order in which they win; each has the band."""
    treatment: Treatment
    needed: Needed | None = None
    """Which pixels are needed; others of a window may be left 0. None: all."""


@dataclass(slots=True)
class WindowAnswer:
    """What was read."""

    windows: dict[int, npt.NDArray[Any]] = field(default_factory=dict)
    """Stored integers by column, in the data type of the band, shape (rows, columns) of the window, cut at the border
    of the tile. Columns that hold no data, or too many clouds, are left out."""
    decoded_pixels: int = 0
    decode_s: float = 0.0


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    if not numbers:
        return
    start = previous = numbers[0]
    for number in numbers[1:]:
        if number != previous + 1:
            yield start, previous
            start = number
        previous = number
    yield start, previous

"""A rectangle of pixels of a raster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels; its edges may lie beyond the array."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def is_empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.bottom <= self.top or self.right <= self.left

    def grown(self, by: int) -> Box:
        """The rectangle with this number of pixels added on each side."""
        return Box(self.top - by, self.left - by, self.bottom + by, self.right + by)

    def moved(self, down: int, along: int) -> Box:
        """The rectangle moved by rows and columns."""
        return Box(self.top + down, self.left + along, self.bottom + down, self.right + along)

    def within(self, shape: Sequence[int]) -> Box:
        """The part within an array of rows and columns; empty if there is none."""
        rows, columns = shape[-2:]
        top, left = min(max(0, self.top), rows), min(max(0, self.left), columns)
        return Box(top, left, max(top, min(rows, self.bottom)), max(left, min(columns, self.right)))

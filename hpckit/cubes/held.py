"""Which windows of its tiles a campaign's cube holds: those of the area, those of zones, or all.

Decided once, when a campaign is planned, and frozen: workers and elements of job arrays read it. What lies outside is
no pixel without data: it is not there, no unit asks for it, and no number is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from hpckit.base.files import atomic_path
from hpckit.base.reading import WatchedFile, parsed, read_table
from hpckit.errors import PlanError
from hpckit.sensors.bands import BandRef, split_key
from hpckit.space.frame import Frame
from hpckit.space.windows import Windows, pixels_of_rows

_COLUMNS: Final = ("tile", "pixel", "band", "rows", "columns", "bits")


@dataclass(frozen=True, slots=True)
class Held:
    """Windows that a cube holds for a campaign."""

    asked: Mapping[tuple[str, int], Windows] | None = None
    """By tile and pixel size in metres: what the campaign asks for; None for all windows."""
    around: Mapping[tuple[str, str], Windows] = field(default_factory=dict)
    """By tile and `BandRef.key`: what else is needed to compute from them, such as clouds beside a composite's
    windows."""

    @property
    def is_whole(self) -> bool:
        """Whether all windows are held."""
        return self.asked is None

    def wanted(self, frame: Frame, resolution_m: int) -> Windows:
        """Windows of a tile that the campaign asks for, at a pixel size."""
        if self.asked is None:
            return np.ones(frame.windows(resolution_m), np.bool_)
        return self.asked[frame.tile, resolution_m]

    def windows(self, frame: Frame, ref: BandRef) -> Windows:
        """Windows of a tile that the cube holds of a band."""
        wanted = self.wanted(frame, ref.resolution_m)
        more = self.around.get((frame.tile, ref.key))
        return wanted if more is None else wanted | more

    def with_asked(self, frame: Frame, find: Callable[[int], Windows]) -> Held:
        """Also with windows of a tile that `find` gives for each pixel size."""
        if self.asked is None:
            return self
        more = {
            (tile, size): windows | find(size) for (tile, size), windows in self.asked.items() if tile == frame.tile
        }
        return Held({**self.asked, **more}, self.around)

    def with_around(self, tile: str, ref: BandRef, windows: Windows) -> Held:
        """Also with windows of one band of a tile."""
        if self.asked is None:
            return self
        known = self.around.get((tile, ref.key))
        return Held(self.asked, {**self.around, (tile, ref.key): windows if known is None else known | windows})


WHOLE: Final = Held()
"""All windows of all tiles."""


def row_counts(frame: Frame, windows: Windows, resolution_m: int) -> list[int]:
    """Pixels of the windows that are held, for each row of windows."""
    return pixels_of_rows(windows, frame.edges[resolution_m], frame.shapes[resolution_m])


def row_pixels(frame: Frame, windows: Windows, resolution_m: int, row: int) -> int:
    """Pixels of the windows of a row that are held."""
    return row_counts(frame, windows, resolution_m)[row]


def pixels(frame: Frame, windows: Windows, resolution_m: int) -> int:
    """Pixels of all windows that are held."""
    return sum(row_counts(frame, windows, resolution_m))


def narrowed(frame: Frame, windows: Windows, resolution_m: int) -> Frame:
    """A frame that is as wide as the fullest row of windows: what reading a row takes is estimated by it."""
    rows, columns = frame.shapes[resolution_m]
    most = int(windows.sum(axis=1).max(initial=0)) * frame.edges[resolution_m]
    shapes = {**frame.shapes, resolution_m: (rows, min(columns, most))}
    return Frame(frame.tile, frame.epsg, frame.ulx, frame.uly, shapes, frame.edges)


def write(path: Path, held: Held) -> None:
    """Freeze which windows are held, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked = {} if held.asked is None else held.asked
    rows = {(tile, size, ""): windows for (tile, size), windows in asked.items()}
    for (tile, key), windows in held.around.items():
        band, size = split_key(key)
        rows[tile, size, band] = windows
    made = [(*place, *rows[place].shape, np.packbits(rows[place]).tobytes()) for place in sorted(rows)]
    types = (pa.string(), pa.int32(), pa.string(), pa.int32(), pa.int32(), pa.binary())
    columns = {
        name: pa.array([row[number] for row in made], kind)
        for number, (name, kind) in enumerate(zip(_COLUMNS, types, strict=True))
    }
    notes = {"hpckit": json.dumps({"whole": held.is_whole})}
    with atomic_path(path) as temporary:
        table = pa.table(columns).replace_schema_metadata(notes)
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read(path: Path) -> Held:
    """Read what `write` froze.

    Raises
    ------
    PlanError
        If it is missing or damaged.
    """
    remedy = "`hpckit plan CAMPAIGN` writes it again"
    try:
        rows = parsed(path, _rows, lambda _: PlanError(f"{path}: damaged", hint=remedy))
    except FileNotFoundError:
        raise PlanError(f"{path}: missing", hint=remedy) from None
    if rows is None:
        return WHOLE
    asked = {(tile, size): windows for tile, size, band, windows in rows if not band}
    around = {(tile, f"{band}@{size}m"): windows for tile, size, band, windows in rows if band}
    return Held(asked, around)


def _rows(file: WatchedFile) -> list[tuple[str, int, str, Windows]] | None:
    table = read_table(file)
    if json.loads(table.schema.metadata[b"hpckit"])["whole"]:
        return None
    lists = [table.column(name).to_pylist() for name in _COLUMNS]
    return [
        (str(tile), int(size), str(band), _unpacked(int(rows), int(columns), bits))
        for tile, size, band, rows, columns, bits in zip(*lists, strict=True)
    ]


def _unpacked(rows: int, columns: int, bits: bytes) -> Windows:
    if len(bits) != -(-rows * columns // 8):
        raise ValueError("windows do not fit")
    flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=rows * columns)
    return flat.reshape(rows, columns).astype(np.bool_)

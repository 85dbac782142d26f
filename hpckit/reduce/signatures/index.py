"""The zone index: the pixels of every zone, found once and used for every date and band.

Compressed sparse rows: the pixels of zone z are `pixels[offsets[z]:offsets[z + 1]]`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from hpckit.base.compiled import compiled, spread
from hpckit.base.files import atomic_open
from hpckit.base.reading import WatchedFile, parsed
from hpckit.errors import ZoneError
from hpckit.space.rasterise import Rings, cover, fill, without_overlaps

VERSION: Final = 1
"""Grows when the same zones and grid give other pixels or weights."""
_LEAST: Final = 1 << 16
"""Pixels that are looked up faster by one thread than by two."""


@dataclass(frozen=True, slots=True)
class ZoneIndex:
    """Pixels of zones in one raster."""

    zones: npt.NDArray[np.int32]
    """Row of the zone layer of each zone, ascending."""
    offsets: npt.NDArray[np.int64]
    """Shape (zones + 1,)."""
    pixels: npt.NDArray[np.uint32]
    """`row * columns + column`, ascending within a zone. A zone without pixel has an empty range."""
    weights: npt.NDArray[np.float32] | None
    """Covered fraction of each pixel; None where a pixel belongs to a zone by its centre."""
    outside: npt.NDArray[np.float64]
    """Area of each zone beyond the raster, in pixels."""
    shape: tuple[int, int]
    """Rows and columns of the raster."""
    _windows: dict[float, npt.NDArray[np.bool_]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `windows` found, by edge: all bands and dates ask for the same."""

    def __len__(self) -> int:
        """Number of zones."""
        return len(self.zones)

    def subset(self, zones: npt.NDArray[np.int32]) -> ZoneIndex:
        """Index of some of the zones.

        Parameters
        ----------
        zones : ndarray of int32
            Rows of the zone layer, ascending, all in this index.
        """
        if np.array_equal(zones, self.zones):
            return self
        where = np.searchsorted(self.zones, zones)
        counts = np.diff(self.offsets)[where]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        entries = np.arange(offsets[-1]) + np.repeat(self.offsets[where] - offsets[:-1], counts)
        weights = None if self.weights is None else self.weights[entries]
        return ZoneIndex(zones, offsets, self.pixels[entries], weights, self.outside[where], self.shape)

    def windows(self, edge: float) -> npt.NDArray[np.bool_]:
        """Windows that hold the centre of a pixel of a zone; shape (window rows, columns), not to be changed.

        Parameters
        ----------
        edge : float
            Of a window, in pixels of this raster: not always a whole number where windows are those of another one.
        """
        if edge not in self._windows:
            rows, columns = self.shape
            touched = np.zeros((ceil(rows / edge), ceil(columns / edge)), dtype=np.bool_)
            _mark_windows(self.pixels, columns, float(edge), touched)
            touched.flags.writeable = False
            self._windows[edge] = touched
        return self._windows[edge]

    def save(self, path: Path) -> None:
        """Write to an uncompressed `.npz` file, atomically."""
        arrays = {name: getattr(self, name) for name in ("zones", "offsets", "pixels", "outside")}
        if self.weights is not None:
            arrays["weights"] = self.weights
        with atomic_open(path) as file:
            np.savez(file, shape=np.array(self.shape), **arrays)

    @classmethod
    def load(cls, path: Path) -> ZoneIndex:
        """Read what `save` wrote.

        Raises
        ------
        ZoneError
            If the file is damaged.
        """
        damaged = ZoneError(f"{path}: the zone index is damaged", hint="delete it; the next run builds it")
        try:
            return parsed(path, cls._parse, lambda _: damaged)
        except FileNotFoundError:
            raise ZoneError(f"{path}: no such zone index", hint="the next run builds it") from None

    @classmethod
    def _parse(cls, file: WatchedFile) -> ZoneIndex:
        with np.load(file) as data:
            rows, columns = data["shape"].tolist()
            # A name that was damaged must not make an index without weights of one that has some.
            names = {"shape", "zones", "offsets", "pixels", "outside"}
            if set(data.files) - {"weights"} != names:
                raise ValueError(f"arrays {', '.join(data.files)}")
            weights = data["weights"] if "weights" in data.files else None
            index = cls(data["zones"], data["offsets"], data["pixels"], weights, data["outside"], (rows, columns))
        index.check()
        return index

    def check(self) -> None:
        """Make sure that every pixel of it can be looked up.

        Raises
        ------
        ValueError
            If the arrays do not belong together.
        """
        count, area = len(self.pixels), self.shape[0] * self.shape[1]
        rises = bool(np.all(np.diff(self.offsets.astype(np.int64)) >= 0))
        ordered = len(self.offsets) == len(self.zones) + 1 == len(self.outside) + 1 and rises
        if not ordered or (int(self.offsets[0]), int(self.offsets[-1])) != (0, count):
            raise ValueError("offsets do not fit")
        if (count and int(self.pixels.max()) >= area) or (self.weights is not None and len(self.weights) != count):
            raise ValueError("pixels do not fit")


def build_index(
    geometries: npt.NDArray[np.object_],
    zones: npt.NDArray[np.int32],
    transform: Affine,
    shape: tuple[int, int],
    coverage: Literal["centre", "fraction"],
) -> ZoneIndex:
    """Find the pixels of zones.

    Parameters
    ----------
    geometries : ndarray of shapely geometries, shape (zones,)
        Polygons or multipolygons in the raster's CRS. What several parts of one cover counts once.
    zones : ndarray of int32, shape (zones,)
        Their rows in the zone layer, ascending.
    transform : Affine
        From (column, row) to coordinates; north up.
    shape : tuple of int
        Rows and columns.
    coverage : {"centre", "fraction"}
        A pixel belongs to a zone if its centre does, or by the fraction of it that the zone covers.

    Raises
    ------
    ZoneError
        If the raster is not north up, or has more than 2^32 pixels.
    """
    if transform.b != 0 or transform.d != 0 or transform.a <= 0 or transform.e >= 0:
        raise ZoneError(f"zones can only be laid over a raster that is north up, not over {tuple(transform)[:6]}")
    if shape[0] * shape[1] > 2**32:
        raise ZoneError(
            f"a raster of {shape[0]} x {shape[1]} pixels is too large for a zone index; cut it into tiles"
        )
    geometries = without_overlaps(geometries)
    weights = None
    if coverage == "centre":
        offsets, pixels = fill(Rings(geometries, transform), shape)
    else:
        offsets, pixels, weights = cover(Rings(shapely.orient_polygons(geometries), transform), shape)
    return ZoneIndex(zones, offsets, pixels, weights, _outside(geometries, transform, shape), shape)


def gather(plane: npt.NDArray[Any], index: ZoneIndex, ratio: float = 1.0) -> npt.NDArray[Any]:
    """Values of a raster at each pixel of an index.

    Parameters
    ----------
    plane : ndarray, shape (rows, columns)
        With the same upper left corner as the index's raster.
    ratio : float
        Edge of the plane's pixels over that of the index's: 2 to look 10 m pixels up in a 20 m raster. The
        plane's pixel that holds the centre of the index's pixel counts.

    Returns
    -------
    ndarray of the plane's dtype, shape (entries,)
    """
    values = np.empty(len(index.pixels), dtype=plane.dtype)
    if ratio == 1.0:
        spread(_gather_equal, len(values), plane.reshape(-1), index.pixels, values, least=_LEAST)
    else:
        factor = 1.0 / ratio
        spread(_gather_scaled, len(values), plane, index.pixels, index.shape[1], factor, values, least=_LEAST)
    return values


def _outside(
    geometries: npt.NDArray[np.object_], transform: Affine, shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    west, north = transform.c, transform.f
    east, south = west + shape[1] * transform.a, north + shape[0] * transform.e
    bounds = shapely.bounds(geometries).reshape(-1, 4)
    beyond = (bounds[:, 0] < west) | (bounds[:, 1] < south) | (bounds[:, 2] > east) | (bounds[:, 3] > north)
    area = np.zeros(len(geometries))
    if beyond.any():
        inner = shapely.intersection(geometries[beyond], shapely.box(west, south, east, north))
        area[beyond] = shapely.area(geometries[beyond]) - shapely.area(inner)
    pixels: npt.NDArray[np.float64] = area / (transform.a * -transform.e)
    return pixels


@compiled()
def _mark_windows(pixels, columns, edge, touched):  # type: ignore[no-untyped-def]
    for pixel in pixels:
        row, column = pixel // columns, pixel % columns
        touched[np.int64((row + 0.5) / edge), np.int64((column + 0.5) / edge)] = True


@compiled(nogil=True)
def _gather_equal(start, stop, raster, pixels, values):  # type: ignore[no-untyped-def]
    for position in range(start, stop):
        values[position] = raster[pixels[position]]


@compiled(nogil=True)
def _gather_scaled(start, stop, plane, pixels, columns, factor, values):  # type: ignore[no-untyped-def]
    last_row, last_column = plane.shape[0] - 1, plane.shape[1] - 1
    for position in range(start, stop):
        row, column = pixels[position] // columns, pixels[position] % columns
        # A granule's coarse raster may end before its fine one does (5490 * 2 = 10980, but 183 * 6 < 1100).
        source_row = min(np.int64((row + 0.5) * factor), last_row)
        source_column = min(np.int64((column + 0.5) * factor), last_column)
        values[position] = plane[source_row, source_column]

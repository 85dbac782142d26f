"""The zone index: the pixels of every zone, found once and used for every date and band.

Compressed sparse rows: the pixels of zone z are `pixels[offsets[z]:offsets[z + 1]]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numba
import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from hpckit.errors import ZoneError
from hpckit.files import atomic_open
from hpckit.reduce.rasterise import Rings, cover, fill


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

    def windows(self, edge: int) -> npt.NDArray[np.bool_]:
        """Windows of `edge` x `edge` pixels that hold a pixel of a zone; shape (window rows, columns)."""
        rows, columns = self.shape
        touched = np.zeros((-(-rows // edge), -(-columns // edge)), dtype=np.bool_)
        _mark_windows(self.pixels, columns, edge, touched)
        return touched

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
        try:
            with np.load(path) as data:
                rows, columns = data["shape"].tolist()
                weights = data.get("weights", None)
                arrays = (data["zones"], data["offsets"], data["pixels"], weights, data["outside"])
                return cls(*arrays, (rows, columns))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ZoneError(f"{path}: the zone index is damaged", hint="delete it; the next run builds it") from error


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
        Valid polygons or multipolygons in the raster's CRS.
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
        _gather_equal(plane.reshape(-1), index.pixels, values)
    else:
        _gather_scaled(plane, index.pixels, index.shape[1], 1.0 / ratio, values)
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


@numba.njit(cache=True)
def _mark_windows(pixels, columns, edge, touched):  # type: ignore[no-untyped-def]
    for pixel in pixels:
        touched[pixel // columns // edge, pixel % columns // edge] = True


@numba.njit(cache=True, parallel=True, nogil=True)
def _gather_equal(raster, pixels, values):  # type: ignore[no-untyped-def]
    for position in numba.prange(len(pixels)):
        values[position] = raster[pixels[position]]


@numba.njit(cache=True, parallel=True, nogil=True)
def _gather_scaled(plane, pixels, columns, factor, values):  # type: ignore[no-untyped-def]
    last_row, last_column = plane.shape[0] - 1, plane.shape[1] - 1
    for position in numba.prange(len(pixels)):
        row, column = pixels[position] // columns, pixels[position] % columns
        # A granule's coarse raster may end before its fine one does (5490 * 2 = 10980, but 183 * 6 < 1100).
        source_row = min(np.int64((row + 0.5) * factor), last_row)
        source_column = min(np.int64((column + 0.5) * factor), last_column)
        values[position] = plane[source_row, source_column]

"""Tiles of one CRS as one dataset: pixels on their common lattice, read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.cubes.read import Chunks, Geometry, chunked, geometry, open_tile, resolutions
from hpckit.errors import CubeError
from hpckit.space.vector.project import project

if TYPE_CHECKING:
    import xarray

_LATTICE: Final = 1e-3
"""Fraction of a pixel by which tiles of one lattice may differ."""
_ALIKE: Final = ("relative_orbit",)
"""Coordinates along time that are those of all tiles of an acquisition."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A tile, and where it lies in a mosaic."""

    tile: str
    where: Geometry
    data: xarray.Dataset
    row: int
    column: int
    """Position in the tile of the first pixel of the mosaic; negative if the mosaic begins before the tile."""
    times: npt.NDArray[np.intp]
    """For each time of the mosaic its own, or -1."""


def open_area(
    cube: Path,
    tiles: Sequence[str],
    area: shapely.Geometry,
    resolution_m: int | None = None,
    chunks: Chunks = "auto",
    *,
    decode: bool = True,
) -> xarray.Dataset:
    """Open the rectangle of pixels around an area, of all tiles that it touches.

    Parameters
    ----------
    tiles : sequence of str
        Tiles of the cube. Where some overlap, a pixel is that of the first one, by name, that has data.
    area : shapely.Geometry
        Polygons in longitude and latitude.
    resolution_m, chunks, decode
        As of `open_tile`; the finest resolution if not given.

    Raises
    ------
    CubeError
        If no tile touches the area, or only tiles of several CRSs cover it.
    """
    import xarray

    size = resolution_m or min((size for tile in tiles for size in resolutions(cube, tile)), default=10)
    known = {tile: geometry(cube, tile, size) for tile in sorted(tiles) if size in resolutions(cube, tile)}
    chosen, bounds = _choose(known, area)
    left, top, shape = _frame(known, chosen, bounds)
    made = _acquisitions([known[tile] for tile in chosen])
    pieces = []
    for tile in chosen:
        where = known[tile]
        own = {str(item["id"]): number for number, item in enumerate(where.acquisitions)}
        pieces.append(
            Piece(
                tile,
                where,
                open_tile(cube, tile, size, None, decode=decode),
                round((where.transform.f - top) / size),
                round((left - where.transform.c) / size),
                np.array([own.get(name, -1) for name in made], np.intp),
            )
        )
    found = xarray.Dataset(_variables(pieces, (len(made), *shape)), _coordinates(pieces, made, (left, top), shape))
    found.attrs = {"proj:code": f"EPSG:{pieces[0].where.epsg}", "hpckit:tiles": list(chosen)}
    return chunked(found, chunks, like=pieces[0].data)


def _choose(known: Mapping[str, Geometry], area: shapely.Geometry) -> tuple[list[str], tuple[float, ...]]:
    """Tiles that an area touches, and its bounds in their CRS: the first CRS by name of tile that covers it."""
    import pyproj

    touched: dict[int, list[str]] = {}
    degrees, shapes = pyproj.CRS.from_epsg(4326), {}
    for tile, where in known.items():
        if where.epsg not in shapes:
            target = pyproj.CRS.from_epsg(where.epsg)
            shapes[where.epsg] = shapely.union_all(project(np.array([area], object), degrees, target))
        if shapes[where.epsg].intersection(_outline(where)).area > 0:
            touched.setdefault(where.epsg, []).append(tile)
    if not touched:
        raise CubeError("the area touches no tile of the cube", hint=f"it has {', '.join(known) or 'no tiles'}")
    for epsg, tiles in touched.items():
        covered = shapely.union_all([_outline(known[tile]) for tile in tiles])
        if len(touched) == 1 or shapes[epsg].difference(covered).area <= _LATTICE * shapes[epsg].area:
            return tiles, shapes[epsg].bounds
    listed = "; ".join(f"EPSG:{epsg}: {', '.join(tiles)}" for epsg, tiles in touched.items())
    raise CubeError(
        f"the area lies in tiles of {len(touched)} CRSs, which have no pixels in common ({listed})",
        hint="ask for the part in each CRS, or make the cube on one grid for all: `grid: EPSG:3035:10000@20`",
    )


def _outline(where: Geometry) -> shapely.Geometry:
    (rows, columns), (a, _, c, _, e, f) = where.shape, tuple(where.transform)[:6]
    return shapely.box(c, f + rows * e, c + columns * a, f)


def _frame(
    known: Mapping[str, Geometry], tiles: Sequence[str], bounds: tuple[float, ...]
) -> tuple[float, float, tuple[int, int]]:
    """Corner and shape of the pixels around an area, where tiles have some."""
    first = known[tiles[0]].transform
    size = float(first.a)
    for tile in tiles:
        other = known[tile].transform
        steps = ((other.c - first.c) / size, (other.f - first.f) / size)
        if other.a != size or any(abs(step - round(step)) > _LATTICE for step in steps):
            raise CubeError(
                f"tiles {tiles[0]} and {tile} have no common lattice of pixels", hint="open them one after the other"
            )
    held = shapely.union_all([_outline(known[tile]) for tile in tiles]).bounds
    west, south = max(bounds[0], held[0]), max(bounds[1], held[1])
    east, north = min(bounds[2], held[2]), min(bounds[3], held[3])
    columns = np.floor((west - first.c) / size + _LATTICE), np.ceil((east - first.c) / size - _LATTICE)
    rows = np.floor((first.f - north) / size + _LATTICE), np.ceil((first.f - south) / size - _LATTICE)
    shape = int(rows[1] - rows[0]), int(columns[1] - columns[0])
    return first.c + float(columns[0]) * size, first.f - float(rows[0]) * size, shape


def _acquisitions(tiles: Sequence[Geometry]) -> dict[str, dict[str, Any]]:
    """Acquisitions of tiles by id, in the order of their time."""
    found: dict[str, dict[str, Any]] = {}
    for where in tiles:
        for item in where.acquisitions:
            found.setdefault(str(item["id"]), item)
    return dict(sorted(found.items(), key=lambda entry: (str(entry[1]["time"]), entry[0])))


def _variables(pieces: Sequence[Piece], shape: tuple[int, int, int]) -> dict[str, Any]:
    import xarray
    from xarray.core import indexing

    made = {}
    for name in dict.fromkeys(str(name) for piece in pieces for name in piece.data.data_vars):
        holders = [piece for piece in pieces if name in piece.data]
        like = holders[0].data[name]
        lazy = indexing.LazilyIndexedArray(_lazy(name, holders, shape, like.dtype))
        attributes = {key: value for key, value in like.attrs.items() if not key.startswith("hpckit:")}
        made[name] = xarray.Variable(("time", "y", "x"), lazy, attributes, {"grid_mapping": "spatial_ref"})
    return made


def _lazy(name: str, pieces: Sequence[Piece], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Array of xarray that reads a band of the tiles."""
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Mosaic(BackendArray):
        """Pixels of a band; xarray asks for them by slices."""

        def __init__(self) -> None:
            self.shape, self.dtype = shape, dtype

        def __getitem__(self, key: Any) -> Any:
            basic = indexing.IndexingSupport.BASIC
            return indexing.explicit_indexing_adapter(
                key, shape, basic, lambda parts: _read(name, pieces, self, parts)
            )

    return Mosaic()


def _read(name: str, pieces: Sequence[Piece], array: Any, key: tuple[Any, ...]) -> npt.NDArray[Any]:
    """Pixels at slices or positions: of each one the first tile that has data."""
    axes = [np.atleast_1d(np.arange(size)[part]) for size, part in zip(array.shape, key, strict=True)]
    nothing = np.nan if array.dtype.kind == "f" else 0
    made = np.full([len(axis) for axis in axes], nothing, array.dtype)
    for piece in pieces:
        missing = np.isnan(made) if array.dtype.kind == "f" else made == nothing
        if not missing.any():
            break
        own = (piece.times[axes[0]], axes[1] + piece.row, axes[2] + piece.column)
        sizes = (len(piece.where.acquisitions), *piece.where.shape)
        held = [np.flatnonzero((at >= 0) & (at < size)) for at, size in zip(own, sizes, strict=True)]
        if not all(len(part) for part in held) or not missing[np.ix_(*held)].any():
            continue
        places = [at[part] for at, part in zip(own, held, strict=True)]
        spans = [slice(int(at.min()), int(at.max()) + 1) for at in places]
        read = piece.data[name].isel(dict(zip(("time", "y", "x"), spans, strict=True))).to_numpy()
        pixels = read[np.ix_(*(at - span.start for at, span in zip(places, spans, strict=True)))]
        target = made[np.ix_(*held)]
        made[np.ix_(*held)] = np.where(missing[np.ix_(*held)], pixels, target)
    return made[tuple(0 if isinstance(part, (int, np.integer)) else slice(None) for part in key)]


def _coordinates(
    pieces: Sequence[Piece],
    made: Mapping[str, Mapping[str, Any]],
    corner: tuple[float, float],
    shape: tuple[int, int],
) -> dict[str, Any]:
    import xarray

    first, size = pieces[0], pieces[0].where.transform.a
    owners = [
        next((piece, int(piece.times[number])) for piece in pieces if piece.times[number] >= 0)
        for number in range(len(made))
    ]
    reference = first.data["spatial_ref"].variable.copy()
    reference.attrs["GeoTransform"] = f"{corner[0]} {size} 0.0 {corner[1]} 0.0 {-size}"
    along = {
        name: ("time", np.array([piece.data[name].to_numpy()[at] for piece, at in owners]))
        for name in ("time", *_ALIKE)
        if all(name in piece.data.coords for piece in pieces)
    }
    x, y = (first.data[name].attrs for name in ("x", "y"))
    return {
        **along,
        "acquisition": ("time", list(made)),
        "platform": ("time", [str(item["platform"]) for item in made.values()]),
        "y": xarray.Variable("y", corner[1] - (np.arange(shape[0]) + 0.5) * size, y),
        "x": xarray.Variable("x", corner[0] + (np.arange(shape[1]) + 0.5) * size, x),
        "spatial_ref": reference,
    }

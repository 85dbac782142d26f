"""Reading cubes: one date of a band straight from its shards, or a tile as an xarray dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from hpckit.cube.shards import MISSING, ChunkGrid, decode, index_nbytes, read_index
from hpckit.errors import CubeError
from hpckit.scenes.bands import BandRef

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """What the metadata of a band's array say."""

    path: Path
    shape: tuple[int, int, int]
    """Dates, rows, columns."""
    dtype: str
    dates_per_shard: int
    grid: ChunkGrid
    sharded: bool


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the pixels of a tile lie, and when they were taken."""

    epsg: int
    transform: Affine
    shape: tuple[int, int]
    acquisitions: tuple[dict[str, Any], ...]
    """Per position on the time axis: id, time, platform, relative_orbit, processing_baseline, products."""


def tiles(cube: Path) -> list[str]:
    """Tiles of a cube."""
    return sorted(path.parent.name for path in cube.glob("[0-9E]*/zarr.json"))


def geometry(cube: Path, tile: str, resolution_m: int) -> Geometry:
    """Grid and time axis of a tile.

    Raises
    ------
    CubeError
        If the cube has no such tile and resolution.
    """
    notes = _metadata(cube / tile / f"r{resolution_m}m")["attributes"]
    rows, columns = notes["spatial:shape"]
    epsg = int(notes["proj:code"].partition(":")[2])
    return Geometry(epsg, Affine(*notes["spatial:transform"]), (rows, columns), tuple(notes["hpckit:acquisitions"]))


def bands(cube: Path, tile: str) -> list[BandRef]:
    """Bands that a tile of a cube has."""
    return sorted(
        BandRef(path.parent.name, int(path.parents[1].name.strip("rm")))
        for path in (cube / tile).glob("r*m/*/zarr.json")
        if path.parent.name[0].isupper()
    )


def array_info(cube: Path, tile: str, ref: BandRef) -> ArrayInfo:
    """Shape and chunks of a band.

    Raises
    ------
    CubeError
        If the cube has no such band.
    """
    return read_info(cube / tile / ref.group / ref.name)


def read_info(path: Path) -> ArrayInfo:
    """Shape and chunks of an array in a folder.

    Raises
    ------
    CubeError
        If there is none.
    """
    metadata = _metadata(path)
    dates, rows, columns = metadata["shape"]
    depth, window, _ = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    codec = metadata["codecs"][0]
    sharded = codec["name"] == "sharding_indexed"
    chunk = codec["configuration"]["chunk_shape"][1] if sharded else window
    return ArrayInfo(path, (dates, rows, columns), metadata["data_type"], depth, ChunkGrid(window, chunk), sharded)


def read_plane(
    cube: Path,
    tile: str,
    ref: BandRef,
    time_index: int,
    windows: npt.NDArray[np.bool_] | None = None,
    *,
    threads: int = 1,
) -> npt.NDArray[Any]:
    """Read one date of a band, as stored.

    Parameters
    ----------
    time_index : int
        Position on the time axis.
    windows : ndarray of bool, shape (window rows, window columns), optional
        Read only these; the others stay 0 and take no memory until touched.
    threads : int
        Shards that are read and decoded at a time.

    Returns
    -------
    ndarray of uint8 or uint16, shape (rows, columns)
        A shard that is not there reads as 0.

    Raises
    ------
    CubeError
        If there is no such band, or a shard is damaged.
    """
    info = array_info(cube, tile, ref)
    if not 0 <= time_index < info.shape[0]:
        raise CubeError(f"{info.path}: no date number {time_index}; it has {info.shape[0]}")
    plane = np.zeros(info.shape[1:], dtype=info.dtype)
    wanted = list(_wanted(info, windows))
    if threads == 1:
        for row, column in wanted:
            _read_window(info, time_index, row, column, plane)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda at: _read_window(info, time_index, at[0], at[1], plane), wanted))
    return plane


def open_tile(cube: Path, tile: str, resolution_m: int) -> xarray.Dataset:
    """Open a tile as an xarray dataset: decoded reflectance with time, y, x and CRS.

    Raises
    ------
    CubeError
        If the cube has no such tile and resolution.
    """
    import xarray

    group = cube / tile / f"r{resolution_m}m"
    _metadata(group)
    data: xarray.Dataset = xarray.open_zarr(group, decode_coords="all")
    return data


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        metadata = json.loads((folder / "zarr.json").read_text())
    except FileNotFoundError:
        raise CubeError(f"{folder}: not in the cube", hint="`hpckit status` tells what was ingested") from None
    except (OSError, ValueError) as error:
        raise CubeError(f"{folder / 'zarr.json'}: damaged") from error
    return dict(metadata)


def _wanted(info: ArrayInfo, windows: npt.NDArray[np.bool_] | None) -> Iterator[tuple[int, int]]:
    edge = info.grid.window
    for row in range(-(-info.shape[1] // edge)):
        for column in range(-(-info.shape[2] // edge)):
            if windows is None or windows[row, column]:
                yield row, column


def _read_window(info: ArrayInfo, time_index: int, row: int, column: int, plane: npt.NDArray[Any]) -> None:
    block, date = divmod(time_index, info.dates_per_shard)
    path = info.path / "c" / str(block) / str(row) / str(column)
    edge = info.grid.window
    target = plane[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        for place, chunk in _chunks(info, descriptor, date):
            _put(target, decode(chunk, info.dtype, info.grid.chunk), place, info.grid)
    except CubeError as error:
        raise CubeError(f"{path}: {error}", hint="`hpckit verify`, then `hpckit run` writes it anew") from None
    finally:
        os.close(descriptor)


def _chunks(info: ArrayInfo, descriptor: int, date: int) -> list[tuple[int, memoryview]]:
    """Encoded chunks of one date, with their place in the window; they lie side by side: one read."""
    size = os.fstat(descriptor).st_size
    if not info.sharded:
        return [(0, memoryview(os.pread(descriptor, size, 0)))]
    count = info.dates_per_shard * info.grid.per_date
    length = index_nbytes(count)
    index = read_index(os.pread(descriptor, length, max(0, size - length)), count)
    first = date * info.grid.per_date
    rows = [(n, *index[first + n].tolist()) for n in range(info.grid.per_date)]
    present = [(n, offset, nbytes) for n, offset, nbytes in rows if offset != MISSING]
    if not present:
        return []
    begin = min(offset for _, offset, _ in present)
    end = max(offset + nbytes for _, offset, nbytes in present)
    data = memoryview(os.pread(descriptor, end - begin, begin))
    return [(n, data[offset - begin : offset - begin + nbytes]) for n, offset, nbytes in present]


def _put(target: npt.NDArray[Any], chunk: npt.NDArray[Any], place: int, grid: ChunkGrid) -> None:
    row, column = divmod(place, grid.per_side)
    part = target[row * grid.chunk : (row + 1) * grid.chunk, column * grid.chunk : (column + 1) * grid.chunk]
    part[:] = chunk[: part.shape[0], : part.shape[1]]

"""Reading cubes: one date of a band straight from its shards, or a tile as an xarray dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from affine import Affine

from hpckit.base.distribution import pip_install
from hpckit.base.quantities import available_cores
from hpckit.cubes.arrays import (
    DIMENSIONS,
    Array,
    array_key,
    damaged_metadata,
    existing_metadata,
    parse_array,
    read_array,
)
from hpckit.cubes.attributes import WINDOWS
from hpckit.cubes.layout import ACQUISITIONS
from hpckit.cubes.objects import Objects, objects_at
from hpckit.cubes.region import read_region
from hpckit.errors import CubeError
from hpckit.sensors.bands import Band, BandRef, Kind
from hpckit.space.box import Box

if TYPE_CHECKING:
    import xarray

Chunks = Literal["auto"] | Mapping[str, int] | None
"""How dask cuts arrays, by dimension."""
_CHUNK_BYTES: Final = 2**28
_GROUP: Final = re.compile(r"r\d+m")


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the pixels of a tile lie, and when they were taken."""

    epsg: int
    transform: Affine
    shape: tuple[int, int]
    acquisitions: tuple[dict[str, Any], ...]
    """Per position on the time axis: id, time, platform, relative_orbit, processing_baseline, products; of a cube."""


@dataclass(frozen=True, slots=True)
class Group:
    """What a tile holds with one size of pixels."""

    tile: str
    resolution_m: int
    where: Geometry
    bands: Mapping[str, BandRef]
    """By name, with the properties in their metadata; layers, of a composite."""
    arrays: Mapping[str, Array]
    """By name."""
    attributes: Mapping[str, Any]
    along_time: Mapping[str, Mapping[str, Any]]
    """Metadata of the coordinates that have no place, by name."""

    @property
    def key(self) -> str:
        """Path relative to the cube."""
        return f"{self.tile}/r{self.resolution_m}m"


def tiles(cube: Path) -> list[str]:
    """Tiles of a cube."""
    return _nodes(objects_at(cube), "")


def resolutions(cube: Path, tile: str) -> list[int]:
    """Sizes of pixels in metres that a tile of a cube, or of a composite, has; finest first."""
    return sorted(int(name.strip("rm")) for name in objects_at(cube).list(tile) if _GROUP.fullmatch(name))


def read_group(cube: Path, tile: str, resolution_m: int) -> Group:
    """Read all metadata of a tile with one size of pixels, from one file.

    Raises
    ------
    CubeError
        If the cube has no such tile and resolution, or its metadata are damaged.
    """
    objects, key = objects_at(cube), f"{tile}/r{resolution_m}m"
    metadata = existing_metadata(objects, key)
    where = _geometry(objects, key, metadata)
    try:
        listed = metadata["consolidated_metadata"]["metadata"]
        found = {name: array for name, array in listed.items() if array.get("dimension_names") == DIMENSIONS}
        along = {name: array for name, array in listed.items() if (array.get("dimension_names") or [""])[0] == "time"}
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged_metadata(objects, key) from error
    bands = {name: _band(f"{key}/{name}", array) for name, array in found.items()}
    arrays = {name: parse_array(objects, f"{key}/{name}", array) for name, array in found.items()}
    times = {name: array for name, array in along.items() if name not in found}
    return Group(tile, resolution_m, where, bands, arrays, metadata["attributes"], times)


def geometry(cube: Path, tile: str, resolution_m: int) -> Geometry:
    """Grid and time axis of a tile.

    Raises
    ------
    CubeError
        If the cube has no such tile and resolution.
    """
    objects, key = objects_at(cube), f"{tile}/r{resolution_m}m"
    return _geometry(objects, key, existing_metadata(objects, key))


def _geometry(objects: Objects, key: str, metadata: Mapping[str, Any]) -> Geometry:
    try:
        notes = metadata["attributes"]
        rows, columns = map(int, notes["spatial:shape"])
        epsg = int(notes["proj:code"].partition(":")[2])
        acquisitions = tuple(dict(item) for item in notes.get(ACQUISITIONS, ()))
        return Geometry(epsg, Affine(*notes["spatial:transform"]), (rows, columns), acquisitions)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise damaged_metadata(objects, key) from error


def bands(cube: Path, tile: str) -> list[BandRef]:
    """Bands of a tile of a cube, with the properties in their metadata.

    Raises
    ------
    CubeError
        If metadata are damaged.
    """
    objects = objects_at(cube)
    groups = [f"{tile}/{name}" for name in _nodes(objects, tile) if _GROUP.fullmatch(name)]
    keys = [f"{group}/{name}" for group in groups for name in _nodes(objects, group)]
    found = ((key, existing_metadata(objects, key)) for key in keys)
    return sorted(_band(key, metadata) for key, metadata in found if metadata.get("dimension_names") == DIMENSIONS)


def _nodes(objects: Objects, key: str) -> list[str]:
    """Names of the groups and arrays in a group."""
    return [name for name in objects.list(key) if _is_node(objects, f"{key}/{name}".lstrip("/"))]


def _is_node(objects: Objects, key: str) -> bool:
    try:
        objects.status(f"{key}/zarr.json")
    except FileNotFoundError:
        return False
    return True


def _band(key: str, metadata: Mapping[str, Any]) -> BandRef:
    _, group, name = key.rsplit("/", 2)
    notes, size = metadata.get("attributes", {}), int(group.strip("rm"))
    kind: Kind = "class" if "flag_values" in notes else "bits" if "flag_masks" in notes else "value"
    codes = notes.get("flag_values") or [mask.bit_length() - 1 for mask in notes.get("flag_masks", ())]
    meanings = str(notes.get("flag_meanings", "")).split()
    band = Band(
        name,
        size,
        kind,
        (size,),
        dtype=str(metadata["data_type"]),
        nodata=notes.get("_FillValue"),
        scale=notes.get("scale_factor", 1.0),
        offset=notes.get("add_offset", 0.0),
        units=notes.get("units", "1"),
        long_name=notes.get("long_name", ""),
        flags=tuple(zip(codes, meanings, strict=False)),
    )
    return BandRef(band.name, size, band)


def band_array(cube: Path, tile: str, ref: BandRef) -> Array:
    """Array of a band.

    Raises
    ------
    CubeError
        If the cube has no such band.
    """
    return read_array(objects_at(cube), array_key(tile, ref))


def held_windows(array: Array) -> npt.NDArray[np.bool_]:
    """Windows of an array that its campaign asked for; the fill value in others is no statement about their pixels.

    Returns
    -------
    ndarray of bool, shape (window rows, window columns)

    Raises
    ------
    CubeError
        If the attribute that names them is damaged.
    """
    shape = tuple(-(-size // array.grid.window) for size in array.shape[1:])
    rows = array.attributes.get(WINDOWS)
    if rows is None:
        return np.ones(shape, np.bool_)
    try:
        windows = np.array([[letter == "1" for letter in row] for row in rows], np.bool_)
    except (TypeError, ValueError) as error:
        raise damaged_metadata(array.objects, array.key) from error
    if windows.shape != shape:
        raise damaged_metadata(array.objects, array.key)
    return windows


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
        What was not ingested yet reads as 0, as what holds nothing does.

    Raises
    ------
    CubeError
        If there is no such band.
    ShardError
        If a shard is gone or damaged.
    """
    array = band_array(cube, tile, ref)
    if not 0 <= time_index < array.shape[0]:
        raise CubeError(f"{cube / array.key}: no date number {time_index}; it has {array.shape[0]}")
    whole = Box(0, 0, *array.shape[1:])
    stack = read_region(array, whole, range(time_index, time_index + 1), windows=windows, threads=threads)
    return np.asarray(stack[0])


def open_tile(
    cube: Path, tile: str, resolution_m: int, chunks: Chunks = "auto", *, decode: bool = True
) -> xarray.Dataset:
    """Open a tile as an xarray dataset: decoded reflectance with time, y, x and CRS.

    A shard that is gone or damaged raises `ShardError` when it is read.

    Parameters
    ----------
    chunks : "auto", mapping of str to int, or None
        Chunks of dask by dimension; -1 is all. By default, where dask is installed, whole windows with all their
        dates; above 256 MiB parts of windows, and then some of the dates. None reads when pixels are asked for,
        without dask.
    decode : bool
        False leaves integers as they are stored, with `scale_factor`, `add_offset` and `_FillValue` as attributes.

    Raises
    ------
    CubeError
        If the cube has no such tile and resolution, or dask is asked for and not installed.
    """
    import xarray

    from hpckit.cubes.checked import CheckedStore
    from hpckit.cubes.lazy import with_own_reader

    known = resolutions(cube, tile)
    if known and resolution_m not in known:
        raise CubeError(f"{cube / tile}: no pixels of {resolution_m} m", hint=f"it has {_metres(known)}")
    arrays = read_group(cube, tile, resolution_m).arrays
    store = CheckedStore(objects_at(cube), f"{tile}/r{resolution_m}m")
    opened = xarray.open_zarr(store, decode_coords="all", chunks=None, mask_and_scale=decode)
    # Workers of dask read beside each other; without dask, threads do.
    data = with_own_reader(opened, arrays, store, 1 if has_dask_chunks(chunks) else available_cores())
    return chunked(data, chunks, data)


def _metres(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size} m" for size in sizes)


def chunked(data: xarray.Dataset, chunks: Chunks, like: xarray.Dataset) -> xarray.Dataset:
    """Cut arrays for dask; by default where it is installed, into whole windows of the tile `like`.

    Raises
    ------
    CubeError
        If dask is asked for and not installed, or the data have no such dimension.
    """
    if isinstance(chunks, str) and chunks != "auto":
        raise CubeError(
            f"chunks are no {chunks!r}", hint='give "auto", None, or sizes: {"time": -1, "y": 512, "x": 512}'
        )
    if not has_dask_chunks(chunks):
        return data
    if isinstance(chunks, Mapping) and (unknown := set(chunks) - set(DIMENSIONS)):
        raise CubeError(f"chunks: no dimension {sorted(unknown)[0]!r}", hint=f"a cube has {', '.join(DIMENSIONS)}")
    if not _has_dask():
        raise CubeError("chunks need dask, which is not installed", hint=pip_install("dask"))
    return data.chunk(dict(chunks) if isinstance(chunks, Mapping) else _whole_windows(like))


def has_dask_chunks(chunks: Chunks) -> bool:
    """Whether arrays are cut for dask."""
    return isinstance(chunks, Mapping) or (chunks is not None and _has_dask())


def _has_dask() -> bool:
    return find_spec("dask") is not None


def _whole_windows(data: xarray.Dataset) -> dict[str, int]:
    """Chunks of whole windows with all dates; where memory holds fewer, of parts of windows, and then of some dates.

    What is computed over time then finds all dates of a pixel in one chunk, and each part of a file is read once.
    """
    found: dict[str, int] = {}
    for array in data.data_vars.values():
        shard = array.encoding.get("shards") or array.encoding.get("chunks")
        if shard is None or list(array.dims) != DIMENSIONS:
            continue
        depth, rows, columns = shard
        _, *least = array.encoding.get("chunks") or shard
        dates = max(1, array.shape[0])
        while dates * rows * columns * array.dtype.itemsize > _CHUNK_BYTES and (
            rows > least[0] or columns > least[1]
        ):
            rows, columns = (
                (max(least[0], rows // 2), columns) if rows >= columns else (rows, max(least[1], columns // 2))
            )
        fitting = _CHUNK_BYTES // (rows * columns * array.dtype.itemsize)
        if dates > fitting:
            dates = min(dates, max(depth, fitting // depth * depth))
        known = {"time": dates, "y": rows, "x": columns}
        found = {name: min(size, found.get(name, size)) for name, size in known.items()}
    return found

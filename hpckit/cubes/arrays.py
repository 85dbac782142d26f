"""Arrays and groups of a Zarr hierarchy: the only place that writes their metadata, and that reads those of arrays.

::

    <cube>/<tile>/<r10m | r20m | r60m>/<band>[time, y, x]

A shard is one window (of a granule: one internal JP2 tile) by a block of dates; the chunks in it are one date
deep. Metadata are plain JSON, coordinates single uncompressed chunks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from hpckit.cubes import attributes
from hpckit.cubes.objects import Objects, get
from hpckit.cubes.shards import ChunkGrid
from hpckit.errors import CubeError
from hpckit.space.frame import Frame

DIMENSIONS: Final = ["time", "y", "x"]

Metadata = Mapping[str, Any]
Files = Iterator[tuple[str, bytes | Metadata]]
"""Keys of files, and what they hold; of metadata what their JSON says."""

_LITTLE: Final = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC32C: Final = {"name": "crc32c"}
IN_SHARDS: Final = ("bytes", "blosc", "crc32c")
"""Codecs of the chunks in a shard."""
ALONE: Final = IN_SHARDS[:2]
"""Codecs of a file that is a single chunk."""
_READINGS: Final = 2
"""Network file systems may show old or half pages once."""


class Named(Protocol):
    """A band, or a layer of a composite."""

    @property
    def group(self) -> str:
        """`r10m`."""

    @property
    def name(self) -> str:
        """Name of its array."""


def array_key(tile: str, item: Named) -> str:
    """Path of an array relative to its hierarchy."""
    return f"{tile}/{item.group}/{item.name}"


def shard_key(tile: str, item: Named, block: int, row: int, column: int) -> str:
    """Path of a shard relative to its hierarchy."""
    return f"{array_key(tile, item)}/c/{block}/{row}/{column}"


@dataclass(frozen=True, slots=True)
class Array:
    """A raster over time, in shards or in single chunks."""

    objects: Objects
    key: str
    shape: tuple[int, int, int]
    """Dates, rows, columns."""
    dtype: str
    dates_per_shard: int
    grid: ChunkGrid
    sharded: bool = True
    level: int = 3
    """Of Zstandard."""
    codecs: tuple[str, ...] = IN_SHARDS
    """Of a chunk."""
    attributes: Metadata = field(default_factory=dict)

    @property
    def layout(self) -> tuple[Any, ...]:
        """What dates that are added must have in common with those that are there; not the level of compression."""
        return self.shape[1:], self.dtype, self.dates_per_shard, self.grid, self.sharded, self.codecs

    @property
    def checksums(self) -> bool:
        """Whether chunks in shards are followed by their CRC32C."""
        return self.codecs[-1] == "crc32c"

    @property
    def chunks_per_shard(self) -> int:
        """Chunks in a file."""
        return self.dates_per_shard * self.grid.per_date

    @property
    def fill(self) -> float:
        """What stands where nothing was written."""
        return float("nan") if np.dtype(self.dtype).kind == "f" else 0

    @property
    def is_categorical(self) -> bool:
        """Whether it holds classes or bits."""
        return "flag_values" in self.attributes or "flag_masks" in self.attributes

    @property
    def name(self) -> str:
        """Name in its group."""
        return self.key.rpartition("/")[2]

    def metadata(self) -> Metadata:
        """Content of its `zarr.json`."""
        size = np.dtype(self.dtype).itemsize
        blosc = {"typesize": size, "cname": "zstd", "clevel": self.level, "shuffle": "bitshuffle", "blocksize": 0}
        known = {"bytes": _LITTLE, "blosc": {"name": "blosc", "configuration": blosc}, "crc32c": _CRC32C}
        codecs: list[Any] = [known[name] for name in self.codecs]
        if self.sharded:
            sharding = {
                "chunk_shape": [1, self.grid.chunk, self.grid.chunk],
                "codecs": codecs,
                "index_codecs": [_LITTLE, _CRC32C],
                "index_location": "end",
            }
            codecs = [{"name": "sharding_indexed", "configuration": sharding}]
        chunk = (self.dates_per_shard, self.grid.window, self.grid.window)
        fill = "NaN" if self.fill else 0
        return _array(self.shape, self.dtype, chunk, fill, codecs, DIMENSIONS, self.attributes)


@dataclass(frozen=True, slots=True)
class Coordinate:
    """An array that is a single chunk."""

    values: npt.NDArray[Any]
    dimensions: Sequence[str]
    attributes: Metadata
    fill: Any = 0

    def metadata(self) -> Metadata:
        """Content of its `zarr.json`."""
        shape = self.values.shape
        chunk = [max(1, n) for n in shape]
        dtype = self.values.dtype.name
        return _array(shape, dtype, chunk, self.fill, [_LITTLE], self.dimensions, self.attributes)


@dataclass(frozen=True, slots=True)
class ArrayGroup:
    """Arrays of one tile and resolution, with the coordinates that they share."""

    key: str
    arrays: Sequence[Array]
    coordinates: Mapping[str, Coordinate]
    attributes: Metadata
    others: Mapping[str, Metadata] = field(default_factory=dict)
    """Metadata of arrays that are there already."""

    def files(self) -> Files:
        """Metadata and coordinates; the group's own last."""
        for name, coordinate in self.coordinates.items():
            yield "/".join([self.key, name, "c", *("0" for _ in coordinate.dimensions)]), coordinate.values.tobytes()
        found = {name: coordinate.metadata() for name, coordinate in self.coordinates.items()}
        found |= {array.name: array.metadata() for array in self.arrays}
        for name, metadata in found.items():
            yield f"{self.key}/{name}/zarr.json", metadata
        # Readers find all arrays in the group's metadata: one file to open, and never two lengths of time.
        every = {
            "kind": "inline",
            "must_understand": False,
            "metadata": dict(sorted({**self.others, **found}.items())),
        }
        yield f"{self.key}/zarr.json", {**_group(self.attributes), "consolidated_metadata": every}


def tile_files(tile: str, notes: Metadata, groups: Iterable[ArrayGroup]) -> Files:
    """All files of a tile besides its shards, and those above it."""
    yield "zarr.json", _group({})
    yield f"{tile}/zarr.json", _group(notes)
    for group in groups:
        yield from group.files()


def empty_groups(keys: Iterable[str]) -> Files:
    """Metadata of groups that only hold others."""
    for key in keys:
        yield f"{key}/zarr.json".lstrip("/"), _group({})


def note_in_group(objects: Objects, key: str, notes: Metadata) -> None:
    """Add attributes to a group that is there already.

    Raises
    ------
    CubeError
        If there is none, or its metadata are damaged.
    """
    known = existing_metadata(objects, key)
    known["attributes"] = {**known.get("attributes", {}), **notes}
    write_changed(objects, iter([(f"{key}/zarr.json", known)]))


def positions(frame: Frame, resolution_m: int, fill: Any) -> dict[str, Coordinate]:
    """Coordinates of the pixels of a tile, and their CRS."""
    rows, columns = frame.shapes[resolution_m]
    half = resolution_m / 2
    y, x = frame.uly - half - resolution_m * np.arange(rows), frame.ulx + half + resolution_m * np.arange(columns)
    return {
        "y": Coordinate(y, ("y",), attributes.Y, fill),
        "x": Coordinate(x, ("x",), attributes.X, fill),
        "spatial_ref": Coordinate(np.array(0, "<i8"), (), attributes.grid_mapping(frame, resolution_m)),
    }


def write_changed(objects: Objects, files: Files) -> None:
    """Write files; what is there already and equal is left alone."""
    for key, content in files:
        try:
            known = get(objects, key)
        except FileNotFoundError:
            known = None
        if known is None or not holds(known, content):
            objects.put(key, content if isinstance(content, bytes) else _json(content))


def holds(known: bytes, content: bytes | Metadata) -> bool:
    """Whether a file has this content; indented JSON takes ten times as long to make as to compare."""
    if isinstance(content, bytes):
        return known == content
    try:
        found = json.loads(known)
    except (ValueError, RecursionError):
        return False
    return json.dumps(found) == json.dumps(content) and known.startswith(b"{\n ") and known.endswith(b"\n}\n")


def read_metadata(objects: Objects, key: str) -> dict[str, Any]:
    """Metadata of a group or array.

    Raises
    ------
    FileNotFoundError
        If there is none.
    FileUnavailableError
        If the file system refuses.
    CubeError
        If they are damaged.
    """
    fault: Exception = ValueError("no object")
    for _ in range(_READINGS):
        try:
            found = json.loads(get(objects, f"{key}/zarr.json"))
            if isinstance(found, dict):
                return found
        except (ValueError, RecursionError) as error:
            fault = error
    raise damaged_metadata(objects, key) from fault


def read_array(objects: Objects, key: str) -> Array:
    """An array of a hierarchy, by its metadata.

    Raises
    ------
    CubeError
        If there is none, or its metadata are damaged.
    """
    return parse_array(objects, key, existing_metadata(objects, key))


def parse_array(objects: Objects, key: str, metadata: Metadata) -> Array:
    """An array from its metadata.

    Raises
    ------
    CubeError
        If these are damaged.
    """
    try:
        dates, rows, columns = map(int, metadata["shape"])
        depth, window, _ = map(int, metadata["chunk_grid"]["configuration"]["chunk_shape"])
        codecs, chunk = metadata["codecs"], window
        sharded = codecs[0]["name"] == "sharding_indexed"
        if sharded:
            inner = codecs[0]["configuration"]
            codecs, chunk = inner["codecs"], int(inner["chunk_shape"][1])
        names = tuple(str(codec["name"]) for codec in codecs)
        dtype, notes = str(np.dtype(metadata["data_type"])), dict(metadata["attributes"])
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        raise damaged_metadata(objects, key) from error
    if min(dates, rows, columns) < 0 or min(depth, window, chunk, len(names)) < 1 or window % chunk:
        raise damaged_metadata(objects, key)
    shape, grid = (dates, rows, columns), ChunkGrid(window, chunk)
    return Array(objects, key, shape, dtype, depth, grid, sharded, codecs=names, attributes=notes)


def read_coordinate(objects: Objects, key: str) -> npt.NDArray[Any]:
    """Values of a coordinate along one dimension.

    Raises
    ------
    CubeError
        If there is none, or it is damaged.
    """
    metadata = existing_metadata(objects, key)
    try:
        return np.frombuffer(get(objects, f"{key}/c/0"), metadata["data_type"]).reshape(metadata["shape"])
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise damaged_metadata(objects, key) from error


def existing_metadata(objects: Objects, key: str) -> dict[str, Any]:
    """Metadata of a group or array that must be there."""
    try:
        return read_metadata(objects, key)
    except FileNotFoundError:
        raise CubeError(
            f"{objects.path / key}: not in the cube", hint="`hpckit status` shows what was ingested"
        ) from None


def damaged_metadata(objects: Objects, key: str) -> CubeError:
    """Error of metadata that cannot be parsed."""
    path = objects.path / key / "zarr.json"
    return CubeError(f"{path}: damaged", hint="delete this file; the next run writes it again")


def _array(
    shape: Sequence[int],
    dtype: str,
    chunk: Sequence[int],
    fill: Any,
    codecs: Sequence[Metadata],
    dimensions: Sequence[str],
    notes: Metadata,
) -> Metadata:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": list(codecs),
        "dimension_names": list(dimensions),
        "attributes": dict(notes),
    }


def _group(notes: Metadata) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(notes)}


def _json(content: Metadata) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()

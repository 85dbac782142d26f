"""The Zarr group of a composite: `<name>.zarr/<tile>/<r10m>/<B04_median>[time, y, x]`, one period per time step.

Windows, chunks and coordinates are those of the cube; a shard holds a window of sixteen periods.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from hpckit.composites.periods import Interval
from hpckit.composites.products import Layer
from hpckit.cube import attributes
from hpckit.cube.layout import CubeSpec
from hpckit.cube.shards import ChunkGrid, assemble
from hpckit.files import write_bytes
from hpckit.frame import Frame
from hpckit.scenes.bands import BandRef

PERIODS_PER_SHARD: Final = 16
_LEVEL: Final = 3
_EPOCH: Final = dt.date(1970, 1, 1)
_TIME: Final = {
    "standard_name": "time",
    "long_name": "first day of the period",
    "units": "days since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "axis": "T",
    "bounds": "time_bounds",
}


def chunk_grid(spec: CubeSpec, resolution_m: int) -> ChunkGrid:
    """How windows of a resolution are cut: as those of the cube, always in shards."""
    return replace(spec, sharding=True).chunks(resolution_m)


def shard_key(tile: str, layer: Layer, block: int, row: int, column: int) -> str:
    """Path of a shard relative to the store."""
    return f"{tile}/{layer.group}/{layer.name}/c/{block}/{row}/{column}"


def days_since_epoch(day: dt.date) -> int:
    """Days since 1970-01-01."""
    return (day - _EPOCH).days


def prepare(path: Path, spec: CubeSpec, frame: Frame, layers: Sequence[Layer], periods: Sequence[Interval]) -> None:
    """Write metadata and coordinates of a tile; what is there already and equal is left alone."""
    for file, content in metadata(path, spec, frame, layers, periods):
        if not file.exists() or file.read_bytes() != content:
            write_bytes(file, content)


def metadata(
    path: Path, spec: CubeSpec, frame: Frame, layers: Sequence[Layer], periods: Sequence[Interval]
) -> Iterator[tuple[Path, bytes]]:
    """Files of a tile's metadata and coordinates, and what they hold."""
    yield path / "zarr.json", _json(_group({}))
    mission = 2 if spec.radar is None else 1
    tile = path / frame.tile
    yield tile / "zarr.json", _json(_group(attributes.tile_attributes(frame.tile, spec.grid, mission)))
    for resolution_m in sorted({layer.resolution_m for layer in layers}):
        mine = [layer for layer in layers if layer.resolution_m == resolution_m]
        yield from _of_group(tile / f"r{resolution_m}m", chunk_grid(spec, resolution_m), frame, mine, periods)


def encode_chunk(values: npt.NDArray[Any], edge: int, nodata: float | None) -> bytes | None:
    """Encode one chunk; None if it is all nodata (all 0, where there is none).

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        At most `edge` on a side; filled up at the raster's border.
    """
    fill = 0 if nodata is None else nodata
    if values.shape != (edge, edge):
        whole = np.full((edge, edge), fill, dtype=values.dtype)
        whole[: values.shape[0], : values.shape[1]] = values
        values = whole
    empty = np.isnan(values).all() if fill != fill else not values.any()
    if empty:
        return None
    return bytes(blosc.compress(np.ascontiguousarray(values), b"zstd", _LEVEL, blosc.BITSHUFFLE))


def write_shard(path: Path, chunks: Sequence[bytes | None]) -> bytes:
    """Write one shard, or remove it where all of it is nodata; return its bytes."""
    data = assemble(chunks)
    if data is None:
        path.unlink(missing_ok=True)
        return b""
    write_bytes(path, data)
    return data


def _of_group(
    folder: Path, grid: ChunkGrid, frame: Frame, layers: Sequence[Layer], periods: Sequence[Interval]
) -> Iterator[tuple[Path, bytes]]:
    resolution_m = layers[0].resolution_m
    rows, columns = frame.shapes[resolution_m]
    half, ref = resolution_m / 2, BandRef("B02", resolution_m)
    bounds = [(days_since_epoch(item.start), days_since_epoch(item.end) + 1) for item in periods]
    coordinates: dict[str, tuple[npt.NDArray[Any], tuple[str, ...], Mapping[str, Any]]] = {
        "y": (frame.uly - half - resolution_m * np.arange(rows), ("y",), attributes.Y),
        "x": (frame.ulx + half + resolution_m * np.arange(columns), ("x",), attributes.X),
        "time": (np.array([start for start, _ in bounds], "<i8"), ("time",), _TIME),
        "time_bounds": (np.array(bounds, "<i8"), ("time", "bounds"), {}),
        "spatial_ref": (np.array(0, "<i8"), (), attributes.grid_mapping(frame, ref)),
    }
    arrays = {name: _coordinate(*coordinate) for name, coordinate in coordinates.items()}
    arrays |= {layer.name: _array(layer, grid, len(periods), (rows, columns)) for layer in layers}
    for name, (values, dimensions, _) in coordinates.items():
        yield folder / name / "/".join(["c", *("0" for _ in dimensions)]), values.tobytes()
    for name, array in arrays.items():
        yield folder / name / "zarr.json", _json(array)
    consolidated = {"kind": "inline", "must_understand": False, "metadata": dict(sorted(arrays.items()))}
    notes = {**attributes.group_attributes(frame, ref), "hpckit:periods": [item.label for item in periods]}
    yield folder / "zarr.json", _json({**_group(notes), "consolidated_metadata": consolidated})


def _array(layer: Layer, grid: ChunkGrid, periods: int, shape: tuple[int, int]) -> dict[str, Any]:
    size = np.dtype(layer.dtype).itemsize
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    packed = {"typesize": size, "cname": "zstd", "clevel": _LEVEL, "shuffle": "bitshuffle", "blocksize": 0}
    sharding = {
        "chunk_shape": [1, grid.chunk, grid.chunk],
        "codecs": [little, {"name": "blosc", "configuration": packed}],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [periods, *shape],
        "data_type": layer.dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [PERIODS_PER_SHARD, grid.window, grid.window]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN" if layer.dtype == "float32" else 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": ["time", "y", "x"],
        "attributes": _notes(layer),
    }


def _notes(layer: Layer) -> dict[str, Any]:
    notes: dict[str, Any] = {"long_name": f"{layer.band}, {layer.method}", "grid_mapping": "spatial_ref"}
    if layer.content == "date":
        return {**notes, "units": "days since 1970-01-01", "_FillValue": 0}
    if layer.content == "count":
        return {**notes, "units": "1"}
    if layer.dtype == "float32":
        return {**notes, "units": "1"}
    return {**notes, "scale_factor": layer.scale, "add_offset": layer.offset, "_FillValue": 0}


def _coordinate(values: npt.NDArray[Any], dimensions: tuple[str, ...], notes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(1, n) for n in values.shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": list(dimensions),
        "attributes": dict(notes),
    }


def _group(notes: Mapping[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(notes)}


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()

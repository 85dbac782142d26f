"""Layout of a cube: groups, arrays, chunks, and the metadata that make other readers understand it.

::

    <cube>/<tile>/<r10m | r20m | r60m>/<band>[time, y, x]

A shard is one window (of a granule: one internal JP2 tile) by a block of dates; the chunks in it are one date
deep. Metadata are written as plain JSON, coordinates as single uncompressed chunks, each file atomically.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.campaign import Campaign
from hpckit.cube import attributes
from hpckit.cube.radar_reading import RadarReading
from hpckit.cube.shards import ChunkGrid
from hpckit.errors import CubeError
from hpckit.files import write_bytes, write_text
from hpckit.frame import Frame, GridSpec
from hpckit.scenes.bands import BANDS, WINDOW, BandRef
from hpckit.scenes.model import Acquisition, Scene

if TYPE_CHECKING:
    from hpckit.cube.warp import Resampling

CHUNKS_PER_SIDE: Final = {10: 4, 20: 4, 60: 2}
"""Chunks along one edge of a window, by resolution: 256, 160 and 96 pixels."""

ACQUISITIONS: Final = "hpckit:acquisitions"
"""Attribute of a group that lists what stands on its time axis."""


@dataclass(frozen=True, slots=True)
class CubeSpec:
    """How a campaign's cube is laid out and filled."""

    path: Path
    bands: tuple[BandRef, ...]
    dates_per_block: int
    sharding: bool
    compression: int
    skip_cloudy: float | None
    verify: bool
    """Check digests of the product's files before decoding them."""
    grid: GridSpec | None = None
    """What scenes are resampled onto; None: granules stay as they are."""
    resampling: Resampling = "nearest"
    """Of reflectance, aerosol and water vapour, on a grid."""
    radar: RadarReading | None = None
    """How Sentinel-1 products are read; None for Sentinel-2."""

    @classmethod
    def of(cls, campaign: Campaign) -> CubeSpec:
        """Layout that a campaign asks for."""
        return cls(
            campaign.cube_path,
            tuple(campaign.cube_bands()),
            campaign.cube.dates_per_block,
            campaign.cube.sharding,
            campaign.cube.compression,
            campaign.cube.skip_cloudy,
            campaign.scenes.verify,
            campaign.grid_spec,
            campaign.cube.resampling,
            RadarReading.of(campaign) if campaign.scenes.is_radar else None,
        )

    @property
    def treatment(self) -> list[Any]:
        """What the pixels of a date depend on, besides the scenes."""
        onto = [] if self.grid is None else [str(self.grid), self.resampling]
        return [self.skip_cloudy, *onto, *([] if self.radar is None else [self.radar.key])]

    def chunks(self, resolution_m: int) -> ChunkGrid:
        """How windows of a resolution are cut."""
        if self.grid is not None:
            edge = self.grid.edge(resolution_m)
            return ChunkGrid(edge, self.grid.chunk(resolution_m) if self.sharding else edge)
        window = WINDOW[resolution_m]
        return ChunkGrid(window, window // CHUNKS_PER_SIDE[resolution_m] if self.sharding else window)

    def frame(self, tile: str, acquisitions: Sequence[Acquisition]) -> Frame:
        """Where the rasters of a tile lie: by the grid, or by the granule."""
        if self.grid is not None:
            return self.grid.frame(tile, [ref.resolution_m for ref in self.bands])
        scene = acquisitions[0].scenes[0]
        return Frame(scene.tile, scene.epsg, scene.ulx, scene.uly, scene.shapes, WINDOW)

    @property
    def dates_per_shard(self) -> int:
        """Dates in one file."""
        return self.dates_per_block if self.sharding else 1

    def array(self, tile: str, ref: BandRef) -> Path:
        """Folder of an array."""
        return self.path / tile / ref.group / ref.name


def windows(shape: tuple[int, int], resolution_m: int) -> tuple[int, int]:
    """Window rows and columns of a granule's raster."""
    edge = WINDOW[resolution_m]
    return -(-shape[0] // edge), -(-shape[1] // edge)


def shard_key(tile: str, ref: BandRef, block: int, row: int, column: int) -> str:
    """Path of a shard relative to the cube."""
    return f"{tile}/{ref.group}/{ref.name}/c/{block}/{row}/{column}"


def acquisition_ids(cube: Path, tile: str, ref: BandRef) -> list[str]:
    """What stands on the time axis of a tile's group, in its order.

    Raises
    ------
    CubeError
        If the cube has no such tile and band.
    """
    group = cube / tile / ref.group
    try:
        listed = json.loads((group / "zarr.json").read_text())["attributes"][ACQUISITIONS]
        return [str(item["id"]) for item in listed]
    except FileNotFoundError:
        raise CubeError(f"{group}: the cube has no tile {tile} at {ref.resolution_m} m") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CubeError(f"{group / 'zarr.json'}: damaged") from error


def prepare(spec: CubeSpec, tile: str, acquisitions: Sequence[Acquisition]) -> None:
    """Write the metadata and coordinates of a tile; what is there already and equal is left alone.

    Parameters
    ----------
    acquisitions : sequence of Acquisition
        All that stand on the time axis, sorted by time. A list that is longer than before extends the
        arrays.

    Raises
    ------
    CubeError
        If the scenes of the tile disagree on its grid, or the cube was written with another layout.
    """
    if spec.grid is None:
        _require_one_granule(tile, acquisitions)
    frame = spec.frame(tile, acquisitions)
    _write_if_new(spec.path / "zarr.json", _group({}))
    _write_if_new(
        spec.path / tile / "zarr.json",
        _group(attributes.tile_attributes(tile, spec.grid, 2 if spec.radar is None else 1)),
    )
    for resolution_m in sorted({ref.resolution_m for ref in spec.bands}):
        refs = [ref for ref in spec.bands if ref.resolution_m == resolution_m]
        for ref in refs:
            _prepare_array(spec, tile, ref, frame, len(acquisitions))
        _prepare_group(spec, tile, refs, frame, acquisitions)


def _require_one_granule(tile: str, acquisitions: Sequence[Acquisition]) -> None:
    scenes = [scene for acquisition in acquisitions for scene in acquisition.scenes]
    first = scenes[0]
    for scene in scenes[1:]:
        if (scene.epsg, scene.ulx, scene.uly, dict(scene.shapes)) != (
            first.epsg,
            first.ulx,
            first.uly,
            dict(first.shapes),
        ):
            raise CubeError(
                f"tile {tile}: {scene.id} lies on another grid than {first.id}",
                hint="one of the two products is not an original; leave it out",
            )


def _prepare_array(spec: CubeSpec, tile: str, ref: BandRef, frame: Frame, dates: int) -> None:
    path = spec.array(tile, ref) / "zarr.json"
    grid = spec.chunks(ref.resolution_m)
    rows, columns = frame.shapes[ref.resolution_m]
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [dates, rows, columns],
        "data_type": ref.dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [spec.dates_per_shard, grid.window, grid.window]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": _codecs(spec, grid, ref),
        "dimension_names": ["time", "y", "x"],
        "attributes": attributes.band_attributes(ref),
    }
    _check_layout(path, metadata)
    _write_if_new(path, metadata)


def _codecs(spec: CubeSpec, grid: ChunkGrid, ref: BandRef) -> list[dict[str, Any]]:
    inner = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {
            "name": "blosc",
            "configuration": {
                "typesize": np.dtype(ref.dtype).itemsize,
                "cname": "zstd",
                "clevel": spec.compression,
                "shuffle": "bitshuffle",
                "blocksize": 0,
            },
        },
    ]
    if not spec.sharding:
        return inner
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    configuration = {
        "chunk_shape": [1, grid.chunk, grid.chunk],
        "codecs": inner,
        "index_codecs": index,
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": configuration}]


def _check_layout(path: Path, metadata: Mapping[str, Any]) -> None:
    """Refuse to mix two layouts in one array; another compression level is no other layout."""
    if not path.exists():
        return
    try:
        known = json.loads(path.read_text())
        same = (
            known["chunk_grid"] == metadata["chunk_grid"]
            and known["data_type"] == metadata["data_type"]
            and known["shape"][1:] == metadata["shape"][1:]
            and [codec["name"] for codec in known["codecs"]] == [codec["name"] for codec in metadata["codecs"]]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CubeError(f"{path}: damaged", hint="delete this file; the next run writes it anew") from error
    if not same:
        raise CubeError(
            f"{path.parent}: the cube was written with another layout (dates_per_block, sharding or grid)",
            hint="set the campaign's `cube` back to it, or give `cube.path` another name",
        )


def _prepare_group(
    spec: CubeSpec, tile: str, refs: Sequence[BandRef], frame: Frame, acquisitions: Sequence[Acquisition]
) -> None:
    ref = refs[0]
    folder = spec.path / tile / ref.group
    rows, columns = frame.shapes[ref.resolution_m]
    _check_place(folder / "zarr.json", attributes.group_attributes(frame, ref))
    centres = ref.resolution_m / 2
    _coordinate(folder, "y", frame.uly - centres - ref.resolution_m * np.arange(rows), ("y",), attributes.Y)
    _coordinate(folder, "x", frame.ulx + centres + ref.resolution_m * np.arange(columns), ("x",), attributes.X)
    _coordinate(folder, "spatial_ref", np.array(0, dtype="<i8"), (), attributes.grid_mapping(frame, ref))
    along_time = _along_time(acquisitions)
    for name, (values, notes) in along_time.items():
        _coordinate(folder, name, values, ("time",), notes)
    listed = [attributes.acquisition_attributes(acquisition) for acquisition in acquisitions]
    names = ["y", "x", "spatial_ref", *along_time, *(item.name for item in refs)]
    arrays = _bands_on(folder, listed) | {
        name: json.loads((folder / name / "zarr.json").read_text()) for name in names
    }
    # Readers find all arrays in the group's metadata: one file to open, and never two lengths of time.
    consolidated = {"kind": "inline", "must_understand": False, "metadata": dict(sorted(arrays.items()))}
    group = _group({**attributes.group_attributes(frame, ref), ACQUISITIONS: listed})
    _write_if_new(folder / "zarr.json", {**group, "consolidated_metadata": consolidated})


def _check_place(path: Path, notes: Mapping[str, Any]) -> None:
    """Refuse a tile that lies elsewhere than it did: tiles of two grids may have one name."""
    try:
        known = json.loads(path.read_text())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if any(known.get(name, notes[name]) != notes[name] for name in ("proj:code", "spatial:transform")):
        raise CubeError(
            f"{path.parent}: the cube was written on another grid",
            hint="set the campaign's `grid` back to it, or give `cube.path` another name",
        )


def _bands_on(folder: Path, listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Bands of other campaigns in the group, as long as its time axis is the one that they were written on."""
    try:
        known = json.loads((folder / "zarr.json").read_text())
        arrays = known["consolidated_metadata"]["metadata"]
        return {
            name: arrays[name] for name in arrays if name in BANDS and known["attributes"][ACQUISITIONS] == listed
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _along_time(acquisitions: Sequence[Acquisition]) -> dict[str, tuple[npt.NDArray[Any], Mapping[str, Any]]]:
    scenes = [acquisition.scenes[0] for acquisition in acquisitions]
    clouds = [np.nan if scene.cloud_cover is None else scene.cloud_cover for scene in scenes]
    common = {
        "time": (np.array([seconds_since_epoch(item.time) for item in acquisitions], "<i8"), attributes.TIME),
        "relative_orbit": (np.array([s.relative_orbit for s in scenes], "<i2"), attributes.RELATIVE_ORBIT),
        "processing_baseline": (
            np.array([round(float(s.baseline) * 100) for s in scenes], "<i2"),
            attributes.BASELINE,
        ),
        "cloud_cover": (np.array(clouds, "<f4"), attributes.CLOUD_COVER),
    }
    return common | _along_track(scenes)


def _along_track(scenes: Sequence[Scene]) -> dict[str, tuple[npt.NDArray[Any], Mapping[str, Any]]]:
    """Coordinates that only Sentinel-1 has."""
    radars = [scene.radar for scene in scenes if scene.radar is not None]
    if not radars:
        return {}
    angles = [np.nan if radar.incidence is None else np.mean(radar.incidence) for radar in radars]
    return {
        "orbit_state": (np.array([r.orbit_state == "descending" for r in radars], "u1"), attributes.ORBIT_STATE),
        "incidence_angle": (np.array(angles, "<f4"), attributes.INCIDENCE),
    }


def seconds_since_epoch(moment: datetime) -> int:
    """Whole seconds since 1970-01-01, UTC."""
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


def _coordinate(
    folder: Path, name: str, values: npt.NDArray[Any], dimensions: tuple[str, ...], notes: Mapping[str, Any]
) -> None:
    fill: Any = "NaN" if values.dtype.kind == "f" else 0
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": values.dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [max(1, n) for n in values.shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": list(dimensions),
        "attributes": dict(notes),
    }
    chunk = folder / name / "/".join(["c", *("0" for _ in values.shape)])
    data = values.tobytes()
    if not chunk.exists() or chunk.read_bytes() != data:
        write_bytes(chunk, data)
    _write_if_new(folder / name / "zarr.json", metadata)


def _group(notes: Mapping[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(notes)}


def _write_if_new(path: Path, metadata: Mapping[str, Any]) -> None:
    text = json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"
    if not path.exists() or path.read_text() != text:
        write_text(path, text)

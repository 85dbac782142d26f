"""Layout of a cube: which arrays a campaign's tiles have, and whether what is there fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpckit.campaign.campaign import Campaign
from hpckit.cubes import attributes
from hpckit.cubes.arrays import (
    ALONE,
    DIMENSIONS,
    IN_SHARDS,
    Array,
    ArrayGroup,
    Coordinate,
    array_key,
    damaged_metadata,
    parse_array,
    positions,
    read_metadata,
    tile_files,
    write_changed,
)
from hpckit.cubes.held import WHOLE, Held
from hpckit.cubes.multiscales import kept
from hpckit.cubes.objects import Objects, objects_at
from hpckit.cubes.shards import ChunkGrid
from hpckit.errors import CubeError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition, Scene
from hpckit.sensors.reader import Treatment
from hpckit.sensors.sensor import Sensor
from hpckit.space.frame import Frame
from hpckit.space.grid import Grid

if TYPE_CHECKING:
    from hpckit.space.warp import Resampling

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
    grid: Grid
    """On which tiles the cube lies, and whether scenes are resampled onto them."""
    resampling: Resampling = "nearest"
    """Of bands that are no masks, on a grid."""
    options: Any = None
    """What the sensor made of its options in the campaign file; its `key` says what pixels depend on."""
    sensor: Sensor = field(kw_only=True)
    """Whose products they are."""

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
            campaign.grid,
            campaign.cube.resampling,
            campaign.scenes.options.reading(campaign.scenes.level, campaign.resolve, campaign.contents),
            sensor=campaign.sensor,
        )

    @property
    def treatment(self) -> list[Any]:
        """What the pixels of a date depend on, besides the scenes."""
        onto = self.grid.treatment(self.resampling)
        return [self.skip_cloudy, *onto, *([] if self.options is None else [self.options.key])]

    @property
    def reading(self) -> Treatment:
        """How windows of products are read."""
        onto = self.resampling if self.grid.resampled else None
        return Treatment(self.verify, self.skip_cloudy, onto, self.options)

    def chunks(self, resolution_m: int) -> ChunkGrid:
        """How windows of a resolution are cut."""
        window, chunk = self.grid.edges(resolution_m)
        return ChunkGrid(window, chunk if self.sharding else window)

    def frame(self, tile: str, acquisitions: Sequence[Acquisition]) -> Frame:
        """Where the rasters of a tile lie: by the grid, or by the first of its scenes."""
        return self.frame_with(tile, acquisitions[0].scenes[0])

    def frame_with(self, tile: str, scene: Scene) -> Frame:
        """Where the rasters of a tile lie that is made from a scene."""
        return self.grid.frame(tile, [ref.resolution_m for ref in self.bands], scene.frame)

    @property
    def dates_per_shard(self) -> int:
        """Dates in one file."""
        return self.dates_per_block if self.sharding else 1

    @property
    def objects(self) -> Objects:
        """Files of the cube."""
        return objects_at(self.path)

    def array(self, tile: str, ref: BandRef) -> Path:
        """Folder of an array."""
        return self.path / array_key(tile, ref)


def prepare(spec: CubeSpec, tile: str, acquisitions: Sequence[Acquisition], held: Held = WHOLE) -> None:
    """Write the metadata and coordinates of a tile; what is there already and equal is left alone.

    Parameters
    ----------
    acquisitions : sequence of Acquisition
        All that stand on the time axis, sorted by time. A list that is longer than before extends the
        arrays.
    held : Held
        Windows that the cube holds: arrays have the whole shape, and name these windows.

    Raises
    ------
    CubeError
        If the scenes of the tile disagree on its grid, or the cube was written with another layout.
    """
    require_same_layout(spec, tile, acquisitions)
    groups = _groups(spec, tile, acquisitions, held)
    notes = attributes.tile_attributes(tile, spec.grid, spec.sensor) | kept(spec.objects, tile)
    write_changed(spec.objects, tile_files(tile, notes, groups))


def require_same_layout(spec: CubeSpec, tile: str, acquisitions: Sequence[Acquisition]) -> None:
    """Look whether a tile can be written as `prepare` would; nothing is written.

    Raises
    ------
    CubeError
        As `prepare`.
    """
    frame = require_one_frame(spec, tile, acquisitions)
    for ref in spec.bands:
        _check_layout(_array(spec, tile, ref, frame, len(acquisitions)))
        group = attributes.group_attributes(frame, ref.resolution_m)
        _check_place(spec.objects, f"{tile}/{ref.group}", group)


def require_one_frame(spec: CubeSpec, tile: str, acquisitions: Sequence[Acquisition]) -> Frame:
    """Frame of a tile, which all of its scenes must give.

    Raises
    ------
    CubeError
        If they disagree.
    """
    scenes = [scene for acquisition in acquisitions for scene in acquisition.scenes]
    frame = spec.frame_with(tile, scenes[0])
    for scene in scenes[1:]:
        if scene.frame != scenes[0].frame and spec.frame_with(tile, scene) != frame:
            raise CubeError(
                f"tile {tile}: {scene.id} lies on another grid than {scenes[0].id}",
                hint="one of the two products is not an original; leave it out",
            )
    return frame


def _array(spec: CubeSpec, tile: str, ref: BandRef, frame: Frame, dates: int, held: Held = WHOLE) -> Array:
    """Array of a band."""
    grid, notes = spec.chunks(ref.resolution_m), attributes.band_attributes(ref.band, spec.sensor)
    notes |= attributes.held_attributes(held, frame, ref)
    return Array(
        spec.objects,
        array_key(tile, ref),
        (dates, *frame.shapes[ref.resolution_m]),
        ref.dtype,
        spec.dates_per_shard,
        grid,
        spec.sharding,
        spec.compression,
        IN_SHARDS if spec.sharding else ALONE,
        notes,
    )


def _groups(spec: CubeSpec, tile: str, acquisitions: Sequence[Acquisition], held: Held) -> Iterator[ArrayGroup]:
    """Groups of a tile, one for each size of pixels."""
    frame = spec.frame(tile, acquisitions)
    listed = [attributes.acquisition_attributes(acquisition, spec.sensor) for acquisition in acquisitions]
    for resolution_m in sorted({ref.resolution_m for ref in spec.bands}):
        refs = [ref for ref in spec.bands if ref.resolution_m == resolution_m]
        arrays = [_array(spec, tile, ref, frame, len(acquisitions), held) for ref in refs]
        key = f"{tile}/{refs[0].group}"
        coordinates = positions(frame, resolution_m, "NaN") | _along_time(spec.sensor, acquisitions)
        notes = {**attributes.group_attributes(frame, resolution_m), ACQUISITIONS: listed}
        yield ArrayGroup(key, arrays, coordinates, notes, _bands_on(spec.objects, key, listed))


def _check_layout(wanted: Array) -> None:
    """Refuse to mix two layouts in one array."""
    try:
        metadata = read_metadata(wanted.objects, wanted.key)
    except FileNotFoundError:
        return
    if parse_array(wanted.objects, wanted.key, metadata).layout != wanted.layout:
        raise CubeError(
            f"{wanted.objects.path / wanted.key}: the cube was written with another layout "
            "(dates_per_block, sharding, grid, or by an hpckit that kept no checksums in shards)",
            hint="set the campaign's `cube` back to it, or give `cube.path` another name",
        )


def _check_place(objects: Objects, key: str, notes: Mapping[str, Any]) -> None:
    """Refuse a tile that lies elsewhere than it did: tiles of two grids may have one name."""
    try:
        known = dict(read_metadata(objects, key)["attributes"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError) as error:
        raise damaged_metadata(objects, key) from error
    if any(known.get(name, notes[name]) != notes[name] for name in ("proj:code", "spatial:transform")):
        raise CubeError(
            f"{objects.path / key}: the cube was written on another grid",
            hint="set the campaign's `grid` back to it, or give `cube.path` another name",
        )


def _bands_on(objects: Objects, key: str, listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Bands of other campaigns in the group, as long as its time axis is the one that they were written on."""
    try:
        known = read_metadata(objects, key)
        arrays = known["consolidated_metadata"]["metadata"]
        return {
            name: array
            for name, array in arrays.items()
            if array["dimension_names"] == DIMENSIONS and known["attributes"][ACQUISITIONS] == listed
        }
    except (FileNotFoundError, KeyError, TypeError):
        return {}


def _along_time(sensor: Sensor, acquisitions: Sequence[Acquisition]) -> dict[str, Coordinate]:
    """Coordinates of the time steps."""
    times = np.array([seconds_since_epoch(item.time) for item in acquisitions], "<i8")
    found = {"time": (times, attributes.TIME), **sensor.along_time(acquisitions)}
    return {
        name: Coordinate(values, ("time",), notes, "NaN" if values.dtype.kind == "f" else 0)
        for name, (values, notes) in found.items()
    }


def seconds_since_epoch(moment: datetime) -> int:
    """Whole seconds since 1970-01-01, UTC."""
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())

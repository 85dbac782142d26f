"""How long, how much memory, how many bytes and files: what a plan is judged by.

Rates are those measured on one core of an EPYC with the libraries of the wheels (docs/performance.md), or,
once the campaign has run, those of its own journal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyproj
import shapely

from hpckit.composites import units as composites
from hpckit.composites.row import BLOCK_BYTES
from hpckit.composites.sizes import size
from hpckit.disks import Disk, disks, existing
from hpckit.errors import PlanError
from hpckit.journal import Entry, read_journal
from hpckit.plan import Plan, Stage, Unit
from hpckit.quantities import available_memory, format_bytes
from hpckit.reduce.assignment import project
from hpckit.reduce.expression import Expression
from hpckit.scenes.bands import BandRef
from hpckit.scenes.model import Scene

if TYPE_CHECKING:
    from hpckit.campaign import Campaign, Signatures
    from hpckit.production import Prepared

_LEAST_PIXELS: Final = 10_000_000
_LIBRARIES: Final = 420 * 2**20
"""Bytes of a worker apart from its data: interpreter, libraries, GDAL's cache, compiled kernels; as measured."""
_SLOW_METHODS: Final = {"geomad": 6, "medoid": 4, "smooth": 3}
"""Time of slow methods, over that of reading."""
_COMPRESSED: Final = 0.7
"""Compressed over raw bytes, at most."""
_BLOSC_OVER_JP2: Final = 1.2
"""Blosc's bytes over those of lossless JPEG 2000."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Speed of one core."""

    decode: float = 8e6
    """Pixels per second of JPEG 2000."""
    zones: float = 30_000
    """Zones per second laid over a raster."""
    reduce: float = 60e6
    """Pixels per second read from the cube and reduced."""
    composite: float = 40e6
    """Pixels per second read from the cube and composed."""

    def decode_s(self, pixels: int) -> float:
        """Seconds to ingest pixels."""
        return pixels / self.decode

    def index_s(self, zones: int) -> float:
        """Seconds to build the indexes of zones."""
        return 0.5 + zones / self.zones

    def reduce_s(self, pixels: int) -> float:
        """Seconds to reduce pixels."""
        return pixels / self.reduce

    def composite_s(self, pixels: int, methods: Sequence[str]) -> float:
        """Seconds to compose pixels."""
        slow = sum(_SLOW_METHODS.get(method, 0) for method in methods)
        return pixels * (1 + slow) / self.composite


def measured_rates(run_dir: Path) -> Rates:
    """Rates of earlier units of a run; where there are too few, the defaults."""
    entries = read_journal(run_dir) if run_dir.is_dir() else []
    default = Rates()
    return Rates(
        decode=_rate(entries, "ingest", "decoded_pixels") or default.decode,
        reduce=_rate(entries, "reduce", "pixels") or default.reduce,
    )


def _rate(entries: Iterable[Entry], stage: str, metric: str) -> float | None:
    done = [entry for entry in entries if entry.stage == stage and entry.state == "done"]
    count, seconds = sum(e.metrics.get(metric, 0.0) for e in done), sum(e.seconds for e in done)
    return count / seconds if count > _LEAST_PIXELS and seconds > 0 else None


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What a stage will take."""

    stage: Stage
    units: int
    pending: int
    core_hours: float
    """Of the pending units."""
    peak_memory: int
    """Bytes that one process needs at most."""
    workers: int
    """Processes at a time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan will take."""

    stages: tuple[StageEstimate, ...]
    workers: int
    cube_bytes: int
    """Bytes that pending units will write."""
    files: int
    """Files that pending units will write: inodes."""
    free_bytes: int
    """Free on the cube's file system."""
    free_inodes: int | None
    available_memory: int
    composite_bytes: int = 0
    """Bytes that composites, their GeoTIFFs and mosaics must find free."""
    disks: tuple[Disk, ...] = ()
    """All of that, by file system."""

    @property
    def mean_file_bytes(self) -> float:
        """Mean size of a file of the cube."""
        return self.cube_bytes / self.files if self.files else 0.0

    @property
    def peak_memory(self) -> int:
        """Bytes that all workers together need at most."""
        return max((stage.peak_memory * stage.workers for stage in self.stages if stage.pending), default=0)


def estimate(prepared: Prepared, plan: Plan, workers: int) -> Estimate:
    """Estimate what the pending units of a plan will take."""
    spec = prepared.spec
    cube_bytes = files = 0
    for unit in plan.of("ingest"):
        if unit.id in plan.pending:
            cube_bytes += _shard_bytes(prepared, unit)
            files += _shard_files(prepared, unit)
    disk = os.statvfs(existing(spec.path))
    wanted = [
        (composites.files_path(prepared.run.campaign, item), size(prepared, item, plan.pending, workers).total)
        for item in prepared.run.campaign.composites
    ]
    return Estimate(
        stages=tuple(_stage(prepared, plan, stage, workers) for stage in plan.stages),
        workers=workers,
        cube_bytes=cube_bytes,
        files=files,
        free_bytes=disk.f_bavail * disk.f_frsize,
        free_inodes=disk.f_favail or None,
        available_memory=available_memory(),
        composite_bytes=sum(nbytes for _, nbytes in wanted),
        disks=disks([(spec.path, cube_bytes), *wanted]),
    )


def require_fit(wanted: Estimate) -> None:
    """Refuse a plan that cannot fit.

    Raises
    ------
    PlanError
        With the numbers.
    """
    if wanted.peak_memory > wanted.available_memory:
        least = wanted.peak_memory // wanted.workers
        raise PlanError(
            f"the plan needs {format_bytes(wanted.peak_memory)} of memory for {wanted.workers} workers, "
            f"{format_bytes(wanted.available_memory)} are free",
            hint=f"use --workers {max(1, wanted.available_memory // max(1, least))}",
        )
    if wanted.cube_bytes > wanted.free_bytes:
        raise PlanError(
            f"the cube will grow by {format_bytes(wanted.cube_bytes)}, {format_bytes(wanted.free_bytes)} are free",
            hint="choose another `cube.path`, fewer bands, or a shorter period",
        )
    for disk in wanted.disks:
        if disk.wanted_bytes > disk.free_bytes:
            raise PlanError(
                f"cube and composites need {format_bytes(disk.wanted_bytes)} on the file system of {disk.path}, "
                f"{format_bytes(disk.free_bytes)} are free",
                hint="choose another `outputs.path`, fewer methods or periods, or `outputs: {cog: false}`",
            )
    if wanted.free_inodes is not None and wanted.files > wanted.free_inodes:
        raise PlanError(
            f"the cube needs about {wanted.files} files, the file system has {wanted.free_inodes} inodes left",
            hint="set `cube.sharding: true` and more `dates_per_block`",
        )


def workers_of(campaign: Campaign, stage: Stage, workers: int) -> int:
    """Processes at a time of a stage, where hpckit's own stages have so many: steps may want several cores each."""
    step = campaign.step(stage)
    if step is None:
        return workers
    fitting = available_memory() // (step.memory_mib * 2**20 + _LIBRARIES)
    return max(1, min(workers // step.cores, fitting))


def _stage(prepared: Prepared, plan: Plan, stage: Stage, workers: int) -> StageEstimate:
    units = plan.of(stage)
    pending = [unit for unit in units if unit.id in plan.pending]
    hours = sum(unit.cost for unit in pending) / 3600
    memory, at_once = stage_memory(prepared, stage), workers_of(prepared.run.campaign, stage, workers)
    return StageEstimate(stage, len(units), len(pending), hours, memory, at_once)


def unit_memory_mib(process_mib: int) -> int:
    """Memory that a process of so many MiB leaves to the command of a step."""
    return max(16, process_mib - _LIBRARIES // 2**20)


def stage_memory(prepared: Prepared, stage: Stage) -> int:
    """Peak bytes of a process that works through units of a stage."""
    step = prepared.run.campaign.step(stage)
    if step is not None:
        return _LIBRARIES + step.memory_mib * 2**20
    memory = {
        "ingest": ingest_memory,
        "index": index_memory,
        "reduce": reduce_memory,
        "composite": composite_memory,
        "export": export_memory,
    }[stage]
    return memory(prepared)


def ingest_memory(prepared: Prepared) -> int:
    """Peak bytes of a process that ingests: libraries, one row of windows decoded, a block of it compressed."""
    largest = 0
    for tile, acquisitions in prepared.acquisitions.items():
        frame = prepared.frame(tile)
        for ref in prepared.spec.bands:
            rows, columns = frame.shapes[ref.resolution_m]
            row = min(rows, frame.edges[ref.resolution_m]) * columns * np.dtype(ref.dtype).itemsize
            dates = min(prepared.spec.dates_per_block, len(acquisitions))
            # Decoded strip, its harmonised copy (through 32 bits) and OpenJPEG's 32-bit tiles; compressed dates.
            decoded = 6 * row
            if prepared.spec.radar is not None:
                decoded = row * _radar_factor(acquisitions[0].scenes[0].level, ref.resolution_m)
            elif prepared.spec.grid is not None:
                from hpckit.cube.regrid import strip_bytes  # takes time to import, which granules need not wait for

                decoded = strip_bytes(prepared.spec, tile, ref, acquisitions)
            largest = max(largest, decoded + int(row * dates * _COMPRESSED))
    return _LIBRARIES + largest


def _radar_factor(level: str, resolution_m: int) -> int:
    """Peak bytes of resampling a Sentinel-1 product, over those of the strip that it gives (measured)."""
    if level != "GRD":
        return 10
    return 28 * max(1, resolution_m // 10) ** 2  # heights, places and power, all at 10 m


def index_memory(prepared: Prepared) -> int:
    """Peak bytes of a process that builds an index: zones and their pixels, twice while they are saved."""
    return _LIBRARIES + max((2 * _entry_bytes(prepared, r) for r in prepared.run.campaign.signatures), default=0)


def reduce_memory(prepared: Prepared) -> int:
    """Peak bytes of a process that reduces: planes of the largest band, index, and values of derived bands."""
    largest = 0
    for reduction in prepared.run.campaign.signatures:
        entries = _entries(prepared, reduction)
        plane = max(
            rows * columns * 2 for rows, columns in (_finest(prepared, tile)[1] for tile in prepared.acquisitions)
        )
        derived = max((len(Expression.parse(text).bands) for text in reduction.indices.values()), default=0)
        largest = max(largest, plane + 2 * _entry_bytes(prepared, reduction) + entries * (2 * derived + 4 + 3))
    return _LIBRARIES + largest


def composite_memory(prepared: Prepared) -> int:
    """Peak bytes of a process that composes: stacks of a block, or of one chunk of many dates; encoded results."""
    largest = 0
    for composite in prepared.run.campaign.composites:
        dates = max(len(items) for items in prepared.acquisitions.values())
        bands = len(composite.source_bands()) + len(composite.indices)
        grids = [prepared.spec.chunks(ref.resolution_m) for ref in prepared.spec.bands]
        chunk = max(grid.chunk for grid in grids) ** 2 * dates * (2 * bands + 2)
        window = max(grid.window for grid in grids) ** 2
        periods = len(composites.intervals(prepared.run.campaign, composite))
        results = window * 2 * periods * (bands + 2) * len(composite.methods) * _COMPRESSED
        # A joint method stacks the bands once more; kernels hold results of all percentiles in float32.
        largest = max(largest, int(2.2 * max(BLOCK_BYTES, chunk) + results + window * 4 * len(composite.methods)))
    return _LIBRARIES + largest


def export_memory(prepared: Prepared) -> int:
    """Peak bytes of a process that writes GeoTIFFs: rows of windows, and the caches of the writer."""
    return _LIBRARIES + 512 * 2**20


def _entry_bytes(prepared: Prepared, reduction: Signatures) -> int:
    return _entries(prepared, reduction) * (8 if reduction.coverage == "fraction" else 4)


def _entries(prepared: Prepared, reduction: Signatures) -> int:
    """Pixels of the zones of the fullest tile, at the finest resolution: by their areas."""
    layer, assignment = prepared.zones[reduction.name], prepared.assignments[reduction.name]
    most = 0
    for tile in prepared.acquisitions:
        rows = assignment.candidates_of(tile)
        if len(rows):
            epsg = prepared.frame(tile).epsg
            area = shapely.area(project(layer.geometries[rows], pyproj.CRS(layer.crs), epsg)).sum()
            most = max(most, int(area / _finest(prepared, tile)[0] ** 2))
    return most


def _finest(prepared: Prepared, tile: str) -> tuple[int, tuple[int, int]]:
    """Smallest pixels of a tile, metres, and the shape of their rasters."""
    return min(prepared.frame(tile).shapes.items())


def _shard_bytes(prepared: Prepared, unit: Unit) -> int:
    """Bytes that a unit will write: by the sizes of the JPEG 2000 files that it decodes; on a grid by its pixels."""
    tile, key = str(unit.args["tile"]), str(unit.args["band"])
    acquisitions = prepared.acquisitions[tile]
    resolution_m = int(key.partition("@")[2].removesuffix("m"))
    frame = prepared.frame(tile)
    rows, columns = frame.shapes[resolution_m]
    edge = min(frame.edges[resolution_m], rows - int(unit.args["row"]) * frame.edges[resolution_m])
    block = int(unit.args["block"]) * prepared.spec.dates_per_block
    sizes = (
        _file_bytes(scene, key)
        for item in acquisitions[block : block + prepared.spec.dates_per_block]
        for scene in item.scenes
    )
    if prepared.spec.grid is not None:
        itemsize = np.dtype(BandRef(key.partition("@")[0], resolution_m).dtype).itemsize
        return int(edge * columns * itemsize * _dates(prepared, unit) * _COMPRESSED)
    return int(sum(sizes) * min(1.0, edge / rows) * _BLOSC_OVER_JP2)


def _dates(prepared: Prepared, unit: Unit) -> int:
    """Dates of the block of a unit."""
    most = prepared.spec.dates_per_block
    return min(most, len(prepared.acquisitions[str(unit.args["tile"])]) - int(unit.args["block"]) * most)


@lru_cache(maxsize=100_000)
def _size(href: str, name: str) -> int:
    path = Path(href)
    if path.suffix.lower() == ".zip":
        return 0
    try:
        return (path / name).stat().st_size
    except OSError:
        return 0


def _file_bytes(scene: Scene, key: str) -> int:
    if key not in scene.assets:
        return 0
    resolution_m = int(key.partition("@")[2].removesuffix("m"))
    rows, columns = scene.shapes[resolution_m]
    return _size(scene.href, scene.assets[key]) or rows * columns


def _shard_files(prepared: Prepared, unit: Unit) -> int:
    tile, key = str(unit.args["tile"]), str(unit.args["band"])
    resolution_m = int(key.partition("@")[2].removesuffix("m"))
    columns = prepared.frame(tile).windows(resolution_m)[1]
    return int(columns * (1 if prepared.spec.sharding else _dates(prepared, unit)))

"""How long, how much memory, how many bytes and files: what a plan is judged by.

The speed of a core is a figure of each stage: measured (docs/performance.md), or from the journal of the campaign.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from hpckit.base.disks import Disk, disks, existing
from hpckit.base.quantities import available_memory, format_bytes, format_count
from hpckit.base.quotas import Headroom
from hpckit.cubes.stage import Stage
from hpckit.cubes.tiles import Tiles
from hpckit.errors import PlanError
from hpckit.production.fetchable import fetchable, missing_files
from hpckit.production.memory import LIBRARIES
from hpckit.production.planning import Planned
from hpckit.production.quotas import by_quota, require_quota


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What a stage will take."""

    stage: str
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
    keeps_cube: bool = True
    """Whether there is a cube at all."""
    composite_bytes: int = 0
    """Bytes that composites, their GeoTIFFs and mosaics must find free."""
    graph_bytes: int = 0
    """Bytes that results of process graphs, functions and models must find free, stored and as files."""
    disks: tuple[Disk, ...] = ()
    """All of that, by file system."""
    quotas: tuple[tuple[Disk, Headroom], ...] = ()
    """The same by quotas, and what these leave."""
    extent: str = "granule"
    """What chose the windows that are decoded."""
    windows: int = 0
    """Windows that the cube holds, or that zones touch where none is kept, of all tiles and bands."""
    all_windows: int = 0
    """Windows that these tiles have."""
    remote_files: int = 0
    """Files on servers that pending units will read, and of which no copy was fetched."""
    remote_bytes: int = 0
    """Bytes of these files."""

    @property
    def mean_file_bytes(self) -> float:
        """Mean size of a file of the cube."""
        return self.cube_bytes / self.files if self.files else 0.0

    @property
    def peak_memory(self) -> int:
        """Bytes that all workers together need at most."""
        return max((stage.peak_memory * stage.workers for stage in self.stages if stage.pending), default=0)

    def require_fit(self) -> None:
        """Refuse a plan that cannot fit.

        Raises
        ------
        PlanError
            With the numbers.
        """
        if self.peak_memory > self.available_memory:
            least = self.peak_memory // self.workers
            raise PlanError(
                f"the plan needs {format_bytes(self.peak_memory)} of memory for "
                f"{format_count(self.workers, 'worker')}, {format_bytes(self.available_memory)} are free",
                hint=f"use --workers {max(1, self.available_memory // max(1, least))}",
            )
        if self.cube_bytes > self.free_bytes:
            raise PlanError(
                f"the cube will grow by {format_bytes(self.cube_bytes)}, {format_bytes(self.free_bytes)} are free",
                hint="choose another `cube.path`, fewer bands, or a shorter period",
            )
        for disk in self.disks:
            if disk.wanted_bytes > disk.free_bytes:
                raise PlanError(
                    f"cube and results need {format_bytes(disk.wanted_bytes)} on the file system of {disk.path}, "
                    f"{format_bytes(disk.free_bytes)} are free",
                    hint="choose another `outputs.path`, fewer methods or periods, or `outputs: {cog: false}`",
                )
        for disk, room in self.quotas:
            require_quota(disk, room)
        if self.free_inodes is not None and self.files > self.free_inodes:
            raise PlanError(
                f"the cube needs about {format_count(self.files, 'file')}, "
                f"the file system has {self.free_inodes} inodes left",
                hint="set `cube.sharding: true` and more `dates_per_block`",
            )


def estimate(planned: Planned, workers: int) -> Estimate:
    """Estimate what the pending units of a plan will take."""
    tiles, plan, cube = planned.tiles, planned.plan, planned.run.campaign.cube_path
    written = (
        [] if tiles is None else [item for stage in planned.stages for item in stage.writes(tiles, plan, workers)]
    )
    in_cube = [item for item in written if item.what == "cube"]
    disk = os.statvfs(existing(cube))
    windows, all_windows = _windows(tiles)
    sizes = [(item.folder, item.nbytes, item.files) for item in written]
    remote = (
        [] if tiles is None else missing_files(planned.run.campaign.fetched_path, fetchable(tiles, planned.stages))
    )
    return Estimate(
        stages=tuple(_stage(planned, stage, workers) for stage in planned.with_units),
        workers=workers,
        cube_bytes=sum(item.nbytes for item in in_cube),
        files=sum(item.files for item in in_cube),
        free_bytes=disk.f_bavail * disk.f_frsize,
        free_inodes=disk.f_favail or None,
        available_memory=available_memory(),
        keeps_cube=planned.run.campaign.cube.keep,
        composite_bytes=sum(item.nbytes for item in written if item.what not in ("cube", "graphs", "copies")),
        graph_bytes=sum(item.nbytes for item in written if item.what == "graphs"),
        disks=disks(sizes),
        quotas=by_quota(sizes),
        extent=planned.run.campaign.cube.windows_by,
        windows=windows,
        all_windows=all_windows,
        remote_files=len(remote),
        remote_bytes=sum(file.most for file in remote),
    )


def workers_of(stage: Stage, workers: int) -> int:
    """Concurrent processes for a stage: `workers`, or fewer where its units use several cores, or much memory."""
    if stage.memory_mib is None:
        return workers
    fitting = available_memory() // (stage.memory_mib * 2**20 + LIBRARIES)
    return max(1, min(workers // (stage.cores or 1), fitting))


def stage_memory(stage: Stage, tiles: Tiles | None) -> int:
    """Peak bytes of a process that works through units of a stage."""
    if stage.memory_mib is not None:
        return LIBRARIES + stage.memory_mib * 2**20
    assert tiles is not None
    return LIBRARIES + stage.memory(tiles)


def _windows(tiles: Tiles | None) -> tuple[int, int]:
    """Windows that a cube holds, and all of its tiles and bands."""
    if tiles is None:
        return 0, 0
    held = [tiles.windows(tile, ref) for tile in tiles.acquisitions for ref in tiles.spec.bands]
    return sum(int(windows.sum()) for windows in held), sum(windows.size for windows in held)


def _stage(planned: Planned, stage: Stage, workers: int) -> StageEstimate:
    units = planned.plan.of(stage.name)
    pending = [unit for unit in units if unit.id in planned.plan.pending]
    hours = sum(unit.cost for unit in pending) / 3600
    memory = stage_memory(stage, planned.tiles)
    return StageEstimate(stage.name, len(units), len(pending), hours, memory, workers_of(stage, workers))

"""Trials: a function or model is called on one block before its units are planned, and what is wrong is said then."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from hpckit.base.files import digest_json, write_json
from hpckit.base.quantities import format_bytes
from hpckit.errors import CubeError, UserCodeError
from hpckit.processgraph.cube import Cube
from hpckit.reduce.blocks.function import FunctionBlocks
from hpckit.reduce.blocks.job import BLOCKS, LOAD, Blocks
from hpckit.reduce.blocks.predict import PredictBlocks
from hpckit.reduce.graphs.job import Job
from hpckit.space.box import Box

EDGE: Final = 256
"""Of a block of a trial, in pixels."""
_LEAST_BYTES: Final = 64 * 2**20
"""Memory from which on a measurement says something."""


@dataclass(frozen=True)
class Trial:
    """What a function or model made of a block."""

    data: Cube
    made: Cube
    bytes_per_pixel: float
    """Memory beside the block itself; 0 where it is little, or not known."""


def require_tried(job: Job, folder: Path, budget: int, pixels: float) -> None:
    """Call a function or model on a block, if it was not tried since code, model, options or input changed.

    Parameters
    ----------
    folder : Path
        Where notes of trials lie.
    budget : int
        Bytes that one window may take.
    pixels : float
        Of the largest window.

    Raises
    ------
    UserCodeError
        If it fails, gives back something unfit, other numbers the second time, or takes too much memory.
    """
    blocks = blocks_of(job)
    key = digest_json([blocks.identity, job.inputs, budget, pixels])[:16]
    note = folder / f"{blocks.reduction.name}-{key}.json"
    if note.exists():
        return
    trial = tried(job, centre(job))
    require_memory(trial, budget, pixels, blocks.name)
    write_json(note, {"bytes_per_pixel": trial.bytes_per_pixel})


def blocks_of(job: Job) -> Blocks:
    """The function or model of a job."""
    found = job.blocks[BLOCKS]
    assert isinstance(found, FunctionBlocks | PredictBlocks)
    return found


def centre(job: Job, edge: int = EDGE) -> Box:
    """A block in the middle of the result."""
    rows, columns = job.outputs[0].type.grid.shape
    top, left = max(0, (rows - edge) // 2), max(0, (columns - edge) // 2)
    return Box(top, left, top + edge, left + edge).within((rows, columns))


def tried(job: Job, box: Box) -> Trial:
    """Call a function or model on a block twice, the second time for memory and sameness.

    Raises
    ------
    UserCodeError
        If it fails, gives back something unfit, or other numbers the second time.
    """
    blocks = blocks_of(job)
    grown = box.grown(blocks.reduction.halo if isinstance(blocks, FunctionBlocks) else 0)
    try:
        data = job.evaluation.result_of(LOAD, grown)
    except CubeError:
        data = _made_up(job.evaluation.type_of(LOAD), grown)  # what it reads is made by the same run
    before = replace(data, values=data.values.copy())
    made = blocks.made(data)
    _start_peak()
    resident = _status("VmRSS")
    again = blocks.made(before)
    peak = _status("VmHWM") - resident
    if not np.array_equal(made.values, again.values, equal_nan=made.values.dtype.kind == "f"):
        raise UserCodeError(
            f"{blocks.name} gave other numbers for the same block the second time",
            hint="keep no state between blocks, and seed random numbers: blocks are computed in any order, in many "
            "processes, and again after faults",
            kind="output",
        )
    pixels = box.shape[0] * box.shape[1]
    return Trial(data, made, peak / pixels if peak > _LEAST_BYTES else 0.0)


def require_memory(trial: Trial, budget: int, pixels: float, name: str) -> None:
    """Refuse what would take more memory for a window than was declared.

    Raises
    ------
    UserCodeError
        With the memory that it would take.
    """
    needed = int(trial.bytes_per_pixel * pixels)
    if needed > budget:
        raise UserCodeError(
            f"{name} would take {format_bytes(needed)} for a window of {int(pixels):,} pixels, as it did for a block "
            f"of the trial, and `memory_mib` declares {format_bytes(budget)}",
            hint=f"declare {needed // 2**20 + 1} in `memory_mib`, or let it make fewer copies of its block",
            kind="memory",
        )


def _made_up(kind: Cube, box: Box) -> Cube:
    """Numbers between 0 and 1 in place of a composite that is not made yet."""
    shape = (*(len(dim.labels) for dim in kind.dims[:2]), *box.shape)
    values = np.random.default_rng(0).random(shape, np.float32)
    return replace(kind, values=values, box=box)


def _start_peak() -> None:
    """Measure the most memory of this process from now on, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    """Bytes of a line of the process's status; 0 where there is none."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0

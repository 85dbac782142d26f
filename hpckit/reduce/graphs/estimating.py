"""What a graph will cost: from the types of its nodes, without reading a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hpckit.cubes.ingest_stage import PIXELS_PER_S
from hpckit.reduce.graphs.job import Job, Output
from hpckit.reduce.graphs.ondemand.wants import lacking, wants_of

BYTES_PER_S: Final = 400e6
"""That the nodes of a graph make, by one core."""
UNIT_S: Final = 0.05
"""To begin a unit."""


@dataclass(frozen=True, slots=True)
class GraphEstimate:
    """What a graph will cost."""

    seconds: float
    """Of one core."""
    bytes: float
    """Of the results, not compressed."""
    pixels: float
    """Of the results: of rasters of one plane, of vector cubes of what is read around geometries."""
    memory_bytes: float
    """For each pixel that is computed at once."""
    lowered: tuple[str, ...] = ()
    """Nodes that stand for patterns which hpckit computes in a faster way, and how."""


def estimate(job: Job) -> GraphEstimate:
    """Estimate all results of a graph.

    Raises
    ------
    GraphError
        The first fault of types.
    """
    parts = [(_pixels(job, output), job.shape(output)) for output in job.outputs]
    return GraphEstimate(
        seconds=UNIT_S
        + sum(pixels * shape.nbytes / BYTES_PER_S for pixels, shape in parts)
        + sum(want.pixels for want in lacking(wants_of(job))) / PIXELS_PER_S,
        bytes=sum(_bytes(output, pixels) for output, (pixels, _) in zip(job.outputs, parts, strict=True)),
        pixels=sum(pixels for pixels, _ in parts),
        memory_bytes=max(shape.nbytes for _, shape in parts),
        lowered=() if job.lowered is None else tuple(job.lowered.describe()),
    )


def _pixels(job: Job, output: Output) -> float:
    if output.is_raster:
        rows, columns = output.type.grid.shape
        return float(rows * columns)
    return float(
        max((rows * columns for rows, columns in (s.grid.shape for s in job.environment.sources)), default=1)
    )


def _bytes(output: Output, pixels: float) -> float:
    kind = output.type
    if output.is_raster:
        planes = 1
        for dim in kind.dims:
            planes *= 1 if dim.kind == "spatial" else max(1, len(dim.labels))
        return float(pixels * planes * kind.values.dtype.itemsize)
    if output.is_vector:
        values = len(kind.geometries)
        for dim in kind.dims:
            values *= 1 if dim.kind == "geometry" else max(1, len(dim.labels))
        return float(values * 8)
    return 1000.0

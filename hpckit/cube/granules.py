"""Ingest of granules as they are: windows of the product's own tiles, decoded once and never resampled."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from hpckit.cube.layout import CubeSpec
from hpckit.cube.occupancy import Occupancy, mask_band, occupancy
from hpckit.cube.source import open_band, read_window, verify_file
from hpckit.scenes.bands import WINDOW
from hpckit.scenes.model import Acquisition, Scene

if TYPE_CHECKING:
    from hpckit.cube.ingest import IngestResult, IngestUnit


def decode_windows(
    spec: CubeSpec, unit: IngestUnit, acquisition: Acquisition, columns: Collection[int], result: IngestResult
) -> dict[int, npt.NDArray[Any]]:
    """Decode windows of a unit's row, by column; those that hold nothing, or too many clouds, are left out.

    Raises
    ------
    SceneError
        If a file cannot be read.
    """
    decoded: dict[int, npt.NDArray[Any]] = {}
    cloudy = _too_cloudy(spec, unit, acquisition)
    for scene in acquisition.scenes:
        occupied = _occupancy(spec, unit, scene).occupied[unit.row]
        needed = [
            column
            for column in columns
            if occupied[column] and not cloudy[column] and not _is_full(decoded.get(column))
        ]
        _merge(decoded, _decode_scene(spec, unit, scene, needed, result))
    return decoded


def _too_cloudy(spec: CubeSpec, unit: IngestUnit, acquisition: Acquisition) -> npt.NDArray[np.bool_]:
    """Windows of the unit's row to leave out for their clouds; masks themselves are always kept."""
    rows = [_occupancy(spec, unit, scene).clear[unit.row] for scene in acquisition.scenes]
    if spec.skip_cloudy is None or unit.band.band.kind in ("class", "probability"):
        return np.zeros(len(rows[0]), dtype=bool)
    hidden: npt.NDArray[np.bool_] = 1 - np.sum(rows, axis=0) >= spec.skip_cloudy
    return hidden


def _occupancy(spec: CubeSpec, unit: IngestUnit, scene: Scene) -> Occupancy:
    """Which windows hold data, by a mask that is verified where bands are: it decides what is not decoded."""
    mask = mask_band(scene)
    if spec.verify and mask is not None:
        verify_file(scene, mask.key)
    return occupancy(scene, unit.band.resolution_m)


def _is_full(window: npt.NDArray[Any] | None) -> bool:
    return window is not None and bool(window.all())


def _merge(decoded: dict[int, npt.NDArray[Any]], more: dict[int, npt.NDArray[Any]]) -> None:
    """The first valid pixel wins."""
    for column, window in more.items():
        first = decoded.get(column)
        decoded[column] = window if first is None else np.where(first == 0, window, first)


def _decode_scene(
    spec: CubeSpec, unit: IngestUnit, scene: Scene, columns: Sequence[int], result: IngestResult
) -> dict[int, npt.NDArray[Any]]:
    """Decode windows of one file, several neighbours at a time."""
    if not columns:
        return {}
    if spec.verify:
        verify_file(scene, unit.band.key)
    edge = WINDOW[unit.band.resolution_m]
    decoded: dict[int, npt.NDArray[Any]] = {}
    start = time.perf_counter()
    with open_band(scene, unit.band) as source:
        height = min(edge, source.height - unit.row * edge)
        for first, last in runs(sorted(columns)):
            width = min((last + 1) * edge, source.width) - first * edge
            strip = read_window(source, scene, unit.band, Window(first * edge, unit.row * edge, width, height))
            result.decoded_pixels += strip.size
            for column in range(first, last + 1):
                decoded[column] = strip[:, (column - first) * edge : (column - first + 1) * edge]
    result.decode_s += time.perf_counter() - start
    return decoded


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    start = previous = numbers[0]
    for number in numbers[1:]:
        if number != previous + 1:
            yield start, previous
            start = number
        previous = number
    yield start, previous

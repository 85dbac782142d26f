"""Windows of an acquisition on the pixels of a tile, straight from its products: for the cube, or instead of one."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.catalogue.holdings import is_without
from hpckit.cubes.layout import CubeSpec
from hpckit.errors import SceneError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition
from hpckit.sensors.reader import WindowAnswer, WindowRequest
from hpckit.space.windows import Windows


def decode_row(
    spec: CubeSpec, tile: str, ref: BandRef, row: int, columns: Collection[int], acquisition: Acquisition
) -> WindowAnswer:
    """Windows of a row of a tile: those of the granule, or resampled onto the grid.

    Scenes that were made without the band have no pixels to give.

    Raises
    ------
    SceneError
        If a file cannot be read.
    """
    resampled = spec.grid.resampled
    scenes = tuple(scene for scene in acquisition.scenes if not is_without(scene, ref, resampled=resampled))
    if not scenes:
        return WindowAnswer()
    acquisition = replace(acquisition, scenes=scenes)
    frame = spec.frame(tile, (acquisition,))
    return spec.sensor.read_windows(WindowRequest(frame, ref, row, columns, acquisition, spec.reading))


@dataclass(slots=True)
class DecodedPlane:
    """One date of a band of a tile, in the windows that were asked for."""

    pixels: npt.NDArray[Any]
    """Stored integers, shape (rows, columns); 0 where there is no data, and in other windows."""
    failed: Windows
    """Windows that could not be decoded: 0 in them does not say that there is no data."""
    reasons: set[str] = field(default_factory=set)
    """Why."""
    decoded_pixels: int = 0
    decode_s: float = 0.0


def decode_plane(
    spec: CubeSpec, tile: str, ref: BandRef, acquisition: Acquisition, windows: Windows, *, threads: int = 1
) -> DecodedPlane:
    """Decode windows of one date of a band, each once.

    Parameters
    ----------
    windows : ndarray of bool, shape (window rows, window columns)
        Only these; the others take no memory until touched.
    threads : int
        Rows of windows that are decoded at a time.
    """
    frame = spec.frame(tile, (acquisition,))
    edge, shape = frame.edges[ref.resolution_m], frame.shapes[ref.resolution_m]
    plane = DecodedPlane(np.zeros(shape, dtype=ref.dtype), np.zeros(windows.shape, np.bool_))

    def decode(row: int) -> WindowAnswer | SceneError:
        try:
            answer = decode_row(spec, tile, ref, row, np.flatnonzero(windows[row]).tolist(), acquisition)
        except SceneError as error:
            return error
        for column, pixels in answer.windows.items():
            top, left = row * edge, column * edge
            plane.pixels[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        answer.windows.clear()
        return answer

    rows = np.flatnonzero(windows.any(axis=1)).tolist()
    with ThreadPoolExecutor(threads) as pool:
        for row, answer in zip(rows, map(decode, rows) if threads == 1 else pool.map(decode, rows), strict=True):
            if isinstance(answer, SceneError):
                plane.failed[row] = windows[row]
                plane.reasons.add(str(answer))
            else:
                plane.decoded_pixels += answer.decoded_pixels
                plane.decode_s += answer.decode_s
    return plane

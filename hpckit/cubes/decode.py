"""Windows of an acquisition on the pixels of a tile, straight from its products: for the cube, or instead of one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.catalogue.holdings import is_without
from hpckit.cubes.held import pixels
from hpckit.cubes.layout import CubeSpec
from hpckit.errors import CubeError, CubeUnavailableError, SceneError, is_temporary
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition
from hpckit.sensors.parts import windows_of
from hpckit.sensors.reader import Needed, WindowAnswer, WindowRequest
from hpckit.space.windows import Windows

_AHEAD: Final = 2
"""Dates that are read from servers while another one is compressed."""
_NAMED: Final = 5
"""Reasons that one sentence names."""


def decode_row(
    spec: CubeSpec,
    tile: str,
    ref: BandRef,
    row: int,
    columns: Collection[int],
    acquisition: Acquisition,
    needed: Needed | None = None,
) -> WindowAnswer:
    """Windows of a row of a tile: those of the granule, or resampled onto the grid.

    Scenes that were made without the band have no pixels to give.

    Parameters
    ----------
    needed : Needed, optional
        Pixels that are needed, if these are not all.

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
    return spec.sensor.read_windows(WindowRequest(frame, ref, row, columns, acquisition, spec.reading, needed))


def reads_ahead(ref: BandRef, acquisitions: Iterable[Acquisition]) -> int:
    """How many dates are read before they are asked for: none, unless servers take their time to answer."""
    key = ref.key
    assets = (scene.assets.get(key) for date in acquisitions for scene in date.scenes)
    return _AHEAD if any(asset is not None and asset.is_remote for asset in assets) else 0


def in_turn(calls: Sequence[Callable[[], WindowAnswer]], ahead: int) -> Iterator[WindowAnswer | SceneError]:
    """Answers of calls, or why there is none, in their order.

    Parameters
    ----------
    ahead : int
        How many of the next calls are made, in threads, before their answer is asked for.
    """
    if not ahead:
        yield from map(_tried, calls)
        return
    with ThreadPoolExecutor(ahead) as pool:
        waiting: deque[Future[WindowAnswer | SceneError]] = deque()
        for call in calls:
            waiting.append(pool.submit(_tried, call))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _tried(call: Callable[[], WindowAnswer]) -> WindowAnswer | SceneError:
    try:
        return call()
    except SceneError as error:
        return error


@dataclass(slots=True)
class DecodedPlane:
    """One date of a band of a tile, in the windows that were asked for."""

    pixels: npt.NDArray[Any]
    """Stored integers, shape (rows, columns); right where it was needed, and 0 where there is no data."""
    failed: Windows
    """Windows that could not be decoded: 0 in them does not say that there is no data."""
    faults: dict[str, SceneError] = field(default_factory=dict)
    """Why, by the text."""
    window_pixels: int = 0
    """Of the windows that hold something which is needed."""
    decoded_pixels: int = 0
    decode_s: float = 0.0

    def error(self, what: str, *, hint: str | None = None) -> CubeError:
        """What to raise for windows that could not be decoded: a temporary error if all reasons may pass."""
        message = f"{what}: {'; '.join(sorted(self.faults)[:_NAMED])}"
        passes = all(map(is_temporary, self.faults.values()))
        return (CubeUnavailableError if passes else CubeError)(message, hint=hint)


def decode_plane(
    spec: CubeSpec, tile: str, ref: BandRef, acquisition: Acquisition, needed: Needed, *, threads: int = 1
) -> DecodedPlane:
    """Decode what is needed of one date of a band: each window once, or parts of it.

    Parameters
    ----------
    needed : Needed
        Other windows take no memory until touched.
    threads : int
        Rows of windows that are decoded at a time.
    """
    frame = spec.frame(tile, (acquisition,))
    edge, shape = frame.edges[ref.resolution_m], frame.shapes[ref.resolution_m]
    windows = windows_of(needed.cells, edge // needed.edge, frame.windows(ref.resolution_m))
    plane = DecodedPlane(np.zeros(shape, dtype=ref.dtype), np.zeros(windows.shape, np.bool_))
    plane.window_pixels = pixels(frame, windows, ref.resolution_m)

    def decode(row: int) -> WindowAnswer | SceneError:
        try:
            answer = decode_row(spec, tile, ref, row, np.flatnonzero(windows[row]).tolist(), acquisition, needed)
        except SceneError as error:
            return error
        for column, window in answer.windows.items():
            top, left = row * edge, column * edge
            plane.pixels[top : top + window.shape[0], left : left + window.shape[1]] = window
        answer.windows.clear()
        return answer

    rows = np.flatnonzero(windows.any(axis=1)).tolist()
    with ThreadPoolExecutor(threads) as pool:
        for row, answer in zip(rows, map(decode, rows) if threads == 1 else pool.map(decode, rows), strict=True):
            if isinstance(answer, SceneError):
                plane.failed[row] = windows[row]
                plane.faults[str(answer)] = answer
            else:
                plane.decoded_pixels += answer.decoded_pixels
                plane.decode_s += answer.decode_s
    return plane

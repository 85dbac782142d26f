"""Ingest of granules as they are: windows of the product's own tiles, decoded once and never resampled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from hpckit.sensors.masks import MaskBand
from hpckit.sensors.model import Scene
from hpckit.sensors.occupancy import Occupancy, mask_ref, occupancy
from hpckit.sensors.parts import Rectangle, can_be_cut
from hpckit.sensors.reader import WindowAnswer, WindowRequest, runs
from hpckit.sensors.source import open_band, read_window
from hpckit.sensors.verified import verify_file


def decode_windows(request: WindowRequest, mask: MaskBand | None) -> WindowAnswer:
    """Decode windows of a granule; those that hold nothing, or too many clouds, are left out.

    Parameters
    ----------
    mask : MaskBand, optional
        Band of the products that tells of clouds and of pixels without data.

    Raises
    ------
    SceneError
        If a file cannot be read.
    """
    answer = WindowAnswer()
    decoded, cloudy = answer.windows, _too_cloudy(request, mask)
    for scene in request.acquisition.scenes:
        occupied = _occupancy(request, scene, mask).occupied[request.row]
        needed = [
            column
            for column in request.columns
            if occupied[column] and not cloudy[column] and not _is_full(decoded.get(column))
        ]
        _merge(decoded, _decode_scene(request, scene, needed, answer))
    return answer


def _too_cloudy(request: WindowRequest, mask: MaskBand | None) -> npt.NDArray[np.bool_]:
    """Windows of the row to leave out for their clouds; masks themselves are always kept."""
    rows = [_occupancy(request, scene, mask).clear[request.row] for scene in request.acquisition.scenes]
    skip_cloudy = request.treatment.skip_cloudy
    if skip_cloudy is None or request.band.band.is_mask:
        return np.zeros(len(rows[0]), dtype=bool)
    hidden: npt.NDArray[np.bool_] = 1 - np.sum(rows, axis=0) >= skip_cloudy
    return hidden


def _occupancy(request: WindowRequest, scene: Scene, mask: MaskBand | None) -> Occupancy:
    """Which windows hold data, by a mask that is verified where bands are: it decides what is not decoded."""
    ref = mask_ref(scene, mask)
    if request.treatment.verify and ref is not None:
        verify_file(scene, ref.key)
    resolution_m = request.band.resolution_m
    return occupancy(scene, resolution_m, request.frame.edges[resolution_m], mask)


def _is_full(window: npt.NDArray[Any] | None) -> bool:
    return window is not None and bool(window.all())


def _merge(decoded: dict[int, npt.NDArray[Any]], more: dict[int, npt.NDArray[Any]]) -> None:
    """The first valid pixel wins."""
    for column, window in more.items():
        first = decoded.get(column)
        decoded[column] = window if first is None else np.where(first == 0, window, first)


def _decode_scene(
    request: WindowRequest, scene: Scene, columns: Sequence[int], answer: WindowAnswer
) -> dict[int, npt.NDArray[Any]]:
    """Decode windows of one file, several neighbours at a time."""
    if not columns:
        return {}
    if request.treatment.verify:
        verify_file(scene, request.band.key)
    edge = request.frame.edges[request.band.resolution_m]
    decoded: dict[int, npt.NDArray[Any]] = {}
    start = time.perf_counter()
    parts = _parts(request, scene, columns)
    with open_band(scene, request.band, pixels=len(columns) * edge**2) as source:
        height = min(edge, source.height - request.row * edge)
        for column, rectangles in parts.items():
            width = min((column + 1) * edge, source.width) - column * edge
            window = np.zeros((height, width), dtype=request.band.dtype)
            for rows, along in rectangles:
                place = Window(along.start, rows.start, along.stop - along.start, rows.stop - rows.start)
                strip = read_window(source, scene, request.band, place)
                top, left = rows.start - request.row * edge, along.start - column * edge
                window[top : top + strip.shape[0], left : left + strip.shape[1]] = strip
                answer.decoded_pixels += strip.size
            decoded[column] = window
        for first, last in runs(sorted(set(columns) - parts.keys())):
            width = min((last + 1) * edge, source.width) - first * edge
            strip = read_window(source, scene, request.band, Window(first * edge, request.row * edge, width, height))
            answer.decoded_pixels += strip.size
            for column in range(first, last + 1):
                decoded[column] = strip[:, (column - first) * edge : (column - first + 1) * edge]
    answer.decode_s += time.perf_counter() - start
    return decoded


def _parts(request: WindowRequest, scene: Scene, columns: Sequence[int]) -> dict[int, list[Rectangle]]:
    """Windows of which single parts are decoded, since few of their pixels are needed."""
    asset = scene.assets.get(request.band.key)
    if request.needed is None or asset is None or not can_be_cut(asset):
        return {}
    edge, shape = request.frame.edges[request.band.resolution_m], request.frame.shapes[request.band.resolution_m]
    rows = slice(request.row * edge, min((request.row + 1) * edge, shape[0]))
    found = {}
    for column in columns:
        cut = request.needed.rectangles(rows, slice(column * edge, min((column + 1) * edge, shape[1])))
        if cut is not None:
            found[column] = cut
    return found

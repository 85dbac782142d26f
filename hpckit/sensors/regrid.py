"""Ingest onto a grid: windows of tiles, resampled once from the granules of a pass that cover them.

The granules of a pass come in the order in which they win. Each later one is decoded only around the pixels that
are still missing, at the resolution that suffices, and is not even opened where none are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.windows import Window

from hpckit.errors import SceneError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.masks import MaskBand, flagged
from hpckit.sensors.model import Acquisition, Asset, Scene
from hpckit.sensors.parts import Rectangle, can_be_cut
from hpckit.sensors.reader import Treatment, WindowAnswer, WindowRequest, runs
from hpckit.sensors.source import open_band, read_window
from hpckit.sensors.verified import verify_file
from hpckit.space.frame import Frame
from hpckit.space.warp import needed, transformer, warp

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from hpckit.space.warp import Resampling

_NODATA: Final = 0
_AT_ONCE: Final = 2**24
"""Pixels of a file that are decoded at a time."""
_DECODED_BYTES: Final = 4
_DECODER_BYTES: Final = 16 * 2**20
"""Of a JPEG 2000 tile while it is decoded: the codestream, and coefficients; control points. As measured."""
_FAR_M: Final = 1e7
"""Farther than any granule reaches."""
_MASK_M: Final = 60
"""Pixels at which clouds are counted, metres, where the window's are finer."""


def resample_windows(request: WindowRequest, mask: MaskBand | None) -> WindowAnswer:
    """Resample windows onto a grid; those that hold nothing, or too many clouds, are left out.

    Parameters
    ----------
    mask : MaskBand, optional
        Band of the products that tells of clouds and of pixels without data.

    Raises
    ------
    SceneError
        If a file cannot be read.
    """
    resolution_m, answer = request.band.resolution_m, WindowAnswer()
    box, edge = request.frame.geobox(resolution_m), request.frame.edges[resolution_m]
    rows = slice(request.row * edge, min((request.row + 1) * edge, box.shape[0]))
    clear = [
        column
        for column in sorted(request.columns)
        if not _too_cloudy(request, mask, box[rows, column * edge : (column + 1) * edge])
    ]
    parts = _parts(request, rows, clear)
    for column, rectangles in parts.items():
        right = min((column + 1) * edge, box.shape[1])
        window = np.zeros((rows.stop - rows.start, right - column * edge), dtype=request.band.dtype)
        for down, along in rectangles:
            pixels = _resample(request.treatment, request.band, request.acquisition, box[down, along], answer)
            top, left = down.start - rows.start, along.start - column * edge
            window[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        if window.any():
            answer.windows[column] = window
    for first, last in runs([column for column in clear if column not in parts]):
        part = box[rows, first * edge : min((last + 1) * edge, box.shape[1])]
        pixels = _resample(request.treatment, request.band, request.acquisition, part, answer)
        for column in range(first, last + 1):
            window = pixels[:, (column - first) * edge : (column - first + 1) * edge]
            if window.any():
                answer.windows[column] = window
    return answer


def _parts(request: WindowRequest, rows: slice, columns: Sequence[int]) -> dict[int, list[Rectangle]]:
    """Windows of which single parts are resampled, since few of their pixels are needed."""
    ref, shape = request.band, request.frame.shapes[request.band.resolution_m]
    scenes = [scene for scene in request.acquisition.scenes if scene.sizes(ref.name)]
    if request.needed is None or not all(can_be_cut(scene.assets[source_band(scene, ref).key]) for scene in scenes):
        return {}
    edge, found = request.frame.edges[ref.resolution_m], {}
    for column in columns:
        cut = request.needed.rectangles(rows, slice(column * edge, min((column + 1) * edge, shape[1])))
        if cut is not None:
            found[column] = cut
    return found


def strip_bytes(frame: Frame, ref: BandRef, acquisitions: Sequence[Acquisition]) -> int:
    """Peak bytes of resampling a row of windows: the row, and what is decoded for it of one granule.

    A decoded pixel takes 32 bits in the decoder, beside those that the file has.
    """
    rows, columns = frame.shapes[ref.resolution_m]
    rows = min(rows, frame.edges[ref.resolution_m])
    left, _, right, top = frame.bounds
    bounds = (left, top - rows * ref.resolution_m, right, top)
    itemsize, most = np.dtype(ref.dtype).itemsize, 0
    for (_, crs), asset in _sources(acquisitions, ref).items():
        spans = _spans(bounds, frame.epsg, crs)
        edges = (abs(asset.transform[4]), abs(asset.transform[0]))
        sizes = zip(asset.shape, spans, edges, strict=True)
        most = max(most, prod(min(size, int(span / edge)) + 1 for size, span, edge in sizes))
    most = min(most, 2 * _AT_ONCE)
    return rows * columns * itemsize + most * (_DECODED_BYTES + itemsize) + _DECODER_BYTES


def _sources(acquisitions: Sequence[Acquisition], ref: BandRef) -> dict[tuple[int, str], Asset]:
    """Of the files that a band is made from, one of each pixel size and CRS."""
    found = {}
    for scene in (scene for item in acquisitions for scene in item.scenes):
        if scene.sizes(ref.name):  # else its unit reports it
            source = source_band(scene, ref)
            found[source.resolution_m, scene.assets[source.key].crs] = scene.assets[source.key]
    return found


@lru_cache(maxsize=256)
def _spans(bounds: tuple[float, float, float, float], epsg: int, source_crs: str) -> tuple[float, float]:
    """What a rectangle spans in the CRS of a source, in its units, downwards and across."""
    left, bottom, right, top = transformer(f"EPSG:{epsg}", source_crs).transform_bounds(*bounds)
    spans = (top - bottom, right - left)
    return spans if np.isfinite(spans).all() else (_FAR_M, _FAR_M)


def method(ref: BandRef, resampling: Resampling) -> Resampling:
    """How a band is resampled: classes and probabilities are looked up, never mixed."""
    return "nearest" if ref.band.is_mask else resampling


def source_band(scene: Scene, ref: BandRef) -> BandRef:
    """Coarsest file of a band whose pixels are no larger than the target's; else the finest.

    Raises
    ------
    SceneError
        If the product lacks the band.
    """
    found = scene.sizes(ref.name)
    if not found:
        raise SceneError(f"{scene.id}: the product has no band {ref.name}")
    return ref.at(max((size for size in found if size <= ref.resolution_m), default=found[0]))


def _resample(
    treatment: Treatment, ref: BandRef, acquisition: Acquisition, target: GeoBox, answer: WindowAnswer
) -> npt.NDArray[Any]:
    """Pixels of a band; the first granule that has one gives it."""
    how = method(ref, treatment.onto or "nearest")
    pixels = np.zeros(tuple(target.shape), dtype=ref.dtype)
    for scene in acquisition.scenes:
        missing = _missing(pixels)
        if missing is None:
            break
        source = source_band(scene, ref)
        # Cheap, and spares opening the file.
        if needed(scene.assets[source.key].geobox, target[missing], how) is None:
            continue
        if treatment.verify:
            verify_file(scene, source.key)
        for rows in _at_once(scene, source, target, missing, how):
            start = time.perf_counter()
            read = _read(scene, source, target[rows, missing[1]], how)
            answer.decode_s += time.perf_counter() - start
            if read is not None:
                values, box = read
                answer.decoded_pixels += values.size
                warp(values, box, target[rows], how, nodata=_NODATA, out=pixels[rows])
    return pixels


def _at_once(
    scene: Scene, source: BandRef, target: GeoBox, missing: tuple[slice, slice], how: Resampling
) -> Iterator[slice]:
    """Rows of the missing part for which a bounded number of pixels is decoded: large pixels hold many small ones."""
    rows = missing[0]
    part = needed(scene.assets[source.key].geobox, target[missing], how)
    pixels = 0 if part is None else prod(along.stop - along.start for along in part)
    count = max(1, (rows.stop - rows.start) // -(-pixels // _AT_ONCE) if pixels else rows.stop - rows.start)
    for first in range(rows.start, rows.stop, count):
        yield slice(first, min(first + count, rows.stop))


def _missing(pixels: npt.NDArray[Any]) -> tuple[slice, slice] | None:
    """Smallest part of an array that holds all its pixels without data; None if there are none."""
    gaps = pixels == _NODATA
    rows = np.flatnonzero(gaps.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(gaps.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _read(scene: Scene, source: BandRef, target: GeoBox, how: Resampling) -> tuple[npt.NDArray[Any], GeoBox] | None:
    """Decode what a target needs of a file, with its place; None if that is nothing.

    Always all of its pixels: at a reduced level of JPEG 2000 the wavelet has mixed pixels without data, of which a
    single one is enough, with their neighbours, and nothing tells where.
    """
    box = scene.assets[source.key].geobox
    part = needed(box, target, how)
    if part is None:
        return None
    rows, columns = part
    window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    with open_band(scene, source, pixels=window.height * window.width) as file:
        return read_window(file, scene, source, window), box[part]


def _too_cloudy(request: WindowRequest, mask: MaskBand | None, window: GeoBox) -> bool:
    """Whether a window is left out for its clouds; masks themselves are always kept."""
    ref, treatment = request.band, request.treatment
    if mask is None or treatment.skip_cloudy is None or ref.band.is_mask:
        return False
    return _hidden(request.acquisition, mask, treatment.verify, window, ref.resolution_m) >= treatment.skip_cloudy


def coarse_mask(mask: MaskBand, resolution_m: int) -> BandRef:
    """Band and pixel size by which clouds are counted in windows whose pixels have `resolution_m` metres."""
    return BandRef(mask.name, resolution_m * max(1, _MASK_M // resolution_m), mask.band)


@lru_cache(maxsize=4096)
def _hidden(acquisition: Acquisition, mask: MaskBand, verify: bool, window: GeoBox, resolution_m: int) -> float:
    """Fraction of a window that is cloud or nodata; 0 where a product has no readable mask."""
    from odc.geo.geobox import GeoBox  # imports dask

    ref = coarse_mask(mask, resolution_m)
    factor = ref.resolution_m // resolution_m
    rows, columns = (-(-size // factor) for size in window.shape)
    coarse = GeoBox((rows, columns), window.transform * Affine.scale(factor), window.crs)
    found = np.zeros(tuple(coarse.shape), dtype=ref.dtype)
    try:
        for scene in acquisition.scenes:
            source = source_band(scene, ref)
            if verify:
                verify_file(scene, source.key)
            read = _read(scene, source, coarse, "nearest")
            if read is not None:
                warp(*read, coarse, "nearest", nodata=_NODATA, out=found)
    except SceneError:
        return 0.0  # a broken mask spares no decoding
    return float(flagged(mask.band, found, (*mask.empty, *mask.clouds)).mean())

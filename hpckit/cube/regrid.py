"""Ingest onto a grid: windows of tiles, resampled once from the granules of a pass that cover them.

The granules of a pass come in the order in which they win. Each later one is decoded only around the pixels that
are still missing, at the resolution that suffices, and is not even opened where none are.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from functools import lru_cache
from math import ceil, log2, prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from hpckit.cube.granules import runs
from hpckit.cube.layout import CubeSpec
from hpckit.cube.occupancy import HIDDEN
from hpckit.cube.source import open_band, read_window, verify_file
from hpckit.cube.warp import needed, transformer, warp
from hpckit.errors import SceneError
from hpckit.scenes.bands import BandRef
from hpckit.scenes.model import Acquisition, Scene

if TYPE_CHECKING:
    from hpckit.cube.ingest import IngestResult, IngestUnit
    from hpckit.cube.warp import Resampling

_NODATA: Final = 0
_DECODED_BYTES: Final = 4
_DECODER_BYTES: Final = 16 * 2**20
"""Of a JPEG 2000 tile while it is decoded: the codestream, and coefficients; control points. As measured."""
_FAR_M: Final = 1e7
"""Farther than any granule reaches."""
_MASK_M: Final = 60
"""Pixels at which clouds are counted, metres, where the window's are finer."""


def resample_windows(
    spec: CubeSpec, unit: IngestUnit, acquisition: Acquisition, columns: Collection[int], result: IngestResult
) -> dict[int, npt.NDArray[Any]]:
    """Resample windows of a unit's row, by column; those that hold nothing, or too many clouds, are left out.

    Raises
    ------
    SceneError
        If a file cannot be read.
    """
    resolution_m = unit.band.resolution_m
    frame = spec.frame(unit.tile, (acquisition,))
    box, edge = frame.geobox(resolution_m), frame.edges[resolution_m]
    rows = slice(unit.row * edge, min((unit.row + 1) * edge, box.shape[0]))
    clear = [
        column
        for column in sorted(columns)
        if not _too_cloudy(spec, unit.band, acquisition, box[rows, column * edge : (column + 1) * edge])
    ]
    decoded: dict[int, npt.NDArray[Any]] = {}
    for first, last in runs(clear) if clear else ():
        part = box[rows, first * edge : min((last + 1) * edge, box.shape[1])]
        pixels = _resample(spec, unit.band, acquisition, part, result)
        for column in range(first, last + 1):
            window = pixels[:, (column - first) * edge : (column - first + 1) * edge]
            if window.any():
                decoded[column] = window
    return decoded


def strip_bytes(spec: CubeSpec, tile: str, ref: BandRef, acquisitions: Sequence[Acquisition]) -> int:
    """Peak bytes of resampling a row of windows: the row, and what is decoded for it of one granule.

    A decoded pixel takes 32 bits in the decoder, beside those that the file has.
    """
    frame = spec.frame(tile, acquisitions)
    rows, columns = frame.shapes[ref.resolution_m]
    rows = min(rows, frame.edges[ref.resolution_m])
    left, _, right, top = frame.bounds
    bounds = (left, top - rows * ref.resolution_m, right, top)
    how, itemsize, most = method(ref, spec.resampling), np.dtype(ref.dtype).itemsize, 0
    for scene in {scene.epsg: scene for item in acquisitions for scene in item.scenes}.values():
        try:
            source = source_band(scene, ref)
        except SceneError:
            continue  # its unit will tell
        step = 2 ** _level(source, ref, how)
        spans = _spans(bounds, frame.epsg, scene.epsg)
        sizes = zip(scene.shapes[source.resolution_m], spans, strict=True)
        most = max(most, prod(min(size // step, int(span / source.resolution_m) // step) + 1 for size, span in sizes))
    return rows * columns * itemsize + most * (_DECODED_BYTES + itemsize) + _DECODER_BYTES


@lru_cache(maxsize=256)
def _spans(bounds: tuple[float, float, float, float], epsg: int, source_epsg: int) -> tuple[float, float]:
    """Metres that a rectangle spans in the CRS of a source, downwards and across."""
    left, bottom, right, top = transformer(f"EPSG:{epsg}", f"EPSG:{source_epsg}").transform_bounds(*bounds)
    spans = (top - bottom, right - left)
    return spans if np.isfinite(spans).all() else (_FAR_M, _FAR_M)


def method(ref: BandRef, resampling: Resampling) -> Resampling:
    """How a band is resampled: classes and probabilities are looked up, never mixed."""
    return "nearest" if ref.band.kind in ("class", "probability") else resampling


def source_band(scene: Scene, ref: BandRef) -> BandRef:
    """Coarsest file of a band whose pixels are no larger than the target's; else the finest.

    Raises
    ------
    SceneError
        If the product lacks the band.
    """
    found = sorted(BandRef.parse(key).resolution_m for key in scene.assets if key.partition("@")[0] == ref.name)
    if not found:
        raise SceneError(f"{scene.id}: the product has no band {ref.name}")
    return BandRef(ref.name, max((size for size in found if size <= ref.resolution_m), default=found[0]))


def source_geobox(scene: Scene, resolution_m: int, level: int = 0) -> GeoBox:
    """Where the pixels of a file lie at a resolution level of JPEG 2000.

    The wavelet filters of JPEG 2000 are symmetric about every second sample (ISO/IEC 15444-1, annex F), so the
    centre of the first reduced pixel is that of the first pixel, and not of the first four.
    """
    rows, columns = scene.shapes[resolution_m]
    step = 2**level
    edge = resolution_m * step
    corner = (resolution_m - edge) / 2
    transform = Affine(edge, 0, scene.ulx + corner, 0, -edge, scene.uly - corner)
    return GeoBox((-(-rows // step), -(-columns // step)), transform, f"EPSG:{scene.epsg}")


def _resample(
    spec: CubeSpec, ref: BandRef, acquisition: Acquisition, target: GeoBox, result: IngestResult
) -> npt.NDArray[Any]:
    """Pixels of a band; the first granule that has one gives it."""
    how = method(ref, spec.resampling)
    pixels = np.zeros(tuple(target.shape), dtype=ref.dtype)
    for scene in acquisition.scenes:
        missing = _missing(pixels)
        if missing is None:
            break
        source = source_band(scene, ref)
        # Cheap, and spares opening the file.
        if needed(source_geobox(scene, source.resolution_m), target[missing], how) is None:
            continue
        if spec.verify:
            verify_file(scene, source.key)
        start = time.perf_counter()
        read = _read(scene, source, _level(source, ref, how), target[missing], how)
        result.decode_s += time.perf_counter() - start
        if read is not None:
            values, box = read
            result.decoded_pixels += values.size
            warp(values, box, target, how, nodata=_NODATA, out=pixels)
    return pixels


def _missing(pixels: npt.NDArray[Any]) -> tuple[slice, slice] | None:
    """Smallest part of an array that holds all its pixels without data; None if there are none."""
    gaps = pixels == _NODATA
    rows = np.flatnonzero(gaps.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(gaps.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _level(source: BandRef, ref: BandRef, how: Resampling) -> int:
    """Resolution level at which a file is decoded: the coarsest one that is no coarser than the target.

    Classes must not be mixed by the wavelet, `nearest` promises values of the product, and `average` all of them.
    """
    if how in ("nearest", "average"):
        return 0
    return max(0, int(log2(ref.resolution_m / source.resolution_m)))


def _read(
    scene: Scene, source: BandRef, level: int, target: GeoBox, how: Resampling
) -> tuple[npt.NDArray[Any], GeoBox] | None:
    """Decode what a target needs of a file, with its place; None if that is nothing."""
    with open_band(scene, source, level) as file:
        level = round(log2(scene.shapes[source.resolution_m][0] / file.height))
        box = source_geobox(scene, source.resolution_m, level)
        part = needed(box, target, how)
        if part is None:
            return None
        if level:
            part = _grown(part, box, _blurred(level))
        rows, columns = part
        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        values = read_window(file, scene, source, window)
    return (_without_blur(values, _blurred(level)) if level else values), box[part]


def _blurred(level: int) -> int:
    """Reduced pixels beside a gap that may be mixtures of data and nodata.

    The low-pass filter of the reversible wavelet has five taps, so a reduced pixel of level n hangs on
    2 (2^n - 1) pixels on each side. A mixed one is at most twice as far from one that is a gap altogether.
    """
    return ceil(4 * (1 - 0.5**level))


def _grown(part: tuple[slice, slice], box: GeoBox, margin: int) -> tuple[slice, slice]:
    first, second = (
        slice(max(0, along.start - margin), min(size, along.stop + margin))
        for along, size in zip(part, box.shape, strict=True)
    )
    return first, second


def _without_blur(values: npt.NDArray[Any], margin: int) -> npt.NDArray[Any]:
    """Take reduced pixels beside a gap for gaps."""
    gaps = values == _NODATA
    if not gaps.any():
        return values
    near = gaps.copy()
    for step in range(1, margin + 1):
        near[step:] |= gaps[:-step]
        near[:-step] |= gaps[step:]
    along = near.copy()
    for step in range(1, margin + 1):
        near[:, step:] |= along[:, :-step]
        near[:, :-step] |= along[:, step:]
    return np.where(near, values.dtype.type(_NODATA), values)


def _too_cloudy(spec: CubeSpec, ref: BandRef, acquisition: Acquisition, window: GeoBox) -> bool:
    """Whether a window is left out for its clouds; masks themselves are always kept."""
    if spec.skip_cloudy is None or ref.band.kind in ("class", "probability"):
        return False
    return _hidden(_Pass(acquisition), spec.verify, window, ref.resolution_m) >= spec.skip_cloudy


class _Pass:
    """An acquisition as a key of a cache, by its scenes."""

    def __init__(self, acquisition: Acquisition) -> None:
        self.acquisition = acquisition
        self.key = tuple(scene.href for scene in acquisition.scenes)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pass) and other.key == self.key


@lru_cache(maxsize=4096)
def _hidden(overpass: _Pass, verify: bool, window: GeoBox, resolution_m: int) -> float:
    """Fraction of a window that is cloud or nodata; 0 where a product has no readable classification."""
    factor = max(1, _MASK_M // resolution_m)
    rows, columns = (-(-size // factor) for size in window.shape)
    coarse = GeoBox((rows, columns), window.transform * Affine.scale(factor), window.crs)
    ref = BandRef("SCL", resolution_m * factor)
    classes = np.zeros(tuple(coarse.shape), dtype=np.uint8)
    try:
        for scene in overpass.acquisition.scenes:
            source = source_band(scene, ref)
            if verify:
                verify_file(scene, source.key)
            read = _read(scene, source, 0, coarse, "nearest")
            if read is not None:
                warp(*read, coarse, "nearest", nodata=_NODATA, out=classes)
    except SceneError:
        return 0.0  # a broken mask spares no decoding
    return float(np.isin(classes, HIDDEN).mean())

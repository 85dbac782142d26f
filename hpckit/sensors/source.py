"""Reading windows of product files, and refusing those that are damaged."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import isclose, log2, prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpckit.errors import CubeError, SceneError
from hpckit.inputs.jpeg2000 import decode_part
from hpckit.inputs.opening import fault_behind, open_raster
from hpckit.inputs.remote import opened
from hpckit.inputs.scratch import scratch
from hpckit.inputs.tileraster import JPEG_2000, TileRaster, open_tiles
from hpckit.inputs.transfer import ETAG, replaced, without_secrets
from hpckit.inputs.uri import is_remote
from hpckit.inputs.zarr_raster import ZarrRaster
from hpckit.sensors.bands import Band, BandRef
from hpckit.sensors.copies import copy_of
from hpckit.sensors.encode import encode
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel2.eopf.reading import open_array

_SATURATED: Final = 65535
_JP2_SIGNATURE: Final = bytes.fromhex("0000000c6a5020200d0a870a")
_CODESTREAM_END: Final = b"\xff\xd9"
_VIRTUAL: Final = ("/vsi", "http:", "https:", "s3:", "zip:")
"""Begin of the names of files that lie in no folder of this machine."""
_WHOLE_SHARE: Final = 0.07
"""Share of a JPEG 2000 file's pixels that are wanted at a time from which on it is read whole: of 11 windows in a
row, 9. Other rows will want theirs, too, and only a whole file can be compared with its digest."""
_ONE_THREAD: Final = {"GDAL_NUM_THREADS": "1"}
"""With threads of its own, GDAL's JPEG 2000 driver reads a tile that fails to decode as zeros and raises nothing."""

_log = logging.getLogger(__name__)


@contextmanager
def open_band(scene: Scene, ref: BandRef, level: int = 0, pixels: int | None = None) -> Iterator[Any]:
    """Open the file, or array, of a band.

    Parameters
    ----------
    pixels : int, optional
        How many will be read: of a remote file that has no directory of its tiles, many are read from a copy of the
        whole. All if not given.
    level : int
        Resolution level of JPEG 2000: 0 is the whole one, each further one has half the pixels along an edge, of
        which the first lies where the first of the level before does. No more than the file has; arrays have none.

    Raises
    ------
    SceneError
        If the product lacks it, or it is truncated, unreadable or of another size than the metadata say.
    """
    if ref.key not in scene.assets:
        raise SceneError(f"{scene.id}: the product has no band {ref.key}")
    asset = scene.assets[ref.key]
    if asset.array:
        yield open_array(scene, ref)
        return
    uri, fault = _nearest(scene, ref, pixels)
    if not asset.is_member and not is_remote(uri):
        _check_whole(scene, Path(uri), asset.name)
    tiles = _open_tiles(scene, asset, uri, fault) if is_remote(uri) and not level else None
    if tiles is not None:
        with told(fault):
            yield tiles
        return
    try:
        with told(fault), rasterio.Env(**_ONE_THREAD), open_raster(uri, of=scene.id) as source:
            if is_remote(uri):
                require_same(asset)
            if source.shape != asset.shape:
                raise _other_size(scene, asset, source.shape)
            deepest = min(level, len(source.overviews(1))) if level else 0
            if not deepest:
                yield source
                return
            with open_raster(uri, of=scene.id, overview_level=deepest - 1) as reduced:
                yield reduced
    except RasterioError as error:
        raise SceneError(f"{scene.id}: {asset.name} cannot be read") from fault_behind(uri, error)


def _open_tiles(scene: Scene, asset: Asset, uri: str, fault: str) -> TileRaster | None:
    """A remote file of which single tiles can be taken; None for others."""
    if not asset.name.lower().endswith(JPEG_2000):
        return None
    tag = asset.digest.removeprefix(ETAG) if asset.digest.startswith(ETAG) else ""
    with told(fault), _unreadable(scene, uri):
        tiles = open_tiles(uri, asset.nbytes, tag)
    if tiles is not None and tiles.shape != asset.shape:
        raise _other_size(scene, asset, tiles.shape)
    return tiles


@contextmanager
def _unreadable(scene: Scene, uri: str) -> Iterator[None]:
    """Name a remote file that cannot be read."""
    try:
        yield
    except RasterioError:
        raise
    except OSError as error:
        raise SceneError(f"{scene.id}: {without_secrets(uri)} cannot be read") from error


def _other_size(scene: Scene, asset: Asset, shape: tuple[int, int]) -> SceneError:
    return SceneError(
        f"{scene.id}: {asset.name} has {shape[0]} x {shape[1]} pixels, "
        f"its metadata say {' x '.join(map(str, asset.shape))}"
    )


def _nearest(scene: Scene, ref: BandRef, pixels: int | None) -> tuple[str, str]:
    """Where a file is read, and what is wrong with a copy of it that is not used.

    A remote one is read from a copy that was fetched; else from a copy of the whole in the scratch folder if that is
    cheaper than its parts.
    """
    asset = scene.assets[ref.key]
    if not asset.is_remote:
        return asset.uri, ""
    copy, fault = copy_of(scene, ref.key, asset)
    if copy is not None:
        return str(copy), ""
    if fault:
        _warn(f"{scene.id}: {fault}; it is read from its server")
    share = 1.0 if pixels is None else pixels / max(1, prod(asset.shape))
    if not asset.name.lower().endswith(JPEG_2000) or share < _WHOLE_SHARE:
        return asset.uri, fault
    with told(fault):
        try:
            return str(scratch().bring(asset.uri, asset.nbytes, asset.digest)), fault
        except OSError as error:
            raise SceneError(f"{scene.id}: {without_secrets(asset.uri)} cannot be read") from error
        except SceneError as error:
            raise SceneError(f"{scene.id}: {error.message}", hint=error.hint) from error.__cause__


@lru_cache(maxsize=4096)
def _warn(text: str) -> None:
    """Note something once, however many windows it concerns."""
    _log.warning(text)


@contextmanager
def told(fault: str) -> Iterator[None]:
    """Name what is wrong with a copy where its server does not help either."""
    try:
        yield
    except SceneError as error:
        if not fault:
            raise
        raise SceneError(f"{error.message} ({fault})", hint=error.hint) from error.__cause__


def require_same(asset: Asset) -> None:
    """Refuse a remote file that is not the one any more that was scanned.

    Raises
    ------
    ReplacedError
        If it is another one.
    OSError, SceneError
        If its server does not tell.
    """
    file = opened(asset.uri)
    tag = asset.digest.removeprefix(ETAG) if asset.digest.startswith(ETAG) else file.tag
    if (file.size, file.tag) != (asset.nbytes or file.size, tag):
        raise replaced(asset.uri)


def read_window(source: Any, scene: Scene, ref: BandRef, window: Window) -> npt.NDArray[Any]:
    """Decode a window and bring it to the cube's radiometry.

    Raises
    ------
    SceneError
        If it cannot be decoded.
    """
    asset = scene.assets[ref.key]
    try:
        with _unreadable(scene, asset.uri):
            values = _decode(source, asset, window, ref.dtype)
    except SceneError as error:
        raise SceneError(f"{scene.id}: {error.message}", hint=error.hint) from error.__cause__
    except RasterioError as error:
        cause = fault_behind(asset.uri, error)
        raise SceneError(f"{scene.id}: {asset.name} cannot be decoded at row {window.row_off}") from cause
    if asset.dtype and ref.band.beyond == "clip":
        return recode(values, asset, ref.band)
    if asset.dtype:
        return _encoded(values, scene, asset, ref.band)
    if ref.band.kind == "reflectance":
        return harmonise(values, _shift(scene, ref))
    return np.asarray(values.astype(ref.dtype, copy=False))


def _encoded(values: npt.NDArray[Any], scene: Scene, asset: Asset, band: Band) -> npt.NDArray[Any]:
    try:
        return encode(values, asset, band)
    except ValueError as error:
        raise SceneError(f"{scene.id}: {asset.name} {error}") from error


def _decode(source: Any, asset: Asset, window: Window, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Pixels as the file holds them; of tiles that the window cuts, only that part is decoded."""
    (row, column), (height, width) = (window.row_off, window.col_off), (window.height, window.width)
    if isinstance(source, ZarrRaster):
        return source.read(slice(row, row + height), slice(column, column + width))
    if isinstance(source, TileRaster):
        with rasterio.Env(**_ONE_THREAD):
            rows, columns = slice(row, row + height), slice(column, column + width)
            return source.read(rows, columns, asset.dtype or dtype)
    if source.driver == "JP2OpenJPEG" and not source.name.startswith(_VIRTUAL) and _cuts_blocks(source, window):
        level = round(log2(asset.shape[0] / source.height))
        rows, columns = slice(row, row + height), slice(column, column + width)
        values = decode_part(source.name, rows, columns, level, source.dtypes[0])
        if values is not None:
            return values
    return np.asarray(source.read(asset.layer, window=window))


def _cuts_blocks(source: Any, window: Window) -> bool:
    return any(
        start % block or (stop % block and stop < size)
        for start, stop, block, size in zip(
            (window.row_off, window.col_off),
            (window.row_off + window.height, window.col_off + window.width),
            source.block_shapes[0],
            source.shape,
            strict=True,
        )
    )


def harmonise(values: npt.NDArray[np.uint16], shift: int) -> npt.NDArray[np.uint16]:
    """Add `shift` to all but nodata (0); what would pass 65535 stays there, and valid never turns to nodata."""
    if shift == 0:
        return values
    if shift < 0:
        lowered = np.maximum(values, 1 - shift) + np.uint16(65536 + shift)  # wraps to values + shift
        return np.where((values == 0) | (values == _SATURATED), values, lowered)
    raised = np.minimum(values, _SATURATED - shift)
    raised += np.uint16(shift)
    raised *= values != 0
    return raised


def recode(values: npt.NDArray[Any], asset: Asset, band: Band) -> npt.NDArray[Any]:
    """Numbers of a file of any data type, scale and offset, as a cube stores them; 0 where there is no value."""
    known = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, dtype=bool)
    known &= values != 0
    if asset.nodata is not None:
        known &= values != asset.nodata
    if band.is_mask:
        return np.where(known, values, 0).astype(band.dtype)
    least, most = band.valid or (1, int(np.iinfo(band.dtype).max))
    physical = np.where(known, values, 0).astype(np.float64) * asset.scale + asset.offset
    stored = np.rint((physical - band.offset) / band.scale)
    return np.where(known, np.clip(stored, least, most), 0).astype(band.dtype)


def _shift(scene: Scene, ref: BandRef) -> int:
    """What brings a product's digital numbers to the offset of the cube, which is the same for all dates."""
    asset, stored = scene.assets[ref.key], 1 / ref.band.scale
    if not isclose(1 / asset.scale, stored):
        raise CubeError(f"{scene.id}: quantification value {1 / asset.scale:g}; only {stored:g} can be stored")
    return round((asset.offset - ref.band.offset) / ref.band.scale)


def _check_whole(scene: Scene, path: Path, name: str) -> None:
    """Find truncated JPEG 2000 files, which some versions of OpenJPEG decode to zeros with a mere warning."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(12) != _JP2_SIGNATURE:
                return  # another format under this name; GDAL tells
            position = 12
            while position < size:
                file.seek(position)
                header = file.read(16)
                length = _box_length(header, size - position)
                if length < 8 or position + length > size:
                    raise SceneError(f"{scene.id}: {name} is truncated ({size} bytes)")
                if header[4:8] == b"jp2c":
                    file.seek(position + length - 2)
                    if file.read(2) != _CODESTREAM_END:
                        raise SceneError(f"{scene.id}: {name} is truncated or damaged: its codestream has no end")
                position += length
    except FileNotFoundError:
        raise SceneError(f"{scene.id}: {name} is missing") from None


def _box_length(header: bytes, remaining: int) -> int:
    """Length of a JP2 box (ISO/IEC 15444-1, annex I): 0 means to the end of the file, 1 a 64-bit length."""
    length = int.from_bytes(header[:4], "big")
    if length == 0:
        return remaining
    return int.from_bytes(header[8:16], "big") if length == 1 else length

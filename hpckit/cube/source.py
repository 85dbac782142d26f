"""Reading windows of product files, and refusing those that are damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import log2
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpckit.cube.jpeg2000 import decode_part
from hpckit.errors import CubeError, SceneError
from hpckit.scenes.bands import DN_OFFSET, BandRef
from hpckit.scenes.integrity import check_files
from hpckit.scenes.model import Scene

_SATURATED: Final = 65535
_JP2_SIGNATURE: Final = bytes.fromhex("0000000c6a5020200d0a870a")
_CODESTREAM_END: Final = b"\xff\xd9"
_QUANTIFICATION: Final = 10000.0
_ONE_THREAD: Final = {"GDAL_NUM_THREADS": "1"}
"""With threads of its own, GDAL's JPEG 2000 driver reads a tile that fails to decode as zeros and raises nothing."""


@contextmanager
def open_band(scene: Scene, ref: BandRef, level: int = 0) -> Iterator[Any]:
    """Open the file of a band.

    Parameters
    ----------
    level : int
        Resolution level of JPEG 2000: 0 is the whole one, each further one has half the pixels along an edge, of
        which the first lies where the first of the level before does. No more than the file has.

    Raises
    ------
    SceneError
        If the product lacks it, or it is truncated, unreadable or of another size than the metadata say.
    """
    if ref.key not in scene.assets:
        raise SceneError(f"{scene.id}: the product has no band {ref.key}")
    name = scene.assets[ref.key].rsplit("/", 1)[-1]
    if not scene.href.lower().endswith(".zip"):
        _check_whole(scene, ref, name)
    try:
        with rasterio.Env(**_ONE_THREAD), rasterio.open(scene.gdal_path(ref.key)) as source:
            if source.shape != tuple(scene.shapes[ref.resolution_m]):
                raise SceneError(
                    f"{scene.id}: {name} has {source.height} x {source.width} pixels, "
                    f"its metadata say {' x '.join(map(str, scene.shapes[ref.resolution_m]))}"
                )
            deepest = min(level, len(source.overviews(1))) if level else 0
            if not deepest:
                yield source
                return
            with rasterio.open(scene.gdal_path(ref.key), overview_level=deepest - 1) as reduced:
                yield reduced
    except RasterioError as error:
        raise SceneError(f"{scene.id}: {name} cannot be read") from error


def read_window(source: Any, scene: Scene, ref: BandRef, window: Window) -> npt.NDArray[Any]:
    """Decode a window and bring it to the cube's radiometry.

    Raises
    ------
    SceneError
        If it cannot be decoded.
    """
    try:
        values = _decode(source, scene, ref, window)
    except RasterioError as error:
        name = scene.assets[ref.key].rsplit("/", 1)[-1]
        raise SceneError(f"{scene.id}: {name} cannot be decoded at row {window.row_off}") from error
    if ref.band.kind == "reflectance":
        return harmonise(values, _shift(scene, ref))
    return np.asarray(values.astype(ref.dtype, copy=False))


def _decode(source: Any, scene: Scene, ref: BandRef, window: Window) -> npt.NDArray[Any]:
    """Pixels as the file holds them; of tiles that the window cuts, only that part is decoded."""
    path = scene.gdal_path(ref.key)
    (row, column), (height, width) = (window.row_off, window.col_off), (window.height, window.width)
    if source.driver == "JP2OpenJPEG" and not path.startswith("/vsi") and _cuts_blocks(source, window):
        level = round(log2(scene.shapes[ref.resolution_m][0] / source.height))
        rows, columns = slice(row, row + height), slice(column, column + width)
        values = decode_part(path, rows, columns, level, source.dtypes[0])
        if values is not None:
            return values
    return np.asarray(source.read(1, window=window))


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


def verify_file(scene: Scene, key: str) -> None:
    """Check the file of a band against its product's manifest, once per process.

    Raises
    ------
    SceneError
        If its size or digest differs.
    """
    _verified(scene.href, key, _Scene(scene))


class _Scene:
    """A scene that a cache may take as an argument without comparing it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return True


@lru_cache(maxsize=4096)
def _verified(_href: str, key: str, scene: _Scene) -> None:
    check_files(scene.scene, [key])


def _shift(scene: Scene, ref: BandRef) -> int:
    """What brings a product's digital numbers to the offset of baseline 04.00."""
    if scene.quantification != _QUANTIFICATION:
        raise CubeError(
            f"{scene.id}: quantification value {scene.quantification:g}; only {_QUANTIFICATION:g} can be stored"
        )
    return DN_OFFSET + scene.offsets.get(ref.name, 0)


def _check_whole(scene: Scene, ref: BandRef, name: str) -> None:
    """Find truncated JPEG 2000 files, which some versions of OpenJPEG decode to zeros with a mere warning."""
    path = f"{scene.href}/{scene.assets[ref.key]}"
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (the path is text, and this is once per file and unit)
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

"""Parts of JPEG 2000 tiles, by OpenJPEG itself.

GDAL decodes whole tiles. A window of a grid cuts through those at its rim, so that a window of 2048² pixels costs
nine tiles of 1024². OpenJPEG can leave out code blocks (64² coefficients) that a part of a tile does not hang on,
and the pixels of reversible files, as Sentinel-2's are, are the same. It is the library that GDAL itself has loaded,
called by its C interface (openjpeg.h of 2.4, whose structures all of 2.x have); where there is none, or a file is
unusual, callers fall back to GDAL.
"""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_LEAST_VERSION: Final = (2, 4)
"""Before it, decoding of parts was young and had faults."""
_JP2: Final = 2
_PARAMETERS_BYTES: Final = 1 << 16
"""More than `opj_dparameters_t` has in any version (8.5 KB); its first member is the number of levels left out."""

_BUFFER_BYTES: Final = 1 << 12
"""Read at each tile that is passed over on the way to those wanted. OpenJPEG's megabyte would be all of the file."""


class _Component(c.Structure):
    _fields_ = (
        *((name, c.c_uint32) for name in ("dx", "dy", "w", "h", "x0", "y0", "prec", "bpp", "sgnd", "done", "factor")),
        ("data", c.POINTER(c.c_int32)),
        ("alpha", c.c_uint16),
    )


class _Image(c.Structure):
    _fields_ = (
        *((name, c.c_uint32) for name in ("x0", "y0", "x1", "y1", "numcomps")),
        ("color_space", c.c_int),
        ("comps", c.POINTER(_Component)),
        ("icc_profile", c.c_void_p),
        ("icc_profile_bytes", c.c_uint32),
    )


class _Coding(c.Structure):
    """How a band of a tile is coded: the first members."""

    _fields_ = tuple(
        (name, c.c_uint32) for name in ("compno", "csty", "numresolutions", "cblkw", "cblkh", "cblksty", "reversible")
    )


class _Tile(c.Structure):
    _fields_ = (
        *((name, c.c_uint32) for name in ("tileno", "csty", "progression", "numlayers", "mct")),
        ("coding", c.POINTER(_Coding)),
    )


class _Codestream(c.Structure):
    _fields_ = (
        *((name, c.c_uint32) for name in ("tx0", "ty0", "tdx", "tdy", "tw", "th", "numcomps")),
        ("default", _Tile),
        ("tiles", c.POINTER(_Tile)),
    )


_ImagePointer = c.POINTER(_Image)
_CodestreamPointer = c.POINTER(_Codestream)
_SIGNATURES: Final[dict[str, tuple[Any, ...]]] = {
    "opj_version": (c.c_char_p,),
    "opj_stream_create_file_stream": (c.c_void_p, c.c_char_p, c.c_size_t, c.c_int),
    "opj_stream_destroy": (None, c.c_void_p),
    "opj_create_decompress": (c.c_void_p, c.c_int),
    "opj_destroy_codec": (None, c.c_void_p),
    "opj_set_default_decoder_parameters": (None, c.c_void_p),
    "opj_setup_decoder": (c.c_int, c.c_void_p, c.c_void_p),
    "opj_read_header": (c.c_int, c.c_void_p, c.c_void_p, c.POINTER(_ImagePointer)),
    "opj_get_cstr_info": (_CodestreamPointer, c.c_void_p),
    "opj_destroy_cstr_info": (None, c.POINTER(_CodestreamPointer)),
    "opj_set_decode_area": (c.c_int, c.c_void_p, _ImagePointer, c.c_int32, c.c_int32, c.c_int32, c.c_int32),
    "opj_decode": (c.c_int, c.c_void_p, c.c_void_p, _ImagePointer),
    "opj_image_destroy": (None, _ImagePointer),
}
"""Result and arguments of the functions used."""


def decode_part(
    path: str | os.PathLike[str], rows: slice, columns: slice, level: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any] | None:
    """Decode a rectangle of a file with one band of unsigned integers, on one thread.

    Parameters
    ----------
    rows, columns : slice
        Within the raster of that level.
    level : int
        Resolution level: 0 is the whole one, each further one has half the pixels along an edge.
    dtype : dtype
        Of the result; what the file holds must fit.

    Returns
    -------
    ndarray, shape (rows, columns)
        None where GDAL has to do it, or to report the error: there is no OpenJPEG of 2.4 or newer, this is
        no reversible JP2 file of that kind, or it does not decode.
    """
    library = _library()
    if library is None:
        return None
    with _opened(library, path, level) as (codec, stream, image):
        if image is None or not _is_plain(image.contents, np.dtype(dtype)) or not _is_reversible(library, codec):
            return None
        whole, step = image.contents, 2**level
        area = (
            columns.start * step,
            rows.start * step,
            min(columns.stop * step, whole.x1),
            min(rows.stop * step, whole.y1),
        )
        if not library.opj_set_decode_area(codec, image, *area) or not library.opj_decode(codec, stream, image):
            return None
        band = image.contents.comps[0]
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        if not band.data or (band.h, band.w) != shape:
            return None
        return np.ctypeslib.as_array(band.data, shape).astype(dtype)


@contextmanager
def _opened(library: c.CDLL, path: str | os.PathLike[str], level: int) -> Iterator[tuple[int, int, Any]]:
    """Codec, stream, and header of a file; None instead of the header where it cannot be read."""
    stream = library.opj_stream_create_file_stream(os.fsencode(path), _BUFFER_BYTES, 1)
    codec = library.opj_create_decompress(_JP2)
    image = _ImagePointer()
    try:
        parameters = c.create_string_buffer(_PARAMETERS_BYTES)
        library.opj_set_default_decoder_parameters(parameters)
        c.c_uint32.from_buffer(parameters).value = level
        ready = (
            stream
            and library.opj_setup_decoder(codec, parameters)
            and library.opj_read_header(stream, codec, c.byref(image))
        )
        yield codec, stream, image if ready else None
    finally:
        if image:
            library.opj_image_destroy(image)
        library.opj_destroy_codec(codec)
        if stream:
            library.opj_stream_destroy(stream)


def _is_plain(image: _Image, dtype: np.dtype[Any]) -> bool:
    """Whether a file holds one band of unsigned integers from the origin on, without subsampling."""
    if image.numcomps != 1 or image.x0 or image.y0:
        return False
    band = image.comps[0]
    return (band.dx, band.dy, band.sgnd) == (1, 1, 0) and dtype.kind == "u" and band.prec <= 8 * dtype.itemsize


def _is_reversible(library: c.CDLL, codec: int) -> bool:
    """Whether a file is coded in integers, as Sentinel-2 is.

    Of the other wavelet, in floats, a part may be off by 1 from the whole at its rim, and so hang on its window.
    """
    info = library.opj_get_cstr_info(codec)
    if not info:
        return False
    coding = info.contents.default.coding
    try:
        return bool(coding and coding[0].reversible == 1)
    finally:
        library.opj_destroy_cstr_info(c.byref(info))


@lru_cache(maxsize=1)
def _library() -> c.CDLL | None:
    """OpenJPEG as it is in this process, else as the system has it."""
    for name in (*_loaded(), find_library("openjp2")):
        if name is None:
            continue
        try:
            library = c.CDLL(name)
            for function, (result, *arguments) in _SIGNATURES.items():
                found = getattr(library, function)
                found.restype, found.argtypes = result, arguments
        except (OSError, AttributeError):
            continue
        version = tuple(int(part) for part in library.opj_version().decode().split(".")[:2])
        if version >= _LEAST_VERSION and version[0] == _LEAST_VERSION[0]:
            return library
    return None


def _loaded() -> list[str]:
    """Files of OpenJPEG that this process has mapped: the one that GDAL was built with."""
    try:
        maps = Path("/proc/self/maps").read_text(errors="surrogateescape")
    except OSError:
        return []
    return sorted({line.split(maxsplit=5)[5] for line in maps.splitlines() if "libopenjp2" in line})

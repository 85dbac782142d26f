"""Opening the rasters of products: as the format that their names say, and never what lies beside or behind them.

Those of servers come through `hpckit.inputs.remote`: GDAL itself sends no requests.

GDAL finds a format by content. A VRT under the name of an image would read any file of the machine and send requests
to any address; so would overviews that a file's own metadata or a file beside it name.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Final

import rasterio
from rasterio.errors import RasterioError

from hpckit.base.reading import refusal
from hpckit.errors import SceneError
from hpckit.inputs.remote import OPENER, watched
from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.uri import is_remote, locate, name_of

_FORMATS: Final = {
    ".jp2": ("JPEG 2000", ("JP2KAK", "JP2Grok", "JP2OpenJPEG", "JP2ECW", "JP2MrSID")),
    ".tif": ("GeoTIFF", ("GTiff",)),
    ".tiff": ("GeoTIFF", ("GTiff",)),
    ".img": ("ENVI", ("ENVI",)),
}
"""Name of the format, and GDAL's drivers of it, fastest first, by the ending of a file's name."""

_ALONE: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
}
"""No files beside the one that is opened, and no requests."""

_BESIDE: Final = {**_ALONE, "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
"""ENVI's header lies beside its data."""


def driver_of(ending: str, known: Container[str] | None = None) -> str:
    """GDAL's driver that opens the images of products with names of some ending: the fastest that is there.

    Parameters
    ----------
    ending : str
        `.jp2`, `.tif`, …
    known : container of str, optional
        Drivers to choose from; those of this GDAL if not given.
    """
    drivers, there = _FORMATS[ending][1], _installed() if known is None else known
    return next((name for name in drivers if name in there), drivers[0])


@lru_cache(maxsize=1)
def _installed() -> frozenset[str]:
    """Drivers that this GDAL has."""
    with rasterio.Env() as environment:
        return frozenset(environment.drivers())


@contextmanager
def open_raster(uri: str, *, of: str = "", form: str = "", **options: Any) -> Iterator[Any]:
    """Open a raster of a product.

    Parameters
    ----------
    uri : str
        Where it lies (`hpckit.inputs.uri`); the ending of its name says which format it must have.
    of : str, optional
        Identifier of the product, for messages.
    form : str, optional
        Ending of the names of such files, for a file in memory, which has no name.
    **options
        Passed to `rasterio.open`.

    Raises
    ------
    SceneError
        If the name is of no known format, the file of another one, or it names other files to be read. If the file
        system refuses, that is the cause.
    RasterioError
        If it cannot be read.
    """
    file = name_of(uri)
    name = f"{of}: {file}" if of else file
    ending = form or PurePosixPath(file).suffix.lower()
    if ending not in _FORMATS:
        raise SceneError(f"{name} is refused: images of products end in {', '.join(_FORMATS)}")
    what = _FORMATS[ending][0]
    with rasterio.Env(**(_BESIDE if ending == ".img" else _ALONE)), _faults_of(uri, of):
        try:
            opened = (
                rasterio.open(uri, opener=OPENER, driver=driver_of(ending), **options)
                if is_remote(uri)
                else rasterio.open(locate(uri).gdal_path, driver=driver_of(ending), **options)
            )
        except RasterioError as error:
            raise SceneError(f"{name} cannot be read as {what}") from fault_behind(uri, error)
        with opened as source:
            if source.tags(ns="OVERVIEWS") or source.tags(1, ns="OVERVIEWS"):
                raise SceneError(f"{name} is refused: its metadata name other files to be read in its place")
            yield source


def fault_behind(uri: str, error: Exception) -> Exception:
    """What stands behind an error of GDAL, which does not say that a file system refused: that, or the error."""
    return (None if is_remote(uri) else refusal(str(locate(uri).path))) or error


@contextmanager
def _faults_of(uri: str, of: str) -> Iterator[None]:
    """Raise what a server did when a remote file is closed: GDAL says nothing of it, or something else."""
    if not is_remote(uri):
        yield
        return
    try:
        with watched(uri):
            yield
    except RasterioError:
        raise
    except OSError as error:
        where = without_secrets(uri)
        raise SceneError(f"{of}: {where} cannot be read" if of else f"{where} cannot be read") from error

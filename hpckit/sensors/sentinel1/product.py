"""Sentinel-1 products of every kind: which files are one, and who reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyproj
import shapely

from hpckit.errors import SceneError
from hpckit.inputs.files import UNREADABLE, Files, LocalFiles, member_path, names_in, open_zip
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel1.dimap import read_dimap
from hpckit.sensors.sentinel1.eopf.product import is_eopf, read_eopf
from hpckit.sensors.sentinel1.grd import MANIFEST, read_grd
from hpckit.sensors.sentinel1.rasters import is_series_file, read_series, stem_of

_SAFE: Final = re.compile(r"^S1[A-Z]_[A-Z0-9]{2}_(?!NRB|RTC)[A-Z]{3}[FHM_]_.*?(?:\.SAFE|\.zip)?$", re.IGNORECASE)


def is_safe(path: Path, is_folder: bool) -> bool:
    """Whether a folder or zip file is an ESA product: a folder with manifest and annotations, or EOPF Zarr.

    Raises
    ------
    OSError, SceneError
        If that cannot be seen.
    """
    if is_folder:
        names = names_in(path)
        if MANIFEST in names:
            return bool(_SAFE.match(path.name)) or "annotation" in names
        return is_eopf(path, names)
    return path.suffix.lower() == ".zip" and (bool(_SAFE.match(path.name)) or _holds_safe(path))


def is_remnant(path: Path) -> bool:
    """Whether a folder in which no product was found is what is left of one."""
    return path.suffix == ".SAFE" and bool(_SAFE.match(path.name))


def products_in(folder: Path) -> Iterator[Path]:
    """Products of a folder that are files: DIMAP headers, DIMAP data without one, and groups of GeoTIFF files."""
    series: set[str] = set()
    names = names_in(folder)
    for name in names:
        path = folder / name
        if name.endswith(".dim") or (name.endswith(".data") and name.removesuffix(".data") + ".dim" not in names):
            if name.endswith(".dim") or _is_data(path):
                yield path
        elif is_series_file(path) and stem_of(path) not in series:
            series.add(stem_of(path))
            yield path


def is_radar_product(path: Path) -> bool:
    """Whether a path that a search gave is a Sentinel-1 product."""
    return (
        path.suffix.lower() in (".dim", ".data", ".tif", ".tiff") or is_safe(path, path.is_dir()) or is_remnant(path)
    )


def read_product(path: Path) -> Scene:
    """Read what the metadata of a product tell.

    Raises
    ------
    SceneError
        If it is broken or of an unsupported kind; the message names product and reason.
    """
    with named(path.name):
        if path.suffix in (".dim", ".data"):
            return read_dimap(path)
        if path.is_dir() and is_eopf(path, names := names_in(path)):
            return read_eopf(path, names)
        return read_series(path) if path.suffix.lower() in (".tif", ".tiff") else read_grd(LocalFiles(path))


def read_files(files: Files) -> Scene:
    """Read a raw GRD product whose files are listed already; see `read_product`."""
    with named(files.name):
        return read_grd(files)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Name a product that cannot be read."""
    try:
        yield
    except SceneError as error:
        if name in error.message:
            raise
        raise SceneError(f"{name}: {error.message}", hint=error.hint) from error.__cause__
    except UNREADABLE as error:
        raise SceneError(f"{name}: cannot be read") from error
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        shapely.errors.ShapelyError,
        pyproj.exceptions.ProjError,
    ) as error:
        raise SceneError(f"{name}: its metadata are malformed") from error


def _holds_safe(path: Path) -> bool:
    """Whether a zip file of any name, as downloads may have, holds a product."""
    with open_zip(path) as archive:
        names = {member_path(name) for name in archive.namelist()}
    tops = [name.removesuffix(MANIFEST) for name in names if name.rpartition("/")[2] == MANIFEST]
    return any(re.match(rf"{re.escape(top)}annotation/s1.*\.xml$", name) for top in tops for name in names)


def _is_data(path: Path) -> bool:
    return path.is_dir() and any(name.endswith(".hdr") for name in names_in(path))

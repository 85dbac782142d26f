"""GDAL of rasterio, and that of pyogrio: drivers that hpckit cannot do without, and variables that mislead them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from hpckit.base.findings import Finding

_VARIABLES: Final = ("GDAL_DATA", "GDAL_DRIVER_PATH", "GDAL_SKIP", "OGR_SKIP", "GDAL_CONFIG_FILE")
"""What other installations of GDAL leave in the environment."""
_NEEDED: Final = {"GTiff": "GeoTIFF", "COG": "Cloud-Optimised GeoTIFF", "VRT": "mosaics"}
_REINSTALL: Final = "`pip install --force-reinstall --no-deps rasterio`, whose wheels contain it"


def examine() -> Iterator[Finding]:
    """Versions, drivers, and whether a JPEG 2000 image is decoded as it was written."""
    import rasterio

    from hpckit.base.ogr import pyogrio

    vectors = ".".join(map(str, pyogrio.__gdal_version__))
    yield Finding("GDAL", True, f"{rasterio.__gdal_version__} for images, {vectors} for vector files")
    with rasterio.Env() as environment:
        there = set(environment.drivers())
    missing = [f"{name} ({use})" for name, use in _NEEDED.items() if name not in there]
    if missing:
        yield Finding("GDAL's drivers", False, f"missing: {', '.join(missing)}", _REINSTALL)
    yield _jpeg2000(there)
    formats = pyogrio.list_drivers(write=True)
    yield Finding(
        "GeoPackage",
        "GPKG" in formats,
        "is read and written" if "GPKG" in formats else "pyogrio's GDAL has no driver GPKG",
        "`pip install --force-reinstall --no-deps pyogrio`, whose wheels contain it",
    )
    yield from _variables()


def _jpeg2000(there: set[str]) -> Finding:
    from hpckit.inputs.opening import driver_of

    driver = driver_of(".jp2", there)
    if driver not in there:
        says = "this GDAL has no driver of JPEG 2000, so no Sentinel-2 product in SAFE format can be read"
        return Finding("JPEG 2000", False, says, _REINSTALL)
    if driver != "JP2OpenJPEG" and "JP2OpenJPEG" not in there:
        return Finding("JPEG 2000", True, f"is decoded by {driver}")
    wrong = _decode_one()
    return Finding("JPEG 2000", wrong is None, wrong or f"is decoded by {driver}", _REINSTALL)


def _decode_one() -> str | None:
    """Write and read one small image in memory; what is wrong with it, or None."""
    import warnings

    import numpy as np
    from rasterio.errors import NotGeoreferencedWarning, RasterioError
    from rasterio.io import MemoryFile

    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64)
    shape = {"width": 64, "height": 64, "count": 1, "dtype": "uint16"}
    try:
        with MemoryFile() as memory:
            with memory.open(driver="JP2OpenJPEG", quality=100, reversible=True, **shape) as image:
                image.write(pixels)
            with memory.open() as image:
                same = bool((image.read() == pixels).all())
    except (RasterioError, OSError) as error:
        return f"OpenJPEG fails: {error}"
    return None if same else "OpenJPEG decodes other pixels than were written"


def _variables() -> Iterator[Finding]:
    for name in _VARIABLES:
        if value := os.environ.get(name):
            remedy = (
                f"`unset {name}`: it belongs to another installation of GDAL, and can hide drivers of hpckit's own"
            )
            yield Finding(name, None, f"is set: {value}", remedy, needed=False)

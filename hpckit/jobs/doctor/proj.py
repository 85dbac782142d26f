"""PROJ of pyproj, and that of rasterio: the database of coordinate systems, and grids of datums and heights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpckit.base.findings import Finding

_VARIABLES: Final = ("PROJ_DATA", "PROJ_LIB")
_POINT: Final = (500_000.0, 5_700_000.0)
"""East and north in UTM zone 31: on its central meridian."""
_MERIDIAN: Final = 3.0
_TOLERANCE_DEG: Final = 1e-6


def examine() -> Iterator[Finding]:
    """Whether both know EPSG's systems and agree, and which grids are there."""
    set_ = ", ".join(f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ)
    remedy = (
        f"`unset {' '.join(_VARIABLES)}`: {set_} may lead to the data of another PROJ"
        if set_
        else "`pip install --force-reinstall --no-deps pyproj rasterio`, whose wheels contain the data"
    )
    for library, transform in (("pyproj", _by_pyproj), ("rasterio", _by_rasterio)):
        try:
            longitude = transform()
            version = _version(library)
        except Exception as error:  # whatever the library raises is the finding
            yield Finding(f"PROJ of {library}", False, f"it cannot transform coordinates: {error}", remedy)
            continue
        right = abs(longitude - _MERIDIAN) < _TOLERANCE_DEG
        says = version if right else f"{version}: the meridian {_MERIDIAN:g} is found at {longitude:g} degrees"
        yield Finding(f"PROJ of {library}", right, says, remedy)
    if set_:
        yield Finding("PROJ_DATA", None, f"is set: {set_}", remedy, needed=False)
    yield from _grids()


def _by_pyproj() -> float:
    import pyproj

    return float(pyproj.Transformer.from_crs(32631, 4326, always_xy=True).transform(*_POINT)[0])


def _by_rasterio() -> float:
    from rasterio.warp import transform

    return float(transform("EPSG:32631", "EPSG:4326", [_POINT[0]], [_POINT[1]])[0][0])


def _version(library: str) -> str:
    import pyproj
    import rasterio

    return str(pyproj.proj_version_str if library == "pyproj" else rasterio.__proj_version__)


def _grids() -> Iterator[Finding]:
    from pyproj.datadir import get_data_dir, get_user_data_dir  # type: ignore[attr-defined]
    from pyproj.network import is_network_enabled  # type: ignore[attr-defined]

    folders = [Path(folder) for folder in (*get_data_dir().split(os.pathsep), str(get_user_data_dir()))]
    count = sum(1 for folder in folders if folder.is_dir() for _ in folder.glob("*.tif"))
    more = " and PROJ may fetch others" if is_network_enabled() else ""
    yield Finding(
        "grids of PROJ",
        True if count or more else None,
        f"{count or 'none'} installed{more}",
        "without them national datums are accurate to some metres: `pyproj sync --area-of-use NAME` adds some",
        needed=False,
    )

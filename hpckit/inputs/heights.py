"""Opening rasters of heights that users name: as the format that the name says, and VRT files that join such rasters.

GDAL finds a format by content, and a VRT may name any file and address. Only VRT files that do nothing but join are
read, and each raster that they join is opened once as the format of its own name before a window of it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpckit.base.files import digest_file, digest_json
from hpckit.base.reading import is_there, refusal, unavailable
from hpckit.base.seen import Seen
from hpckit.base.xmltext import parse_xml
from hpckit.errors import SceneError

_VRT: Final = ".vrt"
_DRIVERS: Final = {
    **dict.fromkeys((".tif", ".tiff"), ("GTiff",)),
    _VRT: ("VRT",),
    ".hgt": ("SRTMHGT",),
    **dict.fromkeys((".dt0", ".dt1", ".dt2"), ("DTED",)),
    ".gtx": ("GTX",),
    ".asc": ("AAIGrid",),
    ".img": ("HFA", "ENVI"),
    ".bil": ("EHdr", "ENVI"),
    ".jp2": ("JP2OpenJPEG",),
}
"""GDAL's drivers by the ending of a file's name."""
_ALONE: Final = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none", "GDAL_VRT_ENABLE_PYTHON": "NO"}
"""No requests, and no code."""
_BESIDE: Final = (".hdr", ".prj", ".tfw")
"""Endings of files that describe a raster of the same name."""
_JOINING: Final = ("", "VRTSourcedRasterBand")
"""Kinds of bands that join files."""
_NOT_JOINING: Final = ("SourceDataset", "PixelFunctionType", "PixelFunctionCode", "Input", "OpenOptions")
_REMEDY: Final = "join files with gdalbuildvrt, or make a GeoTIFF with gdal_translate"


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    left: float
    top: float
    right: float
    bottom: float
    """Pixels of the VRT that it fills."""

    def meets(self, window: Window) -> bool:
        """Whether some of it may be in a window."""
        return not (
            self.left >= window.col_off + window.width + 1
            or self.right <= window.col_off - 1
            or self.top >= window.row_off + window.height + 1
            or self.bottom <= window.row_off - 1
        )


@contextmanager
def open_heights(path: Path) -> Iterator[Any]:
    """Open a raster of heights.

    Raises
    ------
    SceneError
        If it is of no known format, of another one than its name says, or a VRT that does more than join files.
    RasterioError
        If it cannot be read.
    """
    with rasterio.Env(**_ALONE), _open(path) as raster:
        yield raster


def content_of(path: Path, seen: Seen) -> str:
    """Digest of what a raster of heights holds: the file, those that describe it, and those that a VRT joins.

    Parameters
    ----------
    seen : Seen
        Files whose digest is known.

    Raises
    ------
    SceneError
        If it is not there, or a VRT does more than join files.
    FileUnavailableError
        If a file cannot be read at the moment.
    """
    if not is_there(path):
        raise SceneError(f"{path}: no such file of heights", hint="correct `scenes.radar.dem` or `geoid`")
    beside = [file for ending in _BESIDE if is_there(file := path.with_suffix(ending))]
    parts = {file.suffix.lower(): _digest(file, seen) for file in [path, *beside]}
    sources = _joined(path, path.stat().st_mtime_ns) if path.suffix.lower() == _VRT else ()
    joined = [content_of(source.path, seen) if is_there(source.path) else "missing" for source in sources]
    return digest_json([parts, joined])


def _digest(path: Path, seen: Seen) -> str:
    before = path.stat()
    known = seen.checksum(str(path), before)
    if known is None:
        try:
            known = digest_file(path)
        except OSError as error:
            raise unavailable(path, error) from None
        seen.add([(str(path), before, known)])
    return known


def read_heights(raster: Any, window: Window) -> npt.NDArray[np.float32]:
    """Heights of a window; NaN where there are none.

    Raises
    ------
    SceneError
        If a raster that a VRT joins here is not what its name says.
    """
    require_sources(Path(raster.name), window)
    with rasterio.Env(**_ALONE):
        values: npt.NDArray[np.float32] = raster.read(1, window=window, masked=True).astype(np.float32).filled(np.nan)
    return values


def _open(path: Path) -> Any:
    ending = path.suffix.lower()
    if ending not in _DRIVERS:
        raise SceneError(
            f"{path}: refused as heights: names of their files end in {', '.join(_DRIVERS)}", hint=_REMEDY
        )
    if not path.is_file():
        raise SceneError(f"{path}: no such file of heights", hint="correct `scenes.radar.dem` or `geoid`")
    if ending == _VRT:
        _joined(path, path.stat().st_mtime_ns)  # before GDAL opens what it names
    fault: RasterioError | None = None
    for driver in _DRIVERS[ending]:
        try:
            return rasterio.open(path, driver=driver)
        except RasterioError as error:
            fault = error
    raise SceneError(f"{path}: cannot be read as what its name, ending in {ending}, says", hint=_REMEDY) from (
        refusal(path) or fault
    )


def fault_behind_heights(path: Path, error: Exception) -> Exception:
    """What stands behind an error of GDAL: that a file system refused heights, or what they join; else the error."""
    refused = refusal(path)
    if refused is None and path.suffix.lower() == _VRT:
        files = (source.path for source in _joined(path, path.stat().st_mtime_ns))
        refused = next((found for file in files if (found := refusal(file)) is not None), None)
    return refused or error


def require_sources(path: Path, window: Window) -> None:
    """Refuse what a VRT joins in a window, if it is not what its name says."""
    if path.suffix.lower() != _VRT:
        return
    for source in _joined(path, path.stat().st_mtime_ns):
        if source.meets(window):
            _require_format(source.path)


@lru_cache(maxsize=65536)
def _require_format(path: Path) -> None:
    """A raster that a VRT joins is opened as its name says, once; GDAL would open it as anything."""
    with rasterio.Env(**_ALONE), _open(path) as raster:
        if path.suffix.lower() == _VRT:
            require_sources(path, Window(0, 0, raster.width, raster.height))


@lru_cache(maxsize=64)
def _joined(path: Path, changed_ns: int) -> tuple[_Source, ...]:
    """Rasters that a VRT joins.

    Raises
    ------
    SceneError
        If it does anything else.
    """
    root = parse_xml(path.name, path.read_bytes())
    kinds = [str(band.get("subClass") or "") for band in root.iter("VRTRasterBand")]
    if root.tag != "VRTDataset" or root.get("subClass") or any(kind not in _JOINING for kind in kinds):
        raise _refused(path, "it does more than join files")
    if next(root.iter(*_NOT_JOINING), None) is not None:
        raise _refused(path, "it does more than join files")
    found = []
    for element in root.iter("SourceFilename"):
        name = str(element.text or "").strip()
        if re.match(r"/vsi|[A-Za-z0-9_]{2,}:", name):
            raise _refused(path, f"it names {name!r}, which is no file")
        source = path.parent / name if element.get("relativeToVRT") == "1" else Path(name)
        if source.suffix.lower() not in _DRIVERS or source == path:
            raise _refused(path, f"it names {name!r}: names of heights end in {', '.join(_DRIVERS)}")
        try:
            found.append(_Source(source, *_filled(element.getparent().find("DstRect"))))
        except ValueError:
            raise _refused(path, f"it does not say where {name!r} lies") from None
    return tuple(found)


def _filled(rectangle: Any) -> tuple[float, float, float, float]:
    if rectangle is None:
        return (-np.inf, -np.inf, np.inf, np.inf)
    x, y, width, height = (float(rectangle.get(name, "nan")) for name in ("xOff", "yOff", "xSize", "ySize"))
    return x, y, x + width, y + height


def _refused(path: Path, why: str) -> SceneError:
    return SceneError(f"{path}: refused as heights: {why}", hint=_REMEDY)

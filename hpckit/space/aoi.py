"""Areas of interest: from a vector file, WKT or a bounding box to polygons in longitude and latitude."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.base.account import expand
from hpckit.errors import AoiError, VectorError
from hpckit.space.areafile import AreaFile
from hpckit.space.vector.crs import is_longitude_latitude, parse_crs
from hpckit.space.vector.layers import read_features
from hpckit.space.vector.project import to_degrees, united, within_world
from hpckit.space.vector.shapes import Shapes, clean_shapes, read_shapes

_State = tuple[tuple[str, int, int], ...]
_WKT: Final = ("POLYGON", "MULTIPOLYGON", "GEOMETRYCOLLECTION", "SRID=")


def read_aoi(source: str | Path | Sequence[float] | AreaFile, folder: Path | None = None) -> shapely.Geometry:
    """Read an area of interest.

    Parameters
    ----------
    source : str, Path, four numbers or AreaFile
        A vector file that OGR reads, or GeoParquet (relative to `folder`), WKT in longitude and latitude, or
        `W,S,E,N` in degrees; W > E is a box across the antimeridian, less than 180 degrees wide.

    Returns
    -------
    shapely.Geometry
        Valid MultiPolygon in EPSG:4326 within -180 to 180 degrees, cut at the antimeridian. Straight edges of a
        projected CRS are as they bend there.

    Raises
    ------
    AoiError
        If it cannot be read, has several layers of which none is chosen, has a damaged polygon, no polygon or no
        CRS, or lies outside of the world.
    """
    if isinstance(source, AreaFile):
        return _from_file(_locate(source.path, folder), source.layer, source.crs)
    if not isinstance(source, (str, Path)):
        return _from_box(list(source), str(list(source)))
    text = str(source).strip()
    if text.upper().startswith(_WKT):
        return _from_wkt(text)
    numbers = _numbers(text)
    if numbers is not None:
        return _from_box(numbers, text)
    return _from_file(_locate(text, folder))


def aoi_file(source: str | Path | Sequence[float] | AreaFile, folder: Path | None = None) -> Path | None:
    """The file that an area of interest is read from; None for WKT and bounding boxes."""
    if isinstance(source, AreaFile):
        return _locate(source.path, folder)
    if not isinstance(source, (str, Path)):
        return None
    text = str(source).strip()
    return None if text.upper().startswith(_WKT) or _numbers(text) is not None else _locate(text, folder)


def _locate(text: str, folder: Path | None) -> Path:
    path = expand(text)
    return path if path.is_absolute() or folder is None else folder / path


def _numbers(text: str) -> list[float] | None:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return numbers if len(numbers) > 1 else None


def _from_box(numbers: list[float], text: str) -> shapely.Geometry:
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise AoiError(f"{text!r}: a bounding box has four numbers, west, south, east, north")
    west, south, east, north = numbers
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise AoiError(f"{text!r}: not degrees of longitude and latitude", hint="give west, south, east, north")
    if south >= north or west == east:
        raise AoiError(f"{text!r}: the box has no area", hint="give west, south, east, north, south below north")
    if west < east:
        return shapely.MultiPolygon([shapely.box(west, south, east, north)])
    if west - east <= 180:
        raise AoiError(
            f"{text!r}: west, {west:g}, lies east of east, {east:g}",
            hint="give west, south, east, north; a box across the antimeridian, west > east, must be less than 180 "
            "degrees wide, a larger one is given as WKT",
        )
    return shapely.MultiPolygon(
        [box for box in (shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)) if box.area > 0]
    )


def _from_wkt(text: str) -> shapely.Geometry:
    name = text[:60]
    srid, _, wkt = text.partition(";") if text.upper().startswith("SRID=") else ("SRID=4326", "", text)
    try:
        geometry = shapely.from_wkt(wkt)
        crs = parse_crs(f"EPSG:{srid[5:].strip()}")
    except shapely.errors.GEOSException as error:
        raise AoiError(f"{name!r}: no valid WKT") from error
    except VectorError as error:
        raise AoiError(f"{name!r}: {error.message}", hint="write SRID=4326;POLYGON((…))") from error.__cause__
    return _area(clean_shapes(np.array([geometry], dtype=object)), crs, name, [""])


def _from_file(path: Path, layer: str | None = None, crs: str | None = None) -> shapely.Geometry:
    if not path.exists():
        raise AoiError(f"{path}: no such file", hint="an AOI is a vector file, WKT, or W,S,E,N in degrees")
    # A plan asks for it several times, and the parcels of a country take many seconds.
    state = _state(path)
    return _from_layer(path, layer, crs) if state is None else _remembered(path, layer, crs, state)


@lru_cache(maxsize=2)
def _remembered(path: Path, layer: str | None, crs: str | None, state: _State) -> shapely.Geometry:
    return _from_layer(path, layer, crs)


def _state(path: Path) -> _State | None:
    """Sizes and time stamps of a file and of what belongs to it: a journal, the other files of a Shapefile.

    None where that says too little: of folders, and where the file system does not answer.
    """
    try:
        files = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
        facts = [(file.name, file.stat()) for file in files]
    except OSError:
        return None
    return None if path.is_dir() else tuple((name, fact.st_size, fact.st_mtime_ns) for name, fact in facts)


def _from_layer(path: Path, layer: str | None, crs: str | None) -> shapely.Geometry:
    try:
        features = read_features(path, layer, crs=crs)
    except VectorError as error:
        raise AoiError(error.message, hint=error.hint) from error.__cause__
    names = [f"feature {row + 1} (fid {fid}): " for row, fid in enumerate(features.fids.tolist())]
    return _area(read_shapes(features.wkb), features.crs, features.what, names)


def _area(shapes: Shapes, crs: pyproj.CRS, what: str, names: Sequence[str]) -> shapely.Geometry:
    """What polygons cover together."""
    if shapes.broken:
        row = min(shapes.broken)
        raise AoiError(
            f"{what}: {names[row]}{shapes.reasons[row]}", hint="repair it, or remove it: an area must be certain"
        )
    polygons = shapes.geometries[~shapely.is_missing(shapes.geometries)]
    if not len(polygons):
        raise AoiError(f"{what}: no polygon with an area", hint="an area of interest must have an area")
    if not is_longitude_latitude(crs):
        polygons = _moved(polygons, crs, what)
    return _within_world(_united(polygons), what)


def _moved(polygons: npt.NDArray[np.object_], crs: pyproj.CRS, what: str) -> npt.NDArray[np.object_]:
    moved = to_degrees(polygons, crs)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise AoiError(
            f"{what}: some coordinates lie outside of what its CRS, {crs.name}, can show", hint="is its CRS right?"
        )
    return np.asarray(shapely.make_valid(moved))


def _united(polygons: npt.NDArray[np.object_]) -> shapely.Geometry:
    try:
        return united(polygons)
    except shapely.errors.GEOSException:  # of edges that all but coincide; a tenth of a millimetre settles it
        return shapely.union_all(shapely.make_valid(polygons), grid_size=1e-9)


def _within_world(area: shapely.Geometry, name: str) -> shapely.Geometry:
    west, south, east, north = area.bounds
    if south < -90.001 or north > 90.001 or west < -360 or east > 540:
        raise AoiError(f"{name}: not degrees of longitude and latitude (its bounds are {area.bounds})")
    inside = within_world(area)
    if inside.is_empty:
        raise AoiError(f"{name}: no polygon with an area", hint="an area of interest must have an area")
    return inside

"""Tile grids: Sentinel-2's granules, and regular squares in UTM zones or in any projected CRS.

`mgrs`
    The granules of Sentinel-2: 109.8 km squares over the 100 km squares of MGRS, overlapping their neighbours
    by 9.8 km. Their upper left corner is the square's, moved outwards to a multiple of 60 m counted from the
    origin of the UTM zone, which lies at 10,000 km north for southern zones: this holds for each of the
    18,367 tiles on and near land whose names are shipped as a table, and for all products seen. Where the
    table has no tile (small islands, open sea) squares are named by the rules of MGRS, with the latitude band
    of their centre.
`utm:SIZE`
    Squares of SIZE metres from the origin of each UTM zone, as far as they touch the zone's six degrees:
    without gaps, and overlapping only where two zones meet.
`EPSG:CODE:SIZE`
    Squares of SIZE metres from the origin of a projected CRS.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
import shapely.affinity

from hpckit.errors import GridError

GRANULE_M: Final = 109_800
"""Edge of a granule in metres."""
_DENSE_M: Final = 10_000
_LEAST_BUFFER_M: Final = 0.001
_MOST_TILES: Final = 2_000_000
_POLAR: Final = 84.0
_COLUMNS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ROWS: Final = "ABCDEFGHJKLMNPQRSTUV"
_BANDS: Final = "CDEFGHJKLMNPQRSTUVWX"


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of a grid."""

    tile: str
    epsg: int
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    aoi_fraction: float = math.nan
    """Fraction of the tile's area within the area of interest."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax in metres."""
        return self.xmin, self.ymin, self.xmax, self.ymax

    @property
    def polygon(self) -> shapely.Geometry:
        """The square, in the tile's CRS."""
        return shapely.box(*self.bounds)

    def footprint(self) -> shapely.Geometry:
        """The square in longitude and latitude with dense edges, cut at the antimeridian."""
        return _to_degrees(shapely.segmentize(self.polygon, _DENSE_M), self.epsg)


def mgrs_tile(name: str) -> Tile:
    """Granule of Sentinel-2 by its name, `31UFU` or `T31UFU`.

    Raises
    ------
    GridError
        If MGRS has no such square.
    """
    wanted = name.upper().removeprefix("T").zfill(5)
    match = re.fullmatch(r"(\d\d)([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", wanted)
    if match is None or not 1 <= int(match[1]) <= 60:
        raise GridError(f"{name!r} is no MGRS tile", hint="write it like 31UFU")
    zone, band, column, row = int(match[1]), match[2], match[3], match[4]
    easting = _COLUMNS.index(column) - 8 * ((zone - 1) % 3) + 1
    middle = (_BANDS.index(band) * 8 - 80 + (6 if band == "X" else 4)) * 110_946 / 100_000
    north = band >= "N"
    least = _ROWS.index(row) - (0 if zone % 2 else 5)
    # Row letters come again every 2000 km: the one nearest to the middle of the band is meant.
    northing = least + 20 * round((middle + (0 if north else 100) - least - 0.5) / 20)
    if not 1 <= easting <= 8:
        raise GridError(f"{name!r}: zone {zone} has no column {column}", hint="write it like 31UFU")
    return _granule(wanted, zone, north, easting, northing)


def _granule(name: str, zone: int, north: bool, easting: int, northing: int) -> Tile:
    """Granule over the 100 km square whose lower left corner is given in units of 100 km."""
    origin = 0 if north else 10_000_000
    x = easting * 100_000 // 60 * 60
    y = origin - (origin - (northing + 1) * 100_000) // 60 * 60
    epsg = (32600 if north else 32700) + zone
    return Tile(name, epsg, float(x), float(y - GRANULE_M), float(x + GRANULE_M), float(y))


def tile_aoi(aoi: shapely.Geometry, grid: str = "mgrs", buffer_m: float = 0.0) -> list[Tile]:
    """Tiles of a grid that share some area with an area of interest.

    Parameters
    ----------
    aoi : shapely geometry
        In longitude and latitude, within -180 to 180 degrees.
    grid : str
        `mgrs`, `utm:SIZE` or `EPSG:CODE:SIZE`; sizes in metres. A size of pixels (`@10`) has no say here.
    buffer_m : float
        Widens the area by this many metres, in each tile's CRS.

    Returns
    -------
    list of Tile
        Sorted by name, with `aoi_fraction`.

    Raises
    ------
    GridError
        If the grid is unknown or malformed, or would have more than two million tiles.
    """
    if buffer_m < 0 or not math.isfinite(buffer_m):
        raise GridError(f"a buffer of {buffer_m} m makes no sense; it must be 0 or more")
    area = shapely.make_valid(aoi)
    buffer_m = buffer_m if buffer_m >= _LEAST_BUFFER_M else 0.0
    found = [
        tile for epsg, tiles in _candidates(area, grid, buffer_m) for tile in _measure(area, epsg, tiles, buffer_m)
    ]
    return sorted(found, key=lambda tile: tile.tile)


@lru_cache(maxsize=1)
def _listed() -> tuple[list[Tile], shapely.STRtree]:
    """Tiles of the table, and a tree of their footprints."""
    with resources.files("hpckit").joinpath("data/mgrs.npz").open("rb") as file, np.load(file) as data:
        zones, letters = data["zone"].tolist(), data["letters"]
    tiles = [mgrs_tile(f"{zone:02d}{bytes(text).decode()}") for zone, text in zip(zones, letters, strict=True)]
    return tiles, shapely.STRtree(footprints(tiles))


def footprints(tiles: Sequence[Tile]) -> npt.NDArray[np.object_]:
    """Footprints of many tiles in longitude and latitude, cut at the antimeridian; one projection per CRS."""
    footprints = np.empty(len(tiles), dtype=object)
    codes = np.array([tile.epsg for tile in tiles])
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        boxes = shapely.segmentize(
            shapely.box(*np.array([tiles[row].bounds for row in rows.tolist()]).T), GRANULE_M / 4
        )
        moved = _transform(boxes, int(code), 4326)
        bounds = shapely.bounds(moved)
        for place, row in enumerate(rows.tolist()):
            wide = bounds[place, 2] - bounds[place, 0] > 180
            footprints[row] = _cut_at_antimeridian(moved[place]) if wide else moved[place]
    return footprints


def _candidates(area: shapely.Geometry, grid: str, buffer_m: float) -> Iterator[tuple[int, list[Tile]]]:
    """Tiles that may touch the area, by CRS."""
    if grid == "mgrs":
        yield from _mgrs_candidates(area, buffer_m)
        return
    match = re.fullmatch(r"(?i)(?:(utm)|epsg:(\d+)):(\d+(?:\.\d+)?)(?:@\d+m?)?", grid.strip())
    if match is None:
        raise GridError(f"{grid!r} is no grid", hint="grids are mgrs, utm:10240 and EPSG:3035:10000")
    size = float(match[3])
    if size <= 0:
        raise GridError(f"{grid!r}: tiles of {size:g} m make no sense")
    if match[1]:
        yield from _utm_candidates(area, size, buffer_m)
    else:
        yield (
            int(match[2]),
            list(_squares(_in_crs(area, require_metres(int(match[2]))), int(match[2]), size, buffer_m)),
        )


def _mgrs_candidates(area: shapely.Geometry, buffer_m: float) -> Iterator[tuple[int, list[Tile]]]:
    tiles, tree = _listed()
    near = _widen_degrees(area, buffer_m)
    found = [tiles[row] for row in np.unique(tree.query(near, predicate="intersects")).tolist()]
    rest = shapely.difference(near, shapely.union_all(footprints(found))) if found else near
    if rest.area > 0:
        known = {tile.tile for tile in found}
        found += [tile for tile in _unlisted(rest) if tile.tile not in known]
    by_crs: dict[int, list[Tile]] = {}
    for tile in found:
        by_crs.setdefault(tile.epsg, []).append(tile)
    yield from by_crs.items()


def _unlisted(area: shapely.Geometry) -> Iterator[Tile]:
    """Granules by the rules of MGRS over an area that the table does not reach."""
    for zone, north, strip in _zones(area):
        epsg = (32600 if north else 32700) + zone
        for square in _squares(_transform(shapely.segmentize(strip, 0.1), 4326, epsg), epsg, 100_000.0, 0.0):
            easting, northing = round(square.xmin / 1e5), round(square.ymin / 1e5)
            _, latitude = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True).transform(
                square.xmin + 5e4, square.ymin + 5e4
            )
            band = _BANDS[min(19, max(0, int((latitude + 80) // 8)))]
            column = _COLUMNS[(8 * ((zone - 1) % 3) + easting - 1) % 24]
            row = _ROWS[(northing + (0 if zone % 2 else 5)) % 20]
            if 1 <= easting <= 8:
                yield _granule(f"{zone:02d}{band}{column}{row}", zone, north, easting, northing)


def _utm_candidates(area: shapely.Geometry, size: float, buffer_m: float) -> Iterator[tuple[int, list[Tile]]]:
    for zone, north, strip in _zones(_widen_degrees(area, buffer_m)):
        epsg = (32600 if north else 32700) + zone
        prefix = f"{zone:02d}{'N' if north else 'S'}_"
        local = _transform(shapely.segmentize(strip, 0.1), 4326, epsg)
        yield epsg, list(_squares(local, epsg, size, 0.0, prefix))


def _zones(area: shapely.Geometry) -> Iterator[tuple[int, bool, shapely.Geometry]]:
    """UTM zones that an area touches, by hemisphere, with the part of the area in each."""
    for north, half in ((True, shapely.box(-180, 0, 180, _POLAR)), (False, shapely.box(-180, -80, 180, 0))):
        part = shapely.intersection(area, half)
        if part.area == 0:
            continue
        west, _, east, _ = part.bounds
        for zone in range(int((west + 180) // 6) + 1, min(60, int((east + 180) // 6) + 1) + 1):
            strip = shapely.intersection(part, shapely.box(-186 + 6 * zone, -80, -180 + 6 * zone, _POLAR))
            polygons = [shape for shape in shapely.get_parts(strip) if shape.geom_type == "Polygon"]
            if polygons:
                yield zone, north, shapely.MultiPolygon(polygons)


def _squares(area: shapely.Geometry, epsg: int, size: float, buffer_m: float, prefix: str = "") -> Iterator[Tile]:
    """Squares whose box touches the area's parts; exact tests come later."""
    wide = area.buffer(buffer_m) if buffer_m else area
    shapely.prepare(wide)
    count = 0
    seen: set[tuple[int, int]] = set()
    for part in shapely.get_parts(wide):
        west, south, east, north = part.bounds
        columns = range(math.floor(west / size), math.ceil(east / size))
        rows = range(math.floor(south / size), math.ceil(north / size))
        count += len(columns) * len(rows)
        if count > _MOST_TILES:
            raise GridError(f"tiles of {size:g} m would be more than {_MOST_TILES:,} here; make them larger")
        for row in rows:
            for column in columns:
                if (row, column) not in seen:
                    seen.add((row, column))
                    box = (column * size, row * size, (column + 1) * size, (row + 1) * size)
                    if shapely.intersects(wide, shapely.box(*box)):
                        yield Tile(f"{prefix}{_index('E', column)}{_index('N', row)}", epsg, *box)


def _index(letter: str, number: int) -> str:
    return f"{letter}{'m' if number < 0 else ''}{abs(number):04d}"


def require_metres(epsg: int) -> int:
    """Check that a CRS can carry a grid, and return its code.

    Raises
    ------
    GridError
        If it is unknown, or not projected in metres.
    """
    try:
        crs = pyproj.CRS.from_epsg(epsg)
    except pyproj.exceptions.CRSError:
        raise GridError(f"EPSG:{epsg} is no known CRS") from None
    if not crs.is_projected or any(axis.unit_name != "metre" for axis in crs.axis_info):
        raise GridError(f"EPSG:{epsg} ({crs.name}) is not projected in metres", hint="for Europe take EPSG:3035")
    return epsg


def _measure(area: shapely.Geometry, epsg: int, tiles: list[Tile], buffer_m: float) -> Iterator[Tile]:
    """Tiles that share area with the area of interest, with the fraction."""
    local = _in_crs(area, epsg)
    if buffer_m:
        local = local.buffer(buffer_m)
    for tile in tiles:
        fraction = shapely.clip_by_rect(local, *tile.bounds).area / tile.polygon.area
        if fraction > 0:
            yield replace(tile, aoi_fraction=min(1.0, fraction))


def _in_crs(area: shapely.Geometry, epsg: int) -> shapely.Geometry:
    """Area in a projected CRS; for a UTM zone only what lies near it, since far from it UTM is meaningless."""
    if epsg // 100 in (326, 327):
        middle = -183 + 6 * (epsg % 100)
        boxes = [shapely.box(middle - 15 + turn, -90, middle + 15 + turn, 90) for turn in (-360, 0, 360)]
        area = shapely.intersection(area, shapely.union_all(boxes))
    moved = _transform(shapely.segmentize(area, 0.1), 4326, epsg)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise GridError(f"the area of interest reaches beyond what EPSG:{epsg} can show", hint="choose another grid")
    return shapely.make_valid(moved)


def _to_degrees(shape: shapely.Geometry, epsg: int) -> shapely.Geometry:
    moved = _transform(shape, epsg, 4326)
    west, _, east, _ = moved.bounds
    return moved if east - west <= 180 else _cut_at_antimeridian(moved)


def _transform(shapes: Any, source: int, target: int) -> Any:
    transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    return shapely.transform(shapes, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))


def _cut_at_antimeridian(moved: shapely.Geometry) -> shapely.Geometry:
    shifted = shapely.transform(moved, lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
    right = shapely.intersection(shifted, shapely.box(0, -90, 180, 90))
    left = shapely.affinity.translate(shapely.intersection(shifted, shapely.box(180, -90, 360, 90)), -360)
    return shapely.MultiPolygon([p for whole in (right, left) for p in shapely.get_parts(whole) if p.area > 0])


def _widen_degrees(area: shapely.Geometry, buffer_m: float) -> shapely.Geometry:
    """Area widened by at least `buffer_m`, in degrees: for finding candidates only."""
    if buffer_m <= 0:
        return area
    _, south, _, north = area.bounds
    latitude = min(85.0, max(abs(south), abs(north)))
    degrees = buffer_m / 111_000 / math.cos(math.radians(latitude))
    wide = area.buffer(degrees)
    world = shapely.box(-180, -90, 180, 90)
    return shapely.union_all(
        [shapely.intersection(shapely.affinity.translate(wide, shift), world) for shift in (-360, 0, 360)]
    )

"""Chips: small pictures of one parcel, all dates of a calendar at once, and the pixels themselves as GeoTIFF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, floor, isqrt
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine

from hpckit.cubes.read import Group
from hpckit.cubes.region import Box
from hpckit.errors import CubeError, HpckitError
from hpckit.look.layers import Layer, Painter, of_band, painter
from hpckit.look.opened import TileOpened, day_of, open_tiles
from hpckit.look.planes import Faults, is_categorical, physical, read_sound, warped
from hpckit.reduce.composites.hierarchy import PERIODS
from hpckit.sensors.masks import MaskBand, flagged
from hpckit.space.vector.project import project

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from hpckit.look.view import CampaignView

_MARGIN_M: Final = 100.0
_MOST_EDGE: Final = 256
"""Pixels of a chip; of larger parcels every second pixel is shown, or every third …"""
_MOST_RAW_EDGE: Final = 4096
_MERCATOR: Final = pyproj.CRS.from_epsg(3857)

Stacks = dict[str, npt.NDArray[Any]]
"""Planes of all dates by text, shape (dates, rows, columns): physical units, or codes."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One chip of a sprite sheet."""

    id: str
    """Identifier of the acquisition, or label of a composite's period."""
    time: str
    """Sensing time, ISO 8601, UTC; empty for a period."""
    x: int
    """First column of the chip in the sheet."""
    y: int
    """First row."""
    cloud: float | None
    """Share of the parcel's pixels that the mask takes for cloud; None without a mask."""
    valid: float
    """Share of the parcel's pixels that are shown."""


@dataclass(frozen=True, slots=True)
class Sprite:
    """Chips of all dates in one picture, in rows from the upper left corner."""

    png: bytes
    width: int
    """Pixels of one chip."""
    height: int
    cells: tuple[Cell, ...]
    outline: str
    """The parcel as an SVG path, in pixels of a chip; to be filled by the rule `evenodd`."""
    tile: str
    epsg: int
    transform: tuple[float, ...]
    """From column and row of a chip to metres of the CRS: a, b, c, d, e, f."""
    notes: tuple[str, ...] = ()
    """What could not be read."""


@dataclass(frozen=True, slots=True)
class RawChip:
    """Pixels of one band and acquisition."""

    tiff: bytes
    """GeoTIFF in the CRS of the tile, stored numbers with scale and offset."""
    tile: str
    acquisition: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Site:
    """A parcel on a tile."""

    tile: TileOpened
    zone: shapely.Geometry
    """In the CRS of the tile."""
    found: tuple[tuple[Group, str], ...]
    """Group and name of each band's array."""
    geobox: GeoBox
    """Pixels of the chip: the finest of the bands, on borders of the coarsest."""

    def box(self, group: Group) -> Box:
        """The chip in pixels of a group; it may reach beyond the tile."""
        column, row = ~group.where.transform * (self.geobox.transform.c, self.geobox.transform.f)
        ratio = self.geobox.transform.a / group.where.transform.a
        rows, columns = (round(size * ratio) for size in self.geobox.shape)
        return Box(round(row), round(column), round(row) + rows, round(column) + columns)


def calendar(
    view: CampaignView,
    zone: shapely.Geometry,
    layer: Layer,
    start: date | None = None,
    end: date | None = None,
    *,
    crs: str | int | pyproj.CRS = 4326,
    margin_m: float = _MARGIN_M,
) -> Sprite:
    """Draw a parcel on all dates of a period.

    Each shard is read once for all dates. Colours have one scale for all dates.

    Parameters
    ----------
    zone : shapely geometry
        A polygon or several.
    layer : Layer
        What is shown; its day and period are not used.
    start, end : date, optional
        First and last day, both included; all dates if not given.
    crs : CRS
        Of the zone; longitude and latitude if not given.
    margin_m : float
        How much is shown around the zone, metres.

    Raises
    ------
    CubeError
        If the campaign has no such layer, or no tile that holds some of the zone.
    HpckitError
        If the zone is empty.
    """
    how, faults = painter(view.campaign, layer), Faults()
    site = _site(how, zone, crs, margin_m)
    group = site.found[0][0]
    times = _times(group, start, end)
    stacks = _read(how, site, times, faults)
    _complete(how, site, times, stacks, faults)
    step = max(1, ceil(max(site.geobox.shape) / _MOST_EDGE))
    stacks = {text: stack[:, ::step, ::step] for text, stack in stacks.items()}
    transform = site.geobox.transform * Affine.scale(step)
    valid = _valid(how, stacks)
    inside = _inside(site.zone, transform, valid.shape[1:])
    clouds = _clouds(view.campaign.sensor.mask, site, times, step, faults)
    png, places = _sheet(how, stacks, valid)
    cells = [
        Cell(
            *_named(group, number),
            *place,
            None if clouds is None else _share(clouds[count] & valid[count], inside & valid[count]),
            _share(valid[count], inside) or 0.0,
        )
        for count, (number, place) in enumerate(zip(times, places, strict=True))
    ]
    height, width = valid.shape[1:]
    outline, coordinates = svg_path(site.zone, transform), tuple(transform)[:6]
    epsg = site.tile.where.epsg
    return Sprite(png, width, height, tuple(cells), outline, site.tile.tile, epsg, coordinates, tuple(faults.notes))


def raw_chip(
    view: CampaignView,
    zone: shapely.Geometry,
    band: str,
    when: date | str,
    *,
    crs: str | int | pyproj.CRS = 4326,
    margin_m: float = 0.0,
) -> RawChip:
    """Cut the window of a zone out of the cube, as GeoTIFF.

    Parameters
    ----------
    zone : shapely geometry
        The window is its box in the CRS of the tile, grown to whole pixels.
    band : str
        `B04`, or `B04@20m`.
    when : date or str
        A day (UTC), or the identifier of an acquisition or product.
    margin_m : float
        How much is cut out around the zone, metres.

    Raises
    ------
    CubeError
        If the cube has no such band or date there.
    ShardError
        If a shard is gone or damaged.
    HpckitError
        If the window is larger than 4096 pixels.
    """
    site = _site(of_band(view.campaign, band), zone, crs, margin_m)
    if max(site.geobox.shape) > _MOST_RAW_EDGE:
        raise HpckitError(f"a chip has at most {_MOST_RAW_EDGE} pixels on a side, not {max(site.geobox.shape)}")
    group, name = site.found[0]
    number = _position(group, when, site.tile.tile)
    faults, array = Faults(), group.arrays[name]
    pixels = read_sound(array, site.box(group), range(number, number + 1), faults)[0]
    for fault in faults.shards:
        raise fault
    acquisition = group.where.acquisitions[number]
    return RawChip(_geotiff(pixels, site, array.attributes, acquisition, name), site.tile.tile, dict(acquisition))


def svg_path(zone: shapely.Geometry, transform: Affine) -> str:
    """Outline of polygons as an SVG path, in pixels of a transform."""
    parts = []
    for polygon in shapely.get_parts(shapely.get_parts(zone)):
        if polygon.geom_type != "Polygon":
            continue
        for ring in (polygon.exterior, *polygon.interiors):
            x, y = shapely.get_coordinates(ring)[:-1].T
            columns, rows = (~transform) * (x, y)
            parts.append(
                "M" + "L".join(f"{column:.2f} {row:.2f}" for column, row in zip(columns, rows, strict=True)) + "Z"
            )
    return "".join(parts)


def _site(how: Painter, zone: shapely.Geometry, crs: Any, margin_m: float) -> _Site:
    """The tile that holds most of a zone, and the pixels of its chip there."""
    if zone.is_empty or not np.isfinite(zone.bounds).all():
        raise HpckitError("the zone is empty")
    source = pyproj.CRS.from_user_input(crs)
    shapes = np.array([shapely.force_2d(zone)], dtype=object)
    around = project(shapes, source, _MERCATOR)[0].bounds
    sites = [site for site in _sites(how, open_tiles(how.store, around), shapes, source, margin_m) if site]
    if not sites:
        raise CubeError(f"{how.store}: no tile holds the zone", hint="it may lie outside the campaign's area")
    return max(sites, key=_held_area)


def _sites(
    how: Painter, tiles: Iterable[TileOpened], shapes: npt.NDArray[np.object_], source: pyproj.CRS, margin_m: float
) -> Iterator[_Site | None]:
    for tile in tiles:
        found = [one for one in (how.find(tile, text) for text in how.texts) if one is not None]
        if len(found) < len(how.texts):
            continue
        zone = project(shapes, source, pyproj.CRS.from_epsg(tile.where.epsg))[0]
        yield _Site(tile, zone, tuple(found), _chip(zone.bounds, [group for group, _ in found], margin_m))


def _held_area(site: _Site) -> float:
    """Area of the zone's box within the tile; of equal ones the first by name."""
    west, south, east, north = site.zone.bounds
    where = site.tile.where
    left, top = where.transform.c, where.transform.f
    right, bottom = where.transform * (where.shape[1], where.shape[0])
    width, height = min(east, right) - max(west, left), min(north, top) - max(south, bottom)
    return float(max(0.0, width) * max(0.0, height))


def _chip(bounds: Sequence[float], groups: Sequence[Group], margin_m: float) -> GeoBox:
    """Pixels of a chip: those of the finest group, on borders of the coarsest one's."""
    from odc.geo.geobox import GeoBox

    where = min((group.where for group in groups), key=lambda where: where.transform.a)
    edge, snap = where.transform.a, max(group.where.transform.a for group in groups)
    left, top = where.transform.c, where.transform.f
    west, south, east, north = bounds
    first, last = floor((west - margin_m - left) / snap), ceil((east + margin_m - left) / snap)
    upper, lower = floor((top - north - margin_m) / snap), ceil((top - south + margin_m) / snap)
    shape = (round((lower - upper) * snap / edge), round((last - first) * snap / edge))
    return GeoBox(shape, Affine(edge, 0, left + first * snap, 0, -edge, top - upper * snap), f"EPSG:{where.epsg}")


def _times(group: Group, start: date | None, end: date | None) -> list[int]:
    """Positions of the dates of a period on the time axis."""
    if not group.where.acquisitions:
        return list(range(len(group.attributes.get(PERIODS, ()))))
    days = [day_of(item) for item in group.where.acquisitions]
    return [number for number, day in enumerate(days) if (start or day) <= day <= (end or day)]


def _named(group: Group, number: int) -> tuple[str, str]:
    """Identifier and time of a date."""
    if not group.where.acquisitions:
        return str(group.attributes[PERIODS][number]), ""
    item = group.where.acquisitions[number]
    return str(item["id"]), str(item["time"])


def _position(group: Group, when: date | str, tile: str) -> int:
    for number, item in enumerate(group.where.acquisitions):
        if (day_of(item) == when) if isinstance(when, date) else when in (item["id"], *item.get("products", ())):
            return number
    raise CubeError(f"tile {tile} has no acquisition {when}", hint="the campaign's layers list its days")


def _read(how: Painter, site: _Site, times: Sequence[int], faults: Faults) -> Stacks:
    """Planes of all dates, in pixels of the chip."""
    stacks = {}
    for text, (group, name) in zip(how.texts, site.found, strict=True):
        array = group.arrays[name]
        stored = _stored(array, site, group, times, faults)
        stacks[text] = stored if is_categorical(array) else physical(stored, array)
    return stacks


def _stored(array: Any, site: _Site, group: Group, times: Sequence[int], faults: Faults) -> npt.NDArray[Any]:
    """Stored numbers of all dates; coarse pixels are repeated."""
    repeat = round(group.where.transform.a / site.geobox.transform.a)
    if not times:
        return np.zeros((0, *site.geobox.shape), array.dtype)
    stack = read_sound(array, site.box(group), range(times[0], times[-1] + 1), faults)
    stack = stack[[number - times[0] for number in times]]
    return stack.repeat(repeat, 1).repeat(repeat, 2) if repeat > 1 else stack


def _complete(how: Painter, site: _Site, times: Sequence[int], stacks: Stacks, faults: Faults) -> None:
    """Fill from other tiles what the chip shows beyond the edge of its tile."""
    where = site.tile.where
    west, north = ~where.transform * (site.geobox.transform.c, site.geobox.transform.f)
    rows, columns = (size * site.geobox.transform.a / where.transform.a for size in site.geobox.shape)
    if west >= 0 and north >= 0 and west + columns <= where.shape[1] and north + rows <= where.shape[0]:
        return
    box = shapely.box(*site.geobox.boundingbox)
    around = project(np.array([box], dtype=object), pyproj.CRS.from_epsg(where.epsg), _MERCATOR)[0].bounds
    group = site.found[0][0]
    for tile in open_tiles(how.store, around):
        found = [one for one in (how.find(tile, text) for text in how.texts) if one is not None]
        if tile.tile == site.tile.tile or len(found) < len(how.texts):
            continue
        for count, number in enumerate(times):
            other = _same_date(group, number, found[0][0])
            if other is not None:
                _fill(how, site, found, other, {text: stack[count] for text, stack in stacks.items()}, faults)


def _same_date(group: Group, number: int, other: Group) -> int | None:
    """Position of the same pass, or period, on the time axis of another tile."""
    if not group.where.acquisitions:
        label = group.attributes[PERIODS][number]
        labels = list(other.attributes.get(PERIODS, ()))
        return labels.index(label) if label in labels else None
    mine = group.where.acquisitions[number]
    for place, item in enumerate(other.where.acquisitions):
        if day_of(item) == day_of(mine) and item.get("relative_orbit") == mine.get("relative_orbit"):
            return place
    return None


def _fill(
    how: Painter,
    site: _Site,
    found: Sequence[tuple[Group, str]],
    number: int,
    planes: Stacks,
    faults: Faults,
) -> None:
    """Add pixels of another tile where the chip has none."""
    others = {}
    for text, (group, name) in zip(how.texts, found, strict=True):
        plane = warped(group.arrays[name], group.where, number, site.geobox, "nearest", faults)
        if plane is None:
            return
        others[text] = plane
    missing = ~_valid(how, planes)
    for text, plane in others.items():
        np.copyto(planes[text], plane, where=missing)


def _valid(how: Painter, stacks: Stacks) -> npt.NDArray[np.bool_]:
    """Pixels that all bands have."""
    if how.categorical is not None:
        return np.asarray(stacks[how.texts[0]] != 0)
    return np.asarray(np.logical_and.reduce([np.isfinite(stack) for stack in stacks.values()]))


def _inside(zone: shapely.Geometry, transform: Affine, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Pixels of a chip whose centre lies in the zone; all that it touches, of a narrow one."""
    import rasterio.features

    for every in (False, True):
        burnt = rasterio.features.rasterize([zone], shape, transform=transform, all_touched=every, dtype="uint8")
        if burnt.any():
            break
    return np.asarray(burnt, np.bool_)


def _clouds(
    mask: MaskBand | None, site: _Site, times: Sequence[int], step: int, faults: Faults
) -> npt.NDArray[np.bool_] | None:
    """Pixels that the mask takes for cloud, of all dates; None if the cube has no mask."""
    found = None if mask is None else site.tile.find(mask.name)
    if mask is None or found is None or not found[0].where.acquisitions:
        return None
    group, name = found
    ratio = group.where.transform.a / site.geobox.transform.a
    box, rows, columns = _around(group, site), *site.geobox.shape
    stored = read_sound(group.arrays[name], box, range(times[0], times[-1] + 1), faults) if times else None
    if stored is None:
        return np.zeros((0, rows, columns), np.bool_)
    stored = stored[[number - times[0] for number in times]]
    column, row = ~group.where.transform * (site.geobox.transform.c, site.geobox.transform.f)
    down = np.floor(row + (np.arange(0, rows, step) + 0.5) / ratio + 1e-6).astype(int) - box.top
    along = np.floor(column + (np.arange(0, columns, step) + 0.5) / ratio + 1e-6).astype(int) - box.left
    return flagged(mask.band, stored, mask.clouds)[:, down][:, :, along]


def _around(group: Group, site: _Site) -> Box:
    """Pixels of a group that the chip touches, whatever their size."""
    a, _, c, _, _, f = tuple(site.geobox.transform)[:6]
    rows, columns = site.geobox.shape
    left, top = ~group.where.transform * (c, f)
    right, bottom = ~group.where.transform * (c + columns * a, f - rows * a)
    return Box(floor(top + 1e-6), floor(left + 1e-6), ceil(bottom - 1e-6), ceil(right - 1e-6))


def _share(part: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]) -> float | None:
    count = int(whole.sum())
    return round(float((part & whole).sum()) / count, 4) if count else None


def _sheet(how: Painter, stacks: Stacks, valid: npt.NDArray[np.bool_]) -> tuple[bytes, list[tuple[int, int]]]:
    """Sprite sheet, and where each chip begins in it: column and row."""
    count, height, width = valid.shape
    across = max(1, isqrt(max(1, count) - 1) + 1)
    down = max(1, -(-count // across))
    sheets = {}
    for text, stack in stacks.items():
        categorical = how.categorical is not None
        sheet = np.full((down * height, across * width), 0 if categorical else np.nan, stack.dtype)
        places = [(number % across * width, number // across * height) for number in range(count)]
        for plane, known, (x, y) in zip(stack, valid, places, strict=True):
            np.copyto(sheet[y : y + height, x : x + width], plane, where=known)
        sheets[text] = sheet
    return how.paint(sheets).png, places


def _geotiff(pixels: npt.NDArray[Any], site: _Site, notes: Any, acquisition: Any, name: str) -> bytes:
    """GeoTIFF of a window."""
    from rasterio.io import MemoryFile

    rows, columns = pixels.shape
    profile = {
        "driver": "GTiff",
        "height": rows,
        "width": columns,
        "count": 1,
        "dtype": pixels.dtype.name,
        "crs": f"EPSG:{site.tile.where.epsg}",
        "transform": site.geobox.transform,
        "compress": "deflate",
        "nodata": notes.get("_FillValue"),
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(pixels, 1)
            target.scales, target.offsets = (notes.get("scale_factor", 1.0),), (notes.get("add_offset", 0.0),)
            target.set_band_description(1, name)
            target.update_tags(TIFFTAG_DATETIME=str(acquisition["time"]), ACQUISITION=str(acquisition["id"]))
        return bytes(memory.read())

"""Chips: small pictures of one parcel, all dates of a calendar at once, and the pixels themselves as GeoTIFF."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import ceil, isqrt
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine

from hpckit.cubes.read import Group
from hpckit.cubes.sound import Faults, read_sound
from hpckit.errors import CubeError, HpckitError
from hpckit.look.layers import Layer, Painter, of_band, painter
from hpckit.look.opened import day_of
from hpckit.look.site import (
    Stacks,
    cloudy_pixels,
    complete,
    find_site,
    pixels_inside,
    read_stacks,
    valid_pixels,
)
from hpckit.reduce.composites.hierarchy import PERIODS

if TYPE_CHECKING:
    from hpckit.look.view import CampaignView

_MARGIN_M: Final = 100.0
_MOST_EDGE: Final = 256
"""Pixels of a chip; of larger parcels every second pixel is shown, or every third …"""
_MOST_RAW_EDGE: Final = 4096


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
class ChipPixels:
    """Pixels of one band and acquisition: physical values are `pixels * scale + offset`."""

    pixels: npt.NDArray[Any]
    """Stored numbers, rows and columns."""
    nodata: float | None
    scale: float
    offset: float
    band: str
    tile: str
    epsg: int
    transform: Affine
    """From column and row to metres of the CRS."""
    acquisition: dict[str, Any]
    """As the cube describes it."""


@dataclass(frozen=True, slots=True)
class ChipPlace:
    """Where `read_chip` finds a zone: the tile that holds most of it."""

    tile: str
    epsg: int
    transform: Affine
    """Of the band's pixels in the tile."""
    acquisitions: tuple[dict[str, Any], ...]
    """In the order of time, as the cube describes them."""


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
    site = find_site(how, zone, crs, margin_m)
    group = site.found[0][0]
    times = _times(group, start, end)
    stacks = read_stacks(how, site, times, faults)
    complete(how, site, times, stacks, faults)
    step = max(1, ceil(max(site.geobox.shape) / _MOST_EDGE))
    stacks = {text: stack[:, ::step, ::step] for text, stack in stacks.items()}
    transform = site.geobox.transform @ Affine.scale(step)
    valid = valid_pixels(how, stacks)
    inside = pixels_inside(site.zone, transform, valid.shape[1:])
    clouds = cloudy_pixels(view.campaign.sensor.mask, site, times, step, faults)
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


def read_chip(
    view: CampaignView,
    zone: shapely.Geometry,
    band: str,
    when: date | str,
    *,
    crs: str | int | pyproj.CRS = 4326,
    margin_m: float = 0.0,
) -> ChipPixels:
    """Read the window of a zone from the cube.

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
    site = find_site(of_band(view.campaign, band), zone, crs, margin_m)
    if max(site.geobox.shape) > _MOST_RAW_EDGE:
        raise HpckitError(f"a chip has at most {_MOST_RAW_EDGE} pixels on a side, not {max(site.geobox.shape)}")
    group, name = site.found[0]
    number = _position(group, when, site.tile.tile)
    faults, array = Faults(), group.arrays[name]
    pixels = read_sound(array, site.box(group), range(number, number + 1), faults)[0]
    for fault in faults.shards:
        raise fault
    notes = array.attributes
    return ChipPixels(
        pixels,
        notes.get("_FillValue"),
        notes.get("scale_factor", 1.0),
        notes.get("add_offset", 0.0),
        name,
        site.tile.tile,
        site.tile.where.epsg,
        site.geobox.transform,
        dict(group.where.acquisitions[number]),
    )


def chip_place(
    view: CampaignView, zone: shapely.Geometry, band: str, *, crs: str | int | pyproj.CRS = 4326
) -> ChipPlace:
    """Tile, pixels and acquisitions that `read_chip` has of a zone and band.

    Raises
    ------
    CubeError
        If the cube has no such band, or no tile that holds some of the zone.
    """
    site = find_site(of_band(view.campaign, band), zone, crs, 0.0)
    where = site.found[0][0].where
    return ChipPlace(site.tile.tile, where.epsg, where.transform, tuple(where.acquisitions))


def svg_path(zone: shapely.Geometry, transform: Affine) -> str:
    """Outline of polygons as an SVG path, in pixels of a transform."""
    parts = []
    for polygon in shapely.get_parts(shapely.get_parts(zone)):
        if polygon.geom_type != "Polygon":
            continue
        for ring in (polygon.exterior, *polygon.interiors):
            x, y = shapely.get_coordinates(ring)[:-1].T
            columns, rows = ~transform @ (x, y)
            parts.append(
                "M" + "L".join(f"{column:.2f} {row:.2f}" for column, row in zip(columns, rows, strict=True)) + "Z"
            )
    return "".join(parts)


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


def write_geotiff(chip: ChipPixels) -> bytes:
    """Write a chip as GeoTIFF of one band, with the time and the identifier of its acquisition."""
    from rasterio.io import MemoryFile

    rows, columns = chip.pixels.shape
    profile = {
        "driver": "GTiff",
        "height": rows,
        "width": columns,
        "count": 1,
        "dtype": chip.pixels.dtype.name,
        "crs": f"EPSG:{chip.epsg}",
        "transform": chip.transform,
        "compress": "deflate",
        "nodata": chip.nodata,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(chip.pixels, 1)
            target.scales, target.offsets = (chip.scale,), (chip.offset,)
            target.set_band_description(1, chip.band)
            time, name = str(chip.acquisition["time"]), str(chip.acquisition["id"])
            target.update_tags(TIFFTAG_DATETIME=time, ACQUISITION=name)
        return bytes(memory.read())

"""A parcel on a tile of a cube: the pixels of its chip, read for all dates at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine

from hpckit.cubes.arrays import Array
from hpckit.cubes.read import Group
from hpckit.cubes.sound import Faults, read_sound
from hpckit.errors import CubeError, HpckitError
from hpckit.look.layers import Painter
from hpckit.look.opened import TileOpened, day_of, open_tiles
from hpckit.look.planes import THREADS, Drawing, physical, warped
from hpckit.reduce.composites.hierarchy import PERIODS
from hpckit.sensors.masks import MaskBand, flagged
from hpckit.space.box import Box
from hpckit.space.vector.project import project

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_EXACT: Final = 1e-6
"""Metres."""
_MERCATOR: Final = pyproj.CRS.from_epsg(3857)

Stacks = dict[str, npt.NDArray[Any]]
"""Planes of all dates by text, shape (dates, rows, columns): physical units, or codes."""


@dataclass(frozen=True, slots=True)
class Site:
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
        column, row = ~group.where.transform @ (self.geobox.transform.c, self.geobox.transform.f)
        ratio = self.geobox.transform.a / group.where.transform.a
        rows, columns = (round(size * ratio) for size in self.geobox.shape)
        return Box(round(row), round(column), round(row) + rows, round(column) + columns)


def find_site(how: Painter, zone: shapely.Geometry, crs: Any, margin_m: float) -> Site:
    """The tile that holds most of a zone, and the pixels of its chip there."""
    if zone.is_empty or not np.isfinite(shapely.get_coordinates(zone)).all():
        raise HpckitError("the zone is empty, or has coordinates that are no numbers")
    source = pyproj.CRS.from_user_input(crs)
    shapes = np.array([shapely.force_2d(zone)], dtype=object)
    around = project(shapes, source, _MERCATOR)[0].bounds
    sites = [site for site in _sites(how, open_tiles(how.store, around), shapes, source, margin_m) if site]
    if not sites:
        raise CubeError(f"{how.store}: no tile holds the zone", hint="it may lie outside the campaign's area")
    return max(sites, key=_held_share)


def _sites(
    how: Painter, tiles: Iterable[TileOpened], shapes: npt.NDArray[np.object_], source: pyproj.CRS, margin_m: float
) -> Iterator[Site | None]:
    for tile in tiles:
        found = [one for one in (how.find(tile, text) for text in how.texts) if one is not None]
        if len(found) < len(how.texts):
            continue
        zone = project(shapes, source, pyproj.CRS.from_epsg(tile.where.epsg))[0]
        yield Site(tile, zone, tuple(found), _chip(zone.bounds, [group for group, _ in found], margin_m))


def _held_share(site: Site) -> float:
    """Share of the zone's box that the tile holds; of tiles that hold all of it, the first by name is taken."""
    west, south, east, north = site.zone.bounds
    where = site.tile.where
    left, top = where.transform.c, where.transform.f
    right, bottom = where.transform @ (where.shape[1], where.shape[0])
    width, height = min(east, right) - max(west, left), min(north, top) - max(south, bottom)
    whole = max(east - west, _EXACT) * max(north - south, _EXACT)
    return float(round(max(0.0, width) * max(0.0, height) / whole, 6))


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


def read_stacks(how: Painter, site: Site, times: Sequence[int], faults: Faults) -> Stacks:
    """Planes of all dates, in pixels of the chip."""
    stacks = {}
    for text, (group, name) in zip(how.texts, site.found, strict=True):
        array = group.arrays[name]
        stored = _stored(array, site, group, times, faults)
        stacks[text] = stored if array.is_categorical else physical(stored, array)
    return stacks


def _stored(array: Array, site: Site, group: Group, times: Sequence[int], faults: Faults) -> npt.NDArray[Any]:
    """Stored numbers of all dates; coarse pixels are repeated."""
    repeat = round(group.where.transform.a / site.geobox.transform.a)
    if not times:
        return np.zeros((0, *site.geobox.shape), array.dtype)
    stack = read_sound(array, site.box(group), range(times[0], times[-1] + 1), faults, threads=THREADS)
    stack = stack[[number - times[0] for number in times]]
    return stack.repeat(repeat, 1).repeat(repeat, 2) if repeat > 1 else stack


def complete(how: Painter, site: Site, times: Sequence[int], stacks: Stacks, faults: Faults) -> None:
    """Fill from other tiles what the chip shows beyond the edge of its tile."""
    where = site.tile.where
    west, north = ~where.transform @ (site.geobox.transform.c, site.geobox.transform.f)
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
    site: Site,
    found: Sequence[tuple[Group, str]],
    number: int,
    planes: Stacks,
    faults: Faults,
) -> None:
    """Add pixels of another tile where the chip has none."""
    others = {}
    for text, (group, name) in zip(how.texts, found, strict=True):
        plane = warped(group.arrays[name], group.where, number, Drawing(site.geobox, "nearest", faults=faults))
        if plane is None:
            return
        others[text] = plane
    missing = ~valid_pixels(how, planes)
    for text, plane in others.items():
        np.copyto(planes[text], plane, where=missing)


def cloudy_pixels(
    mask: MaskBand | None, site: Site, times: Sequence[int], step: int, faults: Faults
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
    column, row = ~group.where.transform @ (site.geobox.transform.c, site.geobox.transform.f)
    down = np.floor(row + (np.arange(0, rows, step) + 0.5) / ratio + 1e-6).astype(int) - box.top
    along = np.floor(column + (np.arange(0, columns, step) + 0.5) / ratio + 1e-6).astype(int) - box.left
    return flagged(mask.band, stored, mask.clouds)[:, down][:, :, along]


def _around(group: Group, site: Site) -> Box:
    """Pixels of a group that the chip touches, whatever their size."""
    a, _, c, _, _, f = tuple(site.geobox.transform)[:6]
    rows, columns = site.geobox.shape
    left, top = ~group.where.transform @ (c, f)
    right, bottom = ~group.where.transform @ (c + columns * a, f - rows * a)
    return Box(floor(top + 1e-6), floor(left + 1e-6), ceil(bottom - 1e-6), ceil(right - 1e-6))


def pixels_inside(zone: shapely.Geometry, transform: Affine, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Pixels of a chip whose centre lies in the zone; all that it touches, of a narrow one."""
    import rasterio.features

    for every in (False, True):
        burnt = rasterio.features.rasterize([zone], shape, transform=transform, all_touched=every, dtype="uint8")
        if burnt.any():
            break
    return np.asarray(burnt, np.bool_)


def valid_pixels(how: Painter, stacks: Stacks) -> npt.NDArray[np.bool_]:
    """Pixels that all bands have."""
    if how.categorical is not None:
        return np.asarray(stacks[how.texts[0]] != 0)
    return np.asarray(np.logical_and.reduce([np.isfinite(stack) for stack in stacks.values()]))

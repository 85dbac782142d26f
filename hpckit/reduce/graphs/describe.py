"""What a collection holds, as data: for catalogues, and for people who write graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyproj
import shapely

from hpckit.reduce.graphs.collection import Collection, properties
from hpckit.reduce.graphs.placing import extent_of
from hpckit.sensors.bands import BandRef
from hpckit.space.vector.project import to_degrees

_SUMMARISED: Final = ("platform", "instruments", "constellation", "sat:relative_orbit", "sat:orbit_state")
_RANGES: Final = ("eo:cloud_cover",)


@dataclass(frozen=True, slots=True)
class BandInfo:
    """A band of a collection."""

    name: str
    """Its label in cubes."""
    common_name: str
    """`red`, `nir`; empty if it has none."""
    description: str
    resolution_m: int
    dtype: str
    """Of the stored numbers; cubes have float32."""
    nodata: float | None
    scale: float
    """Physical value = stored number * scale + offset; cubes have physical values."""
    offset: float
    unit: str
    wavelength_um: float | None
    classes: Mapping[int, str]
    """Of bands of classes: what the numbers mean."""


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection.

    Its cubes have the dimensions `t`, `bands`, `y` and `x`.
    """

    name: str
    title: str
    mission: str
    level: str
    bands: tuple[BandInfo, ...]
    crs: tuple[str, ...]
    """Of its tiles: `EPSG:32631`."""
    resolutions_m: tuple[int, ...]
    bbox: tuple[float, float, float, float]
    """West, south, east, north in degrees: of the windows that the campaign asks for."""
    start: datetime
    """Of the first acquisition, UTC."""
    end: datetime
    """Of the last one."""
    dates: int
    """Acquisitions."""
    tiles: tuple[str, ...]
    keeps_cube: bool
    """Whether pixels come from a standing cube; else they are decoded from the products."""
    period: str
    """Of the campaign: `2024-03-01/2024-10-31`, or `2024-03-01/..` of one that goes on."""
    summaries: Mapping[str, Any]
    """Of properties of its products: lists of values, and `{minimum, maximum}` of numbers."""
    properties: tuple[str, ...]
    """Names that conditions of `load_collection` may use."""


def describe(collection: Collection) -> CollectionInfo:
    """Describe a collection from what is frozen in its run directory; no pixel is read."""
    tiles, campaign = collection.tiles, collection.tiles.campaign
    times = [item.time for items in tiles.acquisitions.values() for item in items]
    refs = collection.all_bands()
    known = [facts for items in tiles.acquisitions.values() for item in items for facts in properties(item)]
    frames = [collection.frame(tile, [ref for _, ref in refs]) for tile in tiles.acquisitions]
    return CollectionInfo(
        name=collection.name,
        title=campaign.name,
        mission=campaign.sensor.origin.mission,
        level=campaign.scenes.level,
        bands=tuple(_band(label, ref) for label, ref in refs),
        crs=tuple(sorted({f"EPSG:{frame.epsg}" for frame in frames})),
        resolutions_m=tuple(sorted({ref.resolution_m for _, ref in refs})),
        bbox=_bbox(collection, [ref for _, ref in refs]),
        start=min(times),
        end=max(times),
        dates=len({item.id for items in tiles.acquisitions.values() for item in items}),
        tiles=tuple(sorted(tiles.acquisitions)),
        keeps_cube=campaign.cube.keep,
        period=str(campaign.period),
        summaries=dict(_summaries(known)),
        properties=tuple(sorted({name for facts in known for name in facts})),
    )


def _band(label: str, ref: BandRef) -> BandInfo:
    band = ref.band
    return BandInfo(
        name=label,
        common_name=band.common_name,
        description=band.long_name,
        resolution_m=ref.resolution_m,
        dtype=band.dtype,
        nodata=band.nodata,
        scale=band.scale,
        offset=band.offset,
        unit=band.units,
        wavelength_um=None if band.wavelength_nm is None else band.wavelength_nm / 1000,
        classes=dict(band.flags),
    )


def _bbox(collection: Collection, refs: Sequence[BandRef]) -> tuple[float, float, float, float]:
    shapes = []
    for tile in collection.tiles.acquisitions:
        outline, epsg = extent_of(collection, tile, refs)
        parts = np.asarray(shapely.get_parts(outline), object)
        shapes += list(to_degrees(parts, pyproj.CRS.from_epsg(epsg)))
    west, south, east, north = shapely.total_bounds(np.asarray(shapes, object))
    return float(west), float(south), float(east), float(north)


def _summaries(known: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name in _SUMMARISED:
        values = [facts[name] for facts in known if facts.get(name) is not None]
        flat = {item for value in values for item in (value if isinstance(value, list) else [value])}
        if flat:
            yield name, sorted(flat)
    for name in _RANGES:
        numbers = [float(facts[name]) for facts in known if facts.get(name) is not None]
        if numbers:
            yield name, {"minimum": min(numbers), "maximum": max(numbers)}

"""What a campaign can show on a map or in a calendar: its layers and days."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np

from hpckit.campaign.campaign import Campaign
from hpckit.campaign.composite import Composite
from hpckit.campaign.expression import Expression
from hpckit.look import paint, sample
from hpckit.look.layers import Kind, Layer, painter
from hpckit.look.opened import day_of, open_tiles, periods
from hpckit.look.quicklook import known_indices
from hpckit.reduce.composites.units import zarr_path
from hpckit.sensors.bands import Band, BandRef
from hpckit.sensors.sensor import Sensor

if TYPE_CHECKING:
    from hpckit.look.view import CampaignView

_FALSE_COLOURS: Final = {
    "False colour": (("nir", "nir08"), ("swir16",), ("red",)),
    "Infrared": (("nir", "nir08"), ("red",), ("green",)),
}
"""Names of pictures of three bands, and the bands by their common names."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A layer that a campaign can show, with what a page has to know of it."""

    title: str
    layer: Layer
    """Without a day."""
    unit: str = ""
    legend: tuple[tuple[float, str, str], ...] = ()
    """Value or code, colour as `#rrggbb`, and meaning; none of three bands."""
    periods: tuple[str, ...] = ()
    """Labels, of a composite."""


def layers(view: CampaignView) -> list[Choice]:
    """What a campaign can show: true and false colour, indices, bands and classes of the cube, and composites."""
    campaign = view.campaign
    return [*(_of_cube(campaign) if campaign.cube.keep else ()), *_of_composites(campaign)]


@dataclass(frozen=True, slots=True)
class Day:
    """A day on which something was acquired."""

    day: date
    tiles: tuple[str, ...]
    cloud: float | None
    """Cloud cover in percent as products say, mean over tiles; None if it is unknown."""


def days(view: CampaignView) -> list[Day]:
    """Days of the campaign's cube, in order; none without a cube."""
    if not view.campaign.cube.keep:
        return []
    found: dict[date, list[tuple[str, float]]] = {}
    for tile in open_tiles(view.campaign.cube_path):
        group = next(iter(tile.groups.values()))
        for item, cover in zip(group.where.acquisitions, sample.cloud_covers(tile, group), strict=True):
            found.setdefault(day_of(item), []).append((tile.tile, cover))
    return [
        Day(day, tuple(sorted({tile for tile, _ in covers})), _mean([cover for _, cover in covers]))
        for day, covers in sorted(found.items())
    ]


def _mean(covers: Sequence[float]) -> float | None:
    known = [cover for cover in covers if np.isfinite(cover)]
    return round(sum(known) / len(known), 1) if known else None


def _of_cube(campaign: Campaign) -> Iterator[Choice]:
    sensor, held = campaign.sensor, campaign.cube_bands()
    names = {ref.name for ref in held}
    indices = {name: text for reduction in campaign.signatures for name, text in reduction.indices.items()}
    yield from _pictures(sensor, held, Layer("rgb", ("", "", "")))
    for name, text in known_indices(sensor, indices).items():
        if {band.partition("@")[0] for band in Expression.parse(text).bands} <= names:
            yield _described(campaign, name, Layer("index", (name,)))
    for ref in held:
        if ref.band.kind != "bits":
            kind: Kind = "classes" if ref.band.kind == "class" else "band"
            yield _described(campaign, _title(ref), Layer(kind, (str(ref),)), ref.band)


def _of_composites(campaign: Campaign) -> Iterator[Choice]:
    for composite in campaign.composites:
        refs = [campaign.ref(text) for text in composite.bands]
        labels = tuple(periods(open_tiles(zarr_path(campaign, composite))))
        for method in composite.methods:
            base = Layer("rgb", ("", "", ""), composite=composite.name, method=method)
            found: list[Choice] = []
            if method != "count":
                found += _pictures(campaign.sensor, refs, base)
                found += [_index(campaign, base, name) for name in _indices(campaign.sensor, composite, refs)]
                found += [
                    _described(campaign, _title(ref), replace(base, kind="band", names=(str(ref),)), ref.band)
                    for ref in refs
                ]
            else:
                found.append(_index(campaign, base, "count"))
            for choice in found:
                yield replace(choice, title=f"{choice.title}, {composite.name} {method}", periods=labels)


def _indices(sensor: Sensor, composite: Composite, refs: Sequence[BandRef]) -> list[str]:
    """Indices that a composite stores, and NDVI where it has the bands."""
    own = list(composite.indices)
    known = sensor.pictures.index
    if known and "NDVI" not in own and Expression.parse(known).bands <= {ref.name for ref in refs}:
        own.append("NDVI")
    return own


def _index(campaign: Campaign, base: Layer, name: str) -> Choice:
    return _described(campaign, name, replace(base, kind="index", names=(name,)))


def _pictures(sensor: Sensor, refs: Sequence[BandRef], base: Layer) -> Iterator[Choice]:
    """True and false colours that some bands allow."""
    names = {ref.name for ref in refs}
    if sensor.pictures.colour and names.issuperset(sensor.pictures.colour):
        yield Choice("True colour", replace(base, names=sensor.pictures.colour))
    for title, channels in _FALSE_COLOURS.items():
        found = [_named(refs, common) for common in channels]
        if all(found):
            yield Choice(title, replace(base, names=tuple(name for name in found if name)))


def _named(refs: Sequence[BandRef], common: Sequence[str]) -> str | None:
    """First band of some common names."""
    known = {ref.band.common_name: str(ref) for ref in reversed(refs) if not ref.band.is_categorical}
    return next((known[name] for name in common if name in known), None)


def _title(ref: BandRef) -> str:
    about = ref.band.long_name
    return f"{ref}, {about}" if about and ref.name not in about else str(ref)


def _described(campaign: Campaign, title: str, layer: Layer, band: Band | None = None) -> Choice:
    """A choice with its legend; without one where nothing is there yet that it could be measured by."""
    unit = (
        "" if band is None else "dB" if band.kind == "power" else "reflectance" if band.kind == "reflectance" else ""
    )
    if band is not None and band.kind == "class":
        palette = paint.class_palette(band)
        codes = tuple((float(code), "#" + bytes(palette[code, :3]).hex(), text) for code, text in band.flags)
        return Choice(title, layer, unit, codes)
    made = painter(campaign, layer)
    stops = () if made.scale is None else tuple((value, colour, "") for value, colour in paint.legend(made.scale))
    return Choice(title, layer, unit, stops)

"""What a map or a calendar shows of a campaign: layers, how each is painted, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hpckit.campaign.campaign import Campaign
from hpckit.campaign.composite import Composite
from hpckit.campaign.expression import Expression
from hpckit.cubes.read import Group
from hpckit.errors import CubeError, HpckitError
from hpckit.look import paint, sample
from hpckit.look.opened import TileOpened
from hpckit.look.paint import Painting, Range
from hpckit.look.pixels import Layer as Values
from hpckit.look.quicklook import Composition, compose
from hpckit.reduce.composites.units import zarr_path
from hpckit.sensors.bands import Band, BandRef
from hpckit.sensors.sensor import Sensor, band_of

Kind = Literal["rgb", "band", "index", "classes"]

_AS_IT_IS: Final[tuple[str, ...]] = ("{}",)
"""Names of arrays in a cube."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What is shown, and of when.

    A day is a UTC day: all passes of it, over all tiles. Without a day (and without a composite) it says only what is
    shown, as the layers of `layers` and of a calendar do.
    """

    kind: Kind
    names: tuple[str, ...]
    """Three bands of `rgb`, or one band, index, or band of classes: `B04`, `B8A@20m`, `NDVI`, `SCL`."""
    day: date | None = None
    composite: str | None = None
    """Name of a composite, whose layers are shown instead of the cube's."""
    period: str | None = None
    """Label of one of its periods; the first one if not given."""
    method: str | None = None
    """One of its methods; the first one that has values if not given."""
    stretch: tuple[Range, ...] = ()
    """Least and greatest value shown, for each name; of the kind of band or measured if not given."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises
        ------
        HpckitError
            If the number of names or ranges is wrong, or a range is empty.
        """
        wanted = 3 if self.kind == "rgb" else 1
        if len(self.names) != wanted:
            raise HpckitError(f"a layer of kind {self.kind} has {wanted} names, not {len(self.names)}")
        if self.stretch and len(self.stretch) != wanted:
            raise HpckitError(f"a layer of kind {self.kind} has {wanted} ranges, not {len(self.stretch)}")
        if not all(np.isfinite([low, high]).all() and low < high for low, high in self.stretch):
            raise HpckitError("a range goes from a smaller to a greater number", hint="for example 0 and 0.3")


@dataclass(frozen=True, slots=True)
class Painter:
    """How a layer is painted, wherever its pixels come from."""

    store: Path
    """Cube, or Zarr group of a composite."""
    texts: tuple[str, ...]
    """Bands that are read, as the expression names them."""
    prefixes: tuple[str, ...]
    """Names of a text's array: `{}` in the cube, `{}_median` in a composite."""
    categorical: Band | None
    expression: Expression | None
    bands: tuple[Band | None, ...]
    """Band of each text, for decibels; None where it is none."""
    scale: paint.Scale | None
    ranges: tuple[Range, ...]
    """Of `rgb`."""

    def find(self, tile: TileOpened, text: str) -> tuple[Group, str] | None:
        """Group and name of the array of a text in a tile."""
        name, at, size = text.partition("@")
        return next(filter(None, (tile.find(f"{form.format(name)}{at}{size}") for form in self.prefixes)), None)

    def paint(self, planes: Mapping[str, npt.NDArray[Any]]) -> Painting:
        """Paint a picture.

        Parameters
        ----------
        planes : mapping of str to ndarray, shape (rows, columns)
            By text: physical units with NaN for no data, or codes of classes.
        """
        if self.categorical is not None:
            return paint.paint_classes(planes[self.texts[0]], self.categorical)
        layers = [paint.shown(planes[text], band) for text, band in zip(self.texts, self.bands, strict=True)]
        if self.scale is None:
            return paint.paint_rgb(layers, self.ranges)
        return self.scale.paint(self.values(planes))

    def values(self, planes: Mapping[str, npt.NDArray[Any]]) -> Values:
        """Values of the index or band, as they are shown."""
        if self.expression is None:
            return paint.shown(planes[self.texts[0]], self.bands[0])
        return self.expression.evaluate(planes)


def painter(campaign: Campaign, layer: Layer) -> Painter:
    """How a layer is painted.

    Raises
    ------
    CubeError
        If the campaign has no such band, index or composite, or keeps no cube.
    """
    sensor = campaign.sensor
    if layer.composite is None:
        _require_cube(campaign)
        store, forms, held = campaign.cube_path, _AS_IT_IS, campaign.cube_bands()
        indices = {name: text for reduction in campaign.signatures for name, text in reduction.indices.items()}
    else:
        composite = composite_of(campaign, layer.composite)
        store, forms = zarr_path(campaign, composite), _forms(composite, layer.method)
        held, indices = [campaign.ref(text) for text in composite.bands], {}
        if layer.kind == "index" and _of_composite(composite, layer.names[0]):
            return _painter_of(sensor, store, forms, Composition((layer.names[0],), layer.names[0]), layer)
    wanted = _composition(sensor, held, indices, layer)
    _require_held(held, wanted.bands, campaign)
    return _painter_of(sensor, store, forms, wanted, layer)


def of_band(campaign: Campaign, band: str) -> Painter:
    """Where the stored numbers of a band are found; of bits, too, which have no colours.

    Raises
    ------
    CubeError
        If the campaign has no such band, or keeps no cube.
    """
    _require_cube(campaign)
    _require_held(campaign.cube_bands(), [band], campaign)
    return Painter(campaign.cube_path, (band,), _AS_IT_IS, None, None, (None,), None, ())


def composite_of(campaign: Campaign, name: str) -> Composite:
    """Composite of a campaign.

    Raises
    ------
    CubeError
        If there is none of that name.
    """
    known = {composite.name: composite for composite in campaign.composites}
    if name not in known:
        raise CubeError(f"no composite {name!r}", hint=f"the campaign has {', '.join(known) or 'none'}")
    return known[name]


def _require_cube(campaign: Campaign) -> None:
    if not campaign.cube.keep:
        raise CubeError(
            f"campaign {campaign.name!r} keeps no cube, so there are no days to show",
            hint="composites may be shown, or set `cube.keep: true`",
        )


def _forms(composite: Composite, method: str | None) -> tuple[str, ...]:
    """Names of the arrays of a method: `B04_median`, `best_date`, `count`."""
    chosen = method or next((m for m in composite.methods if m != "count"), composite.methods[0])
    if chosen not in composite.methods:
        raise CubeError(
            f"composite {composite.name!r} has no method {chosen!r}", hint=f"it has {', '.join(composite.methods)}"
        )
    return f"{{}}_{chosen}", f"{chosen}_{{}}", "{}"


def _of_composite(composite: Composite, name: str) -> bool:
    """Whether a name is that of a layer that the composite stores, other than a band."""
    return name in composite.indices or name in ("count", "date", "smad", "emad", "bcmad")


def _composition(sensor: Sensor, held: Sequence[BandRef], indices: Mapping[str, str], layer: Layer) -> Composition:
    if layer.kind == "rgb":
        return compose(sensor, held, indices, rgb=layer.names)
    found = compose(sensor, held, indices, index=layer.names[0])
    kind = "classes" if found.classes(sensor) else "band" if band_of(sensor, found.expression or "") else "index"
    if kind != layer.kind:
        raise CubeError(f"{layer.names[0]} is no layer of kind {layer.kind}", hint=f"it is of kind {kind}")
    return found


def _require_held(held: Sequence[BandRef], texts: Sequence[str], campaign: Campaign) -> None:
    for text in texts:
        if not any(text.upper() in (ref.name.upper(), ref.key.upper(), str(ref).upper()) for ref in held):
            raise CubeError(
                f"campaign {campaign.name!r} has no band {text}", hint=f"it has {', '.join(map(str, held))}"
            )


def _painter_of(sensor: Sensor, store: Path, forms: tuple[str, ...], wanted: Composition, layer: Layer) -> Painter:
    bands = tuple(band_of(sensor, text) for text in wanted.bands)
    alone = wanted.expression is None or (bands[0] is not None and wanted.expression == bands[0].name)
    expression = None if layer.kind in ("rgb", "classes") or alone else Expression.parse(wanted.expression or "")
    made = Painter(store, wanted.bands, forms, wanted.classes(sensor), expression, bands, None, ())
    if made.categorical is not None:
        return made
    if layer.kind == "rgb":
        return replace(made, ranges=layer.stretch or tuple(_range(made, sensor, n) for n in range(3)))
    if layer.kind == "band" and bands[0] is not None:
        return replace(made, scale=paint.grey(*(layer.stretch[0] if layer.stretch else _range(made, sensor, 0))))
    name, given = wanted.index or "", layer.stretch[0] if layer.stretch else None
    known = given is not None or name.upper() == "NDVI"
    values = np.array(given or (0.0, 1.0), np.float32) if known else _sample(made, made.values)
    return replace(made, scale=paint.ramp(sensor, name, values, given))


def _range(made: Painter, sensor: Sensor, number: int) -> Range:
    """Range of one of the bands: of its kind, or measured."""
    band = made.bands[number]
    fixed = None if band is None else paint.fixed_range(sensor, band)
    if fixed is not None:
        return fixed
    text = made.texts[number]
    return sample.middle(_sample(replace(made, texts=(text,)), lambda planes: paint.shown(planes[text], band)))


def _sample(made: Painter, evaluate: Callable[[Mapping[str, Any]], Values]) -> Values:
    return sample.of(made.store, made.texts, made.prefixes, evaluate)

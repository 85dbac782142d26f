"""Which sensors there are: those of hpckit, one line each, and those of other packages.

A package adds a sensor by an entry point of the group `hpckit.sensors` that names an object which answers as
`hpckit.sensors.sensor.Sensor` does::

    [project.entry-points."hpckit.sensors"]
    my-sensor = "my_package.sensor:MY_SENSOR"
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from hpckit.base.plugins import added, load
from hpckit.errors import HpckitError
from hpckit.sensors.bands import Band
from hpckit.sensors.model import Scene
from hpckit.sensors.rasters.sensor import RASTERS
from hpckit.sensors.sensor import Sensor, band_of
from hpckit.sensors.sentinel1.sensor import SENTINEL1
from hpckit.sensors.sentinel2.sensor import SENTINEL2

GROUP: Final = "hpckit.sensors"

SENSORS: Final[tuple[Sensor, ...]] = (
    SENTINEL2,
    SENTINEL1,
    RASTERS,
)
"""Those of hpckit; a campaign that names no collection is of the first."""

DEFAULT: Final = next(iter(SENSORS[0].collections))
"""Collection of a campaign that names none."""


MASK: Final = SENTINEL2.mask
"""Mask of a campaign that names none."""


_OWN: Final = {sensor.name: sensor for sensor in reversed(SENSORS)}
"""Those of hpckit, by name."""


def sensors() -> tuple[Sensor, ...]:
    """All sensors, those of other packages last.

    Raises
    ------
    HpckitError
        If one of another package cannot be loaded.
    """
    return (*SENSORS, *_foreign(tuple(sys.path)))


def sensor_named(name: str) -> Sensor:
    """Sensor by its name, `sentinel-2`.

    Raises
    ------
    HpckitError
        If there is none.
    """
    sensor = _OWN.get(name) or _first(lambda sensor: sensor.name == name)
    if sensor is None:
        raise HpckitError(f"no sensor {name!r}", hint="install the package that reads its products")
    return sensor


def sensor_of(scene: Scene) -> Sensor:
    """Sensor that measured a scene."""
    return sensor_named(scene.sensor)


def sensor_with(collection: str) -> Sensor:
    """Sensor whose products a collection has, `sentinel-2-l2a`.

    Raises
    ------
    ValueError
        If there is none; the message lists those that are.
    """
    sensor = _first(lambda sensor: collection in sensor.collections)
    if sensor is None:
        raise ValueError(f"no collection {collection!r}; collections are {', '.join(collections())}")
    return sensor


def searched(own: Sensor) -> tuple[Sensor, ...]:
    """Sensors whose products are looked for: all; or one alone that a campaign made, since it says what files are.

    Parameters
    ----------
    own : Sensor
        That of the campaign.
    """
    known = sensors()
    return known if own in known else (own,)


def _first(fits: Callable[[Sensor], bool]) -> Sensor | None:
    """First sensor that fits: those of hpckit first, since to look for others takes time."""
    return next((sensor for sensor in SENSORS if fits(sensor)), None) or next(filter(fits, sensors()), None)


def collections() -> list[str]:
    """All collections, as campaign files name them."""
    return [name for sensor in sensors() for name in sensor.collections]


def band_known(text: str) -> Band | None:
    """Band that a text names, of the first sensor that has one of this name; None for an index."""
    return next((band for sensor in sensors() if (band := band_of(sensor, text)) is not None), None)


@lru_cache(maxsize=8)
def _foreign(path: tuple[str, ...]) -> tuple[Sensor, ...]:
    """Sensors of other packages on a search path."""
    found = [load(f"sensor {name!r}", place, HpckitError) for name, place in added(GROUP).items()]
    return tuple(sensor for number, sensor in enumerate(found) if sensor not in found[:number])

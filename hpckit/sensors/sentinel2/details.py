"""What only Sentinel-2 has of a scene: its `details`."""

from __future__ import annotations

from typing import NamedTuple

from hpckit.sensors.model import Scene


class Details(NamedTuple):
    """The part of a scene that only Sentinel-2 has."""

    granule: str
    """Name of the granule, or its identifier."""
    offset_from: str = ""
    """What told the offset of reflectance, where that is not the product's own metadata."""


def details_of(scene: Scene) -> Details:
    """What only Sentinel-2 has of a scene.

    Raises
    ------
    TypeError
        If it is of another sensor.
    """
    if not isinstance(scene.details, Details):
        raise TypeError(f"{scene.id} is no Sentinel-2 scene")
    return scene.details


def lost_file(band: str, name: str) -> str:
    """How `Scene.missing` names a file of a band whose own name does not tell the band."""
    return f"{band}: {name}"

"""Scenes as STAC items, and back: each sensor writes and reads its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpckit.errors import HpckitError
from hpckit.sensors.model import Scene
from hpckit.sensors.registry import sensor_named, sensor_of


def to_item(scene: Scene) -> dict[str, Any]:
    """STAC item of a scene, as a JSON object."""
    return sensor_of(scene).to_item(scene)


def from_item(item: Mapping[str, Any]) -> Scene:
    """Scene of an item that `to_item` made.

    Raises
    ------
    KeyError
        If the item is of another origin.
    """
    name = item["properties"]["constellation"]
    try:
        sensor = sensor_named(name)
    except HpckitError as error:
        raise KeyError(f"constellation {name}") from error
    return sensor.from_item(item)

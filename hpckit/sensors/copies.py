"""Copies of the files of scenes, which `hpckit fetch` brings from servers."""

from __future__ import annotations

from hpckit.inputs.fetched import Copy, copy_name, find_copy
from hpckit.sensors.model import Asset, Scene


def name_of_copy(scene: Scene, key: str, asset: Asset) -> str:
    """Name of the copy of a file that a scene lists under a key."""
    return copy_name(scene.id, key, asset.uri, asset.nbytes, asset.digest)


def copy_of(scene: Scene, key: str, asset: Asset) -> Copy:
    """What is there of the copy of a file that a scene lists under a key."""
    return find_copy(name_of_copy(scene, key, asset), asset.nbytes)

"""Copies of the files of scenes, which `hpckit fetch` brings from servers."""

from __future__ import annotations

from hpckit.inputs.chunking import parse_chunking
from hpckit.inputs.fetched import Copy, copy_name, find_copy, object_name, read_object
from hpckit.inputs.uri import RemotePlace
from hpckit.sensors.model import Asset, Scene


def is_noted_in_part(scene: Scene) -> bool:
    """Whether an earlier version scanned a product on a server: it noted neither chunks nor annotation files."""
    first = next(iter(scene.assets.values()), None)
    if first is None or not first.is_remote:
        return False
    if first.array:
        return not first.chunks
    return not (first.crs or scene.beside or scene.missing)  # in the geometry of the sensor, and nothing places it


def lacks_files(scene: Scene) -> str:
    """Why a catalogue does not tell all files of a product on a server that ingest opens; empty if it does."""
    if is_noted_in_part(scene):
        return "an earlier version of hpckit scanned it and did not note all files that it needs; scan it again"
    first = next(iter(scene.assets.values()), None)
    if first is not None and first.is_remote and first.array and not first.crs and not scene.beside:
        return "its metadata are not consolidated, so that copies do not suffice; ingest reads it on its server"
    return ""


def name_of_copy(scene: Scene, key: str, asset: Asset) -> str:
    """Name of the copy of a file that a scene lists under a key."""
    return copy_name(scene.id, key, asset.uri, asset.nbytes, asset.digest)


def copy_of(scene: Scene, key: str, asset: Asset) -> Copy:
    """What is there of the copy of a file that a scene lists under a key."""
    return find_copy(name_of_copy(scene, key, asset), asset.nbytes)


def has_copy(scene: Scene) -> bool:
    """Whether something of a scene on a server was fetched."""
    return any(asset.is_remote and _is_fetched(scene, key, asset) for key, asset in scene.assets.items())


def _is_fetched(scene: Scene, key: str, asset: Asset) -> bool:
    if not asset.array:
        return copy_of(scene, key, asset).path is not None
    place = asset.hierarchy
    if not asset.chunks or not isinstance(place, RemotePlace):
        return False
    document = parse_chunking(asset.chunks).documents[0]
    return read_object(object_name(place, f"{asset.array}/{document}"), 0, 0) is not None

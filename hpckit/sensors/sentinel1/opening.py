"""Opening the images of products, on this machine or on servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rasterio.errors import RasterioError

from hpckit.errors import SceneError
from hpckit.inputs.opening import fault_behind, open_raster
from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.uri import is_remote
from hpckit.sensors.copies import copy_of
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.source import require_same, told


@contextmanager
def open_image(scene: Scene, image: Asset) -> Iterator[Any]:
    """Open an image of a product; a remote one that was fetched from its copy.

    Raises
    ------
    SceneError
        If it cannot be read, or is not the one any more that was scanned.
    """
    uri, fault = _nearest(scene, image)
    try:
        with told(fault), open_raster(uri, of=scene.id) as source:
            if is_remote(uri):
                require_same(image)
            yield source
    except RasterioError as error:
        with told(fault):
            raise SceneError(f"{scene.id}: {image.name} cannot be read") from fault_behind(uri, error)
    except OSError as error:
        with told(fault):
            raise SceneError(f"{scene.id}: {without_secrets(uri)} cannot be read") from error


def _nearest(scene: Scene, image: Asset) -> tuple[str, str]:
    """Where an image is read, and what is wrong with a copy of it that is not used.

    Copies are named after one of the pixel sizes under which it stands.
    """
    fault = ""
    for key, asset in scene.assets.items() if image.is_remote else ():
        if asset.uri == image.uri:
            copy = copy_of(scene, key, asset)
            if copy.path is not None:
                return str(copy.path), ""
            fault = copy.fault or fault
    return image.uri, fault

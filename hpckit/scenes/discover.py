"""Finding products of Sentinel-1 and Sentinel-2 below folders, in one walk."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hpckit.scenes import sentinel1, sentinel2
from hpckit.scenes.model import Scene


def _ignore(path: Path, reason: str) -> None:
    """Say nothing of a folder that cannot be read."""


def find_products(paths: Iterable[Path], unreadable: Callable[[Path, str], None] = _ignore) -> Iterator[Path]:
    """Find products at any depth below `paths`, sorted, each once.

    Folders that are products are not entered; links to folders are followed once.

    Parameters
    ----------
    unreadable : callable
        Called with each folder that cannot be read, and why.
    """
    seen: set[tuple[int, int]] = set()
    for path in paths:
        yield from _find(path.absolute(), seen, unreadable)


def read_product(path: Path) -> Scene:
    """Read a product of either mission.

    Raises
    ------
    SceneError
        If it is broken or of an unsupported kind; the message names product and reason.
    """
    return sentinel1.read_product(path) if sentinel1.is_radar_product(path) else sentinel2.read_product(path)


def _find(path: Path, seen: set[tuple[int, int]], unreadable: Callable[[Path, str], None]) -> Iterator[Path]:
    try:
        status = path.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        is_folder = stat.S_ISDIR(status.st_mode)
        if sentinel1.is_safe(path, is_folder) or sentinel2.is_product(path, is_folder):
            yield path
            return
        if not is_folder or path.suffix == ".data":
            if sentinel1.is_radar_product(path):
                yield path
            return
        files = list(sentinel1.products_in(path))
        entries = [entry for entry in sorted(sentinel2.entries(path)) if entry.suffix != ".data"]
    except OSError as error:
        unreadable(path, f"{path}: {error.strerror or error}")
        return
    yield from files
    for entry in entries:
        yield from _find(entry, seen, unreadable)

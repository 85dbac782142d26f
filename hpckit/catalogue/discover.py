"""Finding products of all sensors below folders, in one walk."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hpckit.errors import SceneError
from hpckit.inputs.hierarchy import is_hierarchy
from hpckit.sensors.content import content_of
from hpckit.sensors.model import Scene
from hpckit.sensors.registry import sensors
from hpckit.sensors.sensor import Sensor
from hpckit.sensors.stac.files import may_hold_items
from hpckit.sensors.stac.finding import item_files

_NO_PRODUCTS: Final = ("__MACOSX", "lost+found")
"""Folders of packers and file systems; the second one only its administrator can list."""

Unseen = Callable[[Path, OSError | SceneError], None]
"""Called with a folder or zip file whose content cannot be seen, and why."""


def _ignore(path: Path, error: OSError | SceneError) -> None:
    """Say nothing of it."""


def find_products(
    paths: Iterable[Path],
    unseen: Unseen = _ignore,
    *,
    any_items: bool = False,
    among: Sequence[Sensor] | None = None,
) -> Iterator[Path]:
    """Find products at any depth below `paths`, sorted, each once; also files with STAC items of products.

    Folders that are products, and Zarr hierarchies, are not entered; links to folders are followed once.

    Parameters
    ----------
    unseen : callable
        Called with each folder or zip file whose content cannot be seen, and why: it may hold products.
    any_items : bool
        Whether items of unknown catalogues count, too.
    among : sequence of Sensor, optional
        Sensors whose products are looked for; all if not given.
    """
    search = _Search(unseen, any_items, set(), sensors() if among is None else tuple(among))
    for path in paths:
        yield from _find(path.absolute(), search)


def read_scenes(path: Path, among: Sequence[Sensor] | None = None) -> list[Scene]:
    """Read a product of any sensor: one scene, or one for each of its granules.

    Parameters
    ----------
    among : sequence of Sensor, optional
        Sensors that it may be of; all if not given.

    Raises
    ------
    SceneError
        If it is broken or of an unsupported kind; the message names product and reason.
    """
    known = sensors() if among is None else among
    try:
        # The first sensor reads what none claims: it says best what is wrong with it.
        sensor = next((sensor for sensor in reversed(known) if sensor.claims(path)), known[0])
    except OSError as error:
        raise SceneError(f"{path.name}: cannot be read") from error
    return [replace(scene, content=content_of(scene)) for scene in sensor.read(path)]


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked for, and what has been seen."""

    unseen: Unseen
    any_items: bool
    seen: set[tuple[int, int]]
    sensors: Sequence[Sensor]


def _find(path: Path, search: _Search) -> Iterator[Path]:
    try:
        status = path.stat()
        if (status.st_dev, status.st_ino) in search.seen:
            return
        search.seen.add((status.st_dev, status.st_ino))
        is_folder = stat.S_ISDIR(status.st_mode)
        if _is_product(path, is_folder, search.sensors):
            yield path
            return
        if not is_folder and may_hold_items(path):  # somebody named it
            yield path
            return
        if not is_folder or _is_part(path, search.sensors) or is_hierarchy(path):
            return
        files = [product for sensor in search.sensors for product in sensor.products_in(path)]
        files += item_files(path, of_any=search.any_items)
        entries = [entry for entry in sorted(_entries(path)) if not _is_part(entry, search.sensors)]
        is_remnant = any(sensor.is_remnant(path) for sensor in search.sensors)
    except (OSError, SceneError) as error:
        search.unseen(path, error)
        return
    yield from files
    found = bool(files)
    for entry in entries:
        for product in _find(entry, search):
            found = True
            yield product
    if is_remnant and not found:
        yield path


def _is_product(path: Path, is_folder: bool, among: Sequence[Sensor]) -> bool:
    """Whether a path is a product of any sensor: one may know it by its name where another cannot look into it."""
    fault: SceneError | None = None
    for sensor in among:
        try:
            if sensor.is_product(path, is_folder):
                return True
        except SceneError as error:
            fault = fault or error
    if fault is not None:
        raise fault
    return False


def _is_part(path: Path, among: Sequence[Sensor]) -> bool:
    return any(sensor.is_part(path) for sensor in among)


def _entries(folder: Path) -> Iterator[Path]:
    """Folders and zip files of a folder; nothing else can be a product. Hidden ones are half written."""
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name.startswith(".") or entry.name in _NO_PRODUCTS:
                continue
            if entry.name.lower().endswith(".zip") or _may_be_folder(entry):
                yield folder / entry.name


def _may_be_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, as far as can be seen: one link to a mount that fails does not hide its neighbours."""
    try:
        return entry.is_dir()
    except OSError:
        return True

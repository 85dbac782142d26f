"""Which files of a folder hold STAC items of products."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hpckit.errors import SceneError
from hpckit.sensors.stac.dialects import dialect_of, is_radar
from hpckit.sensors.stac.files import ENDINGS, items_in

_HEAD: Final = 64 * 2**10
_LIKE_ONE: Final = re.compile(rb"sentinel[-_ ]?[12]|S[12][A-D]_", re.IGNORECASE)


def is_item_file(path: Path, *, of_any: bool = False) -> bool:
    """Whether a file holds items of Sentinel-1, or of Sentinel-2 of a known dialect.

    Items that describe a product of their own folder, which is found without them, do not count.

    Parameters
    ----------
    of_any : bool
        Whether items of unknown ones count, too.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    if not path.name.lower().endswith(ENDINGS):
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if b'"Feature' not in head or not (of_any or _LIKE_ONE.search(head)):
        return False
    try:
        return any(of_any or _is_product(item, path.parent) for item in items_in(path))
    except SceneError:
        return False


def item_files(folder: Path, *, of_any: bool = False) -> Iterator[Path]:
    """Files of a folder that hold items; see `is_item_file`."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(ENDINGS))
    paths = (folder / name for name in names if not name.startswith("."))
    yield from (path for path in paths if _is_or_hides(path, of_any=of_any))


def _is_or_hides(path: Path, *, of_any: bool) -> bool:
    """Whether a file holds items, or cannot be read: whoever reads it reports that, and its neighbours are found."""
    try:
        return is_item_file(path, of_any=of_any)
    except OSError:
        return True


def _is_product(item: Mapping[str, Any], folder: Path) -> bool:
    if dialect_of(item) is not None:
        return True
    if not is_radar(item):
        return False
    from hpckit.sensors.stac.radar import is_needed

    return is_needed(item, folder)

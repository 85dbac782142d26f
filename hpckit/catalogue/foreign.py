"""Items of other catalogues, in files: JSON, collections of items, and stac-geoparquet by anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from hpckit.base.reading import may_pass, parsed, read_table
from hpckit.catalogue.items import items_of
from hpckit.errors import SceneError
from hpckit.sensors.content import content_of
from hpckit.sensors.copies import has_copy
from hpckit.sensors.model import Scene
from hpckit.sensors.stac.files import PARQUET, href_of, items_in
from hpckit.sensors.stac.item import read_item
from hpckit.sensors.stac.options import ItemOptions

_WORKERS: Final = 8


def read_items(
    path: Path, options: ItemOptions, known: Mapping[str, Scene] = MappingProxyType({})
) -> tuple[list[Scene], list[SceneError]]:
    """Scenes of the items of a file, and what is wrong with those that cannot be read.

    Of items with one id the first counts.

    Parameters
    ----------
    known : mapping of str to Scene
        By `Scene.href`, what an earlier scan of the same file with the same options found: servers are not asked for
        images of which copies were fetched, and what they said before counts if they do not answer now.

    Raises
    ------
    SceneError
        If the file itself cannot be read, or has no item.
    """
    scenes: dict[str, Scene] = {}
    errors: list[SceneError] = []

    def read(item: Mapping[str, Any]) -> Scene | SceneError:
        before = known.get(href_of(path, str(item.get("id", ""))))
        if before is not None and has_copy(before):
            return before
        try:
            scene = read_item(item, path, options)
            return scene if scene.content else replace(scene, content=content_of(scene))
        except SceneError as error:
            return before if before is not None and may_pass(error) else error

    try:
        # Items of one file may refer to servers, which take their time.
        with ThreadPoolExecutor(_WORKERS) as pool:
            for found in pool.map(read, _items(path)):
                if isinstance(found, SceneError):
                    errors.append(found)
                else:
                    scenes.setdefault(found.href, found)
    except OSError as error:
        raise SceneError(f"{path.name}: cannot be read") from error
    if not scenes and not errors:
        raise SceneError(f"{path.name}: no STAC item in it")
    return list(scenes.values()), errors


def _items(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.name.lower().endswith(PARQUET):
        return items_in(path)
    found = parsed(path, lambda file: list(items_of(read_table(file))), lambda _: SceneError(f"{path.name}: damaged"))
    return (_without_nulls(item) for item in found)


def _without_nulls(value: Any) -> Any:
    """What a table has for all items and this one has not."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(other) for key, other in value.items() if other is not None}
    return [_without_nulls(other) for other in value] if isinstance(value, list) else value

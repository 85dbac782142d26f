"""Rows of catalogues: made from scenes, or taken from an earlier catalogue that holds the same scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpckit.catalogue.stac import to_item
from hpckit.sensors.model import Scene

STAMP: Final = "hpckit:stamp"
"""Column of the state of each product's files."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier catalogue."""

    scenes: Sequence[Scene]
    """One for each row of the table, in its order."""
    table: Any
    """pyarrow.Table of all columns."""


def table_of(scenes: Sequence[Scene], stamps: Sequence[str], earlier: Earlier | None = None) -> Any:
    """Rows of scenes, in their order.

    Parameters
    ----------
    stamps : sequence of str
        State of the files of each scene's product.
    earlier : Earlier, optional
        Rows of the same scenes are taken from it: to make a row takes about 2 ms, since it describes each image of
        a product for other readers.

    Returns
    -------
    pyarrow.Table
    """
    import pyarrow as pa

    known = {} if earlier is None else _places(earlier.scenes, scenes)
    if earlier is None or not known:
        return _made(scenes, stamps)
    new = [place for place in range(len(scenes)) if place not in known]
    parts = [earlier.table]
    if new:
        parts.append(_made([scenes[place] for place in new], [stamps[place] for place in new]))
    try:
        table = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    except pa.ArrowException:  # columns of two types that no type unites: those of all scenes at once may do so
        return _made(scenes, stamps)
    order = known | {place: len(earlier.scenes) + number for number, place in enumerate(new)}
    table = table.take(pa.array([order[place] for place in range(len(scenes))], pa.int64()))
    return table.set_column(table.column_names.index(STAMP), STAMP, pa.array(stamps, pa.string()))


def _places(earlier: Sequence[Scene], scenes: Sequence[Scene]) -> dict[int, int]:
    """Row of an earlier catalogue by the place of each scene that it holds just so."""
    rows = {(scene.href, scene.tile, scene.id): row for row, scene in enumerate(earlier)}
    found = {}
    for place, scene in enumerate(scenes):
        row = rows.get((scene.href, scene.tile, scene.id))
        if row is not None and (earlier[row] is scene or earlier[row] == scene):
            found[place] = row
    return found


def _made(scenes: Sequence[Scene], stamps: Sequence[str]) -> Any:
    """Rows with the columns of stac-geoparquet."""
    import stac_geoparquet.arrow as stac

    items = []
    for scene, stamp in zip(scenes, stamps, strict=True):
        item = to_item(scene)
        item["properties"][STAMP] = stamp
        items.append(item)
    return stac.parse_stac_items_to_arrow(items).read_all()

"""The pyramid of a tile as other readers find it: GeoZarr's convention `multiscales`.

Source: github.com/zarr-conventions/multiscales, tag v0.1. Paths are relative to the group of the tile and never
lead out of it; that is why overviews lie within the tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hpckit.cubes import attributes
from hpckit.cubes.arrays import read_metadata
from hpckit.cubes.objects import Objects
from hpckit.errors import CubeError

KEY: Final = "multiscales"
CONVENTION: Final = attributes.convention(
    "multiscales", "d35379db-88df-4056-af3a-620245f8e347", "Pyramid of resolutions"
)
_NAMES: Final = ("zarr_conventions", "proj:code", "spatial:dimensions", "spatial:bbox", KEY)
_FROM_GROUPS: Final = _NAMES[1:4]


def pyramid(levels: Iterable[tuple[str, str | None, int, Mapping[str, Any]]]) -> dict[str, Any]:
    """Attributes of a tile that say which groups are its pyramid.

    Parameters
    ----------
    levels : iterable of tuple
        Path of a group relative to the tile, that of the group which it was made from, how many pixels of
        that group one pixel covers along its edge, and its attributes.
    """
    layout: list[dict[str, Any]] = []
    notes: Mapping[str, Any] = {}
    for asset, derived_from, factor, notes in levels:
        made = {} if derived_from is None else {"derived_from": derived_from}
        scale = {"scale": [float(factor)] * 2, "translation": [0.0, 0.0]}
        place = {name: notes[name] for name in ("spatial:transform", "spatial:shape")}
        layout.append({"asset": asset, **made, "transform": scale, **place})
    conventions = [CONVENTION, *attributes.CONVENTIONS]
    return {"zarr_conventions": conventions, **{name: notes[name] for name in _FROM_GROUPS}, KEY: {"layout": layout}}


def kept(objects: Objects, tile: str) -> dict[str, Any]:
    """Attributes of a tile's group that say which groups are its pyramid, as they are there already; none without."""
    try:
        notes = read_metadata(objects, tile)["attributes"]
    except (FileNotFoundError, CubeError, KeyError):
        return {}
    if not isinstance(notes, dict) or KEY not in notes:
        return {}
    return {name: notes[name] for name in _NAMES if name in notes}

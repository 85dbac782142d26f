"""Which scenes each tile of a campaign is made from.

Products that keep their pixels lie on tiles of their own. A tile onto which products are resampled is made, pass by
pass, from all products that reach into it, of whatever UTM zone. The mapping is frozen in the run directory, since a
worker needs the tiles that it works on and not all scenes of a continent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from hpckit.base.files import atomic_path
from hpckit.base.reading import WatchedFile, parsed, read_table
from hpckit.campaign.campaign import Campaign
from hpckit.catalogue import catalogue
from hpckit.errors import CatalogueError
from hpckit.sensors.model import Acquisition, Dropped, Scene
from hpckit.sensors.registry import sensor_of
from hpckit.space.aoi import read_aoi
from hpckit.space.frame import Extent

ByTile = dict[str, tuple[Acquisition, ...]]
"""Acquisitions by tile, sorted by time."""

Overlaps = Literal["newest", "least_cloudy"]

_COLUMNS: Final = ("tile", "acquisition", "href", "scene", "granule")


def group(campaign: Campaign, scenes: Iterable[Scene]) -> tuple[ByTile, list[Dropped]]:
    """Acquisitions by tile, and the scenes that others of the same granule and pass supersede.

    Cells of a grid that no scene touches are not among the tiles.
    """
    acquisitions, dropped = catalogue.acquisitions(scenes)
    grid = campaign.grid
    kept = [scene for acquisition in acquisitions for scene in acquisition.scenes]
    assigned = grid.assign(read_aoi(campaign.aoi, campaign.folder), [_extent(scene) for scene in kept])
    made: dict[tuple[str, str], list[Scene]] = {}
    for scene, tiles in zip(kept, assigned, strict=True):
        for tile in tiles:
            made.setdefault((tile, scene.acquisition_id), []).append(scene)
    if grid.resampled:
        overlaps = campaign.cube.overlaps
        made = {key: _in_order(found, grid.frame(key[0], ()).epsg, overlaps) for key, found in made.items()}
    return _by_tile(_acquisition(*key, found) for key, found in made.items()), dropped


def _extent(scene: Scene) -> Extent:
    """Where a scene lies; products without tiles lie across them, also where they were placed on one."""
    return Extent(scene.tile, scene.frame if sensor_of(scene).has_tiles else None, scene.footprint)


def presence(by_tile: Mapping[str, Sequence[Acquisition]]) -> dict[str, frozenset[str]]:
    """Tiles that have an acquisition, by its id."""
    return _presence((tile, item.id) for tile, acquisitions in by_tile.items() for item in acquisitions)


def write(path: Path, by_tile: Mapping[str, Sequence[Acquisition]]) -> None:
    """Freeze what tiles are made from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        (tile, item.id, scene.href, scene.id, scene.tile)
        for tile, acquisitions in sorted(by_tile.items())
        for item in acquisitions
        for scene in item.scenes
    ]
    columns = {name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(_COLUMNS)}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd", write_page_checksum=True)


def read(path: Path, selected: Path, tiles: Iterable[str] | None = None) -> tuple[ByTile, dict[str, frozenset[str]]]:
    """Read what `write` froze.

    Parameters
    ----------
    selected : Path
        Catalogue of the scenes that are used; not read where there are none.
    tiles : iterable of str, optional
        Only the acquisitions of these.

    Returns
    -------
    acquisitions by tile, and for each acquisition of the whole campaign the tiles that have it

    Raises
    ------
    CatalogueError
        If one of the files is missing or damaged.
    """
    remedy = "`hpckit plan CAMPAIGN` writes it again"
    try:
        rows = parsed(path, _rows, lambda _: CatalogueError(f"{path}: damaged", hint=remedy))
    except FileNotFoundError:
        raise CatalogueError(f"{path}: missing", hint=remedy) from None
    wanted = None if tiles is None else set(tiles)
    mine = [row for row in rows if wanted is None or row[0] in wanted]
    if not mine:
        return {}, _presence(row[:2] for row in rows)
    granules = None if wanted is None else sorted({row[4] for row in mine})
    scenes = {(scene.href, scene.id, scene.tile): scene for scene in catalogue.read(selected, granules)}
    made: dict[tuple[str, str], list[Scene]] = {}
    for tile, identifier, *scene in mine:
        if tuple(scene) not in scenes:
            raise CatalogueError(f"{path}: not of {selected.name}", hint=remedy)
        made.setdefault((tile, identifier), []).append(scenes[tuple(scene)])
    return _by_tile(_acquisition(*key, found) for key, found in made.items()), _presence(row[:2] for row in rows)


def _rows(file: WatchedFile) -> list[tuple[Any, ...]]:
    table = read_table(file)
    rows = list(zip(*(table.column(name).to_pylist() for name in _COLUMNS), strict=True))
    if not all(isinstance(value, str) for row in rows for value in row):
        raise TypeError("no tiles")
    return rows


def _in_order(scenes: Sequence[Scene], epsg: int, overlaps: Overlaps) -> list[Scene]:
    """Scenes of one pass, best first. Of scenes that are equally good, one that needs no warping comes first."""

    def rank(scene: Scene) -> tuple[object, ...]:
        clouds = 100.0 if scene.cloud_cover is None else scene.cloud_cover
        baseline = float(scene.baseline)
        newest, foreign = (
            (baseline >= 99, -baseline),
            scene.frame is None or scene.frame.epsg != epsg,
        )  # N9999 is no baseline, but a trial
        first = (newest, foreign, clouds) if overlaps == "newest" else (clouds, newest, foreign)
        return (*first, scene.tile, scene.nodata or 0.0, scene.id, scene.href)

    return sorted(scenes, key=rank)


def _acquisition(tile: str, identifier: str, scenes: Sequence[Scene]) -> Acquisition:
    return Acquisition(tile, identifier, min(scene.sensed for scene in scenes), tuple(scenes))


def _by_tile(acquisitions: Iterable[Acquisition]) -> ByTile:
    by_tile: dict[str, list[Acquisition]] = {}
    for item in sorted(acquisitions, key=lambda item: (item.tile, item.time, item.id, item.scenes[0].level)):
        by_tile.setdefault(item.tile, []).append(item)
    return {tile: tuple(items) for tile, items in by_tile.items()}


def _presence(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    tiles: dict[str, set[str]] = {}
    for tile, identifier in pairs:
        tiles.setdefault(identifier, set()).add(tile)
    return {identifier: frozenset(names) for identifier, names in tiles.items()}

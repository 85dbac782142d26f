"""Which scenes each tile of a campaign is made from.

Sentinel-2's own granules are tiles themselves. A tile of another grid is made, pass by pass, from all granules
that reach into it, of whatever UTM zone; the mapping is frozen in the run directory, since a worker needs the
tiles that it works on and not all scenes of a continent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import pyproj
import shapely

from hpckit.aoi import read_aoi
from hpckit.campaign import Campaign
from hpckit.errors import CatalogueError
from hpckit.files import atomic_path
from hpckit.frame import Frame, GridSpec
from hpckit.grid import Tile, footprints
from hpckit.scenes import catalogue
from hpckit.scenes.footprint import square
from hpckit.scenes.model import Acquisition, Scene

ByTile = dict[str, tuple[Acquisition, ...]]
"""Acquisitions by tile, sorted by time."""

Overlaps = Literal["newest", "least_cloudy"]

_OUTLINE_ERR: Final = 0.01
"""Degrees by which outlines in the metadata of products may err."""


def group(campaign: Campaign, scenes: Iterable[Scene]) -> tuple[ByTile, list[catalogue.Dropped]]:
    """Acquisitions by tile, and the scenes that others of the same granule and pass supersede.

    Cells of a grid that no scene touches are not among the tiles.
    """
    acquisitions, dropped = catalogue.acquisitions(scenes)
    grid = campaign.grid_spec
    if grid is None:
        return _by_tile(acquisitions), dropped
    tiles = grid.tiles(read_aoi(campaign.aoi, campaign.folder))
    kept = [scene for acquisition in acquisitions for scene in acquisition.scenes]
    return _by_tile(_on_grid(grid, tiles, kept, campaign.cube.overlaps)), dropped


def presence(by_tile: Mapping[str, Sequence[Acquisition]]) -> dict[str, frozenset[str]]:
    """Tiles that have an acquisition, by its id."""
    return _presence((tile, item.id) for tile, acquisitions in by_tile.items() for item in acquisitions)


def write(path: Path, by_tile: Mapping[str, Sequence[Acquisition]]) -> None:
    """Freeze what the tiles of a grid are made from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        (tile, item.id, scene.href, scene.tile)
        for tile, acquisitions in sorted(by_tile.items())
        for item in acquisitions
        for scene in item.scenes
    ]
    columns = dict(zip(("tile", "acquisition", "href", "granule"), zip(*rows, strict=True), strict=True))
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def read(path: Path, selected: Path, tiles: Iterable[str] | None = None) -> tuple[ByTile, dict[str, frozenset[str]]]:
    """Read what `write` froze.

    Parameters
    ----------
    selected : Path
        Catalogue of the scenes that are used.
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = list(zip(*(column.to_pylist() for column in pq.read_table(path).columns), strict=True))
    except (OSError, pa.ArrowException) as error:
        raise CatalogueError(f"{path}: missing or damaged", hint="`hpckit plan CAMPAIGN` writes it anew") from error
    wanted = None if tiles is None else set(tiles)
    mine = [row for row in rows if wanted is None or row[0] in wanted]
    scenes = {scene.href: scene for scene in catalogue.read(selected, sorted({row[3] for row in mine}))}
    made: dict[tuple[str, str], list[Scene]] = {}
    for tile, identifier, href, _ in mine:
        if href not in scenes:
            raise CatalogueError(f"{path}: not of {selected.name}", hint="`hpckit plan CAMPAIGN` writes it anew")
        made.setdefault((tile, identifier), []).append(scenes[href])
    return _by_tile(_acquisition(*key, found) for key, found in made.items()), _presence(row[:2] for row in rows)


def _on_grid(grid: GridSpec, tiles: Sequence[Tile], scenes: Sequence[Scene], overlaps: Overlaps) -> list[Acquisition]:
    tree = shapely.STRtree(footprints(tiles))
    reached: dict[tuple[object, ...], frozenset[int]] = {}
    found: dict[tuple[str, str], list[Scene]] = {}
    for scene in scenes:
        granule = (scene.epsg, scene.ulx, scene.uly, tuple(scene.shapes.items()))
        if scene.radar is not None:
            seen = frozenset(range(len(tiles)))
        else:
            if granule not in reached:
                reached[granule] = _reached(grid, tiles, tree, scene)
            seen = reached[granule]
        if scene.footprint:
            outline = shapely.geometry.shape(scene.footprint).buffer(_OUTLINE_ERR)
            seen &= frozenset(tree.query(outline, predicate="intersects").tolist())
        for number in seen:
            found.setdefault((tiles[number].tile, scene.acquisition_id), []).append(scene)
    epsg = {tile.tile: tile.epsg for tile in tiles}
    return [
        _acquisition(tile, identifier, _in_order(reaching, epsg[tile], overlaps))
        for (tile, identifier), reaching in found.items()
    ]


def _reached(grid: GridSpec, tiles: Sequence[Tile], tree: shapely.STRtree, scene: Scene) -> frozenset[int]:
    """Tiles that share area with the raster of a scene: in degrees first, then in the CRS of the tile."""
    resolution_m, shape = min(scene.shapes.items())
    raster = Frame(scene.tile, scene.epsg, scene.ulx, scene.uly, {resolution_m: shape}, {})
    box = shapely.segmentize(shapely.box(*raster.bounds), 1000)
    scale = resolution_m / 10
    near = square(scene.epsg, scene.ulx, scene.uly, (round(shape[0] * scale), round(shape[1] * scale)))
    outline = shapely.geometry.shape(near).buffer(_OUTLINE_ERR)
    inside: set[int] = set()
    for number in tree.query(outline, predicate="intersects").tolist():
        tile = tiles[number]
        transformer = pyproj.Transformer.from_crs(scene.epsg, tile.epsg, always_xy=True)
        moved = shapely.transform(box, lambda x, y, to=transformer: to.transform(x, y), interleaved=False)
        if shapely.area(shapely.intersection(moved, tile.polygon)) > 0:
            inside.add(number)
    return frozenset(inside)


def _in_order(scenes: Sequence[Scene], epsg: int, overlaps: Overlaps) -> list[Scene]:
    """Scenes of one pass, best first. Of scenes that are equally good, one that needs no warping comes first."""

    def rank(scene: Scene) -> tuple[object, ...]:
        clouds = 100.0 if scene.cloud_cover is None else scene.cloud_cover
        baseline = float(scene.baseline)
        newest, foreign = (baseline >= 99, -baseline), scene.epsg != epsg  # N9999 is no baseline, but a trial
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

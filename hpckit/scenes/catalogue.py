"""Catalogues: products found by a scan, kept as stac-geoparquet; which scenes to use, and which not.

A catalogue has one row per scene with the columns of stac-geoparquet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import shapely

from hpckit.errors import CatalogueError, SceneError
from hpckit.files import atomic_path
from hpckit.scenes import sentinel1
from hpckit.scenes.discover import find_products, read_product
from hpckit.scenes.model import Acquisition, Level, Scene, acquisition_id
from hpckit.scenes.stac import from_item, to_item
from hpckit.scenes.stac_radar import PASS

_WORKERS: Final = 8
_STAMP: Final = "hpckit:stamp"


@dataclass(frozen=True, slots=True)
class Failure:
    """A product that could not be read."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A scene that is not used."""

    scene_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScanReport:
    """Result of a scan."""

    scenes: Sequence[Scene]
    failures: Sequence[Failure]
    reused: int
    """Scenes taken from the previous catalogue, since their product has not changed."""

    @property
    def incomplete(self) -> list[Scene]:
        """Scenes that lack some of their image files."""
        return [scene for scene in self.scenes if scene.missing]


def scan(
    paths: Iterable[Path],
    *,
    previous: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ScanReport:
    """Find products and read their metadata, in parallel.

    Parameters
    ----------
    paths : iterable of Path
        Folders, searched at any depth, or products.
    previous : Path, optional
        Catalogue of an earlier scan; products whose time stamp is unchanged are taken from it.
    progress : callable
        Called with the number of products read and found.

    Raises
    ------
    CatalogueError
        If one of the paths does not exist.
    """
    folders = list(paths)
    for path in folders:
        if not path.exists():
            raise CatalogueError(f"{path}: no such folder", hint="mend `scenes.paths` of the campaign file")
    known = {scene.href: scene for scene in read(previous)} if previous and previous.exists() else {}
    stamps = _stamps(previous) if known and previous else set()
    scenes: list[Scene] = []
    failures: list[Failure] = []
    products = list(find_products(folders, lambda path, reason: failures.append(Failure(path, reason))))
    progress(0, len(products))
    reused = 0
    with ThreadPoolExecutor(_WORKERS) as pool:
        for done, (path, scene, reason) in enumerate(pool.map(lambda p: _read_one(p, known, stamps), products), 1):
            if scene is None:
                failures.append(Failure(path, reason or ""))
            else:
                scenes.append(scene)
                reused += known.get(scene.href) is scene
            progress(done, len(products))
    return ScanReport(scenes, failures, reused)


def write(path: Path, scenes: Iterable[Scene]) -> None:
    """Write a catalogue, atomically."""
    import stac_geoparquet.arrow as stac

    items = [to_item(scene) for scene in sorted(scenes, key=lambda scene: (scene.tile, scene.sensed, scene.id))]
    if not items:
        raise CatalogueError(f"{path}: no scenes to write")
    for item in items:
        item["properties"][_STAMP] = _stamp(Path(item["assets"]["product"]["href"]))
    with atomic_path(path) as temporary:
        stac.to_parquet(stac.parse_stac_items_to_arrow(items), temporary)


def read(path: Path, tiles: Iterable[str] | None = None) -> list[Scene]:
    """Read a catalogue.

    Parameters
    ----------
    tiles : iterable of str, optional
        Only scenes of these.

    Raises
    ------
    CatalogueError
        If it is missing, damaged, or not written by hpckit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    import stac_geoparquet.arrow as stac

    try:
        # Sentinel-1 scenes of a campaign on another grid lie on no granule.
        names = None if tiles is None else list(tiles)
        wanted = None if names is None or "" in names else [("grid:code", "in", [f"MGRS-{tile}" for tile in names])]
        return [from_item(item) for item in stac.stac_table_to_items(pq.read_table(path, filters=wanted))]
    except FileNotFoundError:
        raise CatalogueError(f"{path}: no such catalogue", hint="`hpckit scenes scan` makes one") from None
    except (OSError, LookupError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        raise CatalogueError(f"{path}: no catalogue that hpckit wrote") from error


def presence(path: Path) -> dict[str, frozenset[str]]:
    """Tiles that have an acquisition, by its id: read without the rest of the catalogue."""
    import pyarrow.parquet as pq

    names = [name for name in ("s2:datatake_id", PASS) if name in pq.read_schema(path).names]
    table = pq.read_table(path, columns=["grid:code", *names]).to_pylist()
    tiles: dict[str, set[str]] = {}
    for row in table:
        datatake = next(row[name] for name in names if row[name] is not None)
        tiles.setdefault(acquisition_id(datatake), set()).add(row["grid:code"].removeprefix("MGRS-"))
    return {identifier: frozenset(names) for identifier, names in tiles.items()}


def select(
    scenes: Iterable[Scene],
    *,
    aoi: shapely.Geometry | None = None,
    period: tuple[date, date] | None = None,
    max_cloud_cover: float = 100,
    tiles: Sequence[str] | None = None,
    level: Level | None = None,
) -> tuple[list[Scene], list[Dropped]]:
    """Choose scenes; each that is left out is returned with the reason.

    Parameters
    ----------
    aoi : geometry in longitude and latitude, optional
    period : two dates, optional
        First and last day, UTC, both included.
    max_cloud_cover : float
        Percent.
    """
    chosen: list[Scene] = []
    dropped: list[Dropped] = []
    if aoi is not None:
        shapely.prepare(aoi)
    for scene in scenes:
        reason = _unfit(scene, aoi, period, max_cloud_cover, tiles, level)
        if reason is None:
            chosen.append(scene)
        else:
            dropped.append(Dropped(scene.id, reason))
    return chosen, dropped


def acquisitions(scenes: Iterable[Scene]) -> tuple[list[Acquisition], list[Dropped]]:
    """One acquisition per pass and tile: the newest baseline, its datastrips merged.

    Returns
    -------
    acquisitions : list of Acquisition
        Sorted by tile and time. The scenes of one are ordered fullest first.
    dropped : list of Dropped
        Scenes that another one supersedes.
    """
    groups: dict[tuple[str, str, str], list[Scene]] = {}
    for scene in scenes:
        groups.setdefault((scene.tile, scene.level, scene.acquisition_id), []).append(scene)
    result: list[Acquisition] = []
    dropped: list[Dropped] = []
    for (tile, _, identifier), group in groups.items():
        kept, superseded = _newest(group)
        dropped += superseded
        result.append(Acquisition(tile, identifier, min(scene.sensed for scene in kept), tuple(kept)))
    result.sort(key=lambda item: (item.tile, item.time, item.id, item.scenes[0].level))
    return result, sorted(dropped, key=lambda item: (item.scene_id, item.reason))


def _newest(group: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
    best = max(group, key=_rank)
    kept: dict[str, Scene] = {}
    dropped = []
    for scene in sorted(group, key=_rank, reverse=True):
        # Frames of one radar pass may come from different processors: each counts for itself.
        if scene.radar is None and scene.baseline != best.baseline:
            dropped.append(Dropped(scene.id, f"superseded by baseline {best.baseline} ({best.id})"))
        elif _strip(scene) in kept:
            dropped.append(Dropped(scene.id, _same_strip(scene, kept[_strip(scene)])))
        else:
            kept[_strip(scene)] = scene
    return sorted(kept.values(), key=lambda scene: (scene.nodata or 0.0, scene.id, scene.href)), dropped


def _rank(scene: Scene) -> tuple[bool, float, bool, str, bool, str, str]:
    """Preference: real baselines before N9999, newer, complete, later production, folder before zip."""
    baseline = float(scene.baseline)
    produced = scene.id.rpartition("_")[2]
    return (baseline < 99, baseline, not scene.missing, produced, not _is_zip(scene), scene.id, scene.href)


def _is_zip(scene: Scene) -> bool:
    return scene.href.lower().endswith(".zip")


def _same_strip(scene: Scene, kept: Scene) -> str:
    if scene.id == kept.id:
        return f"{scene.href} is the same product as {kept.href}"
    return f"the same {'datastrip' if scene.radar is None else 'frame'} as {kept.id}"


def _strip(scene: Scene) -> str:
    """Sensing part of a datastrip identifier (`S20221005T115407`): the same for every processing of it."""
    parts = scene.datastrip.split("_")
    return next((part for part in parts if part.startswith("S2") and part[1:9].isdigit()), scene.datastrip)


def _unfit(
    scene: Scene,
    aoi: shapely.Geometry | None,
    period: tuple[date, date] | None,
    max_cloud_cover: float,
    tiles: Sequence[str] | None,
    level: Level | None,
) -> str | None:
    if level is not None and scene.level != level:
        return f"level {scene.level}"
    if tiles is not None and scene.tile and scene.tile not in tiles:
        return f"tile {scene.tile}"
    if period is not None and not period[0] <= scene.sensed.date() <= period[1]:
        return f"sensed on {scene.sensed:%Y-%m-%d}, outside of the period"
    if scene.cloud_cover is not None and scene.cloud_cover > max_cloud_cover:
        return f"cloud cover {scene.cloud_cover:.0f} %"
    if aoi is not None and scene.footprint and not shapely.intersects(aoi, shapely.geometry.shape(scene.footprint)):
        return "outside of the area of interest"
    return None


def _read_one(
    path: Path, known: Mapping[str, Scene], stamps: AbstractSet[tuple[str, str]]
) -> tuple[Path, Scene | None, str | None]:
    scene = known.get(str(path))
    if scene is not None and not scene.missing and (scene.id, _stamp(path)) in stamps:
        return path, scene, None
    try:
        return path, read_product(path), None
    except SceneError as error:
        return path, None, str(error)


def _stamp(path: Path) -> str:
    """Time and size of the file that changes when a product does."""
    files = sentinel1.stamp_files(path) if path.is_file() else sorted(path.glob("MTD_MSIL*.xml"))
    files = files or sentinel1.stamp_files(path)
    try:
        status = files[0].stat()
    except (IndexError, OSError):
        return ""
    return f"{status.st_mtime_ns}-{status.st_size}"


def _stamps(path: Path) -> set[tuple[str, str]]:
    import pyarrow.parquet as pq

    columns = pq.read_table(path, columns=["id", _STAMP]).to_pydict()
    return set(zip(columns["id"], columns[_STAMP], strict=True))

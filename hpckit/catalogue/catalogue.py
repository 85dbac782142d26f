"""Catalogues: products found by a scan, kept as stac-geoparquet; which scenes to use, and which not.

A catalogue has one row per scene with the columns of stac-geoparquet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import shapely

from hpckit.base.collector import without_collector
from hpckit.base.files import atomic_path, digest, digest_json, write_bytes
from hpckit.base.reading import WatchedFile, column_names, is_there, may_pass, parsed, read_bytes, read_table
from hpckit.catalogue.discover import find_products, read_scenes
from hpckit.catalogue.foreign import read_items
from hpckit.catalogue.rows import STAMP, Earlier, table_of
from hpckit.catalogue.stac import from_item
from hpckit.catalogue.stores import find_stored, look_at
from hpckit.errors import CatalogueError, SceneError
from hpckit.inputs.remote_documents import forget
from hpckit.inputs.uri import is_below, is_remote
from hpckit.sensors.content import stamp_files, state_of_folder
from hpckit.sensors.copies import has_copy, is_noted_in_part
from hpckit.sensors.items import SCENE, addresses
from hpckit.sensors.model import Acquisition, Dropped, Level, Scene
from hpckit.sensors.registry import sensor_of, sensors
from hpckit.sensors.sensor import Sensor
from hpckit.sensors.stac.files import file_of, may_hold_items
from hpckit.sensors.stac.options import ItemOptions
from hpckit.sensors.stored import Sought

_Value = TypeVar("_Value")
_WORKERS: Final = 8
_BATCH: Final = 16
"""Products that a thread takes at a time."""
_FOLDER: Final = ".safe"
"""Ending of products that are folders with a list of their files."""
_FORM: Final = ("id", "geometry", "constellation", SCENE)
"""What scenes are made from again; the other columns are for other readers."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A product that could not be read, or a folder whose content could not be seen."""

    path: Path | str
    """On this machine, or the address of one in an object store."""
    reason: str
    passes: bool = False
    """The file system refused; it may be sound, and hold products if it is a folder."""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """Result of a scan."""

    scenes: Sequence[Scene]
    failures: Sequence[Failure]
    reused: int
    """Scenes taken from the previous catalogue, since their product has not changed."""
    kept: Sequence[Scene] = ()
    """Scenes of the previous catalogue that could not be looked at now."""
    stamps: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """State of the files of those taken from the previous catalogue, by `href` and id."""

    @property
    def unread(self) -> list[Failure]:
        """Products and folders that the file system refused to read, which may pass."""
        return [failure for failure in self.failures if failure.passes]

    @property
    def incomplete(self) -> list[Scene]:
        """Scenes that lack some of their image files."""
        return [scene for scene in self.scenes if scene.missing]


def scan(
    paths: Iterable[Path | str],
    *,
    previous: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    items: ItemOptions | None = None,
    among: Sequence[Sensor] | None = None,
    sought: Sought | None = None,
) -> ScanReport:
    """Find products and read their metadata, in parallel.

    Parameters
    ----------
    paths : iterable of Path or str
        Folders, searched at any depth, products, or files with STAC items of products; folders of object stores
        (`s3://bucket/folder`).
    previous : Path, optional
        Catalogue of an earlier scan; products whose files were not touched since are taken from it.
    progress : callable
        Called with the number of products read and found.
    items : ItemOptions, optional
        How STAC items are read whose catalogue is unknown, or whose offset is wrong.
    among : sequence of Sensor, optional
        Sensors whose products are looked for; all if not given.
    sought : Sought, optional
        What names of folders and products in object stores must allow; all if not given.

    Raises
    ------
    CatalogueError
        If one of the paths does not exist.
    FileUnavailableError
        If it cannot be seen whether one exists.
    """
    forget()
    named = list(paths)
    folders, addresses = (
        [Path(path) for path in named if not is_remote(str(path))],
        [*filter(is_remote, map(str, named))],
    )
    for path in folders:
        if not is_there(path):
            raise CatalogueError(f"{path}: no such folder", hint="correct `scenes.paths` of the campaign file")
    wanted = _Wanted(items or ItemOptions(), sensors() if among is None else tuple(among))
    before = _known(previous)
    known = _Before(
        by_product(before), _on_servers(before), read_stamps(previous) if before and previous else frozenset()
    )
    scenes: list[Scene] = []
    failures: list[Failure] = []
    reused = 0
    with ThreadPoolExecutor(_WORKERS) as pool:
        products: list[Path | str] = list(
            find_products(
                folders,
                lambda path, error: failures.append(_unseen(path, error)),
                any_items=wanted.items.assets is not None,
                among=wanted.sensors,
            )
        )
        products += find_stored(
            addresses, sought or Sought(), lambda folder, error: failures.append(_unseen(folder, error)), pool
        )
        progress(0, len(products))
        readings = pool.map(lambda some: [_read_one(path, known, wanted) for path in some], _batches(products))
        for done, read_now in enumerate(chain.from_iterable(readings), 1):
            failures += [failure for failure in read_now if isinstance(failure, Failure)]
            scenes += [scene for scene in read_now if isinstance(scene, Scene)]
            reused += len(read_now) if known.by_product.get(str(products[done - 1])) is read_now else 0
            progress(done, len(products))
    return ScanReport(scenes, failures, reused, _kept(before, scenes, failures), known.unchanged)


_states: dict[str, str] = {}
"""Of products on servers, by address, as this process saw them last."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for."""

    items: ItemOptions
    sensors: Sequence[Sensor]


@dataclass(frozen=True, slots=True)
class _Before:
    """What an earlier scan found."""

    by_product: Mapping[str, list[Scene]]
    on_servers: Mapping[str, list[Scene]]
    """Scenes of STAC items with images on servers, by the file of the item."""
    stamps: AbstractSet[tuple[str, str]]
    unchanged: dict[tuple[str, str], str] = field(default_factory=dict)
    """Stamps that are still the same, by `href` and id."""


def _unseen(path: Path | str, error: OSError | SceneError) -> Failure:
    reason = str(error) if isinstance(error, SceneError) else f"{path}: {error.strerror or error}"
    return Failure(path, reason, may_pass(error))


def _kept(known: Iterable[Scene], found: Iterable[Scene], failures: Iterable[Failure]) -> list[Scene]:
    """Known scenes whose product, or a folder above it, cannot be seen now: that does not mean that they are gone."""
    hidden, present = [str(failure.path) for failure in failures if failure.passes], {scene.href for scene in found}
    return [
        scene
        for scene in known
        if scene.href not in present
        and any(is_below(str(file_of(scene.href) or scene.href), folder) for folder in hidden)
    ]


def _known(previous: Path | None) -> list[Scene]:
    """Scenes of an earlier scan; none if it is of another version, or damaged: all products are read again then."""
    try:
        return read(previous) if previous and is_there(previous) else []
    except CatalogueError:
        return []


def write(
    path: Path,
    scenes: Iterable[Scene],
    items: ItemOptions | None = None,
    *,
    stamps: Mapping[tuple[str, str], str] | None = None,
    like: Sequence[Path] = (),
) -> None:
    """Write a catalogue, atomically.

    Parameters
    ----------
    items : ItemOptions, optional
        How STAC items were read.
    stamps : mapping, optional
        State of files that is known already (`ScanReport.stamps`).
    like : sequence of Path
        Other catalogues, and an earlier one at `path`: one that holds the same stays, or is copied to `path`. Else
        rows that the first of them has are taken over, since to make those of thousands of scenes takes many seconds.
    """
    scenes = sorted(scenes, key=lambda scene: (scene.tile, scene.sensed, scene.id))
    options, seen = items or ItemOptions(), stamps or {}
    states = [seen.get((scene.href, scene.id)) or _stamp(scene, options) for scene in scenes]
    for other in like:
        if _holds(other, scenes, states):
            if other != path:
                write_bytes(path, read_bytes(other))
            return
    if not scenes:
        raise CatalogueError(f"{path}: no scenes to write")
    import stac_geoparquet.arrow as stac

    with without_collector():
        table = table_of(scenes, states, next(filter(None, map(_earlier, like)), None))
    with atomic_path(path) as temporary:
        stac.to_parquet(table, temporary)


def _holds(path: Path, scenes: list[Scene], states: list[str]) -> bool:
    """Whether a catalogue holds just these scenes, in this order and state."""
    known = _known(path)
    if not known or known != scenes:
        return False
    return _parsed(path, lambda table: bool(table.column(STAMP).to_pylist() == states), [STAMP])


def _earlier(path: Path) -> Earlier | None:
    """Rows of an earlier catalogue; None of one that is not there, damaged, or written by an earlier version."""
    known = _known(path)
    if not known:
        return None
    table = _parsed(path, lambda table: table)
    return Earlier(known, table) if table.num_rows == len(known) else None


def is_catalogue(path: Path) -> bool:
    """Whether a file is a catalogue of hpckit, and not stac-geoparquet by others.

    Raises
    ------
    CatalogueError
        If it is missing or damaged.
    """
    if not path.name.lower().endswith(".parquet"):
        return False
    return _from_file(path, lambda file: SCENE in column_names(file))


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
    names = None if tiles is None else list(tiles)
    if names is None:
        return _from_file(path, _whole)
    wanted = None
    if "" not in names:  # scenes without a tile have no code
        codes = {sensor.grid.name.upper() for sensor in sensors()}
        wanted = {"grid:code": {f"{code}-{tile}" for code in codes for tile in names}}

    return _parsed(path, _scenes_of, _FORM, wanted)


_made: Final[WeakValueDictionary[str, Scene]] = WeakValueDictionary()
"""Scenes that this process holds, by their row: catalogues of one campaign share thousands."""
_MOST_KNOWN: Final = 4
_known_rows: Final[dict[str, list[str]]] = {}
"""Keys of the rows of catalogues that this process has read whole, by the digest of the file."""


def _whole(file: WatchedFile) -> list[Scene]:
    """Scenes of a catalogue; of one that was read before, whose scenes are still held, nothing is parsed.

    That is also so for a copy of it: what a campaign uses is often all that was found.
    """
    content = file.readall()
    state = digest(content)
    scenes = [_made.get(key) for key in _known_rows.get(state, ())]
    if scenes and all(scene is not None for scene in scenes):
        return [scene for scene in scenes if scene is not None]
    with without_collector():
        keys, found = _keyed(read_table(BytesIO(content), _FORM))
    while len(_known_rows) >= _MOST_KNOWN:
        del _known_rows[next(iter(_known_rows))]
    _known_rows[state] = keys
    return found


def _scenes_of(table: Any) -> list[Scene]:
    """Scenes of the rows of a table."""
    return _keyed(table)[1]


def _keyed(table: Any) -> tuple[list[str], list[Scene]]:
    """Keys of the rows of a table, and their scenes: one object for equal rows of whatever catalogue."""
    names = table.column_names
    rows = list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
    keys = [_key(row) for row in rows]
    scenes = {key: scene for key in keys if (scene := _made.get(key)) is not None}
    for key, row in zip(keys, rows, strict=True):
        if key not in scenes:
            told = dict(zip(names, row, strict=True))
            item = {"id": told.pop("id"), "geometry": shapely.from_wkb(told.pop("geometry")), "properties": told}
            scenes[key] = _made[key] = from_item(item)
    return keys, [scenes[key] for key in keys]


def _key(row: Iterable[object]) -> str:
    return digest(b"\0".join(value if isinstance(value, bytes) else str(value).encode() for value in row))


def by_product(scenes: Iterable[Scene]) -> dict[str, list[Scene]]:
    """Scenes by the path of their product."""
    found: dict[str, list[Scene]] = {}
    for scene in scenes:
        found.setdefault(scene.href, []).append(scene)
    return found


def _parsed(
    path: Path,
    parse: Callable[[Any], _Value],
    columns: Sequence[str] | None = None,
    where: Mapping[str, Collection[str]] | None = None,
) -> _Value:
    """Parse the table of a catalogue, or those of some columns that it has."""
    return _from_file(path, lambda file: parse(read_table(file, columns, where)))


def _from_file(path: Path, make: Callable[[WatchedFile], _Value]) -> _Value:
    try:
        return parsed(
            path,
            make,
            lambda _: CatalogueError(
                f"{path}: no catalogue that hpckit wrote, or one of an earlier version",
                hint="`hpckit run` writes it again; delete it first if no product was removed since",
            ),
        )
    except FileNotFoundError:
        raise CatalogueError(f"{path}: no such catalogue", hint="`hpckit scenes scan` makes one") from None


def select(
    scenes: Iterable[Scene],
    *,
    aoi: shapely.Geometry | None = None,
    period: tuple[date, date | None] | None = None,
    max_cloud_cover: float = 100,
    tiles: Sequence[str] | None = None,
    level: Level | None = None,
) -> tuple[list[Scene], list[Dropped]]:
    """Choose scenes; each that is left out is returned with the reason.

    Parameters
    ----------
    aoi : geometry in longitude and latitude, optional
    period : two dates, optional
        First and last day, UTC, both included; a last day of None is no end.
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
            dropped.append(Dropped(scene.id, *reason))
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
    groups: dict[tuple[str, str, str, str], list[Scene]] = {}
    for scene in scenes:
        groups.setdefault((scene.tile, scene.sensor, scene.level, scene.acquisition_id), []).append(scene)
    result: list[Acquisition] = []
    dropped: list[Dropped] = []
    for (tile, _, _, identifier), group in groups.items():
        kept, superseded = sensor_of(group[0]).newest(group)
        dropped += superseded
        result.append(Acquisition(tile, identifier, min(scene.sensed for scene in kept), tuple(kept)))
    result.sort(key=lambda item: (item.tile, item.time, item.id, item.scenes[0].level))
    return result, sorted(dropped, key=lambda item: (item.scene_id, item.reason))


def _unfit(
    scene: Scene,
    aoi: shapely.Geometry | None,
    period: tuple[date, date | None] | None,
    max_cloud_cover: float,
    tiles: Sequence[str] | None,
    level: Level | None,
) -> tuple[str, str] | None:
    """Why a scene is left out, and the field that says so."""
    if level is not None and scene.level != level:
        return f"level {scene.level}", "scenes.collection"
    if tiles is not None and scene.tile and scene.tile not in tiles:
        return f"tile {scene.tile}", "scenes.tiles"
    if period is not None and not period[0] <= scene.sensed.date() <= (period[1] or date.max):
        return f"sensed on {scene.sensed:%Y-%m-%d}, outside of the period", "period"
    if scene.cloud_cover is not None and scene.cloud_cover > max_cloud_cover:
        return f"cloud cover {scene.cloud_cover:.0f} %", "scenes.max_cloud_cover"
    if aoi is not None and scene.footprint is not None and not shapely.intersects(aoi, scene.footprint):
        return "outside of the area of interest", "aoi"
    return None


def _read_one(path: Path | str, known: _Before, wanted: _Wanted) -> Sequence[Scene | Failure]:
    """Scenes of a product: those of the previous catalogue where nothing has changed."""
    before = known.by_product.get(str(path), [])
    try:
        if isinstance(path, str):
            product = look_at(path)
            _states[path] = product.state
            is_known = before and all(_is_unchanged(scene, known, wanted) for scene in before)
            return before if is_known else product.read()
        if before and all(_is_unchanged(scene, known, wanted) for scene in before):
            return before
        if may_hold_items(path):
            kept = (scene for scene in known.on_servers.get(str(path), ()) if _is_unchanged(scene, known, wanted))
            scenes, errors = read_items(path, wanted.items, {scene.href: scene for scene in kept})
            return [*scenes, *(Failure(path, str(error), may_pass(error)) for error in errors)]
        return read_scenes(path, wanted.sensors)
    except SceneError as error:
        if isinstance(path, str) and may_pass(error) and any(map(has_copy, before)):
            return before  # it was fetched, for places from which its server is not seen
        return [Failure(path, str(error), may_pass(error))]


def _batches(products: Sequence[Path | str]) -> Iterator[Sequence[Path | str]]:
    """Products of one task each: to hand out a task takes as long as to see that a product has not changed."""
    return (products[first : first + _BATCH] for first in range(0, len(products), _BATCH))


def _on_servers(scenes: Iterable[Scene]) -> dict[str, list[Scene]]:
    """Scenes of STAC items with images on servers, by the file of the item."""
    found: dict[str, list[Scene]] = {}
    for scene in scenes:
        file = file_of(scene.href)
        if file is not None and any(map(is_remote, addresses(scene))):
            found.setdefault(str(file), []).append(scene)
    return found


def _is_unchanged(scene: Scene, known: _Before, wanted: _Wanted) -> bool:
    if not scene.content or scene.missing or is_noted_in_part(scene):
        return False
    stamp = _stamp(scene, wanted.items)
    if not stamp or (scene.id, stamp) not in known.stamps:
        return False
    known.unchanged[scene.href, scene.id] = stamp
    sensor = next((sensor for sensor in wanted.sensors if sensor.name == scene.sensor), None)
    try:
        return sensor is not None and sensor.is_current(scene)
    except OSError:
        return False  # to read it says why


def _stamp(scene: Scene, items: ItemOptions) -> str:
    """State of the files that change when a product does, whatever time stamps those who replace it keep.

    Of a STAC item also the options with which it was read.
    """
    if is_remote(scene.href):
        return _states.get(scene.href, "")
    try:
        states = _states_of(scene)
    except OSError:
        return ""
    options = [items.model_dump(mode="json")] if file_of(scene.href) is not None else []
    return digest_json([*([s.st_size, s.st_mtime_ns, s.st_ctime_ns] for s in states), *options])


def _states_of(scene: Scene) -> list[os.stat_result]:
    if scene.href.lower().endswith(_FOLDER):
        states = state_of_folder(scene.href)
        if states is not None:
            return states
    return [path.stat() for path in stamp_files(scene)]


def read_stamps(path: Path) -> set[tuple[str, str]]:
    """Id and stamp of each product of a catalogue: the stamp changes when a file of the product does."""

    def parse(table: Any) -> set[tuple[str, str]]:
        columns = table.to_pydict()
        return set(zip(columns["id"], columns[STAMP], strict=True))

    return _parsed(path, parse, ["id", STAMP])

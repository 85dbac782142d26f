"""From a campaign to its units, and from a unit to its result: where the rooms meet.

`prepare` reads what the campaign points to and freezes it in the run directory; `make_plan` cuts the work
into units and finds those that remain; a worker loads a `Context` from the run directory and executes
units one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyproj

from hpckit.aoi import read_aoi
from hpckit.campaign import Signatures
from hpckit.cube import layout
from hpckit.cube.layout import CubeSpec
from hpckit.errors import CatalogueError
from hpckit.files import write_json
from hpckit.reduce.assignment import Assignment, TileBox, assign
from hpckit.reduce.zones import ZoneLayer, load_zones, read_zones, write_zones
from hpckit.run import Run
from hpckit.scenes import catalogue
from hpckit.scenes.model import Acquisition, Scene

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a campaign comes down to, read and frozen."""

    run: Run
    acquisitions: Mapping[str, tuple[Acquisition, ...]]
    """By tile, sorted by time."""
    failures: Sequence[catalogue.Failure]
    """Products that could not be read."""
    zones: Mapping[str, ZoneLayer]
    """By reduction."""
    assignments: Mapping[str, Assignment]


def prepare(run: Run, progress: Progress) -> Prepared:
    """Scan the products, choose scenes, freeze the zone layers and lay the cube out.

    Raises
    ------
    CatalogueError
        If no scene fits the campaign.
    """
    campaign = run.campaign
    report = _scan(run, progress)
    scenes = _select(run, [*report.scenes, *_gone(run, report.scenes)])
    by_tile, dropped = group(scenes)
    write_json(run.selection, _describe_selection(by_tile, dropped, report.failures))
    zones = {reduction.name: _freeze_zones(run, reduction) for reduction in campaign.reductions}
    assignments = {name: _assign(run, name, layer, by_tile) for name, layer in zones.items()}
    for tile, acquisitions in by_tile.items():
        layout.prepare(CubeSpec.of(campaign), tile, acquisitions)
    return Prepared(run, by_tile, report.failures, zones, assignments)


def group(scenes: Iterable[Scene]) -> tuple[dict[str, tuple[Acquisition, ...]], list[catalogue.Dropped]]:
    """Acquisitions by tile, sorted by time, and the scenes that others of the same pass supersede."""
    acquisitions, dropped = catalogue.acquisitions(list(scenes))
    by_tile: dict[str, tuple[Acquisition, ...]] = {}
    for acquisition in acquisitions:
        by_tile[acquisition.tile] = (*by_tile.get(acquisition.tile, ()), acquisition)
    return by_tile, dropped


def _scan(run: Run, progress: Progress) -> catalogue.ScanReport:
    known = catalogue.read(run.catalogue) if run.catalogue.exists() else []
    paths = [run.campaign.resolve(path) for path in run.campaign.scenes.paths]
    files = [path for path in paths if path.suffix == ".parquet"]
    folders = [path for path in paths if path.suffix != ".parquet"]
    report = catalogue.scan(
        folders, previous=known, progress=lambda done, total: progress("scan products", done, total)
    )
    listed = [scene for path in files for scene in catalogue.read(path)]
    scenes = list({scene.href: scene for scene in [*listed, *report.scenes]}.values())
    catalogue.write(run.catalogue, scenes)
    return catalogue.ScanReport(scenes, report.failures, report.reused)


def _gone(run: Run, found: Sequence[Scene]) -> list[Scene]:
    """Scenes that were used before and whose product has since been removed: the cube holds them."""
    if not run.selected.exists():
        return []
    hrefs, ids = {scene.href for scene in found}, {scene.id for scene in found}
    return [
        scene for scene in catalogue.read(run.selected) if scene.href not in hrefs and scene.id not in ids
    ]


def _select(run: Run, scenes: Sequence[Scene]) -> list[Scene]:
    campaign = run.campaign
    chosen = catalogue.select(
        scenes,
        aoi=read_aoi(campaign.aoi, campaign.folder),
        period=(campaign.period.start, campaign.period.end),
        max_cloud_cover=campaign.scenes.max_cloud_cover,
        tiles=campaign.scenes.tiles,
        level=campaign.scenes.level,
    )
    if not chosen:
        raise CatalogueError(
            f"{campaign.path}: none of the {len(scenes)} products found fits area, period, cloud cover and collection",
            hint="`hpckit check` tells what was found; `hpckit scenes list` what each filter leaves",
        )
    catalogue.write(run.selected, chosen)
    return chosen


def _freeze_zones(run: Run, reduction: Signatures) -> ZoneLayer:
    layer = read_zones(run.campaign.resolve(reduction.zones), reduction.id, reduction.layer)
    path = run.zones(reduction.name)
    if not path.exists() or load_zones(path).digest != layer.digest:
        write_zones(path, layer)
    return layer


def _assign(
    run: Run, reduction: str, layer: ZoneLayer, by_tile: Mapping[str, Sequence[Acquisition]]
) -> Assignment:
    boxes = [tile_box(acquisitions[0].scenes[0]) for _, acquisitions in sorted(by_tile.items())]
    assignment = assign(layer.geometries, pyproj.CRS(layer.crs), boxes)
    assignment.save(run.assignment(reduction))
    return assignment


def tile_box(scene: Scene) -> TileBox:
    """Extent of the granule of a scene."""
    resolution_m, (rows, columns) = next(iter(sorted(scene.shapes.items())))
    bounds = (scene.ulx, scene.uly - rows * resolution_m, scene.ulx + columns * resolution_m, scene.uly)
    return TileBox(scene.tile, scene.epsg, bounds)


def _describe_selection(
    by_tile: Mapping[str, Sequence[Acquisition]],
    dropped: Sequence[catalogue.Dropped],
    failures: Sequence[catalogue.Failure],
) -> dict[str, Any]:
    return {
        "used": [scene.id for items in by_tile.values() for item in items for scene in item.scenes],
        "dropped": [{"scene": item.scene_id, "reason": item.reason} for item in dropped],
        "failed": [{"path": str(item.path), "reason": item.reason} for item in failures],
    }

"""From the products of a campaign to its tiles: what is used is chosen, and frozen in the run directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpckit.base.files import write_json
from hpckit.base.quantities import format_count
from hpckit.catalogue import catalogue, tiling
from hpckit.catalogue.holdings import holds, instead
from hpckit.catalogue.selection import find, fitting, misfit
from hpckit.cubes import held, layout
from hpckit.cubes.tiles import Tiles
from hpckit.errors import CatalogueError, FileUnavailableError
from hpckit.inputs.uri import is_below, is_remote
from hpckit.production.extent import of_area
from hpckit.runs.frozen import begin
from hpckit.runs.run import Run, read_run_json
from hpckit.sensors.model import Acquisition, Dropped, Scene

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the products of a campaign come down to."""

    tiles: Tiles
    """Their run writes to a draft of frozen inputs."""
    dropped: Sequence[Dropped]
    """Scenes that are not used."""
    failures: Sequence[catalogue.Failure]
    """Products that could not be read."""


def prepare(run: Run, progress: Progress = lambda what, done, total: None) -> Prepared:
    """Scan the products and choose scenes, in a draft of frozen inputs.

    Raises
    ------
    CatalogueError
        If no scene fits the campaign, or none has a band that it wants.
    CubeError
        If the scenes of a tile disagree on where it lies.
    """
    if not run.campaign.has_products:
        return _without_products(run)
    report = _scan(run, progress)
    found = [*report.scenes, *_gone(run, report.scenes)]
    contents = run.campaign.scenes.options.contents(run.campaign.resolve, run.seen("heights", "plan"))
    before = run.selected
    run = begin(replace(run, campaign=run.campaign.with_contents(contents)))
    scenes, unfit = _select(run, found)
    like = [before, run.catalogue]
    catalogue.write(run.selected, scenes, run.campaign.scenes.items, stamps=report.stamps, like=like)
    by_tile, superseded = tiling.group(run.campaign, scenes)
    _require_tiles(run, by_tile)
    _require_bands(run, by_tile)
    dropped = [*unfit, *superseded]
    write_json(run.selection, _describe_selection(by_tile, dropped, report))
    tiling.write(run.tiles, by_tile)
    tiles = Tiles(run, by_tile, tiling.presence(by_tile))
    for tile, acquisitions in by_tile.items():
        layout.require_one_frame(tiles.spec, tile, acquisitions)
    return Prepared(replace(tiles, held=of_area(tiles)), dropped, report.failures)


def _without_products(run: Run) -> Prepared:
    """A campaign that only computes graphs of others' collections."""
    run = begin(run)
    tiling.write(run.tiles, {})
    write_json(run.selection, _describe_selection({}, (), catalogue.ScanReport((), (), 0)))
    return Prepared(Tiles(run, {}, {}, held.Held({})), (), ())


def _scan(run: Run, progress: Progress) -> catalogue.ScanReport:
    report = find(
        run.campaign,
        run.campaign.scenes,
        run.catalogue,
        lambda done, total: progress("scan products", done, total),
    )
    if not report.scenes and report.unread:
        raise FileUnavailableError(
            f"{run.campaign.path}: no product can be read at the moment ({report.unread[0].reason})",
            hint="nothing was changed; run the command again when the file system answers",
        )
    if not report.scenes:
        named = run.campaign.scenes
        paths = [*map(run.campaign.resolve, named.folders), *named.addresses]
        raise CatalogueError(
            f"{run.campaign.path}: no usable product below {', '.join(map(str, paths))}",
            hint="; ".join(failure.reason for failure in report.failures[:3]) or "correct `scenes.paths`",
        )
    catalogue.write(
        run.catalogue,
        [*report.scenes, *report.kept],
        run.campaign.scenes.items,
        stamps=report.stamps,
        like=[run.catalogue],
    )
    return report


def _gone(run: Run, found: Sequence[Scene]) -> list[Scene]:
    """Scenes that were used before and whose product has since been removed: the cube, or the results, hold them.

    Only below folders that the campaign names: what a list leaves out, or lies elsewhere, is no longer meant.
    """
    if not run.selected.exists():
        return []
    before = Path(read_run_json(run.path)["campaign_path"]).parent  # elsewhere, if the folder was copied or moved
    scenes = run.campaign.scenes
    named = [*(str(run.campaign.resolve(path)) for path in scenes.folders), *scenes.addresses]
    there, ids = catalogue.by_product(found), {scene.id for scene in found}
    gone = []
    moved = before != run.campaign.folder
    for scene in catalogue.read(run.selected):
        href = scene.href
        if moved and not is_remote(href) and Path(href).is_relative_to(before):
            href = str(run.campaign.folder / Path(href).relative_to(before))
        granules = {(other.tile or scene.tile) for other in there.get(href, ())}
        if scene.tile not in granules and scene.id not in ids and any(is_below(href, place) for place in named):
            gone.append(replace(scene, href=href))
    return gone


def _select(run: Run, scenes: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
    campaign = run.campaign
    chosen, dropped = fitting(campaign, scenes)
    if not chosen:
        why, remedy = misfit(dropped)
        raise CatalogueError(
            f"{campaign.path}: of {format_count(len(scenes), 'product')} found none fits the campaign ({why})",
            hint=f"{remedy}; `hpckit check` shows what there is",
        )
    return chosen, dropped


def _require_tiles(run: Run, by_tile: Mapping[str, Sequence[Acquisition]]) -> None:
    """Refuse a campaign whose scenes and grid do not meet; single cells without scenes are nothing unusual."""
    if not by_tile:
        raise CatalogueError(
            f"{run.campaign.path}: no cell of grid {run.campaign.grid} in the area is touched by a scene",
            hint="correct `aoi` or `grid`",
        )


def _require_bands(run: Run, by_tile: Mapping[str, Sequence[Acquisition]]) -> None:
    """Refuse a band that no scene has; where some lack it, their dates have no data in it."""
    scenes = [scene for items in by_tile.values() for item in items for scene in item.scenes]
    products = format_count(len({scene.href for scene in scenes}), "product")
    for ref in run.campaign.cube_bands():
        if not any(holds(scene, ref, resampled=run.campaign.grid.resampled) for scene in scenes):
            raise CatalogueError(
                f"{run.campaign.path}: of {products} none has band {ref}",
                hint=instead(scenes[0], ref),
            )


def _describe_selection(
    by_tile: Mapping[str, Sequence[Acquisition]],
    dropped: Sequence[Dropped],
    report: catalogue.ScanReport,
) -> dict[str, Any]:
    used = {scene.id: scene.content for items in by_tile.values() for item in items for scene in item.scenes}
    return {
        "used": list(used),
        "contents": list(used.values()),
        "dropped": [{"scene": item.scene_id, "reason": item.reason} for item in dropped],
        "failed": [{"path": str(item.path), "reason": item.reason} for item in report.failures],
        "incomplete": [{"scene": scene.id, "missing": scene.missing} for scene in report.incomplete],
    }

"""From a campaign to its units, and from a unit to its result: where the rooms meet.

`prepare` reads what the campaign points to and freezes it in the run directory; `make_plan` cuts the work
into units and finds those that remain. A worker loads a `Context` from the run directory and executes units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyproj

from hpckit import tiling
from hpckit.campaign import Campaign, Signatures
from hpckit.composites import units as composites
from hpckit.cube import ingest, layout
from hpckit.cube.layout import CubeSpec
from hpckit.cube.manifest import Manifest
from hpckit.errors import CatalogueError
from hpckit.estimate import Rates
from hpckit.files import digest, digest_json, write_json
from hpckit.frame import Frame
from hpckit.journal import outcomes, read_journal
from hpckit.plan import Plan, Unit, write_plan
from hpckit.reduce.assignment import Assignment, TileBox, assign
from hpckit.reduce.expression import Expression
from hpckit.reduce.zones import ZoneLayer, load_zones, read_zones, write_zones
from hpckit.run import Run
from hpckit.scenes import catalogue
from hpckit.scenes.model import Acquisition, Scene
from hpckit.selection import fitting
from hpckit.spool import DAMAGED
from hpckit.steps import units as steps
from hpckit.steps.settings import is_step

_Value = TypeVar("_Value")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a campaign comes down to, read and frozen."""

    run: Run
    acquisitions: Mapping[str, tuple[Acquisition, ...]]
    """By tile, sorted by time."""
    dropped: Sequence[catalogue.Dropped]
    """Scenes that are not used."""
    failures: Sequence[catalogue.Failure]
    """Products that could not be read."""
    zones: Mapping[str, ZoneLayer]
    """By reduction."""
    assignments: Mapping[str, Assignment]
    """By reduction."""
    presence: Mapping[str, frozenset[str]]
    """Tiles of the whole campaign that have an acquisition, by its id."""

    @property
    def spec(self) -> CubeSpec:
        """Layout of the cube."""
        return CubeSpec.of(self.run.campaign)

    def frame(self, tile: str) -> Frame:
        """Where the rasters of a tile lie."""
        return self.spec.frame(tile, self.acquisitions[tile])


def prepare(run: Run, progress: Progress = lambda what, done, total: None) -> Prepared:
    """Scan the products, choose scenes, freeze the zone layers and lay the cube out.

    Raises
    ------
    CatalogueError
        If no scene fits the campaign.
    """
    report = _scan(run, progress)
    scenes, unfit = _select(run, [*report.scenes, *_gone(run, report.scenes)])
    by_tile, superseded = tiling.group(run.campaign, scenes)
    _require_tiles(run, by_tile)
    dropped = [*unfit, *superseded]
    write_json(run.selection, _describe_selection(by_tile, dropped, report))
    zones = {reduction.name: _freeze_zones(run, reduction) for reduction in run.campaign.signatures}
    assignments = {name: _assign(run, name, layer, by_tile) for name, layer in zones.items()}
    if run.campaign.grid_spec is not None:
        tiling.write(run.tiles, by_tile)
    prepared = Prepared(run, by_tile, dropped, report.failures, zones, assignments, tiling.presence(by_tile))
    for tile, acquisitions in by_tile.items():
        layout.prepare(prepared.spec, tile, acquisitions)
    composites.prepare_stores(prepared)
    return prepared


def nothing_yet(run: Run) -> Prepared:
    """A campaign before its products are there."""
    return Prepared(run, {}, [], [], {}, {}, {})


def plan_products(
    run: Run, progress: Progress = lambda what, done, total: None, warn: Callable[[str], None] = lambda reason: None
) -> tuple[Plan, frozenset[str]] | None:
    """Plan the steps that make the campaign's products, which come before all that is made from them.

    Parameters
    ----------
    warn : callable
        Called with why a product cannot be read.

    Returns
    -------
    tuple, or None
        Their units, and the ids of those that failed when they were last tried; None if all are done, or there is no
        such step.
        The plan is written to the run directory.
    """
    for failure in steps.scan_products(run, lambda done, total: progress("scan products", done, total)):
        warn(failure.reason)
    units = steps.product_units(run)
    pending, failed = steps.pending(run, units)
    if not pending:
        return None
    write_plan(run.plan, units)
    return Plan(units, pending), failed


def make_plan(prepared: Prepared, rates: Rates) -> Plan:
    """Cut the work into units, find those that remain, and write them to the run directory."""
    manifest = Manifest.load(prepared.spec.path)
    units: list[Unit] = steps.product_units(prepared.run)
    pending: set[str] = set()
    for unit, done in chain(_ingest_units(prepared, manifest, rates), _index_units(prepared, rates)):
        units.append(unit)
        if not done:
            pending.add(unit.id)
    reduce_units = list(_reduce_units(prepared, rates))
    known = outcomes(read_journal(prepared.run.path), {unit.id: unit.inputs for unit in reduce_units})
    lost = {path.name.removesuffix(DAMAGED) for path in prepared.run.spool.glob(f"*{DAMAGED}")}
    pending |= {
        unit.id
        for unit in reduce_units
        if (entry := known.get(unit.id)) is None or entry.state != "done" or entry.segment in lost
    }
    units += reduce_units
    for unit, done in composites.units(prepared, rates):
        units.append(unit)
        if not done:
            pending.add(unit.id)
    units += steps.later_units(prepared, units, pending)
    pending |= steps.pending(prepared.run, [unit for unit in units if is_step(unit.stage)])[0]
    write_plan(prepared.run.plan, units)
    return Plan(units, frozenset(pending))


def _scan(run: Run, progress: Progress) -> catalogue.ScanReport:
    paths = [run.campaign.resolve(path) for path in run.campaign.scenes.paths]
    listed = [scene for path in paths if path.suffix == ".parquet" for scene in catalogue.read(path)]
    report = catalogue.scan(
        [path for path in paths if path.suffix != ".parquet"],
        previous=run.catalogue,
        progress=lambda done, total: progress("scan products", done, total),
    )
    scenes = list({scene.href: scene for scene in [*listed, *report.scenes]}.values())
    if not scenes:
        raise CatalogueError(
            f"{run.campaign.path}: no usable product below {', '.join(map(str, paths))}",
            hint="; ".join(failure.reason for failure in report.failures[:3]) or "mend `scenes.paths`",
        )
    catalogue.write(run.catalogue, scenes)
    return catalogue.ScanReport(scenes, report.failures, report.reused)


def _gone(run: Run, found: Sequence[Scene]) -> list[Scene]:
    """Scenes that were used before and whose product has since been removed: the cube holds them."""
    if not run.selected.exists():
        return []
    hrefs, ids = {scene.href for scene in found}, {scene.id for scene in found}
    return [scene for scene in catalogue.read(run.selected) if scene.href not in hrefs and scene.id not in ids]


def _select(run: Run, scenes: Sequence[Scene]) -> tuple[list[Scene], list[catalogue.Dropped]]:
    campaign = run.campaign
    chosen, dropped = fitting(campaign, scenes)
    if not chosen:
        reasons = ", ".join(sorted({item.reason for item in dropped})[:4])
        raise CatalogueError(
            f"{campaign.path}: none of the {len(scenes)} products found fits the campaign ({reasons})",
            hint="mend aoi, period or scenes; `hpckit check` tells what there is",
        )
    catalogue.write(run.selected, chosen)
    return chosen, dropped


def _require_tiles(run: Run, by_tile: Mapping[str, Sequence[Acquisition]]) -> None:
    """Refuse a campaign whose scenes and grid do not meet; single cells without scenes are nothing unusual."""
    if not by_tile:
        raise CatalogueError(
            f"{run.campaign.path}: no cell of grid {run.campaign.grid} in the area is touched by a scene",
            hint="mend aoi, grid or scenes",
        )


def _freeze_zones(run: Run, reduction: Signatures) -> ZoneLayer:
    layer = read_zones(run.campaign.resolve(reduction.zones), reduction.id, reduction.layer)
    path = run.zones(reduction.name)
    if not path.exists() or load_zones(path).digest != layer.digest:
        write_zones(path, layer)
    return layer


def _assign(run: Run, name: str, layer: ZoneLayer, by_tile: Mapping[str, Sequence[Acquisition]]) -> Assignment:
    spec = CubeSpec.of(run.campaign)
    frames = [spec.frame(tile, acquisitions) for tile, acquisitions in sorted(by_tile.items())]
    boxes = [TileBox(frame.tile, frame.epsg, frame.bounds) for frame in frames]
    assignment = assign(layer.geometries, pyproj.CRS(layer.crs), boxes)
    assignment.save(run.assignment(name))
    return assignment


def _describe_selection(
    by_tile: Mapping[str, Sequence[Acquisition]],
    dropped: Sequence[catalogue.Dropped],
    report: catalogue.ScanReport,
) -> dict[str, Any]:
    return {
        "used": list(dict.fromkeys(s.id for items in by_tile.values() for item in items for s in item.scenes)),
        "dropped": [{"scene": item.scene_id, "reason": item.reason} for item in dropped],
        "failed": [{"path": str(item.path), "reason": item.reason} for item in report.failures],
        "incomplete": [{"scene": scene.id, "missing": scene.missing} for scene in report.incomplete],
    }


def _ingest_units(prepared: Prepared, manifest: Manifest, rates: Rates) -> Iterable[tuple[Unit, bool]]:
    spec = prepared.spec
    for tile, acquisitions in prepared.acquisitions.items():
        known, frame = manifest.has(tile), spec.frame(tile, acquisitions)
        digests: dict[tuple[int, int], tuple[str, int]] = {}
        for unit in ingest.ingest_units(spec, tile, acquisitions):
            columns = frame.shapes[unit.band.resolution_m][1]
            # What a unit is made from is the same for all rows and bands of one width.
            if (unit.block, columns) not in digests:
                digests[unit.block, columns] = _ingest_inputs(ingest.shards(spec, unit, acquisitions))
            inputs, dates = digests[unit.block, columns]
            pixels = frame.edges[unit.band.resolution_m] * columns * dates
            args = {"tile": tile, "band": unit.band.key, "block": unit.block, "row": unit.row}
            done = known and ingest.is_done(ingest.shards(spec, unit, acquisitions), manifest)
            yield Unit(unit.id, "ingest", rates.decode_s(pixels), inputs, args), done


def _ingest_inputs(shards: Sequence[ingest.Shard]) -> tuple[str, int]:
    """Digest of what shards are made from, and how many dates that is."""
    dates = {date for shard in shards for date in shard.dates}
    return digest_json([shard.inputs for shard in shards])[:16], len(dates)


def _index_units(prepared: Prepared, rates: Rates) -> Iterable[tuple[Unit, bool]]:
    for reduction in prepared.run.campaign.signatures:
        for tiles in reduce_groups(prepared, reduction):
            unit_id = f"index/{reduction.name}/{'+'.join(tiles)}"
            paths = index_paths(prepared, reduction, tiles)
            args = {"reduction": reduction.name, "tiles": list(tiles)}
            inputs = digest_json(sorted(path.name for path in paths.values()))[:16]
            done = all(path.exists() for path in paths.values())
            yield Unit(unit_id, "index", rates.index_s(len(prepared.zones[reduction.name])), inputs, args), done


def _reduce_units(prepared: Prepared, rates: Rates) -> Iterable[Unit]:
    for reduction in prepared.run.campaign.signatures:
        for tiles in reduce_groups(prepared, reduction):
            paths = index_paths(prepared, reduction, tiles)
            for acquisition_id in acquisition_ids(prepared.acquisitions, tiles):
                args = {"reduction": reduction.name, "tiles": list(tiles), "acquisition": acquisition_id}
                unit_id = f"reduce/{reduction.name}/{'+'.join(tiles)}/{acquisition_id}"
                yield Unit(
                    unit_id,
                    "reduce",
                    rates.reduce_s(_plane_pixels(prepared, reduction, tiles)),
                    _reduce_inputs(prepared, reduction, tiles, acquisition_id, [p.name for p in paths.values()]),
                    args,
                )


def reduce_groups(prepared: Prepared, reduction: Signatures) -> list[tuple[str, ...]]:
    """Tiles, alone or together, that answer for some zone."""
    assignment = prepared.assignments[reduction.name]
    single = [(tile,) for tile in sorted(prepared.acquisitions) if len(assignment.candidates_of(tile))]
    return [*single, *sorted(assignment.groups())]


def index_paths(prepared: Prepared, reduction: Signatures, tiles: Sequence[str]) -> dict[tuple[str, int], Path]:
    """File of each zone index of a group, by tile and resolution; its name tells what it was built from."""
    folder = prepared.run.path / "index" / reduction.name / "+".join(tiles)
    rows = group_zones(prepared.assignments[reduction.name], tiles)
    zones = prepared.zones[reduction.name].digest
    paths = {}
    for tile in tiles:
        frame = prepared.frame(tile)
        for resolution_m in index_resolutions(prepared.run.campaign, reduction):
            grid = [frame.epsg, list(frame.transform(resolution_m)), frame.shapes[resolution_m]]
            inputs = digest_json([zones, digest(rows.tobytes()), reduction.coverage, grid])[:16]
            paths[tile, resolution_m] = folder / f"{tile}-r{resolution_m}m-{inputs}.npz"
    return paths


def index_resolutions(campaign: Campaign, reduction: Signatures) -> list[int]:
    """Resolutions at which zones are laid over a tile: those of the bands, and the finest of each derived band."""
    found = {campaign.ref(band).resolution_m for band in reduction.bands}
    for text in reduction.indices.values():
        found.add(min(campaign.ref(band).resolution_m for band in Expression.parse(text).bands))
    return sorted(found)


def group_zones(assignment: Assignment, tiles: Sequence[str]) -> npt.NDArray[np.int32]:
    """Zones of a group: what a tile may have to answer for, or what several tiles hold together."""
    if len(tiles) == 1:
        return assignment.candidates_of(tiles[0])
    zones = {piece.zone for piece in assignment.groups()[tuple(tiles)]}
    return np.array(sorted(zones), dtype=np.int32)


def acquisition_ids(by_tile: Mapping[str, Sequence[Acquisition]], tiles: Sequence[str]) -> list[str]:
    """Acquisitions that any of the tiles has, sorted."""
    return sorted({acquisition.id for tile in tiles for acquisition in by_tile.get(tile, ())})


def _plane_pixels(prepared: Prepared, reduction: Signatures, tiles: Sequence[str]) -> int:
    refs = [prepared.run.campaign.ref(band) for band in reduction.source_bands()]
    shapes = [prepared.frame(tile).shapes for tile in tiles]
    return sum(shape[ref.resolution_m][0] * shape[ref.resolution_m][1] for shape in shapes for ref in refs)


def _reduce_inputs(
    prepared: Prepared, reduction: Signatures, tiles: Sequence[str], acquisition_id: str, indexes: Sequence[str]
) -> str:
    """Digest of what a reduce unit depends on: settings, zones, who answers for them, and the scenes."""
    settings = reduction.model_dump(mode="json", exclude={"device", "zones", "layer", "id"})
    scenes = {
        tile: [scene.id for item in prepared.acquisitions[tile] if item.id == acquisition_id for scene in item.scenes]
        for tile in tiles
    }
    present = sorted(prepared.presence[acquisition_id])
    spec = prepared.spec
    return digest_json([settings, sorted(indexes), scenes, present, *spec.treatment])[:16]


def read_prepared(run: Run, tiles: Iterable[str] | None = None) -> Prepared:
    """What `prepare` froze in the run directory; for workers.

    Parameters
    ----------
    tiles : iterable of str, optional
        Only the acquisitions of these are read: a worker needs few of a continent's.
    """
    if run.campaign.grid_spec is not None:
        by_tile, presence = tiling.read(run.tiles, run.selected, tiles)
        dropped: Sequence[catalogue.Dropped] = []
    else:
        by_tile, dropped = tiling.group(run.campaign, catalogue.read(run.selected, tiles))
        presence = tiling.presence(by_tile) if tiles is None else catalogue.presence(run.selected)
    names = [reduction.name for reduction in run.campaign.signatures]
    zones = _LoadedWhenNeeded({name: partial(load_zones, run.zones(name)) for name in names})
    assignments = _LoadedWhenNeeded({name: partial(Assignment.load, run.assignment(name)) for name in names})
    return Prepared(run, by_tile, dropped, [], zones, assignments, presence)


class _LoadedWhenNeeded(Mapping[str, _Value]):
    """A mapping whose values are read from files when they are first asked for: ingest needs no zones."""

    def __init__(self, load: Mapping[str, Callable[[], _Value]]) -> None:
        self._load = load
        self._loaded: dict[str, _Value] = {}

    def __getitem__(self, name: str) -> _Value:
        if name not in self._loaded:
            self._loaded[name] = self._load[name]()
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load)

    def __len__(self) -> int:
        return len(self._load)

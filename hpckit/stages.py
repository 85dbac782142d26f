"""What a worker does with a unit of each stage: ingest, index, reduce, composite, export, and steps of users."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

import hpckit
from hpckit.campaign import Signatures
from hpckit.composites.export import export
from hpckit.composites.row import compose_row
from hpckit.cube.ingest import IngestUnit, date_inputs, ingest, ingest_units, is_done, shards
from hpckit.cube.layout import shard_key
from hpckit.cube.manifest import Manifest
from hpckit.errors import CubeError, PlanError
from hpckit.journal import read_journal
from hpckit.plan import Unit
from hpckit.production import Prepared, group_zones, index_paths, index_resolutions, read_prepared
from hpckit.reduce.assignment import project
from hpckit.reduce.index import ZoneIndex, build_index
from hpckit.reduce.signatures import Job, Part, signatures
from hpckit.run import Run, campaign_digest, find_run
from hpckit.scenes.bands import BandRef
from hpckit.scenes.model import Acquisition, Scene
from hpckit.spool import AcquisitionInfo, SignatureBatch, SpoolHeader, write_segment
from hpckit.steps.command import run_command

_CACHED_INDEXES = 4
_SCALE_TOLERANCE = 0.002


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a unit gave."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    batches: Sequence[SignatureBatch] = ()
    """Records to spool."""
    reason: str | None = None
    """Why it failed in part; what could be done is done."""


class Context:
    """What a worker needs of the run directory, read once."""

    def __init__(
        self,
        run: Run,
        writer: str,
        threads: int,
        tiles: Sequence[str] | None = None,
        prepared: Prepared | None = None,
    ) -> None:
        self.run = run
        self.writer = writer
        self.threads = threads
        self._tiles = tiles
        self._prepared = prepared
        self._indexes: OrderedDict[Path, ZoneIndex] = OrderedDict()

    @classmethod
    def load(cls, run_dir: Path, writer: str, threads: int, tiles: Sequence[str] | None = None) -> Context:
        """Read what `prepare` froze when it is first needed; with `tiles` only what concerns these."""
        return cls(find_run(run_dir), writer, threads, tiles)

    @cached_property
    def prepared(self) -> Prepared:
        """What the campaign came down to; steps that make its products work before that is known."""
        return self._prepared or read_prepared(self.run, self._tiles)

    @cached_property
    def manifest(self) -> Manifest:
        """What is in the cube."""
        return Manifest.load(self.prepared.spec.path, self._tiles)

    @cached_property
    def finished(self) -> frozenset[tuple[str, str]]:
        """Ids and inputs of units that were done before this stage began."""
        entries = read_journal(self.run.path)
        return frozenset((entry.unit, entry.inputs) for entry in entries if entry.state == "done")

    def reduction(self, name: str) -> Signatures:
        """Reduction by name."""
        return next(item for item in self.prepared.run.campaign.signatures if item.name == name)

    def acquisition(self, tile: str, identifier: str) -> tuple[int, Acquisition] | None:
        """Position on the tile's time axis, and the acquisition; None if the tile does not have it."""
        for position, item in enumerate(self.prepared.acquisitions[tile]):
            if item.id == identifier:
                return position, item
        return None

    def index(self, path: Path) -> ZoneIndex:
        """Zone index, from memory if it was used lately."""
        if path not in self._indexes:
            self._indexes[path] = ZoneIndex.load(path)
        self._indexes.move_to_end(path)
        while len(self._indexes) > _CACHED_INDEXES:
            self._indexes.popitem(last=False)
        return self._indexes[path]


def execute(context: Context, unit: Unit) -> Outcome:
    """Do a unit.

    Raises
    ------
    HpckitError
        If it cannot be done; the message says why.
    """
    match unit.stage:
        case "ingest":
            return _ingest(context, unit)
        case "index":
            return _index(context, unit)
        case "reduce":
            return _reduce(context, unit)
        case "composite":
            return _composite(context, unit)
        case "export":
            return Outcome(export(context.prepared, unit, context.threads))
        case _:
            return _step(context, unit)


def write_spool(context: Context, batches: Sequence[SignatureBatch]) -> dict[str, str]:
    """Seal batches, one segment per reduction; return the name of the segment of each unit."""
    run = context.prepared.run
    segment_of: dict[str, str] = {}
    for reduction in run.campaign.signatures:
        mine = [batch for batch in batches if batch.unit.split("/")[1] == reduction.name]
        if mine:
            header = SpoolHeader(
                campaign=run.campaign.name,
                campaign_digest=campaign_digest(run.campaign),
                run_id=run.run_id,
                reduction=reduction.name,
                zones_digest=context.prepared.zones[reduction.name].digest,
                hpckit=hpckit.__version__,
            )
            name = f"{reduction.name}-{context.writer}-{uuid.uuid4().hex[:8]}.h5"
            write_segment(run.spool / name, header, mine)
            segment_of |= {batch.unit: name for batch in mine}
    return segment_of


def _ingest(context: Context, unit: Unit) -> Outcome:
    args = unit.args
    name, _, resolution = str(args["band"]).partition("@")
    ref = BandRef(name, int(resolution.removesuffix("m")))
    work = IngestUnit(str(args["tile"]), ref, int(args["block"]), int(args["row"]))
    acquisitions = context.prepared.acquisitions[work.tile]
    result = ingest(context.prepared.spec, work, acquisitions, context.manifest, context.writer)
    reasons = sorted({reason for _, reason in result.failures})
    return Outcome(
        {
            "decoded_pixels": result.decoded_pixels,
            "skipped_windows": result.skipped_windows,
            "shards": result.shards,
            "written_bytes": result.written_bytes,
            "decode_s": round(result.decode_s, 3),
        },
        reason="; ".join(reasons) or None,
    )


def _step(context: Context, unit: Unit) -> Outcome:
    step = context.run.campaign.step(unit.stage)
    if step is None:
        raise PlanError(f"unit {unit.id}: the campaign has no such step", hint="`hpckit plan` makes the plan anew")
    if step.waits_for == "ingest":
        reason = _without(context, str(unit.args["words"]["tile"]))
    else:
        reason = _too_early(context, unit)
    return Outcome(run_command(context.run, step, unit, context.threads), reason=reason)


def _too_early(context: Context, unit: Unit) -> str | None:
    """What a unit waits for and was not done before it; its result is of something else, and must not count."""
    late = [str(name) for name, inputs in unit.args.get("waits", ()) if (name, inputs) not in context.finished]
    if not late:
        return None
    return f"done before what it waits for, which failed ({late[0]}{', …' if late[1:] else ''}); it will run again"


def _without(context: Context, tile: str) -> str | None:
    """What a cube lacks since dates of it could not be ingested; None if it is whole.

    Raises
    ------
    CubeError
        If parts of it were not ingested at all.
    """
    spec, acquisitions = context.prepared.spec, context.prepared.acquisitions[tile]
    wanted = [shard for unit in ingest_units(spec, tile, acquisitions) for shard in shards(spec, unit, acquisitions)]
    absent = sum(context.manifest.get(shard.key) is None for shard in wanted)
    if absent:
        raise CubeError(
            f"tile {tile} is not wholly ingested: {absent} of {len(wanted)} shards are not there",
            hint="see why in the failures of the ingest stage; the next run tries again",
        )
    partial = sum(not is_done([shard], context.manifest) for shard in wanted)
    return f"done without dates that could not be ingested, in {partial} of {len(wanted)} shards" if partial else None


def _composite(context: Context, unit: Unit) -> Outcome:
    result = compose_row(context.prepared, context.manifest, unit, context.writer, context.threads)
    return Outcome(result.metrics, reason=result.reason)


def _index(context: Context, unit: Unit) -> Outcome:
    prepared, reduction = context.prepared, context.reduction(str(unit.args["reduction"]))
    tiles = list(unit.args["tiles"])
    layer, assignment = prepared.zones[reduction.name], prepared.assignments[reduction.name]
    rows = group_zones(assignment, tiles)
    shapes = _shapes_by_tile(prepared, reduction, tiles, rows)
    beyond = np.zeros(len(rows))
    if len(tiles) > 1:
        epsg = prepared.frame(tiles[0]).epsg
        beyond = _beyond_all(project(layer.geometries[rows], pyproj.CRS(layer.crs), epsg), shapes)
    entries = slivers = 0
    for (tile, resolution_m), path in index_paths(prepared, reduction, tiles).items():
        frame = prepared.frame(tile)
        index = build_index(
            shapes[tile], rows, frame.transform(resolution_m), frame.shapes[resolution_m], reduction.coverage
        )
        if tile == tiles[0]:
            index.outside[:] += beyond / resolution_m**2
        index.save(path)
        entries += len(index.pixels)
        if len(tiles) == 1 and resolution_m == min(index_resolutions(prepared.run.campaign, reduction)):
            slivers += int((np.diff(index.offsets) == 0).sum())
    return Outcome({"zones": len(rows), "entries": entries, "slivers": slivers})


def _shapes_by_tile(
    prepared: Prepared, reduction: Signatures, tiles: Sequence[str], rows: npt.NDArray[np.int32]
) -> dict[str, npt.NDArray[np.object_]]:
    """Geometries of the zones in each tile's CRS; with several tiles the piece that each answers for."""
    layer, assignment = prepared.zones[reduction.name], prepared.assignments[reduction.name]
    if len(tiles) == 1:
        epsg = prepared.frame(tiles[0]).epsg
        return {tiles[0]: project(layer.geometries[rows], pyproj.CRS(layer.crs), epsg)}
    place = {zone: number for number, zone in enumerate(rows.tolist())}
    shapes = {}
    for tile in tiles:
        shapes[tile] = np.full(len(rows), shapely.MultiPolygon(), dtype=object)
    for piece in assignment.groups()[tuple(tiles)]:
        shapes[piece.tile][place[piece.zone]] = piece.geometry
    return shapes


def _beyond_all(
    whole: npt.NDArray[np.object_], shapes: Mapping[str, npt.NDArray[np.object_]]
) -> npt.NDArray[np.float64]:
    """Area of each zone that no tile holds, in square metres."""
    held = np.sum([shapely.area(parts) for parts in shapes.values()], axis=0)
    beyond: npt.NDArray[np.float64] = shapely.area(whole) - held
    # Pieces in other UTM zones are measured on another scale; that is no area beyond.
    return np.where(beyond > _SCALE_TOLERANCE * held, beyond, 0.0)


def _reduce(context: Context, unit: Unit) -> Outcome:
    prepared, reduction = context.prepared, context.reduction(str(unit.args["reduction"]))
    tiles, identifier = list(unit.args["tiles"]), str(unit.args["acquisition"])
    found = {tile: context.acquisition(tile, identifier) for tile in tiles}
    rows = _answered(prepared, reduction, tiles, identifier)
    if not len(rows):
        return Outcome({"zones": 0})
    parts = [_part(context, reduction, tiles, tile, rows, found[tile]) for tile in tiles]
    for tile, at in found.items():
        if at is not None:
            _require_ingested(context, reduction, tile, *at, parts[tiles.index(tile)])
    acquisition = next(at[1] for at in found.values() if at is not None)
    job = Job(
        unit=unit.id,
        cube=prepared.spec.path,
        reduction=reduction,
        ref=prepared.run.campaign.ref,
        parts=parts,
        acquisition=_info(tiles, [at[1] for at in found.values() if at is not None], acquisition),
        threads=context.threads,
    )
    batch = signatures(job)
    pixels = sum(
        shape[0] * shape[1] * len(reduction.source_bands())
        for shape in (tile_shape(prepared, tile, reduction) for tile in tiles)
    )
    return Outcome({"zones": len(rows), "pixels": pixels}, [batch])


def tile_shape(prepared: Prepared, tile: str, reduction: Signatures) -> tuple[int, int]:
    """Rows and columns of a tile at the finest resolution of a reduction."""
    return prepared.frame(tile).shapes[min(index_resolutions(prepared.run.campaign, reduction))]


def _answered(
    prepared: Prepared, reduction: Signatures, tiles: Sequence[str], identifier: str
) -> npt.NDArray[np.int32]:
    """Zones that these tiles answer for in an acquisition."""
    assignment = prepared.assignments[reduction.name]
    if len(tiles) > 1:
        return group_zones(assignment, tiles)
    return assignment.zones_of(tiles[0], prepared.presence[identifier])


def _part(
    context: Context,
    reduction: Signatures,
    tiles: Sequence[str],
    tile: str,
    rows: npt.NDArray[np.int32],
    at: tuple[int, Acquisition] | None,
) -> Part:
    paths = index_paths(context.prepared, reduction, tiles)
    indexes = {res: context.index(path).subset(rows) for (name, res), path in paths.items() if name == tile}
    return Part(tile, None if at is None else at[0], indexes)


def _require_ingested(
    context: Context, reduction: Signatures, tile: str, position: int, acquisition: Acquisition, part: Part
) -> None:
    """Refuse to take pixels that could not be ingested for pixels without data.

    Raises
    ------
    CubeError
        If a window that holds zones lacks this acquisition.
    """
    spec = context.prepared.spec
    wanted = date_inputs(spec, acquisition)
    block, date = divmod(position, spec.dates_per_shard)
    finest = part.indexes[min(part.indexes)]
    frame = context.prepared.frame(tile)
    for text in reduction.source_bands():
        ref = context.prepared.run.campaign.ref(text)
        touched = finest.windows(max(1, frame.edges[ref.resolution_m] * ref.resolution_m // min(part.indexes)))
        missing = 0
        rows, columns = frame.windows(ref.resolution_m)
        for row, column in np.argwhere(touched[:rows, :columns]).tolist():
            record = context.manifest.get(shard_key(tile, ref, block, row, column))
            missing += record is None or len(record.inputs) <= date or record.inputs[date] != wanted
        if missing:
            raise CubeError(
                f"band {ref} of tile {tile} is not ingested for {acquisition.id} in {missing} of its windows",
                hint="see why in the failures of the ingest stage; the next run tries again",
            )


def _info(tiles: Sequence[str], parts: Sequence[Acquisition], first: Acquisition) -> AcquisitionInfo:
    scenes: list[Scene] = [scene for part in parts for scene in part.scenes]
    return AcquisitionInfo(
        id=first.id,
        time=first.time,
        platform=scenes[0].platform,
        level=scenes[0].level,
        tile="+".join(tiles),
        baseline=min(scene.baseline for scene in scenes),
        relative_orbit=scenes[0].relative_orbit,
        products=tuple(scene.id for scene in scenes),
        cloud_cover=scenes[0].cloud_cover,
        footprint=dict(scenes[0].footprint),
    )

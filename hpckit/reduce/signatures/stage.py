"""The stage `signatures`: statistics of the pixels of zones at each date."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.files import digest_json
from hpckit.base.version import __version__
from hpckit.campaign.expression import Expression
from hpckit.campaign.signatures import SignatureReduction
from hpckit.cubes.arrays import shard_key
from hpckit.cubes.ingest import date_inputs
from hpckit.cubes.made import Made
from hpckit.cubes.stage import Context, Outcome, Planning, Stage
from hpckit.cubes.tiles import Tiles
from hpckit.cubes.verify import Fault
from hpckit.errors import CubeError
from hpckit.reduce.signatures import signatures as statistics
from hpckit.reduce.signatures.index import ZoneIndex
from hpckit.reduce.signatures.inputs import ZoneInputs, acquisition_ids
from hpckit.reduce.signatures.planes import CubePlanes, TileShare
from hpckit.reduce.signatures.results import STAGE, lost, note_segment, results, verify_segments
from hpckit.reduce.signatures.signatures import SignatureTask, signatures
from hpckit.reduce.signatures.spool import AcquisitionInfo, SignatureBatch, SpoolHeader, write_segment
from hpckit.reduce.signatures.zone_stage import index_bytes, most_entries, reduction_of
from hpckit.runs.plan import Unit
from hpckit.runs.run import campaign_digest
from hpckit.sensors.model import Acquisition, Scene
from hpckit.space.footprint import geojson

_CACHED_INDEXES: Final = 4
_PIXELS_PER_S: Final = 60e6
"""Read from the cube and reduced by one core."""


class Signatures(Stage):
    """Compute statistics of the pixels of each zone at each date."""

    name = STAGE
    gated = True
    mirrors: str | None = "ingest"
    in_store = True
    uses_gpu = True
    colour = "#0b7a5e"

    def __init__(self, inputs: ZoneInputs) -> None:
        self.inputs = inputs
        self.most_indexes = _CACHED_INDEXES
        """Zone indexes that are kept in memory."""
        self._indexes: OrderedDict[Path, ZoneIndex] = OrderedDict()

    def made(self, tiles: Tiles) -> Iterable[Made]:
        """Signatures of each reduction and tile."""
        from hpckit.reduce.signatures.outputs import made

        return made(tiles.run)

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each reduction, group of tiles and acquisition."""
        pixels_per_s = planning.pace(self.name, "pixels", _PIXELS_PER_S)
        units = list(self._units(planning.tiles, pixels_per_s))
        done = self.done(planning, units)
        return [(unit, unit.id in done) for unit in units]

    def done(self, planning: Planning, units: Iterable[Unit]) -> Set[str]:
        """Ids of units whose results are there."""
        known = results(planning.entries, {unit.id: unit.inputs for unit in units})
        return known.keys() - lost(planning.tiles.run, known)

    def _units(self, tiles: Tiles, pixels_per_s: float) -> Iterable[Unit]:
        for reduction in tiles.campaign.signatures:
            for group in self.inputs.groups(tiles, reduction):
                cost = _plane_pixels(tiles, reduction, group) / pixels_per_s
                yield from self.units_of(tiles, reduction, group, cost)

    def units_of(
        self, tiles: Tiles, reduction: SignatureReduction, group: Sequence[str], cost: float
    ) -> Iterable[Unit]:
        """Units of a reduction and group of tiles: one for each acquisition."""
        indexes = [path.name for path in self.inputs.index_files(tiles, reduction, group).values()]
        made_from_of = _made_from(tiles, reduction, group, indexes)
        for acquisition_id in acquisition_ids(tiles.acquisitions, group):
            args = {"reduction": reduction.name, "tiles": list(group), "acquisition": acquisition_id}
            unit_id = f"{self.name}/{reduction.name}/{'+'.join(group)}/{acquisition_id}"
            made_from = made_from_of(acquisition_id)
            yield Unit(unit_id, self.name, cost, made_from, args)

    def memory(self, tiles: Tiles) -> int:
        """Planes of the largest band, index, and values of derived bands."""
        largest = 0
        for reduction in tiles.campaign.signatures:
            entries = most_entries(self.inputs, tiles, reduction)
            plane = max(_plane_bytes(tiles, tile) for tile in tiles.acquisitions)
            derived = max((len(Expression.parse(text).bands) for text in reduction.indices.values()), default=0)
            index = 2 * index_bytes(self.inputs, tiles, reduction)
            largest = max(largest, plane + index + entries * (2 * derived + 4 + 3))
        return largest

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Reduce an acquisition of a group of tiles."""
        task = self.task(context, unit)
        if task is None:
            return Outcome({"zones": 0})
        for part in task.parts:
            at = context.acquisition(part.tile, str(unit.args["acquisition"]))
            if at is not None:
                _require_ingested(context, task.reduction, part, *at)
        batch = replace(signatures(task, CubePlanes(context.tiles.spec.path, context.threads)), inputs=unit.inputs)
        pixels = _plane_pixels(context.tiles, task.reduction, unit.args["tiles"])
        return Outcome({"zones": len(task.zones), "pixels": pixels}, [batch])

    def task(self, context: Context, unit: Unit) -> SignatureTask | None:
        """What a unit has to compute; None if its tiles answer for no zone."""
        tiles, reduction = context.tiles, reduction_of(context.tiles, unit)
        group, identifier = list(unit.args["tiles"]), str(unit.args["acquisition"])
        rows = self.answered(tiles, reduction, group, identifier)
        if not len(rows):
            return None
        files = self.inputs.index_files(tiles, reduction, group)
        found = {tile: context.acquisition(tile, identifier) for tile in group}
        present = [at[1] for at in found.values() if at is not None]
        parts = [self._part(files, tile, rows, found[tile]) for tile in group]
        return SignatureTask(unit.id, reduction, tiles.campaign.ref, parts, _info(group, present))

    def nbytes(self, record: SignatureBatch) -> int:
        """Memory of a batch."""
        return record.values.nbytes + record.valid.nbytes + record.total.nbytes

    def seal(self, context: Context, records: Sequence[Any]) -> Mapping[str, str]:
        """Write one segment for each reduction."""
        run = context.run
        segment_of: dict[str, str] = {}
        for reduction in run.campaign.signatures:
            mine = [batch for batch in records if batch.unit.split("/")[1] == reduction.name]
            if mine:
                header = SpoolHeader(
                    campaign=run.campaign.name,
                    campaign_digest=campaign_digest(run.campaign),
                    run_id=run.run_id,
                    reduction=reduction.name,
                    zones_digest=self.inputs.layer(run, reduction.name).digest,
                    hpckit=__version__,
                )
                name = f"{reduction.name}-{context.writer}-{uuid.uuid4().hex[:8]}.h5"
                write_segment(run.spool / name, header, mine)
                note_segment(run, name, context.writer)
                segment_of |= {batch.unit: name for batch in mine}
        return segment_of

    def verify(self, tiles: Tiles, progress: Callable[[int, int], None]) -> list[Fault]:
        """Read all segments of present results."""
        return verify_segments(tiles.run, progress)

    def answered(
        self, tiles: Tiles, reduction: SignatureReduction, group: Sequence[str], identifier: str
    ) -> npt.NDArray[np.int32]:
        """Zones that these tiles answer for in an acquisition."""
        if len(group) > 1:
            return self.inputs.zones_of(tiles.run, reduction, group)
        return self.inputs.assignment(tiles.run, reduction.name).zones_of(group[0], tiles.presence[identifier])

    def _part(
        self,
        files: Mapping[tuple[str, int], Path],
        tile: str,
        rows: npt.NDArray[np.int32],
        at: tuple[int, Acquisition] | None,
    ) -> TileShare:
        indexes = {res: self._index(path).subset(rows) for (name, res), path in files.items() if name == tile}
        return TileShare(tile, None if at is None else at[0], indexes)

    def _index(self, path: Path) -> ZoneIndex:
        """Zone index, from memory if it was used lately."""
        if path not in self._indexes:
            self._indexes[path] = ZoneIndex.load(path)
        self._indexes.move_to_end(path)
        while len(self._indexes) > self.most_indexes:
            self._indexes.popitem(last=False)
        return self._indexes[path]


def _made_from(
    tiles: Tiles, reduction: SignatureReduction, group: Sequence[str], indexes: Sequence[str]
) -> Callable[[str], str]:
    """Digest, by acquisition, of what signatures depend on: settings, zones, who answers for them, and the scenes."""
    # What of these changes zones is in the names of their indexes.
    unused = {"device", "zones", "layer", "id", "crs", "encoding", "invalid", "buffer", "attributes"}
    settings = reduction.model_dump(mode="json", exclude=unused)
    spec, names = tiles.spec, sorted(indexes)
    made: dict[str, dict[str, list[str]]] = {}
    for tile in group:
        for item in tiles.acquisitions[tile]:
            scenes = made.setdefault(item.id, {name: [] for name in group})
            scenes[tile].append(date_inputs(spec, item))

    def of(acquisition_id: str) -> str:
        present = sorted(tiles.presence[acquisition_id])
        return digest_json([statistics.VERSION, settings, names, made[acquisition_id], present])[:16]

    return of


def _plane_pixels(tiles: Tiles, reduction: SignatureReduction, group: Sequence[str]) -> int:
    """Pixels of all bands of one date, in the windows that are held."""
    refs = [tiles.campaign.ref(band) for band in reduction.named_bands()]
    return sum(tiles.pixels(tile, ref) for tile in group for ref in refs)


def _plane_bytes(tiles: Tiles, tile: str) -> int:
    """Memory of one date of a band: of rows of pixels in which some window is held."""
    frame = tiles.frame(tile)
    size = min(ref.resolution_m for ref in tiles.spec.bands)
    rows = int(tiles.held.wanted(frame, size).any(axis=1).sum()) * frame.edges[size]
    return min(rows, frame.shapes[size][0]) * frame.shapes[size][1] * 2


def _require_ingested(
    context: Context, reduction: SignatureReduction, part: TileShare, position: int, acquisition: Acquisition
) -> None:
    """Refuse to take pixels that could not be ingested for pixels without data.

    Raises
    ------
    CubeError
        If a window that holds zones lacks this acquisition.
    """
    tiles = context.tiles
    wanted = date_inputs(tiles.spec, acquisition)
    block, date = divmod(position, tiles.spec.dates_per_shard)
    frame = tiles.frame(part.tile)
    for text in reduction.named_bands():
        ref = tiles.campaign.ref(text)
        missing = 0
        held, touched = tiles.windows(part.tile, ref), part.touched_in(frame, ref)
        if (touched & ~held).any():
            raise CubeError(
                f"band {ref} of tile {part.tile}: this campaign does not hold all windows that its zones touch",
                hint="`hpckit plan CAMPAIGN` chooses windows again; please report it if this error remains",
            )
        for row, column in np.argwhere(touched).tolist():
            record = context.manifest.get(shard_key(part.tile, ref, block, row, column))
            missing += record is None or len(record.inputs) <= date or record.inputs[date] != wanted
        if missing:
            raise CubeError(
                f"band {ref} of tile {part.tile} is not ingested for {acquisition.id} in {missing} of its windows",
                hint="see why in the failures of the ingest stage; the next run tries again",
            )


def _info(group: Sequence[str], parts: Sequence[Acquisition]) -> AcquisitionInfo:
    scenes: list[Scene] = [scene for part in parts for scene in part.scenes]
    return AcquisitionInfo(
        id=parts[0].id,
        time=parts[0].time,
        platform=scenes[0].platform,
        level=scenes[0].level,
        tile="+".join(group),
        baseline=min(scene.baseline for scene in scenes),
        relative_orbit=scenes[0].relative_orbit,
        products=tuple(scene.id for scene in scenes),
        cloud_cover=scenes[0].cloud_cover,
        footprint={} if scenes[0].footprint is None else geojson(scenes[0].footprint),
    )

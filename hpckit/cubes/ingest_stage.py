"""The stage `ingest`: windows of products to shards of the cube."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Final

import numpy as np

from hpckit.base.files import digest_json
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.stages import FETCH
from hpckit.cubes.audit import sound
from hpckit.cubes.decode import reads_ahead
from hpckit.cubes.held import narrowed, row_counts
from hpckit.cubes.ingest import (
    IngestUnit,
    Shard,
    ingest,
    ingest_units,
    inputs_of_dates,
    is_done,
    kept,
    rows_of_windows,
    shards,
    split_columns,
)
from hpckit.cubes.layout import CubeSpec, prepare, require_same_layout
from hpckit.cubes.made import Made, array_of, of_shards
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.stage import Context, Outcome, Planning, Stage, Written
from hpckit.cubes.tiles import Tiles
from hpckit.cubes.undone import undone
from hpckit.cubes.verify import Fault, remove_leftovers, verify
from hpckit.errors import is_temporary
from hpckit.runs.plan import Plan, Unit
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition, Asset, Scene
from hpckit.space.frame import Frame
from hpckit.space.windows import Windows

PIXELS_PER_S: Final = 8e6
"""JPEG 2000 decoded by one core of an EPYC, with the libraries of the wheels (docs/performance.md)."""
_COMPRESSED: Final = 0.7
"""Compressed over raw bytes, at most."""
_BLOSC_OVER_JP2: Final = 1.2
"""Blosc's bytes over those of lossless JPEG 2000."""


class Ingest(Stage):
    """Decode or resample windows of products, and write them as shards."""

    name = "ingest"
    follows = (FETCH,)
    colour = "#2166ac"

    def freeze(self, tiles: Tiles) -> Iterable[str]:
        """Look whether the cube that is there, if one is, can be written further.

        Raises
        ------
        CubeError
            If it is of another layout.
        """
        for tile, acquisitions in tiles.acquisitions.items():
            require_same_layout(tiles.spec, tile, acquisitions)
        return ()

    def lay_out(self, tiles: Tiles) -> None:
        """Write the metadata of the cube."""
        for tile, acquisitions in tiles.acquisitions.items():
            prepare(tiles.spec, tile, acquisitions, tiles.held)

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each row of windows of a band and block of dates, with those that the cube holds."""
        tiles, spec = planning.tiles, planning.tiles.spec
        manifest = sound(spec.path, tiles.acquisitions, tiles.run.seen("shards", "plan"))
        pixels_per_s = planning.pace(self.name, "decoded_pixels", PIXELS_PER_S)
        for tile, acquisitions in tiles.acquisitions.items():
            known, rows = manifest.has(tile), _Rows(tiles)
            digests: dict[tuple[int, tuple[int, ...], tuple[int, ...]], tuple[str, int]] = {}
            for unit in ingest_units(spec, tile, acquisitions, tiles.held, manifest):
                # What a unit is made from is the same for all rows and bands with these windows.
                key = unit.block, unit.columns, unit.others
                if key not in digests:
                    digests[key] = _inputs(spec, unit, acquisitions)
                inputs, dates = digests[key]
                pixels = rows.pixels(unit) * dates
                args = {"tile": tile, "band": unit.band.key, "block": unit.block, "row": unit.row}
                done = known and is_done(_all(spec, unit, acquisitions, manifest), manifest)
                yield Unit(unit.id, self.name, max(1, pixels) / pixels_per_s, inputs, args), done

    def memory(self, tiles: Tiles) -> int:
        """One row of windows decoded, with those that are read ahead, and a block of it compressed."""
        largest = 0
        for tile, acquisitions in tiles.acquisitions.items():
            for ref in tiles.spec.bands:
                frame = narrowed(tiles.frame(tile), tiles.windows(tile, ref), ref.resolution_m)
                row = frame.row_bytes(ref.resolution_m, ref.dtype)
                dates = min(tiles.spec.dates_per_block, len(acquisitions))
                decoded = tiles.spec.sensor.row_bytes(frame, ref, acquisitions, tiles.spec.reading)
                at_once = min(dates, 1 + reads_ahead(ref, acquisitions))
                largest = max(largest, decoded * at_once + int(row * dates * _COMPRESSED))
        return largest

    def writes(self, tiles: Tiles, plan: Plan, workers: int) -> Iterable[Written]:
        """Shards of the pending units."""
        nbytes = files = 0
        rows = _Rows(tiles)
        for unit in plan.of(self.name):
            if unit.id in plan.pending:
                work = rows.unit(unit)
                nbytes += rows.shard_bytes(work)
                files += rows.shard_files(work)
        yield Written("cube", tiles.spec.path, nbytes, files)

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Write the shards of a row of windows."""
        work = _Rows(context.tiles).unit(unit)
        acquisitions = context.tiles.acquisitions[work.tile]
        result = ingest(context.tiles.spec, work, acquisitions, context.manifest, context.writer)
        reasons = sorted({str(error) for _, error in result.failures})
        return Outcome(
            {
                "decoded_pixels": result.decoded_pixels,
                "skipped_windows": result.skipped_windows,
                "shards": result.shards,
                "written_bytes": result.written_bytes,
                "decode_s": round(result.decode_s, 3),
            },
            reason="; ".join(reasons) or None,
            temporary=bool(reasons) and all(is_temporary(error) for _, error in result.failures),
        )

    def decodes(self, planning: Planning) -> Mapping[tuple[str, int], Set[BandRef]]:
        """Bands that are not, or not everywhere, in the cube."""
        tiles = planning.tiles
        return undone(tiles, sound(tiles.spec.path, tiles.acquisitions, tiles.run.seen("shards", "plan")))

    def verify(self, tiles: Tiles, progress: Callable[[int, int], None]) -> list[Fault]:
        """Read every shard of the cube, and remove what killed writers left in it."""
        manifest = Manifest.load(tiles.spec.path)
        faults = verify(tiles.spec, tiles.acquisitions, manifest, progress, tiles.held)
        manifest.disown((fault.key for fault in faults if fault.kind in ("missing", "corrupt")), "verify")
        remove_leftovers(tiles.spec.path)
        return faults

    def made(self, tiles: Tiles) -> Iterable[Made]:
        """Arrays of the cube, in the windows that the campaign asks for."""
        spec, keys = tiles.spec, dict[str, list[str]]()
        for tile, acquisitions in tiles.acquisitions.items():
            for unit in rows_of_windows(spec, tile, acquisitions, tiles.held):
                for shard in shards(spec, unit, acquisitions):
                    keys.setdefault(array_of(shard.key), []).append(shard.key)
        yield from of_shards("cube", Manifest.load(spec.path, tiles.acquisitions), keys)

    def finish(self, campaign: Campaign) -> None:
        """Join the manifests of all writers."""
        Manifest.load(campaign.cube_path).compact()


def stages(campaign: Campaign) -> Sequence[Stage]:
    """The stage of every campaign that keeps a cube."""
    return [Ingest()] if campaign.cube.keep else []


def _inputs(spec: CubeSpec, unit: IngestUnit, acquisitions: Sequence[Acquisition]) -> tuple[str, int]:
    """Digest of what a unit is made from, and how many dates that is."""
    wanted = [shard.inputs for shard in shards(spec, unit, acquisitions)]
    dates = acquisitions[unit.block * spec.dates_per_block :][: spec.dates_per_block]
    made_of = [unit.columns, inputs_of_dates(spec, dates)] if unit.others else wanted
    return digest_json(made_of)[:16], len(dates)


def _all(spec: CubeSpec, unit: IngestUnit, acquisitions: Sequence[Acquisition], manifest: Manifest) -> list[Shard]:
    """Files of a row of windows, with those that the campaign does not ask for any more."""
    return [*shards(spec, unit, acquisitions), *kept(spec, unit, acquisitions, manifest)]


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows of a tile that the cube holds of a band."""

    frame: Frame
    held: Windows
    pixels: Sequence[int]
    """Of one date, by row of windows."""


class _Rows:
    """Rows of windows of many units; what is the same for a tile and band is looked up once."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles
        self._spec = tiles.spec
        self._known: dict[tuple[str, str], _Windows] = {}

    def unit(self, unit: Unit) -> IngestUnit:
        """The row of windows that a unit of a plan means."""
        tile, ref, row = (
            str(unit.args["tile"]),
            self._tiles.campaign.ref(str(unit.args["band"])),
            int(unit.args["row"]),
        )
        return IngestUnit(tile, ref, int(unit.args["block"]), row, *split_columns(self._of(tile, ref).held[row]))

    def pixels(self, unit: IngestUnit) -> int:
        """Pixels of one date."""
        return self._of(unit.tile, unit.band).pixels[unit.row]

    def shard_bytes(self, unit: IngestUnit) -> int:
        """Bytes that a unit will write: by the sizes of the files that it decodes; on a grid by its pixels."""
        spec, (rows, columns) = self._spec, self._of(unit.tile, unit.band).frame.shapes[unit.band.resolution_m]
        items = self._dates(unit)
        if spec.grid.resampled:
            return int(self.pixels(unit) * np.dtype(unit.band.dtype).itemsize * len(items) * _COMPRESSED)
        sizes = (_file_bytes(scene, unit.band) for item in items for scene in item.scenes)
        return int(sum(sizes) * self.pixels(unit) / (rows * columns) * _BLOSC_OVER_JP2)

    def shard_files(self, unit: IngestUnit) -> int:
        """Files that a unit will write."""
        return len(unit.columns) * (1 if self._spec.sharding else len(self._dates(unit)))

    def _dates(self, unit: IngestUnit) -> Sequence[Acquisition]:
        most = self._spec.dates_per_block
        return self._tiles.acquisitions[unit.tile][unit.block * most : (unit.block + 1) * most]

    def _of(self, tile: str, ref: BandRef) -> _Windows:
        key = tile, ref.key
        found = self._known.get(key)
        if found is None:
            frame = self._spec.frame(tile, self._tiles.acquisitions[tile])
            windows = self._tiles.held.windows(frame, ref)
            found = _Windows(frame, windows, row_counts(frame, windows, ref.resolution_m))
            self._known[key] = found
        return found


def _file_bytes(scene: Scene, ref: BandRef) -> int:
    asset = scene.assets.get(ref.key)
    return 0 if asset is None else asset.nbytes or _size(asset) or prod(asset.shape)


@lru_cache(maxsize=100_000)
def _size(asset: Asset) -> int:
    if asset.is_member or asset.is_remote or asset.array:
        return 0
    try:
        return asset.file.stat().st_size
    except OSError:
        return 0

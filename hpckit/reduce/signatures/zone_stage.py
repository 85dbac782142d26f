"""The stage `zones`: zones laid over tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.base.files import digest_json
from hpckit.campaign.signatures import SignatureReduction
from hpckit.cubes.held import Held
from hpckit.cubes.stage import Context, Outcome, Planning, Stage
from hpckit.cubes.tiles import Tiles
from hpckit.reduce.signatures.assignment import project
from hpckit.reduce.signatures.index import build_index
from hpckit.reduce.signatures.inputs import ZoneInputs, index_resolutions
from hpckit.runs.plan import Unit

_SCALE_TOLERANCE: Final = 0.002
_ZONES_PER_S: Final = 30_000
"""Laid over a raster by one core (docs/performance.md)."""


class Zones(Stage):
    """Lay the zones of each reduction over the tiles."""

    name = "zones"
    colour = "#b08a2e"

    def __init__(self, inputs: ZoneInputs) -> None:
        self.inputs = inputs

    def freeze(self, tiles: Tiles) -> Iterable[str]:
        """Freeze the zone layers, and which tile answers for which zone."""
        return self.inputs.freeze(tiles)

    def hold(self, tiles: Tiles) -> Held:
        """Also windows of zones that reach beyond those that are held, so that each zone is complete."""
        return self.inputs.hold(tiles)

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each reduction and group of tiles."""
        tiles = planning.tiles
        for reduction in tiles.campaign.signatures:
            cost = 0.5 + len(self.inputs.layer(tiles.run, reduction.name)) / _ZONES_PER_S
            for group in self.inputs.groups(tiles, reduction):
                files = self.inputs.index_files(tiles, reduction, group).values()
                made_from = digest_json(sorted(path.name for path in files))[:16]
                args = {"reduction": reduction.name, "tiles": list(group)}
                unit = Unit(f"{self.name}/{reduction.name}/{'+'.join(group)}", self.name, cost, made_from, args)
                yield unit, all(path.exists() for path in files)

    def memory(self, tiles: Tiles) -> int:
        """Zones and their pixels, twice while they are saved."""
        return max((2 * index_bytes(self.inputs, tiles, r) for r in tiles.campaign.signatures), default=0)

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Build and save the indexes of a group of tiles."""
        tiles, reduction = context.tiles, reduction_of(context.tiles, unit)
        group = list(unit.args["tiles"])
        rows = self.inputs.zones_of(tiles.run, reduction, group)
        shapes = self._shapes(tiles, reduction, group, rows)
        beyond = np.zeros(len(rows))
        if len(group) > 1:
            layer, epsg = self.inputs.layer(tiles.run, reduction.name), tiles.frame(group[0]).epsg
            beyond = _beyond_all(project(layer.geometries[rows], pyproj.CRS(layer.crs), epsg), shapes)
        entries = slivers = 0
        for (tile, resolution_m), path in self.inputs.index_files(tiles, reduction, group).items():
            frame = tiles.frame(tile)
            index = build_index(
                shapes[tile], rows, frame.transform(resolution_m), frame.shapes[resolution_m], reduction.coverage
            )
            if tile == group[0]:
                index.outside[:] += beyond / resolution_m**2
            index.save(path)
            entries += len(index.pixels)
            if len(group) == 1 and resolution_m == min(index_resolutions(tiles.campaign, reduction)):
                slivers += int((np.diff(index.offsets) == 0).sum())
        return Outcome({"zones": len(rows), "entries": entries, "slivers": slivers})

    def _shapes(
        self, tiles: Tiles, reduction: SignatureReduction, group: Sequence[str], rows: npt.NDArray[np.int32]
    ) -> dict[str, npt.NDArray[np.object_]]:
        """Geometries of the zones in each tile's CRS; with several tiles the piece that each answers for."""
        if len(group) == 1:
            layer, epsg = self.inputs.layer(tiles.run, reduction.name), tiles.frame(group[0]).epsg
            return {group[0]: project(layer.geometries[rows], pyproj.CRS(layer.crs), epsg)}
        place = {zone: number for number, zone in enumerate(rows.tolist())}
        shapes = {tile: np.full(len(rows), shapely.MultiPolygon(), dtype=object) for tile in group}
        for piece in self.inputs.assignment(tiles.run, reduction.name).groups()[tuple(group)]:
            shapes[piece.tile][place[piece.zone]] = piece.geometry
        return shapes


def reduction_of(tiles: Tiles, unit: Unit) -> SignatureReduction:
    """Reduction that a unit belongs to."""
    return next(item for item in tiles.campaign.signatures if item.name == unit.args["reduction"])


def _beyond_all(
    whole: npt.NDArray[np.object_], shapes: Mapping[str, npt.NDArray[np.object_]]
) -> npt.NDArray[np.float64]:
    """Area of each zone that no tile holds, in square metres."""
    held = np.sum([shapely.area(parts) for parts in shapes.values()], axis=0)
    beyond: npt.NDArray[np.float64] = shapely.area(whole) - held
    # Pieces in other UTM zones are measured on another scale; that is no area beyond.
    return np.where(beyond > _SCALE_TOLERANCE * held, beyond, 0.0)


def index_bytes(inputs: ZoneInputs, tiles: Tiles, reduction: SignatureReduction) -> int:
    """Memory of the largest index of a reduction."""
    return most_entries(inputs, tiles, reduction) * entry_nbytes(reduction)


def entry_nbytes(reduction: SignatureReduction) -> int:
    """Memory of a pixel of a zone in an index."""
    return 8 if reduction.coverage == "fraction" else 4


def most_entries(inputs: ZoneInputs, tiles: Tiles, reduction: SignatureReduction) -> int:
    """Pixels of the zones of the fullest tile, at the finest resolution."""
    return max((entries(inputs, tiles, reduction, tile) for tile in tiles.acquisitions), default=0)


def entries(inputs: ZoneInputs, tiles: Tiles, reduction: SignatureReduction, tile: str) -> int:
    """Pixels of the zones of a tile, at the finest resolution: by their areas."""
    layer, assignment = inputs.layer(tiles.run, reduction.name), inputs.assignment(tiles.run, reduction.name)
    rows = assignment.candidates_of(tile)
    if not len(rows):
        return 0
    frame = tiles.frame(tile)
    area = shapely.area(project(layer.geometries[rows], pyproj.CRS(layer.crs), frame.epsg)).sum()
    return int(area / min(frame.shapes) ** 2)

"""The stage `signatures` of campaigns that keep no cube: windows are decoded, reduced for all, and dropped.

Units and results are those of a campaign with a cube. Units of the same tiles and acquisition are one bundle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Final

from hpckit.campaign.expression import Expression
from hpckit.cubes.ingest_stage import PIXELS_PER_S
from hpckit.cubes.stage import Context, Outcome, Planning
from hpckit.cubes.tiles import Tiles
from hpckit.errors import CubeError, is_temporary
from hpckit.reduce.signatures.bundles import Group, bundles_of
from hpckit.reduce.signatures.inputs import index_resolutions
from hpckit.reduce.signatures.planes import DecodedPlanes
from hpckit.reduce.signatures.signatures import SignatureTask, steps
from hpckit.reduce.signatures.sizes import Sizes
from hpckit.reduce.signatures.stage import Signatures
from hpckit.reduce.signatures.together import most_in_memory, signatures_together
from hpckit.reduce.signatures.zone_stage import entries, entry_nbytes, reduction_of
from hpckit.runs.plan import Bundle, Unit, bundles, shares
from hpckit.sensors.bands import BandRef

_WINDOWS: Final = "window_pixels"
"""Metric: pixels of the windows that zones touch, of which there may be fewer that are decoded."""
_FLOAT_BYTES: Final = 4
_NOTES_BYTES: Final = 3
"""Of a pixel of a zone: whether the mask leaves it out, and what selection takes."""


class FusedSignatures(Signatures):
    """Decode windows of products and compute statistics of the pixels of each zone, without a cube."""

    mirrors = None
    shorter = "cut the zones' layer into campaigns of fewer tiles, or set fewer bands"

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """Units as with a cube; those of the same tiles and acquisition are a bundle, and share its cost."""
        tiles, pixels_per_s = planning.tiles, planning.pace(self.name, _WINDOWS, PIXELS_PER_S)
        sizes = Sizes(tiles)
        together = self._together(tiles, sizes)
        units = self._bundled(tiles, together)
        done = self.done(planning, units)
        costs: dict[str, float] = {}
        for bundle in bundles(units):
            pending = [unit for unit in bundle if unit.id not in done] or bundle
            cost = max(1, self._decoded(tiles, sizes, together, pending)) / pixels_per_s / len(pending)
            costs |= dict.fromkeys((unit.id for unit in bundle), cost)
        return [(replace(unit, cost=costs[unit.id]), unit.id in done) for unit in units]

    def decodes(self, planning: Planning) -> Mapping[tuple[str, int], Set[BandRef]]:
        """Bands of the units that have no result, at the dates of their tiles."""
        tiles, sizes = planning.tiles, Sizes(planning.tiles)
        found: dict[tuple[str, int], set[BandRef]] = defaultdict(set)
        for unit, done in self.units(planning):
            group, identifier = list(unit.args["tiles"]), str(unit.args["acquisition"])
            if not done and len(self.answered(tiles, reduction_of(tiles, unit), group, identifier)):
                for tile in group:
                    if identifier in sizes.dates(tile):
                        found[tile, sizes.dates(tile)[identifier]] |= _refs(tiles, unit)
        return found

    def memory(self, tiles: Tiles) -> int:
        """Of the largest bundle: planes at a time, a row of windows in work, indexes, and what masks leave out."""
        sizes = Sizes(tiles)
        members: dict[Group, set[str]] = defaultdict(set)
        for group, home in self._together(tiles, sizes).items():
            members[home] |= {*home, *group}
        return max((self._bundle_bytes(tiles, sizes, names) for names in members.values()), default=0)

    def _together(self, tiles: Tiles, sizes: Sizes) -> Mapping[Group, Group]:
        """Tiles of the bundle of each group of any reduction."""
        groups = {group for reduction in tiles.campaign.signatures for group in self.inputs.groups(tiles, reduction)}
        return bundles_of(sorted(groups), sizes.finest_pixels)

    def _bundled(self, tiles: Tiles, together: Mapping[Group, Group]) -> list[Unit]:
        """All units, those of a bundle in a row."""
        found: dict[str, list[Unit]] = defaultdict(list)
        for reduction in tiles.campaign.signatures:
            for group in self.inputs.groups(tiles, reduction):
                for unit in self.units_of(tiles, reduction, group, 0.0):
                    name = f"{together[group][0]}/{unit.args['acquisition']}"
                    found[name].append(replace(unit, args={**unit.args, "bundle": name}))
        return [unit for name in sorted(found) for unit in found[name]]

    def _decoded(self, tiles: Tiles, sizes: Sizes, together: Mapping[Group, Group], units: Bundle) -> int:
        """Pixels that units of a bundle decode, of its own tiles; those of its neighbours are few."""
        identifier, refs = str(units[0].args["acquisition"]), {ref for unit in units for ref in _refs(tiles, unit)}
        groups = {tuple(unit.args["tiles"]) for unit in units}
        own = {tile for group in groups for tile in group if tile in together[group]}
        return sum(sizes.pixels(tile, ref) for tile in own if identifier in sizes.dates(tile) for ref in refs)

    def _bundle_bytes(self, tiles: Tiles, sizes: Sizes, names: Set[str]) -> int:
        reductions = tiles.campaign.signatures
        wanted = [steps(reduction, tiles.campaign.ref) for reduction in reductions]
        planes = most_in_memory(wanted, lambda ref: sum(sizes.plane_bytes(tile, ref) for tile in names))
        refs = {ref for mine in wanted for step in mine for ref in step.refs}
        row = max((sizes.row_bytes(tile, ref) for tile in names for ref in refs), default=0)
        lasting = passing = 0
        for reduction in reductions:
            count = sum(entries(self.inputs, tiles, reduction, tile) for tile in names)
            derived = max((len(Expression.parse(text).bands) for text in reduction.indices.values()), default=0)
            lasting += count * (2 * entry_nbytes(reduction) + _NOTES_BYTES)
            passing = max(passing, count * (2 * derived + _FLOAT_BYTES))
        return planes + row + lasting + passing

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Reduce an acquisition of a group of tiles for one reduction."""
        return self.execute_bundle(context, [unit])[0]

    def execute_bundle(self, context: Context, units: Bundle) -> Sequence[Outcome]:
        """Decode what the zones of all units touch, each window once, and reduce it."""
        self.most_indexes = max(self.most_indexes, sum(_index_count(context.tiles, unit) for unit in units))
        tasks = [self.task(context, unit) for unit in units]
        wanted = [task for task in tasks if task is not None]
        planes = _planes(context, str(units[0].args["acquisition"]), wanted)
        found = dict(zip((task.unit for task in wanted), signatures_together(wanted, planes), strict=True))
        outcomes = []
        for unit, task, share in zip(units, tasks, shares(units), strict=True):
            result = None if task is None else found[unit.id]
            if task is None or result is None:
                outcomes.append(Outcome({"zones": 0}))
            elif isinstance(result, CubeError):
                outcomes.append(Outcome(reason=str(result), temporary=is_temporary(result)))
            else:
                metrics = {
                    "zones": len(task.zones),
                    _WINDOWS: round(planes.window_pixels * share),
                    "decoded_pixels": round(planes.decoded_pixels * share),
                    "decode_s": round(planes.decode_s * share, 3),
                }
                outcomes.append(Outcome(metrics, [replace(result, inputs=unit.inputs)]))
        return outcomes


def _planes(context: Context, identifier: str, tasks: Sequence[SignatureTask]) -> DecodedPlanes:
    """Planes of all tiles that have the acquisition, in the windows that zones of any task touch."""
    names = {part.tile for task in tasks for part in task.parts}
    found = {tile: context.acquisition(tile, identifier) for tile in names}
    users = [
        (part, {ref for step in steps(task.reduction, task.ref) for ref in step.refs})
        for task in tasks
        for part in task.parts
    ]
    at = {tile: place[1] for tile, place in found.items() if place is not None}
    return DecodedPlanes(context.tiles.spec, at, users, context.threads)


def _index_count(tiles: Tiles, unit: Unit) -> int:
    return len(unit.args["tiles"]) * len(index_resolutions(tiles.campaign, reduction_of(tiles, unit)))


def _refs(tiles: Tiles, unit: Unit) -> set[BandRef]:
    """Bands that a unit needs."""
    return set(map(tiles.campaign.ref, reduction_of(tiles, unit).named_bands()))

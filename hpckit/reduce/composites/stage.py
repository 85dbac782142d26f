"""The stages `composites` and `export`: rows of windows composed over time, and GeoTIFFs of what was composed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from hpckit.campaign.campaign import Campaign
from hpckit.campaign.composite import JOINT
from hpckit.cubes.arrays import write_changed
from hpckit.cubes.held import Held
from hpckit.cubes.made import Made
from hpckit.cubes.objects import objects_at
from hpckit.cubes.stage import Context, Outcome, Planning, Stage, Written
from hpckit.cubes.tiles import Tiles
from hpckit.cubes.verify import Fault
from hpckit.reduce.composites.hierarchy import files
from hpckit.reduce.composites.row import BLOCK_BYTES, compose_row
from hpckit.reduce.composites.units import (
    all_layers,
    around,
    export_units,
    files_path,
    intervals,
    is_whole,
    item_file,
    row_units,
    zarr_path,
)
from hpckit.runs.plan import Plan, Unit

_PIXELS_PER_S: Final = 40e6
"""Read from the cube and composed by one core (docs/performance.md)."""
_COMPRESSED: Final = 0.7
"""Compressed over raw bytes, at most."""
_WRITER_BYTES: Final = 512 * 2**20
"""Rows of windows of a GeoTIFF, and the caches of its writer."""


class Composites(Stage):
    """Reduce each pixel over the dates of each period."""

    name = "composites"
    follows = ("ingest",)
    uses_gpu = True
    colour = "#7b3294"

    def hold(self, tiles: Tiles) -> Held:
        """Also windows of classes as far as clouds in them matter, so that no window depends on what is not held."""
        return around(tiles)

    def lay_out(self, tiles: Tiles) -> None:
        """Write the metadata of all Zarr groups."""
        campaign = tiles.campaign
        for composite in campaign.composites:
            objects = objects_at(zarr_path(campaign, composite))
            wanted = all_layers(campaign, composite)
            for tile in tiles.acquisitions:
                frame, steps = tiles.frame(tile), intervals(tiles, composite, tile)
                write_changed(objects, files(objects, tiles.spec, frame, wanted, steps, tiles.held))

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each row of windows of a tile and resolution."""
        for composite in planning.tiles.campaign.composites:
            yield from row_units(planning.tiles, composite, self.name, _PIXELS_PER_S)

    def memory(self, tiles: Tiles) -> int:
        """Stacks of a block, or of one chunk of many dates, and encoded results."""
        largest = 0
        dates = max(len(items) for items in tiles.acquisitions.values())
        grid = max((tiles.spec.chunks(ref.resolution_m) for ref in tiles.spec.bands), key=lambda grid: grid.window)
        window = min(grid.window**2, max(_pixels(tiles, tile) for tile in tiles.acquisitions))
        for composite in tiles.campaign.composites:
            bands = len(composite.source_bands(tiles.campaign.ref))
            pixel = dates * (2 * bands + 4 * len(composite.indices) + 2)
            stack = min(window * pixel, max(BLOCK_BYTES, grid.chunk**2 * pixel))
            periods = max(len(intervals(tiles, composite, tile)) for tile in tiles.acquisitions)
            layers = (bands + len(composite.indices)) * len(composite.methods)
            # Floating-point indices are sorted in a copy; a joint method stacks the bands once more.
            copies = 2.2 if composite.indices or set(JOINT) & set(composite.methods) else 1.3
            encoded = window * 2 * periods * layers * _COMPRESSED
            largest = max(largest, int(copies * stack + encoded + window * 4 * len(composite.methods)))
        return largest

    def writes(self, tiles: Tiles, plan: Plan, workers: int) -> Iterable[Written]:
        """Shards, GeoTIFFs and mosaics of the pending units of this stage and of the export."""
        from hpckit.reduce.composites.sizes import size  # rasterio, which a worker need not wait for

        pending = [unit for unit in plan.units if unit.id in plan.pending]
        for composite in tiles.campaign.composites:
            nbytes = size(tiles, composite, pending, workers).total
            yield Written("composites", files_path(tiles.campaign, composite), nbytes)

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Compose a row of windows."""
        result = compose_row(context.tiles, context.manifest, unit, context.writer, context.threads)
        return Outcome(result.metrics, reason=result.reason)

    def verify(self, tiles: Tiles, progress: Callable[[int, int], None]) -> list[Fault]:
        """Look at shards, metadata, GeoTIFFs and mosaics."""
        from hpckit.reduce.composites.verify import verify_composites

        return verify_composites(tiles, progress)

    def made(self, tiles: Tiles) -> Iterable[Made]:
        """Arrays of all composites, GeoTIFFs and mosaics."""
        from hpckit.reduce.composites.outputs import made

        return made(tiles)

    def finish(self, campaign: Campaign) -> None:
        """Write collections and mosaics."""
        from hpckit.reduce.composites.publish import publish

        publish(campaign)


class Export(Stage):
    """Write composed pixels of a tile and period as GeoTIFFs with a STAC item."""

    name = "export"
    follows = ("composites",)
    in_store = True
    colour = "#c2a5cf"

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each tile and period that has a scene."""
        tiles = planning.tiles
        for composite in tiles.campaign.composites:
            if composite.outputs.cog:
                seen = tiles.run.seen("files", "plan")
                for unit in export_units(tiles, composite, self.name):
                    yield unit, is_whole(item_file(tiles, composite, unit), unit.inputs, seen)

    def memory(self, tiles: Tiles) -> int:
        """Rows of windows, and the caches of the writer."""
        return _WRITER_BYTES

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Write the files of a tile and period."""
        from hpckit.reduce.composites.export import export

        return Outcome(export(context.tiles, unit, context.writer, context.threads))


def stages(campaign: Campaign) -> Sequence[Stage]:
    """Stages of a campaign that has composites."""
    return [Composites(), Export()] if campaign.composites else []


def _pixels(tiles: Tiles, tile: str) -> int:
    """Pixels of a tile's largest raster."""
    rows, columns = min(tiles.frame(tile).shapes.items())[1]
    return rows * columns

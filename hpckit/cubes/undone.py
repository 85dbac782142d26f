"""What ingest has still to decode, by date and band."""

from __future__ import annotations

from hpckit.cubes.ingest import ingest_units, shards
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.tiles import Tiles
from hpckit.sensors.bands import BandRef


def undone(tiles: Tiles, manifest: Manifest) -> dict[tuple[str, int], set[BandRef]]:
    """Bands that are not, or not everywhere, in the cube, by tile and position on its time axis.

    Parameters
    ----------
    manifest : Manifest
        Records of the cube, without those of shards that are gone.
    """
    found: dict[tuple[str, int], set[BandRef]] = {}
    for tile, acquisitions in tiles.acquisitions.items():
        for unit in ingest_units(tiles.spec, tile, acquisitions, tiles.held):
            for shard in shards(tiles.spec, unit, acquisitions):
                record = manifest.get(shard.key)
                there = set() if record is None else set(record.inputs)
                for position, inputs in zip(shard.dates, shard.inputs, strict=True):
                    if inputs not in there:
                        found.setdefault((tile, position), set()).add(unit.band)
    return found

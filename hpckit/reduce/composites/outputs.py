"""What composites of a run have become, with digests of content: shards, GeoTIFFs and mosaics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpckit.base.reading import read_json
from hpckit.campaign.composite import Composite
from hpckit.cubes.made import Made, array_of, of_shards
from hpckit.cubes.manifest import Manifest
from hpckit.errors import DamagedFileError
from hpckit.reduce.composites import checksums
from hpckit.reduce.composites.products import groups
from hpckit.reduce.composites.publish import by_period, mosaic_inputs, mosaic_mark, read_mark
from hpckit.reduce.composites.stac import read_items
from hpckit.reduce.composites.units import export_units, files_path, item_file, marked, shard_keys, zarr_path

if TYPE_CHECKING:
    from hpckit.cubes.tiles import Tiles


def made(tiles: Tiles) -> Iterable[Made]:
    """Arrays, GeoTIFFs and mosaics of all composites of a campaign."""
    for composite in tiles.campaign.composites:
        yield from _arrays(tiles, composite)
        if composite.outputs.cog:
            yield from _geotiffs(tiles, composite)
            yield from _mosaics(tiles, composite)


def _arrays(tiles: Tiles, composite: Composite) -> Iterable[Made]:
    keys: dict[str, list[str]] = {}
    for tile in tiles.acquisitions:
        for group in groups(composite, tiles.campaign.ref):
            for row in range(tiles.frame(tile).windows(group.resolution_m)[0]):
                for *_, key in shard_keys(tiles, composite, group, tile, row):
                    keys.setdefault(array_of(key), []).append(key)
    path = zarr_path(tiles.campaign, composite)
    return of_shards(path.name, Manifest.load(path, tiles.acquisitions), keys)


def _geotiffs(tiles: Tiles, composite: Composite) -> Iterator[Made]:
    folder = files_path(tiles.campaign, composite)
    for unit in export_units(tiles, composite):
        item = item_file(tiles, composite, unit)
        assets = _assets(item) if marked(item) == unit.inputs else []
        if not assets:
            yield Made(f"{composite.name}/{item.relative_to(folder).parent}", "file", "", 0, 0, missing=1)
        for asset in assets:
            path = item.parent / str(asset["href"])
            yield _file(f"{composite.name}/{path.resolve().relative_to(folder.resolve())}", path, asset)


def _mosaics(tiles: Tiles, composite: Composite) -> Iterator[Made]:
    folder = files_path(tiles.campaign, composite)
    periods = by_period(read_items(folder)) if composite.outputs.mosaic != "none" else {}
    for period, items in periods.items():
        mark = mosaic_mark(folder, period)
        known = read_mark(mark)
        if known.get("made_from") != mosaic_inputs(composite, items):
            yield Made(f"{composite.name}/mosaic/{period}", "file", "", 0, 0, missing=1)
            continue
        for name, facts in sorted(known["files"].items()):
            if not name.endswith(".vrt"):  # these name folders
                yield _file(f"{composite.name}/mosaic/{name}", mark.parent / name, facts)


def _file(name: str, path: Path, facts: dict[str, Any]) -> Made:
    digest = str(facts.get(checksums.CHECKSUM, "")).removeprefix(checksums.SHA256)
    return Made(name, "file", digest, 1, int(facts.get(checksums.SIZE, 0)), path)


def _assets(item: Path) -> list[dict[str, Any]]:
    try:
        return [dict(asset) for _, asset in sorted(read_json(item)["assets"].items())]
    except (FileNotFoundError, DamagedFileError, KeyError, TypeError, AttributeError):
        return []

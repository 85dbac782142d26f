"""Bring home the composites that a site made: shards and GeoTIFFs, each compared with the digest that the site noted.

A file becomes a part of the home's own stores by a rename, and its record or STAC item follows, as where it is
computed. So readers, mosaics, verification and crates at home know no sites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import link, make_folder
from hpckit.base.reading import is_there, read_json
from hpckit.base.seen import note
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.composite import Composite
from hpckit.cubes.audit import damage
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.objects import objects_at
from hpckit.cubes.stage import Planning
from hpckit.cubes.tiles import Tiles, read_tiles
from hpckit.reduce.composites import checksums
from hpckit.reduce.composites.lineage import PRODUCTS
from hpckit.reduce.composites.row import composed_by, empty_shards
from hpckit.reduce.composites.stage import stages
from hpckit.reduce.composites.units import files_path, inputs, item_file, marked, outdated, shard_keys, zarr_path
from hpckit.runs.plan import Unit, tiles_of
from hpckit.runs.run import Run

ROWS: Final = "composites"
EXPORTS: Final = "export"


class CompositeFiles:
    """Files of the composites of a grant: where its site has written them, and where the home keeps them.

    Parameters
    ----------
    mirror : Path
        Copies of the site's folders, by their names.
    writer : str
        Of records at home.
    """

    def __init__(self, run: Run, mirror: Path, writer: str) -> None:
        self._run = run
        self._mirror = mirror
        self._writer = writer
        self._manifests: dict[tuple[Path, str], Manifest] = {}
        self._made_from: dict[tuple[str, str], str] = {}
        self._bringers: dict[str, Callable[[Unit, list[str]], bool]] = {
            ROWS: self._bring_row,
            EXPORTS: self._bring_export,
        }

    def has(self, unit: Unit) -> bool:
        """Whether a unit writes such files."""
        return unit.stage in self._bringers

    def bring(self, unit: Unit, faults: list[str]) -> bool:
        """Bring the files of a unit that is done; whether they are all at home.

        Parameters
        ----------
        faults : list of str
            Gets a sentence for each file that did not arrive as it was written; the next visit copies it again.
        """
        return self._bringers[unit.stage](unit, faults)

    @cached_property
    def _tiles(self) -> Tiles:
        return read_tiles(self._run)

    def _composite(self, unit: Unit) -> Composite:
        return next(item for item in self._run.campaign.composites if item.name == unit.args["reduction"])

    def _manifest(self, store: Path, tile: str) -> Manifest:
        if (store, tile) not in self._manifests:
            self._manifests[store, tile] = Manifest.load(store, [tile])
        return self._manifests[store, tile]

    def _inputs(self, composite: Composite, tile: str) -> str:
        key = composite.name, tile
        if key not in self._made_from:
            self._made_from[key] = inputs(self._tiles, composite, tile)
        return self._made_from[key]

    def _bring_row(self, unit: Unit, faults: list[str]) -> bool:
        composite, group = composed_by(self._tiles, unit)
        tile, row = str(unit.args["tile"]), int(unit.args["row"])
        store = zarr_path(self._run.campaign, composite)
        theirs, mine = self._manifest(self._mirror / store.name, tile), self._manifest(store, tile)
        made_from, missing = self._inputs(composite, tile), list[ShardRecord]()
        for *_, key in shard_keys(self._tiles, composite, group, tile, row):
            known, record = mine.get(key), theirs.get(key)
            if known is not None and known.inputs == (made_from,):
                continue
            if record is None or record.inputs != (made_from,):
                return False  # the next visit brings it
            missing.append(record)
        if not all(self._is_sound(store.name, record, faults) for record in missing):
            return False
        # Records of all shards of a row at once: a row is at home, or it is not.
        mine.append([self._place(store, record) for record in missing], self._writer)
        late = outdated(self._tiles, composite, group, tile, row, mine, made_from)
        mine.append(empty_shards(self._tiles, group, objects_at(store), late), self._writer)
        return True

    def _is_sound(self, store: str, record: ShardRecord, faults: list[str]) -> bool:
        found = damage(objects_at(self._mirror / store), record)
        if found is not None and found[0] == "corrupt":
            path = self._mirror / store / record.key
            path.unlink(missing_ok=True)  # so that the next visit copies it again
            faults.append(f"{path}: {found[1]}")
        return found is None

    def _place(self, store: Path, record: ShardRecord) -> ShardRecord:
        target = store / record.key
        if not record.nbytes:
            target.unlink(missing_ok=True)
            return record
        make_folder(target.parent)
        link(self._mirror / store.name / record.key, target)
        return replace(record, mtime=target.stat().st_mtime_ns)

    def _bring_export(self, unit: Unit, faults: list[str]) -> bool:
        composite = self._composite(unit)
        folder, target = files_path(self._run.campaign, composite), item_file(self._tiles, composite, unit)
        if marked(target) == unit.inputs and self._are_there(target):
            return True
        source = self._mirror / folder.name / target.relative_to(folder)
        if marked(source) != unit.inputs:
            return False  # the next visit brings it
        assets = _assets(source)
        for name, asset in assets.items():
            found = checksums.damage(source.parent / name, asset)
            if found is None:
                continue
            if found[0] == "corrupt":
                (source.parent / name).unlink(missing_ok=True)
                faults.append(f"{source.parent / name}: {found[1]}")
            return False
        make_folder(target.parent)
        target.unlink(missing_ok=True)  # an item names files that are whole
        for name, asset in assets.items():
            link(source.parent / name, target.parent / name)
            note(self._run.seen_folder("files"), self._writer, target.parent / name, asset[checksums.CHECKSUM])
        products = source.parents[1] / PRODUCTS
        if is_there(products):
            link(products, target.parents[1] / PRODUCTS)
        link(source, target)
        return True

    def _are_there(self, item: Path) -> bool:
        return all(is_there(item.parent / name) for name in _assets(item))


def whole_at_home(run: Run, tiles: Iterable[str]) -> dict[str, str]:
    """Units of composites that need not be done again for some tiles, with the digests of their inputs.

    GeoTIFFs are written from all rows of a tile, so where these are wanted, all of a tile is at home or nothing.
    """
    wanted, frozen = frozenset(tiles), read_tiles(run)
    composites = {item.name: item for item in run.campaign.composites}
    groups: dict[tuple[str, ...], list[tuple[Unit, bool]]] = {}
    for stage in stages(run.campaign):
        for unit, done in stage.units(Planning(frozen, [])):
            if wanted.isdisjoint(tiles_of(unit)):
                continue
            name = str(unit.args["reduction"])
            alone = (unit.id,) if not composites[name].outputs.cog else ()
            groups.setdefault((name, *tiles_of(unit), *alone), []).append((unit, done))
    return {unit.id: unit.inputs for group in groups.values() if all(done for _, done in group) for unit, _ in group}


def folders(campaign: Campaign) -> list[Path]:
    """Folders of composites: at home, or of a part; they have the same place in both."""
    return [place(campaign, item) for item in campaign.composites for place in (zarr_path, files_path)]


def _assets(item: Path) -> dict[str, dict[str, Any]]:
    """Files of an item by their names; whatever a site writes, they lie beside it."""
    return {Path(str(asset["href"])).name: dict(asset) for asset in read_json(item)["assets"].values()}

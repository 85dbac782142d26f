"""A campaign whose cube is filled on demand, as a run directory that graphs read as a collection.

::

    <folder>/
      current.json             the version that new jobs read
      <version>/               of one plan of the campaign: its time axis never changes
        collection.run/          frozen inputs of the campaign, with this cube instead of its own
          on-demand.json           marks it
        cube.zarr/               one date in each shard
        claims/                  who decodes which windows at the moment
        lost/                    dates that cannot be decoded
      uses/                    what jobs and synchronous results need, see `space`

When the campaign is planned again, another version is made. Shards that both have are linked, so they take no space
twice, and jobs that began before read what they were planned from until they end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from hpckit.base.files import make_folder, write_bytes, write_json
from hpckit.base.reading import read_bytes, read_json
from hpckit.campaign import owner
from hpckit.campaign.campaign import Campaign
from hpckit.cubes.ingest import inputs_of_dates
from hpckit.cubes.layout import prepare
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.tiles import Tiles, read_tiles
from hpckit.errors import PlanError
from hpckit.runs.frozen import begin, seal
from hpckit.runs.run import RUN_JSON, Run, find_run, read_run_json

MARKER: Final = "on-demand.json"
_RUN: Final = "collection.run"
_CUBE: Final = "cube.zarr"
_COPIED: Final = ("selected.parquet", "tiles.parquet", "windows.parquet", "selection.json")


def is_on_demand(run_dir: Path) -> bool:
    """Whether a run directory is a collection whose cube is filled on demand."""
    return (run_dir / MARKER).is_file()


def at_home(run: Run) -> Run:
    """The run, whose campaign resolves paths where its file lies, which is elsewhere for a cube on demand."""
    try:
        known = read_json(run.path / MARKER)
    except FileNotFoundError:
        return run
    run.campaign._path = Path(known["campaign"])
    return run


def version_of(run_dir: Path) -> Path:
    """Folder of the version that a run directory belongs to."""
    return run_dir.parent


def run_of(folder: Path, version: str) -> Path:
    """Run directory of a version."""
    return folder / version / _RUN


def make_version(base: Run, folder: Path, before: str | None = None) -> Path:
    """Make the version for what a campaign was last planned from; nothing happens if it is there.

    Parameters
    ----------
    base : Run
        Of the campaign, which was planned.
    before : str, optional
        Version whose shards are taken over.

    Returns
    -------
    Path
        Its run directory.

    Raises
    ------
    PlanError
        If the campaign cannot be filled on demand.
    """
    path = run_of(folder, base.frozen)
    if (path / RUN_JSON).is_file():
        return path
    campaign = _with_cube(base.campaign, path.with_name(_CUBE))
    make_folder(path)
    draft = begin(Run(path, read_run_json(base.path)["run_id"], campaign))
    for name in _COPIED:
        write_bytes(draft.inputs / name, read_bytes(base.inputs / name))
    sealed = seal(draft)
    write_json(path / MARKER, {"campaign": str(base.campaign.path), "planned": base.frozen})
    owner.take(campaign)
    tiles = read_tiles(sealed)
    for tile, acquisitions in tiles.acquisitions.items():
        prepare(tiles.spec, tile, acquisitions, tiles.held)
    if before is not None and (run_of(folder, before) / RUN_JSON).is_file():
        _take_over(read_tiles(find_run(run_of(folder, before))), tiles)
    known = {"run_id": sealed.run_id, "campaign_path": str(base.campaign.path)}
    write_json(path / RUN_JSON, {**known, "frozen": sealed.frozen, "planned": sealed.frozen})
    return path


def _with_cube(campaign: Campaign, path: Path) -> Campaign:
    """The campaign with a cube of its own of one date in each shard, and nothing that is made from it."""
    if not campaign.has_products or not campaign.cube.keep:
        raise PlanError(
            f"{campaign.path}: a cube that is filled on demand needs products and an extent",
            hint="give the campaign `scenes`, and leave `cube.keep` on; `hpckit plan` is enough",
        )
    cube = campaign.cube.model_copy(update={"path": path, "dates_per_block": 1})
    made = campaign.model_copy(update={"cube": cube, "reductions": [], "steps": [], "extensions": {}})
    made._path = campaign.path
    return made


def _take_over(old: Tiles, new: Tiles) -> None:
    """Link the shards that are made from the same products; where links are refused they are decoded again."""
    for tile in sorted(old.acquisitions.keys() & new.acquisitions.keys()):
        if old.frame(tile) == new.frame(tile):
            at = {inputs: date for date, inputs in enumerate(inputs_of_dates(new.spec, new.acquisitions[tile]))}
            records = Manifest.load(old.spec.path, [tile]).records()
            moved = [found for record in records if (found := _linked(old, new, record, at)) is not None]
            Manifest.load(new.spec.path, [tile]).append(moved, "taken-over")


def _linked(old: Tiles, new: Tiles, record: ShardRecord, at: Mapping[str, int]) -> ShardRecord | None:
    date = at.get(record.inputs[0])
    if date is None:
        return None
    array, _, place = record.key.partition("/c/")
    moved = replace(record, key=f"{array}/c/{date}/{place.partition('/')[2]}")
    if record.nbytes:
        target = new.spec.path / moved.key
        make_folder(target.parent)
        try:
            os.link(old.spec.path / record.key, target)
        except FileExistsError:
            pass  # this was interrupted before
        except OSError:
            return None
    return moved

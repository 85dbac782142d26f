"""The stage `fetch`: images from servers to copies on this file system, before the stages that decode them.

A unit is what the stages after it have still to open of a tile: of a block of dates where there is a cube, of one
acquisition where there is none. A file that several units need is of the first of them. Where no image is needed any
more there is no unit, so copies that were removed are not fetched again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from hpckit.base.files import digest_json
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.fetching import Fetching
from hpckit.campaign.stages import FETCH
from hpckit.cubes.stage import Context, Outcome, Planning, Stage, Written
from hpckit.cubes.tiles import Tiles
from hpckit.production.fetchable import Fetchable, all_files, files_by_date, is_whole, read_notes
from hpckit.production.transfer import bring_together
from hpckit.runs.plan import Plan, Unit, tiles_of

_BYTES_PER_S: Final = 20e6
"""Of a provider, before there are measurements."""
_SHOWN: Final = 3


class Fetch(Stage):
    """Copy images from servers.

    Parameters
    ----------
    readers : sequence of Stage
        Stages that decode products.
    """

    name = FETCH
    reads_cube = False
    transfers = True
    memory_mib = 512
    shorter = "set fewer `dates_per_block`"
    colour = "#8c6d31"

    def __init__(self, readers: Sequence[Stage]) -> None:
        self._readers = readers

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        """A unit for each tile and block of dates, or acquisition, of which files are to be opened."""
        tiles = planning.tiles
        notes, pace = read_notes(tiles.campaign.fetched_path), planning.pace(self.name, "fetched_bytes", _BYTES_PER_S)
        taken: set[str] = set()
        found: dict[str, tuple[str, list[int], list[Fetchable]]] = {}
        for (tile, position), files in files_by_date(planning, self._readers).items():
            _, positions, mine = found.setdefault(unit_of_date(tiles, tile, position), (tile, [], []))
            positions.append(position)
            mine += [file for file in files if file.name not in taken]
            taken |= {file.name for file in files}
        for identifier, (tile, positions, files) in found.items():
            names = list(dict.fromkeys(file.group for file in files))  # chunks would be too many
            nbytes = sum(file.most for file in files)
            args = {"tile": tile, "positions": positions, "files": names, "count": len(files), "nbytes": nbytes}
            done = all(is_whole(tiles.campaign.fetched_path, file, notes) for file in files)
            made_of = digest_json([file.name for file in files])[:16]
            yield Unit(identifier, self.name, max(1, nbytes) / pace, made_of, args), done

    def writes(self, tiles: Tiles, plan: Plan, workers: int) -> Iterable[Written]:
        """Copies of the pending units."""
        units = [unit for unit in plan.of(self.name) if unit.id in plan.pending]
        nbytes, files = sum(_nbytes(unit) for unit in units), sum(int(unit.args["count"]) for unit in units)
        yield Written("copies", tiles.campaign.fetched_path, nbytes, files)

    def execute(self, context: Context, unit: Unit) -> Outcome:
        """Bring the files of a unit."""
        tiles, how, names = context.tiles, context.run.campaign.scenes.fetch or Fetching(), set(unit.args["files"])
        tile = str(unit.args["tile"])
        dates = [tiles.acquisitions[tile][position] for position in unit.args["positions"]]
        files = all_files(tiles, tile, (scene for item in dates for scene in item.scenes))
        folder = context.run.campaign.fetched_path
        wanted = [file for file in files if file.group in names]
        done = bring_together(
            folder, context.run.run_id, context.writer, wanted, how.connections, how.requests_per_minute
        )
        reasons = [item.reason for item in done.failed]
        more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        return Outcome(
            {"files": done.files, "fetched_bytes": done.nbytes},
            reason="; ".join(reasons[:_SHOWN]) + more if reasons else None,
            temporary=bool(reasons) and all(item.temporary for item in done.failed),
        )


def stages(campaign: Campaign, readers: Sequence[Stage]) -> Sequence[Stage]:
    """The stage of campaigns that say how to fetch."""
    return [Fetch(readers)] if campaign.scenes.fetch is not None else []


def used_by(tiles: Tiles, unit: Unit) -> Iterable[str]:
    """Ids of the units of `fetch` that may bring what a unit of another stage opens."""
    args: Mapping[str, Any] = unit.args
    if unit.stage == "ingest":
        yield f"{FETCH}/{args['tile']}/b{args['block']:04d}"
    elif not tiles.campaign.cube.keep and "acquisition" in args:
        yield from (f"{FETCH}/{tile}/{args['acquisition']}" for tile in tiles_of(unit))


def unit_of_date(tiles: Tiles, tile: str, position: int) -> str:
    """Id of the unit that brings the files of a date of a tile."""
    if tiles.campaign.cube.keep:
        return f"{FETCH}/{tile}/b{position // tiles.spec.dates_per_block:04d}"
    return f"{FETCH}/{tile}/{tiles.acquisitions[tile][position].id}"


def _nbytes(unit: Unit) -> int:
    return int(unit.args["nbytes"])

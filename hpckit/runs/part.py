"""Runs of a federation: the part that a run has of a plan that several sites share, and the fence around it.

The home of a federation gives each site some tiles, under a number that is given once, the epoch. The run directory
there holds `part.json`: which units of the plan are its own. Once the tiles belong to others, it also holds
`fence.json`. Elements look for it before they begin, before each unit and before they seal, so that a site which was
cut off stops as soon as it can be told; until then its home takes nothing from it any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hpckit.base.files import digest, write_json
from hpckit.base.reading import is_there, read_json, typed
from hpckit.campaign.stages import FETCH
from hpckit.errors import FederationError
from hpckit.runs.plan import Unit, tiles_of

PART: Final = "part.json"
FENCE: Final = "fence.json"
AT_SITES: Final = ("ingest", "zones")
"""Stages whose results stay at the sites that have the tiles."""
LEDGER: Final = Path("federation") / "ledger.json"
"""Of the home, in its run directory: which tiles belong to whom."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a run has to do of a plan."""

    federation: str
    """Run id of the home."""
    member: str
    epoch: int
    """Number of this grant of tiles, given once in a federation."""
    tiles: tuple[str, ...]
    units: str
    """Digest of its units, as the home plans them."""
    done: Mapping[str, str]
    """Units whose results the home has, with the digests of their inputs."""

    def owns(self, unit: Unit) -> bool:
        """Whether a unit is of this part, done or not."""
        return is_of(unit, frozenset(self.tiles))

    def wants(self, unit: Unit) -> bool:
        """Whether a unit of the plan is to be done here."""
        return self.owns(unit) and self.done.get(unit.id) != unit.inputs


def is_of(unit: Unit, tiles: frozenset[str]) -> bool:
    """Whether a unit concerns these tiles and no others."""
    mine = tiles_of(unit)
    return bool(mine) and tiles.issuperset(mine)


def units_digest(units: Iterable[Unit], tiles: Iterable[str], layers: Mapping[str, str]) -> str:
    """Digest of the units of some tiles and of what they are made from: equal where two sites plan the same.

    Parameters
    ----------
    layers : mapping of str to str
        Digest of the zone layer of each reduction: its rows stand for the same zones everywhere.
    """
    chosen = frozenset(tiles)
    # What a site fetches depends on what lies there.
    mine = (unit for unit in units if unit.stage != FETCH and is_of(unit, chosen))
    lines = sorted(f"{unit.id} {unit.inputs}" for unit in mine)
    lines += sorted(f"zones {name} {known}" for name, known in layers.items())
    return digest("\n".join(lines).encode())


def write_part(run_dir: Path, part: Part) -> None:
    """Write down which part of a plan a run has."""
    write_json(run_dir / PART, asdict(part))


def read_part(run_dir: Path) -> Part | None:
    """The part of a plan that a run has; None if it has all of it.

    Raises
    ------
    FederationError
        If the file is damaged: then nothing may be done.
    """
    path = run_dir / PART
    if not is_there(path):
        return None
    damaged = FederationError(f"{path}: damaged", hint="`hpckit retry` at the home of the federation writes it again")
    values = read_json(path, lambda _: damaged)
    try:
        return typed(Part, {**values, "tiles": tuple(values["tiles"])})
    except (KeyError, TypeError, ValueError):
        raise damaged from None


def fence(run_dir: Path, why: str) -> None:
    """Let nothing more be done in a run, from now on."""
    write_json(run_dir / FENCE, {"why": why})


def is_fenced(run_dir: Path) -> bool:
    """Whether others have the tiles of this run."""
    return is_there(run_dir / FENCE)


def require_unfenced(run_dir: Path) -> None:
    """Refuse to work where others have the tiles.

    Raises
    ------
    FederationError
        If they do.
    """
    if is_fenced(run_dir):
        raise FederationError(
            f"{run_dir}: the tiles of this part were given to other sites of the federation, so nothing is done here",
            hint="its home lists who has them: `hpckit federation show CAMPAIGN`; this folder may be deleted",
        )


def is_home(run_dir: Path) -> bool:
    """Whether other sites work on the plan of this run."""
    return is_there(run_dir / LEDGER)


def require_no_ledger(run_dir: Path, campaign: Path) -> None:
    """Refuse that one site works on a plan that several share.

    Raises
    ------
    FederationError
        If they do.
    """
    if is_home(run_dir):
        raise FederationError(
            f"{campaign}: several sites share this campaign, so one alone must not work on it",
            hint="`hpckit retry` submits what is left to all of them; to work at one place, give the campaign "
            "another name",
        )


def require_no_part(run_dir: Path, campaign: Path) -> None:
    """Refuse what only the home of a federation does.

    Raises
    ------
    FederationError
        If the run has a part of a plan only.
    """
    if is_there(run_dir / PART):
        raise FederationError(
            f"{campaign}: this is a part of a campaign that several sites share",
            hint="work on it from its home, by `hpckit status`, `retry` and `sync`",
        )

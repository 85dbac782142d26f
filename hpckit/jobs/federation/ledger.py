"""The ledger of a federation: which tiles which site has, under which epoch.

::

    <run>/federation/ledger.json

It is written before a site is told anything, and only under the claim of the run, so whoever is killed leaves a
ledger that says at least what any site may believe. A grant is never changed, only revoked: tiles that go to another
site, or come back to the same one, go by a new grant with a number of its own. A tile is in one grant at most that
is not revoked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hpckit.base.files import write_json
from hpckit.base.reading import is_there, read_json, typed
from hpckit.errors import FederationError
from hpckit.runs.part import LEDGER


@dataclass(frozen=True, slots=True)
class Grant:
    """Tiles that a site was given."""

    epoch: int
    """Number of the grant, given once."""
    member: str
    """Name of the site."""
    tiles: tuple[str, ...]
    submitted: bool = False
    """Whether the site is known to have accepted its jobs, as the plan is now."""
    leaving: bool = False
    """Whether a take-over has begun: the site may be fenced already, so the take-over must be finished."""
    revoked: str | None = None
    """Why its tiles are not its own any more; None while they are."""
    fenced: bool = False
    """Whether the site is known to have been told so."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Grants of a federation; each change gives another one."""

    federation: str
    """Run id of the home."""
    sites: Mapping[str, str]
    """Site files of the members by name."""
    tiles: tuple[str, ...]
    """All tiles of the plan."""
    grants: tuple[Grant, ...] = ()

    @property
    def standing(self) -> list[Grant]:
        """Grants that hold."""
        return [grant for grant in self.grants if grant.revoked is None]

    @property
    def owners(self) -> dict[str, Grant]:
        """Grants that hold, by each of their tiles."""
        return {tile: grant for grant in self.standing for tile in grant.tiles}

    @property
    def unplaced(self) -> list[str]:
        """Tiles that no site has."""
        placed = self.owners
        return [tile for tile in self.tiles if tile not in placed]

    def grant(self, epoch: int) -> Grant:
        """Grant by its number."""
        return next(grant for grant in self.grants if grant.epoch == epoch)

    def of(self, member: str) -> list[Grant]:
        """Grants of a site that hold.

        Raises
        ------
        FederationError
            If the site is no member.
        """
        if member not in self.sites:
            raise FederationError(
                f"site {member} has no part in this campaign", hint=f"its sites are {', '.join(self.sites)}"
            )
        return [grant for grant in self.standing if grant.member == member]

    def with_sites(self, sites: Mapping[str, str]) -> Ledger:
        """With further members, or other files of them."""
        return replace(self, sites={**self.sites, **sites})

    def granting(self, placed: Mapping[str, str]) -> Ledger:
        """With new grants of tiles to sites, one for each site.

        Parameters
        ----------
        placed : mapping of str to str
            Site by tile.

        Raises
        ------
        FederationError
            If a tile is of another plan, a site no member, or the tile belongs to somebody.
        """
        free = set(self.unplaced)
        for tile, member in placed.items():
            if tile not in free or member not in self.sites:
                raise FederationError(f"tile {tile} cannot be given to site {member}")
        epoch = max((grant.epoch for grant in self.grants), default=0)
        made = []
        for member in self.sites:
            mine = tuple(sorted(tile for tile, owner in placed.items() if owner == member))
            if mine:
                epoch += 1
                made.append(Grant(epoch, member, mine))
        return replace(self, grants=(*self.grants, *made))

    def planned(self, tiles: Iterable[str], changed: Iterable[int]) -> Ledger:
        """With the tiles of another plan of the campaign, and grants whose units it changed: to be handed over again.

        The tiles of a grant stay what they are.
        """
        again = set(changed)
        ledger = replace(self, tiles=tuple(sorted(tiles)))
        return ledger._changed(lambda one: replace(one, submitted=one.submitted and one.epoch not in again))

    def revoking(self, epochs: Iterable[int], why: str, *, fenced: bool) -> Ledger:
        """With some grants revoked, for good."""
        chosen = set(epochs)
        return self._changed(
            lambda grant: (
                replace(grant, revoked=grant.revoked or why, fenced=grant.fenced or fenced)
                if grant.epoch in chosen
                else grant
            )
        )

    def noting(self, epoch: int, *, submitted: bool = False, leaving: bool = False, fenced: bool = False) -> Ledger:
        """With what became known of a grant."""
        return self._changed(
            lambda grant: (
                replace(
                    grant,
                    submitted=grant.submitted or submitted,
                    leaving=grant.leaving or leaving,
                    fenced=grant.fenced or fenced,
                )
                if grant.epoch == epoch
                else grant
            )
        )

    def _changed(self, change: Callable[[Grant], Grant]) -> Ledger:
        return replace(self, grants=tuple(change(grant) for grant in self.grants))


def save(run_dir: Path, ledger: Ledger) -> None:
    """Write the ledger, atomically and flushed to disk. Only under the run's claim."""
    write_json(run_dir / LEDGER, asdict(ledger))


def load(run_dir: Path) -> Ledger:
    """Read the ledger of a run.

    Raises
    ------
    FederationError
        If the run is of one site only, or the ledger is damaged: who has which tiles is unknown then.
    """
    path = run_dir / LEDGER
    if not is_there(path):
        raise FederationError(
            f"{run_dir}: no sites share this campaign", hint="`hpckit submit CAMPAIGN --site A --site B` shares it"
        )
    damaged = FederationError(f"{path}: damaged", hint="bring it back from a backup; nobody else knows who has what")
    values = read_json(path, lambda _: damaged)
    try:
        grants = tuple(typed(Grant, {**grant, "tiles": tuple(grant["tiles"])}) for grant in values["grants"])
        ledger = Ledger(str(values["federation"]), dict(values["sites"]), tuple(values["tiles"]), grants)
    except (KeyError, TypeError, ValueError):
        raise damaged from None
    _require_single_owners(ledger, damaged)
    return ledger


def _require_single_owners(ledger: Ledger, damaged: FederationError) -> None:
    owned: Sequence[str] = [tile for grant in ledger.standing for tile in grant.tiles]
    epochs = [grant.epoch for grant in ledger.grants]
    if len(set(owned)) != len(owned) or len(set(epochs)) != len(epochs):
        raise damaged

"""What a federation's home does from day to day: visit the sites, submit again, cancel, move tiles, sync."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpckit.base.console import Console
from hpckit.base.quantities import format_count
from hpckit.base.reading import is_there
from hpckit.errors import FederationError, HpckitError, MemberUnavailableError, is_temporary
from hpckit.jobs.federation.collect import folder_name, visit
from hpckit.jobs.federation.holdings import Holdings
from hpckit.jobs.federation.ledger import Grant, Ledger, load, save
from hpckit.jobs.federation.member import Member
from hpckit.jobs.federation.members import Offer, members_of, require_same_version, survey
from hpckit.jobs.federation.share import Handed, hand_over, place_unplaced, sent_folder
from hpckit.jobs.jobarrays import Request
from hpckit.runs.part import is_of
from hpckit.runs.plan import Unit, read_plan
from hpckit.runs.run import Run, claim
from hpckit.sites.site import load_site


@dataclass(frozen=True, slots=True)
class GrantState:
    """A grant, and what its site says of it."""

    grant: Grant
    told: dict[str, Any] = field(default_factory=dict)
    """Answer of the site: `submission`, `over`, `elements` by state, `fenced`; empty if it does not answer."""
    fault: str | None = None
    """Why it does not answer."""


def collect_all(run: Run, console: Console) -> list[GrantState]:
    """Visit all sites: bring home what they have done, ask how far they are, and tell those that lost their tiles.

    A site that does not answer keeps the others not back; its state has the fault.
    """
    with claim(run):
        return visit_all(run, console)


def visit_all(run: Run, console: Console) -> list[GrantState]:
    """Do what `collect_all` does, under a claim that is held already."""
    ledger, units = load(run.path), read_plan(run.plan)
    members, states = members_of(run, ledger), list[GrantState]()
    for grant in ledger.grants:
        if grant.revoked is not None and grant.fenced:
            states.append(GrantState(grant))
            continue
        member = members[grant.member]
        try:
            if grant.revoked is not None:
                ledger = _tell(run, ledger, grant, member, console)
                states.append(GrantState(ledger.grant(grant.epoch)))
            elif not grant.submitted:
                states.append(GrantState(grant, fault="its part was not handed over yet; `hpckit retry` does it"))
            else:
                # Asked before the results are brought: whatever was over by then is at home after it.
                told = member.ask(["part", "state", run.campaign.path.name], folder_name(grant))
                _bring(run, units, grant, member, console)
                states.append(GrantState(grant, told))
        except HpckitError as error:
            states.append(GrantState(grant, fault=str(error)))
    return states


def resubmit_all(run: Run, request: Request, console: Console) -> Handed:
    """Finish what was begun: take-overs, tiles that nobody has, parts not handed over, units that are left."""
    with claim(run):
        ledger, faults = load(run.path), list[HpckitError]()
        for grant in [grant for grant in ledger.standing if grant.leaving]:
            try:
                member = members_of(run, ledger)[grant.member]
                ledger = _fence(run, ledger, grant, member, console, unreachable=False)
            except HpckitError as error:
                faults.append(error)
                console.warn(f"{error}; the other sites go on")
        members, holdings = members_of(run, ledger), Holdings({})
        if ledger.unplaced or any(not grant.submitted for grant in ledger.standing):
            holdings = _placed(run, ledger, members, console)
        handed = hand_over(run, members, holdings, request, console, again=True)
        handed.faults += faults
        return handed


def cancel_all(run: Run, console: Console) -> dict[str, str]:
    """Cancel the jobs of all sites; a sentence for each, by its name."""
    ledger = load(run.path)
    members, said = members_of(run, ledger), dict[str, str]()
    for grant in ledger.standing:
        try:
            done = members[grant.member].run(["cancel", run.campaign.path.name], folder_name(grant))
            said[grant.member] = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "nothing to cancel"
            if done.returncode != 0:
                console.warn(f"site {grant.member}: its jobs may go on")
        except MemberUnavailableError as error:
            said[grant.member] = str(error)
            console.warn(f"site {grant.member}: its jobs may go on")
    return said


def take_over(run: Run, name: str, request: Request, console: Console, *, unreachable: bool) -> Handed:
    """Take all tiles from a site, and give them to others that have their scenes.

    The site is fenced first: told, so that its elements stop, and its jobs cancelled; then what it has done is
    brought home; then its grants are revoked, and only then others get its tiles. Where it does not answer, its
    grants are revoked all the same if that is wanted: nothing that it does from then on is taken, and it is told as
    soon as it answers.

    Parameters
    ----------
    unreachable : bool
        Go on if the site does not answer: what it did since the last visit is computed again.

    Raises
    ------
    MemberUnavailableError
        If the site does not answer, and `unreachable` was not given; nothing changes then.
    FederationError
        If it has no tiles.
    """
    with claim(run):
        ledger = load(run.path)
        mine = ledger.of(name)
        if not mine and not ledger.unplaced:
            raise FederationError(f"site {name} has no tiles", hint="`hpckit federation show` lists who has which")
        members = members_of(run, ledger)
        for grant in mine:
            ledger = _fence(run, ledger, grant, members[name], console, unreachable=unreachable)
        others = {other: member for other, member in members.items() if other != name}
        holdings = _placed(run, ledger, others, console)
        return hand_over(run, others, holdings, request, console, again=False)


def is_over(states: Sequence[GrantState]) -> bool:
    """Whether nothing is in work at sites that have tiles; one that does not answer may work.

    Without states nobody was visited, and nothing is known.
    """
    return bool(states) and all(
        state.grant.revoked is not None or not state.grant.submitted or state.told.get("over") for state in states
    )


@dataclass(slots=True)
class Pauses:
    """Pauses between visits, which grow while nothing changes."""

    least_s: float
    most_s: float
    next_s: float

    def wait(self, *, changed: bool) -> None:
        """Wait for the next visit."""
        self.next_s = self.least_s if changed else min(self.most_s, 1.5 * self.next_s)
        time.sleep(self.next_s)


def pauses(run: Run) -> Pauses:
    """Pauses between visits, by the site files."""
    polls = [load_site(Path(path)).poll for path in load(run.path).sites.values()]
    least = max(poll.first_s for poll in polls)
    return Pauses(least, max(poll.longest_s for poll in polls), least)


def logs(run: Run, what: str, lines: int, name: str | None) -> dict[str, str]:
    """End of the logs of a unit, element or job, by site.

    Raises
    ------
    FederationError
        If no site has it; the reasons of all sites that were asked.
    """
    ledger = load(run.path)
    grants = ledger.standing if name is None else ledger.of(name)
    unit = next((unit for unit in read_plan(run.plan) if unit.id == what), None)
    if unit is not None:
        grants = [grant for grant in grants if is_of(unit, frozenset(grant.tiles))]
    members, found, reasons = members_of(run, ledger), dict[str, str](), list[str]()
    for grant in grants:
        try:
            words = ["logs", run.campaign.path.name, what, "--lines", str(lines)]
            found[grant.member] = found.get(grant.member, "") + members[grant.member].read(words, folder_name(grant))
        except FederationError as error:
            reasons.append(str(error))
    if not found:
        raise FederationError("; ".join(reasons) or f"no site has {what!r} in work", hint="see `hpckit status`")
    return found


def _fence(run: Run, ledger: Ledger, grant: Grant, member: Member, console: Console, *, unreachable: bool) -> Ledger:
    """Fence a grant, bring home what was done, and revoke it."""
    fenced = False
    try:
        if not grant.leaving:
            require_same_version(member)  # it answers: else nothing has changed
            ledger = ledger.noting(grant.epoch, leaving=True)
            save(run.path, ledger)
        _say_fenced(member.name, _ask_fence(run, grant, member), console)
        fenced = True
        if grant.submitted:
            _bring(run, read_plan(run.plan), grant, member, console)
    except HpckitError as error:
        if not unreachable:
            kind = MemberUnavailableError if is_temporary(error) else FederationError
            begun = ledger.grant(grant.epoch).leaving
            raise kind(
                f"{error}; {'the take-over is not finished' if begun else 'nothing was changed'}",
                hint="run it again when the site answers; or `--unreachable` takes its tiles all the same, and what "
                "it does from now on counts for nothing",
            ) from None
        console.warn(f"{error}; what it did since the last visit is computed again")
    ledger = ledger.revoking([grant.epoch], "taken over", fenced=fenced)
    save(run.path, ledger)
    return ledger


def _tell(run: Run, ledger: Ledger, grant: Grant, member: Member, console: Console) -> Ledger:
    """Tell a site that came back that its tiles were given to others."""
    _say_fenced(member.name, _ask_fence(run, grant, member), console)
    ledger = ledger.noting(grant.epoch, fenced=True)
    save(run.path, ledger)
    return ledger


def _ask_fence(run: Run, grant: Grant, member: Member) -> dict[str, Any]:
    """Put the fence up at a site; its answer. A part that may have arrived, or not, is sent once more with it."""
    folder = sent_folder(run, grant)
    if not is_there(folder):
        return {"cancelled": 0, "silent": ""}
    if not grant.submitted:
        member.push(folder)
    words = ["part", "fence", run.campaign.path.name, "--why", f"epoch {grant.epoch} of {run.run_id} was revoked"]
    words += ["--at-once"] if grant.revoked is not None else []
    return member.ask(words, folder_name(grant))


def _say_fenced(name: str, told: dict[str, Any], console: Console) -> None:
    if told["cancelled"] is None:
        console.warn(
            f"site {name}: it is fenced, but its scheduler has not confirmed that jobs are cancelled "
            f"({told['silent']}); they end at the fence"
        )
    else:
        console.say(f"site {name}: it is fenced, and {format_count(told['cancelled'], 'job')} cancelled")


def _bring(run: Run, units: Sequence[Unit], grant: Grant, member: Member, console: Console) -> None:
    found = visit(run, units, grant, member)
    for fault in found.faults:
        console.warn(f"site {grant.member}: {fault}; the next visit copies it again")


def _placed(run: Run, ledger: Ledger, members: dict[str, Member], console: Console) -> Holdings:
    """Ask sites what they have, and give them the tiles that nobody has; sites that do not answer get none."""
    offers = dict[str, Offer]()
    for name, member in members.items():
        try:
            offers |= survey(run, {name: member}, console)
        except HpckitError as error:
            console.warn(f"{error}; it gets no tiles")
    save(run.path, place_unplaced(run, ledger, offers))
    return Holdings({name: offer.scenes for name, offer in offers.items()})

"""One campaign on several sites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpckit.api.shown import QUIET
from hpckit.api.sites import find_site
from hpckit.campaign.campaign import load_campaign
from hpckit.runs.group import group_files

if TYPE_CHECKING:
    from hpckit.base.console import Console
    from hpckit.jobs.federation.follow import GrantState
    from hpckit.jobs.federation.share import Handed
    from hpckit.jobs.jobarrays import Request
    from hpckit.runs.run import Run


def share(
    campaign: str | Path,
    sites: Sequence[str],
    *,
    request: Request | None = None,
    console: Console = QUIET,
) -> Handed:
    """Share a campaign among sites, by their scenes, free cores and costs, and submit a part to each.

    A campaign that is shared already is planned again: its sites get what is new of their tiles.

    Parameters
    ----------
    sites : sequence of str
        Names or files of sites; may be empty if the campaign is shared already.

    Raises
    ------
    FederationError
        If they cannot share it; nothing is submitted then.
    MemberUnavailableError
        If a site does not answer.
    """
    from hpckit.jobs.federation.share import share as share_among
    from hpckit.jobs.federation.update import share_again
    from hpckit.jobs.jobarrays import Request
    from hpckit.runs.part import is_home

    loaded = load_campaign(Path(campaign))
    found = [find_site(site, loaded.folder) for site in sites]
    with group_files(loaded, console.warn):
        give = share_again if is_home(loaded.run_dir) else share_among
        return give(loaded, found, request or Request(), console)


def take_over(
    run: str | Path,
    site: str,
    *,
    unreachable: bool = False,
    request: Request | None = None,
    console: Console = QUIET,
) -> Handed:
    """Take all tiles from a site that shares a campaign, and give them to others that have their scenes.

    Parameters
    ----------
    site : str
        Name of the site that loses them.
    unreachable : bool
        Go on if it does not answer: what it does from then on is never loaded.

    Raises
    ------
    MemberUnavailableError
        If it does not answer, and `unreachable` was not given.
    FederationError
        If it has no tiles.
    """
    from hpckit.jobs.federation.follow import take_over as take
    from hpckit.jobs.jobarrays import Request
    from hpckit.runs.run import find_run

    return take(find_run(Path(run)), site, request or Request(), console, unreachable=unreachable)


def is_shared(run: str | Path) -> bool:
    """Whether several sites share a campaign."""
    from hpckit.runs.part import is_home

    path = Path(run)
    return is_home(path if path.is_dir() else load_campaign(path).run_dir)


def retry_shared(run: str | Path, *, request: Request | None = None, console: Console = QUIET) -> Handed:
    """Submit what is left at all sites that share a campaign, and place tiles that none of them has."""
    from hpckit.jobs.federation.follow import resubmit_all
    from hpckit.jobs.jobarrays import Request
    from hpckit.runs.run import find_run

    return resubmit_all(find_run(Path(run)), request or Request(), console)


def logs_shared(run: str | Path, what: str, *, lines: int = 40, site: str | None = None) -> dict[str, str]:
    """End of the logs of a unit, element or job of a campaign that several sites share, by site.

    Parameters
    ----------
    what : str
        A unit, which is looked for where its tiles are; or `STAGE:NUMBER` or a job id, at all sites.
    site : str, optional
        Only at this one.

    Raises
    ------
    FederationError
        If no site has it.
    """
    from hpckit.jobs.federation.follow import logs
    from hpckit.runs.run import find_run

    return logs(find_run(Path(run)), what, lines, site)


def cancel_shared(run: str | Path, *, console: Console = QUIET) -> dict[str, str]:
    """Cancel the jobs of all sites that share a campaign; a sentence for each site."""
    from hpckit.jobs.federation.follow import cancel_all
    from hpckit.runs.run import find_run

    return cancel_all(find_run(Path(run)), console)


def visit(run: Run, console: Console) -> list[GrantState]:
    """Visit the sites that share a campaign; none if there are no such."""
    from hpckit.runs.part import is_home

    if not is_home(run.path):
        return []
    # Imports all of submission, which most runs need not wait for.
    from hpckit.errors import BusyError
    from hpckit.jobs.federation.follow import collect_all

    try:
        return collect_all(run, console)
    except BusyError as error:
        console.warn(f"{error}; this is as of the last visit of the sites")
        return []

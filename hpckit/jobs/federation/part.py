"""What the home of a federation asks of a site, as it is done there: what it has, its part, its state, its fence."""

from __future__ import annotations

import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from hpckit.base.console import Console
from hpckit.base.files import make_folder
from hpckit.base.version import __version__
from hpckit.campaign.campaign import Campaign
from hpckit.catalogue import catalogue
from hpckit.catalogue.selection import find
from hpckit.errors import BusyError, FederationError, FileUnavailableError, HpckitError
from hpckit.jobs.federation.files import folders
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.resubmit import resubmit
from hpckit.jobs.submit import submit_campaign
from hpckit.runs.group import group_files
from hpckit.runs.part import fence as fence_run
from hpckit.runs.part import is_fenced
from hpckit.runs.run import find_run
from hpckit.sites.site import Site, scheduler_of
from hpckit.submissions.attempts import working_in
from hpckit.submissions.follow import look
from hpckit.submissions.idle import cancel, runner_of
from hpckit.submissions.submission import latest

CATALOGUE: Final = "catalogue.parquet"
_SEALS_S: Final = 30
"""That elements get to seal their results when jobs are cancelled."""


def survey(campaign: Campaign, site: Site, console: Console) -> dict[str, Any]:
    """Write a catalogue of the scenes that lie here beside the campaign, and say what there is.

    Raises
    ------
    CatalogueError
        If the site has no scenes, or none where it should.
    FileUnavailableError
        If some cannot be read at the moment.
    """
    scheduler = scheduler_of(site)
    command = scheduler.free_cores(site.partition(None).name)
    free = None if command is None else scheduler.read_free_cores(runner_of(site, scheduler)(command))
    named = site.federation.scenes
    paths = campaign.scenes.paths if named is None else [_place(word) for word in named]
    products = campaign.scenes.model_copy(update={"paths": paths})
    with console.progress("scan products") as progress:
        report = find(campaign, products, campaign.folder / CATALOGUE, progress)
    if report.unread:
        raise FileUnavailableError(f"{len(report.unread):,} of its products or folders cannot be read at the moment")
    if not report.scenes:
        raise FederationError(
            f"there is no product below {', '.join(map(str, paths))}",
            hint="name the folders, or a catalogue, by `federation: {scenes: […]}` in the site file",
        )
    catalogue.write(campaign.folder / CATALOGUE, report.scenes, campaign.scenes.items, stamps=report.stamps)
    return {
        "hpckit": __version__,
        "time": time.time(),
        "place": f"{socket.gethostname()}:{campaign.folder.resolve()}",
        "free_cores": free,
        "scenes": len(report.scenes),
        "failed": [failure.reason for failure in report.failures],
    }


def submit(campaign: Campaign, site: Site, request: Request, console: Console) -> dict[str, Any]:
    """Submit what is left of this part; jobs that still run or wait are left alone."""
    with group_files(campaign, console.warn, site_wants=site.group):
        # The home looks into them before anything is done.
        for path in (campaign.run_dir / "journal", campaign.run_dir / "spool", *folders(campaign)):
            make_folder(path)
        try:
            if latest(campaign.run_dir) is None:
                made = submit_campaign(campaign, site, console, request=request)
            else:
                made = resubmit(find_run(campaign.run_dir), console, request=request, site=site)
        except BusyError as error:
            return {"submission": None, "busy": str(error)}
    return {"submission": None if made is None else made.number, "busy": None}


def state(campaign: Campaign) -> dict[str, Any]:
    """What the scheduler says of this part: elements by state, and whether all is over."""
    last = latest(campaign.run_dir)
    facts = {"hpckit": __version__, "time": time.time(), "fenced": is_fenced(campaign.run_dir)}
    if last is None:
        return {**facts, "submission": None, "over": True, "elements": {}}
    scheduler = scheduler_of(last.site)
    try:
        seen = look(last, scheduler, runner_of(last.site, scheduler))
    except HpckitError as error:
        return {**facts, "submission": last.number, "over": False, "elements": {}, "silent": str(error)}
    counts = Counter(item.sighting.state.value for item in seen)
    return {**facts, "submission": last.number, "over": last.is_over, "elements": dict(counts)}


def fence(campaign: Campaign, why: str, *, at_once: bool) -> dict[str, Any]:
    """Cancel the jobs of this part, let elements seal what they have, and let nothing more be done here.

    Where the scheduler does not confirm that jobs are cancelled, the fence alone stops elements: before their next
    unit, and what they have not sealed is not kept.

    Parameters
    ----------
    at_once : bool
        Put up the fence first: results of this part do not count any more.

    Returns
    -------
    dict
        `cancelled`: number of jobs, None if the scheduler did not confirm it, and why in `silent`; `working`:
        elements that gave a sign of life lately.
    """
    make_folder(campaign.run_dir)
    if at_once:
        fence_run(campaign.run_dir, why)
    last, silent = latest(campaign.run_dir), ""
    cancelled: int | None = 0
    if last is not None and not last.is_over:
        scheduler = scheduler_of(last.site)
        try:
            cancelled = cancel(last, scheduler, runner_of(last.site, scheduler))
            if not at_once:
                _wait_for_seals(campaign.run_dir)
        except HpckitError as error:
            cancelled, silent = None, str(error)
    fence_run(campaign.run_dir, why)
    return {"cancelled": cancelled, "working": len(working_in(campaign.run_dir)), "silent": silent}


def _wait_for_seals(run_dir: Path) -> None:
    """Wait until no element gives a sign of life, or as long as schedulers let elements end."""
    limit = time.monotonic() + _SEALS_S
    while working_in(run_dir) and time.monotonic() < limit:
        time.sleep(0.5)


def _place(word: str) -> Path | str:
    return word if "://" in word else Path(word).expanduser()

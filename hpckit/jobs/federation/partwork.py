"""Scenes of a site for a federation, and submission of its part, as the home asks for them there."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any, Final

from hpckit.base.console import Console
from hpckit.base.files import make_folder
from hpckit.base.version import __version__
from hpckit.campaign.campaign import Campaign
from hpckit.catalogue import catalogue
from hpckit.catalogue.selection import find
from hpckit.errors import BusyError, FederationError, FileUnavailableError
from hpckit.jobs.federation.files import folders
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.resubmit import resubmit
from hpckit.jobs.submit import submit_campaign
from hpckit.runs.group import group_files
from hpckit.runs.run import find_run
from hpckit.sites.site import Site, scheduler_of
from hpckit.submissions.idle import runner_of
from hpckit.submissions.submission import latest

CATALOGUE: Final = "catalogue.parquet"


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


def _place(word: str) -> Path | str:
    return word if "://" in word else Path(word).expanduser()

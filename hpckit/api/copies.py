"""Copies of images that lie on servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpckit.api.shown import QUIET, shown
from hpckit.campaign.campaign import load_campaign
from hpckit.runs.group import group_files

if TYPE_CHECKING:
    from hpckit.base.console import Console
    from hpckit.campaign.campaign import Campaign
    from hpckit.production.copies import Removed, Verified
    from hpckit.production.transfer import Fetched


def fetch(
    campaign: str | Path,
    *,
    to: str | Path | None = None,
    connections: int | None = None,
    requests_per_minute: int | None = None,
    console: Console = QUIET,
) -> Fetched:
    """Plan a campaign, and copy the images that its ingest has still to open from servers to a folder.

    Parameters
    ----------
    to : str or Path, optional
        The folder; `scenes.fetched` if not given, where ingest looks for copies.
    connections, requests_per_minute : int, optional
        What all requests together keep to; `scenes.fetch` of the campaign if not given, or else 4 and 2,000.

    Returns
    -------
    Fetched
        Files that failed are in there.

    Raises
    ------
    BusyError
        If another process works on the run, or in the folder.
    PlanError
        If the file system has no room for the copies.
    """
    from hpckit.production.fetch import fetch as bring

    loaded = load_campaign(Path(campaign))
    folder = _fetched_folder(loaded, to)
    if folder != loaded.fetched_path:
        console.warn(f"ingest looks for copies in {loaded.fetched_path}: set `scenes.fetched` to {folder}")
    with group_files(loaded, console.warn):
        return bring(loaded, folder, connections, requests_per_minute, shown(console))


def fetch_list(
    campaign: str | Path,
    form: str,
    *,
    to: str | Path | None = None,
    with_signatures: bool = False,
    console: Console = QUIET,
) -> str:
    """Plan a campaign, and list what `fetch` would bring, for a data mover that has only curl.

    Parameters
    ----------
    form : str
        `curl` for a file of options for `curl --config`, `tsv` for a table.
    to : str or Path, optional
        As in `fetch`.
    with_signatures : bool
        Write signatures of addresses.

    Raises
    ------
    SceneError
        If an address has a signature that may not be written, or is none that curl reads.
    """
    from hpckit.production.fetch import wanted
    from hpckit.production.fetchable import missing_files
    from hpckit.production.fetchlist import curl_config, table

    loaded = load_campaign(Path(campaign))
    folder = _fetched_folder(loaded, to)
    found = wanted(loaded, console)
    for item in found.lost:
        console.warn(item.reason)
    write = curl_config if form == "curl" else table
    return write(missing_files(folder, found.files), folder, with_signatures=with_signatures)


def verify_fetched(
    campaign: str | Path,
    *,
    to: str | Path | None = None,
    answers: str | Path | None = None,
    console: Console = QUIET,
) -> Verified:
    """Compare the copies of `fetch`, or of a data mover, with sizes and digests; needs no network.

    Parameters
    ----------
    answers : str or Path, optional
        What curl wrote when it fetched the list: of chunks of EOPF Zarr, it tells which ones servers do not have.

    Raises
    ------
    RunError
        If nothing was planned yet, or the file of answers cannot be read.
    """
    from hpckit.production.copies import verify as compare

    loaded = load_campaign(Path(campaign))
    return compare(loaded, _fetched_folder(loaded, to), console, None if answers is None else Path(answers))


def remove_fetched(campaign: str | Path, *, to: str | Path | None = None, dry_run: bool = False) -> Removed:
    """Remove the copies that came for a campaign and that its ingest does not need any more.

    Raises
    ------
    BusyError
        If somebody works on the run, or in the folder.
    """
    from hpckit.production.copies import remove

    loaded = load_campaign(Path(campaign))
    return remove(loaded, _fetched_folder(loaded, to), dry_run=dry_run)


def _fetched_folder(campaign: Campaign, to: str | Path | None) -> Path:
    return campaign.fetched_path if to is None else Path(to).absolute()

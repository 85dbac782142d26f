"""The door: everything that the command line, servers and notebooks do with a campaign.

Functions take the path of a campaign file; functions that only read also take a run directory. They print nothing
unless they get a console; in the kernel of a notebook, those that take long show their progress below the cell. They
work in any thread, and raise errors of `hpckit.errors`, each with a stable `code`.

Examples
--------
>>> from hpckit import api
>>> api.run("campaign.yaml", workers=1).exit_code
0
>>> api.series("campaign.yaml", "z17", "B04").band.unique().tolist()
['B04']
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import GraphError, HpckitError, SiteError, StoreError, SubmissionError
from hpckit.runs.group import group_files

if TYPE_CHECKING:
    import pandas as pd
    import shapely
    import xarray

    from hpckit.catalogue.catalogue import ScanReport
    from hpckit.catalogue.federation import SearchResult
    from hpckit.cubes.overviews import Built
    from hpckit.cubes.read import Chunks
    from hpckit.cubes.verify import Fault
    from hpckit.errors import SchedulerUnavailableError
    from hpckit.jobs.federation.follow import GrantState
    from hpckit.jobs.federation.share import Handed
    from hpckit.jobs.jobarrays import Layout, Request
    from hpckit.jobs.update import Update
    from hpckit.look.notebook.view import NotebookView
    from hpckit.production.check import FieldCheck
    from hpckit.production.clean import CleanReport
    from hpckit.production.copies import Removed, Verified
    from hpckit.production.driver import Result
    from hpckit.production.estimate import Estimate
    from hpckit.production.fetch import Fetched
    from hpckit.production.markers import MarkerReport
    from hpckit.production.provenance.make import Written
    from hpckit.production.provenance.reproduce import Reproduction
    from hpckit.production.sync import SyncReport
    from hpckit.reduce.blocks.sample import Samples
    from hpckit.reduce.graphs.describe import CollectionInfo
    from hpckit.reduce.graphs.estimating import GraphEstimate
    from hpckit.reduce.graphs.formats import ResultFile
    from hpckit.runs.run import Run
    from hpckit.runs.status import Status
    from hpckit.sensors.model import Acquisition, Dropped, Scene
    from hpckit.sites.parts import Energy
    from hpckit.sites.scheduler.base import Scheduler
    from hpckit.sites.scheduler.model import Runner
    from hpckit.sites.site import Site
    from hpckit.space.tile import Tile
    from hpckit.space.zones import ZoneLayer
    from hpckit.store import Store
    from hpckit.store.upgrade import StoreState
    from hpckit.submissions.energy import EnergyUse
    from hpckit.submissions.follow import ElementState
    from hpckit.submissions.submission import Submission

QUIET: Final = Console(quiet=True)
"""The default: quiet, except in the kernel of a notebook. `Console(quiet=True)` is quiet there as well."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles of an area."""

    tiles: Sequence[Tile]

    def geojson(self) -> dict[str, Any]:
        """Outlines as a GeoJSON FeatureCollection."""
        from hpckit.space.tilefile import to_geojson

        return to_geojson(self.tiles)

    def write(self, path: Path) -> None:
        """Write the outlines as `.geojson`, `.gpkg` or `.parquet`."""
        from hpckit.space.tilefile import write_tiles

        write_tiles(path, self.tiles)


@dataclass(frozen=True, slots=True)
class Selection:
    """Scenes of a catalogue that match."""

    acquisitions: Sequence[Acquisition]
    dropped: Sequence[Dropped]
    """Scenes that are not used, and why."""

    @property
    def scenes(self) -> list[Scene]:
        """Scenes that are used."""
        return [scene for acquisition in self.acquisitions for scene in acquisition.scenes]

    def items(self) -> list[dict[str, Any]]:
        """STAC items of the scenes."""
        from hpckit.catalogue.stac import to_item

        return [to_item(scene) for scene in self.scenes]

    def described(self) -> list[tuple[Scene, Sequence[str]]]:
        """Scenes, each with what its sensor says of it in a list."""
        from hpckit.sensors.registry import sensor_of

        return [(scene, sensor_of(scene).describe(scene)) for scene in self.scenes]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Work and resources of a plan."""

    estimate: Estimate
    layout: Layout | None = None
    """Elements and jobs, where a site was named."""
    site: Site | None = None
    unread: int = 0
    """Products and folders that cannot be read at the moment, so that the plan may lack work."""

    def _repr_html_(self) -> str:
        from hpckit.look.card import plan_card

        arrays = () if self.layout is None else self.layout.stages
        return plan_card(self.estimate, arrays, self.site, self.unread)


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a run."""

    status: Status
    submission: Submission | None = None
    """The last submission, for a run on a cluster."""
    seen: Sequence[ElementState] = ()
    """The state of its elements in the scheduler."""
    energy: EnergyUse | None = None
    """What it consumed so far; None while it is followed."""
    grants: Sequence[GrantState] = ()
    """Where several sites share the campaign: who has which tiles, and how far each site is."""

    def _repr_html_(self) -> str:
        if self.submission is None:
            return self.status._repr_html_()
        from hpckit.look.card import submission_card

        return self.status._repr_html_() + submission_card(self.submission, self.seen)


@dataclass(frozen=True, slots=True)
class Synced:
    """Result of a sync."""

    collections: Sequence[Path]
    """STAC collections of composites."""
    report: SyncReport | None
    """Report on signatures; None for a campaign without signatures."""
    away: Sequence[str] = ()
    """Why sites that share the campaign do not answer: what they did since the last visit is missing."""


def tile(
    aoi: str, grid: str = "mgrs", *, buffer_m: float = 0.0, layer: str | None = None, crs: str | None = None
) -> Tiling:
    """Cut an area of interest into the tiles of a grid.

    Parameters
    ----------
    aoi : str
        Vector file, WKT in longitude and latitude, or `W,S,E,N` in degrees.
    grid : str
        `mgrs`, `utm:SIZE` or `EPSG:CODE:SIZE`, metres.
    buffer_m : float
        Metres by which it is widened.
    layer, crs : str, optional
        Layer of the file, and its CRS where it has none or a wrong one.
    """
    from hpckit.sensors.native import MGRS
    from hpckit.space.grid import parse_tiling

    return Tiling(parse_tiling(grid, MGRS).tiles(_area(aoi, layer, crs), buffer_m))


def scan(
    paths: Sequence[str | Path],
    catalogue: str | Path,
    *,
    partial: bool = False,
    period: tuple[date, date | None] | None = None,
    tiles: Sequence[str] = (),
    console: Console = QUIET,
) -> tuple[ScanReport, bool]:
    """Find products, and write those that can be read to a catalogue.

    Parameters
    ----------
    paths : sequence of str or Path
        Folders, searched at any depth, or products; folders of object stores, `s3://bucket/folder`.
    catalogue : str or Path
        Parquet file; if it exists, products that have not changed are taken from it.
    partial : bool
        Write it even if folders or products cannot be read now; those that it lists there are kept.
    period : tuple of date, optional
        First and last day; None for no end. In object stores only their folders and products are looked at.
    tiles : sequence of str
        In object stores only products of these tiles are looked at; of all if not given.

    Returns
    -------
    report : ScanReport
        What was found.
    written : bool
        Whether the catalogue was written: not if there is no usable product, nor if the scan is incomplete.

    Raises
    ------
    CatalogueError
        If one of the paths does not exist.
    FileUnavailableError
        If it cannot be seen whether one exists.
    """
    from hpckit.catalogue.catalogue import scan as scan_products
    from hpckit.catalogue.catalogue import write
    from hpckit.sensors.stored import Sought

    with _shown(console).progress("scan products") as progress:
        first, last = period or (date.min, None)
        sought = Sought(first, last or date.max, frozenset(tiles) or None)
        report = scan_products(paths, previous=Path(catalogue), progress=progress, sought=sought)
    found = [*report.scenes, *report.kept]
    written = bool(found) and (partial or not report.unread)
    if written:
        write(Path(catalogue), found)
    return report, written


def scenes(
    catalogue: str | Path,
    *,
    aoi: str | None = None,
    layer: str | None = None,
    period: tuple[date, date | None] | None = None,
    max_cloud_cover: float = 100.0,
    tiles: Sequence[str] = (),
    level: str | None = None,
) -> Selection:
    """Scenes of a catalogue that match, with the newest baseline of each pass.

    Parameters
    ----------
    aoi, layer : str, optional
        As in `tile`.
    period : tuple of date, optional
        First and last day; None for no end.
    max_cloud_cover : float
        Percent.
    tiles : sequence of str
        Names of tiles as `tile_names` gives them; all if empty.
    level : str, optional
        Processing level, `L2A`.

    Raises
    ------
    CatalogueError
        If the catalogue is missing or damaged.
    """
    from hpckit.catalogue.catalogue import acquisitions, read, select

    chosen, unfit = select(
        read(Path(catalogue)),
        aoi=None if aoi is None else _area(aoi, layer, None),
        period=period,
        max_cloud_cover=max_cloud_cover,
        tiles=tiles or None,
        level=level,
    )
    found, superseded = acquisitions(chosen)
    return Selection(found, [*superseded, *unfit])


def tile_names(text: str) -> set[str]:
    """Names of tiles that a text stands for, of whatever sensor.

    Raises
    ------
    ValueError
        If it is a tile of none.
    """
    from hpckit.sensors.registry import sensors

    found, faults = set(), []
    for sensor in sensors():
        try:
            found.add(sensor.tile(text))
        except ValueError as error:
            faults.append(str(error))
    if not found:
        raise ValueError(faults[0])
    return found


def check(campaign: str | Path) -> list[FieldCheck]:
    """Check a campaign file and its inputs.

    Raises
    ------
    CampaignError
        If the file itself is wrong.
    """
    from hpckit.production.check import check_campaign

    return check_campaign(load_campaign(Path(campaign)))


def plan(
    campaign: str | Path,
    *,
    workers: int | None = None,
    site: str | None = None,
    console: Console = QUIET,
) -> Forecast:
    """Plan a campaign; compute nothing.

    Parameters
    ----------
    workers : int, optional
        Processes on this machine; its cores if not given.
    site : str, optional
        Name or file of a site, to lay its job arrays out.

    Raises
    ------
    CampaignError, CatalogueError, PlanError, SiteError
        If it cannot be planned.
    """
    from hpckit.production.driver import plan_campaign

    console, loaded = _shown(console), load_campaign(Path(campaign))
    if site is not None:
        target = find_site(site, loaded.folder, console)
        with group_files(loaded, console.warn, site_wants=target.group):
            return _plan_on_site(loaded, target, console)
    with group_files(loaded, console.warn):
        planned, found = plan_campaign(loaded, console, workers)
    return Forecast(found, unread=planned.unread)


def fetch(
    campaign: str | Path,
    *,
    to: str | Path | None = None,
    connections: int = 4,
    requests_per_minute: int = 2000,
    console: Console = QUIET,
) -> Fetched:
    """Plan a campaign, and copy the images that its ingest has still to open from servers to a folder.

    Parameters
    ----------
    to : str or Path, optional
        The folder; `scenes.fetched` if not given, where ingest looks for copies.
    connections, requests_per_minute : int
        What all requests together keep to.

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
        return bring(loaded, folder, connections, requests_per_minute, _shown(console))


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


def verify_fetched(campaign: str | Path, *, to: str | Path | None = None, console: Console = QUIET) -> Verified:
    """Compare the copies of `fetch`, or of a data mover, with sizes and digests; needs no network.

    Raises
    ------
    RunError
        If nothing was planned yet.
    """
    from hpckit.production.copies import verify as compare

    loaded = load_campaign(Path(campaign))
    return compare(loaded, _fetched_folder(loaded, to), console)


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


def run(
    campaign: str | Path, *, workers: int | None = None, with_sync: bool = True, console: Console = QUIET
) -> Result:
    """Run the unfinished units of a campaign on this machine, and load the results into the store.

    Raises
    ------
    BusyError
        If another process, or a job, works on the same run.
    """
    from hpckit.production.driver import run_campaign

    console, loaded = _shown(console), load_campaign(Path(campaign))
    with group_files(loaded, console.warn):
        return run_campaign(loaded, console, workers=workers, with_sync=with_sync)


def verify(campaign: str | Path, *, console: Console = QUIET) -> list[Fault]:
    """Find faulty files of cube, composites and results; the next run writes them again."""
    from hpckit.production.driver import verify_campaign

    console, loaded = _shown(console), load_campaign(Path(campaign))
    with group_files(loaded, console.warn):
        return verify_campaign(loaded, console)


def sync(campaign: str | Path, *, submission: int | None = None, console: Console = QUIET) -> Synced:
    """Write collections and mosaics of composites, and make the store hold the results of the run.

    Parameters
    ----------
    campaign : str or Path
        A campaign file, whose store counts as it is now, or a run directory.
    submission : int, optional
        Load what this submission works from.
    """
    from hpckit.production.sync import sync as load
    from hpckit.reduce.composites.publish import publish
    from hpckit.runs.run import find_run, open_frozen
    from hpckit.submissions.submission import load as load_submission

    found = find_run(Path(campaign))
    grants = _visit(found, console) if submission is None else []
    if submission is not None:
        found = open_frozen(found.path, load_submission(found.path / "submissions" / f"{submission:04d}").frozen)
    present = found.campaign if Path(campaign).is_dir() else load_campaign(Path(campaign))
    loads = bool(present.signatures) or not present.of_pixels
    with group_files(present, console.warn):
        away = [grant.fault for grant in grants if grant.fault is not None]
        return Synced(publish(present), load(present, found, console) if loads else None, away)


def clean(
    campaign: str | Path,
    *,
    older_than_days: float = 7,
    what: Collection[str] | None = None,
    remove: bool = False,
) -> CleanReport:
    """Find what of a run is needed no more, and remove it if asked to; see `hpckit.production.clean.clean`.

    Parameters
    ----------
    what : collection of str, optional
        Of *spool*, *outdated*, *logs*, *inputs* and *scratch*; the first, third and fourth if not given.
    remove : bool
        Off: nothing is changed.

    Raises
    ------
    BusyError
        If somebody works on the run, or a submission may not have ended.
    """
    from hpckit.production.clean import DEFAULT, KINDS
    from hpckit.production.clean import clean as clean_run
    from hpckit.runs.run import find_run

    wanted = [kind for kind in KINDS if kind in (DEFAULT if what is None else what)]
    found = find_run(Path(campaign))
    present = found.campaign if Path(campaign).is_dir() else load_campaign(Path(campaign))
    return clean_run(present, found, older_than_days, wanted, remove=remove)


def find_markers(campaign: str | Path, *, console: Console = QUIET) -> MarkerReport:
    """Bring the markers in the store up to date with the rules of the campaign and the series; `sync` does it, too.

    Raises
    ------
    StoreError
        If the store has results of another campaign under these names, or cannot be written.
    """
    from hpckit.production.markers import refresh_campaign
    from hpckit.runs.run import find_run

    found = find_run(Path(campaign))
    loaded = found.campaign if Path(campaign).is_dir() else load_campaign(Path(campaign))
    return refresh_campaign(loaded, found, console)


def has_current_markers(campaign: str | Path) -> bool:
    """Whether `find_markers` would change nothing."""
    from hpckit.production.markers import is_campaign_current

    return is_campaign_current(open_campaign(campaign).campaign)


def store_state(
    campaign: str | Path | None = None, *, dsn: str | None = None, schema: str = "hpckit", console: Console = QUIET
) -> StoreState:
    """Version of a store's tables, and who uses them.

    Parameters
    ----------
    campaign : str or Path, optional
        Whose store it is.
    dsn, schema : str, optional
        A database and its schema, where no campaign is named.

    Raises
    ------
    StoreError
        If it cannot be looked at, or neither is given.
    """
    from hpckit.store.upgrade import state_of

    store = _open_store(campaign, dsn, schema, console)
    try:
        return state_of(store)
    finally:
        store.close()


def migrate_store(
    campaign: str | Path | None = None, *, dsn: str | None = None, schema: str = "hpckit", console: Console = QUIET
) -> StoreState:
    """Upgrade the tables of a store to those of this hpckit, also where others use them; make none.

    Takes what `store_state` takes, and returns the state after the upgrade.

    Raises
    ------
    StoreError
        If there are no tables, they are of a newer hpckit, or this user may not change them.
    """
    from hpckit.store.upgrade import migrate

    store = _open_store(campaign, dsn, schema, console)
    try:
        return migrate(store)
    finally:
        store.close()


def _open_store(campaign: str | Path | None, dsn: str | None, schema: str, console: Console) -> Store:
    from hpckit.store import open_store
    from hpckit.store.postgis import PostGis

    if dsn is not None:
        return PostGis(dsn, schema, tell=console.warn)
    if campaign is None:
        raise StoreError("no store is named", hint="name a campaign file, or give --dsn")
    return open_store(load_campaign(Path(campaign)), console.warn)


def submit(
    campaign: str | Path,
    site: str | None = None,
    *,
    request: Request | None = None,
    console: Console = QUIET,
) -> Submission | None:
    """Submit unfinished units to a cluster, as a chain of job arrays that is accepted completely or not at all.

    If all units are done and the store lacks results, only the sync is submitted.

    Parameters
    ----------
    site : str, optional
        Name or file of a site; that which this machine belongs to if not given.

    Returns
    -------
    Submission or None
        None if nothing is left to do; the console says so.
    """
    from hpckit.jobs.jobarrays import Request
    from hpckit.jobs.submit import submit_campaign

    console, loaded = _shown(console), load_campaign(Path(campaign))
    target = find_site(site, loaded.folder, console)
    with group_files(loaded, console.warn, site_wants=target.group):
        return submit_campaign(loaded, target, console, request=request or Request())


def update(
    campaign: str | Path,
    *,
    site: str | None = None,
    here: bool = False,
    workers: int | None = None,
    request: Request | None = None,
    notify: Sequence[str] = (),
    console: Console = QUIET,
) -> Update:
    """Search for new products, and bring cube, results and store up to date; do nothing if nothing is new.

    Parameters
    ----------
    site : str, optional
        Name or file of a site to submit to; that of the last submission if not given.
    here : bool
        Run on this machine, also if the campaign was submitted before.
    workers : int, optional
        Processes on this machine; its cores if not given.
    request : Request, optional
        Resources of jobs.
    notify : sequence of str
        Who gets a message if something changed or failed; see `hpckit.jobs.notify.notify`.
    """
    from dataclasses import asdict

    from hpckit.jobs import update as updating
    from hpckit.jobs.jobarrays import Request
    from hpckit.jobs.notify import notify as send
    from hpckit.submissions.submission import latest

    loaded = load_campaign(Path(campaign))
    last = None if here or site is not None else latest(loaded.run_dir)
    target = find_site(site, loaded.folder, console) if site is not None else last.site if last is not None else None
    with group_files(loaded, console.warn, site_wants=target is not None and target.group):
        made = (
            updating.update_here(loaded, console, workers)
            if target is None
            else updating.update_on_site(loaded, target, console, request or Request())
        )
    if updating.is_news(made, loaded.run_dir):
        facts = {"campaign": loaded.name, "path": str(loaded.path), **asdict(made)}
        subject = f"hpckit: campaign {loaded.name}: {made.state}"
        for failure in filter(None, (send(one, subject, made.describe(), facts) for one in notify)):
            console.warn(failure)
    return made


def search(
    output: str | Path,
    *,
    members: Sequence[str],
    collections: Sequence[str] = (),
    aoi: str | Path,
    period: tuple[date, date | None],
    cql2: str | None = None,
    console: Console = QUIET,
) -> SearchResult:
    """Search several STAC APIs at once, and freeze the items found as stac-geoparquet.

    Parameters
    ----------
    output : str or Path
        File to write, if something was found.
    members : sequence of str
        Addresses of STAC APIs, or names in `hpckit.catalogue.federation.MEMBERS`; of copies of a product the item of
        the first member is taken.
    collections : sequence of str
        Collections of the members; the one that campaigns have by default if none is given.
    aoi : str or Path
        Vector file, WKT or `W,S,E,N`.
    period : two dates
        First and last day, UTC, both included; a last day of None is no end.
    cql2 : str, optional
        Filter, `eo:cloud_cover < 40`.

    Returns
    -------
    SearchResult
        Items, and a report of each member; members that fail are in there.
    """
    from hpckit.catalogue import federation
    from hpckit.sensors.registry import DEFAULT

    with console.progress("search") as progress:
        area, names = _area(str(aoi), None, None), collections or [DEFAULT]
        found = federation.search(members, names, area, period, cql2=cql2, progress=progress)
    if found.items:
        federation.write(Path(output), found.items)
    return found


def write_jobs(
    campaign: str | Path,
    site: str | None = None,
    *,
    request: Request | None = None,
    folder: Path | None = None,
    console: Console = QUIET,
) -> Submission | None:
    """Write elements and job scripts, to read or to submit by hand; None if nothing is left to do.

    Parameters
    ----------
    folder : Path, optional
        Where to write the scripts, beside the run directory.
    """
    from hpckit.jobs.jobarrays import Request

    loaded = load_campaign(Path(campaign))
    target = find_site(site, loaded.folder, console)
    with group_files(loaded, console.warn, site_wants=target.group):
        return _write_jobs(loaded, target, request or Request(), folder, console)


def _write_jobs(
    campaign: Campaign, site: Site, request: Request, folder: Path | None, console: Console
) -> Submission | None:
    from hpckit.jobs.submit import draft, say_nothing_left, write_dry
    from hpckit.runs.run import claim, open_run

    opened = open_run(campaign)
    with claim(opened):
        drafted = draft(opened, site, request, console)
        if drafted.is_empty:
            say_nothing_left(drafted, console)
            return None
        return write_dry(drafted, folder)


def status(run: str | Path, *, console: Console = QUIET) -> Progress:
    """State of a run, on this machine or on a cluster.

    Raises
    ------
    RunError, PlanError
        If the campaign was never run or planned.
    """
    from hpckit.runs.run import find_run
    from hpckit.runs.status import read_status
    from hpckit.submissions.submission import latest

    found = find_run(Path(run))
    last = latest(found.path)
    with group_files(found.campaign, site_wants=last is not None and last.site.group):
        grants = _visit(found, console)
        seen = refresh(found, last, console) if last is not None and not grants else []
    since = last.created if last is not None and not last.is_over else None
    return Progress(read_status(found, since), last, seen, energy_of(found), grants)


def energy_of(run: Run) -> EnergyUse:
    """Energy and emissions of a run: measured, or estimated by the figures of the site.

    The scheduler is asked once for the jobs of submissions that are over.
    """
    from hpckit.runs.journal import seconds_by_writer
    from hpckit.submissions.energy import energy
    from hpckit.submissions.follow import remembered
    from hpckit.submissions.submission import submissions

    known = submissions(run.path)
    for submission in known:
        if submission.is_over and not any(item.sighting.elapsed_s for item in remembered(submission)):
            refresh(run, submission, QUIET, details=True)
    return energy(known, seconds_by_writer(run.path), energy_figures(run))


def energy_figures(run: Run) -> dict[str, Energy]:
    """What the sites of a run draw, by the site files as they are now; the empty name is the site of this machine."""
    from hpckit.runs.part import is_home
    from hpckit.submissions.submission import submissions

    here = {} if is_home(run.path) else {"": None}  # units of a home were computed at other sites
    names = {**here, **{item.site.name: item.site.name for item in submissions(run.path)}}
    found = {}
    for key, name in names.items():
        try:
            found[key] = find_site(name, run.campaign.folder).energy
        except SiteError:
            continue  # this machine belongs to none, or its file is gone: that of the submission counts
    return found


def crate(
    run: str | Path,
    path: str | Path | None = None,
    *,
    agent: str = "",
    agent_id: str = "",
    license: str = "",
) -> Written:
    """Write the RO-Crate of a run: what its outputs were made from, by what, and their digests.

    Parameters
    ----------
    run : str or Path
        Campaign file, or run directory.
    path : str or Path, optional
        Folder, or `.zip` file; `<name>.crate` beside the run directory if not given.
    agent, agent_id : str
        Who ran it: a name, and an ORCID or the address of an organisation.
    license : str
        Address of the licence of the outputs.

    Raises
    ------
    CrateError
        If no unit is done, an input was changed since, or something else lies at `path`.
    """
    from hpckit.production.provenance.entities import About
    from hpckit.production.provenance.make import make
    from hpckit.runs.run import find_run

    found = find_run(Path(run))
    target = found.path.with_name(f"{found.campaign.name}.crate") if path is None else Path(path)
    return make(found, target, About(agent, agent_id, license), energy_figures(found))


def reproduce(
    crate: str | Path,
    folder: str | Path,
    *,
    products: Sequence[str | Path] = (),
    at: Mapping[str, str | Path] | None = None,
    workers: int | None = None,
    run_code: bool = False,
    expected: str = "",
    console: Console = QUIET,
) -> Reproduction:
    """Make the outputs of a crate again in an empty folder, and compare their digests.

    Parameters
    ----------
    products : sequence of str or Path
        Folders that are searched for the products; where they lay if not given.
    at : mapping, optional
        Files and campaigns that the crate names, by the field of the campaign that names them.
    workers : int, optional
        Processes; the cores of this machine if not given.
    run_code : bool
        Run functions and models of the crate's author.
    expected : str
        Digest that the crate must have.

    Raises
    ------
    CrateError
        If the crate was changed, inputs are missing or others, or it has steps.
    """
    from hpckit.production.provenance.finding import Given
    from hpckit.production.provenance.reproduce import reproduce as again

    given = Given([Path(item) for item in products], {name: Path(item) for name, item in (at or {}).items()})
    return again(Path(crate), Path(folder), given, console, workers=workers, run_code=run_code, expected=expected)


def metrics(
    runs: Sequence[str | Path],
    *,
    output: str | Path | None = None,
    ask_scheduler: bool = True,
    console: Console = QUIET,
) -> str:
    """State of runs in Prometheus' text format, for the textfile collector of node_exporter.

    Parameters
    ----------
    runs : sequence of str or Path
        Campaign files or run directories. One that cannot be read is told and becomes a metric, not an error.
    output : str or Path, optional
        File `*.prom`, written by a rename.
    ask_scheduler : bool
        Whether to ask for the state of elements.

    Raises
    ------
    HpckitError
        If the file cannot be written.
    """
    from hpckit.runs.run import find_run
    from hpckit.runs.status import read_status
    from hpckit.submissions.metrics import RunState, as_text, write
    from hpckit.submissions.submission import latest

    states = []
    for one in map(Path, runs):
        try:
            found = find_run(one)
            last = latest(found.path)
            seen = refresh(found, last, console) if last is not None and ask_scheduler else []
            states.append(RunState(found.path.absolute(), read_status(found), last, seen))
        except (HpckitError, OSError) as error:
            console.warn(f"{one}: {error}")
            states.append(RunState(one.absolute()))
    text = as_text(states)
    if output is not None:
        write(Path(output), text)
    return text


def _visit(run: Run, console: Console) -> list[GrantState]:
    """Visit the sites that share a campaign; none if there are no such."""
    from hpckit.errors import BusyError
    from hpckit.jobs.federation.follow import collect_all
    from hpckit.runs.part import is_home

    if not is_home(run.path):
        return []
    try:
        return collect_all(run, console)
    except BusyError as error:
        console.warn(f"{error}; this is as of the last visit of the sites")
        return []


def share(
    campaign: str | Path,
    sites: Sequence[str],
    *,
    request: Request | None = None,
    console: Console = QUIET,
) -> Handed:
    """Share a campaign among sites, by their scenes, free cores and costs, and submit a part to each.

    Parameters
    ----------
    sites : sequence of str
        Names or files of sites.

    Raises
    ------
    FederationError
        If they cannot share it; nothing is submitted then.
    MemberUnavailableError
        If a site does not answer.
    """
    from hpckit.jobs.federation.share import share as share_among
    from hpckit.jobs.jobarrays import Request

    loaded = load_campaign(Path(campaign))
    found = [find_site(site, loaded.folder) for site in sites]
    with group_files(loaded, console.warn):
        return share_among(loaded, found, request or Request(), console)


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


def cancel_shared(run: str | Path, *, console: Console = QUIET) -> dict[str, str]:
    """Cancel the jobs of all sites that share a campaign; a sentence for each site."""
    from hpckit.jobs.federation.follow import cancel_all
    from hpckit.runs.run import find_run

    return cancel_all(find_run(Path(run)), console)


def follow(
    run: str | Path, *, unanswered: Callable[[SchedulerUnavailableError], None] = lambda error: None
) -> Iterator[Progress]:
    """Follow the last submission of a run until all its jobs are over.

    Parameters
    ----------
    unanswered : callable
        Called with what a query of the scheduler failed with; it is asked again later.

    Raises
    ------
    SubmissionError
        If nothing was submitted.
    """
    from hpckit.runs.status import read_status
    from hpckit.submissions.follow import watch

    found, last, scheduler, runner = open_submission(run)
    for seen in watch(last, scheduler, runner, unanswered):
        yield Progress(read_status(found, None if last.is_over else last.created), last, seen)


def watch(run: str | Path, *, console: Console = QUIET) -> Progress:
    """Follow the last submission of a run, and show how far it is, until all its jobs are over.

    In a notebook, the state of stages and jobs is updated in place. Interrupt the kernel to stop: jobs go on.

    Returns
    -------
    Progress
        At the end.

    Raises
    ------
    SubmissionError
        If nothing was submitted.
    """
    shown, found = _shown(console), None
    with shown.progress("units") as advance:
        for found in follow(run, unanswered=lambda error: shown.warn(f"{error}; it is asked again")):
            stages = found.status.stages
            done = sum(stage.done for stage in stages)
            advance(done, done + sum(stage.failed + stage.waiting for stage in stages))
            shown.state(found)
    return found if found is not None else status(run, console=console)


def retry(
    run: str | Path,
    site: str | None = None,
    *,
    request: Request | None = None,
    only_failed: bool = False,
    console: Console = QUIET,
) -> Submission | None:
    """Resubmit unfinished units, with more memory or time where they ran out; None if nothing is left."""
    from hpckit.jobs.jobarrays import Request
    from hpckit.jobs.resubmit import resubmit
    from hpckit.runs.run import find_run
    from hpckit.submissions.submission import latest

    found = find_run(Path(run))
    chosen = find_site(site, found.campaign.folder, console) if site is not None else None
    used = chosen or getattr(latest(found.path), "site", None)
    with group_files(found.campaign, console.warn, site_wants=used is not None and used.group):
        return resubmit(found, console, request=request or Request(), site=chosen, only_failed=only_failed)


def cancel(run: str | Path) -> tuple[Submission, int | None]:
    """Cancel all jobs of a run; finished work is kept.

    Returns
    -------
    submission : Submission
        The last one.
    jobs : int or None
        Jobs that waited or ran; None if it was over before.

    Raises
    ------
    SubmissionError
        If nothing was submitted.
    """
    from hpckit.submissions import idle

    found, last, scheduler, runner = open_submission(run)
    with group_files(found.campaign, site_wants=last.site.group):
        return last, None if last.is_over else idle.cancel(last, scheduler, runner)


def open_campaign(path: str | Path) -> NotebookView:
    """Open a campaign to look at its results.

    Parameters
    ----------
    path : str or Path
        A campaign file, or a run directory.

    Raises
    ------
    CampaignError
        If the campaign file is wrong.
    RunError
        If `path` is a directory without a run.
    """
    from hpckit.look.notebook.view import NotebookView
    from hpckit.runs.run import find_run

    path = Path(path)
    return NotebookView(find_run(path).campaign if path.is_dir() else load_campaign(path))


def sample(
    campaign: str | Path,
    places: str | Path,
    label: str,
    *,
    output: str | Path | None = None,
    layer: str | None = None,
    bands: Sequence[str] | None = None,
    composite: str | None = None,
    period: tuple[str, str] | None = None,
    pixels: int = 20,
    seed: int = 0,
    incomplete: bool = False,
) -> Samples:
    """Features of pixels at points or in zones, to train a model that `kind: predict` maps with.

    Parameters
    ----------
    places : str or Path
        Vector file of points or polygons.
    label : str
        Field with the labels.
    output : str or Path, optional
        GeoParquet file to write.
    layer : str, optional
        Of the vector file, if it has several.
    bands : sequence of str, optional
        Bands of the cube, or layers of the composite; all if not given.
    composite : str, optional
        Composite whose periods are sampled, instead of the dates of the cube.
    period : two str, optional
        First moment and the one after the last.
    pixels : int
        Most pixels of one polygon: those within it, chosen at random.
    seed : int
        Of this choice.
    incomplete : bool
        Keep pixels that lack some feature, with NaN.

    Returns
    -------
    Samples
        With `table` (pyarrow), and `features`, the names of the columns to train with.

    Raises
    ------
    GraphError
        If there is no such band, composite or period, or all pixels lack a feature.
    VectorError
        If the file cannot be read, or nothing of it lies in the cube.
    """
    from hpckit.reduce.blocks.sample import sample as take
    from hpckit.reduce.blocks.sample import write_samples

    found = take(
        Path(campaign),
        Path(places),
        label,
        layer=layer,
        bands=bands,
        composite=composite,
        period=period,
        pixels=pixels,
        seed=seed,
        incomplete=incomplete,
    )
    if output is not None:
        write_samples(found, Path(output))
    return found


def overviews(campaign: str | Path, *, cache: str | Path | None = None, console: Console = QUIET) -> Built:
    """Make overviews of a campaign's cube and composites, for maps of whole regions: those that are missing or older.

    It may be stopped at any time and called again.

    Parameters
    ----------
    cache : str or Path, optional
        Folder for them, where the cube cannot be written; they lie in the cube and composites if not given.

    Raises
    ------
    BusyError
        If another process makes overviews of a tile.
    CubeError
        If there is nothing to make them of, or metadata are damaged.
    HpckitError
        If the cube cannot be written.
    """
    from hpckit.look.makeoverviews import make

    opened = open_campaign(campaign).campaign
    with group_files(opened, console.warn):
        return make(opened, None if cache is None else Path(cache), console)


def cube(
    campaign: str | Path,
    tile: str | None = None,
    resolution_m: int | None = None,
    chunks: Chunks = "auto",
    *,
    area: shapely.Geometry | Sequence[float] | str | None = None,
    decode: bool = True,
) -> xarray.Dataset:
    """Open a tile of the cube, or an area across tiles, lazily; see `CampaignView.cube`."""
    return open_campaign(campaign).cube(tile, resolution_m, chunks, area=area, decode=decode)


def composite(
    campaign: str | Path,
    name: str | None = None,
    tile: str | None = None,
    resolution_m: int | None = None,
    chunks: Chunks = "auto",
) -> xarray.Dataset:
    """Open a tile of a composite, lazily; see `CampaignView.composite`."""
    return open_campaign(campaign).composite(name, tile, resolution_m, chunks)


def series(
    campaign: str | Path, zone: str | int, band: str | None = None, reduction: str | None = None
) -> pd.DataFrame:
    """Signatures of one zone over time; see `CampaignView.series`."""
    return open_campaign(campaign).series(zone, band, reduction)


def markers(campaign: str | Path, zone: str | int | None = None, rules: Sequence[str] = ()) -> pd.DataFrame:
    """Markers in the store, of one zone or of all; see `CampaignView.markers`."""
    return open_campaign(campaign).markers(zone, rules=rules)


def signatures(campaign: str | Path, band: str | None = None, reduction: str | None = None) -> pd.DataFrame:
    """Signatures of all zones over time; see `CampaignView.signatures`, which also gives Arrow."""
    return open_campaign(campaign).signatures(band, reduction)


def export_signatures(
    campaign: str | Path,
    path: str | Path,
    band: str | None = "all",
    reduction: str | None = None,
    *,
    geometry: bool = True,
) -> int:
    """Write the signatures of all zones to a Parquet file; see `CampaignView.export_signatures`."""
    return open_campaign(campaign).export_signatures(path, band, reduction, geometry=geometry)


def export(campaign: str | Path, path: str | Path, reduction: str | None = None, **options: Any) -> int:
    """Write chosen signatures to Parquet, CSV or GeoPackage; see `CampaignView.export`, which has the options."""
    return open_campaign(campaign).export(path, reduction, **options)


def zones(campaign: str | Path, reduction: str | None = None) -> ZoneLayer:
    """Zones of a reduction; see `CampaignView.zones`."""
    return open_campaign(campaign).zones(reduction)


def items(campaign: str | Path) -> list[dict[str, Any]]:
    """STAC items of the products that a run uses.

    Raises
    ------
    RunError
        If the campaign was never run or planned.
    """
    from hpckit.catalogue import catalogue
    from hpckit.catalogue.stac import to_item
    from hpckit.runs.run import find_run

    return [to_item(scene) for scene in catalogue.read(find_run(Path(campaign)).selected)]


def find_site(name: str | None, folder: Path, console: Console = QUIET) -> Site:
    """Site by name or file, or the one that this machine belongs to.

    Parameters
    ----------
    folder : Path
        Of the campaign: site files are looked for there, too.
    console : Console
        Told where the file's limits go beyond those of the operator's file.

    Raises
    ------
    SiteError
        If there is none.
    """
    from hpckit.sites import limits, site

    folders = [folder, folder / "site-configs"]
    chosen = name or site.identify_site(folders)
    if chosen is None:
        raise SiteError(
            "this machine belongs to no site that is known",
            hint="give --site NAME (`hpckit site list`), or write a file for this cluster: `hpckit site probe`",
        )
    found = site.find_site(chosen, folders)
    for warning in limits.warnings(found):
        console.warn(warning)
    return found


def open_submission(run: str | Path) -> tuple[Run, Submission, Scheduler, Runner]:
    """The last submission of a run, with its scheduler.

    Raises
    ------
    SubmissionError
        If nothing was submitted.
    """
    from hpckit.runs.run import find_run
    from hpckit.sites.site import scheduler_of
    from hpckit.submissions.idle import runner_of
    from hpckit.submissions.submission import latest

    found = find_run(Path(run))
    last = latest(found.path)
    if last is None:
        raise SubmissionError(f"{found.path}: nothing was submitted yet", hint="`hpckit submit CAMPAIGN --site SITE`")
    scheduler = scheduler_of(last.site)
    return found, last, scheduler, runner_of(last.site, scheduler)


def refresh(run: Run, submission: Submission, console: Console, *, details: bool = False) -> list[ElementState]:
    """State of a submission in the scheduler; a warning and an empty list if it does not answer.

    Parameters
    ----------
    details : bool
        Also ask what elements used.
    """
    from hpckit.sites.site import scheduler_of
    from hpckit.submissions.follow import look
    from hpckit.submissions.idle import runner_of

    scheduler = scheduler_of(submission.site)
    runner = runner_of(submission.site, scheduler)
    try:
        return look(submission, scheduler, runner, details=details)
    except HpckitError as error:
        console.warn(f"{error}; the journals say what is done")
        return []


def _shown(console: Console) -> Console:
    """The console that was given; in a notebook, instead of the default, the output of the cell."""
    if console is not QUIET:
        return console
    from hpckit.look.notebook.progress import NotebookConsole, in_notebook

    return NotebookConsole() if in_notebook() else console


def _area(aoi: str, layer: str | None, crs: str | None) -> shapely.Geometry:
    from hpckit.space.aoi import read_aoi
    from hpckit.space.areafile import AreaFile

    return read_aoi(aoi if layer is None and crs is None else AreaFile(path=aoi, layer=layer, crs=crs))


def _plan_on_site(campaign: Campaign, site: Site, console: Console) -> Forecast:
    from hpckit.jobs.jobarrays import Request
    from hpckit.jobs.submit import draft
    from hpckit.production.estimate import estimate
    from hpckit.runs.frozen import adopt
    from hpckit.runs.run import claim, open_run

    opened = open_run(campaign)
    with claim(opened):
        drafted = draft(opened, site, Request(account="?"), console)
        adopt(drafted.run, works=False)
    return Forecast(estimate(drafted.planned, 1), drafted.layout, site, drafted.planned.unread)


def describe_collection(path: str | Path, *, name: str = "") -> CollectionInfo:
    """What a campaign holds as a collection of process graphs: bands, extent, period, properties of products.

    Parameters
    ----------
    path : str or Path
        Campaign file, or run directory.
    name : str
        By which graphs name it; that of the campaign if not given.

    Raises
    ------
    GraphError
        `CollectionNotFound`, if it was never planned.
    """
    from hpckit.reduce.graphs.collection import open_collection
    from hpckit.reduce.graphs.describe import describe

    found = open_collection(name or Path(path).stem, Path(path))
    return describe(found if name else found.renamed(found.tiles.campaign.name))


def graph_processes() -> list[Mapping[str, Any]]:
    """Processes that graphs may call, as openEO's specifications: each passes all official tests of it."""
    from hpckit.processgraph.listed import listed
    from hpckit.processgraph.specs import documents
    from hpckit.reduce.udf.settings import is_offered, settings_here

    return [documents()[name] for name in listed(user_code=is_offered(settings_here()))]


def use_user_code_of(site: str, folder: Path) -> None:
    """Run code of users in graphs as a site file says, in this process and those that it starts.

    Parameters
    ----------
    site : str
        Name, or file.
    folder : Path
        Whose site files come first.
    """
    from hpckit.sites.udf import UDF_SETTINGS

    found = find_site(site, folder)
    if found.udf is not None:
        os.environ[UDF_SETTINGS] = found.udf.model_dump_json(exclude_defaults=True)


def udf_runtimes() -> dict[str, Any]:
    """Images for code of users in graphs, as openEO describes them (`GET /udf_runtimes`); none without Apptainer."""
    from hpckit.reduce.udf.settings import runtimes, settings_here

    return runtimes(settings_here())


def with_parameters(graph: Any, values: Mapping[str, Any]) -> Any:
    """A process graph with other values of its parameters; arguments as of `check_graph`.

    Raises
    ------
    GraphError
        If it is no JSON, or has no parameter of a name.
    """
    from hpckit.processgraph.document import load, with_parameters

    document = load(graph) if isinstance(graph, (str, bytes)) else graph
    return with_parameters(document, values)


def check_graph(graph: Any, collections: Mapping[str, Path], *, hosts: Collection[str] = ()) -> list[GraphError]:
    """All faults of a process graph: of form, arguments, and types of cubes; no pixel is read.

    Parameters
    ----------
    graph : JSON, str or bytes
        Nodes, a process that has them as `process_graph`, or its text. Processes of the user may stand beside it as
        `user_defined`, by name.
    collections : mapping of str to Path
        Campaign file, or run directory, of each collection.
    hosts : collection of str
        Servers from which `load_stac` and `load_url` may read; `*` for all of public addresses.
    """
    from hpckit.reduce.graphs.ask import check as check_all

    return check_all(graph, collections, hosts)


def estimate_graph(
    graph: Any,
    collections: Mapping[str, Path],
    *,
    parameters: Mapping[str, Any] | None = None,
    hosts: Collection[str] = (),
) -> GraphEstimate:
    """Time, bytes and pixels of a process graph, from the types of its cubes; arguments as of `check_graph`.

    Raises
    ------
    GraphError
        Its first fault.
    """
    from hpckit.reduce.graphs.estimating import estimate
    from hpckit.reduce.graphs.job import job_on

    return estimate(job_on(graph, collections, parameters, hosts=hosts, reads_pixels=False))


def compute_graph(
    graph: Any, collections: Mapping[str, Path], folder: str | Path, *, hosts: Collection[str] = ()
) -> list[ResultFile]:
    """Compute a process graph in this process, and write its result files; for small extents.

    Parameters
    ----------
    graph, collections, hosts
        As of `check_graph`.
    folder : str or Path
        For the files.

    Raises
    ------
    GraphError
        Its first fault.
    CubeError
        If a cube lacks pixels, and its products cannot be decoded.
    """
    from hpckit.reduce.graphs.ask import compute

    return compute(graph, collections, Path(folder), hosts)


def prepare_graph(
    graph: Any,
    collections: Mapping[str, Path],
    folder: str | Path,
    *,
    title: str = "",
    options: Mapping[str, Any] | None = None,
    hosts: Collection[str] = (),
) -> Path:
    """Make a process graph a job: write it, and the campaign that computes it, into a folder.

    Parameters
    ----------
    graph, collections, hosts
        As of `check_graph`.
    title : str
        For people, in the file.
    options : mapping, optional
        None are known yet.

    Returns
    -------
    Path
        The campaign file, for `plan`, `run`, `submit`, `status`, `retry`, `verify`, and `graph_results`.

    Raises
    ------
    GraphError
        Its first fault of form, or an unknown option.
    """
    from hpckit.reduce.graphs.ask import prepare

    for name in options or {}:
        raise GraphError(f"there is no option {name!r} of graphs", fault="JobOptionUnsupported")
    return prepare(graph, collections, Path(folder), title, hosts)


def graph_results(campaign: str | Path) -> list[ResultFile]:
    """Files that the graphs of a campaign have become; those of results that are not whole are left out."""
    from hpckit.cubes.tiles import read_tiles
    from hpckit.reduce.graphs.files import results_of
    from hpckit.runs.run import find_run

    return results_of(read_tiles(find_run(Path(campaign))))

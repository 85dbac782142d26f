"""A campaign on this machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpckit.api.results import open_campaign
from hpckit.api.shown import QUIET, shown
from hpckit.api.sites import find_site
from hpckit.campaign.campaign import load_campaign
from hpckit.runs.group import group_files

if TYPE_CHECKING:
    from hpckit.base.console import Console
    from hpckit.campaign.campaign import Campaign
    from hpckit.cubes.overviews import Built
    from hpckit.cubes.verify import Fault
    from hpckit.jobs.jobarrays import Layout
    from hpckit.production.check import FieldCheck
    from hpckit.production.clean import CleanReport
    from hpckit.production.driver import Result
    from hpckit.production.estimate import Estimate
    from hpckit.reduce.blocks.sample import Samples
    from hpckit.sites.site import Site


def check(campaign: str | Path) -> list[FieldCheck]:
    """Check a campaign file and its inputs.

    Raises
    ------
    CampaignError
        If the file itself is wrong.
    """
    from hpckit.production.check import check_campaign

    return check_campaign(load_campaign(Path(campaign)))


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

    console, loaded = shown(console), load_campaign(Path(campaign))
    if site is not None:
        target = find_site(site, loaded.folder, console)
        with group_files(loaded, console.warn, site_wants=target.group):
            return _plan_on_site(loaded, target, console)
    with group_files(loaded, console.warn):
        planned, found = plan_campaign(loaded, console, workers)
    return Forecast(found, unread=planned.unread)


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

    console, loaded = shown(console), load_campaign(Path(campaign))
    with group_files(loaded, console.warn):
        return run_campaign(loaded, console, workers=workers, with_sync=with_sync)


def verify(campaign: str | Path, *, console: Console = QUIET) -> list[Fault]:
    """Find faulty files of cube, composites and results; the next run writes them again."""
    from hpckit.production.driver import verify_campaign

    console, loaded = shown(console), load_campaign(Path(campaign))
    with group_files(loaded, console.warn):
        return verify_campaign(loaded, console)


def clean(
    campaign: str | Path,
    *,
    older_than_days: float | None = None,
    what: Collection[str] | None = None,
    remove: bool = False,
) -> CleanReport:
    """Find what of a run is needed no more, and remove it if asked to; see `hpckit.production.clean.clean`.

    Parameters
    ----------
    older_than_days : float, optional
        Only what was not changed for so long; as `retention` of the campaign says if not given, else 7.
    what : collection of str, optional
        Of *spool*, *outdated*, *logs*, *inputs*, *indexes*, *scratch* and *run*; spool, logs, inputs, and what
        `retention` names if not given.
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

    found = find_run(Path(campaign))
    present = found.campaign if Path(campaign).is_dir() else load_campaign(Path(campaign))
    said = present.retention.days
    wanted = [kind for kind in KINDS if kind in ({*DEFAULT, *said} if what is None else what)]
    days = {kind: said.get(kind, 7.0) if older_than_days is None else older_than_days for kind in wanted}
    return clean_run(present, found, days, remove=remove)


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

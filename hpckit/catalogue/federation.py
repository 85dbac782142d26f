"""Search several STAC APIs at once: every product once, in one order, with a report of each member."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import shapely

from hpckit.base.distribution import pip_install
from hpckit.base.files import atomic_path
from hpckit.base.version import __version__
from hpckit.catalogue.member import Member, Query, all_links, links_of
from hpckit.catalogue.moments import microseconds, time_of
from hpckit.catalogue.wanted import Wanted
from hpckit.errors import CatalogueError, CatalogueUnavailableError, HpckitError
from hpckit.sensors.stac.dialects import PRODUCT_NAMES

if TYPE_CHECKING:
    from cql2 import Expr

MEMBERS: Final = {
    "cdse": "https://stac.dataspace.copernicus.eu/v1",
    "earth-search": "https://earth-search.aws.element84.com/v1",
    "eopf": "https://stac.core.eopf.eodc.eu",
    "planetary-computer": "https://planetarycomputer.microsoft.com/api/stac/v1",
}
"""Public catalogues by short names."""
MEMBER: Final = "hpckit:member"
"""Property of a found item: host of the member that it is from."""
_TIMEOUT_S: Final = 30.0
_DAY: Final = 86_400_000_000
"""Microseconds."""
_NAMES: Final = (*PRODUCT_NAMES, "s1:product_identifier")
"""Properties that hold the name of an ESA product, by dialect; else the id may be one."""
_TIME: Final = r"\d{8}T\d{6}"
_SAFE: Final = re.compile(
    rf"^(S2[A-D]_MSIL[12][ABC]_{_TIME}_N\d{{4}}_|S[135][A-D]_[A-Z0-9_]+_{_TIME}_{_TIME}_)[A-Z0-9_]+$"
)
_GRD: Final = re.compile(
    r"^(S1[A-D]_[A-Z0-9]{2}_GRD[A-Z]_\w{4}_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_[0-9A-F]{6})(_[0-9A-F]{4})?$"
)
_OF_BASELINE: Final = re.compile(rf"^(S2[A-D]_MSIL[12][ABC]_{_TIME})_N(\d{{4}})_(R\d{{3}}_T\w{{5}})_")
_NONE: Final = 9900
"""Baselines from this on, as N9999, are trials."""


@dataclass(slots=True)
class MemberReport:
    """What became of the search in one member."""

    url: str
    name: str
    found: int = 0
    """Items that fit."""
    unfit: int = 0
    """Items that it gave and that do not fit, or cannot be understood."""
    copies: int = 0
    """Items of products that members before it have, too."""
    pages: int = 0
    seconds: float = 0.0
    error: str = ""
    """Why it failed; what it gave before counts."""
    passes: bool = False
    """The error may be gone later."""


@dataclass(slots=True)
class SearchResult:
    """Result of a search."""

    items: list[dict[str, Any]] = field(default_factory=list)
    """STAC items, by time; each product once, of the first member that has it, with links to its copies."""
    members: list[MemberReport] = field(default_factory=list)

    @property
    def failed(self) -> list[MemberReport]:
        """Members that failed."""
        return [member for member in self.members if member.error]


def search(
    urls: Sequence[str],
    collections: Sequence[str],
    aoi: shapely.Geometry,
    period: tuple[date, date | None],
    *,
    cql2: str | None = None,
    timeout_s: float = _TIMEOUT_S,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SearchResult:
    """Search all members at once.

    Members are asked for what they can select; area, days and filter are checked here, too.

    Parameters
    ----------
    urls : sequence of str
        Landing pages of STAC APIs, or names in `MEMBERS`; of copies of a product the first member's is taken.
    collections : sequence of str
        Names of collections; each member is asked for those that it has.
    aoi : geometry in longitude and latitude
    period : two dates
        First and last day, UTC, both included; a last day of None is no end.
    cql2 : str, optional
        A filter, as CQL2 text: `eo:cloud_cover < 40`. Items that lack a property of it do not fit.
    timeout_s : float
        Longest time without an answer, seconds.
    progress : callable
        Called with the number of members that have answered, and of all.

    Raises
    ------
    CatalogueError
        If a member's name or the filter is wrong, or a library is missing. What fails in a member is in its report.
    """
    import importlib.util

    if importlib.util.find_spec("httpx") is None or importlib.util.find_spec("cql2") is None:
        raise CatalogueError("a search needs the libraries httpx and cql2", hint=pip_install("search"))
    import httpx

    members = list(dict.fromkeys(_url(url) for url in urls))
    expression = _parse(cql2)
    query = Query(
        tuple(collections), _bbox(aoi), _interval(period), None if expression is None else expression.to_json()
    )
    first, last = (None if day is None else microseconds(day.isoformat()) for day in period)
    wanted = Wanted(aoi, first, None if last is None else last + _DAY - 1, expression)
    found = SearchResult()
    agent = {"User-Agent": f"hpckit/{__version__}"}
    with (
        httpx.Client(timeout=timeout_s, headers=agent) as client,
        ThreadPoolExecutor(max(1, len(members))) as pool,
    ):
        asked = [pool.submit(_ask, Member(url, client), query, wanted) for url in members]
        by_product: dict[str, _Taken] = {}
        for done, future in enumerate(asked, 1):
            report, items = future.result()
            found.members.append(report)
            report.copies = sum(not _add(by_product, item, report) for item in items)
            progress(done, len(members))
    found.items = sorted(
        (taken.item for taken in by_product.values()), key=lambda item: (time_of(item) or 0, item["id"])
    )
    return found


def write(path: Path, items: Iterable[dict[str, Any]]) -> None:
    """Freeze items as stac-geoparquet, atomically.

    Raises
    ------
    CatalogueError
        If there are none, or they cannot be written as one table.
    """
    import stac_geoparquet.arrow as stac

    items = list(items)
    if not items:
        raise CatalogueError(f"{path}: nothing was found to write")
    try:
        with atomic_path(path) as temporary:
            stac.to_parquet(stac.parse_stac_items_to_arrow(_alike(items)), temporary)
    except (ValueError, TypeError, KeyError) as error:
        raise CatalogueError(f"{path}: the items found cannot be written as one table") from error


def product_of(item: Mapping[str, Any]) -> str | None:
    """Name of the ESA product that an item is of, without `.SAFE`, the same in all catalogues; None if it has none.

    Of a Sentinel-1 GRD without its checksum, which some catalogues cut off.
    """
    properties = item.get("properties") or {}
    for text in (*(properties.get(name) for name in _NAMES), item.get("id")):
        if not isinstance(text, str):
            continue
        name = text.rpartition("/")[2].removesuffix(".SAFE").removesuffix("_COG")
        if match := _GRD.match(name):
            return match[1]
        if _SAFE.match(name):
            return name
    return None


def acquisition_of(product: str) -> tuple[str, int] | None:
    """Acquisition and processing baseline of a product of Sentinel-2; None of others, whose names have no baseline.

    Parameters
    ----------
    product : str
        As `product_of` names it.

    Returns
    -------
    acquisition : str
        Mission, level, time, orbit and tile: the same for all processings, and for all datastrips of a pass.
    baseline : int
        510 for N0510; -1 for trials, which every real baseline supersedes.
    """
    match = _OF_BASELINE.match(product)
    if match is None:
        return None
    baseline = int(match[2])
    return f"{match[1]}_{match[3]}", baseline if baseline < _NONE else -1


def _ask(
    member: Member,
    query: Query,
    wanted: Wanted,
) -> tuple[MemberReport, list[dict[str, Any]]]:
    report, began = MemberReport(member.url, member.name), time.monotonic()
    items = []
    try:
        for item in member.items(query):
            if wanted.fits(item):
                items.append(item)
            else:
                report.unfit += 1
    except HpckitError as error:
        report.error, report.passes = str(error), isinstance(error, CatalogueUnavailableError)
    report.found, report.pages, report.seconds = len(items), member.pages, round(time.monotonic() - began, 2)
    return report, items


class _Taken(NamedTuple):
    """The item of a product that is taken."""

    item: dict[str, Any]
    url: str
    """Of the member that it is from: several may have one host."""


def _add(by_product: dict[str, _Taken], item: dict[str, Any], report: MemberReport) -> bool:
    """Add an item; if its product is there already, only a link to it."""
    name = product_of(item) or f"{report.url} {item.get('collection')} {item['id']}"
    known = by_product.get(name)
    if known is None:
        item["properties"] = {**item.get("properties", {}), MEMBER: report.name}
        by_product[name] = _Taken(item, report.url)
        return True
    own = next(iter(links_of(item, "self")), None)
    if own is not None and known.url != report.url:
        copy = {"rel": "alternate", "href": own["href"], "type": "application/geo+json", "title": report.name}
        known.item["links"] = [*all_links(known.item), copy]
    return False


def _alike(items: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Items of one table: a property that is text in one catalogue and a number in another is text in all."""
    kinds: dict[str, set[type]] = {}
    for item in items:
        for name, value in item["properties"].items():
            if value is not None:
                kinds.setdefault(name, set()).add(type(value))
    mixed = {name for name, found in kinds.items() if len(found) > 1 and not found <= {int, float}}
    for item in items:
        properties = {
            name: str(value) if name in mixed and value is not None else value
            for name, value in item["properties"].items()
        }
        yield {**item, "properties": properties}


def _url(text: str) -> str:
    url = MEMBERS.get(text, text)
    if not url.startswith(("http://", "https://")):
        raise CatalogueError(f"{text!r} is no catalogue", hint=f"write its https address, or {', '.join(MEMBERS)}")
    return url


def _parse(text: str | None) -> Expr | None:
    if text is None:
        return None
    import cql2

    try:
        return cql2.parse_text(text)
    except Exception as error:
        raise CatalogueError(f"{text!r} is no CQL2 filter", hint="for example eo:cloud_cover < 40") from error


def _bbox(aoi: shapely.Geometry) -> tuple[float, float, float, float]:
    west, south, east, north = aoi.bounds
    return (float(west), float(south), float(east), float(north))


def _interval(period: tuple[date, date | None]) -> str:
    end = "" if period[1] is None else f"{period[1]}T23:59:59Z"
    return f"{period[0]}T00:00:00Z/{end or '..'}"

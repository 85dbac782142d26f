"""What a notebook shows of a campaign."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hpckit.base.card import card
from hpckit.base.quantities import format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from hpckit.campaign.campaign import Campaign
    from hpckit.campaign.period import Period
    from hpckit.look.style import Picture
    from hpckit.production.estimate import Estimate
    from hpckit.runs.status import Status
    from hpckit.sites.site import Site
    from hpckit.submissions.follow import ElementState
    from hpckit.submissions.submission import StageLayout, Submission

_MOST_TILES: Final = 12
_PICTURE_DPI: Final = 80


def campaign_card(
    campaign: Campaign, tiles: Sequence[str], zones: Mapping[str, int], state: Status | str, picture: Picture | None
) -> str:
    """Name, area, period, tiles, zones and state of a campaign, and a picture.

    Parameters
    ----------
    zones : mapping of str to int
        Number of zones by reduction, where that is known.
    state : Status or str
        How far the run is, or why that is not known.
    """
    rows = [("area", _area(campaign.aoi)), ("period", _period(campaign.period))]
    rows += [("bands", ", ".join(campaign.cube.bands)), ("tiles", _listed(tiles) or "none yet")]
    rows += [(f"zones of {name}", f"{count:,}") for name, count in zones.items()]
    rows += [("run", state)] if isinstance(state, str) else [(stage.stage, stage.text) for stage in state.stages]
    shown = "" if picture is None else _image(_small(picture))
    return card(campaign.name, rows, shown)


def plan_card(estimate: Estimate, arrays: Sequence[StageLayout], site: Site | None, unread: int) -> str:
    """Units, time and memory of a plan; on a site, also its job arrays."""
    rows = []
    for stage in estimate.stages:
        work = f", {stage.pending:,} to do" if stage.pending else ", all done"
        time = f", {format_duration(stage.core_hours * 3600)} of one core" if stage.pending else ""
        rows.append((stage.stage, f"{format_count(stage.units, 'unit')}{work}{time}"))
    if estimate.peak_memory:
        workers = f" for {format_count(estimate.workers, 'worker')}" if site is None else ""
        rows.append(("memory", f"{format_bytes(estimate.peak_memory)}{workers}"))
    if estimate.files:
        rows.append(("cube", f"{format_bytes(estimate.cube_bytes)} in {format_count(estimate.files, 'file')}"))
    if unread:
        rows.append(("unread", f"{unread:,} products or folders cannot be read at the moment: work may be missing"))
    for array in arrays:
        asked = array.resources
        node = f"{asked.nodes} × {asked.ranks} ranks, {asked.memory_mib:,} MiB, {format_duration(asked.walltime_s)}"
        rows.append((f"array {array.stage}", f"{format_count(array.elements, 'element')} of {node}"))
    return card("Plan" if site is None else f"Plan for {site.title or site.name}", rows)


def submission_card(submission: Submission, seen: Sequence[ElementState]) -> str:
    """Elements of a submission by what the scheduler says of them."""
    states = Counter((item.stage, item.state.name.lower().replace("_", " ")) for item in seen)
    rows = [(stage, f"{format_count(count, 'element')} {state}") for (stage, state), count in states.items()]
    return card(f"Submission {submission.number} on {submission.site.name}", rows)


def _image(data: str) -> str:
    return f'<img alt="quicklook" style="max-height: 16em" src="data:image/png;base64,{data}"/>'


def _small(picture: Picture) -> str:
    from hpckit.look.style import house_style

    buffer = io.BytesIO()
    with house_style():
        picture.figure.savefig(buffer, format="png", dpi=_PICTURE_DPI, metadata={})
    return base64.b64encode(buffer.getvalue()).decode()


def _area(aoi: object) -> str:
    if isinstance(aoi, Sequence) and not isinstance(aoi, str):
        return ", ".join(f"{float(number):g}" for number in aoi) + " (west, south, east, north)"
    text = str(getattr(aoi, "path", aoi))
    return text if len(text) <= 80 else f"{text[:79]}…"


def _period(period: Period) -> str:
    return f"{period.start} to {period.end}" if period.end is not None else f"from {period.start}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_TILES} more" if len(names) > _MOST_TILES else ""
    return ", ".join(names[:_MOST_TILES]) + more

"""What a notebook shows of a campaign."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hpckit.base.card import card

if TYPE_CHECKING:
    from hpckit.campaign.campaign import Campaign, Period
    from hpckit.look.style import Picture
    from hpckit.runs.status import Status

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

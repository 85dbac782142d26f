"""Time series of zones, drawn so that a person sees what was observed and what was cloud.

A frame of a series has one row per acquisition, sorted by `time`, with `valid` and `total` pixels and the
statistics of the reduction (`mean`, `std`, `min`, `max`, `p25`, …); `observed` is False where there are no data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.quantities import format_count
from hpckit.errors import HpckitError
from hpckit.look import radar
from hpckit.look.style import BLUE, EVENT, FAINT, GREEN, HAIRLINE, MUTED, Picture, house_style, new_figure
from hpckit.sensors.masks import CLEAR
from hpckit.sensors.sensor import Sensor, band_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MAX_ZONES: Final = 8
"""Zones in one picture."""

_HOLLOW: Final[dict[str, Any]] = {"ls": "", "mfc": "white", "mec": FAINT, "mew": 1.1}

_UNSEEN: Final[dict[str, Any]] = {"ls": "", "marker": "x", "ms": 3.6, "mec": FAINT, "mew": 0.9}

_NAMED: Final = 4
"""Platforms, tiles, orbits and baselines that the line under a picture names, of each."""

_GAP_DAYS: Final = 45
"""Clear observations further apart than this are joined by a dotted line."""


@dataclass(frozen=True, slots=True)
class ZoneSeries:
    """One band or index of one zone over time."""

    zone: str
    band: str
    campaign: str
    frame: pd.DataFrame
    label: str | None = None
    """What the zone is, a crop for example."""
    markers: pd.DataFrame | None = None
    """Markers of the band, as `CampaignView.markers` gives them."""
    sensor: Sensor = field(kw_only=True)

    @property
    def is_index(self) -> bool:
        """Whether it is a derived band, not one that the sensor measures."""
        return band_of(self.sensor, self.band) is None

    @property
    def is_power(self) -> bool:
        """Whether it is backscatter, which is shown in dB."""
        band = band_of(self.sensor, self.band)
        return band is not None and band.kind == "power"

    @property
    def title(self) -> str:
        """Zone, and what it is."""
        return f"Zone {self.zone}" + (f" · {self.label}" if self.label else "")

    @property
    def unit(self) -> str:
        """What the values are."""
        band = band_of(self.sensor, self.band)
        return self.band if band is None else f"{self.band}{band.axis}"


@dataclass(frozen=True, slots=True)
class Spread:
    """Which columns stand for the middle and for the spread of a zone's pixels."""

    middle: str
    low: pd.Series
    high: pd.Series
    name: str


def observations(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Divide a series: `clear`, `cloudy` (a few valid pixels), `masked` (none valid) and `unseen` (no data)."""
    fraction = (frame["valid"] / frame["total"].where(frame["total"] > 0)).fillna(0.0)
    unseen = (fraction <= 0) & (frame["total"] <= 0)
    if "observed" in frame:
        unseen |= (fraction <= 0) & frame["observed"].eq(False).fillna(False).astype(bool)
    return {
        "clear": frame[fraction >= CLEAR],
        "cloudy": frame[(fraction > 0) & (fraction < CLEAR)],
        "masked": frame[(fraction <= 0) & ~unseen],
        "unseen": frame[unseen],
    }


def spread(frame: pd.DataFrame) -> Spread:
    """Choose median and quartiles where the reduction has them, else the nearest to that it has."""
    ranks = sorted(float(name[1:]) for name in frame.columns if re.fullmatch(r"p\d+(\.\d+)?", str(name)))
    middle = "p50" if 50 in ranks else "mean"
    below, above = [rank for rank in ranks if rank < 50], [rank for rank in ranks if rank > 50]
    if not below or not above:
        return Spread(middle, frame["mean"] - frame["std"], frame["mean"] + frame["std"], "mean ± std")
    low, high = (f"p{min(ranks, key=lambda rank: abs(rank - wanted)):g}" for wanted in (25, 75))
    return Spread(middle, frame[low], frame[high], f"{low}–{high}")


def draw_series(series: Sequence[ZoneSeries]) -> Picture:
    """Draw the series of one zone, or of several on the same axes' scale.

    Raises
    ------
    HpckitError
        If there are no series, more than `MAX_ZONES`, or one is empty.
    """
    if not 1 <= len(series) <= MAX_ZONES:
        raise HpckitError(
            f"{format_count(len(series), 'zone')} cannot be shown in one legible picture",
            hint=f"choose 1 to {MAX_ZONES}",
        )
    for item in series:
        if item.frame.empty:
            raise HpckitError(f"zone {item.zone} has no observations of {item.band}")
    series = [replace(item, frame=as_shown(item)) for item in series]
    with house_style():
        return Picture(_one(series[0]) if len(series) == 1 else _several(series))


def as_shown(series: ZoneSeries) -> pd.DataFrame:
    """Statistics as they are drawn: backscatter in dB."""
    frame = _on_naive_clock(series.frame)
    return radar.in_decibels(frame) if series.is_power else frame


def _on_naive_clock(frame: pd.DataFrame) -> pd.DataFrame:
    """Times in UTC without saying so, which is what date axes take."""
    import pandas as pd

    return frame.assign(time=pd.to_datetime(frame["time"], utc=True).dt.tz_localize(None))


def _one(series: ZoneSeries) -> Figure:
    height = 4.9
    figure = new_figure(10, height)
    figure.subplots_adjust(0.07, 0.94 / height, 0.97, 1 - 0.98 / height)
    axes = figure.subplots()
    _draw(axes, series, [series])
    axes.set_ylabel(series.unit, labelpad=8)
    kinds = observations(series.frame)
    word = "complete" if radar.directions(series.frame) else "clear"
    seen = len(series.frame) - len(kinds["unseen"])
    facts = [series.unit, f"{len(kinds['clear'])} {word} of {format_count(seen, 'observation')}"]
    if len(kinds["unseen"]):
        facts.append(f"{len(kinds['unseen'])} without data")
    _caption(figure, series.title, facts, [series])
    return figure


def _several(series: Sequence[ZoneSeries]) -> Figure:
    columns = 1 if len(series) <= 3 else 2
    rows = -(-len(series) // columns)
    height = 1.95 + 1.9 * rows
    figure = new_figure(10, height)
    figure.subplots_adjust(0.07, 0.9 / height, 0.97, 1 - 1.3 / height, wspace=0.08, hspace=0.36)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, item in zip(grid.flat, series, strict=False):
        _draw(axes, item, series)
        axes.set_title(item.title, loc="left", size=10, weight="bold", pad=6)
    for axes in grid.flat[len(series) :]:
        axes.set_axis_off()
        grid[-2, 1].tick_params(labelbottom=True)
    _caption(figure, f"{series[0].unit} of {format_count(len(series), 'zone')}", ["the others in grey"], series)
    return figure


def _draw(axes: Axes, series: ZoneSeries, shown: Sequence[ZoneSeries]) -> None:
    """Draw one series on scales that fit all that are shown, with the others as a backdrop."""
    limits, size = value_limits(shown), 5.0 if len(shown) == 1 else 3.8
    for other in shown:
        clear = observations(other.frame)["clear"]
        if other is not series:
            axes.plot(clear["time"], clear[spread(clear).middle], color=HAIRLINE, lw=1, zorder=0.5)
    kinds = observations(series.frame)
    for colour, part in _runs(series, kinds["clear"]):
        _draw_clear(axes, part, colour, size)
    _draw_cloudy(axes, kinds["cloudy"], limits, size)
    if len(shown) == 1 and series.markers is not None:
        _draw_markers(axes, series.markers)
    bottom = axes.get_xaxis_transform()
    axes.vlines(kinds["masked"]["time"], 0, 0.035, transform=bottom, color=FAINT, lw=1.1, zorder=2)
    axes.plot(kinds["unseen"]["time"], [0.018] * len(kinds["unseen"]), transform=bottom, **_UNSEEN)
    if kinds["clear"].empty:
        text = "never observed: no data" if len(kinds["unseen"]) == len(series.frame) else "no clear observation"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=MUTED)
    date_axis(axes, *_extent(shown))
    axes.set_ylim(*limits)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _runs(series: ZoneSeries, frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """What is joined by one line: all, or each direction of flight by itself, since radar looks from another side."""
    parts = radar.directions(frame)
    return [(colour, part) for _, colour, part in parts] if parts else [(_colour(series), frame)]


def _draw_clear(axes: Axes, clear: pd.DataFrame, colour: str, size: float) -> None:
    import numpy as np

    columns = spread(clear)
    times, middle = clear["time"].to_numpy(), clear[columns.middle].to_numpy(dtype=float)
    low, high = columns.low.to_numpy(dtype=float), columns.high.to_numpy(dtype=float)
    cuts = np.flatnonzero(np.diff(times) > np.timedelta64(_GAP_DAYS, "D")) + 1
    for run in np.split(np.arange(len(times)), cuts):
        axes.fill_between(times[run], low[run], high[run], color=colour, alpha=0.16, lw=0, zorder=2)
        axes.plot(times[run], middle[run], color=colour, lw=size * 0.34, zorder=3)
    for cut in cuts:
        ends = slice(cut - 1, cut + 1)
        axes.plot(times[ends], middle[ends], color=colour, lw=1.1, ls=(0, (1, 2.5)), zorder=3)
    axes.plot(times, middle, "o", ms=size, color=colour, mec="white", mew=size * 0.17, zorder=5)


def _draw_cloudy(axes: Axes, cloudy: pd.DataFrame, limits: tuple[float, float], size: float) -> None:
    """Hollow markers; what lies outside of the axis is shown at its edge, as a triangle."""
    import numpy as np

    columns, (bottom, top) = spread(cloudy), limits
    times, middle = cloudy["time"].to_numpy(), cloudy[columns.middle].to_numpy(dtype=float)
    low, high = columns.low.clip(bottom, top), columns.high.clip(bottom, top)
    axes.vlines(times, low, high, color=FAINT, lw=0.8, alpha=0.6, zorder=2)
    marks = {"o": (middle >= bottom) & (middle <= top), "^": middle > top, "v": middle < bottom}
    for marker, chosen in marks.items():
        placed = np.clip(middle[chosen], bottom, top)
        axes.plot(times[chosen], placed, marker, ms=size * 0.92, clip_on=False, zorder=4, **_HOLLOW)


def _draw_markers(axes: Axes, markers: pd.DataFrame) -> None:
    """The days in which each event lies, and its name beside the observation that shows it."""
    from matplotlib import dates as untyped

    dates: Any = untyped
    upright = axes.get_xaxis_transform()
    before, after = (dates.date2num(markers[name].to_numpy()).tolist() for name in ("time_start", "time_main"))
    for start, main, name, sure in zip(before, after, markers["marker"], markers["confidence"], strict=True):
        axes.axvspan(start, main, color=EVENT, alpha=0.13, lw=0, zorder=1)
        axes.axvline(main, color=EVENT, lw=1.2, zorder=1.5)
        style: dict[str, Any] = {"size": 8, "color": EVENT, "ha": "left", "va": "bottom", "zorder": 6}
        offset: dict[str, Any] = {"xytext": (3, 0), "textcoords": "offset points", "rotation": 90}
        axes.annotate(f"{name}  {sure:.2f}", (main, 0.06), xycoords=upright, **offset, **style)


def date_axis(axes: Axes, first: pd.Timestamp, last: pd.Timestamp) -> None:
    """Give an axis of time its limits and labels."""
    from matplotlib import dates as untyped

    dates: Any = untyped
    left, right = (dates.date2num(moment.to_datetime64()) for moment in (first, last))
    margin = max(2.0, (right - left) * 0.015)
    axes.set_xlim(left - margin, right + margin)
    locator = dates.AutoDateLocator(minticks=4, maxticks=12)
    # Whole weeks within a month, so that days do not run into the next one.
    locator.intervald[dates.DAILY] = [1, 2, 7, 14]
    axes.xaxis.set_major_locator(locator)
    formatter = dates.ConciseDateFormatter(
        locator,
        formats=["%Y", "%b", "%-d", *["%H:%M"] * 3],
        zero_formats=["", "%Y", "%b", *["%H:%M"] * 3],
        show_offset=False,
    )
    axes.xaxis.set_major_formatter(formatter)


def _extent(series: Sequence[ZoneSeries]) -> tuple[pd.Timestamp, pd.Timestamp]:
    return min(item.frame["time"].min() for item in series), max(item.frame["time"].max() for item in series)


def value_limits(series: Sequence[ZoneSeries]) -> tuple[float, float]:
    """Common value axis: all clear observations, and cloudy ones as far as they are not absurd."""
    clear, cloudy = _finite_values(series, "clear"), _finite_values(series, "cloudy")
    core = clear if clear.size else cloudy
    if core.size == 0:
        return (0.0, 1.0)
    low, high = float(core.min()), float(core.max())
    reach = max(high - low, 0.02) * 0.5
    near = cloudy[(cloudy >= low - reach) & (cloudy <= high + reach)].tolist()
    low, high = min([low, *near]), max([high, *near])
    if series[0].is_power:
        pass  # decibels have no zero to show
    elif not series[0].is_index:
        low = min(0.0, low)
    elif series[0].band.upper() == "NDVI":
        low, high = min(0.0, low), max(0.9, high)
    pad = max(high - low, 0.02) * 0.06
    return (low - pad, high + pad)


def _finite_values(series: Sequence[ZoneSeries], kind: str) -> npt.NDArray[np.float64]:
    import numpy as np

    frames = [observations(item.frame)[kind] for item in series]
    columns = [
        column for frame in frames for column in (frame[spread(frame).middle], spread(frame).low, spread(frame).high)
    ]
    values: npt.NDArray[np.float64] = np.concatenate([column.to_numpy(dtype=float) for column in columns])
    return values[np.isfinite(values)]


def _caption(figure: Figure, title: str, facts: list[str], series: Sequence[ZoneSeries]) -> None:
    """Title, facts, legend and provenance around the axes; distances in inches from the edges."""
    height = figure.get_figheight()
    first, last = _extent(series)
    period = f"{first:%-d %b %Y} – {last:%-d %b %Y}"
    figure.text(0.07, 1 - 0.36 / height, title, size=15, weight="bold", va="center")
    subtitle = " · ".join([*facts, period, series[0].campaign])
    figure.text(0.07, 1 - 0.68 / height, subtitle, color=MUTED, va="center")
    figure.text(0.07, 0.14 / height, _provenance(series), size=7.5, color=FAINT, va="center")
    _legend(figure, series, bottom=0.3 / height)


def _legend(figure: Figure, shown: Sequence[ZoneSeries], *, bottom: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    series = shown[0]
    colour, columns = _colour(series), spread(series.frame)
    middle = "median" if columns.middle == "p50" else "mean"
    flights = radar.directions(series.frame)
    lines = [(shade, f"{middle}, {name}") for name, shade, _ in flights] or [(colour, f"{middle}, clear")]
    handles = [
        *(Line2D([], [], color=shade, lw=1.7, marker="o", ms=5, mec="white", label=text) for shade, text in lines),
        Patch(fc=lines[0][0], alpha=0.16, label=columns.name),
        Line2D(
            [],
            [],
            marker="o",
            ms=4.6,
            label=f"{'' if flights else 'cloudy: '}under {CLEAR * 100:.0f} % valid",
            **_HOLLOW,
        ),
        Line2D([], [], ls="", marker="|", ms=6, mec=FAINT, mew=1.2, label="no clear pixel"),
    ]
    if len(shown) == 1 and series.markers is not None and len(series.markers):
        handles.append(Patch(fc=EVENT, alpha=0.25, label="marker, confidence"))
    if any(len(observations(item.frame)["unseen"]) for item in shown):
        handles.append(Line2D([], [], label="no data: outside the swath", **_UNSEEN))
    figure.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(0.974, bottom),
        ncols=len(handles),
        labelcolor=MUTED,
        handletextpad=0.5,
        columnspacing=1.6,
        borderpad=0,
        borderaxespad=0,
    )


def _provenance(series: Sequence[ZoneSeries]) -> str:
    import pandas as pd

    frame = pd.concat([item.frame for item in series])
    parts = [series[0].sensor.origin.mission]
    for column, noun in (("platform", ""), ("tile", "tile"), ("relative_orbit", "orbit"), ("baseline", "baseline")):
        if column in frame and frame[column].notna().any():
            values = [value for value in sorted(frame[column].dropna().unique()) if _is_known(value)]
            if not values:
                continue
            shown = [f"{value:03.0f}" if column == "relative_orbit" else str(value) for value in values]
            plural = f"{noun}s " if noun and len(shown) > 1 else f"{noun} " if noun else ""
            parts.append(plural + _first_of(shown))
    return " · ".join(parts)


def _is_known(value: object) -> bool:
    """Whether a platform, orbit or baseline is known: images of one's own have none."""
    return value not in ("", 0) and str(value).strip("0.") != ""


def _first_of(names: Sequence[str]) -> str:
    """Names with commas between, as many as the line under a picture has room for."""
    rest = len(names) - _NAMED
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:_NAMED])} and {rest} more"


def _colour(series: ZoneSeries) -> str:
    return GREEN if series.is_index else BLUE

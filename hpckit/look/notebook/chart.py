"""The series of a zone as part of a page: SVG with a mark for each observation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.quantities import format_count
from hpckit.errors import HpckitError
from hpckit.look.notebook.page import STYLE, widget
from hpckit.look.series import ZoneSeries, as_shown, observations, spread, value_limits
from hpckit.look.style import BLUE, GREEN

if TYPE_CHECKING:
    import pandas as pd

    from hpckit.look.view import CampaignView

_WIDTH: Final = 860
_HEIGHT: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 26
_GREY: Final = "#8a94a0"


@dataclass(frozen=True, slots=True)
class Chart:
    """The series of a zone; a notebook shows it by itself."""

    series: ZoneSeries
    """Backscatter in dB."""

    @property
    def days(self) -> list[str]:
        """Day of each observation, `2024-05-03`."""
        return [f"{moment:%Y-%m-%d}" for moment in self.series.frame["time"]]

    @property
    def html(self) -> str:
        """The chart as a part of a page, which needs nothing else."""
        series = self.series
        kinds = observations(series.frame)
        clear, count = len(kinds["clear"]), format_count(len(series.frame), "observation")
        facts = f"{series.unit}, {clear} clear of {count}"
        axes = _Axes.of(series)
        parts = [*axes.grid(), *_line(axes, kinds["clear"], _colour(series))]
        for kind, frame in kinds.items():
            columns = spread(frame)
            rows = zip(frame["time"], frame[columns.middle], columns.low, columns.high, frame["valid"], strict=True)
            parts += [_mark(axes, kind, _colour(series), *row) for row in rows]
        title = f"{escape(series.title)} <span class=facts>· {escape(facts)}</span>"
        return (
            f'<div class="hpckit">{STYLE}<h4>{title}</h4><svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
            f"{''.join(parts)}</svg></div>"
        )

    def widget(self) -> Any:
        """The chart as a widget, of which the trait `day` is the day that was clicked last.

        Raises
        ------
        HpckitError
            If anywidget is not installed.
        """
        return widget(self.html)

    def _repr_html_(self) -> str:
        return self.html


def chart(view: CampaignView, zone: str, band: str | None = None, reduction: str | None = None) -> Chart:
    """Make the chart of a zone; parameters and errors as for `CampaignView.series`."""
    chosen = view.reduction(reduction)
    name = view.band(band, chosen.name)
    frame = view.series(zone, name, chosen.name)
    if frame.empty:
        raise HpckitError(f"zone {zone} has no observations of {name}")
    (label,) = view.labels([zone], chosen.name)
    series = ZoneSeries(zone, name, view.campaign.name, frame, label, sensor=view.campaign.sensor)
    return Chart(replace(series, frame=as_shown(series)))


@dataclass(frozen=True, slots=True)
class _Axes:
    first: pd.Timestamp
    last: pd.Timestamp
    low: float
    high: float

    @classmethod
    def of(cls, series: ZoneSeries) -> _Axes:
        times = series.frame["time"]
        return cls(times.min(), times.max(), *value_limits([series]))

    def x(self, moment: pd.Timestamp) -> float:
        span = (self.last - self.first).total_seconds() or 1.0
        share = (moment - self.first).total_seconds() / span
        return float(_LEFT + 6 + share * (_WIDTH - _LEFT - _RIGHT - 12))

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return float(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM))

    def grid(self) -> list[str]:
        """Lines with values, and names of months."""
        import pandas as pd

        step = _step(self.high - self.low)
        digits = max(0, -floor(log10(step)))
        parts = []
        for number in range(ceil(self.low / step), floor(self.high / step) + 1):
            y = self.y(number * step)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            label = f"{number * step:.{digits}f}".replace("-", "−")
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        months = list(pd.date_range(self.first.normalize().replace(day=1), self.last, freq="MS")[1:])
        is_short = len(months) < 2
        for moment in [self.first, self.last] if is_short else months[:: max(1, -(-len(months) // 12))]:
            x = self.x(moment)
            label = f"{moment:%-d %b}" if is_short else f"{moment:%Y}" if moment.month == 1 else f"{moment:%b}"
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{label}</text>')
        return parts


def _step(span: float) -> float:
    """Distance of lines: 1, 2 or 5 times a power of ten, some six of them."""
    rough = span / 6
    power = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough)


def _line(axes: _Axes, clear: pd.DataFrame, colour: str) -> list[str]:
    columns = spread(clear)
    rows = list(zip(clear["time"], clear[columns.middle], columns.low, columns.high, strict=True))
    if len(rows) < 2:
        return []
    xs = [axes.x(row[0]) for row in rows]
    upper = [f"{x:.1f},{axes.y(row[3]):.1f}" for x, row in zip(xs, rows, strict=True)]
    lower = [f"{x:.1f},{axes.y(row[2]):.1f}" for x, row in zip(xs, rows, strict=True)]
    middle = [f"{x:.1f},{axes.y(row[1]):.1f}" for x, row in zip(xs, rows, strict=True)]
    return [
        f'<polygon points="{" ".join([*upper, *reversed(lower)])}" fill="{colour}" opacity=".16"/>',
        f'<polyline points="{" ".join(middle)}" fill="none" stroke="{colour}" stroke-width="1.6"/>',
    ]


def _mark(
    axes: _Axes, kind: str, colour: str, time: pd.Timestamp, value: float, low: float, high: float, valid: float
) -> str:
    """One observation: a filled or hollow point, or a stroke on the axis where nothing was seen."""
    x, bottom = axes.x(time), _HEIGHT - _BOTTOM
    text = f"{time:%Y-%m-%d %H:%M}, "
    if kind in ("clear", "cloudy"):
        text += f"{value:.3f} ({low:.3f} to {high:.3f}), {valid:.0f} pixels" + (
            ", cloudy" if kind == "cloudy" else ""
        )
        edge, fill = ("#fff", colour) if kind == "clear" else (_GREY, "#fff")
        shape = f'<circle class="mark" cx="{x:.1f}" cy="{axes.y(value):.1f}" r="4" fill="{fill}" stroke="{edge}"/>'
    else:
        text += "no valid pixel" if kind == "masked" else "no data"
        shape = f'<path class="mark" d="M{x:.1f} {bottom}v-8" stroke="{_GREY}" stroke-width="1.4"/>'
    wide = f'<rect x="{x - 4:.1f}" y="{_TOP}" width="8" height="{bottom - _TOP}" fill="transparent"/>'
    return f'<g data-day="{time:%Y-%m-%d}"><title>{escape(text)}</title>{wide}{shape}</g>'


def _colour(series: ZoneSeries) -> str:
    return GREEN if series.is_index else BLUE

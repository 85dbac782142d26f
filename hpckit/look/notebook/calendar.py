"""The calendar of a zone as part of a page: a row for each week, a chip for each acquisition, its outline."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.quantities import format_count
from hpckit.errors import HpckitError, ZoneError
from hpckit.look import chips
from hpckit.look.choices import layers
from hpckit.look.layers import Layer
from hpckit.look.notebook.page import STYLE, widget

if TYPE_CHECKING:
    from hpckit.look.view import CampaignView

_EDGE_PX: Final = 96
_CLOUDED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Calendar:
    """A zone on all its dates; a notebook shows it by itself."""

    zone: str
    title: str
    """What is shown."""
    sprite: chips.Sprite

    @property
    def png(self) -> bytes:
        """All chips in one picture."""
        return self.sprite.png

    @property
    def days(self) -> list[str]:
        """Day of each chip, `2024-05-03`; of a composite the label of the period."""
        return [_day(cell) for cell in self.sprite.cells]

    @property
    def html(self) -> str:
        """The calendar as a part of a page, which needs nothing else."""
        sprite = self.sprite
        scale = _EDGE_PX / max(sprite.width, sprite.height)
        url = "data:image/png;base64," + base64.b64encode(sprite.png).decode()
        rows = "".join(self._rows(scale))
        facts = f"{self.title}, {format_count(len(sprite.cells), 'date')}"
        title = f"Zone {escape(self.zone)} <span class=facts>· {escape(facts)}</span>"
        notes = "".join(f"<p>{escape(note)}</p>" for note in sprite.notes)
        return f'<div class="hpckit" style="--sheet:url({url})">{STYLE}<h4>{title}</h4><ol>{rows}</ol>{notes}</div>'

    def widget(self) -> Any:
        """The calendar as a widget, of which the trait `day` is the day that was clicked last.

        Raises
        ------
        HpckitError
            If anywidget is not installed.
        """
        return widget(self.html)

    def _repr_html_(self) -> str:
        return self.html

    def _repr_png_(self) -> bytes:
        return self.png

    def _rows(self, scale: float) -> list[str]:
        rows: list[str] = []
        sheet = self._sheet(scale)
        weeks: dict[date | str, list[chips.Cell]] = {}
        for cell in self.sprite.cells:
            weeks.setdefault(_week(cell), []).append(cell)
        before: date | None = None
        for week, cells in weeks.items():
            label = ""
            if isinstance(week, date):
                empty = (week - before).days // 7 - 1 if before is not None else 0
                if empty > 0:
                    text = "a week" if empty == 1 else f"{empty} weeks"
                    rows.append(f'<li class="pause">{text} without an acquisition</li>')
                label, before = f"Week of {week:%-d %b}", week
            shown = "".join(self._chip(cell, scale, sheet) for cell in cells)
            rows.append(f'<li><span class="week">{label}</span><div class="chips">{shown}</div></li>')
        return rows

    def _sheet(self, scale: float) -> str:
        """Size of the whole sheet, as CSS has it."""
        sprite = self.sprite
        right, lowest = max(cell.x for cell in sprite.cells), max(cell.y for cell in sprite.cells)
        return f"{(right + sprite.width) * scale:.2f}px {(lowest + sprite.height) * scale:.2f}px"

    def _chip(self, cell: chips.Cell, scale: float, sheet: str) -> str:
        sprite = self.sprite
        width, height = sprite.width * scale, sprite.height * scale
        look = (
            f"width:{width:.2f}px;height:{height:.2f}px;background-image:var(--sheet);background-size:{sheet};"
            f"background-position:{-cell.x * scale:.2f}px {-cell.y * scale:.2f}px"
        )
        paths = "".join(f'<path class="{kind}" d="{sprite.outline}"/>' for kind in ("halo", "edge"))
        outline = f'<svg viewBox="0 0 {sprite.width} {sprite.height}" width="{width:.2f}">{paths}</svg>'
        state, kind = _state(cell)
        when = f"{date.fromisoformat(cell.time[:10]):%-d %b}" if cell.time else cell.id
        title = ", ".join(part for part in (cell.time[:16].replace("T", " ") or cell.id, state) if part)
        return (
            f'<figure class="chip {kind}" data-day="{escape(_day(cell))}" title="{escape(title)}">'
            f'<div class="pixels" style="{look}">{outline}</div>'
            f'<span class="when">{escape(when)}<i>{state}</i></span></figure>'
        )


def calendar(
    view: CampaignView,
    zone: str,
    layer: str | Layer | None = None,
    start: date | None = None,
    end: date | None = None,
    reduction: str | None = None,
) -> Calendar:
    """Make the calendar of a zone.

    Parameters
    ----------
    layer : str or Layer, optional
        `NDVI`, `SCL`, `B08,B04,B03`; true colour if the cube has it, else the first layer of the campaign.
    start, end : date, optional
        First and last day, both included.

    Raises
    ------
    ZoneError
        If there is no such zone.
    CubeError
        If the cube does not hold it, or has no such layer.
    """
    zones = view.zones(reduction)
    row = zones.rows.get(zone)
    if row is None:
        raise ZoneError(f"no zone {zone!r} in reduction {view.reduction(reduction).name!r}")
    chosen, title = _layer(view, layer)
    sprite = chips.calendar(view, zones.geometries[row], chosen, start, end, crs=zones.crs)
    if not sprite.cells:
        raise HpckitError(f"zone {zone} has no date in this period")
    (label,) = view.labels([zone], reduction)
    return Calendar(zone, f"{label} · {title}" if label else title, sprite)


def _layer(view: CampaignView, wanted: str | Layer | None) -> tuple[Layer, str]:
    """A layer, and its title."""
    if isinstance(wanted, Layer):
        return wanted, ", ".join(wanted.names)
    known = layers(view)
    if wanted is None and known:
        return known[0].layer, known[0].title
    names = _names(wanted or "")
    for choice in known:
        if choice.layer.composite is None and _names(",".join(choice.layer.names)) == names:
            return choice.layer, choice.title
    if len(names) == 3:
        return Layer("rgb", names), ", ".join(names)
    offered = ", ".join(dict.fromkeys(",".join(choice.layer.names) for choice in known if not choice.layer.composite))
    raise HpckitError(f"there is no layer {wanted!r}", hint=f"there is {offered}, or three bands: B08,B04,B03")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip().upper() for part in text.split(","))


def _day(cell: chips.Cell) -> str:
    return cell.time[:10] or cell.id


def _week(cell: chips.Cell) -> date | str:
    """Monday of the week, or the label of a period."""
    if not cell.time:
        return cell.id
    day = date.fromisoformat(cell.time[:10])
    return day - timedelta(days=day.weekday())


def _state(cell: chips.Cell) -> tuple[str, str]:
    """Words for a chip, and its class in the style."""
    if cell.valid == 0:
        return "no data", "none"
    if cell.cloud is None:
        return "", ""
    text = "clear" if round(100 * cell.cloud) == 0 else f"{100 * cell.cloud:.0f} % cloud"
    return text, "clouded" if cell.cloud >= _CLOUDED else ""

"""Who worked when: the units of every worker, and how the work went forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.colours import VERMILION
from hpckit.look.style import INK, MUTED, Picture, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hpckit.runs.journal import Entry

_OTHER: Final = "#6b6b6b"
"""Of stages that the campaign no longer has; what failed is vermilion."""

_MAX_LANES: Final = 48
_PAUSE_S: Final = 120.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spans:
    """When units were worked on, in seconds since the first one began, pauses between runs left out."""

    start: Floats
    end: Floats
    pauses: tuple[float, ...]
    """Where a pause was cut out."""


def spans(entries: Sequence[Entry]) -> Spans:
    """Place entries on a clock that stops while nothing runs for more than two minutes."""
    began = np.array([datetime.fromisoformat(entry.start).timestamp() for entry in entries])
    ended = began + np.array([entry.seconds for entry in entries])
    order = np.argsort(began)
    latest = np.maximum.accumulate(ended[order])
    gaps = np.maximum(0.0, began[order][1:] - latest[:-1])
    cuts = np.where(gaps > _PAUSE_S, gaps, 0.0)
    shift = np.empty(len(entries))
    shift[order] = began.min() + np.concatenate([[0.0], np.cumsum(cuts)])
    start = began - shift
    pauses = tuple(np.sort(start)[1:][cuts > 0].tolist())
    return Spans(start, ended - shift, pauses)


def busy_seconds(entries: Sequence[Entry]) -> float:
    """Seconds in which at least one of the entries was worked on."""
    if not entries:
        return 0.0
    began = np.array([datetime.fromisoformat(entry.start).timestamp() for entry in entries])
    order = np.argsort(began)
    ended = (began + np.array([entry.seconds for entry in entries]))[order]
    latest = np.concatenate([[-np.inf], np.maximum.accumulate(ended)[:-1]])
    return float(np.maximum(0.0, ended - np.maximum(began[order], latest)).sum())


def draw_timeline(entries: Sequence[Entry], colours: Mapping[str, str]) -> Picture:
    """Draw one lane per worker with its units, and below it how many units were done.

    Parameters
    ----------
    entries : sequence of Entry
        At least one attempt.
    colours : mapping of str to str
        Colour of each stage, in the order in which they run.
    """
    placed = spans(entries)
    lanes = _lanes(entries, placed)
    count = min(max(lanes.values()) + 1, _MAX_LANES)
    lane_height, progress = min(0.42 * count, 3.2), 1.35
    height = 0.45 + lane_height + 0.25 + progress + 0.55
    with house_style():
        figure = new_figure(10, height)
        upper = figure.add_axes((0.07, 1 - (0.45 + lane_height) / height, 0.91, lane_height / height))
        lower = figure.add_axes((0.07, 0.55 / height, 0.91, progress / height), sharex=upper)
        _draw_lanes(upper, entries, placed, lanes, count, colours)
        _draw_progress(lower, entries, placed, colours)
        _draw_pauses(upper, lower, placed)
        _legend(figure, entries, colours)
        lower.set_xlim(0, max(float(placed.end.max()), 0.1) * 1.005)
        return Picture(figure)


def _lanes(entries: Sequence[Entry], placed: Spans) -> dict[str, int]:
    """Lane of each writer; those that never worked at the same time share one."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for entry, start, end in zip(entries, placed.start.tolist(), placed.end.tolist(), strict=True):
        first[entry.writer] = min(start, first.get(entry.writer, start))
        last[entry.writer] = max(end, last.get(entry.writer, end))
    lanes: dict[str, int] = {}
    free_from: list[float] = []
    for writer in sorted(first, key=lambda name: (first[name], name)):
        lane = next((n for n, free in enumerate(free_from) if free <= first[writer]), len(free_from))
        free_from[lane : lane + 1] = [last[writer]]
        lanes[writer] = lane
    return lanes


def _draw_lanes(
    axes: Axes, entries: Sequence[Entry], placed: Spans, lanes: dict[str, int], count: int, colours: Mapping[str, str]
) -> None:
    from matplotlib.collections import PolyCollection

    shown = [n for n, entry in enumerate(entries) if lanes[entry.writer] < count]
    boxes = [_box(placed.start[n], placed.end[n], lanes[entries[n].writer]) for n in shown]
    faces = [_colour(entries[n], colours) for n in shown]
    # Seams between units only where units are wide enough to have some.
    seam = 0.35 if len(shown) < 400 * count else 0.0
    axes.add_collection(PolyCollection(boxes, facecolors=faces, edgecolors="white", linewidths=seam))
    axes.set_ylim(count - 0.5, -0.5)
    labelled = range(count) if count <= 16 else range(0, count, 8)
    axes.set_yticks(list(labelled), labels=[str(n + 1) for n in labelled])
    axes.set_ylabel("worker", size=8.5)
    axes.tick_params(length=0, labelbottom=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_progress(axes: Axes, entries: Sequence[Entry], placed: Spans, colours: Mapping[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    for stage in dict.fromkeys([*colours, *(entry.stage for entry in entries)]):
        mine = [n for n, entry in enumerate(entries) if entry.stage == stage and entry.state == "done"]
        if mine:
            ends = np.sort(placed.end[mine])
            done = np.arange(1, len(mine) + 1) / len(mine) * 100
            times, shares = np.append(placed.start[mine].min(), ends), np.append(0.0, done)
            axes.step(times, shares, where="post", color=colours.get(stage, _OTHER), lw=1.6)
    axes.set_ylim(0, 104)
    axes.set_yticks([0, 50, 100], labels=["0", "50", "100 %"])
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("units done", size=8.5)
    longest = float(placed.end.max())
    unit, name = (3600, "hours") if longest > 10_800 else (60, "minutes") if longest > 180 else (1, "seconds")
    ticks = [
        tick for tick in MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(0, longest / unit) if tick * unit <= longest
    ]
    axes.set_xticks([tick * unit for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
    axes.set_xlabel(f"{name} of work" + (", pauses left out" if placed.pauses else ""), size=8.5)


def _draw_pauses(upper: Axes, lower: Axes, placed: Spans) -> None:
    for axes in (upper, lower):
        for place in placed.pauses:
            axes.axvline(place, color=INK, lw=0.8, ls=(0, (1, 2)), zorder=5)


def _legend(figure: Any, entries: Sequence[Entry], colours: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    seen = dict.fromkeys(entry.stage for entry in entries)
    stages = [stage for stage in dict.fromkeys([*colours, *seen]) if stage in seen]
    handles = [Patch(fc=colours.get(stage, _OTHER), label=stage) for stage in stages]
    if any(entry.state == "failed" for entry in entries):
        handles.append(Patch(fc=VERMILION, label="failed"))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.063, 0.995),
        ncols=4,
        labelcolor=MUTED,
        handlelength=1.1,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def _box(start: float, end: float, row: int) -> list[tuple[float, float]]:
    return [(start, row - 0.38), (end, row - 0.38), (end, row + 0.38), (start, row + 0.38)]


def _colour(entry: Entry, colours: Mapping[str, str]) -> str:
    return VERMILION if entry.state == "failed" else colours.get(entry.stage, _OTHER)

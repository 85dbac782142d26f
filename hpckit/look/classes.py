"""Pictures of classes: a map of one date, and the share of each class in a zone over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import HpckitError
from hpckit.look.mapframe import decorate, map_frame
from hpckit.look.pixels import Snapshot
from hpckit.look.series import date_axis
from hpckit.look.style import FAINT, INK, MUTED, Picture, house_style, new_figure
from hpckit.sensors.bands import Band
from hpckit.space.zones import ZoneLayer

if TYPE_CHECKING:
    import pandas as pd

_COLOURS: Final = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f3c8d", "#a5732f", "#b3de69"),
    *("#1d2733", "#fccde5"),
)
"""The first seven are those of Okabe and Ito, which differ for every kind of colour vision."""
_NAMED: Final = 14
"""Classes that a legend has room for."""
_LONGEST: Final = 16
"""Letters of a name in it."""


def colours(band: Band) -> dict[int, str]:
    """Colour of each class, the same in all pictures of a band; 0 is no class where it has no name."""
    return {code: _COLOURS[place % len(_COLOURS)] for place, (code, _) in enumerate(band.flags)}


def draw_class_map(
    snapshot: Snapshot, band: Band, codes: npt.NDArray[Any], *, zones: ZoneLayer | None = None, name: str = ""
) -> Picture:
    """Draw the classes of one date, with a legend of those that occur.

    Parameters
    ----------
    codes : ndarray, shape of the snapshot's extent
        Code of each pixel.
    name : str
        Name of the campaign, for the caption.
    """
    from matplotlib.colors import to_rgba

    table = np.zeros((256, 4), dtype=np.float32)
    for code, colour in colours(band).items():
        table[code] = to_rgba(colour)
    unnamed = np.isin(codes, [0, *(code for code, _ in band.flags)], invert=True)
    image = np.where(unnamed[..., None], np.array(to_rgba(FAINT), dtype=np.float32), table[codes])
    with house_style():
        figure, axes = map_frame(snapshot, band.name, [snapshot.part], image[..., 3] > 0, name, colour_bar=True)
        axes.imshow(image, extent=snapshot.extent.matplotlib, interpolation="nearest", zorder=1)
        decorate(axes, snapshot, zones, colour=INK)
        handles = _handles(band, np.unique(codes).tolist(), others=bool(unnamed.any()))
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=7.5)
        return Picture(figure)


def draw_shares(counts: pd.DataFrame, band: Band, *, title: str, facts: Sequence[str]) -> Picture:
    """Draw the share of each class in the classified pixels of a zone, a bar for each date.

    Parameters
    ----------
    counts : DataFrame
        `time`, and pixels of each class in a column named by its code.
    facts : sequence of str
        Of the line below the title.

    Raises
    ------
    HpckitError
        If no date has a pixel with a class.
    """
    import pandas as pd
    from matplotlib.ticker import PercentFormatter

    codes = [code for code, _ in band.flags if code]
    pixels = np.nan_to_num(counts[[str(code) for code in codes]].to_numpy(dtype=float))
    total = pixels.sum(axis=1)
    if not total.any():
        raise HpckitError(f"{title} has no pixel with a class of {band.name}")
    times, shares = counts["time"][total > 0], pixels[total > 0] / total[total > 0, None]
    seen = [code for code, share in zip(codes, shares.T, strict=True) if share.any()]
    with house_style():
        height = 4.9
        figure = new_figure(10, height)
        figure.subplots_adjust(0.07, 0.6 / height, 0.82, 1 - 0.98 / height)
        axes, bottom, width = figure.subplots(), np.zeros(len(times)), _width(times)
        for code in seen:
            share = shares[:, codes.index(code)]
            axes.bar(times, share, width=width, bottom=bottom, color=colours(band)[code], zorder=2)
            bottom += share
        half = pd.Timedelta(days=width / 2)
        date_axis(axes, times.min() - half, times.max() + half)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(ylim=(0, 1), ylabel=f"share of pixels, {band.name}")
        figure.text(0.07, 1 - 0.37 / height, title, size=15, weight="bold", va="center")
        figure.text(0.07, 1 - 0.7 / height, " · ".join(filter(None, facts)), color=MUTED, va="center")
        handles = _handles(band, seen, others=False)[::-1]
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.83, 0.82), frameon=False)
        return Picture(figure)


def _width(times: pd.Series) -> float:
    """Width of a bar in days, so that neighbours do not touch."""
    gaps = np.diff(np.unique(times.to_numpy()).astype("datetime64[s]").astype(float)) / 86400
    return float(min(20, 0.8 * gaps.min())) if len(gaps) else 1.0


def _handles(band: Band, codes: Iterable[int], *, others: bool) -> list[Any]:
    """Entries of a legend."""
    from matplotlib.patches import Patch

    seen, known = set(codes), colours(band)
    named = [(code, meaning) for code, meaning in band.flags if code in seen]
    found = [Patch(color=known[code], label=_short(code, meaning)) for code, meaning in named[:_NAMED]]
    if len(named) > _NAMED:
        found.append(Patch(color="none", label=f"and {len(named) - _NAMED} more"))
    return [*found, Patch(color=FAINT, label="other")] if others else found


def _short(code: int, meaning: str) -> str:
    text = meaning if meaning == str(code) else f"{code} {meaning}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

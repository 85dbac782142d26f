"""Pictures of the examples of process graphs, from their result files."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rasterio
from matplotlib.colors import TwoSlopeNorm

_INK = "#22303a"
_CROPS = ("winter wheat", "maize", "sugar beet", "grassland")
_COLOURS = ("#c8500a", "#0072b2", "#b4518f", "#0b7a5e")
_DASHES = ("-", "--", "-.", ":")


def draw_water(result: Path, into: Path) -> None:
    """Draw the water index of both periods and its change."""
    with rasterio.open(result) as source:
        before, after, change = source.read()
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained")
    for axis, values, title in ((axes[0], before, "March to May"), (axes[1], after, "September and October")):
        shown = axis.imshow(values, cmap="BrBG", vmin=-0.8, vmax=0.8, interpolation="nearest")
        axis.set_title(title, color=_INK, fontsize=11)
    figure.colorbar(shown, ax=axes[:2], shrink=0.8, label="MNDWI, median")
    norm = TwoSlopeNorm(0, -1.2, 1.2)
    shown = axes[2].imshow(change, cmap="RdBu", norm=norm, interpolation="nearest")
    axes[2].set_title("Change", color=_INK, fontsize=11)
    figure.colorbar(shown, ax=axes[2], shrink=0.8, label="red: water has become land")
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(into, dpi=130)
    plt.close(figure)


def draw_crops(result: Path, parcels: pd.DataFrame, into: Path) -> None:
    """Draw the mean growth of the parcels of some crops.

    Parameters
    ----------
    parcels : pandas.DataFrame
        With columns `parcel_id` and `crop`.
    """
    table = pd.read_csv(result).merge(parcels, left_on="feature_id", right_on="parcel_id")
    figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for crop, colour, dash in zip(_CROPS, _COLOURS, _DASHES, strict=True):
        values = table[table["crop"] == crop].groupby("date")["value"].quantile([0.25, 0.5, 0.75]).unstack()
        days = [_day(label) for label in values.index]
        axis.fill_between(days, values[0.25], values[0.75], color=colour, alpha=0.15, linewidth=0)
        axis.plot(days, values[0.5], dash, color=colour, label=crop, linewidth=2)
    axis.set_ylabel("NDVI")
    axis.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#dddddd")
    figure.savefig(into, dpi=130)
    plt.close(figure)


def _day(dekad: str) -> np.datetime64:
    """First day of a dekad, which openEO names by year and number from 0: `2024-07`."""
    year, number = map(int, dekad.split("-"))
    return np.datetime64(f"{year}-{number // 3 + 1:02d}-{number % 3 * 10 + 1:02d}")

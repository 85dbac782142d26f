"""Pictures of composites: layers of a period as a snapshot, read from the composite's Zarr group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.campaign import Campaign
from hpckit.composites.settings import Composite
from hpckit.composites.units import intervals, store_path
from hpckit.cube.read import read_info
from hpckit.cube.region import Box, read_region
from hpckit.errors import CubeError
from hpckit.look.pixels import Bounds, Extent, Layer, Snapshot, find_band, plan_extent
from hpckit.look.quicklook import NDVI, TRUE_COLOUR, draw_index, draw_rgb
from hpckit.look.style import Picture
from hpckit.reduce.expression import Expression
from hpckit.reduce.zones import ZoneLayer


def draw_composite(
    campaign: Campaign,
    tile: str,
    name: str,
    *,
    period: str | None = None,
    method: str | None = None,
    rgb: Sequence[str] | None = None,
    index: str | None = None,
    window: Bounds | None = None,
    zones: ZoneLayer | None = None,
    stretch: str = "fixed",
) -> Picture:
    """Draw a period of a composite: true colour, three bands, or one layer.

    Parameters
    ----------
    name : str
        Composite.
    period : str, optional
        Label, like `2024-05`; the first one if not given.
    method : str, optional
        The composite's first one that has values if not given.
    rgb : sequence of three str, optional
        Bands as red, green and blue.
    index : str, optional
        A band, an index of the composite, NDVI, or `smad`, `emad`, `bcmad`, `count`, `date` of the method.

    Raises
    ------
    CubeError
        If there is no such composite, period or layer, or it is not made yet.
    """
    composite = _composite(campaign, name)
    number, label = _period(campaign, composite, period)
    chosen = method or next((m for m in composite.methods if m != "count"), composite.methods[0])
    refs = [campaign.ref(text) for text in composite.bands]
    names = [ref.name for ref in refs]
    if rgb is None and index is None:
        rgb = TRUE_COLOUR if set(TRUE_COLOUR) <= set(names) else None
        index = None if rgb else names[0]
    ndvi = index is not None and index.upper() == "NDVI" and index not in composite.indices
    wanted = list(rgb) if rgb else sorted(Expression.parse(NDVI).bands) if ndvi else [str(index)]
    of_name = {ref.name: ref for ref in refs}
    finest = [of_name.get(band, refs[0]) for band in wanted]
    extent = plan_extent(
        campaign.cube_path, tile, [find_band(campaign.cube_path, tile, str(r)) for r in finest], window
    )
    store = store_path(campaign, composite)
    layers = {band: _layer(store / tile, chosen, band, number, extent) for band in wanted}
    start = intervals(campaign, composite)[number].start
    made = {"time": f"{start}T00:00:00+00:00", "hpckit:period": label, "products": []}
    snapshot = Snapshot(tile, extent, made, layers, None)
    caption = f"{campaign.name}, {composite.name}: {chosen}"
    if rgb:
        return draw_rgb(snapshot, wanted, zones=zones, stretch=stretch, name=caption)
    shown = "NDVI" if ndvi else str(index)
    return draw_index(snapshot, shown, NDVI if ndvi else shown, zones=zones, name=caption)


def _composite(campaign: Campaign, name: str) -> Composite:
    known = {composite.name: composite for composite in campaign.composites}
    if name not in known:
        raise CubeError(f"no composite {name!r}", hint=f"the campaign has {', '.join(known) or 'none'}")
    return known[name]


def _period(campaign: Campaign, composite: Composite, label: str | None) -> tuple[int, str]:
    labels = [item.label for item in intervals(campaign, composite)]
    if label is None:
        return 0, labels[0]
    if label not in labels:
        shown = ", ".join(labels[:6]) + (" …" if len(labels) > 6 else "")
        raise CubeError(f"composite {composite.name!r} has no period {label!r}", hint=f"it has {shown}")
    return labels.index(label), label


def _layer(folder: Path, method: str, band: str, period: int, extent: Extent) -> Layer:
    """Mean of the valid pixels in each pixel of the picture, in physical units."""
    path = _find(folder, method, band)
    info, notes = read_info(path), _notes(path)
    group = _notes(path.parent)
    edge, _, west, _, _, north = group["spatial:transform"]
    step, repeat = max(1, round(extent.pixel_m / edge)), max(1, round(edge / extent.pixel_m))
    rows, columns = -(-extent.shape[0] // repeat), -(-extent.shape[1] // repeat)
    top, left = round((north - extent.north) / edge), round((extent.west - west) / edge)
    found = np.full((rows, columns), np.nan, dtype=np.float32)
    at_once = max(1, 512 // step)
    fill = np.nan if info.dtype == "float32" else 0.0
    for first in range(0, rows, at_once):
        count = min(at_once, rows - first)
        box = Box(top + first * step, left, top + (first + count) * step, left + columns * step)
        values = read_region(info, box, range(period, period + 1), fill=fill)[0].astype(np.float64)
        values[values == notes.get("_FillValue", np.nan)] = np.nan
        found[first : first + count] = _means(values, step)
    physical = found * np.float32(notes.get("scale_factor", 1)) + np.float32(notes.get("add_offset", 0))
    return np.asarray(physical.repeat(repeat, 0).repeat(repeat, 1)[: extent.shape[0], : extent.shape[1]])


def _means(values: npt.NDArray[np.float64], step: int) -> npt.NDArray[np.float64]:
    """Means of blocks, of what is not NaN."""
    rows, columns = values.shape
    blocks = values.reshape(rows // step, step, columns // step, step)
    known = np.isfinite(blocks)
    with np.errstate(invalid="ignore"):
        means: npt.NDArray[np.float64] = np.where(known, blocks, 0).sum(axis=(1, 3)) / known.sum(axis=(1, 3))
    return means


def _find(folder: Path, method: str, band: str) -> Path:
    names = [f"{band}_{method}", f"{method}_{band}", band]
    for group in sorted(folder.glob("r*m")):
        for name in names:
            if (group / name / "zarr.json").exists():
                return group / name
    raise CubeError(
        f"{folder}: no layer {names[0]}", hint="see the composite's methods and bands; `hpckit run` makes it"
    )


def _notes(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "zarr.json").read_text())["attributes"])

"""Pictures of composites: layers of a period as a snapshot, read from the composite's Zarr group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpckit.campaign.campaign import Campaign
from hpckit.campaign.composite import Composite
from hpckit.campaign.expression import Expression
from hpckit.cubes.arrays import existing_metadata, read_array, read_coordinate
from hpckit.cubes.objects import Objects, objects_at
from hpckit.cubes.read import geometry, resolutions
from hpckit.errors import CubeError
from hpckit.look.pixels import Bounds, Layer, PictureExtent, Snapshot, find_band, plan_extent, read_layer
from hpckit.look.quicklook import draw_index, draw_rgb
from hpckit.look.style import Picture
from hpckit.reduce.composites.hierarchy import PERIODS
from hpckit.reduce.composites.units import zarr_path
from hpckit.space.zones import ZoneLayer


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
    path = zarr_path(campaign, composite)
    number, label, start = _period(objects_at(path), tile, composite, period)
    chosen = method or next((m for m in composite.methods if m != "count"), composite.methods[0])
    refs = [campaign.ref(text) for text in composite.bands]
    names, shown = [ref.name for ref in refs], campaign.sensor.pictures
    if rgb is None and index is None:
        rgb = shown.colour if shown.colour and set(shown.colour) <= set(names) else None
        index = None if rgb else names[0]
    ndvi = index is not None and index.upper() == "NDVI" and index not in composite.indices and bool(shown.index)
    wanted = list(rgb) if rgb else sorted(Expression.parse(shown.index).bands) if ndvi else [str(index)]
    of_name = {ref.name: ref for ref in refs}
    finest = [of_name.get(band, refs[0]) for band in wanted]
    extent = plan_extent(
        campaign.cube_path, tile, [find_band(campaign.cube_path, tile, str(r)) for r in finest], window
    )
    layers = {band: _layer(path, tile, chosen, band, number, extent) for band in wanted}
    made = {"time": f"{start}T00:00:00+00:00", "hpckit:period": label, "products": []}
    snapshot = Snapshot(tile, extent, made, layers, None, campaign.sensor)
    caption = f"{campaign.name}, {composite.name}: {chosen}"
    if rgb:
        return draw_rgb(snapshot, wanted, zones=zones, stretch=stretch, name=caption)
    title, expression = ("NDVI", shown.index) if ndvi else (str(index), str(index))
    return draw_index(snapshot, title, expression, zones=zones, name=caption)


def _composite(campaign: Campaign, name: str) -> Composite:
    known = {composite.name: composite for composite in campaign.composites}
    if name not in known:
        raise CubeError(f"no composite {name!r}", hint=f"the campaign has {', '.join(known) or 'none'}")
    return known[name]


def _period(objects: Objects, tile: str, composite: Composite, wanted: str | None) -> tuple[int, str, np.datetime64]:
    """Number, label and first day of a period of a tile."""
    found = resolutions(objects.path, tile)
    if not found:
        raise CubeError(f"composite {composite.name!r} is not made yet on tile {tile}", hint="`hpckit run`")
    group = f"{tile}/r{found[0]}m"
    labels = list(existing_metadata(objects, group)["attributes"][PERIODS])
    label = wanted or labels[0]
    if label not in labels:
        shown = ", ".join(labels[:6]) + (" …" if len(labels) > 6 else "")
        raise CubeError(f"composite {composite.name!r} has no period {label!r}", hint=f"it has {shown}")
    number = labels.index(label)
    days = read_coordinate(objects, f"{group}/time")[number]
    return number, label, np.datetime64(int(days), "D")


def _layer(path: Path, tile: str, method: str, band: str, period: int, extent: PictureExtent) -> Layer:
    objects = objects_at(path)
    group, name = _find(objects, tile, method, band)
    where = geometry(path, tile, int(group.strip("rm")))
    return read_layer(read_array(objects, f"{tile}/{group}/{name}"), where, period, extent)


def _find(objects: Objects, tile: str, method: str, band: str) -> tuple[str, str]:
    """Group and name of the array of a layer."""
    names = [f"{band}_{method}", f"{method}_{band}", band]
    for group in (f"r{resolution_m}m" for resolution_m in resolutions(objects.path, tile)):
        held = objects.list(f"{tile}/{group}")
        for name in names:
            if name in held:
                return group, name
    raise CubeError(
        f"{objects.path / tile}: no layer {names[0]}",
        hint="see the composite's methods and bands; `hpckit run` makes it",
    )

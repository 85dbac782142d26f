"""Which files, and which windows of arrays, of a product a cube is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

from hpckit.sensors.bands import BandRef, split_key
from hpckit.sensors.masks import MaskBand
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.occupancy import mask_ref
from hpckit.sensors.reader import Treatment, runs
from hpckit.space.frame import Frame
from hpckit.space.windows import Windows

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from hpckit.space.warp import Resampling

Window = tuple[slice, slice]
"""Rows and columns of pixels of an array."""
_AROUND_M: Final = 200.0
"""Around what is resampled: clouds are counted at 60 m, in windows that are cut by their own pixels."""


def files_read(scene: Scene, refs: Iterable[BandRef], mask: MaskBand | None, treatment: Treatment) -> set[str]:
    """`BandRef.key` of the files that are opened to ingest bands of a product, with the mask that spares decoding.

    Bands that the product lacks are left out.
    """
    wanted = list(refs)
    if treatment.onto is None:
        found = [*wanted, *filter(None, [mask_ref(scene, mask) if wanted else None])]
        return {ref.key for ref in found if ref.key in scene.assets}
    from hpckit.sensors.regrid import source_band  # imports odc.geo, which granules need not wait for

    wanted += _masks(wanted, mask, treatment)
    return {source_band(scene, ref).key for ref in wanted if scene.sizes(ref.name)}


def windows_read(
    scene: Scene,
    refs: Iterable[BandRef],
    mask: MaskBand | None,
    treatment: Treatment,
    frame: Frame,
    held: Callable[[BandRef], Windows],
) -> dict[str, list[Window] | None]:
    """Pixels of the rasters of `files_read` that are read, or some more.

    Parameters
    ----------
    frame : Frame
        The tile.
    held : callable
        Windows of the tile that are wanted of a band.

    Returns
    -------
    dict of str to list
        Windows by `BandRef.key`; None for the whole of a raster.
    """
    wanted = list(refs)
    keys = files_read(scene, wanted, mask, treatment)
    if any(not scene.assets[key].crs for key in keys):
        return dict.fromkeys(keys)  # in the geometry of the sensor: where a window lies in them depends on heights
    if treatment.onto is None:
        found: dict[str, list[Window] | None] = {ref.key: list(_strips(frame, ref, held(ref))) for ref in wanted}
        whole = mask_ref(scene, mask) if wanted else None
        if whole is not None:  # it tells of all windows of a tile whether they hold data
            found[whole.key] = None
    else:
        found = dict(_onto_grid(scene, wanted, mask, treatment, frame, held))
    return {key: found[key] for key in sorted(keys)}


def files_beside(scene: Scene, keys: Iterable[str]) -> dict[str, Asset]:
    """Files, or arrays, on servers that are read with those of bands, by `Scene.beside`.

    Parameters
    ----------
    keys : iterable of str
        `BandRef.key` of the bands.
    """
    bands = {split_key(key)[0] for key in keys}
    return {name: asset for name, asset in scene.beside.items() if name.partition("/")[0] in bands}


def _masks(refs: Iterable[BandRef], mask: MaskBand | None, treatment: Treatment) -> list[BandRef]:
    """Masks by which clouds in windows on a grid are counted."""
    from hpckit.sensors.regrid import coarse_mask

    if mask is None or treatment.skip_cloudy is None:
        return []
    return [coarse_mask(mask, ref.resolution_m) for ref in refs if not ref.band.is_mask]


def _strips(frame: Frame, ref: BandRef, windows: Windows) -> Iterator[Window]:
    """Windows of a tile, neighbours in a row joined, as pixels of the tile."""
    edge, (rows, columns) = frame.edges[ref.resolution_m], frame.shapes[ref.resolution_m]
    for row, found in enumerate(windows):
        for first, last in runs(np.flatnonzero(found).tolist()):
            down = slice(row * edge, min((row + 1) * edge, rows))
            yield down, slice(first * edge, min((last + 1) * edge, columns))


def _onto_grid(
    scene: Scene,
    refs: Iterable[BandRef],
    mask: MaskBand | None,
    treatment: Treatment,
    frame: Frame,
    held: Callable[[BandRef], Windows],
) -> Iterator[tuple[str, list[Window]]]:
    from hpckit.sensors.regrid import method, source_band

    found: dict[str, list[Window]] = {}
    for ref in refs:
        box, strips = frame.geobox(ref.resolution_m), list(_strips(frame, ref, held(ref)))
        for band in (ref, *_masks([ref], mask, treatment)):
            if scene.sizes(band.name):
                key, how = source_band(scene, band).key, method(band, treatment.onto or "nearest")
                asset = scene.assets[key]
                parts = (_reach(asset.crs, asset.transform, asset.shape, box[strip], how) for strip in strips)
                found.setdefault(key, []).extend(part for part in parts if part is not None)
    yield from found.items()


@lru_cache(maxsize=2**16)
def _reach(
    crs: str, transform: tuple[float, ...], shape: tuple[int, int], target: GeoBox, how: Resampling
) -> Window | None:
    """Pixels of a raster that a target is made from, and some around; the same for all dates of a tile."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from hpckit.space.warp import needed

    found = needed(GeoBox(shape, Affine(*transform), crs), target, how)
    if found is None:
        return None
    more = ceil(_AROUND_M / abs(transform[0]))
    rows, columns = (
        slice(max(0, part.start - more), min(size, part.stop + more)) for part, size in zip(found, shape, strict=True)
    )
    return rows, columns

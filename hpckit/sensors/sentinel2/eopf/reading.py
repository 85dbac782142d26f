"""Arrays of bands: opened as they are, and refused where chunks are lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpckit.errors import SceneError
from hpckit.inputs.chunking import parse_chunking
from hpckit.inputs.zarr_raster import ZarrRaster
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel2.bands import BANDS

_REMEDY: Final = "fetch the product again"


def open_array(scene: Scene, ref: BandRef) -> ZarrRaster:
    """Open the array of a band.

    Raises
    ------
    SceneError
        If it is missing or damaged, or of another size or data type than the metadata of the product say.
    """
    asset = scene.assets[ref.key]
    name = asset.array
    try:
        raster = ZarrRaster(asset.hierarchy, name, lambda raster, chunk: _is_empty(scene, ref, raster, chunk))
    except SceneError as error:
        raise SceneError(f"{scene.id}: {error.message}", hint=error.hint or _REMEDY) from error.__cause__
    if raster.shape != asset.shape:
        raise SceneError(
            f"{scene.id}: {name} has {raster.height} x {raster.width} pixels, "
            f"its metadata say {' x '.join(map(str, asset.shape))}",
            hint=_REMEDY,
        )
    if raster.dtype != (asset.dtype or ref.dtype):
        raise SceneError(f"{scene.id}: {name} holds {raster.dtype}, its metadata say {asset.dtype or ref.dtype}")
    return raster


def _is_empty(scene: Scene, ref: BandRef, raster: ZarrRaster, chunk: tuple[int, int]) -> bool:
    """Whether a chunk that is not there holds no data.

    Zarr cannot tell: writers of version 3 leave out chunks that hold nothing but the fill value, and lost files look
    the same. No data are no data in all bands of reflectance, so a chunk that one of them has is lost. Where 0 stands
    for it in a probability, it is one, and tells nothing of the other bands.
    """
    if not raster.may_omit:
        return False
    if ref.band.kind == "probability" and raster.fill == 0:
        return True
    rasters = [ZarrRaster(raster.place, scene.assets[other.key].array) for other in _others(scene, ref)]
    alike = [other for other in rasters if other.chunks == raster.chunks]
    return bool(alike) and not any(other.has_chunk(chunk) for other in alike)


def empty_with(scene: Scene, ref: BandRef) -> tuple[str, ...] | None:
    """By the catalogue, the same: paths of the arrays whose chunk is absent, too, where one that is absent is empty.

    None if each chunk must be there.
    """
    grid = parse_chunking(scene.assets[ref.key].chunks)
    if grid.zarr_format != 3:
        return None
    if ref.band.kind == "probability" and grid.fill == 0:
        return ()
    others = [scene.assets[other.key] for other in _others(scene, ref)]
    return tuple(asset.array for asset in others if parse_chunking(asset.chunks).chunks == grid.chunks) or None


def on_same_ground(scene: Scene, ref: BandRef) -> tuple[str, ...]:
    """By the catalogue, paths of other arrays of reflectance whose chunk at a place covers the ground of its own."""

    def ground(key: BandRef) -> tuple[str, list[int]]:
        chunking = parse_chunking(scene.assets[key.key].chunks)
        return chunking.keys, [size * key.resolution_m for size in chunking.chunks]

    bands = (BandRef.from_key(key, BANDS) for key in scene.assets)
    others = (other for other in bands if other != ref and other.band.kind == "reflectance")
    return tuple(scene.assets[other.key].array for other in others if ground(other) == ground(ref))


def _others(scene: Scene, ref: BandRef) -> Iterator[BandRef]:
    """Other bands of reflectance with the same pixels."""
    return (
        other
        for other in (BandRef.from_key(key, BANDS) for key in scene.assets)
        if other != ref and other.resolution_m == ref.resolution_m and other.band.kind == "reflectance"
    )

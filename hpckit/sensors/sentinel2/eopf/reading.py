"""Arrays of bands: opened as they are, and refused where chunks are lost."""

from __future__ import annotations

from typing import Final

from hpckit.errors import SceneError
from hpckit.inputs.zarr_raster import ZarrRaster
from hpckit.sensors.bands import BandRef, with_same_pixels
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
    others = with_same_pixels(scene.assets, ref, BANDS)
    rasters = [ZarrRaster(raster.place, scene.assets[other.key].array) for other in others]
    alike = [other for other in rasters if other.chunks == raster.chunks]
    return bool(alike) and not any(other.has_chunk(chunk) for other in alike)

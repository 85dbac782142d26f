"""Which files of a product a cube is made from."""

from __future__ import annotations

from collections.abc import Iterable

from hpckit.sensors.bands import BandRef, split_key
from hpckit.sensors.masks import MaskBand
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.occupancy import mask_ref
from hpckit.sensors.reader import Treatment


def files_read(scene: Scene, refs: Iterable[BandRef], mask: MaskBand | None, treatment: Treatment) -> set[str]:
    """`BandRef.key` of the files that are opened to ingest bands of a product, with the mask that spares decoding.

    Bands that the product lacks are left out.
    """
    wanted = list(refs)
    if treatment.onto is None:
        found = [*wanted, *filter(None, [mask_ref(scene, mask) if wanted else None])]
        return {ref.key for ref in found if ref.key in scene.assets}
    from hpckit.sensors.regrid import coarse_mask, source_band  # imports odc.geo, which granules need not wait for

    if mask is not None and treatment.skip_cloudy is not None:
        wanted += [coarse_mask(mask, ref.resolution_m) for ref in wanted if not ref.band.is_mask]
    return {source_band(scene, ref).key for ref in wanted if scene.sizes(ref.name)}


def files_beside(scene: Scene, keys: Iterable[str]) -> dict[str, Asset]:
    """Files on servers that are read with those of bands, by `Scene.beside`.

    Parameters
    ----------
    keys : iterable of str
        `BandRef.key` of the bands.
    """
    bands = {split_key(key)[0] for key in keys}
    return {name: asset for name, asset in scene.beside.items() if name.partition("/")[0] in bands}

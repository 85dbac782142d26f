"""Scenes of EOPF products: found by what their root holds, and the same as those of the SAFE products."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import shapely

from hpckit.base.reading import may_pass
from hpckit.errors import SceneError
from hpckit.inputs.hierarchy import Hierarchy, is_hierarchy
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel2.details import Details
from hpckit.sensors.sentinel2.eopf.rasters import read_rasters
from hpckit.sensors.sentinel2.eopf.told import is_sentinel2, read_told
from hpckit.space import footprint
from hpckit.space.frame import Frame

_REFLECTANCE: Final = "measurements/reflectance"
_SIZES: Final = (10, 20, 60)
_NEAR: Final = 0.1
"""Degrees by which an outline may leave its tile."""


def is_product(folder: Path) -> bool:
    """Whether a folder is a product of Sentinel-2: also one whose metadata are damaged, which `read` reports.

    Raises
    ------
    SceneError
        If that cannot be seen.
    """
    if not is_hierarchy(folder) or not (folder / _REFLECTANCE).is_dir():
        return False
    try:
        return is_sentinel2(Hierarchy(folder).attributes)
    except SceneError as error:
        if may_pass(error):
            raise
        return True


def is_remnant(folder: Path) -> bool:
    """Whether a folder is named like a product."""
    return folder.suffix == ".zarr" and folder.name.startswith(("S02MSI", "S2"))


def read_scene(place: Path | str) -> Scene:
    """Read the metadata of a product.

    Parameters
    ----------
    place : Path or str
        Its folder, or its address.

    Raises
    ------
    SceneError
        If it is broken, of another mission, or contradicts itself.
    """
    hierarchy = Hierarchy(place)
    root = hierarchy.attributes
    if not is_sentinel2(root):
        raise SceneError(
            "incomplete, or no EOPF product of Sentinel-2: the attributes of its root have no stac_discovery of one"
        )
    told = read_told(root, hierarchy.name)
    rasters = read_rasters(hierarchy, told.level, float(told.baseline), told.epsg)
    if not rasters.assets:
        raise SceneError(f"incomplete: no array of a band in {_REFLECTANCE}")
    frame = _frame(told.tile, rasters.assets)
    return Scene(
        id=told.id,
        sensor="sentinel-2",
        href=place if isinstance(place, str) else str(place.absolute()),
        level=told.level,
        platform=told.platform,
        sensed=told.sensed,
        datatake=told.datatake,
        part=told.datastrip,
        baseline=told.baseline,
        relative_orbit=told.relative_orbit,
        cloud_cover=told.cloud_cover,
        frame=frame,
        assets=rasters.assets,
        footprint=_outline(told.outline, frame),
        missing=rasters.missing,
        details=Details(told.granule, "; ".join(rasters.reasons)),
    )


def _outline(told: shapely.Geometry | None, frame: Frame) -> shapely.Geometry:
    """Outline of the data as the root tells it, where it lies on the tile; else the tile itself."""
    square = footprint.square(frame.epsg, frame.ulx, frame.uly, frame.shapes[10])
    return square if told is None or not square.buffer(_NEAR).covers(told) else told


def _frame(tile: str, assets: Mapping[str, Asset]) -> Frame:
    """The tile: all rasters have one upper left corner, and one size for each pixel size."""
    finest = min(assets.values(), key=lambda asset: asset.transform[0])
    known: dict[int, tuple[int, int]] = {}
    for asset in assets.values():
        if (asset.crs, asset.transform[2], asset.transform[5]) != (finest.crs, *_corner(finest)):
            raise SceneError(f"{asset.name} lies elsewhere than {finest.name}: their corners differ")
        if known.setdefault(round(asset.transform[0]), asset.shape) != asset.shape:
            raise SceneError(f"{asset.name} has another size than other arrays with its pixels")
    edge, (rows, columns) = finest.transform[0], finest.shape
    shapes = {size: (math.ceil(rows * edge / size), math.ceil(columns * edge / size)) for size in _SIZES}
    for size, shape in known.items():
        if shape != shapes[size]:
            raise SceneError(f"its arrays of {size} m have {shape[0]} x {shape[1]} pixels; {shapes[size]} would fit")
    epsg = int(finest.crs.removeprefix("EPSG:"))
    if int(tile[:2]) != epsg % 100:
        raise SceneError(f"its tile {tile} is not in the zone of its CRS {finest.crs}")
    return Frame(tile, epsg, *_corner(finest), shapes, {})


def _corner(asset: Asset) -> tuple[float, float]:
    return asset.transform[2], asset.transform[5]

"""Where images lie: the tile of images that share their pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isclose
from typing import Final

from hpckit.errors import CatalogueError
from hpckit.sensors.bands import Band, split_key
from hpckit.sensors.model import Asset, Scene
from hpckit.space.frame import Frame

_DEGREE_M: Final = 111_320.0
_MOST_M: Final = 99_999
_HINT: Final = "choose a `grid` onto which images are resampled, `grid: utm:10240@10` for example"


def size_m(asset: Asset) -> int:
    """Width of a pixel in whole metres, at least 1: what the key of an asset says."""
    crs = asset.geobox.crs
    unit = _DEGREE_M if crs is None or crs.geographic else _metres(asset)
    return min(_MOST_M, max(1, round(asset.transform[0] * unit)))


def _metres(asset: Asset) -> float:
    """Metres in a unit of a projected CRS."""
    import pyproj

    return float(pyproj.CRS.from_user_input(asset.crs).axis_info[0].unit_conversion_factor)


def frame_of(tile: str, assets: Mapping[str, Asset]) -> Frame:
    """Frame of a tile that images lie on.

    Raises
    ------
    ValueError
        If a cube cannot lie on their pixels; says why.
    """
    shapes: dict[int, tuple[int, int]] = {}
    for key, asset in assets.items():
        size = split_key(key)[1]
        _require_pixels(asset, size)
        if shapes.setdefault(size, asset.shape) != asset.shape:
            raise ValueError(f"{asset.name} has {_times(asset.shape)} pixels, another image {_times(shapes[size])}")
    corners = {(asset.crs, asset.transform[2], asset.transform[5]): asset for asset in assets.values()}
    if len(corners) > 1:
        one, other = list(corners.values())[:2]
        raise ValueError(f"{one.name} and {other.name} have different CRS or corners")
    ((crs, left, top),) = corners
    extents = {(round(rows * size), round(columns * size)) for size, (rows, columns) in shapes.items()}
    far = max(shapes)
    if any(abs(one[axis] - other[axis]) >= far for one in extents for other in extents for axis in (0, 1)):
        raise ValueError("its bands cover different areas")
    return Frame(tile, int(crs.removeprefix("EPSG:")), left, top, shapes, {})


def _require_pixels(asset: Asset, size: int) -> None:
    width, height = asset.transform[0], -asset.transform[4]
    if not asset.crs.startswith("EPSG:"):
        raise ValueError(f"the CRS of {asset.name} has no EPSG code")
    crs = asset.geobox.crs
    if crs is None or crs.geographic:
        raise ValueError(f"pixels of {asset.name} are {width:g} degrees wide, and those of a cube are metres")
    if not (isclose(width, size, rel_tol=1e-9) and isclose(height, size, rel_tol=1e-9)) or _metres(asset) != 1:
        unit = "m" if _metres(asset) == 1 else crs.units[0]
        raise ValueError(
            f"pixels of {asset.name} are {width:.10g} x {height:.10g} {unit}, and those of a cube are squares of "
            "whole metres"
        )


def place_all(scenes: Sequence[Scene], bands: Mapping[str, Band]) -> list[Scene]:
    """Scenes on their tiles, whose frames have all pixel sizes of the images on them.

    Raises
    ------
    CatalogueError
        If images of one tile lie on different pixels, or on those that a cube cannot have; names them.
    """
    for scene in scenes:
        _require_sizes(scene, bands)
    tiles: dict[str, list[Scene]] = {}
    for scene in scenes:
        tiles.setdefault(scene.part, []).append(scene)
    shapes = {tile: _shapes(tile, found) for tile, found in tiles.items()}
    return [
        replace(scene, frame=replace(scene.frame, shapes=shapes[scene.part]))
        for scene in scenes
        if scene.frame is not None
    ]


def _require_sizes(scene: Scene, bands: Mapping[str, Band]) -> None:
    try:
        frame_of(scene.part, scene.assets)
    except ValueError as error:
        raise CatalogueError(f"{scene.id}: {error}", hint=_HINT) from error
    for key, asset in scene.assets.items():
        name, size = split_key(key)
        if name in bands and size not in bands[name].resolutions_m:
            raise CatalogueError(
                f"{asset.name} has pixels of {size} m, and band {name} of the campaign {bands[name].native_m} m",
                hint=f"write `pixel: {size}` in `scenes.rasters`, or in its band {name}",
            )


def _shapes(tile: str, scenes: Sequence[Scene]) -> dict[int, tuple[int, int]]:
    """Rows and columns by pixel size, the same for all scenes of a tile."""
    places = {id(scene): _places(scene) for scene in scenes}
    usual = Counter(place for found in places.values() for place in found)
    best: dict[int, tuple[int, float, float, tuple[int, int]]] = {}
    for (size, *_), _ in usual.most_common():
        best.setdefault(size, next(place[1:] for place, _ in usual.most_common() if place[0] == size))
    corners = {place[:3] for place in best.values()}
    odd = [scene for scene in scenes if any(best[place[0]] != place[1:] for place in places[id(scene)])]
    if odd or len(corners) > 1:
        raise CatalogueError(_odd(tile, odd or scenes, len(scenes)), hint=f"leave them out, or {_HINT}")
    return {size: place[3] for size, place in best.items()}


def _places(scene: Scene) -> list[tuple[int, int, float, float, tuple[int, int]]]:
    """Pixel size, CRS, corner and shape of the rasters of a scene."""
    frame = scene.frame
    assert frame is not None
    return [(size, frame.epsg, frame.ulx, frame.uly, shape) for size, shape in frame.shapes.items()]


def _odd(tile: str, scenes: Sequence[Scene], count: int) -> str:
    names = ", ".join(_described(scene) for scene in scenes[:3]) + (", …" if len(scenes) > 3 else "")
    return f"{len(scenes)} of {count} images of tile {tile} lie on other pixels than the rest: {names}"


def _described(scene: Scene) -> str:
    asset = next(iter(scene.assets.values()))
    return (
        f"{asset.name} ({asset.crs}, corner {asset.transform[2]:.10g} {asset.transform[5]:.10g}, "
        f"{_times(asset.shape)} pixels of {asset.transform[0]:g} m)"
    )


def _times(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))

"""Pictures of a place from above: of an orthophoto that the settings name, or of the clearest date of the cube."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, floor, radians
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine

from hpckit.cubes.read import Group
from hpckit.errors import CubeError, HpckitError
from hpckit.look.layers import Layer, Painter, painter
from hpckit.look.opened import TileOpened, open_tiles
from hpckit.look.planes import Drawing, warped
from hpckit.look.png import encode
from hpckit.look.quicklook import compose
from hpckit.look.sample import cloud_covers
from hpckit.serve.dataset import Dataset
from hpckit.serve.problems import matched
from hpckit.space.vector.project import transformer

BASE: Final = "/query/backgrounds"
_LOOKED_AT: Final = 5
"""Dates with least cloud that are tried."""
_ENOUGH: Final = 0.99
_WINDOW: Final = re.compile(r"E(-?\d{1,3}\.\d{6})N(-?\d{1,2}\.\d{6})_(\d{1,4})_(\d{1,5})", re.ASCII)
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)

_Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class View:
    """A square picture around a place."""

    lon: float
    lat: float
    pixels: int
    """Along an edge."""
    size_m: int

    @property
    def name(self) -> str:
        """`E5.123456N52.123456_256_1024`, in addresses."""
        return f"E{self.lon:.6f}N{self.lat:.6f}_{self.pixels}_{self.size_m}"

    @classmethod
    def from_name(cls, name: str) -> View:
        """What `name` gave.

        Raises
        ------
        Problem
            404 if it is of another form.
        """
        match = matched(_WINDOW, name)
        return cls(float(match[1]), float(match[2]), int(match[3]), int(match[4]))

    def transform(self, crs: Any) -> Affine:
        """From column and row to metres of a projected CRS."""
        x, y = transformer(4326, crs).transform(self.lon, self.lat)
        pixel = self.size_m / self.pixels
        west, north = floor((x - self.size_m / 2) / pixel) * pixel, floor((y + self.size_m / 2) / pixel) * pixel
        return Affine(pixel, 0, west, 0, -pixel, north)

    def mercator(self) -> tuple[float, float, float, float]:
        """Box around it in EPSG:3857."""
        x, y = transformer(4326, 3857).transform(self.lon, self.lat)
        half = self.size_m / 2 / max(0.01, cos(radians(self.lat)))
        return (x - half, y - half, x + half, y + half)


@dataclass(frozen=True, slots=True)
class Background:
    """A picture with its place."""

    pixels: _Pixels
    """Red, green, blue and opacity; shape (rows, columns, 4)."""
    transform: Affine
    epsg: int

    @property
    def png(self) -> bytes:
        """The picture as PNG."""
        return encode(self.pixels)

    @property
    def tiff(self) -> bytes:
        """The picture as GeoTIFF of three bands."""
        from rasterio.io import MemoryFile

        rows, columns = self.pixels.shape[:2]
        profile = {"driver": "GTiff", "height": rows, "width": columns, "count": 3, "dtype": "uint8"}
        with MemoryFile() as memory:
            with memory.open(
                **profile, crs=f"EPSG:{self.epsg}", transform=self.transform, compress="deflate", photometric="RGB"
            ) as target:
                target.write(np.moveaxis(self.pixels[:, :, :3], 2, 0))
            return bytes(memory.read())


def covers(dataset: Dataset, view: View) -> bool:
    """Whether the cube of a data set has a tile there."""
    return dataset.campaign.cube.keep and bool(open_tiles(dataset.campaign.cube_path, view.mercator()))


def of_orthophoto(path: Path, view: View) -> Background | None:
    """Cut a picture out of a file; None if it lies elsewhere.

    Raises
    ------
    HpckitError
        If the file cannot be read.
    """
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioError
    from rasterio.vrt import WarpedVRT

    try:
        with rasterio.open(path) as source:
            epsg = source.crs.to_epsg() if source.crs and source.crs.is_projected else None
            epsg = epsg or _utm(view)
            transform = view.transform(epsg)
            options = {"crs": f"EPSG:{epsg}", "transform": transform, "width": view.pixels, "height": view.pixels}
            with WarpedVRT(
                source, resampling=Resampling.bilinear, add_alpha=_needs_alpha(source), **options
            ) as there:
                read = there.read()
                opacity = there.dataset_mask()
    except (RasterioError, OSError) as error:
        raise HpckitError(f"{path}: the orthophoto cannot be read") from error
    if not opacity.any():
        return None
    colours = read[:3] if read.shape[0] >= 3 else np.repeat(read[:1], 3, axis=0)
    if colours.dtype != np.uint8:
        colours = _in_bytes(colours, opacity)
    return Background(np.moveaxis(np.concatenate([colours, opacity[None]]), 0, 2).astype(np.uint8), transform, epsg)


def of_cube(dataset: Dataset, view: View) -> Background | None:
    """True colour, or what else the cube shows, of its clearest date; None if no tile has something there.

    Raises
    ------
    CubeError
        If metadata are damaged.
    """
    how = painter(dataset.campaign, _layer(dataset))
    best: tuple[float, Background] | None = None
    for tile in open_tiles(dataset.campaign.cube_path, view.mercator()):
        found = [one for one in (how.find(tile, text) for text in how.texts) if one is not None]
        if len(found) < len(how.texts):
            continue
        for share, picture in _pictures(dataset, view, how, tile, found):
            if best is None or share > best[0] + 1e-9:
                best = (share, picture)
            if best[0] >= _ENOUGH:
                return best[1]
    return None if best is None or best[0] <= 0 else best[1]


def _pictures(
    dataset: Dataset, view: View, how: Painter, tile: TileOpened, found: list[tuple[Group, str]]
) -> Iterator[tuple[float, Background]]:
    """Pictures of the dates with least cloud, each with the share of it that is valid and clear."""
    from odc.geo.geobox import GeoBox

    epsg = tile.where.epsg
    target = GeoBox((view.pixels, view.pixels), view.transform(epsg), f"EPSG:{epsg}")
    group = found[0][0]
    clouds = np.nan_to_num(cloud_covers(tile, group), nan=100.0)
    for number in np.argsort(clouds, kind="stable")[:_LOOKED_AT].tolist():
        planes = {}
        for text, (each, name) in zip(how.texts, found, strict=True):
            planes[text] = warped(each.arrays[name], each.where, number, Drawing(target, "bilinear"))
        if any(plane is None for plane in planes.values()):
            return
        known = {text: plane for text, plane in planes.items() if plane is not None}
        valid = np.logical_and.reduce([np.isfinite(plane) for plane in known.values()])
        clear = valid & ~_cloudy(dataset, tile, number, target)
        painted = how.paint(known)
        pixels = painted.pixels if painted.palette is None else painted.palette[painted.pixels]
        yield float(clear.mean()), Background(np.asarray(pixels, np.uint8), target.affine, epsg)


def _cloudy(dataset: Dataset, tile: TileOpened, number: int, target: Any) -> npt.NDArray[np.bool_]:
    """Pixels that the mask takes for cloud."""
    from hpckit.sensors.masks import flagged

    nothing = np.zeros((target.shape[0], target.shape[1]), np.bool_)
    mask = dataset.campaign.sensor.mask
    found = None if mask is None else tile.find(mask.name)
    if mask is None or found is None:
        return nothing
    group, name = found
    codes = warped(group.arrays[name], group.where, number, Drawing(target))
    return nothing if codes is None else np.asarray(flagged(mask.band, codes, mask.clouds), np.bool_)


def _layer(dataset: Dataset) -> Layer:
    """True colour; or what the cube has instead of it."""
    campaign = dataset.campaign
    held = campaign.cube_bands()
    shown = compose(campaign.sensor, held, {})
    if len(shown.bands) == 3 and shown.index is None:
        return Layer("rgb", shown.bands)
    plain = next((ref for ref in held if not ref.band.is_categorical), None)
    if plain is None:
        raise CubeError("the cube has no band that could be drawn")
    return Layer("band", (plain.name,))


def _utm(view: View) -> int:
    zone = min(60, int((view.lon + 180) // 6) + 1)
    return (32600 if view.lat >= 0 else 32700) + zone


def _needs_alpha(source: Any) -> bool:
    from rasterio.enums import ColorInterp

    return source.nodata is None and ColorInterp.alpha not in source.colorinterp


def _in_bytes(colours: npt.NDArray[Any], opacity: npt.NDArray[Any]) -> _Pixels:
    """Deeper pixels, stretched between the 2nd and 98th percentile of all bands."""
    low, high = np.percentile(colours[:, opacity > 0].astype(np.float32), (2, 98))
    return np.asarray(np.clip((colours - low) / max(high - low, 1e-9) * 255, 0, 255), np.uint8)

"""What a raster of heights is, that a campaign names for terrain correction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import shapely
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpckit.errors import SceneError
from hpckit.inputs.heights import fault_behind_heights, open_heights, require_sources
from hpckit.space.footprint import outline


@dataclass(frozen=True, slots=True)
class Heights:
    """A raster of heights."""

    shape: tuple[int, int]
    """Rows and columns."""
    crs: str
    outline: shapely.Geometry
    """In longitude and latitude."""

    def __str__(self) -> str:
        """`3601 x 3601 pixels of EPSG:4326`"""
        return f"{self.shape[0]} x {self.shape[1]} pixels of {self.crs}"


def describe(path: Path) -> Heights:
    """Open a raster of heights, and those that a VRT joins.

    Raises
    ------
    SceneError
        If it cannot serve as heights.
    """
    hint = "correct `scenes.radar.dem` or `geoid`"
    try:
        with open_heights(path) as raster:
            if raster.crs is None:
                raise SceneError(f"{path} has no CRS", hint="gdal_edit.py -a_srs gives it one")
            require_sources(path, Window(0, 0, raster.width, raster.height))
            place = outline(raster.crs.to_wkt(), tuple(raster.transform)[:6], raster.shape)
            return Heights(tuple(raster.shape), raster.crs.to_string(), place)
    except RasterioError as error:
        raise SceneError(f"{path}: the heights cannot be read", hint=hint) from fault_behind_heights(path, error)

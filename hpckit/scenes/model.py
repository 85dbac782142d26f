"""Scenes and acquisitions: what the rest of hpckit knows about products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from affine import Affine

from hpckit.scenes.radar import Radar

Level = Literal["L1C", "L2A", "GRD", "CARD-BS", "CARD-COH6", "RTC", "NRB"]


@dataclass(frozen=True, slots=True)
class Scene:
    """One product of one tile, as its metadata tell.

    A Sentinel-1 product lies across tiles: its scene has no tile (`""`) until `placing.place` puts it on one.
    """

    id: str
    """Product name without `.SAFE`: `S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454`."""
    href: str
    """Absolute path of the SAFE folder, or of the zip file that holds one; of Sentinel-1 also of a `.dim` file, or
    of the first GeoTIFF file of a product, beside which the others lie."""
    root: str
    """Path of the SAFE folder inside the zip file, `NAME.SAFE`; empty for a folder, or where it is the top."""
    level: Level
    platform: str
    """`S2A`, `S2B`, `S2C`, …"""
    sensed: datetime
    """Sensing time of the tile, UTC (SENSING_TIME in MTD_TL.xml)."""
    datatake: str
    """Datatake identifier, `GS2A_20221005T115411_038058_N04.00`."""
    datastrip: str
    granule: str
    tile: str
    """MGRS tile without the leading T: `29UNU`."""
    epsg: int
    baseline: str
    """Processing baseline, `04.00`."""
    relative_orbit: int
    cloud_cover: float | None
    """Percent."""
    nodata: float | None
    """Percent of nodata pixels, where the metadata tell."""
    quantification: float
    offsets: Mapping[str, int]
    """BOA_ADD_OFFSET or RADIO_ADD_OFFSET by band name; a band that is not listed has none."""
    ulx: float
    """Easting of the granule's upper left corner, metres."""
    uly: float
    shapes: Mapping[int, tuple[int, int]]
    """(rows, columns) by resolution in metres."""
    assets: Mapping[str, str]
    """File of a band, relative to the SAFE folder, by `BandRef.key` (`B04@10m`)."""
    footprint: Mapping[str, Any] = field(default_factory=dict)
    """GeoJSON geometry in WGS 84."""
    missing: tuple[str, ...] = ()
    """Image files that the metadata list and that are not there: an incomplete product."""
    radar: Radar | None = None
    """What only Sentinel-1 has; None for Sentinel-2."""

    @property
    def acquisition_id(self) -> str:
        """Datatake without its baseline: the same for every reprocessing of one pass."""
        return acquisition_id(self.datatake)

    def transform(self, resolution_m: int) -> Affine:
        """Affine transform from (column, row) to easting and northing, metres."""
        return Affine(resolution_m, 0, self.ulx, 0, -resolution_m, self.uly)

    def gdal_path(self, key: str) -> str:
        """Path under which GDAL opens the band `key` (`B04@10m`).

        Raises
        ------
        KeyError
            If the product lacks that band.
        """
        relative = "/".join(part for part in (self.root, self.assets[key]) if part)
        if self.href.lower().endswith((".dim", ".data", ".tif", ".tiff")):
            return f"{self.href.rpartition('/')[0]}/{relative}"
        if self.href.lower().endswith(".zip"):
            # Braces keep GDAL from guessing where the archive's name ends.
            return f"/vsizip/{{{self.href}}}/{relative}"
        return f"{self.href}/{relative}"


def unplaced(
    *,
    id: str,
    href: str,
    root: str,
    level: Level,
    platform: str,
    datatake: str,
    baseline: str,
    relative_orbit: int,
    assets: Mapping[str, str],
    footprint: Mapping[str, Any],
    missing: tuple[str, ...],
    radar: Radar,
) -> Scene:
    """Scene of a Sentinel-1 product, which has no tile and no pixels of a tile until it is placed."""
    return Scene(
        id=id,
        href=href,
        root=root,
        level=level,
        platform=platform,
        sensed=radar.start,
        datatake=datatake,
        datastrip=f"{radar.start:%Y%m%dT%H%M%S}",
        granule="",
        tile="",
        epsg=0,
        baseline=baseline,
        relative_orbit=relative_orbit,
        cloud_cover=None,
        nodata=None,
        quantification=1.0,
        offsets={},
        ulx=0.0,
        uly=0.0,
        shapes={},
        assets=assets,
        footprint=footprint,
        missing=missing,
        radar=radar,
    )


def acquisition_id(datatake: str) -> str:
    """Datatake without its baseline, `GS2A_20221005T115411_038058`."""
    return datatake.rsplit("_N", 1)[0]


@dataclass(frozen=True, slots=True)
class Acquisition:
    """One pass over one tile: a time step of a cube.

    Usually one scene; more where the pass was cut into datastrips, or frames, within the tile. The first scene
    with a valid pixel wins.
    """

    tile: str
    id: str
    """`Scene.acquisition_id`, e.g. `GS2A_20221005T115411_038058`, or `S1A_ASC_0382D5`."""
    time: datetime
    """Sensing time of the first scene, UTC."""
    scenes: tuple[Scene, ...]

"""Scenes, their assets, and acquisitions: what the rest of hpckit knows about products. All are values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from affine import Affine

from hpckit.base.frozendict import frozen
from hpckit.inputs.chunking import parse_chunking
from hpckit.inputs.transfer import ETAG
from hpckit.inputs.uri import RemotePlace, is_remote, locate, name_of, split_array
from hpckit.sensors.bands import split_key
from hpckit.space.frame import Frame

if TYPE_CHECKING:
    import shapely
    from odc.geo.geobox import GeoBox

Level = str
"""`L1C`, `L2A`, `GRD`, …: what was made of the measurements; each sensor has levels of its own."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One raster of a product: where its file lies, where its pixels lie, and what its numbers mean."""

    uri: str
    """Where the file, or array, lies, as `hpckit.inputs.uri` reads it."""
    crs: str = ""
    """`EPSG:32631`, or WKT; empty for a raster in the geometry of the sensor, which lies in no CRS."""
    transform: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """Affine transform from (column, row) to the CRS, in its units."""
    shape: tuple[int, int] = (0, 0)
    """Rows and columns."""
    layer: int = 1
    """Number of the band in the file, from 1 on."""
    dtype: str = ""
    """Data type in the file; empty where it is that of the cube."""
    nodata: float | None = None
    """Number in the file that is no value; None where it is that of the cube. NaN never is a value."""
    scale: float = 1.0
    """Physical value = number in the file * `scale` + `offset`."""
    offset: float = 0.0
    nbytes: int | None = None
    """Size of the file, where the metadata state it with the asset, or a server does."""
    digest: str = ""
    """Digest of the file, `sha256:` and hexadecimal digits, where the metadata state it with the asset; of a remote
    file without one `etag:` and what its server calls this version. Of a remote array `etag:` and the state of
    its hierarchy (`hierarchy.state_of`)."""
    chunks: str = ""
    """Of a remote array how it is stored, as `inputs.chunking` reads it; empty in catalogues of earlier versions."""

    @property
    def file(self) -> Path:
        """File on this machine that holds it: the zip file of a member, the folder of an array's hierarchy."""
        return locate(self.uri).path

    @property
    def is_remote(self) -> bool:
        """Whether it is on a server rather than on this machine."""
        return is_remote(self.uri)

    @property
    def is_member(self) -> bool:
        """Whether it is a member of a zip file."""
        return not self.is_remote and bool(locate(self.uri).member)

    @property
    def array(self) -> str:
        """Path of the array in its Zarr hierarchy; empty for a file."""
        found = split_array(self.uri)
        return found[1] if found else ""

    @property
    def hierarchy(self) -> Path | RemotePlace:
        """Place of the Zarr hierarchy that has the array: a folder, or an address with its version."""
        found = split_array(self.uri)
        if found is None:
            raise TypeError(f"{self.name} is no array")
        if isinstance(found[0], Path):
            return found[0]
        kind = parse_chunking(self.chunks).zarr_format if self.chunks else 0
        return RemotePlace(found[0], self.digest.removeprefix(ETAG), kind)

    @property
    def name(self) -> str:
        """Name of its file without the folder; of an array, its path in the hierarchy."""
        return name_of(self.uri)

    @property
    def affine(self) -> Affine:
        """Transform from (column, row) to the CRS."""
        return Affine(*self.transform)

    @property
    def geobox(self) -> GeoBox:
        """Shape, affine transform and CRS of a raster that lies in one."""
        from odc.geo.geobox import GeoBox

        return GeoBox(self.shape, self.affine, self.crs)


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Scene:
    """One product, as its metadata describe it; of a product with several granules, one of these."""

    id: str
    """Product name without `.SAFE`: `S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454`. Where that
    does not say which granule it is, tile and time of processing follow:
    `S2A_OPER_PRD_MSIL1C_…_T53HLA_20160905T073438`."""
    sensor: str
    """Name of the sensor, `sentinel-2`."""
    href: str
    """Absolute path of the product: of its folder, zip file or header, or of the first of its files."""
    level: Level
    platform: str
    """`S2A`, `S2B`, `S2C`, …"""
    sensed: datetime
    """UTC."""
    datatake: str
    """Pass that it is of: `GS2A_20221005T115411_038058_N04.00`, `S1A_ASC_0382D5`."""
    part: str = ""
    """Part of the pass that it holds: a datastrip, or a frame; empty for a whole one."""
    baseline: str
    """Processing baseline, or version of the processor: `04.00`; `0` where there is none."""
    relative_orbit: int = 0
    """0 where it is not known."""
    cloud_cover: float | None = None
    """Percent."""
    nodata: float | None = None
    """Percent of pixels without data, where the metadata state it."""
    frame: Frame | None = None
    """The tile on which it lies; None for a product that lies across tiles, until the sensor places it."""
    assets: Mapping[str, Asset]
    """Its rasters by `BandRef.key` (`B04@10m`); a file that serves pixels of several sizes stands once for each."""
    beside: Mapping[str, Asset] = field(default_factory=dict)
    """Files, or arrays, on servers that the pixels of a band are computed with, by band and kind (`VV/calibration`);
    of each, what is needed to fetch a copy. Those beside images of this machine are not listed."""
    footprint: shapely.Geometry | None = None
    """Outline of the data in longitude and latitude."""
    missing: tuple[str, ...] = ()
    """Image files that the metadata list and that are not there: an incomplete product."""
    details: Hashable = None
    """What only the room of its sensor knows of it."""
    content: str = ""
    """Digest of what the product holds (`content.content_of`)."""

    def __post_init__(self) -> None:
        """Make it a value that can be hashed, whatever mapping was given."""
        object.__setattr__(self, "assets", frozen(self.assets))
        object.__setattr__(self, "beside", frozen(self.beside))

    @property
    def tile(self) -> str:
        """Name of the tile on which it lies, `29UNU`; empty where it lies on none."""
        return self.frame.tile if self.frame is not None else ""

    @property
    def made_of(self) -> str:
        """Name and content: what results that are made from the product depend on."""
        return f"{self.id} {self.content}" if self.content else self.id

    @property
    def acquisition_id(self) -> str:
        """Datatake without its baseline: the same for every reprocessing of one pass."""
        return acquisition_id(self.datatake)

    def sizes(self, name: str) -> list[int]:
        """Pixel sizes in metres at which it has a band, the finest first."""
        return sorted(size for band, size in map(split_key, self.assets) if band == name)


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


@dataclass(frozen=True, slots=True)
class Dropped:
    """A scene that is not used."""

    scene_id: str
    reason: str
    field: str = ""
    """Field of the campaign file that it does not fit; those of products begin with `scenes.`."""


def bands_in(keys: Iterable[str]) -> set[str]:
    """Names of the bands of assets."""
    return {split_key(key)[0] for key in keys}

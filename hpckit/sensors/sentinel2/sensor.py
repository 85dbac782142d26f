"""Sentinel-2 as a sensor."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.sensors.along import common_along_time
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition, Dropped, Scene
from hpckit.sensors.native import MGRS
from hpckit.sensors.newest import newest
from hpckit.sensors.reader import Treatment, WindowAnswer, WindowRequest
from hpckit.sensors.sensor import AlongTime, Origin, Pictures
from hpckit.sensors.sentinel2.bands import BANDS, SCL, parse_band
from hpckit.sensors.sentinel2.details import lost_file
from hpckit.sensors.windows import windows_of
from hpckit.space.frame import Frame

if TYPE_CHECKING:
    import shapely

_LOST: Final = re.compile(r"(?:^|_)(B\d\d|B8A|SCL|AOT|WVP)(?:_\d\dm)?\.(?:jp2|tiff?)$")
_LOST_ARRAY: Final = re.compile(r"/r\d\dm/(b\d\d|b8a|scl|aot|wvp|cld|snw)$")
_MADE: Final = re.compile(r"_DS_.{4}_(\d{8}T\d{6})_")
_DECODED: Final = 6
_RECODED: Final = 20
"""Bytes at the peak for each byte of a strip; files of another data type than cubes go through floats."""
_TILE: Final = re.compile(r"T?\d{2}[C-HJ-NP-X][A-Z]{2}")


class Sentinel2:
    """The multispectral instruments of Sentinel-2: Level-1C and Level-2A."""

    name = "sentinel-2"
    collections: Mapping[str, str] = {"sentinel-2-l2a": "L2A", "sentinel-2-l1c": "L1C"}
    bands = BANDS
    mask = SCL
    grid = MGRS
    has_tiles = True
    option = ""
    coordinates = "relative_orbit processing_baseline cloud_cover spatial_ref"
    origin = Origin(
        mission="Sentinel-2",
        instrument="msi",
        provider="Copernicus",
        provider_url="https://dataspace.copernicus.eu",
        licence_url="https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice",
        since=date(2015, 6, 23),
    )
    pictures = Pictures(
        colour=("B04", "B03", "B02"),
        visible=("B01", "B04", "B03", "B02"),
        grey=("B04", "B03", "B02", "B08", "B8A"),
        index="(B08 - B04) / (B08 + B04)",
    )

    def parse(self, text: str, *, level: str | None = None, pixel_m: int | None = None) -> BandRef:
        """Band that a text names; `B4` is taken for `B04`."""
        return parse_band(text, level=level or "L2A", pixel_m=pixel_m)

    def tile(self, text: str) -> str:
        """Name of an MGRS tile, without a leading T."""
        if not _TILE.fullmatch(text.upper()):
            raise ValueError(f"{text!r} is no MGRS tile name; write it like 31UFU")
        return text.upper().removeprefix("T").zfill(5)

    def is_product(self, path: Path, is_folder: bool) -> bool:
        """Whether a folder or zip file holds the metadata of a product."""
        from hpckit.sensors.sentinel2 import product

        return product.is_product(path, is_folder)

    def products_in(self, folder: Path) -> Iterator[Path]:
        """None: products are folders and zip files."""
        return iter(())

    def is_part(self, path: Path) -> bool:
        """No entry of a folder belongs to a product beside it."""
        return False

    def is_remnant(self, path: Path) -> bool:
        """Whether a folder is what is left of a product, or of a kind that is not supported."""
        from hpckit.sensors.sentinel2 import product

        return product.is_remnant(path)

    def claims(self, path: Path) -> bool:
        """Whether a path is a product or what is left of one."""
        from hpckit.sensors.sentinel2 import product

        return product.is_product(path, path.is_dir()) or (path.is_dir() and product.is_remnant(path))

    def read(self, path: Path) -> Sequence[Scene]:
        """Read a SAFE folder or zip file, of one granule or of several, a tile in the layout of AWS, or EOPF Zarr."""
        from hpckit.sensors.sentinel2 import product

        return product.read_scenes(path)

    def is_current(self, scene: Scene) -> bool:
        """Always: what it says depends on its files alone."""
        return True

    def to_item(self, scene: Scene) -> dict[str, Any]:
        """STAC item with the properties `s2:*`."""
        from hpckit.sensors.sentinel2 import stac

        return stac.to_item(scene)

    def from_item(self, item: Mapping[str, Any]) -> Scene:
        """Scene of an item that `to_item` made."""
        from hpckit.sensors.sentinel2 import stac

        return stac.from_item(item)

    def describe(self, scene: Scene) -> tuple[str, ...]:
        """Tile, time, cloud cover, baseline."""
        cloud = "  ? %" if scene.cloud_cover is None else f"{scene.cloud_cover:3.0f} %"
        return scene.tile, f"{scene.sensed:%Y-%m-%d %H:%M}", cloud, f"N{scene.baseline}"

    def meaning(self, scene: Scene, reading: Treatment) -> Mapping[str, str]:
        """Where the reflectance is."""
        return {"reflectance": "surface" if scene.level == "L2A" else "top-of-atmosphere"}

    def holds(self, scene: Scene, ref: BandRef, *, resampled: bool) -> bool:
        """Whether a product has the band: at the pixel size of the cube, unless it is resampled."""
        return bool(scene.sizes(ref.name)) if resampled else ref.key in scene.assets

    def is_lost(self, scene: Scene, name: str) -> bool:
        """Whether an image file, or array, of the band is listed and gone."""
        if any(file.startswith(lost_file(name, "")) for file in scene.missing):
            return True
        found = (_LOST.search(file) or _LOST_ARRAY.search(file) for file in scene.missing)
        return any(match is not None and match[1].upper() == name for match in found)

    def start(self, scene: Scene) -> str:
        """Begin of the datatake."""
        return scene.datatake.split("_")[1]

    def newest(self, scenes: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
        """The newest baseline; of each datastrip one product."""
        return newest(scenes, _strip, part="datastrip", one_baseline=True, produced=_produced)

    def place(
        self, scenes: Sequence[Scene], aoi: shapely.Geometry | None, tiles: Sequence[str] | None
    ) -> tuple[list[Scene], list[Dropped]]:
        """Products are granules, which are tiles."""
        return list(scenes), []

    def read_windows(self, request: WindowRequest) -> WindowAnswer:
        """Windows of the granule as they are, or resampled onto a grid."""
        return windows_of(request, self.mask)

    def row_bytes(self, frame: Frame, ref: BandRef, acquisitions: Sequence[Acquisition], treatment: Treatment) -> int:
        """Decoded strip, its harmonised copy (through 32 bits) and OpenJPEG's 32-bit tiles."""
        if treatment.onto is None:
            scenes = (scene for item in acquisitions for scene in item.scenes)
            recoded = any(scene.assets[ref.key].dtype for scene in scenes if ref.key in scene.assets)
            return (_RECODED if recoded else _DECODED) * frame.row_bytes(ref.resolution_m, ref.dtype)
        from hpckit.sensors.regrid import strip_bytes  # imports odc.geo, which granules need not wait for

        return strip_bytes(frame, ref, acquisitions)

    def along_time(self, acquisitions: Sequence[Acquisition]) -> AlongTime:
        """Orbit, baseline and cloud cover."""
        return common_along_time(acquisitions)

    def tells(self, acquisition: Acquisition) -> dict[str, Any]:
        """Nothing else."""
        return {}


SENTINEL2: Final = Sentinel2()


def _strip(scene: Scene) -> str:
    """Sensing part of a datastrip identifier (`S20221005T115407`): the same for every processing of it."""
    parts = scene.part.split("_")
    return next((part for part in parts if part.startswith("S2") and part[1:9].isdigit()), scene.part)


def _produced(scene: Scene) -> str:
    """When a datastrip was processed: names of products before November 2017 do not have it.

    Their last part is the time of sensing. Granules of one datastrip are processed with it.
    """
    made = _MADE.search(scene.part)
    return made[1] if made else scene.id.rpartition("_")[2]

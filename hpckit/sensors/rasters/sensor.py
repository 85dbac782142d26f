"""Images of one's own as hpckit sees a sensor: the campaign says what their bands are.

`RASTERS` knows no band. A campaign makes a sensor with its own bands from its options; scenes in catalogues need no
options, since their assets have the files, places and meanings of numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from hpckit.base.frozendict import frozen
from hpckit.errors import CatalogueError, SceneError
from hpckit.sensors.along import common_along_time
from hpckit.sensors.bands import Band, BandRef, parse_ref, split_key
from hpckit.sensors.masks import MaskBand
from hpckit.sensors.model import Acquisition, Dropped, Scene
from hpckit.sensors.rasters.bands import BandFile
from hpckit.sensors.rasters.pattern import TILE, Pattern
from hpckit.sensors.reader import Treatment, WindowAnswer, WindowRequest
from hpckit.sensors.sensor import AlongTime, Origin, Pictures
from hpckit.sensors.windows import windows_of
from hpckit.space.frame import Edges, Frame
from hpckit.space.granules import Granules

if TYPE_CHECKING:
    import shapely

_LEVEL: Final = "OWN"
_EDGES: Final = Edges(1024, 256)
_ENDINGS: Final = (".tif", ".tiff")
_DECODED: Final = 40
"""Bytes that a pixel takes while it is converted: as 64-bit numbers, twice, and in the file's and the cube's type."""

_RESAMPLED: Final = 5
"""Times what resampling takes of products whose numbers are not converted; both as measured."""


@dataclass(frozen=True)
class Rasters:
    """Images whose names say date and band."""

    pattern: Pattern | None = None
    files: tuple[BandFile, ...] = ()
    mask: MaskBand | None = None
    source: str = "Images"
    """What they are, in captions."""
    digest: str = ""
    """Of the options that scenes are read with."""
    has_sizes: bool = True
    """Whether the campaign says how large their pixels are."""

    name = "own-rasters"
    collections: ClassVar[Mapping[str, str]] = frozen({"own-rasters": _LEVEL})
    has_tiles = True
    option = "rasters"
    coordinates = "relative_orbit processing_baseline cloud_cover spatial_ref"

    @cached_property
    def bands(self) -> Mapping[str, Band]:
        """All bands by name."""
        return frozen({file.band.name: file.band for file in self.files})

    @cached_property
    def grid(self) -> Granules:
        """Tiles that images lie on, each of one raster."""
        sizes = {size for band in self.bands.values() for size in band.resolutions_m}
        return Granules(self.option, dict.fromkeys(sorted(sizes), _EDGES))

    @property
    def origin(self) -> Origin:
        """What the campaign calls them; whose they are is not known."""
        return Origin(self.source, "", "", "", "", date.min)

    @cached_property
    def pictures(self) -> Pictures:
        """True colour and NDVI where bands have these common names."""
        common = {band.common_name: band.name for band in self.bands.values() if band.common_name}
        colour = tuple(common[name] for name in ("red", "green", "blue") if name in common)
        near = common.get("nir") or common.get("nir08")
        red = common.get("red")
        visible = [name for name in colour if self.bands[name].kind == "reflectance"]
        return Pictures(
            colour=colour if len(colour) == 3 else (),
            visible=tuple(visible),
            grey=tuple(name for name, band in self.bands.items() if not band.is_mask),
            index=f"({near} - {red}) / ({near} + {red})" if near and red else "",
        )

    def parse(self, text: str, *, level: str | None = None, pixel_m: int | None = None) -> BandRef:
        """Band that a text names, whatever upper and lower case."""
        spelt = {name.lower(): name for name in self.bands}
        ref = parse_ref(
            text, self.bands, of=self.source, pixel_m=pixel_m, spelt=lambda name: spelt.get(name.lower(), name)
        )
        if level is not None and pixel_m is None and not self.has_sizes:
            raise ValueError(
                "with `grid: native`, `scenes.rasters` needs the size of the images' pixels in metres: `pixel: 10`"
            )
        return ref

    def tile(self, text: str) -> str:
        """Name of a tile, as names of files have it."""
        if self.pattern is None or not re.fullmatch(TILE, text):
            raise ValueError(f"{text!r} is no tile of images; write it like names of files have it, north or A-1")
        return text

    def is_product(self, path: Path, is_folder: bool) -> bool:
        """Whether a file that somebody named has a name as the pattern has it."""
        return not is_folder and self.pattern is not None and self.pattern.match(path) is not None

    def products_in(self, folder: Path) -> Iterator[Path]:
        """Of the images of each date and tile the first one."""
        if self.pattern is None:
            return
        seen = set()
        for path, found in self.pattern.images(folder):
            if found.key not in seen:
                seen.add(found.key)
                yield path

    def is_part(self, path: Path) -> bool:
        """No entry of a folder belongs to an image beside it."""
        return False

    def is_remnant(self, path: Path) -> bool:
        """Whether a folder holds images, and none with a name as the pattern has it."""
        if self.pattern is None:
            return False
        names = _images(path)
        return bool(names) and not any(self.pattern.match(path / name) for name in names)

    def claims(self, path: Path) -> bool:
        """Whether a path is an image, or a folder of images with other names."""
        return self.is_remnant(path) if path.is_dir() else self.is_product(path, is_folder=False)

    def read(self, path: Path) -> Sequence[Scene]:
        """Read the headers of the images of one date and tile."""
        from hpckit.sensors.rasters import reading

        if self.pattern is None:
            raise SceneError(f"{path.name}: images are read by a campaign with `scenes.rasters`")
        if path.is_dir():
            raise reading.misnamed(self.pattern, path, _images(path))
        scene = reading.read_scene(self.pattern, self.files, path, sensor=self.name, level=_LEVEL, digest=self.digest)
        return [scene]

    def is_current(self, scene: Scene) -> bool:
        """Whether it was read with the same options, and from the images that are there now."""
        found = None if self.pattern is None else self.pattern.match(Path(scene.href))
        if self.pattern is None or found is None or scene.details != self.digest:
            return False
        there = {str(path) for _, path in self.pattern.beside(found)}
        return there == {asset.uri for asset in scene.assets.values()}

    def to_item(self, scene: Scene) -> dict[str, Any]:
        """STAC item without properties of its own."""
        from hpckit.sensors.items import plain_item

        return plain_item(scene, code=self.option.upper(), instrument="", details=scene.details)

    def from_item(self, item: Mapping[str, Any]) -> Scene:
        """Scene of an item that `to_item` made."""
        from hpckit.sensors.items import scene_of

        return scene_of(item, details=str)

    def describe(self, scene: Scene) -> tuple[str, ...]:
        """Tile, time, bands."""
        return scene.part, f"{scene.sensed:%Y-%m-%d %H:%M}", "+".join(sorted(_bands(scene)))

    def meaning(self, scene: Scene, reading: Treatment) -> Mapping[str, str]:
        """Nothing: images do not tell."""
        return {}

    def holds(self, scene: Scene, ref: BandRef, *, resampled: bool) -> bool:
        """Whether there is an image of the band, with the pixels of the cube unless it is resampled."""
        return bool(scene.sizes(ref.name)) if resampled else ref.key in scene.assets

    def is_lost(self, scene: Scene, name: str) -> bool:
        """Never: nothing lists the images that there should be."""
        return False

    def start(self, scene: Scene) -> str:
        """Date and time."""
        return scene.datatake

    def newest(self, scenes: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
        """All, but copies.

        Raises
        ------
        CatalogueError
            If there are two different images of a band, date and tile.
        """
        kept: list[Scene] = []
        dropped: list[Dropped] = []
        for scene in sorted(scenes, key=lambda scene: (scene.part, scene.id, scene.href)):
            same = [other for other in kept if other.part == scene.part and _bands(other) & _bands(scene)]
            if not same:
                kept.append(scene)
            elif scene.content and scene.content == same[0].content:
                dropped.append(Dropped(scene.id, f"{scene.href} is the same as {same[0].href}"))
            else:
                raise CatalogueError(
                    f"{same[0].href} and {scene.href} are images of one date and band",
                    hint="remove one, or tell them apart by {time} or {tile} in `rasters.pattern`",
                )
        return kept, dropped

    def place(
        self, scenes: Sequence[Scene], aoi: shapely.Geometry | None, tiles: Sequence[str] | None
    ) -> tuple[list[Scene], list[Dropped]]:
        """Look whether all images of a tile lie on the same pixels.

        Raises
        ------
        CatalogueError
            If they do not, or on those that a cube cannot have.
        """
        from hpckit.sensors.rasters.lattice import place_all

        return place_all(scenes, self.bands if self.has_sizes else {}), []

    def read_windows(self, request: WindowRequest) -> WindowAnswer:
        """Windows of images as they are, or resampled onto a grid."""
        return windows_of(request, self.mask)

    def row_bytes(self, frame: Frame, ref: BandRef, acquisitions: Sequence[Acquisition], treatment: Treatment) -> int:
        """What is decoded of an image, and converted."""
        if treatment.onto is None:
            return _DECODED * frame.row_bytes(ref.resolution_m, "uint8") + frame.row_bytes(
                ref.resolution_m, ref.dtype
            )
        from hpckit.sensors.regrid import strip_bytes

        return _RESAMPLED * strip_bytes(frame, ref, acquisitions)

    def along_time(self, acquisitions: Sequence[Acquisition]) -> AlongTime:
        """Orbit, baseline and clouds, which are not known."""
        return common_along_time(acquisitions)

    def tells(self, acquisition: Acquisition) -> dict[str, Any]:
        """Nothing else."""
        return {}


RASTERS: Final = Rasters()


def _bands(scene: Scene) -> set[str]:
    return {split_key(key)[0] for key in scene.assets}


def _images(folder: Path) -> list[str]:
    """Names of the images in a folder."""
    names = (entry.name for entry in folder.iterdir())
    return sorted(name for name in names if name.lower().endswith(_ENDINGS) and not name.startswith("."))

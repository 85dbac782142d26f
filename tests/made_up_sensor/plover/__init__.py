"""Plover, a made-up optical sensor: pixels of 30 m on tiles of its own, `h18v04`, and a mask of bits.

A product is a folder with `plover.json` and one GeoTIFF file for each band. Version 1 stores reflectance * 5000,
version 2 reflectance * 5000 + 1000.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from hpckit.errors import SceneError
from hpckit.sensors.along import common_along_time
from hpckit.sensors.bands import Band, BandRef, parse_ref
from hpckit.sensors.granules import decode_windows
from hpckit.sensors.items import plain_item, scene_of
from hpckit.sensors.masks import MaskBand
from hpckit.sensors.model import Acquisition, Asset, Dropped, Scene
from hpckit.sensors.newest import newest
from hpckit.sensors.reader import Treatment, WindowAnswer, WindowRequest
from hpckit.sensors.regrid import resample_windows, strip_bytes
from hpckit.sensors.sensor import AlongTime, Origin, Pictures
from hpckit.space import footprint
from hpckit.space.frame import Edges, Frame
from hpckit.space.granules import Granules

PIXEL_M: Final = 30
EDGE: Final = 200
"""Pixels along the edge of a tile: more than one window, and no whole number of them."""
EPSG: Final = 3035
OFFSETS: Final = {"1": 0, "2": -1000}
METADATA: Final = "plover.json"
_TILE: Final = re.compile(r"h(\d\d)v(\d\d)", re.IGNORECASE)


def corner(tile: str) -> tuple[float, float]:
    """Easting and northing of the upper left corner of a tile."""
    match = _TILE.fullmatch(tile)
    if match is None:
        raise ValueError(f"{tile!r} is no tile of Plover; write it like h18v04")
    return 4_002_000.0 + int(match[1]) * EDGE * PIXEL_M, 3_198_000.0 - int(match[2]) * EDGE * PIXEL_M


def _band(name: str, wavelength_nm: int, common_name: str) -> Band:
    return Band(
        name,
        PIXEL_M,
        "reflectance",
        (PIXEL_M,),
        wavelength_nm,
        common_name,
        scale=2e-4,
        offset=-0.2,
        long_name=f"reflectance, {name}",
        axis=" reflectance",
    )


FLAGS: Final = ((0, "fill"), (1, "cloud"), (2, "cloud shadow"), (3, "snow"), (4, "water"))
BANDS: Final = {
    band.name: band
    for band in (
        _band("Blue", 480, "blue"),
        _band("Green", 560, "green"),
        _band("Red", 660, "red"),
        _band("Near", 860, "nir"),
        Band(
            "Warm",
            PIXEL_M,
            "temperature",
            (PIXEL_M,),
            scale=0.01,
            offset=100.0,
            units="K",
            long_name="temperature",
            axis=", K",
        ),
        Band("Marks", PIXEL_M, "bits", (PIXEL_M,), dtype="uint8", long_name="quality marks", flags=FLAGS),
    )
}
_SPELT: Final = {name.lower(): name for name in BANDS}


def asset(file: Path, name: str, frame: Frame, version: str) -> Asset:
    """File of a band: version 1 has another offset than cubes."""
    scale, offset = BANDS[name].scale, BANDS[name].offset
    if BANDS[name].wavelength_nm:
        offset = scale * OFFSETS[version]
    transform = tuple(frame.transform(PIXEL_M)[:6])
    return Asset(str(file), f"EPSG:{EPSG}", transform, (EDGE, EDGE), scale=scale, offset=offset)


class Plover:
    """The sensor."""

    name = "plover"
    collections: Mapping[str, str] = {"plover-surface": "SURFACE"}
    bands = BANDS
    mask = MaskBand(BANDS["Marks"], hide=(0, 1, 2), spread=(1, 2), clouds=(1,), empty=(0,), quickest=(PIXEL_M,))
    grid = Granules("plover", {PIXEL_M: Edges(128, 64)})
    has_tiles = True
    option = ""
    coordinates = "relative_orbit processing_baseline cloud_cover spatial_ref"
    origin = Origin(
        mission="Plover",
        instrument="beak",
        provider="Nobody",
        provider_url="https://plover.example",
        licence_url="https://plover.example/licence",
        since=date(2020, 1, 1),
    )
    pictures = Pictures(
        colour=("Red", "Green", "Blue"),
        visible=("Red", "Green", "Blue"),
        grey=("Red",),
        index="(Near - Red) / (Near + Red)",
    )

    def parse(self, text: str, *, level: str | None = None, pixel_m: int | None = None) -> BandRef:
        return parse_ref(text, BANDS, of="Plover", pixel_m=pixel_m, spelt=lambda name: _SPELT.get(name.lower(), name))

    def tile(self, text: str) -> str:
        corner(text)
        return text.lower()

    def is_product(self, path: Path, is_folder: bool) -> bool:
        return is_folder and (path / METADATA).is_file()

    def products_in(self, folder: Path) -> Iterator[Path]:
        return iter(())

    def is_part(self, path: Path) -> bool:
        return False

    def is_remnant(self, path: Path) -> bool:
        return False

    def claims(self, path: Path) -> bool:
        return self.is_product(path, path.is_dir())

    def read(self, path: Path) -> Sequence[Scene]:
        try:
            told = json.loads((path / METADATA).read_text())
            ulx, uly = corner(told["tile"])
            sensed = datetime.fromisoformat(told["sensed"])
            frame = Frame(told["tile"], EPSG, ulx, uly, {PIXEL_M: (EDGE, EDGE)}, {})
            files = {name: path.absolute() / f"{name}.tif" for name in told["bands"]}
            scene = Scene(
                id=path.name,
                href=str(path.absolute()),
                level="SURFACE",
                platform=told["satellite"],
                sensed=sensed,
                datatake=f"PLV_{sensed:%Y%m%dT%H%M%S}",
                frame=frame,
                baseline=told["version"],
                relative_orbit=told["orbit"],
                cloud_cover=told["cloud_cover"],
                assets={
                    f"{name}@{PIXEL_M}m": asset(file, name, frame, told["version"])
                    for name, file in files.items()
                    if file.is_file()
                },
                footprint=footprint.outline(f"EPSG:{EPSG}", frame.transform(PIXEL_M)[:6], (EDGE, EDGE)),
                missing=tuple(file.name for file in files.values() if not file.is_file()),
                sensor=self.name,
            )
            return [scene]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SceneError(f"{path.name}: its metadata are malformed") from error

    def is_current(self, scene: Scene) -> bool:
        return True

    def to_item(self, scene: Scene) -> dict[str, Any]:
        return plain_item(scene, code=self.grid.name.upper(), instrument=self.origin.instrument)

    def from_item(self, item: Mapping[str, Any]) -> Scene:
        return scene_of(item)

    def describe(self, scene: Scene) -> tuple[str, ...]:
        return scene.tile, f"{scene.sensed:%Y-%m-%d %H:%M}", f"version {scene.baseline}"

    def meaning(self, scene: Scene, reading: Treatment) -> Mapping[str, str]:
        return {"reflectance": "surface"}

    def holds(self, scene: Scene, ref: BandRef, *, resampled: bool) -> bool:
        return bool(scene.sizes(ref.name))

    def is_lost(self, scene: Scene, name: str) -> bool:
        return f"{name}.tif" in scene.missing

    def start(self, scene: Scene) -> str:
        return f"{scene.sensed:%Y%m%dT%H%M%S}"

    def newest(self, scenes: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
        return newest(scenes, lambda scene: scene.part, part="tile", one_baseline=True)

    def place(self, scenes: Sequence[Scene], aoi: Any, tiles: Any) -> tuple[list[Scene], list[Dropped]]:
        return list(scenes), []

    def read_windows(self, request: WindowRequest) -> WindowAnswer:
        read = decode_windows if request.treatment.onto is None else resample_windows
        return read(request, self.mask)

    def row_bytes(self, frame: Frame, ref: BandRef, acquisitions: Sequence[Acquisition], treatment: Treatment) -> int:
        if treatment.onto is None:
            return 4 * frame.row_bytes(ref.resolution_m, ref.dtype)
        return strip_bytes(frame, ref, acquisitions)

    def along_time(self, acquisitions: Sequence[Acquisition]) -> AlongTime:
        return common_along_time(acquisitions)

    def tells(self, acquisition: Acquisition) -> dict[str, Any]:
        return {"satellite": acquisition.scenes[0].platform}


PLOVER: Final = Plover()

"""Sentinel-1 as a sensor."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpckit.sensors.along import common_along_time
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition, Dropped, Scene
from hpckit.sensors.native import MGRS
from hpckit.sensors.newest import newest
from hpckit.sensors.reader import Treatment, WindowAnswer, WindowRequest
from hpckit.sensors.sensor import AlongTime, Origin, Pictures
from hpckit.sensors.sentinel1.bands import BANDS, parse_band
from hpckit.sensors.sentinel1.model import radar_of
from hpckit.sensors.sentinel1.reading import RadarReading
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.frame import Frame

if TYPE_CHECKING:
    import shapely

_ORBIT_STATE: Final = {
    "long_name": "direction of flight",
    "flag_values": [0, 1],
    "flag_meanings": "ascending descending",
}
_POLARISATIONS: Final = ("VV", "VH", "HH", "HV")
_IN_NAME: Final = re.compile(rf"(?<![A-Za-z])({'|'.join(_POLARISATIONS)})(?![A-Za-z])", re.IGNORECASE)
_INCIDENCE: Final = {"long_name": "incidence angle at the middle of the swath", "units": "degree"}


class Sentinel1:
    """The radars of Sentinel-1: raw GRD, and what others made of it; put on the granules of Sentinel-2."""

    name = "sentinel-1"
    collections: Mapping[str, str] = {
        "sentinel-1-grd": "GRD",
        "sentinel-1-card-bs": "CARD-BS",
        "sentinel-1-card-coh6": "CARD-COH6",
        "sentinel-1-rtc": "RTC",
        "sentinel-1-nrb": "NRB",
    }
    bands = BANDS
    mask = None
    grid = MGRS
    has_tiles = False
    option = "radar"
    coordinates = f"{SENTINEL2.coordinates} orbit_state incidence_angle"
    origin = Origin(
        mission="Sentinel-1",
        instrument="c-sar",
        provider=SENTINEL2.origin.provider,
        provider_url=SENTINEL2.origin.provider_url,
        licence_url=SENTINEL2.origin.licence_url,
        since=date(2014, 4, 3),
    )
    pictures = Pictures(grey=("VV", "HH"), is_grey=True)

    def parse(self, text: str, *, level: str | None = None, pixel_m: int | None = None) -> BandRef:
        """Band that a text names."""
        return parse_band(text, level=level or "", pixel_m=pixel_m)

    def tile(self, text: str) -> str:
        """Name of an MGRS tile, without a leading T."""
        return SENTINEL2.tile(text)

    def is_product(self, path: Path, is_folder: bool) -> bool:
        """Whether a folder or zip file is an ESA product, or another file one of any kind."""
        from hpckit.sensors.sentinel1 import product

        if product.is_safe(path, is_folder):
            return True
        return (not is_folder or path.suffix == ".data") and product.is_radar_product(path)

    def products_in(self, folder: Path) -> Iterator[Path]:
        """DIMAP headers, DIMAP data without one, and groups of GeoTIFF files."""
        from hpckit.sensors.sentinel1 import product

        return product.products_in(folder)

    def is_part(self, path: Path) -> bool:
        """Whether a folder holds the data of a DIMAP header."""
        return path.suffix == ".data"

    def is_remnant(self, path: Path) -> bool:
        """Whether a folder is what is left of a product."""
        from hpckit.sensors.sentinel1 import product

        return product.is_remnant(path)

    def claims(self, path: Path) -> bool:
        """Whether a path is a product or what is left of one."""
        from hpckit.sensors.sentinel1 import product

        return product.is_radar_product(path)

    def read(self, path: Path) -> Sequence[Scene]:
        """Read a product of any kind: one scene, which has no tile yet."""
        from hpckit.sensors.sentinel1 import product

        return [product.read_product(path)]

    def is_current(self, scene: Scene) -> bool:
        """Always: what it says depends on its files alone."""
        return True

    def to_item(self, scene: Scene) -> dict[str, Any]:
        """STAC item with the properties `sar:*` and `sat:*`."""
        from hpckit.sensors.sentinel1 import stac

        return stac.to_item(scene)

    def from_item(self, item: Mapping[str, Any]) -> Scene:
        """Scene of an item that `to_item` made."""
        from hpckit.sensors.sentinel1 import stac

        return stac.from_item(item)

    def describe(self, scene: Scene) -> tuple[str, ...]:
        """Level, time, direction and relative orbit, polarisations."""
        radar = radar_of(scene)
        orbit = f"{radar.orbit_state[:3]} {scene.relative_orbit:03d}"
        return f"{scene.level:<9}", f"{scene.sensed:%Y-%m-%d %H:%M}", orbit, "+".join(radar.polarisations)

    def meaning(self, scene: Scene, reading: Treatment) -> Mapping[str, str]:
        """Coefficient of backscatter: normalised by the terrain in RTC and NRB, else by the ellipsoid."""
        kind = radar_of(scene).radiometry
        if kind == "dn" and isinstance(reading.options, RadarReading):
            kind = reading.options.radiometry
        if kind not in ("gamma0", "sigma0"):
            return {}
        surface = "terrain" if scene.level in ("RTC", "NRB") and kind == "gamma0" else "ellipsoid"
        return {"backscatter": f"{kind}-{surface}"}

    def holds(self, scene: Scene, ref: BandRef, *, resampled: bool) -> bool:
        """Whether a product has the band: each file serves all pixel sizes."""
        return bool(scene.sizes(ref.name))

    def is_lost(self, scene: Scene, name: str) -> bool:
        """Whether a file is listed and gone that is of the band, or of which the name does not tell the band."""
        return any(_polarisation(file) in ("", name) or name not in _POLARISATIONS for file in scene.missing)

    def start(self, scene: Scene) -> str:
        """Begin of the frame."""
        return f"{scene.sensed:%Y%m%dT%H%M%S}"

    def newest(self, scenes: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
        """Of each frame one product; frames of one pass may come from different processors."""
        return newest(scenes, lambda scene: scene.part, part="frame", one_baseline=False)

    def place(
        self, scenes: Sequence[Scene], aoi: shapely.Geometry | None, tiles: Sequence[str] | None
    ) -> tuple[list[Scene], list[Dropped]]:
        """Put scenes on the granules that they share some area with."""
        from hpckit.sensors.sentinel1 import placing

        return placing.place_all(scenes, self.grid, aoi, tiles)

    def read_windows(self, request: WindowRequest) -> WindowAnswer:
        """Windows of backscatter, coherence or angles, resampled once."""
        from hpckit.sensors.sentinel1.windows import radar_windows

        return radar_windows(request)

    def row_bytes(self, frame: Frame, ref: BandRef, acquisitions: Sequence[Acquisition], treatment: Treatment) -> int:
        """Peak of resampling, measured: of raw products heights, places and power, all at 10 m."""
        row = frame.row_bytes(ref.resolution_m, ref.dtype)
        if acquisitions[0].scenes[0].level != "GRD":
            return 10 * row
        return 28 * max(1, ref.resolution_m // 10) ** 2 * row

    def along_time(self, acquisitions: Sequence[Acquisition]) -> AlongTime:
        """Orbit, baseline, cloud cover (unknown), direction of flight and incidence angle."""
        radars = [radar_of(item.scenes[0]) for item in acquisitions]
        states = [radar.orbit_state == "descending" for radar in radars]
        angles = [np.nan if radar.incidence is None else np.mean(radar.incidence) for radar in radars]
        return {
            **common_along_time(acquisitions),
            "orbit_state": (np.array(states, "u1"), _ORBIT_STATE),
            "incidence_angle": (np.array(angles, "<f4"), _INCIDENCE),
        }

    def tells(self, acquisition: Acquisition) -> dict[str, Any]:
        """Direction of flight, kind of backscatter and incidence angles."""
        radar = radar_of(acquisition.scenes[0])
        return {
            "orbit_state": radar.orbit_state,
            "radiometry": radar.radiometry,
            "incidence_angle": None if radar.incidence is None else list(radar.incidence),
        }


def _polarisation(file: str) -> str:
    """Polarisation in the name of a file; empty if it has none."""
    match = _IN_NAME.search(file)
    return match[1].upper() if match else ""


SENTINEL1: Final = Sentinel1()

"""What hpckit asks of a sensor. Adding one is one class that answers; `hpckit.testing.sensors` tests it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

from hpckit.sensors.bands import Band, BandRef
from hpckit.sensors.masks import MaskBand
from hpckit.sensors.model import Acquisition, Dropped, Scene
from hpckit.sensors.reader import Treatment, WindowAnswer, WindowRequest
from hpckit.space.frame import Frame
from hpckit.space.granules import Granules

if TYPE_CHECKING:
    import shapely

AlongTime = Mapping[str, tuple[npt.NDArray[Any], Mapping[str, Any]]]
"""Coordinates on a time axis by name: one value an acquisition, and attributes for readers of the cube."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose data they are, as catalogues and metadata of results state it."""

    mission: str
    """`Sentinel-2`: in titles and captions."""
    instrument: str
    """As STAC has it: `msi`; empty, as all that follow, if it is not known."""
    provider: str
    provider_url: str
    licence_url: str
    since: date
    """Day of the first launch: no product is older."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """How a sensor's data are shown."""

    colour: tuple[str, ...] = ()
    """Names of the bands of true colour: red, green, blue; none if the sensor does not see colours."""
    visible: tuple[str, ...] = ()
    """Bands whose reflectance is shown on one scale for all dates."""
    grey: tuple[str, ...] = ()
    """Bands of which one is shown in grey where nothing better is there, the best one first."""
    index: str = ""
    """Expression of NDVI; empty if the sensor has none."""
    is_grey: bool = False
    """Whether one band in grey is the best picture, as it is of radar."""


class Sensor(Protocol):
    """A sensor, or a family of sensors with the same products.

    Implementations have no state of their own and are safe to use from several threads and processes.
    """

    @property
    def name(self) -> str:
        """Short name, as STAC has constellations: `sentinel-2`. It is `Scene.sensor` of each product."""

    @property
    def collections(self) -> Mapping[str, str]:
        """Level of the products (`Scene.level`) by the name that a campaign file has for them, the usual first."""

    @property
    def bands(self) -> Mapping[str, Band]:
        """All bands by name."""

    @property
    def mask(self) -> MaskBand | None:
        """The band that masks clouds; None if there is none, or nothing to mask."""

    @property
    def grid(self) -> Granules:
        """The tiles that products lie on, or that `place` puts them on: their name, and how a cube cuts them."""

    @property
    def has_tiles(self) -> bool:
        """Whether products come on tiles of their own; else `place` puts them on tiles."""

    @property
    def option(self) -> str:
        """Field of `scenes` in a campaign file that holds the sensor's own options; empty if it has none."""

    @property
    def origin(self) -> Origin:
        """Whose data they are."""

    @property
    def pictures(self) -> Pictures:
        """How they are shown."""

    def parse(self, text: str, *, level: str | None = None, pixel_m: int | None = None) -> BandRef:
        """Band that a text names: `B04` at its native pixel size, `B04@60m` at another one.

        Parameters
        ----------
        level : str, optional
            Only bands that products of the level have; all bands if not given.
        pixel_m : int, optional
            Size of the pixels that bands are resampled onto, metres: that of `B04`, and any other one is possible.

        Raises
        ------
        ValueError
            If there is no such band, or not at that pixel size; the message lists those that are.
        """

    def tile(self, text: str) -> str:
        """Name of a tile as products have it: `31UFU` for `T31ufu`.

        Raises
        ------
        ValueError
            If it cannot be one; the message gives an example.
        """

    def is_product(self, path: Path, is_folder: bool) -> bool:
        """Whether a folder or file is a product of the sensor, by what it holds rather than by its name.

        Raises
        ------
        OSError
            If it cannot be read.
        """

    def products_in(self, folder: Path) -> Iterator[Path]:
        """Products of a folder that are files, without those that `is_product` knows."""

    def is_part(self, path: Path) -> bool:
        """Whether an entry of a folder belongs to a product that is a file beside it: it is not searched."""

    def is_remnant(self, path: Path) -> bool:
        """Whether a folder in which no product was found is what is left of one: it is read, and reported."""

    def claims(self, path: Path) -> bool:
        """Whether a path that the search gave is for this sensor to read."""

    def read(self, path: Path) -> Sequence[Scene]:
        """Read what the metadata of a product tell, and which of its files are there.

        Returns
        -------
        sequence of Scene
            One, or one for each granule if the product has several, with different `id`. With `sensor` and `level` of
            this sensor, a frame where it lies on a tile of its own, and assets by `BandRef.key`. `content` is left
            empty.

        Raises
        ------
        SceneError
            If it is broken or of an unsupported kind; the message names product and reason. A product that lacks
            some files is no error: `Scene.missing` lists them.
        """

    def is_current(self, scene: Scene) -> bool:
        """Whether `read` would still give a scene of an earlier scan, of whose files none has changed.

        Not if it was read with other options, or files have joined it.

        Raises
        ------
        OSError
            If it cannot be seen.
        """

    def to_item(self, scene: Scene) -> dict[str, Any]:
        """STAC item of a scene, as a JSON object: with `constellation` equal to `name`."""

    def from_item(self, item: Mapping[str, Any]) -> Scene:
        """Scene of an item that `to_item` made; `to_item` and `from_item` are inverse.

        Catalogues give only `id`, `geometry` and the properties that `items.scene_of` needs.

        Raises
        ------
        KeyError
            If the item is of another origin.
        """

    def describe(self, scene: Scene) -> tuple[str, ...]:
        """Cells of one line that lists a scene, before its name."""

    def meaning(self, scene: Scene, reading: Treatment) -> Mapping[str, str]:
        """What the numbers of a product mean once they are in a cube, in openEO's words; empty if nothing is known.

        `backscatter`: `gamma0-ellipsoid`, `gamma0-terrain`, …; `reflectance`: `surface` or `top-of-atmosphere`.

        Parameters
        ----------
        reading : Treatment
            How the campaign reads products.
        """

    def holds(self, scene: Scene, ref: BandRef, *, resampled: bool) -> bool:
        """Whether a product has what a band of the cube is made from.

        Parameters
        ----------
        resampled : bool
            Whether scenes are resampled onto a grid: then any file of the band will do.
        """

    def is_lost(self, scene: Scene, name: str) -> bool:
        """Whether the metadata of a product list a file of a band that is gone."""

    def start(self, scene: Scene) -> str:
        """When the pass was sensed, as product names have it: `20240501T104619`."""

    def newest(self, scenes: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
        """Of the products of one pass over one tile, those that are used, fullest first; the others with the reason.

        What is dropped is superseded by another processing, or is a copy.
        """

    def place(
        self, scenes: Sequence[Scene], aoi: shapely.Geometry | None, tiles: Sequence[str] | None
    ) -> tuple[list[Scene], list[Dropped]]:
        """Put each scene on every tile that it shares some area with; scenes that have a tile stay as they are.

        Parameters
        ----------
        aoi : geometry in longitude and latitude, optional
            Only tiles that share some of it.
        tiles : sequence of str, optional
            Only these.
        """

    def read_windows(self, request: WindowRequest) -> WindowAnswer:
        """Read windows of one acquisition: of the product's own tile, or resampled onto a grid.

        Of several scenes the first one that has a valid pixel gives it. Results depend on the request alone. Where
        `request.needed` leaves pixels out, these may be left 0, or read all the same.

        Raises
        ------
        SceneError
            If a file is damaged, missing or not as its product says.
        """

    def row_bytes(self, frame: Frame, ref: BandRef, acquisitions: Sequence[Acquisition], treatment: Treatment) -> int:
        """Peak bytes of reading one row of windows of a tile, all columns, without those of the libraries."""

    def along_time(self, acquisitions: Sequence[Acquisition]) -> AlongTime:
        """What the cube keeps of each acquisition on its time axis besides the time: orbit, baseline, clouds."""

    def tells(self, acquisition: Acquisition) -> dict[str, Any]:
        """What the cube's metadata tell of an acquisition beyond what they tell of every one; JSON values."""

    @property
    def coordinates(self) -> str:
        """Names of the coordinates of `along_time`, as the CF attribute `coordinates` of an array lists them."""


def band_of(sensor: Sensor, text: str) -> Band | None:
    """Band of a sensor that a text names, `B04` or `B04@20m`; None for an index, or what else is no band."""
    name = text.strip().partition("@")[0].lower()
    return next((band for band in sensor.bands.values() if band.name.lower() == name), None)

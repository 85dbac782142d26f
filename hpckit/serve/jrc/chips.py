"""Chips of JRC's clients: windows around a place, listed by product, behind signed links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import floor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.errors import CubeError
from hpckit.look.chips import ChipPixels, ChipPlace, chip_place, read_chip, write_geotiff
from hpckit.look.opened import day_of
from hpckit.look.png import encode
from hpckit.serve.dataset import Dataset
from hpckit.serve.identity.links import Links
from hpckit.serve.peers import local_crs
from hpckit.serve.problems import bad_value, matched, not_found
from hpckit.space.vector.project import transformer

BASE: Final = "/query/chips"
MOST: Final = 24
_SNAP_M: Final = 20
"""Chips of bands of 10 and 20 m begin on the same borders."""
_WINDOW: Final = re.compile(r"E(-?\d{1,3}\.\d{6})N(-?\d{1,2}\.\d{6})_(\d{1,4})", re.ASCII)
_STAMP: Final = re.compile(r"_(\d{8}T\d{6})")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")
_FILE: Final = re.compile(
    r"(?P<product>[A-Za-z0-9_-]{1,200})\.(?P<bands>[A-Za-z0-9]+(?:_[A-Za-z0-9]+){0,2})"
    r"(?:\.(?P<lut>[0-9._-]{1,80}))?\.(?P<form>tif|png)",
    re.ASCII,
)
_REFLECTANCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Window:
    """A square around a place."""

    lon: float
    lat: float
    size_m: int

    @property
    def name(self) -> str:
        """`E5.123456N52.123456_1280`, in addresses."""
        return f"E{self.lon:.6f}N{self.lat:.6f}_{self.size_m}"

    @classmethod
    def from_name(cls, name: str) -> Window:
        """What `name` gave.

        Raises
        ------
        Problem
            404 if it is of another form.
        """
        match = matched(_WINDOW, name)
        return cls(float(match[1]), float(match[2]), int(match[3]))

    def around(self) -> shapely.Polygon:
        """About this square, in longitude and latitude."""
        back = pyproj.Transformer.from_crs(local_crs(self.lon, self.lat), 4326, always_xy=True)
        half = self.size_m / 2
        return shapely.transform(shapely.box(-half, -half, half, half), back.transform, interleaved=False)

    def on(self, place: ChipPlace) -> shapely.Polygon:
        """The square on whole pixels of a band, in metres of the tile's CRS."""
        there = transformer(4326, place.epsg)
        x, y = there.transform(self.lon, self.lat)
        pixel = place.transform.a
        snap = _SNAP_M if _SNAP_M % pixel == 0 else pixel
        edge = max(1, round(self.size_m / pixel)) * pixel
        west = place.transform.c + floor((x - self.size_m / 2 - place.transform.c) / snap + 0.5) * snap
        north = place.transform.f - floor((place.transform.f - y - self.size_m / 2) / snap + 0.5) * snap
        return shapely.box(west, north - edge, west + edge, north)


@dataclass(frozen=True, slots=True)
class Chip:
    """A product that shows a window."""

    product: str
    stamp: str
    """`20240304T105031`."""


def place_of(dataset: Dataset, window: Window, band: str) -> ChipPlace | None:
    """Tile of the cube that shows a window best; None if it has no such band, or lies elsewhere."""
    try:
        return chip_place(dataset.view, window.around(), band)
    except CubeError:
        return None


def chips_of(place: ChipPlace, start: date, end: date) -> list[Chip]:
    """Products of a period, in order."""
    return [_chip(item) for item in place.acquisitions if start <= day_of(item) <= end]


def named_chips(place: ChipPlace, names: Iterable[str]) -> list[Chip]:
    """Those of the products that a tile has."""
    wanted = {_UNSAFE.sub("-", name.removesuffix(".SAFE")) for name in names}
    return [chip for chip in map(_chip, place.acquisitions) if chip.product in wanted]


def listed(links: Links, dataset: Dataset, window: Window, chips: Sequence[Chip], bands: Sequence[str]) -> Any:
    """`dates` and `chips` as JRC's clients read them: addresses are relative to that of the interface."""
    found = [(chip.stamp, f"{chip.product}.{band}.tif") for chip in chips for band in bands]
    base = link_to(links, dataset, window, "").removeprefix(links.prefix)
    return {"dates": [stamp for stamp, _ in found], "chips": [f"{base}{name}" for _, name in found]}


def link_to(links: Links, dataset: Dataset, window: Window, file: str) -> str:
    """Signed address of a file of a window; another file of it has the same signature."""
    return links.to(f"{dataset.name}/{window.name}", file, BASE)


def file_of(dataset: Dataset, window: Window, name: str) -> tuple[bytes, str]:
    """A chip by the name of its file: GeoTIFF of one band, or PNG of one or three.

    Returns
    -------
    bytes, str
        The file and its media type.

    Raises
    ------
    Problem
        404 if the name is of another form.
    CubeError
        If the cube has no such product or band.
    """
    match = matched(_FILE, name)
    bands = _bands(match["bands"])
    place = chip_place(dataset.view, window.around(), bands[0])
    if match["form"] == "tif":
        if len(bands) != 1:
            raise not_found()
        return write_geotiff(_read(dataset, window, place, bands[0], match["product"])), "image/tiff"
    return _png(dataset, window, place, bands, match["product"], match["lut"] or "5_95"), "image/png"


def stretch_of(text: str) -> tuple[float, ...]:
    """Numbers of `lut`: two percentiles, or least and greatest value of three bands.

    Raises
    ------
    Problem
        400 if it is neither.
    """
    try:
        numbers = tuple(float(part) for part in text.split("_"))
    except ValueError:
        numbers = ()
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) not in (2, 6) or not all(low < high for low, high in pairs) or not np.isfinite(numbers).all():
        raise bad_value("lut", "is neither two percentiles (5_95) nor three pairs of values, each low_high")
    if len(numbers) == 2 and not 0 <= numbers[0] < numbers[1] <= 100:
        raise bad_value("lut", "percentiles lie between 0 and 100")
    return numbers


def _bands(text: str) -> list[str]:
    """Bands of a file's name; `COH_VV` is one."""
    return [part.replace("COH", "COH_") for part in text.replace("COH_", "COH").split("_")]


def _chip(acquisition: dict[str, Any]) -> Chip:
    product = str((acquisition.get("products") or [acquisition["id"]])[0])
    match = _STAMP.search(product)
    stamp = match[1] if match else re.sub(r"[-:]", "", str(acquisition["time"]))[:15]
    return Chip(_UNSAFE.sub("-", product), stamp)


def _read(dataset: Dataset, window: Window, place: ChipPlace, band: str, product: str) -> ChipPixels:
    """Pixels of a band, with the numbers that JRC's clients expect."""
    named = [str(item["id"]) for item in place.acquisitions if _chip(item).product == product]
    if not named:
        raise not_found()
    chip = read_chip(dataset.view, window.on(place), band, named[0], crs=place.epsg)
    pixels = _jrc_pixels(dataset, band, chip)
    nodata = 0.0 if pixels.dtype == np.float32 else chip.nodata
    return replace(chip, pixels=pixels, nodata=nodata, scale=1.0, offset=0.0, band=band)


def _jrc_pixels(dataset: Dataset, band: str, chip: ChipPixels) -> npt.NDArray[Any]:
    """Reflectance in ten thousandths without an offset, power as float."""
    kind, stored = dataset.campaign.ref(band).band.kind, chip.pixels
    if kind in ("power", "coherence"):
        physical = stored.astype(np.float32) * np.float32(chip.scale) + np.float32(chip.offset)
        return np.where(stored == chip.nodata, np.float32(0), physical).astype(np.float32)
    if kind != "reflectance":
        return stored
    values = np.rint((stored.astype(np.float64) * chip.scale + chip.offset) * _REFLECTANCE)
    return np.where(stored == chip.nodata, 0, np.clip(values, 1, 65535)).astype(np.uint16)


def _png(dataset: Dataset, window: Window, place: ChipPlace, bands: Sequence[str], product: str, lut: str) -> bytes:
    """Picture of one or three bands, stretched between percentiles or values."""
    numbers = stretch_of(lut)
    planes = []
    for band in bands:
        own = place_of(dataset, window, band)
        if own is None:
            raise not_found()
        planes.append(_read(dataset, window, own, band, product).pixels.astype(np.float32))
    rows, columns = planes[0].shape
    layers = [_resized(plane, rows, columns) for plane in (planes * 3 if len(planes) == 1 else planes)]
    picture = np.full((rows, columns, 4), 255, np.uint8)
    for k, layer in enumerate(layers):
        low, high = _limits(layer, numbers, k)
        picture[:, :, k] = np.clip((layer - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    picture[:, :, 3] = np.where(np.logical_or.reduce([layer == 0 for layer in layers]), 0, 255)
    return encode(picture)


def _limits(layer: npt.NDArray[Any], numbers: tuple[float, ...], k: int) -> tuple[float, float]:
    if len(numbers) == 6:
        return numbers[2 * k], numbers[2 * k + 1]
    held = layer[layer != 0]
    low, high = np.percentile(held, numbers) if held.size else (0.0, 1.0)
    return float(low), float(high)


def _resized(plane: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[Any]:
    """Pixels of another band on those of the first one."""
    down = np.minimum(np.arange(rows) * plane.shape[0] // rows, plane.shape[0] - 1)
    along = np.minimum(np.arange(columns) * plane.shape[1] // columns, plane.shape[1] - 1)
    return np.asarray(plane[down][:, along])

"""A made-up farming landscape through one season: parcels, crops, clouds, and what Sentinel-2 sees of them.

Small, but honest where it matters: reflectance follows the season of each crop, the scene classification
follows clouds and shadows, every date shows the same fields, and the truth is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
import shapely.affinity
from affine import Affine

from hpckit.testing.safe import ProductSpec, quantise, write_product

Field = npt.NDArray[np.float32]

_SOIL: Final = {"B02": 0.075, "B03": 0.105, "B04": 0.145, "B08": 0.225, "B11": 0.30}
_LEAF: Final = {"B02": 0.028, "B03": 0.065, "B04": 0.028, "B08": 0.46, "B11": 0.17}
_WATER: Final = {"B02": 0.055, "B03": 0.05, "B04": 0.03, "B08": 0.015, "B11": 0.008}
_ROOF: Final = {"B02": 0.13, "B03": 0.15, "B04": 0.17, "B08": 0.24, "B11": 0.26}

CROPS: Final = {
    # Day of year at which half of the leaves are out and gone again, their speed in days, and greatest cover.
    "winter wheat": (85, 190, 12, 8, 0.95),
    "maize": (165, 270, 10, 10, 0.93),
    "sugar beet": (150, 300, 11, 14, 0.97),
    "potato": (152, 245, 9, 9, 0.92),
    "winter rapeseed": (78, 178, 14, 9, 0.9),
    "grassland": (70, 320, 20, 20, 0.8),
}
"""Crops and their season."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One overpass of the satellite."""

    time: datetime
    baseline: str = "05.10"
    cloud: float = 0.0
    """Fraction of the sky."""
    platform: str = "S2A"
    swath: float = 1.0
    """Fraction of the granule, from the west, that the swath covers."""
    strips: int = 1
    """Products that the pass is cut into."""
    as_zip: bool = False


@dataclass(frozen=True)
class Landscape:
    """A square of farmland of one granule."""

    seed: int = 7
    edge: int = 1536
    """Pixels of 10 m on a side; a multiple of 6."""
    ulx: float = 640000.0
    uly: float = 5680000.0
    epsg: int = 32631
    tile: str = "31UFT"
    reservoir: bool = False
    """A lake in the middle, which falls dry to half of its radius between April and September."""

    @property
    def transform(self) -> Affine:
        """From (column, row) of 10 m pixels to metres."""
        return Affine(10, 0, self.ulx, 0, -10, self.uly)

    @cached_property
    def parcels(self) -> list[shapely.Geometry]:
        """Parcels: strips of a turned grid, some with a pond, one in two parts, one sliver."""
        random = np.random.default_rng(self.seed)
        size = self.edge * 10.0
        middle = (self.ulx + size / 2, self.uly - size / 2)
        parcels: list[shapely.Geometry] = []
        for block in _blocks(random, self.ulx, self.uly, size):
            turned = shapely.affinity.rotate(block, 14, origin=middle)
            parcels += [part.buffer(-6, join_style="mitre") for part in _cut(random, turned)]
        river = self.river.buffer(60)
        kept = [p.difference(river) for p in parcels]
        kept = [p for p in kept if p.geom_type == "Polygon" and p.area > 8000]
        pond = kept[3].centroid.buffer(25)
        kept[3] = kept[3].difference(pond)
        kept[5] = shapely.MultiPolygon([kept[5], kept.pop(6)])
        corner = kept[8].centroid
        kept.append(shapely.box(corner.x + 1, corner.y + 1, corner.x + 3, corner.y + 4))
        return kept

    @cached_property
    def river(self) -> shapely.Geometry:
        """Middle line of a river."""
        size = self.edge * 10.0
        steps = np.linspace(-0.05, 1.05, 80)
        x = self.ulx + size * (0.30 + 0.25 * steps + 0.05 * np.sin(steps * 9))
        return shapely.LineString(np.column_stack([x, self.uly - size * steps]))

    @cached_property
    def crops(self) -> list[str]:
        """Crop of each parcel."""
        random = np.random.default_rng(self.seed + 1)
        return [
            str(crop) for crop in random.choice(list(CROPS), len(self.parcels), p=[0.28, 0.2, 0.12, 0.1, 0.1, 0.2])
        ]

    def cover(self, day: int) -> npt.NDArray[np.float64]:
        """Fraction of green cover of each parcel on a day of the year; shape (parcels,)."""
        random = np.random.default_rng(self.seed + 2)
        shift, scale = random.normal(0, 5, len(self.crops)), random.uniform(0.92, 1.0, len(self.crops))
        curves = np.array([_season(CROPS[crop], day - late) for crop, late in zip(self.crops, shift, strict=True)])
        return np.clip(curves * scale, 0.03, 1.0)

    def true_ndvi(self, day: int) -> npt.NDArray[np.float64]:
        """Median NDVI of each parcel's pixels on a day, without clouds and noise; NaN for the sliver."""
        green = self.green(day)
        red, infrared = (_SOIL[b] + green * (_LEAF[b] - _SOIL[b]) for b in ("B04", "B08"))
        ndvi = ((infrared - red) / (infrared + red))[self.owner >= 0]
        owner = self.owner[self.owner >= 0]
        order = np.lexsort((ndvi, owner))
        starts = np.searchsorted(owner[order], np.arange(len(self.parcels) + 1))
        medians = [np.median(ndvi[order[start:stop]]) if stop > start else np.nan for start, stop in pairwise(starts)]
        return np.array(medians)

    @cached_property
    def owner(self) -> npt.NDArray[np.int32]:
        """Parcel of each pixel, -1 for none."""
        shapes = ((shape, number) for number, shape in enumerate(self.parcels[:-1]))
        return np.asarray(
            rasterio.features.rasterize(
                shapes, (self.edge, self.edge), fill=-1, transform=self.transform, dtype="int32", all_touched=True
            )
        )

    @cached_property
    def water(self) -> npt.NDArray[np.bool_]:
        """Pixels of the river and of ponds."""
        wet = [self.river.buffer(45), *(shapely.Polygon(ring).buffer(2) for p in self.parcels for ring in _holes(p))]
        burned = rasterio.features.rasterize(wet, (self.edge, self.edge), transform=self.transform, dtype="uint8")
        return np.asarray(burned.astype(bool))

    def wet(self, day: int) -> npt.NDArray[np.bool_]:
        """Pixels that are water on a day of the year."""
        if not self.reservoir:
            return self.water
        rows, columns = np.ogrid[: self.edge, : self.edge]
        away = np.hypot(rows - self.edge / 2, columns - self.edge / 2) * (1 + 0.12 * self._texture)
        full = self.edge / 6
        return np.asarray(self.water | (away < full * (1 - 0.5 * np.clip((day - 100) / 160, 0, 1))))

    def render(self, overpass: Pass) -> dict[str, npt.NDArray[Any]]:
        """What the sensor sees, as rasters of a product: digital numbers by band and resolution."""
        offset = -1000 if 4 <= float(overpass.baseline) < 99 else 0
        day = overpass.time.timetuple().tm_yday
        cloud, shadow = self._sky(overpass)
        green = self.green(day)
        outside = np.arange(self.edge) >= overpass.swath * self.edge
        fine: dict[str, npt.NDArray[Any]] = {}
        random = np.random.default_rng(self.seed * 1000 + day)
        wet = self.wet(day)
        for band in ("B02", "B03", "B04", "B08", "B11"):
            surface = self._surface(band, green, wet)
            surface *= 1 + 0.02 * random.standard_normal(surface.shape, dtype=np.float32)
            surface = surface * (1 - 0.55 * shadow)
            bright = (0.62 if band != "B11" else 0.4) + 0.1 * self._texture
            surface = surface * (1 - cloud) + bright * cloud
            surface[:, outside] = np.nan
            fine[band] = surface
        classes = self._classify(fine, wet, cloud, shadow)
        classes[:, outside] = 0
        probability = np.rint(cloud * 100).astype(np.uint8)
        return {
            **{f"{band}@10m": quantise(fine[band], offset) for band in ("B02", "B03", "B04", "B08")},
            "B11@20m": quantise(_halve(fine["B11"]), offset),
            "SCL@20m": classes[::2, ::2],
            "SCL@60m": classes[::6, ::6],
            "CLD@20m": probability[::2, ::2],
        }

    def green(self, day: int) -> Field:
        """Green cover of each pixel."""
        wood = np.clip(0.35 + 0.5 * _season((110, 300, 14, 18, 1.0), day) + 0.25 * self._texture, 0.05, 0.98)
        covers = np.append(self.cover(day), 0.0).astype(np.float32)[self.owner]
        fields = np.clip(covers * (1 + 0.06 * self._texture), 0.02, 1.0)
        return np.where(self.owner >= 0, fields, wood).astype(np.float32)

    def _surface(self, band: str, green: Field, wet: npt.NDArray[np.bool_]) -> Field:
        surface = _SOIL[band] + green * (_LEAF[band] - _SOIL[band])
        surface[self.town] = _ROOF[band] * (1 + 0.3 * self._texture[self.town])
        surface[wet] = _WATER[band]
        return np.asarray(surface, dtype=np.float32)

    @cached_property
    def _texture(self) -> Field:
        return noise(self.edge, 1.3, self.seed + 3)

    @cached_property
    def town(self) -> npt.NDArray[np.bool_]:
        """Built-up pixels."""
        return (self.owner < 0) & (noise(self.edge, 2.4, self.seed + 4) > 1.25)

    def _sky(self, overpass: Pass) -> tuple[Field, Field]:
        """Opacity of clouds and darkness of their shadows, 0 to 1."""
        if overpass.cloud <= 0:
            clear = np.zeros((self.edge, self.edge), dtype=np.float32)
            return clear, clear
        field = noise(self.edge, 2.1, int(overpass.time.timestamp()) % 100_000)
        limit = np.quantile(field, 1 - overpass.cloud)
        cloud = np.clip((field - limit) * 2.5, 0, 1).astype(np.float32)
        shadow = np.roll(cloud, (-38, -52), axis=(0, 1)) * (1 - cloud)
        return cloud, np.asarray(shadow, dtype=np.float32)

    def _classify(
        self, bands: dict[str, Any], wet: npt.NDArray[np.bool_], cloud: Field, shadow: Field
    ) -> npt.NDArray[np.uint8]:
        """Scene classification: what sen2cor would say if it were always right."""
        with np.errstate(invalid="ignore"):
            ndvi = (bands["B08"] - bands["B04"]) / (bands["B08"] + bands["B04"])
        classes = np.where(ndvi > 0.4, 4, 5).astype(np.uint8)
        classes[wet] = 6
        classes[shadow > 0.02] = 3
        classes[cloud > 0.0] = 8
        classes[cloud > 0.6] = 9
        return classes


def season(year: int = 2024) -> list[Pass]:
    """Overpasses from March to October, with all that makes real series hard."""
    start = datetime(year, 3, 4, 10, 50, 31, tzinfo=UTC)
    clouds = (
        0.1,
        0.0,
        0.45,
        0.0,
        0.98,
        0.2,
        0.0,
        0.6,
        0.0,
        0.3,
        0.0,
        0.15,
        0.0,
        0.75,
        0.0,
        0.05,
        0.35,
        0.0,
        0.5,
        0.0,
        0.1,
    )
    passes = []
    for number, cloud in enumerate(clouds):
        time = start + timedelta(days=10 * number + (3 if number % 4 == 1 else 0))
        baseline = "03.01" if number < 6 else "05.10"
        swath = 0.6 if number == 9 else 1.0
        strips = 2 if number == 12 else 1
        platform = "S2B" if number % 2 else "S2A"
        passes.append(Pass(time, baseline, cloud, platform, swath, strips, as_zip=number == 15))
    reprocessed = passes[3]
    return [*passes, Pass(reprocessed.time, "05.00", reprocessed.cloud, reprocessed.platform)]


def write_pass(folder: Path, landscape: Landscape, overpass: Pass) -> list[Path]:
    """Write the product, or products, of an overpass."""
    arrays = landscape.render(overpass)
    spec = ProductSpec(
        tile=landscape.tile,
        epsg=landscape.epsg,
        ulx=landscape.ulx,
        uly=landscape.uly,
        sensed=overpass.time,
        baseline=overpass.baseline,
        platform=overpass.platform,
        absolute_orbit=40000 + overpass.time.timetuple().tm_yday,
        cloud_cover=float(np.isin(arrays["SCL@20m"], (8, 9, 10)).mean() * 100),
        # Reprocessing comes later.
        produced=overpass.time + timedelta(days=400 if overpass.baseline == "05.00" else 0, hours=3),
        bypass=True,
    )
    if overpass.strips == 1:
        return [write_product(folder, spec, arrays, as_zip=overpass.as_zip)]
    return [
        write_product(folder, _strip(spec, number), _half(arrays, number), as_zip=overpass.as_zip)
        for number in range(2)
    ]


def noise(edge: int, slope: float, seed: int) -> Field:
    """Random field of mean 0 and deviation 1 whose amplitude falls with frequency to the power `slope`."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(edge)[:, None], np.fft.rfftfreq(edge)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.standard_normal((edge, edge))) / frequency**slope
    field = np.fft.irfft2(spectrum, s=(edge, edge))
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def _season(curve: tuple[float, ...], day: float) -> float:
    rise, fall, rise_days, fall_days, most = curve
    up = 1 / (1 + np.exp(-(day - rise) / rise_days))
    return float(most * up * (1 - 1 / (1 + np.exp(-(day - fall) / fall_days))))


def _blocks(random: np.random.Generator, west: float, north: float, size: float) -> list[shapely.Geometry]:
    """Farm blocks between tracks."""
    ys = np.cumsum(random.uniform(500, 950, 30)) - 2000
    xs = np.cumsum(random.uniform(600, 1200, 30)) - 3000
    inner = shapely.box(west + 900, north - size + 900, west + size - 900, north - 900)
    blocks = []
    for y, dy in zip(ys[:-1], np.diff(ys), strict=True):
        for x, dx in zip(xs[:-1], np.diff(xs), strict=True):
            block = shapely.box(west + x, north - y - dy, west + x + dx, north - y)
            if inner.contains(block) and random.random() < 0.86:
                blocks.append(block)
    return blocks


def _cut(random: np.random.Generator, block: shapely.Geometry) -> list[shapely.Geometry]:
    """Cut a block into strips of fields along its longer side."""
    ring = np.array(block.exterior.coords)[:4]
    a, b, c, d = ring
    cuts = np.sort(np.concatenate([[0, 1], random.uniform(0.12, 0.88, random.integers(1, 6))]))
    cuts = cuts[np.concatenate([[True], np.diff(cuts) > 0.07])]
    cuts[-1] = 1.0
    parts = []
    for start, stop in pairwise(cuts):
        corners = [a + (b - a) * start, a + (b - a) * stop, d + (c - d) * stop, d + (c - d) * start]
        parts.append(shapely.Polygon(corners))
    return parts


def _holes(shape: shapely.Geometry) -> list[Any]:
    return [ring for part in shapely.get_parts(shape) for ring in part.interiors]


def _halve(field: Field) -> Field:
    """Mean of 2 x 2 pixels."""
    rows, columns = field.shape
    return np.asarray(field.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3)), dtype=np.float32)


def _strip(spec: ProductSpec, number: int) -> ProductSpec:
    from dataclasses import replace

    later = timedelta(seconds=40 * number)
    return replace(spec, strip_offset_s=spec.strip_offset_s + 40 * number, produced=spec.production + later)


def _half(arrays: dict[str, npt.NDArray[Any]], number: int) -> dict[str, npt.NDArray[Any]]:
    """Northern or southern part of a granule; the rest is nodata."""
    halves = {}
    for key, array in arrays.items():
        half = array.copy()
        cut = array.shape[0] // 2 // 6 * 6
        half[slice(cut, None) if number == 0 else slice(None, cut)] = 0
        halves[key] = half
    return halves

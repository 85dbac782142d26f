"""Where a point on the ground lies in a Sentinel-1 GRD image: range-Doppler geometry from the annotation.

A point is seen when the satellite's velocity is at right angles to the line of sight (zero Doppler), at the slant
range that it then has; the annotation's polynomials turn that into ground range, and so into a pixel. Formulas: Small
& Schubert, "Guide to Sentinel-1 Geocoding", UZH-S1-GC-AD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled
from hpckit.errors import SceneError
from hpckit.sensors.sentinel1.model import moment
from hpckit.sensors.sentinel2.metadata import Metadata

Floats = npt.NDArray[np.float64]
Power = npt.NDArray[np.float32]

STEP: Final = 16
"""Target pixels from one exactly computed point to the next."""
_DEGREE: Final = 8
"""Of the polynomial through the orbit's state vectors; those of one product span 150 s."""
_LIGHT_M_S: Final = 299_792_458.0
_ITERATIONS: Final = 6


@dataclass(frozen=True, slots=True)
class Orbit:
    """Position of the satellite as a polynomial of scaled time, Earth-fixed."""

    middle_s: float
    half_s: float
    position: Floats
    """Coefficients, constant first, metres; shape (degree + 1, 3)."""

    def at(self, seconds: Floats, derivative: int = 0) -> Floats:
        """Position, velocity (1) or acceleration (2) at times; shape (..., 3)."""
        scaled = (np.asarray(seconds) - self.middle_s) / self.half_s
        coefficients = np.polynomial.polynomial.polyder(self.position, derivative) / self.half_s**derivative
        return np.moveaxis(np.polynomial.polynomial.polyval(scaled, coefficients), 0, -1)


@dataclass(frozen=True, slots=True)
class RadarGeometry:
    """The geometry of one GRD image."""

    orbit: Orbit
    line_s: float
    """Time from one line to the next."""
    pixel_m: float
    """Ground range from one sample to the next."""
    shape: tuple[int, int]
    grid_s: Floats
    """Times of the slant-to-ground-range polynomials, seconds after the first line."""
    grid_sr0: Floats
    grid_coefficients: Floats
    """Shape (polynomials, degree + 1)."""
    mean_height_m: float
    """Of the annotation's geolocation grid, above the ellipsoid."""

    def locate(self, points: Floats) -> tuple[Floats, Floats]:
        """Line and sample of points on the ground; pixel centres have whole numbers.

        Parameters
        ----------
        points : ndarray of float64, shape (..., 3)
            Earth-fixed coordinates (EPSG:4978), metres.

        Returns
        -------
        lines, samples : ndarray of float64
            NaN where the satellite was far from seeing the point.
        """
        seconds = np.full(points.shape[:-1], self.line_s * self.shape[0] / 2)
        for _ in range(_ITERATIONS):
            sight = points - self.orbit.at(seconds)
            velocity, acceleration = self.orbit.at(seconds, 1), self.orbit.at(seconds, 2)
            slope = (sight * acceleration).sum(-1) - (velocity * velocity).sum(-1)
            seconds = seconds - (sight * velocity).sum(-1) / slope
        slant = np.linalg.norm(points - self.orbit.at(seconds), axis=-1)
        lines, samples = seconds / self.line_s, self._ground_range(seconds, slant) / self.pixel_m
        far = np.abs(seconds - self.line_s * self.shape[0] / 2) > self.orbit.half_s
        return np.where(far, np.nan, lines), np.where(far, np.nan, samples)

    def _ground_range(self, seconds: Floats, slant: Floats) -> Floats:
        """Ground range by the polynomials before and after, weighted by time.

        Neighbouring polynomials differ by up to 200 m in mountains, and images have no such steps.
        """
        last = len(self.grid_s) - 1
        position = np.interp(seconds, self.grid_s, np.arange(last + 1))
        before = np.minimum(position.astype(np.intp), max(0, last - 1))
        weight = position - before
        after = self._polynomial(np.minimum(before + 1, last), slant)
        return (1 - weight) * self._polynomial(before, slant) + weight * after

    def _polynomial(self, number: npt.NDArray[np.intp], slant: Floats) -> Floats:
        offset = slant - self.grid_sr0[number]
        result = np.zeros_like(slant)
        for power in range(self.grid_coefficients.shape[1] - 1, -1, -1):
            result = result * offset + self.grid_coefficients[number, power]
        return result


def read_geometry(name: str, data: bytes) -> RadarGeometry:
    """Geometry of an annotation file.

    Raises
    ------
    SceneError
        If it lacks orbit, image information or conversion polynomials.
    """
    annotation = Metadata(name, data)
    start = moment(annotation.text("productFirstLineUtcTime"))
    conversions = [
        element
        for element in annotation.elements("coordinateConversion")
        if element.find("{*}srgrCoefficients") is not None
    ]
    if not conversions:
        raise SceneError(f"{name} has no coordinateConversion")

    def seconds(element: Any, tag: str) -> float:
        return (moment(str(element.findtext(f"{{*}}{tag}"))) - start).total_seconds()

    coefficients = [str(element.findtext("{*}srgrCoefficients")).split() for element in conversions]
    longest = max(map(len, coefficients))
    heights = [float(text) for text in annotation.texts("height")]
    return RadarGeometry(
        orbit=_orbit(name, [element for element in annotation.elements("orbit") if len(element)], seconds),
        line_s=float(annotation.text("azimuthTimeInterval")),
        pixel_m=float(annotation.text("rangePixelSpacing")),
        shape=(int(annotation.text("numberOfLines")), int(annotation.text("numberOfSamples"))),
        grid_s=np.array([seconds(element, "azimuthTime") for element in conversions]),
        grid_sr0=np.array([float(element.findtext("{*}sr0")) for element in conversions]),
        grid_coefficients=np.array([[*map(float, row), *[0.0] * (longest - len(row))] for row in coefficients]),
        mean_height_m=float(np.mean(heights)) if heights else 0.0,
    )


def _orbit(name: str, elements: list[Any], seconds: Any) -> Orbit:
    places = [[float(element.findtext(f"{{*}}position/{{*}}{axis}")) for axis in "xyz"] for element in elements]
    return fit_orbit(name, np.array([seconds(element, "time") for element in elements]), np.array(places))


def fit_orbit(name: str, times: Floats, places: Floats) -> Orbit:
    """Orbit through state vectors.

    Parameters
    ----------
    name : str
        Of what they are, for the error.
    times : ndarray of float64, shape (vectors,)
        Seconds.
    places : ndarray of float64, shape (vectors, 3)
        Earth-fixed, metres.

    Raises
    ------
    SceneError
        If there are too few.
    """
    if len(times) < _DEGREE + 1:
        raise SceneError(f"{name} has {len(times)} orbit state vectors; {_DEGREE + 1} are needed")
    middle, half = (times[0] + times[-1]) / 2, (times[-1] - times[0]) / 2
    fitted = np.polynomial.polynomial.polyfit((times - middle) / half, places, _DEGREE)
    return Orbit(float(middle), float(half), fitted)


def locate_pixels(
    geometry: RadarGeometry, x: Floats, y: Floats, crs: int | str, heights: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Line and sample of each pixel of a target, by its height.

    Exact at every 16th pixel for three heights; in between linear in place and quadratic in height, off by less than
    a fiftieth of a pixel where heights span 2000 m.

    Parameters
    ----------
    x, y : ndarray of float64, shape (columns,) and (rows,)
        Easting and northing of pixel centres, evenly spaced.
    crs : int or str
        EPSG code, or any text that pyproj reads.
    heights : ndarray of float32, shape (rows, columns)
        Metres above the ellipsoid.

    Returns
    -------
    lines, samples : ndarray of float32, shape (rows, columns)
    """
    import pyproj

    low, high = float(heights.min()), float(heights.max())
    middle, half = (low + high) / 2, max((high - low) / 2, 1.0)
    xs, ys = _control(x), _control(y)
    grid_x, grid_y = np.meshgrid(xs, ys)
    longitude, latitude = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(grid_x, grid_y)
    to_space = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
    at = [
        geometry.locate(np.stack(to_space.transform(longitude, latitude, np.full_like(longitude, height)), axis=-1))
        for height in (middle - half, middle, middle + half)
    ]
    lines, samples = (_quadratic(*(found[axis] for found in at)) for axis in (0, 1))
    scaled = ((heights - np.float32(middle)) / np.float32(half)).astype(np.float32)
    out_lines, out_samples = np.empty_like(scaled), np.empty_like(scaled)
    _interpolate(lines, samples, scaled, STEP, out_lines, out_samples)
    return out_lines, out_samples


def _control(centres: Floats) -> Floats:
    """Every 16th place, and as many beyond the end as are needed to hold all."""
    step = centres[1] - centres[0] if len(centres) > 1 else 1.0
    count = -(-(len(centres) - 1) // STEP) + 2
    return np.asarray(centres[0] + step * STEP * np.arange(count), dtype=np.float64)


def _quadratic(low: Floats, middle: Floats, high: Floats) -> Floats:
    """Coefficients, constant first, of the parabola through values at -1, 0 and 1."""
    return np.stack([middle, (high - low) / 2, (high + low) / 2 - middle])


def sample(power: Power, lines: npt.NDArray[np.float32], samples: npt.NDArray[np.float32], nearest: bool) -> Power:
    """Values of an image at fractional lines and samples; 0 where its nearest pixel is nodata (0), or beyond it.

    Bilinear takes the valid ones of the four neighbours.
    """
    out = np.zeros(lines.shape, dtype=np.float32)
    _sample(power, lines, samples, nearest, out)
    return out


@compiled(nogil=True)
def _interpolate(lines, samples, heights, step, out_lines, out_samples):  # type: ignore[no-untyped-def]
    rows, columns = heights.shape
    for row in range(rows):
        i, down = row // step, (row % step) / step
        for column in range(columns):
            j, right = column // step, (column % step) / step
            h = heights[row, column]
            a, b = (1 - down) * (1 - right), (1 - down) * right
            c, d = down * (1 - right), down * right
            line = sample = 0.0
            factor = 1.0
            for power in range(3):
                line += factor * (
                    a * lines[power, i, j]
                    + b * lines[power, i, j + 1]
                    + c * lines[power, i + 1, j]
                    + d * lines[power, i + 1, j + 1]
                )
                sample += factor * (
                    a * samples[power, i, j]
                    + b * samples[power, i, j + 1]
                    + c * samples[power, i + 1, j]
                    + d * samples[power, i + 1, j + 1]
                )
                factor *= h
            out_lines[row, column] = line
            out_samples[row, column] = sample


@compiled(nogil=True)
def _sample(power, lines, samples, nearest, out):  # type: ignore[no-untyped-def]
    height, width = power.shape
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            y, x = lines[row, column], samples[row, column]
            if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
                continue
            own = power[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))]
            if own == 0 or nearest:
                out[row, column] = own
                continue
            i, j = int(np.floor(y)), int(np.floor(x))
            total = weight = 0.0
            for di in range(2):
                for dj in range(2):
                    if 0 <= i + di < height and 0 <= j + dj < width:
                        value = power[i + di, j + dj]
                        if value != 0:
                            w = (y - i if di else 1 - (y - i)) * (x - j if dj else 1 - (x - j))
                            total += w * value
                            weight += w
            out[row, column] = total / weight if weight > 0 else own

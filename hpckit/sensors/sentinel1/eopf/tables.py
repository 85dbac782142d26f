"""Geometry, calibration and noise of a GRD product in EOPF Zarr: what the annotation of a SAFE product tells.

Arrays are in the image's own geometry, one group for each polarisation. Their names and shapes changed between
versions of the converter: products of 2024 (EOPF-CPM 2.5.8) have noise in azimuth as one array, those of EOPF-CPM 2.8
as a group for each swath, and those of 2025 have no tables of noise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpckit.errors import SceneError
from hpckit.inputs.hierarchy import Hierarchy, reading, values_of
from hpckit.inputs.uri import Place
from hpckit.sensors.sentinel1.calibration import Noise, Strip, Table
from hpckit.sensors.sentinel1.model import moment
from hpckit.sensors.sentinel1.terrain import RadarGeometry, fit_orbit

if TYPE_CHECKING:
    from zarr import Array

Floats = npt.NDArray[np.float64]

TABLES: Final = (
    "measurements",
    "conditions/coordinate_conversion",
    "conditions/gcp",
    "conditions/orbit",
    "quality/calibration",
    "quality/noise_azimuth",
    "quality/noise_range",
)
"""Groups with all arrays that are read here."""
_TABLES: Final = {"sigma0": "sigma_nought", "gamma0": "gamma"}
_SINCE: Final = re.compile(
    r"(?P<unit>\w+) since (?P<date>[\d-]{10})(?:[ T](?P<time>[\d:]{8})(?:\.(?P<part>\d{1,9}))?)?"
)
_NANOSECONDS: Final = {
    "days": 86_400 * 10**9,
    "hours": 3600 * 10**9,
    "minutes": 60 * 10**9,
    "seconds": 10**9,
    "milliseconds": 10**6,
    "microseconds": 1000,
    "nanoseconds": 1,
}


class Group:
    """The group of a polarisation."""

    def __init__(self, place: Place, name: str) -> None:
        self._hierarchy = Hierarchy(place)
        self._name = name

    def optional(self, name: str) -> npt.NDArray[Any] | None:
        """Values of an array; None if there is none."""
        array = self._hierarchy.array(f"{self._name}/{name}")
        if array is None:
            return None
        with reading(f"{self._name}/{name}"):
            return values_of(array)

    def values(self, name: str) -> npt.NDArray[Any]:
        """Values of an array.

        Raises
        ------
        SceneError
            If there is none, or it cannot be read.
        """
        found = self.optional(name)
        if found is None:
            raise SceneError(f"{self._name}/{name} is missing: the product cannot be calibrated and placed")
        return found

    def floats(self, name: str) -> Floats:
        """Numbers of an array, none of which may be missing; raises what `values` does."""
        found = self.values(name).astype(np.float64)
        if not np.isfinite(found).all():
            raise SceneError(f"{self._name}/{name} is damaged: it has no numbers in places")
        return found

    def integers(self, name: str) -> npt.NDArray[np.int64]:
        """Whole numbers of an array: negative ones also where they were stored as if there were none."""
        found = self.values(name)
        return found.view("i4" if found.dtype == np.uint32 else found.dtype).astype(np.int64)

    def nanoseconds(self, name: str) -> npt.NDArray[np.int64] | None:
        """Times of an array since 1970, UTC; None if it has none, or no units."""
        array = self._hierarchy.array(f"{self._name}/{name}")
        match = None if array is None else _SINCE.fullmatch(str(array.attrs.get("units", "")).strip())
        if match is None or match["unit"] not in _NANOSECONDS:
            return None
        day = datetime.fromisoformat(f"{match['date']}T{match['time'] or '00:00:00'}").replace(tzinfo=UTC)
        since = round(day.timestamp()) * 10**9 + int((match["part"] or "").ljust(9, "0"))
        return self.values(name).astype(np.int64) * _NANOSECONDS[match["unit"]] + since

    def image(self) -> Array[Any]:
        """The image.

        Raises
        ------
        SceneError
            If there is none.
        """
        array = self._hierarchy.array(f"{self._name}/measurements/grd")
        if array is None or array.ndim != 2:
            raise SceneError(f"{self._name}/measurements/grd is missing")
        return array

    def shape(self) -> tuple[int, int]:
        """Lines and samples of the image; raises what `image` does."""
        rows, columns = self.image().shape
        return rows, columns

    def members(self, name: str) -> Sequence[str]:
        """Names of the groups in a group, sorted; none if there is none."""
        return [member.rpartition("/")[2] for member in self._hierarchy.groups(f"{self._name}/{name}")]

    @property
    def root(self) -> dict[str, Any]:
        """Properties of the root's item."""
        properties: dict[str, Any] = self._hierarchy.attributes["stac_discovery"]["properties"]
        return properties


class _Lines(NamedTuple):
    """Times of the lines of an image."""

    start_ns: int
    step_s: float


def read_geometry(place: Place, name: str) -> RadarGeometry:
    """Geometry of the image of a polarisation.

    Raises
    ------
    SceneError
        If it lacks orbit, times of lines, size of pixels or conversion polynomials.
    """
    group = Group(place, name)
    shape = group.shape()
    lines = _lines(group, shape[0])

    def seconds(array: str) -> Floats:
        found = group.nanoseconds(array)
        if found is None:
            raise SceneError(f"{name}/{array} has no times")
        return (found - lines.start_ns) / 1e9

    coefficients = group.values("conditions/coordinate_conversion/srgr_coefficients").astype(np.float64)
    heights = group.optional("conditions/gcp/height")
    return RadarGeometry(
        orbit=fit_orbit(name, seconds("conditions/orbit/azimuth_time"), group.floats("conditions/orbit/position")),
        line_s=lines.step_s,
        pixel_m=read_pixel_m(group, name),
        shape=shape,
        grid_s=seconds("conditions/coordinate_conversion/azimuth_time"),
        grid_sr0=group.floats("conditions/coordinate_conversion/sr0"),
        grid_coefficients=np.nan_to_num(coefficients),  # shorter polynomials are filled up
        mean_height_m=0.0 if heights is None else float(np.nanmean(heights)),
    )


def read_calibration(place: Place, name: str, radiometry: str) -> Table:
    """Calibration table of a polarisation.

    Raises
    ------
    SceneError
        If it is missing or damaged.
    """
    found = _table(Group(place, name), "quality/calibration", _TABLES[radiometry])
    if not all((values > 0).all() for values in found.values):
        raise SceneError(f"{name}/quality/calibration is damaged: it has values of 0 or less")
    return found


def read_noise(place: Place, name: str) -> Noise:
    """Noise tables of a polarisation.

    Raises
    ------
    SceneError
        If they are missing, as in products of 2025, or damaged.
    """
    group = Group(place, name)
    if group.optional("quality/noise_range/noise_range_lut") is None:
        raise SceneError(
            f"{name} has no quality/noise_range: its thermal noise is not known",
            hint="take the SAFE product of this pass, or set `scenes.radar.noise: false`",
        )
    return Noise(_table(group, "quality/noise_range", "noise_range_lut"), list(_strips(group)))


def _lines(group: Group, count: int) -> _Lines:
    """Time of the first line and from one to the next, by the image's axis; else by begin and end of the frame."""
    times = group.nanoseconds("measurements/azimuth_time")
    if times is None:
        start, stop = (moment(str(group.root[f"{end}_datetime"])) for end in ("start", "end"))
        times = np.array([round(start.timestamp() * 1e6), round(stop.timestamp() * 1e6)]) * 1000
    step = (int(times[-1]) - int(times[0])) / 1e9 / max(1, count - 1)
    if not 0 < step < 1:
        raise SceneError(f"the times of its lines are damaged: {step:g} s from one to the next")
    return _Lines(int(times[0]), step)


def read_pixel_m(group: Group, name: str) -> float:
    """Ground range from one sample to the next; attributes that should tell it are 0 in some products.

    Raises
    ------
    SceneError
        If it is missing or impossible.
    """
    ranges = group.optional("measurements/ground_range")
    if ranges is not None:
        step = float(ranges[-1] - ranges[0]) / max(1, len(ranges) - 1)
    else:
        step = float(
            group.floats("quality/calibration/ground_range")[-1] / group.integers("quality/calibration/pixel")[-1]
        )
    if not 1 <= step <= 100:
        raise SceneError(f"{name}: the ground range of its samples is damaged: {step:g} m from one to the next")
    return step


def _table(group: Group, place: str, column: str) -> Table:
    """Values along lines: pixels are the same for all of them, or each line's own, filled up at the end."""
    lines, values = group.integers(f"{place}/line"), group.values(f"{place}/{column}").astype(np.float64)
    pixels = group.integers(f"{place}/pixel")
    if values.ndim != 2 or len(lines) != len(values) or pixels.shape[-1] != values.shape[1]:
        raise SceneError(f"{place}/{column} is damaged: its lines and pixels do not fit")
    found: dict[int, tuple[Floats, Floats]] = {}
    for number, line in enumerate(lines.tolist()):
        own = pixels if pixels.ndim == 1 else pixels[number]
        known = np.isfinite(values[number]) & (own > np.append(-1, np.maximum.accumulate(own)[:-1]))
        if not known.any():
            raise SceneError(f"{place}/{column} is damaged: it has no values at line {line}")
        found[line] = own[known].astype(np.float64), values[number][known]
    ordered = sorted(found)
    return Table(
        np.array(ordered, np.float64), [found[line][0] for line in ordered], [found[line][1] for line in ordered]
    )


def _strips(group: Group) -> list[Strip]:
    """Noise in azimuth: a group for each swath, or arrays of which the first axis is the swath."""
    place = "quality/noise_azimuth"
    swaths = group.members(place)
    if swaths:
        return [_strip(group, f"{place}/{swath}", None) for swath in swaths]
    luts = group.optional(f"{place}/noise_azimuth_lut")
    return [] if luts is None else [_strip(group, place, number) for number in range(len(luts))]


def _strip(group: Group, place: str, number: int | None) -> Strip:
    def edge(*names: str) -> int:
        name = next((name for name in names if group.optional(f"{place}/{name}") is not None), names[0])
        found = group.integers(f"{place}/{name}")
        return int(found if number is None else found[number])

    lines, values = group.integers(f"{place}/line"), group.values(f"{place}/noise_azimuth_lut").astype(np.float64)
    own, lut = (lines, values) if number is None else (lines[number], values[number])
    known = np.isfinite(lut) & (own > np.append(np.iinfo(np.int64).min, np.maximum.accumulate(own)[:-1]))
    if not known.any():
        raise SceneError(f"{place} is damaged: it has no values")
    return Strip(
        edge("first_azimuth_line", "first_azimuth_time"),  # lines under either name
        edge("last_azimuth_line", "last_azimuth_time"),
        edge("first_range_sample"),
        edge("last_range_sample"),
        own[known].astype(np.float64),
        lut[known],
    )

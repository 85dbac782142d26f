"""Writes GRD products of Sentinel-1 as EOPF Zarr, from SAFE folders: as the versions of the converter wrote them.

Groups, arrays and attributes follow the metadata of products of the EOPF sample service (2024: EOPF-CPM 2.5.8; 2025)
and a product that EOPF-CPM 2.8.1 made.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
import zarr
from numcodecs import Blosc

from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel1.calibration import Noise, Table, read_calibration, read_noise
from hpckit.sensors.sentinel1.grd import sidecars
from hpckit.sensors.sentinel1.model import moment, radar_of
from hpckit.sensors.sentinel2.metadata import Metadata

GENERATIONS: Final = ("2024", "2025", "2.8")
_CHUNKS: Final = {"2024": (256, 512), "2025": (300, 10**6), "2.8": (512, 512)}


def write_eopf_grd(folder: Path, safe: Path, scene: Scene, generation: str = "2.8") -> Path:
    """Write a product.

    Parameters
    ----------
    folder : Path
        Where the folder of the hierarchy is made.
    safe : Path
        SAFE folder with measurement, annotation, calibration and noise.
    scene : Scene
        What hpckit reads of it.
    generation : str
        One of `GENERATIONS`.

    Returns
    -------
    Path
        Of the folder of the hierarchy.
    """
    path = folder / f"S01SIWGRD_{radar_of(scene).start:%Y%m%dT%H%M%S}_0024_B168_T90E.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=2)
    for file in sorted((safe / "measurement").glob("*.tiff")):
        name = f"measurement/{file.name}"
        polarisation = file.name.split("-")[3].upper()
        _, _, _, _, start, _, _, datatake, unique = scene.id.split("_")
        group = root.create_group(f"S01SIWGRD_{start}_0025_B150_{unique}_{datatake}_{polarisation}")
        annotation = Metadata(file.stem, (safe / sidecars(name)["product"]).read_bytes())
        last = _write_image(group, file, annotation, generation)
        _write_geometry(group, annotation, generation)
        calibration = (safe / sidecars(name)["calibration"]).read_bytes()
        noise = read_noise(name, (safe / sidecars(name)["noise"]).read_bytes())
        _write_tables(group, calibration, noise, float(annotation.text("rangePixelSpacing")), generation)
    root.attrs.update(_attributes(scene, last, generation))
    zarr.consolidate_metadata(path, zarr_format=2)
    return path


def _write_image(group: zarr.Group, file: Path, annotation: Metadata, generation: str) -> datetime:
    """The image and its axes; gives the time of the last line."""
    with rasterio.open(file) as source:
        dn = source.read(1)
    chunks = tuple(min(size, most) for size, most in zip(dn.shape, _CHUNKS[generation], strict=True))
    _write(group, "measurements/grd", dn, {}, chunks)
    start, step = moment(annotation.text("productFirstLineUtcTime")), float(annotation.text("azimuthTimeInterval"))
    since = f"{start:%Y-%m-%d %H:%M:%S.%f}"
    if generation == "2025":
        _write(group, "measurements/azimuth_time", np.arange(len(dn), dtype="u2"), {})
    elif generation == "2024":
        times = np.round(np.arange(len(dn)) * step * 1e9).astype("i8")
        _write(group, "measurements/azimuth_time", times, {"units": f"nanoseconds since {since}"})
    else:
        times = np.round(np.arange(len(dn)) * step * 1e6).astype("i8")
        _write(group, "measurements/azimuth_time", times, {"units": f"microseconds since {since}"})
    if generation != "2025":
        ranges = np.arange(dn.shape[1]) * float(annotation.text("rangePixelSpacing"))
        _write(group, "measurements/ground_range", ranges, {})
    return start + timedelta(seconds=(len(dn) - 1) * step)


def _write_geometry(group: zarr.Group, annotation: Metadata, generation: str) -> None:
    vectors = [element for element in annotation.elements("orbit") if len(element)]
    places = [[float(element.findtext(f"{{*}}position/{{*}}{axis}")) for axis in "xyz"] for element in vectors]
    _write_times(group, "conditions/orbit/azimuth_time", [element.findtext("{*}time") for element in vectors])
    _write(group, "conditions/orbit/position", np.array(places), {})
    place = "conditions/coordinate_conversion"
    steps = [e for e in annotation.elements("coordinateConversion") if e.find("{*}srgrCoefficients") is not None]
    _write_times(group, f"{place}/azimuth_time", [element.findtext("{*}azimuthTime") for element in steps])
    _write(group, f"{place}/sr0", np.array([float(element.findtext("{*}sr0")) for element in steps]), {})
    rows = [[float(text) for text in element.findtext("{*}srgrCoefficients").split()] for element in steps]
    _write(group, f"{place}/srgr_coefficients", np.array(rows), {})
    points = annotation.elements("geolocationGridPoint")
    shape = (-1,) if generation == "2025" else (10, 21)
    for name, tag in (("height", "height"), ("incidence_angle", "incidenceAngle")):
        values = np.array([float(point.findtext(f"{{*}}{tag}")) for point in points])
        _write(group, f"conditions/gcp/{name}", values.reshape(shape), {})


def _write_tables(group: zarr.Group, calibration: bytes, noise: Noise, pixel_m: float, generation: str) -> None:
    place, kind = "quality/calibration", "i4" if generation == "2.8" else "u4"
    for name, radiometry in (("sigma_nought", "sigma0"), ("gamma", "gamma0")):
        table = read_calibration(name, calibration, radiometry)
        _write(group, f"{place}/{name}", np.array(table.values, "f4"), {})
    _write(group, f"{place}/line", table.lines.astype("i4").view(kind), {})
    _write(group, f"{place}/pixel", np.array(table.pixels[0], kind), {})
    _write(group, f"{place}/ground_range", np.array(table.pixels[0]) * pixel_m, {})
    if generation == "2025":
        _write(group, "quality/noise/noise_power_correction_factor", np.ones(9, "f4"), {})
        return
    _write_noise_range(group, noise.in_range, generation)
    if generation == "2.8":
        for number, strip in enumerate(noise.in_azimuth, 1):
            swath = f"quality/noise_azimuth/IW{number}"
            _write(group, f"{swath}/line", strip.lines.astype("i4"), {})
            _write(group, f"{swath}/noise_azimuth_lut", strip.values.astype("f4"), {})
            edges = (strip.first_line, strip.last_line, strip.first_pixel, strip.last_pixel)
            names = ("first_azimuth_line", "last_azimuth_line", "first_range_sample", "last_range_sample")
            for name, edge in zip(names, edges, strict=True):
                _write(group, f"{swath}/{name}", np.array(edge, "i4"), {})
        return
    strips, longest = noise.in_azimuth, 3 + max(len(strip.lines) for strip in noise.in_azimuth)
    lines, luts = np.zeros((len(strips), longest), "i4"), np.full((len(strips), longest), np.nan, "f4")
    for number, strip in enumerate(strips):
        lines[number, : len(strip.lines)], luts[number, : len(strip.lines)] = strip.lines, strip.values
    _write(group, "quality/noise_azimuth/line", lines, {})
    _write(group, "quality/noise_azimuth/noise_azimuth_lut", luts, {})
    for name, values in (
        ("first_azimuth_time", [strip.first_line for strip in strips]),
        ("last_azimuth_time", [strip.last_line for strip in strips]),
        ("first_range_sample", [strip.first_pixel for strip in strips]),
        ("last_range_sample", [strip.last_pixel for strip in strips]),
    ):
        _write(group, f"quality/noise_azimuth/{name}", np.array(values, "i4"), {})


def _write_noise_range(group: zarr.Group, table: Table, generation: str) -> None:
    """Pixels of all lines, or each line's own with some places at the end that hold nothing."""
    place = "quality/noise_range"
    pixels, values = np.array(table.pixels, "i4"), np.array(table.values, "f4")
    if generation == "2.8":
        pixels = pixels[0]
    else:
        pixels, values = np.pad(pixels, ((0, 0), (0, 2))), np.pad(values, ((0, 0), (0, 2)), constant_values=np.nan)
    _write(group, f"{place}/line", table.lines.astype("i4"), {})
    _write(group, f"{place}/pixel", pixels, {})
    _write(group, f"{place}/noise_range_lut", values, {})


def _write_times(group: zarr.Group, name: str, texts: list[str]) -> None:
    """Times as microseconds since the first one, as xarray encodes them."""
    times = [moment(text) for text in texts]
    values = np.array([round((time - times[0]) / timedelta(microseconds=1)) for time in times], "i8")
    _write(group, name, values, {"units": f"microseconds since {times[0]:%Y-%m-%d %H:%M:%S.%f}"})


def _write(
    group: zarr.Group,
    name: str,
    values: npt.NDArray[Any],
    attributes: Mapping[str, Any],
    chunks: tuple[int, ...] | None = None,
) -> None:
    place, _, own = name.rpartition("/")
    written = group.require_group(place).create_array(
        own,
        shape=values.shape,
        chunks=chunks or values.shape,
        dtype=values.dtype,
        fill_value=np.nan if values.dtype.kind == "f" else None,
        compressors=Blosc("zstd", 3, Blosc.BITSHUFFLE),
        attributes={**attributes, "_ARRAY_DIMENSIONS": [f"d{axis}" for axis in range(values.ndim)]},
        config={"write_empty_chunks": True},
    )
    written[...] = values


def _attributes(scene: Scene, last: datetime, generation: str) -> dict[str, Any]:
    """Attributes of the root; end of the frame as the image has it."""
    radar = radar_of(scene)
    assert scene.footprint is not None
    end = last if generation == "2025" else radar.stop
    properties: dict[str, Any] = {
        "constellation": "sentinel-1",
        "platform": f"sentinel-1{scene.platform[2].lower()}",
        "datetime": "null",
        "start_datetime": f"{radar.start:%Y-%m-%dT%H:%M:%S.%f}Z",
        "end_datetime": f"{end:%Y-%m-%dT%H:%M:%S.%f}Z",
        "product:type": "S01SIWGRD" if generation == "2.8" else "S01SIWGRH",
        "sar:polarizations": list(radar.polarisations),
        "sar:pixel_spacing_range": 0,
        "sat:absolute_orbit": radar.absolute_orbit,
        "sat:orbit_state": radar.orbit_state,
        "sat:relative_orbit": scene.relative_orbit,
        "processing:software": {"Sentinel-1 IPF": f"00{scene.baseline}"},
    }
    other: dict[str, Any] = {"eopf_category": "eocontainer"}
    if generation == "2024":
        properties["processing:software"] = {"name": "Sentinel-1 EOPF", "version": "2.5.8"}
        other["history"] = [{"processor": "Sentinel-1 IPF", "type": "GRD", "version": f"00{scene.baseline}"}]
    ring = [[x, y] for x, y in scene.footprint.exterior.coords]
    discovery = {
        "id": "SAR Standard L1 Product",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }
    return {"stac_discovery": discovery, "other_metadata": other}

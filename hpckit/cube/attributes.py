"""Attributes of a cube: CF for xarray and GDAL, GeoZarr's conventions for readers that know them.

Sources: CF conventions 1.11; the Zarr conventions `proj` and `spatial`, which readers find by UUID
(github.com/zarr-conventions, tag v0.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyproj

from hpckit.frame import Frame, GridSpec
from hpckit.scenes.bands import DN_OFFSET, RADAR_SCALE, SCL_CLASSES, BandRef
from hpckit.scenes.model import Acquisition
from hpckit.scenes.radar import Radar

TIME: Final = {
    "standard_name": "time",
    "long_name": "sensing time of the tile",
    "units": "seconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "axis": "T",
}
X: Final = {"standard_name": "projection_x_coordinate", "long_name": "easting", "units": "m", "axis": "X"}
Y: Final = {"standard_name": "projection_y_coordinate", "long_name": "northing", "units": "m", "axis": "Y"}
RELATIVE_ORBIT: Final = {"long_name": "relative orbit number"}
BASELINE: Final = {"long_name": "processing baseline times 100 (509 is 05.09)"}
ORBIT_STATE: Final = {
    "long_name": "direction of flight",
    "flag_values": [0, 1],
    "flag_meanings": "ascending descending",
}
INCIDENCE: Final = {"long_name": "incidence angle at the middle of the swath", "units": "degree"}
CLOUD_COVER: Final = {"long_name": "cloud cover of the granule by its metadata", "units": "percent"}

# The grid mapping is listed too, so that xarray makes it a coordinate of the array without `decode_coords="all"`.
_AUXILIARY: Final = "relative_orbit processing_baseline cloud_cover spatial_ref"
_AUXILIARY_RADAR: Final = f"{_AUXILIARY} orbit_state incidence_angle"


def _convention(name: str, uuid: str, description: str) -> dict[str, str]:
    repository = name.rstrip(":")
    return {
        "uuid": uuid,
        "name": name,
        "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{repository}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{repository}/blob/v0.1/README.md",
        "description": description,
    }


CONVENTIONS: Final = [
    _convention("proj:", "f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system"),
    _convention("spatial:", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Position of the pixels"),
]


def tile_attributes(tile: str, grid: GridSpec | None, mission: int = 2) -> dict[str, Any]:
    """Attributes of a tile's group."""
    code = {"grid:code": f"MGRS-{tile}"} if grid is None else {"hpckit:grid": grid.name}
    return {"title": f"Sentinel-{mission} tile {tile}", **code}


def group_attributes(frame: Frame, ref: BandRef) -> dict[str, Any]:
    """Attributes of the group of one resolution."""
    rows, columns = frame.shapes[ref.resolution_m]
    transform = frame.transform(ref.resolution_m)
    east, south = frame.ulx + columns * ref.resolution_m, frame.uly - rows * ref.resolution_m
    return {
        "Conventions": "CF-1.11",
        "zarr_conventions": CONVENTIONS,
        "proj:code": f"EPSG:{frame.epsg}",
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": list(transform)[:6],
        "spatial:shape": [rows, columns],
        "spatial:bbox": [frame.ulx, south, east, frame.uly],
        "spatial:registration": "pixel",
    }


def band_attributes(ref: BandRef) -> dict[str, Any]:
    """Attributes of a band's array."""
    common: dict[str, Any] = {
        "grid_mapping": "spatial_ref",
        "coordinates": _AUXILIARY_RADAR if ref.band.kind in RADAR_SCALE else _AUXILIARY,
        "spatial:dimensions": ["y", "x"],
    }
    return {**common, **_of_kind(ref)}


def grid_mapping(frame: Frame, ref: BandRef) -> dict[str, Any]:
    """Attributes of the CF grid mapping variable, with GDAL's GeoTransform."""
    crs = pyproj.CRS.from_epsg(frame.epsg)
    geotransform = (frame.ulx, ref.resolution_m, 0, frame.uly, 0, -ref.resolution_m)
    wkt = crs.to_wkt()
    return {
        **crs.to_cf(),
        "crs_wkt": wkt,
        "spatial_ref": wkt,
        "GeoTransform": " ".join(f"{value:.1f}" for value in geotransform),
    }


def acquisition_attributes(acquisition: Acquisition) -> dict[str, Any]:
    """What a time step is made of."""
    radar = acquisition.scenes[0].radar
    return {
        "id": acquisition.id,
        "time": acquisition.time.isoformat(),
        "platform": acquisition.scenes[0].platform,
        "relative_orbit": acquisition.scenes[0].relative_orbit,
        "processing_baseline": acquisition.scenes[0].baseline,
        "products": [scene.id for scene in acquisition.scenes],
        "datastrips": [scene.datastrip for scene in acquisition.scenes],
        **({} if radar is None else _of_radar(radar)),
    }


def _of_radar(radar: Radar) -> dict[str, Any]:
    """What a time step of Sentinel-1 tells besides."""
    return {
        "orbit_state": radar.orbit_state,
        "radiometry": radar.radiometry,
        "incidence_angle": None if radar.incidence is None else list(radar.incidence),
    }


def _of_kind(ref: BandRef) -> Mapping[str, Any]:
    match ref.band.kind:
        case "reflectance":
            return {
                "long_name": f"reflectance, band {ref.name}",
                "units": "1",
                "scale_factor": 1e-4,
                "add_offset": -DN_OFFSET * 1e-4,
                "_FillValue": 0,
                "valid_min": 1,
                "valid_max": 65535,
                "radiation_wavelength": ref.band.wavelength_nm,
                "radiation_wavelength_unit": "nm",
            }
        case "class":
            return {
                "long_name": "scene classification",
                "flag_values": sorted(SCL_CLASSES),
                "flag_meanings": " ".join(SCL_CLASSES[code].replace(" ", "_") for code in sorted(SCL_CLASSES)),
            }
        case "aot":
            return {
                "long_name": "aerosol optical thickness",
                "units": "1",
                "scale_factor": 1e-3,
                "_FillValue": 0,
            }
        case "power" | "coherence" | "angle" as kind:
            names = {"power": "linear backscatter power", "coherence": "coherence", "angle": "incidence angle"}
            return {
                "long_name": f"{names[kind]}, {ref.name}",
                "units": "degree" if kind == "angle" else "1",
                "scale_factor": RADAR_SCALE[kind],
                "_FillValue": 0,
                "valid_min": 1,
                "valid_max": 65535,
            }
        case "wvp":
            return {"long_name": "water vapour", "units": "cm", "scale_factor": 1e-3, "_FillValue": 0}
        case "probability":
            names = {"CLD": "cloud probability", "SNW": "snow probability"}
            return {"long_name": names[ref.name], "units": "percent"}

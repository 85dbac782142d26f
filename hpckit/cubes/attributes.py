"""Attributes of a cube: CF for xarray and GDAL, GeoZarr's conventions for readers that know them.

Sources: CF conventions 1.11; the Zarr conventions `proj` and `spatial`, which readers find by UUID
(github.com/zarr-conventions, tag v0.1).
"""

from __future__ import annotations

from typing import Any, Final

import pyproj

from hpckit.cubes.held import Held
from hpckit.sensors.bands import Band, BandRef
from hpckit.sensors.model import Acquisition
from hpckit.sensors.sensor import Sensor
from hpckit.space.frame import Frame
from hpckit.space.grid import Grid
from hpckit.space.windows import Windows

WINDOWS: Final = "hpckit:windows"
"""Attribute of an array of which only some windows are held."""

TIME: Final = {
    "standard_name": "time",
    "long_name": "sensing time of the tile",
    "units": "seconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "axis": "T",
}
X: Final = {"standard_name": "projection_x_coordinate", "long_name": "easting", "units": "m", "axis": "X"}
Y: Final = {"standard_name": "projection_y_coordinate", "long_name": "northing", "units": "m", "axis": "Y"}


def convention(name: str, uuid: str, description: str) -> dict[str, str]:
    """Entry of `zarr_conventions` for a convention, at its first version."""
    repository = name.rstrip(":")
    return {
        "uuid": uuid,
        "name": name,
        "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{repository}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{repository}/blob/v0.1/README.md",
        "description": description,
    }


CONVENTIONS: Final = [
    convention("proj:", "f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system"),
    convention("spatial:", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Position of the pixels"),
]


def tile_attributes(tile: str, grid: Grid, sensor: Sensor) -> dict[str, Any]:
    """Attributes of a tile's group."""
    return {"title": f"{sensor.origin.mission} tile {tile}", **grid.attributes(tile)}


def group_attributes(frame: Frame, resolution_m: int) -> dict[str, Any]:
    """Attributes of the group of one resolution."""
    rows, columns = frame.shapes[resolution_m]
    transform = frame.transform(resolution_m)
    east, south = frame.ulx + columns * resolution_m, frame.uly - rows * resolution_m
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


def band_attributes(band: Band, sensor: Sensor) -> dict[str, Any]:
    """Attributes of a band's array."""
    common: dict[str, Any] = {
        "grid_mapping": "spatial_ref",
        "coordinates": sensor.coordinates,
        "spatial:dimensions": ["y", "x"],
        "long_name": band.long_name,
    }
    return {**common, **(_of_flags(band) if band.is_categorical else _of_values(band))}


def held_attributes(held: Held, frame: Frame, ref: BandRef) -> dict[str, Any]:
    """Attributes that name the windows that the cube holds of a band, where these are not all.

    `hpckit:windows` has a text for each row of windows, from the north, with 1 for each window that is held, from the
    west: other windows were not ingested, which the fill value in them does not tell.
    """
    return {} if held.is_whole else windows_attribute(held.windows(frame, ref))


def windows_attribute(windows: Windows) -> dict[str, Any]:
    """Attribute that names the windows of an array that are held."""
    return {WINDOWS: ["".join(map(str, row)) for row in windows.astype(int).tolist()]}


def grid_mapping(frame: Frame, resolution_m: int) -> dict[str, Any]:
    """Attributes of the CF grid mapping variable, with GDAL's GeoTransform."""
    crs = pyproj.CRS.from_epsg(frame.epsg)
    geotransform = (frame.ulx, resolution_m, 0, frame.uly, 0, -resolution_m)
    wkt = crs.to_wkt()
    return {
        **crs.to_cf(),
        "crs_wkt": wkt,
        "spatial_ref": wkt,
        "GeoTransform": " ".join(map(repr, map(float, geotransform))),
    }


def acquisition_attributes(acquisition: Acquisition, sensor: Sensor) -> dict[str, Any]:
    """What a time step is made of."""
    return {
        "id": acquisition.id,
        "time": acquisition.time.isoformat(),
        "platform": acquisition.scenes[0].platform,
        "relative_orbit": acquisition.scenes[0].relative_orbit,
        "processing_baseline": acquisition.scenes[0].baseline,
        "products": [scene.id for scene in acquisition.scenes],
        "datastrips": [scene.part for scene in acquisition.scenes],
        **sensor.tells(acquisition),
    }


def _of_flags(band: Band) -> dict[str, Any]:
    meanings = " ".join(meaning.replace(" ", "_") for _, meaning in band.flags)
    if band.kind == "bits":
        return {"flag_masks": [1 << bit for bit, _ in band.flags], "flag_meanings": meanings}
    return {"flag_values": [code for code, _ in band.flags], "flag_meanings": meanings}


def _of_values(band: Band) -> dict[str, Any]:
    notes: dict[str, Any] = {"units": band.units}
    if band.scale != 1:
        notes["scale_factor"] = band.scale
    if band.offset:
        notes["add_offset"] = band.offset
    if band.nodata is not None:
        notes["_FillValue"] = band.nodata
    if band.valid is not None:
        notes |= {"valid_min": band.valid[0], "valid_max": band.valid[1]}
    if band.wavelength_nm is not None:
        notes |= {"radiation_wavelength": band.wavelength_nm, "radiation_wavelength_unit": "nm"}
    return notes

"""Writes geocoded Sentinel-1 products with made-up pixels: BEAM-DIMAP, GeoTIFF series, and STAC items beside them.

Layout, element names and names of files follow CARD-BS and CARD-COH6 products of the DIAS platforms (SNAP 6 to 9),
Sentinel-1 RTC series and S1-NRB. Pixels are linear power, big-endian float32 in ENVI, 0 where there are no data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from affine import Affine

from hpckit.sensors.sentinel1.model import relative_orbit
from hpckit.space import footprint
from hpckit.testing.landscape import Landscape

Power = npt.NDArray[np.float32]

_LOOKS: Final = 4.4
"""Equivalent number of looks of GRD in high resolution."""
_BARE: Final = {"VV": 0.055, "VH": 0.007}
_LEAFY: Final = {"VV": 0.115, "VH": 0.034}
_WET: Final = {"VV": 0.004, "VH": 0.0009}
_BUILT: Final = {"VV": 0.9, "VH": 0.12}


@dataclass(frozen=True, slots=True)
class RadarSpec:
    """What to write, apart from the pixels."""

    ulx: float = 639_992.494
    uly: float = 5_680_004.482
    epsg: int = 32631
    pixel_m: float = 10.0
    start: datetime = datetime(2024, 5, 2, 5, 50, 11, 123456, tzinfo=UTC)
    seconds: float = 25.0
    platform: str = "S1A"
    absolute_orbit: int = 53685
    datatake: int = 0x684F1
    state: str = "descending"
    unique: str = "A1B2"
    version: str = "3.71"

    @property
    def stop(self) -> datetime:
        """End of the frame."""
        return self.start + timedelta(seconds=self.seconds)

    @property
    def name(self) -> str:
        """Name of the GRD product that it was made from."""
        return (
            f"{self.platform}_IW_GRDH_1SDV_{self.start:%Y%m%dT%H%M%S}_{self.stop:%Y%m%dT%H%M%S}_"
            f"{self.absolute_orbit:06d}_{self.datatake:06X}_{self.unique}"
        )

    @property
    def relative_orbit(self) -> int:
        """Relative orbit number."""
        return relative_orbit(self.platform, self.absolute_orbit)

    @property
    def transform(self) -> Affine:
        """From (column, row) to metres."""
        return Affine(self.pixel_m, 0, self.ulx, 0, -self.pixel_m, self.uly)


def backscatter(landscape: Landscape, day: int, polarisation: str, seed: int | None = None) -> Power:
    """Gamma0 of a landscape on a day of the year, linear power; with speckle if there is a seed.

    Returns
    -------
    ndarray of float32, shape (edge, edge)
    """
    green = landscape.green(day)
    power = _BARE[polarisation] + green * (_LEAFY[polarisation] - _BARE[polarisation])
    power[landscape.town] = _BUILT[polarisation]
    power[landscape.wet(day)] = _WET[polarisation]
    if seed is not None:
        power *= np.random.default_rng(seed).gamma(_LOOKS, 1 / _LOOKS, power.shape)
    return np.asarray(power, dtype=np.float32)


def write_card_bs(folder: Path, spec: RadarSpec, arrays: Mapping[str, Power], *, what: str = "Gamma0") -> Path:
    """Write a CARD-BS product: `NAME_CARD_BS/NAME_CARD_BS.dim` and `.data/Gamma0_VV.img`.

    Parameters
    ----------
    arrays : mapping of str to ndarray of float32
        Linear power by polarisation.
    what : str
        `Gamma0` or `Sigma0`; `coh` gives CARD-COH6.

    Returns
    -------
    Path
        Of the `.dim` file.
    """
    name = f"{spec.name}_{'CARD_COH6' if what == 'coh' else 'CARD_BS'}"
    header = folder / name / f"{name}.dim"
    data = header.with_suffix(".data")
    data.mkdir(parents=True)
    files = {}
    for polarisation, array in arrays.items():
        image = data / f"{what}_{polarisation}.img"
        array.astype(">f4").tofile(image)
        _write(image.with_suffix(".hdr"), _envi_header(spec, array.shape, image.stem))
        files[polarisation] = image
    _write(header, _dimap(spec, files, next(iter(arrays.values())).shape))
    return header


def write_series(
    folder: Path, spec: RadarSpec, arrays: Mapping[str, Power], *, style: str = "rtc", item: bool = True
) -> Path:
    """Write Cloud-Optimised GeoTIFF files, one per polarisation, and a STAC item.

    Parameters
    ----------
    style : {"rtc", "nrb", "terrascope", "coherence"}
        How folders and files are named.
    item : bool
        Whether to write `NAME.json` beside them (never for Terrascope, where names contain this).

    Returns
    -------
    Path
        Of the first file.
    """
    stem = f"{spec.platform.lower()}-iw-nrb-{spec.start:%Y%m%dt%H%M%S}-{spec.absolute_orbit:06d}-{spec.datatake:06x}"
    relative = f"{spec.relative_orbit}_A1B2_V110"
    patterns = {
        "rtc": f"{spec.name}_rtc/measurement/iw-{{low}}.rtc.tiff",
        "nrb": f"{spec.platform}_IW_NRB__1SDV_{spec.start:%Y%m%dT%H%M%S}_{spec.absolute_orbit:06d}_"
        f"{spec.datatake:06X}_31UFT_{spec.unique}/measurement/{stem}-31uft-{{low}}-g-lin.tif",
        "terrascope": f"{spec.platform}_IW_GRDH_SIGMA0_DV_{spec.start:%Y%m%dT%H%M%S}_{spec.state.upper()}_"
        f"{relative}_{{up}}.tif",
        "coherence": f"{spec.name}_CARD_COH6/{spec.name}_coh_{{up}}.tif",
    }
    paths = []
    for polarisation, array in arrays.items():
        path = folder / patterns[style].format(low=polarisation.lower(), up=polarisation)
        _write_cog(path, array, spec)
        paths.append(path)
    if item and style != "terrascope":
        top = paths[0].parent.parent if paths[0].parent.name == "measurement" else paths[0].parent
        shape = next(iter(arrays.values())).shape
        text = json.dumps(_item(spec, top.name, (shape[0], shape[1]), [path.name for path in paths]), indent=1)
        _write(top / f"{top.name}.json", text)
    return paths[0]


def _write_cog(path: Path, array: Power, spec: RadarSpec) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="COG",
        height=array.shape[0],
        width=array.shape[1],
        count=1,
        dtype="float32",
        nodata=0,
        crs=f"EPSG:{spec.epsg}",
        transform=spec.transform,
        COMPRESS="DEFLATE",
        BLOCKSIZE=512,
        OVERVIEWS="NONE",
    ) as target:
        target.write(array.astype(np.float32), 1)


def _item(spec: RadarSpec, name: str, shape: tuple[int, int], files: list[str]) -> dict[str, Any]:
    outline = footprint.outline(f"EPSG:{spec.epsg}", tuple(spec.transform)[:6], shape)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": footprint.geojson(outline),
        "bbox": footprint.bbox(outline),
        "properties": {
            "datetime": f"{spec.start:%Y-%m-%dT%H:%M:%S.%fZ}",
            "start_datetime": f"{spec.start:%Y-%m-%dT%H:%M:%S.%fZ}",
            "end_datetime": f"{spec.stop:%Y-%m-%dT%H:%M:%S.%fZ}",
            "platform": f"SENTINEL-1{spec.platform[-1]}",
            "sar:instrument_mode": "IW",
            "sar:polarizations": ["VV", "VH"],
            "sat:orbit_state": spec.state,
            "sat:absolute_orbit": spec.absolute_orbit,
            "sat:relative_orbit": spec.relative_orbit,
            "s1:datatake_id": str(spec.datatake),
        },
        "links": [],
        "assets": {file: {"href": f"./{file}", "roles": ["data"]} for file in files},
    }


def _envi_header(spec: RadarSpec, shape: tuple[int, ...], band: str) -> str:
    half = "South" if spec.epsg // 100 == 327 else "North"
    place = f"1.0, 1.0, {spec.ulx}, {spec.uly}, {spec.pixel_m}, {spec.pixel_m}, {spec.epsg % 100}, {half}"
    wkt = pyproj.CRS.from_epsg(spec.epsg).to_wkt("WKT1_ESRI")
    return f"""ENVI
description = {{{spec.name} - Unit: intensity}}
samples = {shape[1]}
lines = {shape[0]}
bands = 1
header offset = 0
file type = ENVI Standard
data type = 4
interleave = bsq
byte order = 1
map info = {{UTM, {place}, WGS-84, units=Meters}}
coordinate system string = {{{wkt}}}
band names = {{ {band} }}
data gain values = {{1.0}}
data offset values = {{0.0}}
"""


def _dimap(spec: RadarSpec, files: Mapping[str, Path], shape: tuple[int, ...]) -> str:
    listed = "\n".join(
        f'<Data_File><DATA_FILE_PATH href="{path.parent.name}/{path.stem}.hdr" /><BAND_INDEX>{number}</BAND_INDEX>'
        "</Data_File>"
        for number, path in enumerate(files.values())
    )
    bands = "\n".join(
        f"<Spectral_Band_Info><BAND_INDEX>{number}</BAND_INDEX><BAND_NAME>{path.stem}</BAND_NAME>"
        "<DATA_TYPE>float32</DATA_TYPE><PHYSICAL_UNIT>intensity</PHYSICAL_UNIT>"
        "<NO_DATA_VALUE_USED>true</NO_DATA_VALUE_USED><NO_DATA_VALUE>0.0</NO_DATA_VALUE></Spectral_Band_Info>"
        for number, path in enumerate(files.values())
    )
    abstracted = {
        "PRODUCT": spec.name,
        "PRODUCT_TYPE": "GRD",
        "MISSION": f"SENTINEL-1{spec.platform[-1]}",
        "ACQUISITION_MODE": "IW",
        "Processing_system_identifier": f"ESA Sentinel-1 IPF 00{spec.version}",
        "REL_ORBIT": str(spec.relative_orbit),
        "ABS_ORBIT": str(spec.absolute_orbit),
        "first_line_time": f"{spec.start:%d-%b-%Y %H:%M:%S.%f}".upper(),
        "last_line_time": f"{spec.stop:%d-%b-%Y %H:%M:%S.%f}".upper(),
        "PASS": spec.state.upper(),
        "incidence_near": "30.4",
        "incidence_far": "46.2",
        "abs_calibration_flag": "1",
    }
    values = "\n".join(
        f'<MDATTR name="{name}" type="ascii" mode="rw">{text}</MDATTR>' for name, text in abstracted.items()
    )
    transform = ",".join(f"{value}" for value in (spec.pixel_m, 0.0, 0.0, -spec.pixel_m, spec.ulx, spec.uly))
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<Dimap_Document name="{spec.name}.dim">
<Metadata_Id><METADATA_FORMAT version="2.12.1">DIMAP</METADATA_FORMAT></Metadata_Id>
<Dataset_Sources><MDElem name="metadata"><MDElem name="Abstracted_Metadata">
{values}
</MDElem></MDElem></Dataset_Sources>
<Production><PRODUCT_TYPE>GRD</PRODUCT_TYPE></Production>
<Geoposition><IMAGE_TO_MODEL_TRANSFORM>{transform}</IMAGE_TO_MODEL_TRANSFORM></Geoposition>
<Raster_Dimensions><NCOLS>{shape[1]}</NCOLS><NROWS>{shape[0]}</NROWS><NBANDS>{len(files)}</NBANDS></Raster_Dimensions>
<Data_Access><DATA_FILE_FORMAT>ENVI</DATA_FILE_FORMAT><DATA_FILE_ORGANISATION>BAND_SEPARATE</DATA_FILE_ORGANISATION>
{listed}
</Data_Access>
<Image_Interpretation>
{bands}
</Image_Interpretation>
</Dimap_Document>
"""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

"""Writes Sentinel-2 products with made-up pixels: true SAFE layout, metadata, tiled JPEG 2000, digests.

Layout and element names follow the Sentinel-2 Products Specification Document and real products of
baselines 02.06 to 05.09. A granule may be smaller than the real 10980 pixels; its metadata say so.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
import shapely
from affine import Affine

from hpckit.sensors.bands import split_key
from hpckit.sensors.sentinel2.bands import WINDOW

_BAND_IDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_LEAST_BLOCK: Final = 32
"""Smallest tile that the JPEG 2000 writer takes."""
_PROBABILITY: Final = {"CLD": "MSK_CLDPRB", "SNW": "MSK_SNWPRB"}


@dataclass(frozen=True, slots=True)
class ProductSpec:
    """What to write, apart from the pixels."""

    tile: str = "31UFU"
    epsg: int = 32631
    ulx: float = 600000
    uly: float = 5700000
    sensed: datetime = datetime(2024, 5, 1, 10, 50, 31, tzinfo=UTC)
    """Start of the datatake; the tile is sensed some minutes later."""
    level: str = "L2A"
    baseline: str = "05.10"
    platform: str = "S2A"
    relative_orbit: int = 51
    absolute_orbit: int = 46000
    strip_offset_s: int = 180
    """Start of the datastrip after that of the datatake: distinguishes the two halves of a split pass."""
    produced: datetime | None = None
    """Time of processing; an hour after the end of sensing if not given."""
    cloud_cover: float = 0.0
    bypass: bool = False
    """Store the lowest bits without arithmetic coding (selective bypass, ISO/IEC 15444-1, D.6), unlike ESA: half the
    time to write and to read."""

    @property
    def offset(self) -> int:
        """Radiometric offset of the baseline."""
        return -1000 if 4 <= float(self.baseline) < 99 else 0

    @property
    def name(self) -> str:
        """Name of the product, without `.SAFE`."""
        baseline = self.baseline.replace(".", "")
        return (
            f"{self.platform}_MSI{self.level}_{self.sensed:%Y%m%dT%H%M%S}_N{baseline}"
            f"_R{self.relative_orbit:03d}_T{self.tile}_{self.production:%Y%m%dT%H%M%S}"
        )

    @property
    def production(self) -> datetime:
        """Time of processing."""
        return self.produced or self.sensed + timedelta(hours=1)

    @property
    def datatake(self) -> str:
        """Identifier of the pass."""
        return f"G{self.platform}_{self.sensed:%Y%m%dT%H%M%S}_{self.absolute_orbit:06d}_N{self.baseline}"

    @property
    def strip_start(self) -> datetime:
        """Start of the datastrip."""
        return self.sensed + timedelta(seconds=self.strip_offset_s)

    @property
    def datastrip(self) -> str:
        """Identifier of the datastrip."""
        return (
            f"{self.platform}_OPER_MSI_{self.level}_DS_2APS_{self.production:%Y%m%dT%H%M%S}"
            f"_S{self.strip_start:%Y%m%dT%H%M%S}_N{self.baseline}"
        )

    @property
    def granule(self) -> str:
        """Name of the granule's folder."""
        return f"{self.level}_T{self.tile}_A{self.absolute_orbit:06d}_{self.strip_start:%Y%m%dT%H%M%S}"


def write_product(
    folder: Path, spec: ProductSpec, arrays: Mapping[str, npt.NDArray[Any]], *, as_zip: bool = False
) -> Path:
    """Write a product.

    Parameters
    ----------
    folder : Path
        Where the SAFE folder, or the zip file, is made.
    arrays : mapping of str to ndarray of uint8 or uint16
        Digital numbers by `BandRef.key` (`B04@10m`), as a product of that baseline holds them. Those of 10 m,
        or else of 20 and 60 m, give the size of the granule.
    as_zip : bool
        Pack it to `NAME.zip`.

    Returns
    -------
    Path
        Of the SAFE folder or the zip file.
    """
    root = folder / f"{spec.name}.SAFE"
    shapes = _shapes(arrays)
    images = []
    for key, array in arrays.items():
        name = _file_name(spec, key)
        if not name.rpartition("/")[2].startswith("MSK_"):
            images.append(name.removesuffix(".jp2"))
        _write_jp2(root / name, array, spec, split_key(key)[1])
    _write(root / f"MTD_MSI{spec.level}.xml", _product_xml(spec, images, _positions(_outline(spec, shapes))))
    _write(root / "GRANULE" / spec.granule / "MTD_TL.xml", _granule_xml(spec, shapes, _nodata(arrays)))
    strip = f"DS_2APS_{spec.production:%Y%m%dT%H%M%S}_S{spec.strip_start:%Y%m%dT%H%M%S}"
    _write(root / "DATASTRIP" / strip / "MTD_DS.xml", _datastrip_xml(spec))
    _write(root / "manifest.safe", _manifest(root, spec))
    return _pack(root) if as_zip else root


def write_old_product(
    folder: Path,
    granules: Sequence[tuple[ProductSpec, Mapping[str, npt.NDArray[Any]]]],
    *,
    name: str | None = None,
    as_zip: bool = False,
) -> Path:
    """Write a product as they were before December 2016 (PSD 13): several granules, and long names of files.

    Parameters
    ----------
    granules : sequence of (ProductSpec, mapping of str to ndarray)
        Granules of one pass, and digital numbers of each as in `write_product`.
    name : str, optional
        Name of the product without `.SAFE`.

    Returns
    -------
    Path
        Of the SAFE folder or the zip file.
    """
    first = granules[0][0]
    name = name or _old_name(first)
    root = folder / f"{name}.SAFE"
    listed: dict[str, list[str]] = {}
    for spec, arrays in granules:
        shapes, place = _shapes(arrays), root / "GRANULE" / _granule_id(spec)
        stem = _granule_id(spec).rpartition("_N")[0]
        images = listed.setdefault(_granule_id(spec), [])
        for key, array in arrays.items():
            image, within = _old_image(spec, stem, key)
            images.append(image)
            _write_jp2(place / "IMG_DATA" / within / f"{image}.jp2", array, spec, split_key(key)[1])
        _write(place / f"{stem.replace('_MSI_', '_MTD_')}.xml", _old_style(_granule_xml(spec, shapes, 0)))
    outline = shapely.union_all([_outline(spec, _shapes(arrays)) for spec, arrays in granules]).convex_hull
    _write(root / f"{name.replace('_PRD_MSI', '_MTD_SAF')}.xml", _old_product_xml(first, listed, _positions(outline)))
    _write(root / "manifest.safe", _manifest(root, first))
    return _pack(root) if as_zip else root


def _old_name(spec: ProductSpec) -> str:
    who = "USER" if spec.level == "L2A" else "OPER"  # Level-2A was only made by users
    return (
        f"{spec.platform}_{who}_PRD_MSI{spec.level}_PDMC_{spec.production + timedelta(hours=3):%Y%m%dT%H%M%S}"
        f"_R{spec.relative_orbit:03d}_V{spec.sensed:%Y%m%dT%H%M%S}_{spec.strip_start:%Y%m%dT%H%M%S}"
    )


def _old_image(spec: ProductSpec, stem: str, key: str) -> tuple[str, str]:
    """Name of an image of an old product, and the folder in IMG_DATA where it lies."""
    band, size = split_key(key)
    if spec.level == "L1C":
        return f"{stem}_{band}", ""
    if band in ("SCL", "AOT", "WVP"):
        return f"{stem.replace('_MSI_', f'_{band}_')}_{size}m", "" if band == "SCL" else f"R{size}m"
    return f"{stem}_{band}_{size}m", f"R{size}m"


def _old_product_xml(spec: ProductSpec, listed: Mapping[str, list[str]], footprint: str) -> str:
    """Product metadata of PSD 13: a list for each granule, images without paths, a name that is none."""
    text = _product_xml(spec, [], footprint).replace(f"{spec.name}.SAFE", "791_2016-09-05T10_37")
    start, end = text.index("<Granule_List>"), text.index("</Granule_List>")
    tag = "IMAGE_ID_2A" if spec.level == "L2A" else "IMAGE_ID"
    lists = "".join(
        f'<Granule_List><Granules datastripIdentifier="{spec.datastrip}" granuleIdentifier="{identifier}"'
        f' imageFormat="JPEG2000">{"".join(f"<{tag}>{image}</{tag}>" for image in images)}</Granules></Granule_List>'
        for identifier, images in listed.items()
    )
    return _old_style(text[:start] + lists + text[end + len("</Granule_List>") :])


def _old_style(text: str) -> str:
    """The namespace of PSD 13; it has no percentage of nodata."""
    return re.sub(r"<NODATA_PIXEL_PERCENTAGE>.*?</NODATA_PIXEL_PERCENTAGE>\n?", "", text.replace("psd-14", "psd-13"))


def _shapes(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[int, tuple[int, int]]:
    known = {split_key(key)[1]: array.shape for key, array in arrays.items()}
    finest = min(known)
    rows, columns = (edge * finest for edge in known[finest])
    return {res: known.get(res, (-(-rows // res), -(-columns // res))) for res in (10, 20, 60)}


def _file_name(spec: ProductSpec, key: str) -> str:
    band, size = split_key(key)
    granule = f"GRANULE/{spec.granule}"
    if band in _PROBABILITY:
        return f"{granule}/QI_DATA/{_PROBABILITY[band]}_{size}m.jp2"
    stem = f"T{spec.tile}_{spec.sensed:%Y%m%dT%H%M%S}_{band}"
    if spec.level == "L1C":
        return f"{granule}/IMG_DATA/{stem}.jp2"
    return f"{granule}/IMG_DATA/R{size}m/{stem}_{size}m.jp2"


def _write_jp2(path: Path, array: npt.NDArray[Any], spec: ProductSpec, resolution_m: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    edge = WINDOW[resolution_m]
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        height=array.shape[0],
        width=array.shape[1],
        count=1,
        dtype=array.dtype,
        crs=f"EPSG:{spec.epsg}",
        transform=Affine(resolution_m, 0, spec.ulx, 0, -resolution_m, spec.uly),
        QUALITY=100,
        REVERSIBLE="YES",
        RESOLUTIONS=max(1, min(5, int(np.log2(min(array.shape) / 32)) + 1)) if min(array.shape) >= 32 else 1,
        BLOCKXSIZE=max(_LEAST_BLOCK, min(edge, array.shape[1])),
        BLOCKYSIZE=max(_LEAST_BLOCK, min(edge, array.shape[0])),
        **({"CODEBLOCK_STYLE": "BYPASS"} if spec.bypass else {}),
    ) as target:
        target.write(array, 1)
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)


def _outline(spec: ProductSpec, shapes: Mapping[int, tuple[int, int]]) -> shapely.Polygon:
    """Square of a granule in longitude and latitude, by its corners."""
    rows, columns = shapes[10]
    east, south = spec.ulx + 10 * columns, spec.uly - 10 * rows
    ring = [(spec.ulx, spec.uly), (spec.ulx, south), (east, south), (east, spec.uly), (spec.ulx, spec.uly)]
    to_degrees = pyproj.Transformer.from_crs(spec.epsg, 4326, always_xy=True)
    return shapely.Polygon([to_degrees.transform(*point) for point in ring])


def _positions(outline: shapely.Polygon) -> str:
    return " ".join(f"{latitude:.10f} {longitude:.10f}" for longitude, latitude in outline.exterior.coords)


def _nodata(arrays: Mapping[str, npt.NDArray[Any]]) -> float:
    array = next((a for key, a in arrays.items() if key.startswith("B")), next(iter(arrays.values())))
    return float((array == 0).mean() * 100)


def _product_xml(spec: ProductSpec, images: list[str], footprint: str) -> str:
    n1 = f"Level-{spec.level[1:]}_User_Product"
    files = "\n".join(f"<IMAGE_FILE>{escape(name)}</IMAGE_FILE>" for name in images)
    kind = "BOA" if spec.level == "L2A" else "RADIO"
    one = "BOA_QUANTIFICATION_VALUE" if spec.level == "L2A" else "QUANTIFICATION_VALUE"
    value = f'<{one} unit="none">10000</{one}>'
    values = value
    if spec.level == "L2A":
        values = (
            f"<QUANTIFICATION_VALUES_LIST>{value}"
            '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>'
            '<WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>'
        )
    offsets = ""
    if spec.offset:
        tag = "BOA_ADD_OFFSET" if spec.level == "L2A" else "RADIO_ADD_OFFSET"
        group = "BOA_ADD_OFFSET_VALUES_LIST" if kind == "BOA" else "Radiometric_Offset_List"
        listed = "".join(f'<{tag} band_id="{n}">{spec.offset}</{tag}>' for n in range(len(_BAND_IDS)))
        offsets = f"<{group}>{listed}</{group}>"
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{n1} xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{spec.level[1:]}.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_START_TIME>{_time(spec.sensed)}</PRODUCT_START_TIME>
<PRODUCT_STOP_TIME>{_time(spec.sensed)}</PRODUCT_STOP_TIME>
<PRODUCT_URI>{spec.name}.SAFE</PRODUCT_URI>
<PROCESSING_LEVEL>Level-{spec.level[1:]}</PROCESSING_LEVEL>
<PRODUCT_TYPE>S2MSI{spec.level[1:]}</PRODUCT_TYPE>
<PROCESSING_BASELINE>{spec.baseline}</PROCESSING_BASELINE>
<GENERATION_TIME>{_time(spec.production)}</GENERATION_TIME>
<Datatake datatakeIdentifier="{spec.datatake}">
<SPACECRAFT_NAME>Sentinel-{spec.platform[1:]}</SPACECRAFT_NAME>
<DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
<DATATAKE_SENSING_START>{_time(spec.sensed)}</DATATAKE_SENSING_START>
<SENSING_ORBIT_NUMBER>{spec.relative_orbit}</SENSING_ORBIT_NUMBER>
<SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
</Datatake>
<Query_Options completeSingleTile="true"><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options>
<Product_Organisation><Granule_List>
<Granule datastripIdentifier="{spec.datastrip}" granuleIdentifier="{_granule_id(spec)}" imageFormat="JPEG2000">
{files}
</Granule></Granule_List></Product_Organisation></Product_Info>
<Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
<Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
{values}{offsets}
</Product_Image_Characteristics></n1:General_Info>
<n1:Geometric_Info><Product_Footprint><Product_Footprint><Global_Footprint>
<EXT_POS_LIST>{footprint}</EXT_POS_LIST>
</Global_Footprint></Product_Footprint></Product_Footprint></n1:Geometric_Info>
<n1:Quality_Indicators_Info>
<Cloud_Coverage_Assessment>{spec.cloud_cover:.6f}</Cloud_Coverage_Assessment>
</n1:Quality_Indicators_Info>
</n1:{n1}>
"""


def _granule_id(spec: ProductSpec) -> str:
    return (
        f"{spec.platform}_OPER_MSI_{spec.level}_TL_2APS_{spec.production:%Y%m%dT%H%M%S}"
        f"_A{spec.absolute_orbit:06d}_T{spec.tile}_N{spec.baseline}"
    )


def _granule_xml(spec: ProductSpec, shapes: Mapping[int, tuple[int, int]], nodata: float) -> str:
    n1 = f"Level-{spec.level[1:]}_Tile_ID"
    zone = f"{spec.epsg % 100}{'S' if spec.epsg // 100 == 327 else 'N'}"
    sizes = "\n".join(
        f'<Size resolution="{res}"><NROWS>{rows}</NROWS><NCOLS>{columns}</NCOLS></Size>'
        for res, (rows, columns) in shapes.items()
    )
    corners = "\n".join(
        f'<Geoposition resolution="{res}"><ULX>{spec.ulx:.0f}</ULX><ULY>{spec.uly:.0f}</ULY>'
        f"<XDIM>{res}</XDIM><YDIM>-{res}</YDIM></Geoposition>"
        for res in shapes
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{n1} xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{spec.level[1:]}_Tile_Metadata.xsd">
<n1:General_Info>
<TILE_ID metadataLevel="Brief">{_granule_id(spec)}</TILE_ID>
<DATASTRIP_ID metadataLevel="Standard">{spec.datastrip}</DATASTRIP_ID>
<DOWNLINK_PRIORITY metadataLevel="Standard">NOMINAL</DOWNLINK_PRIORITY>
<SENSING_TIME metadataLevel="Standard">{_time(spec.strip_start)}</SENSING_TIME>
</n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief">
<HORIZONTAL_CS_NAME>WGS84 / UTM zone {zone}</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>EPSG:{spec.epsg}</HORIZONTAL_CS_CODE>
{sizes}
{corners}
</Tile_Geocoding></n1:Geometric_Info>
<n1:Quality_Indicators_Info><Image_Content_QI>
<CLOUDY_PIXEL_PERCENTAGE>{spec.cloud_cover:.6f}</CLOUDY_PIXEL_PERCENTAGE>
<NODATA_PIXEL_PERCENTAGE>{nodata:.6f}</NODATA_PIXEL_PERCENTAGE>
</Image_Content_QI></n1:Quality_Indicators_Info>
</n1:{n1}>
"""


def _datastrip_xml(spec: ProductSpec) -> str:
    n1 = f"Level-{spec.level[1:]}_DataStrip_ID"
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{n1} xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{spec.level[1:]}_Datastrip_Metadata.xsd">
<n1:General_Info><Datatake_Info datatakeIdentifier="{spec.datatake}">
<SPACECRAFT_NAME>Sentinel-{spec.platform[1:]}</SPACECRAFT_NAME>
</Datatake_Info></n1:General_Info>
</n1:{n1}>
"""


def _manifest(root: Path, spec: ProductSpec) -> str:
    """Sizes and digests of all files: SHA3-256 from baseline 04.00 on, MD5 before."""
    name, algorithm = ("SHA3-256", "sha3_256") if float(spec.baseline) >= 4 else ("MD5", "md5")
    objects = []
    for number, path in enumerate(sorted(p for p in root.rglob("*") if p.is_file())):
        data = path.read_bytes()
        objects.append(
            f'<dataObject ID="File_{number}"><byteStream mimeType="application/octet-stream" size="{len(data)}">'
            f'<fileLocation href="./{escape(path.relative_to(root).as_posix())}" locatorType="URL"/>'
            f'<checksum checksumName="{name}">{hashlib.new(algorithm, data).hexdigest()}</checksum>'
            "</byteStream></dataObject>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        '<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" version="esa/safe/sentinel/1.1/sentinel-2/msi">\n'
        "<dataObjectSection>\n" + "\n".join(objects) + "\n</dataObjectSection>\n</xfdu:XFDU>\n"
    )


def _pack(root: Path) -> Path:
    """Zip a SAFE folder and remove it."""
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
    shutil.rmtree(root)
    return path


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def quantise(reflectance: npt.NDArray[np.floating[Any]], offset: int) -> npt.NDArray[np.uint16]:
    """Digital numbers of reflectance, as a product with that offset holds them; NaN becomes nodata."""
    numbers = np.clip(np.rint(np.nan_to_num(reflectance) * 10000) - offset, 1, 65534)
    return np.where(np.isnan(reflectance), 0, numbers).astype(np.uint16)

"""Writes Sentinel-2 products with made-up pixels as EOPF Zarr, as each generation of the converter wrote them.

Groups, arrays, attributes and their gaps follow the metadata of products of 2025-01 (Level-1C) and 2025-08 (Level-2A)
of the EOPF sample service, a product that EOPF-CPM 2.8.1 made, and the source of EOPF-CPM 3.0.0.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec, BloscShuffle

from hpckit.sensors.bands import split_key
from hpckit.testing.safe import ProductSpec

GENERATIONS: Final = ("2025-01", "2025-08", "2.8", "3.0")
"""The first two by the date of products, the others by the version of EOPF-CPM."""
_OLD: Final = ("2025-01", "2025-08")
_CHUNK_M: Final = {"2025-01": 18_300, "2025-08": 54_900, "2.8": 18_300, "3.0": 18_300}


def write_eopf(
    folder: Path,
    spec: ProductSpec,
    arrays: Mapping[str, npt.NDArray[Any]],
    generation: str = "2.8",
    *,
    chunk_m: int | None = None,
    consolidated: bool | None = None,
) -> Path:
    """Write a product.

    Parameters
    ----------
    folder : Path
        Where the folder of the hierarchy is made.
    arrays : mapping of str to ndarray of uint8 or uint16
        Digital numbers by `BandRef.key`, as the SAFE product has them (`safe.write_product`).
    generation : str
        One of `GENERATIONS`.
    chunk_m : int, optional
        Edge of chunks in metres; that of the generation if not given.
    consolidated : bool, optional
        Whether metadata are consolidated; as the generation does if not given. Version 3 is never.

    Returns
    -------
    Path
        Of the folder of the hierarchy.
    """
    path = folder / f"{product_name(spec, generation)}.zarr"
    shutil.rmtree(path, ignore_errors=True)
    is_3 = generation == "3.0"
    root = zarr.open_group(path, mode="w", zarr_format=3 if is_3 else 2)
    place = _Place(spec, arrays)
    root.attrs.update(_attributes(spec, generation, place))
    for key, array in arrays.items():
        name, size = split_key(key)
        group = root.require_group(_group(name, size))
        if "x" not in group:
            _write_axes(group, place, size, array.shape, generation)
        _write_band(group, name, array, (chunk_m or _CHUNK_M[generation]) // size, place.of(size, array), generation)
    if consolidated is not False and not is_3:
        zarr.consolidate_metadata(path, zarr_format=2)
    return path


def product_name(spec: ProductSpec, generation: str) -> str:
    """Name of a product without `.zarr`: that of the SAFE product, or since EOPF-CPM 2.7 one without a tile."""
    if generation in _OLD:
        return spec.name
    end = f"{spec.platform[2]}{spec.relative_orbit:03d}_TB41"
    if generation == "3.0":
        end = f"{spec.platform[2]}{spec.relative_orbit:04d}_TB41"
    return f"S02MSI{spec.level}_{spec.sensed:%Y%m%dT%H%M%S}_0000_{end}"


class _Place:
    """Where pixels lie."""

    def __init__(self, spec: ProductSpec, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.spec = spec
        self.rows, self.columns = max(
            (array.shape[0] * split_key(key)[1], array.shape[1] * split_key(key)[1]) for key, array in arrays.items()
        )

    @property
    def bbox(self) -> list[float]:
        """West, south, east, north."""
        return [self.spec.ulx, self.spec.uly - self.rows, self.spec.ulx + self.columns, self.spec.uly]

    def transform(self, size: int) -> list[float]:
        """Nine numbers, as EOPF has them."""
        return [size, 0.0, self.spec.ulx, 0.0, -size, self.spec.uly, 0.0, 0.0, 1.0]

    def of(self, size: int, array: npt.NDArray[Any]) -> dict[str, Any]:
        """Attributes of an array of the older generations."""
        return {
            "proj:bbox": self.bbox,
            "proj:epsg": self.spec.epsg,
            "proj:shape": list(array.shape),
            "proj:transform": self.transform(size),
        }


def _group(name: str, size: int) -> str:
    if name == "SCL":
        return f"conditions/mask/l2a_classification/r{size}m"
    if name in ("AOT", "WVP"):
        return f"quality/atmosphere/r{size}m"
    return f"quality/probability/r{size}m" if name in ("CLD", "SNW") else f"measurements/reflectance/r{size}m"


def _write_axes(group: zarr.Group, place: _Place, size: int, shape: tuple[int, ...], generation: str) -> None:
    """Centres of pixels: whole numbers, or floats of 32 bits since EOPF-CPM 2.6."""
    x = place.spec.ulx + size * (np.arange(shape[1]) + 0.5)
    y = place.spec.uly - size * (np.arange(shape[0]) + 0.5)
    for name, centres in (("x", x), ("y", y)):
        values = centres.astype("<i8" if generation in _OLD else "<f4")
        fill = None if generation in _OLD else np.nan
        _write_array(group, name, values, values.shape, [name], {}, fill, generation)


def _write_band(
    group: zarr.Group, name: str, array: npt.NDArray[Any], chunk: int, placed: Mapping[str, Any], generation: str
) -> None:
    attributes: dict[str, Any] = dict(placed) if generation in _OLD else {}
    fill: Any = 0
    if name.startswith("B"):
        attributes |= {"scale_factor": 1e-4, "add_offset": -0.1, "valid_min": 1, "valid_max": 65535}
    elif generation not in _OLD and name in ("SCL", "AOT", "WVP"):
        attributes |= {"scale_factor": 1 if name == "SCL" else 1e-3, "add_offset": 0}
    elif generation not in _OLD:
        array, fill = array.astype("<f4"), 101
    whole = generation == "2025-08" and not name.startswith("B")  # masks have one chunk there
    chunks = (min(chunk, array.shape[0]), min(chunk, array.shape[1]))
    _write_array(
        group, name.lower(), array, array.shape if whole else chunks, ["y", "x"], attributes, fill, generation
    )


def _write_array(
    group: zarr.Group,
    name: str,
    array: npt.NDArray[Any],
    chunks: tuple[int, ...],
    dimensions: list[str],
    attributes: Mapping[str, Any],
    fill: Any,
    generation: str,
) -> None:
    if generation == "3.0":
        codec = BloscCodec(cname="zstd", clevel=3, shuffle=BloscShuffle.bitshuffle, typesize=array.itemsize)
        more: dict[str, Any] = {"compressors": codec, "dimension_names": dimensions}
    else:
        more = {"compressors": Blosc("zstd", 3, Blosc.BITSHUFFLE)}
        attributes = {**attributes, "_ARRAY_DIMENSIONS": dimensions}
    # zarr-python 2 wrote all chunks, version 3 leaves out those of the fill value.
    written = group.create_array(
        name,
        shape=array.shape,
        chunks=chunks,
        dtype=array.dtype,
        fill_value=fill,
        attributes=dict(attributes),
        config={"write_empty_chunks": generation != "3.0"},
        **more,
    )
    written[...] = array


def _attributes(spec: ProductSpec, generation: str, place: _Place) -> dict[str, Any]:
    """Attributes of the root."""
    begin = f"{spec.sensed:%Y-%m-%dT%H:%M:%S}.024000"
    created = f"{spec.production:%Y-%m-%dT%H:%M:%S}"
    common = {
        "constellation": "sentinel-2",
        "platform": f"sentinel-2{spec.platform[2].lower()}",
        "processing:level": spec.level,
        "product:type": f"S02MSI{spec.level}",
        "eo:cloud_cover": spec.cloud_cover,
        "sat:absolute_orbit": spec.absolute_orbit,
        "sat:relative_orbit": spec.relative_orbit,
        "proj:bbox": place.bbox,
        "created": f"{created}+00:00",
        "start_datetime": f"{begin}+00:00",
        "end_datetime": f"{begin}+00:00",
    }
    sensed = f"{spec.strip_start:%Y-%m-%dT%H:%M:%S}.000000Z"
    if generation in _OLD:
        granule = (
            f"{spec.platform}_OPER_MSI_{spec.level}_TL_2APS_{spec.production:%Y%m%dT%H%M%S}"
            f"_A{spec.absolute_orbit:06d}_T{spec.tile}_N{spec.baseline}"
        )
        properties = {
            **common,
            "datetime": "null" if generation == "2025-01" else None,
            "eopf:baseline": spec.baseline,
            "eopf:data_take_id": spec.datatake,
            "proj:epsg": spec.epsg,
            "processing:version": "",
        }
        other = {"UTM_zone_identification": granule, "mean_sensing_time": sensed, "NUC_table_ID": 3}
        return {"stac_discovery": _discovery(f"{spec.name}.SAFE", properties), "other_metadata": other}
    properties = {
        **common,
        "datetime": f"{begin}Z",
        "processing:version": spec.baseline,
        "eopf:datatake_id": spec.datatake,
        "eopf:datastrip_id": spec.datastrip,
        "proj:code": f"EPSG:{spec.epsg}",
        "proj:transform": place.transform(60),
    }
    safe = f"{spec.name}.SAFE"
    history = {
        "Level-1C Product": [{"outputs": "S02MSIL1C_etc", "processor": "Sentinel-2 IPF"}],
        f"Level-{spec.level[1:]} Product": [
            {"outputs": [safe], "processor": "Sentinel-2 IPF", "version": spec.baseline},
            {"inputs": [safe], "outputs": [f"{product_name(spec, generation)}.zarr"], "processor": "EOPF-CPM"},
        ],
    }
    zone = f"{spec.epsg % 100}{'N' if spec.epsg < 32700 else 'S'}"
    return {
        "stac_discovery": _discovery(product_name(spec, generation), properties),
        "other_metadata": {
            "utm_zone_identification": f"UTM zone {zone}",
            "horizontal_crs_code": f"EPSG:{spec.epsg}",
            "mean_sensing_time": sensed,
            "swir_rearrangement_flag": "null",
        },
        "processing_history": history,
    }


def _discovery(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The item in a root; corners of its box are mixed up in all generations."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "bbox": [12.8, 41.4, 11.4, 42.4],
        "geometry": None,
        "properties": dict(properties),
    }

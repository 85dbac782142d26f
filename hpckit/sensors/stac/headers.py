"""What the file of an asset says of itself: where its pixels lie, and of what type its numbers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rasterio.errors import RasterioError

from hpckit.errors import SceneError
from hpckit.inputs.opening import fault_behind, open_raster
from hpckit.inputs.remote import opened
from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.uri import is_remote, name_of


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    dtype: str
    nodata: float | None
    scale: float = 1.0
    """Physical value = number * `scale` + `offset`, as GDAL has it."""
    offset: float = 0.0
    has_mask: bool = False
    """A mask or alpha layer tells which pixels are no data."""

    @property
    def pixel_m(self) -> int:
        """Edge of a pixel, metres."""
        return round(self.transform[0])


def read_header(item: Mapping[str, Any], key: str, uri: str) -> Header:
    """Read the header of the file of an asset.

    Parameters
    ----------
    item : JSON
        STAC item, which tells the CRS where the file has none.
    key : str
        Of the asset.
    uri : str
        Where its file lies.

    Raises
    ------
    SceneError
        If the file cannot be read, has several bands, or lies in no CRS or not north up with square pixels.
    """
    name = name_of(uri)
    try:
        if is_remote(uri):
            opened(uri, is_new=True)
        with open_raster(uri) as source:
            crs, transform, shape = source.crs, tuple(source.transform)[:6], source.shape
            dtype, nodata, count = source.dtypes[0], source.nodata, source.count
            scale, offset = source.scales[0], source.offsets[0]
            has_mask = any(flag.name == "per_dataset" for flag in source.mask_flag_enums[0])
    except RasterioError as error:
        raise SceneError(f"{name} cannot be read") from fault_behind(uri, error)
    except OSError as error:
        raise SceneError(f"{without_secrets(uri)} cannot be read") from error
    if count != 1:
        raise SceneError(f"{name} has {count} bands; asset {key} must have one")
    a, b, c, d, e, f = transform
    if b or d or a <= 0 or a != -e:
        raise SceneError(f"{name} is not north up with square pixels")
    code = _crs(item, key, name, crs)
    return Header(code, (a, b, c, d, e, f), (shape[0], shape[1]), dtype, nodata, scale, offset, has_mask)


def _crs(item: Mapping[str, Any], key: str, name: str, crs: Any) -> str:
    """CRS by the file, or by the item where the file has none; they must not contradict each other."""
    asset, properties = item["assets"][key], item["properties"]
    said = asset.get("proj:code") or asset.get("proj:epsg")
    said = said or properties.get("proj:code") or properties.get("proj:epsg")
    by_item = f"EPSG:{str(said).upper().removeprefix('EPSG:').partition('.')[0]}" if said else ""
    code = None if crs is None else crs.to_epsg()
    if crs is not None and code is None:
        raise SceneError(f"{name} has a CRS without an EPSG code")
    by_file = f"EPSG:{code}" if code else ""
    if by_file and by_item and by_file != by_item:
        raise SceneError(f"{name} is in {by_file}, its item says {by_item}")
    if not by_file and not by_item:
        raise SceneError(f"{name} has no CRS, and its item does not tell it either")
    return by_file or by_item

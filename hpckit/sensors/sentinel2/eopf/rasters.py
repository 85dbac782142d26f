"""Arrays of a product that are bands: where their pixels lie, and what their numbers mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from hpckit.errors import SceneError
from hpckit.inputs.hierarchy import Hierarchy, reading
from hpckit.inputs.uri import array_uri
from hpckit.sensors.bands import Band
from hpckit.sensors.model import Asset
from hpckit.sensors.sentinel2.bands import BANDS, L1C_RESOLUTION
from hpckit.sensors.sentinel2.eopf.told import epsg_of

if TYPE_CHECKING:
    from zarr import Array

_OFFSET: Final = -0.1
"""Of reflectance since baseline 04.00."""
_SINCE: Final = 4.0
_TRIAL: Final = 99.0
"""N9999 is no baseline: nothing follows from it."""
_REMEDY: Final = "use the SAFE product that it was made from, or convert that again"

Transform = tuple[float, float, float, float, float, float]


class Offset(NamedTuple):
    """Offset of reflectance, and what told it."""

    value: float
    why: str


class Rasters(NamedTuple):
    """Bands of a product."""

    assets: dict[str, Asset]
    missing: tuple[str, ...]
    """Arrays that the metadata list and whose folder is gone."""
    reasons: tuple[str, ...]
    """What told the offset."""


def read_rasters(hierarchy: Hierarchy, level: str, baseline: float, epsg: int | None) -> Rasters:
    """Read the metadata of a product's bands.

    Parameters
    ----------
    epsg : int, optional
        CRS as the root tells it.

    Raises
    ------
    SceneError
        If an array has no place, another data type than products have, or an offset that its baseline cannot have.
    """
    assets, missing, reasons = {}, [], set()
    digest = hierarchy.digest
    place = cache(lambda group: _corner(hierarchy, group))
    for band, size, name in _known(level):
        array = hierarchy.array(name)
        if array is None:
            continue
        if not hierarchy.has(name):
            missing.append(name)
            continue
        with reading(name):
            attributes = dict(array.attrs)
        own = epsg_of(attributes) or epsg
        if own is None:
            raise SceneError(
                f"nothing tells the CRS of {name}: no proj:code or proj:epsg, neither there nor in the root"
            )
        if epsg is not None and own != epsg:
            raise SceneError(f"{name} is in EPSG:{own}, its product in EPSG:{epsg}")
        shape, transform = _shape(name, array), _transform(name, attributes, size, place(name.rpartition("/")[0]))
        scale, offset = band.scale, band.offset
        if band.kind == "reflectance":
            told = reflectance_offset(attributes, baseline)
            scale, offset = _declared(attributes, "scale_factor") or scale, told.value
            reasons.add(f"offset {told.value:g}: {told.why}")
        elif not band.is_mask and not math.isclose(_declared(attributes, "scale_factor") or scale, scale):
            raise SceneError(f"{name}: its scale_factor is not {scale:g}", hint=_REMEDY)
        assets[f"{band.name}@{size}m"] = Asset(
            array_uri(hierarchy.where, name),
            f"EPSG:{own}",
            transform,
            shape,
            **_coding(name, band, array),
            scale=scale,
            offset=offset,
            digest=digest,
            chunks=hierarchy.grid(array),
        )
    return Rasters(assets, tuple(missing), tuple(sorted(reasons)))


def reflectance_offset(attributes: Mapping[str, Any], baseline: float) -> Offset:
    """Offset of an array of reflectance.

    Converters write the constant -0.1 into products of every baseline, although it is in the pixels since 04.00 only.

    Raises
    ------
    SceneError
        If the array declares another offset than products of the baseline have, or nothing tells it.
    """
    said = _declared(attributes, "add_offset")
    if baseline < _SINCE:
        return Offset(0.0, f"baseline {baseline:05.2f}")
    if said is None:
        if baseline >= _TRIAL:
            raise SceneError(
                "nothing tells the offset of its reflectance: no add_offset, and no baseline", hint=_REMEDY
            )
        return Offset(_OFFSET, f"baseline {baseline:05.2f}")
    if baseline < _TRIAL and not math.isclose(said, _OFFSET):
        raise SceneError(
            f"its arrays declare add_offset {said:g}, and products of baseline {baseline:05.2f} have {_OFFSET:g}",
            hint=_REMEDY,
        )
    return Offset(said, "declared by its arrays")


def _known(level: str) -> Iterator[tuple[Band, int, str]]:
    """Band, pixel size and path of each array that products of a level may have."""
    for band in BANDS.values():
        if level == "L1C" and band.name not in L1C_RESOLUTION:
            continue
        for size in (band.native_m,) if level == "L1C" else band.resolutions_m:
            yield band, size, f"{_group(band)}/r{size}m/{band.name.lower()}"


def _group(band: Band) -> str:
    if band.kind == "reflectance":
        return "measurements/reflectance"
    if band.kind == "class":
        return "conditions/mask/l2a_classification"
    return "quality/probability" if band.kind == "probability" else "quality/atmosphere"


def _coding(name: str, band: Band, array: Array[Any]) -> dict[str, Any]:
    """Data type and nodata, where they are not those of the cube: probabilities are floats in some generations."""
    dtype, stored = array.dtype.newbyteorder("="), band.dtype
    if dtype == stored:
        return {}
    if band.kind != "probability" or dtype.kind not in "uif":
        raise SceneError(f"{name} holds {dtype}; products have {stored}", hint=_REMEDY)
    fill = array.fill_value
    return {"dtype": str(dtype), "nodata": None if fill is None or math.isnan(fill) or fill == 0 else float(fill)}


def _shape(name: str, array: Array[Any]) -> tuple[int, int]:
    if array.ndim != 2 or not all(0 < edge < 2**16 for edge in array.shape):
        raise SceneError(f"{name} is no raster: its shape is {array.shape}")
    return array.shape[0], array.shape[1]


def _corner(hierarchy: Hierarchy, group: str) -> Transform | None:
    """Place of the pixels of a group by their centres, `x` and `y`; None where it has none."""
    steps = []
    for axis in ("x", "y"):
        array = hierarchy.array(f"{group}/{axis}")
        if array is None:
            return None
        with reading(f"{group}/{axis}"):
            values = np.asarray(array[:], dtype=np.float64).tolist()
        step = (values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 0.0
        if not all(math.isclose(value, values[0] + number * step) for number, value in enumerate(values)) or not step:
            raise SceneError(f"{group}/{axis} is damaged: its pixels do not have one size")
        steps.append((values[0], step, len(values)))
    (x, across, _), (y, down, _) = steps
    return across, 0.0, x - across / 2, 0.0, down, y - down / 2


def _transform(name: str, attributes: Mapping[str, Any], size: int, place: Transform | None) -> Transform:
    """Transform of an array; what its own attributes say of it must agree with the coordinates of its group."""
    said = attributes.get("proj:transform")
    own = tuple(map(float, said[:6])) if isinstance(said, (list, tuple)) and len(said) >= 6 else None
    found = place or own
    if found is None:
        raise SceneError(f"nothing tells where {name} lies: its group has no x and y, and it has no proj:transform")
    if own is not None and own != found:
        raise SceneError(f"{name}: its proj:transform contradicts the coordinates x and y of its group")
    a, b, c, d, e, f = found
    if (a, b, d, e) != (size, 0, 0, -size):
        raise SceneError(f"{name} has pixels of {a:g} m by {-e:g} m; they must be {size} m, north up")
    return a, b, c, d, e, f


def _declared(attributes: Mapping[str, Any], name: str) -> float | None:
    """Number that an array declares; the newest generation has some in attributes of its own only."""
    inner = attributes.get("_eopf_attrs")
    for told in (attributes, inner if isinstance(inner, Mapping) else {}):
        value = told.get(name)
        if isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
    return None

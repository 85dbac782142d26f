"""Scale and offset of an asset: by the rule of its catalogue, since items declare offsets that do not hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from hpckit.errors import SceneError
from hpckit.sensors.stac.dialects import Dialect
from hpckit.sensors.stac.options import ItemOptions

SCALE: Final = 1e-4
_OFFSET: Final = -0.1
"""Of reflectance since baseline 04.00."""
_SINCE: Final = 4.0
_TRIAL: Final = 99.0
"""N9999 is no baseline: nothing follows from it."""
_REMEDY: Final = "set `scenes.items.offset` to the offset that the pixels have: 0, or -0.1 for those of ESA"


class Radiometry(NamedTuple):
    """Physical value = number * scale + offset."""

    scale: float
    offset: float
    why: str
    """What told the offset."""


def declared(asset: Mapping[str, Any], name: str) -> float | None:
    """Number that an asset declares of its only band; None if it declares none.

    Parameters
    ----------
    name : str
        `scale`, `offset` or `nodata`.

    Raises
    ------
    SceneError
        If it is declared more than once, with different values.
    """
    found = {float(value) for value in _declared(asset, name) if isinstance(value, (int, float))}
    if len(found) > 1:
        values = " and ".join(f"{value:g}" for value in sorted(found))
        raise SceneError(f"its item declares {name} twice: {values}", hint=_REMEDY)
    return found.pop() if found else None


def reflectance(
    item: Mapping[str, Any],
    key: str,
    dialect: Dialect | None,
    baseline: float | None,
    options: ItemOptions,
    *,
    is_original: bool,
) -> Radiometry:
    """Scale and offset of an asset of reflectance.

    Parameters
    ----------
    baseline : float, optional
        Processing baseline; None if it is not known.
    is_original : bool
        Whether the file is the one of ESA, beside a converted one.

    Raises
    ------
    SceneError
        If the item contradicts itself, or nothing tells the offset.
    """
    asset = item["assets"][key]
    if options.offset is not None:
        return Radiometry(options.scale or declared(asset, "scale") or SCALE, options.offset, "scenes.items.offset")
    scale = options.scale or declared(asset, "scale") or SCALE
    said = declared(asset, "offset")
    if dialect is not None and dialect.rule == "flag" and not is_original:
        return _by_flag(item["properties"], dialect, baseline, scale)
    expected = None if baseline is None or baseline >= _TRIAL else _OFFSET if baseline >= _SINCE else 0.0
    if dialect is not None and dialect.rule == "baseline":
        said = None
    if said is None:
        if expected is None or dialect is None:
            raise SceneError("nothing tells the offset of its reflectance", hint=_REMEDY)
        return Radiometry(scale, expected, f"baseline {baseline:05.2f}")
    if expected is not None and (said == 0) != (expected == 0) and dialect is not None:
        raise SceneError(
            f"its item declares the offset {said:g} for {key}, and products of baseline {baseline:05.2f} have "
            f"{expected:g}",
            hint=_REMEDY,
        )
    return Radiometry(scale, said, "declared by the item")


def _by_flag(properties: Mapping[str, Any], dialect: Dialect, baseline: float | None, scale: float) -> Radiometry:
    """Of converted files: where the flag is true, the offset was subtracted from the pixels, whatever is declared."""
    flag = next((name for name in dialect.flags if name in properties), None)
    if flag is not None and properties[flag] is True:
        return Radiometry(scale, 0.0, f"{flag} is true")
    if baseline is not None and baseline < _SINCE:
        return Radiometry(scale, 0.0, f"baseline {baseline:05.2f}")
    said = f"{flag} is false" if flag is not None else f"{dialect.flags[0]} is not there"
    raise SceneError(
        f"nothing tells whether the offset was subtracted from its pixels: {said}, and pixels of {dialect.name} "
        "were changed all the same",
        hint=_REMEDY,
    )


def _declared(asset: Mapping[str, Any], name: str) -> Iterator[Any]:
    """As STAC 1.0 and 1.1 and their extensions have it."""
    yield asset.get(f"raster:{name}")
    yield asset.get(name)
    for bands in ("raster:bands", "bands"):
        listed = asset.get(bands)
        if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], Mapping):
            yield listed[0].get(f"raster:{name}")
            yield listed[0].get(name)

"""What a zone is, from the attributes of its layer: for titles only, so that nothing here ever fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hpckit.errors import VectorError
from hpckit.space.vector.formats import DRIVERS, ogr_alone, require_known

_CROP: Final = re.compile(r"crop|gewas|kultur|cultur|cultivo|coltura|landuse|land_use", re.IGNORECASE)
_CODE: Final = re.compile(r"code|id$|year|jahr|cat", re.IGNORECASE)
_CROP_CODE: Final = re.compile(r"code|id$", re.IGNORECASE)
_LONGEST: Final = 60


def zone_labels(path: Path, id_field: str, layer: str | None, zones: Sequence[str]) -> list[str | None]:
    """Look up the crop of zones.

    Parameters
    ----------
    path, id_field, layer
        The zone layer, as in the campaign file.
    zones : sequence of str
        Identifiers.

    Returns
    -------
    list of str or None
        None where the layer is gone, has no such field, or the zone none of it.
    """
    return zone_crops(path, id_field, layer, zones)[0]


def zone_crops(
    path: Path,
    id_field: str,
    layer: str | None,
    zones: Sequence[str],
    name: str | None = None,
    code: str | None = None,
) -> tuple[list[str | None], list[str | None]]:
    """Look up names and codes of the crops of zones.

    Parameters
    ----------
    name, code : str, optional
        Fields of the layer; found by their names if not given.

    Returns
    -------
    names, codes : list of str or None
        As `zone_labels` gives them.
    """
    from hpckit.base.ogr import pyogrio

    nothing: list[str | None] = [None] * len(zones)
    try:
        require_known(path)
        with ogr_alone():
            info = pyogrio.read_info(path, layer=layer)
            fields = list(info["fields"])
            chosen = [name or _crop_field(fields), code or _code_field(fields)]
            wanted = [field for field in fields if field in (id_field, *chosen)]
            if len(wanted) < 2 or id_field not in fields or info["driver"] not in DRIVERS:
                return nothing, nothing
            _, _, _, columns = pyogrio.raw.read(path, layer=layer, columns=wanted, read_geometry=False)
    except (VectorError, pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError, ValueError):
        return nothing, nothing
    by_name = dict(zip(wanted, columns, strict=True))
    ids = [_text(value) for value in by_name[id_field]]
    names, codes = (_of_zones(ids, by_name.get(field or ""), zones) for field in chosen)
    return names, codes


def _of_zones(ids: Sequence[str], column: Sequence[Any] | None, zones: Sequence[str]) -> list[str | None]:
    if column is None:
        return [None] * len(zones)
    wanted = set(zones)
    found = {zone: value for zone, value in zip(ids, column, strict=True) if zone in wanted}
    return [_label(found.get(zone)) for zone in zones]


def _crop_field(fields: list[str]) -> str | None:
    """The field that names a crop; a name rather than a code."""
    named = [field for field in fields if _CROP.search(field)]
    return min(named, key=lambda field: (bool(_CODE.search(field)), fields.index(field)), default=None)


def _code_field(fields: list[str]) -> str | None:
    """The field with the code of a crop."""
    return next((field for field in fields if _CROP.search(field) and _CROP_CODE.search(field)), None)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _label(value: Any) -> str | None:
    if value is None or value != value or not str(value).strip():
        return None
    text = _text(value).strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

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
    import pyogrio

    try:
        require_known(path)
        with ogr_alone():
            info = pyogrio.read_info(path, layer=layer)
            field = _crop_field(list(info["fields"]))
            if field is None or id_field not in info["fields"] or info["driver"] not in DRIVERS:
                return [None] * len(zones)
            _, _, _, columns = pyogrio.raw.read(path, layer=layer, columns=[id_field, field], read_geometry=False)
    except (VectorError, pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError, ValueError):
        return [None] * len(zones)
    order = [name for name in info["fields"] if name in (id_field, field)]
    by_name = dict(zip(order, columns, strict=True))
    wanted = set(zones)
    found = {
        name: value
        for name, value in zip(map(_text, by_name[id_field]), by_name[field], strict=True)
        if name in wanted
    }
    return [_label(found.get(zone)) for zone in zones]


def _crop_field(fields: list[str]) -> str | None:
    """The field that names a crop; a name rather than a code."""
    named = [field for field in fields if _CROP.search(field)]
    return min(named, key=lambda field: (bool(_CODE.search(field)), fields.index(field)), default=None)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _label(value: Any) -> str | None:
    if value is None or value != value or not str(value).strip():
        return None
    text = _text(value).strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

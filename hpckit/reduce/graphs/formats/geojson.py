"""GeoJSON: features with their own properties and the result's values (RFC 7946)."""

from __future__ import annotations

import json
from itertools import product
from typing import Any, Final

import shapely

from hpckit.base.files import atomic_open
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import place
from hpckit.reduce.graphs.formats import table as tables
from hpckit.reduce.graphs.formats.arrange import text, unsuitable
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.jsons import plain
from hpckit.reduce.graphs.formats.options import PREFIX
from hpckit.reduce.graphs.formats.result import Format, Options, Result, ResultFile, is_vector

MEDIA_TYPE: Final = "application/geo+json"
_DIGITS: Final = 7
"""Of degrees: a centimetre."""


def check(kind: Value, options: Options) -> None:
    """Refuse what has no geometries."""
    if not is_vector(kind):
        raise unsuitable(
            "GeoJSON holds features, and the result has no geometries",
            "save it as CSV or JSON, or a raster as GTiff or netCDF",
        )


def write(result: Result, options: Options, folder: Folder) -> list[ResultFile]:
    """Write one file, feature by feature."""
    kind = result.type
    table = tables.table_of(kind, None)
    (path,) = folder.claim([f"{options['filename_prefix']}.geojson"])
    shapes, known = place.in_degrees(kind.geometries), kind.geometries
    collected, names = tables.collect(table), _names(table)
    with atomic_open(path) as file:
        file.write(b'{"type": "FeatureCollection", "features": [')
        for some, values in table.rows(result):
            assert some is not None, "a vector cube is read by geometries"
            for number, one in enumerate(collected):
                if values.dtype != object:
                    one.add(values[..., number])
            for at, feature in enumerate(some):
                properties = {
                    **(plain(known.properties[feature]) if known.properties else {}),
                    **dict(zip(names, plain(values[..., at, :].reshape(-1)), strict=True)),
                }
                found: dict[str, Any] = {"type": "Feature"}
                if known.ids and known.ids[feature] is not None:
                    found["id"] = known.ids[feature]
                found |= {"geometry": _geometry(shapes[feature]), "properties": properties}
                file.write((b"\n" if feature == 0 else b",\n") + _text(found))
        file.write(b"\n]}\n")
    return [tables.described(table, path, MEDIA_TYPE, collected)]


def _names(table: tables.Table) -> list[str]:
    """Names of the values of a feature: `2024-03-01T00:00:00Z~B04`."""
    dims = [dim for dim in (table.layout.time, *table.along) if dim is not None]
    labels = [[text(label) for label in dim.labels] for dim in dims]
    if table.across is not None or not dims:
        labels.append(table.columns)
    return ["~".join(words) for words in product(*labels)]


def _geometry(shape: Any) -> Any:
    if shape is None or shape.is_empty:
        return None
    rounded = shapely.transform(shape, lambda points: points.round(_DIGITS))
    return shapely.geometry.mapping(shapely.orient_polygons(rounded))


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


FORMAT: Final = Format(
    name="GeoJSON",
    title="GeoJSON",
    description="Features with their properties and a property for each date and band, such as `2024-03-01~B04`.",
    gis_data_types=("vector",),
    media_type=MEDIA_TYPE,
    options={"filename_prefix": PREFIX},
    check=check,
    write=write,
)

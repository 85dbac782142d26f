"""Layers of vector files: which one, its features, their geometries and identifiers; whatever format it is."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpckit.base.reading import is_there, refusal
from hpckit.errors import VectorError
from hpckit.space.vector.crs import layer_crs
from hpckit.space.vector.features import Features, describe
from hpckit.space.vector.formats import DRIVERS, KNOWN, ogr_alone, require_known

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET: Final = (".parquet", ".geoparquet", ".pq")
"""What hpckit reads itself, since OGR is often built without."""
_RENUMBERED: Final = "Several features with id"


def read_features(
    path: Path,
    layer: str | None = None,
    field: str | None = None,
    *,
    crs: str | None = None,
) -> Features:
    """Read the features of a layer.

    Parameters
    ----------
    layer : str, optional
        Needed where the file has several.
    field : str, optional
        Field that is read beside the geometries, or the feature number: `fid`, or as the file names it.
    crs : str, optional
        CRS that holds instead of what the file says.

    Raises
    ------
    VectorError
        If the file or layer cannot be read, has no usable CRS, or lacks the field.
    """
    if not is_there(path):
        raise VectorError(f"{path}: no such file")
    if path.suffix.lower() in PARQUET:
        from hpckit.space.vector.geoparquet import read_geoparquet

        return read_geoparquet(path, layer, field, crs)
    from hpckit.base.ogr import pyogrio

    require_known(path)
    with ogr_alone(), _ogr_errors(path) as said:
        name = _layer(path, layer)
        info = pyogrio.read_info(path.absolute(), layer=name)
        if info["driver"] not in DRIVERS:
            raise VectorError(f"{path} is refused: it is {info['driver']}", hint=f"areas and zones are {KNOWN}")
        columns = _columns(describe(path, name), field, info)
        meta, fids, wkb, _ = pyogrio.raw.read(
            path.absolute(), layer=name, columns=[], return_fids=True, force_2d=True
        )
        raw_text = info["driver"] == "ESRI Shapefile" and all(map(str.isascii, columns))
        column = _column(path, name, columns[0], raw_text) if columns else None
    if wkb is None:
        raise VectorError(f"{describe(path, name)}: the layer has no geometries")
    if not len(wkb):
        raise VectorError(f"{describe(path, name)}: the layer is empty")
    renumbered = any(_RENUMBERED in text for text in said)
    where = layer_crs(meta["crs"], describe(path, name), crs)
    numbers, shapes = np.asarray(fids), np.asarray(wkb)
    return Features(path, name, numbers, shapes, where, column, info["driver"], raw_text, renumbered)


@contextmanager
def _ogr_errors(path: Path) -> Iterator[list[str]]:
    """What OGR says goes into a list; what it refuses becomes an error."""
    import pyarrow as pa

    from hpckit.base.ogr import pyogrio

    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield said
        except (pa.ArrowException, UnicodeDecodeError, RuntimeError, OSError) as error:
            if fault := refusal(path):
                raise VectorError(f"{path}: cannot be read") from fault
            unknown = isinstance(error, (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError))
            what = "not a vector file that OGR reads" if unknown else "the file is damaged"
            raise VectorError(f"{path}: {what}") from error
        finally:
            said += [str(item.message) for item in caught]


def _layer(path: Path, wanted: str | None) -> str:
    from hpckit.base.ogr import pyogrio

    layers = [(str(name), kind) for name, kind in pyogrio.list_layers(path.absolute())]
    names = [name for name, _ in layers]
    if wanted is not None:
        if wanted not in names:
            raise VectorError(f"{path}: no layer {wanted!r}; it has {', '.join(map(repr, names))}")
        return wanted
    spatial = [name for name, kind in layers if kind is not None]
    if not spatial:
        raise VectorError(f"{path}: no layer with geometries")
    if len(spatial) > 1:
        raise VectorError(
            f"{path}: several layers, {', '.join(map(repr, spatial))}",
            hint="say which one in the field `layer`, on the command line with --layer",
        )
    return spatial[0]


def _columns(what: str, field: str | None, info: dict[str, Any]) -> list[str]:
    """The field to read; none if it is the feature number."""
    fields = list(info["fields"])
    if field is None:
        return []
    if field in fields:
        return [field]
    if field == (info["fid_column"] or "fid") or field == "fid":
        return []
    if field == "id" and info["driver"] in ("GeoJSON", "GeoJSONSeq"):  # of the feature, not among its properties
        return []
    close = difflib.get_close_matches(field, fields, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else "set `id` to one of them, or to `fid`, the feature number"
    raise VectorError(f"{what}: no field {field!r}; fields are {', '.join(fields) or 'none'}", hint=hint)


def _column(path: Path, layer: str, field: str, raw_text: bool) -> pa.ChunkedArray:
    """A field, through Arrow: integers stay integers where some are missing, and text stays bytes."""
    table = _table(path, layer, [field], raw_text)
    return table.column(table.schema.names.index(field))


def _table(path: Path, layer: str, fields: list[str], raw_text: bool) -> pa.Table:
    from hpckit.base.ogr import pyogrio

    options = {"ENCODING": ""} if raw_text else {}
    _, table = pyogrio.raw.read_arrow(path, layer=layer, columns=fields, read_geometry=False, **options)
    return table


def fields_of(path: Path, layer: str) -> list[str]:
    """Names of the fields of a layer that was read before.

    Raises
    ------
    VectorError
        If the file cannot be read.
    """
    from hpckit.base.ogr import pyogrio

    with ogr_alone(), _ogr_errors(path):
        return [str(name) for name in pyogrio.read_info(path.absolute(), layer=layer)["fields"]]


def read_fields(path: Path, layer: str, fields: list[str], *, raw_text: bool) -> dict[str, pa.ChunkedArray]:
    """Fields of a layer that was read before, in the order of its features.

    Raises
    ------
    VectorError
        If the file cannot be read.
    """
    with ogr_alone(), _ogr_errors(path):
        table = _table(path.absolute(), layer, fields, raw_text)
        return {name: table.column(table.schema.names.index(name)) for name in fields}

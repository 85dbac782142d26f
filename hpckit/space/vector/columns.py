"""Fields of features beside the identifier, as plain columns: text, whole and decimal numbers, truth, days, times."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpckit.errors import VectorError
from hpckit.space.vector.features import Features
from hpckit.space.vector.identifiers import read_texts
from hpckit.space.vector.layers import fields_of, read_fields

_SHAPEFILE: Final = "ESRI Shapefile"


def field_names(features: Features) -> list[str]:
    """Fields of the layer, without geometries, in their order."""
    if features.driver != "Parquet":
        return fields_of(features.path, features.layer)
    from hpckit.space.vector.geoparquet import geometry_name

    schema = pq.read_schema(features.path)
    taken = geometry_name(features.path, schema)
    return [name for name in schema.names if name != taken]


def read_columns(features: Features, fields: Sequence[str], encoding: str | None) -> dict[str, pa.Array | str]:
    """Fields of all features by name; for one that is no plain value, why it is none.

    Parameters
    ----------
    encoding : str, optional
        Of text, where the file says nothing or something wrong.

    Raises
    ------
    VectorError
        If the file cannot be read, or text is not in the encoding.
    """
    if features.driver == "Parquet":
        try:
            table = pq.read_table(features.path, columns=list(fields))
        except (OSError, pa.ArrowException) as error:
            raise VectorError(f"{features.path}: cannot be read") from error
        return {name: _plain(features, name, table[name], encoding) for name in fields}
    found: dict[str, pa.Array | str] = {}
    # Text of a shapefile is taken as the file has it, which OGR does only for fields with names in ASCII.
    for is_raw in (True, False):
        mine = [name for name in fields if (features.driver == _SHAPEFILE and name.isascii()) == is_raw]
        if mine:
            read = read_fields(features.path, features.layer, mine, raw_text=is_raw)
            as_read = replace(features, raw_text=is_raw)
            found |= {name: _plain(as_read, name, read[name], encoding) for name in mine}
    return {name: found[name] for name in fields}


def _plain(features: Features, name: str, column: pa.ChunkedArray, encoding: str | None) -> pa.Array | str:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = _text(features, name, column, encoding)
        return "text with a character NUL" if pc.any(pc.match_substring(text, "\0")).as_py() else text
    made = _number(column)
    return made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made


def _text(features: Features, name: str, column: pa.ChunkedArray, encoding: str | None) -> pa.Array:
    if not features.raw_text and encoding is None:
        with suppress(pa.ArrowInvalid):
            column.validate(full=True)
            if not pc.any(pc.match_substring(column, "\ufffd")).as_py():
                return _one(column.cast(pa.string()))
    values = column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()
    return pa.array(read_texts(features, name, values, encoding), pa.string())


def _number(column: pa.ChunkedArray) -> pa.Array | str:
    kind = column.type
    if pa.types.is_boolean(kind):
        return _one(column)
    if pa.types.is_null(kind):
        return _one(column.cast(pa.string()))
    if pa.types.is_integer(kind):
        try:
            return _one(column.cast(pa.int64()))
        except pa.ArrowInvalid:
            return "whole numbers beyond 64 bits with a sign"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.cast(pa.float64())
        return _one(pc.if_else(pc.is_nan(numbers), None, numbers))
    if pa.types.is_date(kind):
        return _one(column.cast(pa.date32()))
    if pa.types.is_timestamp(kind):  # those with a time zone become UTC
        return _one(column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.timestamp("us")))
    if pa.types.is_time(kind):
        return pa.array([None if value is None else value.isoformat() for value in column.to_pylist()], pa.string())
    return "no plain text, number, truth value or time"


def _one(column: Any) -> pa.Array:
    made = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(made, pa.ChunkedArray):
        made = made.chunk(0) if made.num_chunks else pa.array([], made.type)
    return made


def require_fields(features: Features, wanted: Sequence[str], known: Sequence[str]) -> None:
    """Refuse fields that a layer lacks.

    Raises
    ------
    VectorError
        If it lacks one; the hint names a similar one.
    """
    from difflib import get_close_matches

    for name in wanted:
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"fields are {', '.join(known) or 'none'}"
            raise VectorError(f"{features.what}: no field {name!r} for `attributes`", hint=hint)

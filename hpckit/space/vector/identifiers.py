"""Identifiers of features as text: digit by digit and letter by letter what the file has, or an error."""

from __future__ import annotations

import codecs
import uuid
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpckit.base.quantities import format_count
from hpckit.errors import VectorError
from hpckit.space.vector import exact
from hpckit.space.vector.features import Features

if TYPE_CHECKING:
    import pyarrow as pa

_EXACT: Final = {64: 2**53, 32: 2**24, 16: 2**11}
"""Up to which whole number decimal numbers of so many bits have all."""


def read_identifiers(features: Features, field: str, encoding: str | None = None) -> tuple[str, ...]:
    """Identifier of each feature.

    Parameters
    ----------
    encoding : str, optional
        Of text, where the file says nothing or something wrong.

    Raises
    ------
    VectorError
        If one is missing or not unique, or has lost digits or letters on its way.
    """
    if features.column is None and features.renumbered:
        raise VectorError(
            f"{features.what}: feature numbers occur more than once", hint="choose another field for `id`"
        )
    values = _values(features, field, encoding)
    missing = [row for row, value in enumerate(values) if value is None or not value.strip()]
    if missing:
        raise VectorError(
            f"{features.what}: {format_count(len(missing), 'zone')} without {field!r} (the first is feature "
            f"number {missing[0] + 1}, fid {features.fids[missing[0]]})",
            hint="give each zone an identifier, or choose another field for `id`, or `fid`, the feature number",
        )
    ids = tuple(str(value) for value in values)
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        shown = ", ".join(map(repr, twice[:5])) + (", …" if len(twice) > 5 else "")
        raise VectorError(
            f"{features.what}: {format_count(len(twice), 'value')} of {field!r} found more than once: {shown}",
            hint="dissolve the parts of a zone into one multipolygon, or choose another field for `id`",
        )
    return ids


def _values(features: Features, field: str, encoding: str | None) -> Sequence[str | None]:
    import pyarrow as pa

    column = features.column
    if column is None:
        return [str(fid) for fid in features.fids.tolist()]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    kind = column.type
    if pa.types.is_nested(kind):
        raise VectorError(
            f"{features.what}: {field!r} has several values for each feature", hint="choose another `id`"
        )
    if pa.types.is_floating(kind):
        return _whole_numbers(features, field, column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return read_texts(
            features, field, column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist(), encoding
        )
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value)) if len(value) == 16 else value.hex()
    if isinstance(value, Decimal):
        return f"{value.to_integral_value() if value == value.to_integral_value() else value.normalize():f}"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _whole_numbers(features: Features, field: str, column: pa.ChunkedArray) -> Sequence[str | None]:
    """Decimal numbers, which whole ones become where a column has gaps or is wide."""
    numbers = column.to_numpy()
    limit = _EXACT[column.type.bit_width]
    magnitudes = np.abs(np.nan_to_num(numbers, posinf=0, neginf=0))
    if np.any(magnitudes >= limit):  # the limit itself may be the number after it, rounded
        digits = exact.digits(features, field)
        if digits is not None:
            return digits
    if np.any(magnitudes > limit):
        row = int(np.argmax(magnitudes > limit))
        raise VectorError(
            f"{features.what}: {field!r} is a column of decimal numbers, which have lost digits beyond {limit} "
            f"(feature number {row + 1}, fid {features.fids[row]}: {numbers[row]:.0f})",
            hint="write it again as text or as whole numbers of 64 bits, or choose another field for `id`",
        )
    return [None if np.isnan(number) else _number(number) for number in numbers]


def _number(number: np.floating[Any]) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def read_texts(
    features: Features, field: str, values: Sequence[bytes | None], encoding: str | None
) -> Sequence[str | None]:
    """Text of a field from its bytes.

    Raises
    ------
    VectorError
        If it is not in the encoding that the file declares, or that is given.
    """
    declared = exact.declared_encoding(features) or "UTF-8"
    if encoding is not None and (features.raw_text or not _all_utf8(values)):
        declared = encoding
    try:
        codecs.lookup(declared)
    except LookupError:
        raise VectorError(
            f"{features.what}: {declared!r} is no known encoding of text", hint="set `encoding`, for example cp1252"
        ) from None
    found: list[str | None] = []
    for row, value in enumerate(values):
        try:
            text = None if value is None else value.decode(declared)
        except UnicodeDecodeError:
            text = "\ufffd"
        if text is not None and not text.isascii() and _garbled(value, text, declared, encoding):
            raise VectorError(
                f"{features.what}: the text of {field!r} is not {declared} (feature number {row + 1}, fid "
                f"{features.fids[row]}: {value!r})",
                hint="set `encoding` to that of the file, for example `encoding: cp1252` (Western Europe), cp1250 "
                "(Central Europe) or UTF-8",
            )
        found.append(text)
    return found


def _all_utf8(values: Sequence[bytes | None]) -> bool:
    try:
        b"".join(value + b" " for value in values if value is not None).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _garbled(value: bytes | None, text: str, declared: str, given: str | None) -> bool:
    """Whether text was not read as it was written: letters that are none, or UTF-8 read as another encoding."""
    if "\ufffd" in text:
        return True
    if given is not None or value is None or codecs.lookup(declared).name == "utf-8":
        return False
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

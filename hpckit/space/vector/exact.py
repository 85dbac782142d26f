"""What OGR does not hand on: all digits of wide numbers, and the encoding that a shapefile declares."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np

from hpckit.errors import VectorError
from hpckit.space.vector.features import Features

_LANGUAGES: Final = {
    **dict.fromkeys((0x01, 0x09, 0x0B, 0x0D, 0x0F, 0x11, 0x15, 0x18, 0x19, 0x1B), "cp437"),
    **dict.fromkeys((0x02, 0x0A, 0x0E, 0x10, 0x12, 0x14, 0x16, 0x1A, 0x1D, 0x25, 0x37), "cp850"),
    0x03: "cp1252", 0x08: "cp865", 0x13: "cp932", 0x1C: "cp863", 0x1F: "cp852", 0x22: "cp852", 0x23: "cp852",
    0x24: "cp860", 0x26: "cp866", 0x40: "cp852", 0x4D: "cp936", 0x4E: "cp949", 0x4F: "cp950", 0x50: "cp874",
    0x58: "cp1252", 0x59: "cp1252", 0x64: "cp852", 0x65: "cp866", 0x66: "cp865", 0x67: "cp861", 0x6A: "cp737",
    0x6B: "cp857", 0x6C: "cp863", 0x78: "cp950", 0x79: "cp949", 0x7A: "cp936", 0x7B: "cp932", 0x7C: "cp874",
    0x86: "cp737", 0x87: "cp852", 0x88: "cp857", 0xC8: "cp1250", 0xC9: "cp1251", 0xCA: "cp1254", 0xCB: "cp1253",
    0xCC: "cp1257",
}  # fmt: skip
"""Encodings by the language byte of a dBASE file; 0 and 0x57 say nothing."""


def declared_encoding(features: Features) -> str | None:
    """Encoding of text that a shapefile declares; None where it declares none, and for all other formats."""
    if not features.raw_text or (table := _sidecar(features.path, ".dbf")) is None:
        return None
    page = _sidecar(features.path, ".cpg")
    name = page.read_text(encoding="latin-1").strip() if page is not None else ""
    if name:
        number = name.upper().removeprefix("ANSI").removeprefix("OEM").strip(" -")
        return f"cp{number}" if number.isdigit() and not number.startswith("8859") else _iso(name)
    with table.open("rb") as file:
        return _LANGUAGES.get(file.read(32)[29:30][0])


def _iso(name: str) -> str:
    """Esri writes `88591` for ISO-8859-1, and `UTF8`."""
    return f"iso-8859-{name[4:]}" if name.isdigit() and name.startswith("8859") else name


def digits(features: Features, field: str) -> Sequence[str | None] | None:
    """Whole numbers of a field with all their digits, where the file has them as text; None where it has not."""
    try:
        if features.driver == "ESRI Shapefile":
            return _from_dbf(features, field)
        if features.driver == "GeoJSON":
            return _from_geojson(features, field)
    except (OSError, ValueError, KeyError, IndexError, struct.error):
        return None
    return None


def _from_dbf(features: Features, field: str) -> Sequence[str | None] | None:
    table = _sidecar(features.path, ".dbf")
    if table is None:
        return None
    data = table.read_bytes()
    count, start, width = struct.unpack_from("<IHH", data, 4)
    at = 1
    for place in range(32, start - 1, 32):
        name = data[place : place + 11].partition(b"\0")[0].decode("latin-1")
        length = data[place + 16]
        if name == field:
            rows = np.frombuffer(data, np.uint8, count * width, start).reshape(count, width)[features.fids]
            texts = np.ascontiguousarray(rows[:, at : at + length]).view(f"S{length}").ravel().tolist()
            return [_whole(text.strip(b" \0*")) for text in texts]
        at += length
    return None


def _whole(text: bytes) -> str | None:
    if not text:
        return None
    number = Decimal(text.decode("ascii"))
    return f"{number.to_integral_value() if number == number.to_integral_value() else number:f}"


def _from_geojson(features: Features, field: str) -> Sequence[str | None]:
    with features.path.open(encoding="utf-8-sig") as file:
        document = json.load(file, parse_float=Decimal)
    found = [_plain(feature["properties"].get(field)) for feature in _listed(document)]
    if len(found) != len(features.fids):
        raise VectorError(f"{features.what}: it has other features than OGR reads")
    return found


def _listed(document: Any) -> Iterator[Any]:
    yield from document["features"] if document["type"] == "FeatureCollection" else [document]


def _plain(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, Decimal):
        return _whole(str(value).encode())
    return str(value)


def _sidecar(path: Path, suffix: str) -> Path | None:
    near = [path.with_suffix(suffix), path.with_suffix(suffix.upper())]
    return next((file for file in near if file.is_file()), None)

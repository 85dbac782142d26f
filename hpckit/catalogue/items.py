"""Items of a catalogue's table as STAC has them, without what stac-geoparquet imports: pandas, for half a second."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import shapely

_OF_ITEM: Final = (
    "stac_version",
    "stac_extensions",
    "type",
    "id",
    "bbox",
    "geometry",
    "collection",
    "links",
    "assets",
)
"""What stands in an item itself; other columns are its properties."""


_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def items_of(table: Any) -> Iterator[dict[str, Any]]:
    """Items of a table that stac-geoparquet made of some.

    Parameters
    ----------
    table : pyarrow.Table
    """
    columns = {name: _values(table.column(name)) for name in table.column_names}
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        item = {name: row[name] for name in _OF_ITEM if name in row}
        item["geometry"] = _geojson(row.get("geometry"))
        item["bbox"] = list((row.get("bbox") or {}).values())
        item["assets"] = {name: asset for name, asset in (row.get("assets") or {}).items() if asset is not None}
        item["properties"] = {name: value for name, value in row.items() if name not in _OF_ITEM}
        yield item


def _geojson(wkb: bytes | None) -> dict[str, Any] | None:
    return None if wkb is None else dict(shapely.geometry.mapping(shapely.from_wkb(wkb)))


def _values(column: Any) -> list[Any]:
    """Values of a column; moments as text of ISO 8601, which pyarrow would ask pandas for."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        found: list[Any] = column.to_pylist()
        return found
    per_second = _PER_SECOND[column.type.unit]
    counts = [count for chunk in column.chunks for count in chunk.view(pa.int64()).to_pylist()]
    return [None if count is None else _moment(count * 10**6 // per_second) for count in counts]


def _moment(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()

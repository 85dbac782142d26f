"""JSON: values, `{date: [[value of each band] of each feature]}`, and small rasters; null for no number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from hpckit.base.files import atomic_open
from hpckit.processgraph.cube import Cube, Values
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import cf, place
from hpckit.reduce.graphs.formats import table as tables
from hpckit.reduce.graphs.formats.arrange import layout_of, text, unsuitable
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.options import PREFIX
from hpckit.reduce.graphs.formats.result import Format, Options, Result, ResultFile, grid_of, is_raster

MEDIA_TYPE: Final = "application/json"
_MOST_PIXELS: Final = 1_000_000


def check(kind: Value, options: Options) -> None:
    """Refuse large rasters."""
    if not isinstance(kind, Cube) or not is_raster(kind):
        return
    rows, columns = grid_of(kind).shape
    count = rows * columns
    for dim in layout_of(kind).labelled:
        count *= len(dim.labels)
    if count > _MOST_PIXELS:
        raise unsuitable(
            f"JSON holds rasters of at most {_MOST_PIXELS:,} values, and the result has {count:,}",
            "save it as GTiff, netCDF or Zarr",
        )


def write(result: Result, options: Options, folder: Folder) -> list[ResultFile]:
    """Write one file."""
    kind = result.type
    (path,) = folder.claim([f"{options['filename_prefix']}.json"])
    if not isinstance(kind, Cube):
        _dump(path, plain(result.read(None)))
        return [ResultFile(path, MEDIA_TYPE, "value")]
    if is_raster(kind):
        _dump(path, _raster(kind, result))
        located = {**place.of_grid(grid_of(kind)), **place.of_labels(layout_of(kind).labels_of_time)}
        return [ResultFile(path, MEDIA_TYPE, "raster", dimensions=place.dimensions(kind), **located)]
    return [_write_series(kind, result, path)]


def _write_series(kind: Cube, result: Result, path: Path) -> ResultFile:
    table = tables.table_of(kind, None)
    collected = tables.collect(table)
    parts = [values for _, values in table.rows(result)]
    values = parts[0] if len(parts) == 1 else np.concatenate([*parts, table.arranged(kind)], axis=-2)
    for number, one in enumerate(collected):
        if values.dtype != object:
            one.add(values[..., number])
    if table.across is None and kind.geometries is None:
        values = values[..., 0]
    with atomic_open(path) as file:
        if table.layout.time is None:
            file.write(_text(plain(values)))
        else:
            _write_dates(file, [text(label) for label in table.layout.time.labels], values)
    return tables.described(table, path, MEDIA_TYPE, collected)


def _write_dates(file: IO[bytes], dates: list[str], values: Values) -> None:
    """An object with a member for each date, written one by one: lists of Python take ten times the memory."""
    file.write(b"{")
    for number, date in enumerate(dates):
        file.write(b"," if number else b"")
        file.write(b"\n" + _text(date) + b": " + _text(plain(values[number])))
    file.write(b"\n}\n")


def _raster(kind: Cube, result: Result) -> dict[str, Any]:
    """As `xarray.DataArray.from_dict` reads it."""
    layout = layout_of(kind)
    coordinates = {
        name: {"dims": [name], "attrs": {}, "data": plain(found.values)}
        for name, found in cf.coordinates(kind, layout).items()
    }
    for dim in layout.labelled:
        coordinates[dim.name] = {"dims": [dim.name], "attrs": {}, "data": list(dim.labels)}
    return {
        "dims": [dim.name for dim in layout.dims],
        "attrs": {"crs": grid_of(kind).crs},
        "coords": coordinates,
        "data": plain(layout.arranged(result.read(None))),
        "name": None,
    }


def plain(value: Value) -> Any:
    """A value as JSON has it: null for NaN and infinite numbers, which JSON lacks; dates as text."""
    match value:
        case Labelled():
            return plain(value.values)
        case np.ndarray():
            return _array(value)
        case np.generic():
            return plain(value.item())
        case float():
            return value if np.isfinite(value) else None
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | range():
            return [plain(item) for item in value]
        case None | bool() | int() | str():
            return value
        case _:
            return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _array(values: Values) -> Any:
    if values.dtype == object:
        return plain(values.tolist())
    if values.dtype.kind != "f":
        return values.tolist()
    # Numbers of single precision as short as they can be: 0.1, not 0.10000000149011612.
    numbers = (values.astype(str) if values.dtype == np.float32 else values).astype("f8")
    finite = np.isfinite(numbers)
    if finite.all():
        return numbers.tolist()
    objects = numbers.astype(object)
    objects[~finite] = None
    return objects.tolist()


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), allow_nan=False).encode()


def _dump(path: Path, value: Any) -> None:
    with atomic_open(path) as file:
        file.write(_text(value) + b"\n")


FORMAT: Final = Format(
    name="JSON",
    title="JSON",
    description="Numbers, arrays, and series: an object with a list for each date, which has a list of the bands' "
    "values for each feature; null is null.",
    gis_data_types=("table", "vector", "raster", "other"),
    media_type=MEDIA_TYPE,
    options={"filename_prefix": PREFIX},
    check=check,
    write=write,
)

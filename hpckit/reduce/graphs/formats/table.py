"""Vector cubes and cubes without space as rows: a row for each date and feature, a column for each band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from hpckit.processgraph.cube import Cube, Dimension, Values
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import place
from hpckit.reduce.graphs.formats.arrange import Layout, groups, layout_of, moment, text, unsuitable
from hpckit.reduce.graphs.formats.features import check_identifier, has_names, identifiers
from hpckit.reduce.graphs.formats.result import BandOfFile, Option, Options, Result, ResultFile, is_raster
from hpckit.reduce.graphs.formats.statistics import Collected

DATE: Final = "date"
INDEX: Final = "feature_index"
NAME: Final = "feature_id"
VALUE: Final = "value"
"""Column of a cube that has no bands."""
_PROPERTIES: Final = "properties"
"""Dimension that vector cubes have instead of bands."""
IDENTIFIER: Final = Option("Property of features that names them in files.", {"type": "string"})


@dataclass(frozen=True, slots=True)
class Table:
    """How a cube lies in rows and columns."""

    kind: Cube
    layout: Layout
    across: Dimension | None
    """Dimension of which each label is a column: bands, or properties."""
    along: tuple[Dimension, ...]
    """Dimensions besides time and features that rows have a column for."""
    name: str | None
    """Property that names features."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns of numbers."""
        return [VALUE] if self.across is None else [text(label) for label in self.across.labels]

    @property
    def keys(self) -> list[str]:
        """Names of the columns before them."""
        time = [DATE] if self.layout.time else []
        index = [INDEX] if self.kind.geometries is not None else []
        named = [NAME] if has_names(self.kind.geometries, self.name) else []
        return [*time, *(dim.name for dim in self.along), *index, *named]

    def rows(self, result: Result) -> Iterator[tuple[range | None, Values]]:
        """Values of some features: axes are time (if there is), those along, features (if there are), columns."""
        for some in list(groups(self.kind)) if self.kind.geometries is not None else [None]:
            yield some, self.arranged(result.read(some))

    def arranged(self, cube: Cube) -> Values:
        """Values of a part, with the columns on the last axis."""
        values = self.layout.arranged(cube)
        if self.across is None:
            return values[..., np.newaxis]
        return np.moveaxis(values, [dim is self.across for dim in self.layout.dims].index(True), -1)


def table_of(kind: Cube, name: str | None) -> Table:
    """Table of a cube."""
    layout = layout_of(kind)
    across = layout.bands or next((dim for dim in layout.others if dim.name == _PROPERTIES), None)
    along = tuple(dim for dim in layout.labelled if dim not in (layout.time, across))
    return Table(kind, layout, across, along, name)


def check(kind: Value, options: Options, format: str) -> Table:
    """Refuse rasters, values that are no cubes, and columns of one name."""
    if is_raster(kind):
        raise unsuitable(
            f"{format} holds tables, and the result has pixels",
            "save it as GTiff, netCDF or Zarr, or use aggregate_spatial before save_result",
        )
    if not isinstance(kind, Cube):
        raise unsuitable(f"{format} holds tables, and the result is no data cube", "save it as JSON")
    if kind.geometries is not None:
        check_identifier(kind.geometries, options.get("feature_id_property"))
    table = table_of(kind, options.get("feature_id_property"))
    taken = set(table.keys)
    for column in table.columns:
        if column in taken:
            raise unsuitable(
                f"two columns of the table would be called {column!r}", "rename the band with rename_labels"
            )
        taken.add(column)
    return table


def batches(table: Table, result: Result, moments: bool, collected: Sequence[Collected]) -> Iterator[Any]:
    """The rows as Arrow's record batches, with null where numbers are NaN.

    Parameters
    ----------
    moments : bool
        Whether dates are time stamps where all labels are moments; else they are the labels.
    collected : sequence of Collected
        Statistics of each column, to add to.
    """
    for some, values in table.rows(result):
        shape = values.shape[:-1]
        keys = _keys(table, some, shape, moments)
        columns = [values[..., number].reshape(-1) for number in range(values.shape[-1])]
        for one, column in zip(collected, columns, strict=True):
            if column.dtype.kind != "O":
                one.add(column)
        numbers = [pa.array(_narrow(column), from_pandas=True) for column in columns]
        yield pa.RecordBatch.from_arrays([*keys, *numbers], names=[*table.keys, *table.columns])


def _narrow(column: Values) -> Values:
    return column.astype("f4") if column.dtype == np.float16 else column


def _keys(table: Table, some: range | None, shape: tuple[int, ...], moments: bool) -> list[Any]:
    """Columns of time, of dimensions along, of numbers and of names of features."""
    found = []
    dims = ([table.layout.time] if table.layout.time else []) + list(table.along)
    for axis, dim in enumerate(dims):
        labels = _times(dim, moments) if axis == 0 and table.layout.time else _labels(dim)
        found.append(repeated(labels, pa.array(_spread(len(dim.labels), axis, shape))))
    if some is not None and table.kind.geometries is not None:
        numbers = _spread(len(some), len(shape) - 1, shape) + some.start
        found.append(pa.array(numbers))
        if NAME in table.keys:
            names = pa.array(identifiers(table.kind.geometries, table.name), pa.string())
            found.append(repeated(names, pa.array(numbers)))
    return found


def repeated(values: Any, numbers: Any) -> Any:
    """Values by their numbers; of texts and bytes, which are long, as numbers in a dictionary, which has no null."""
    if (pa.types.is_string(values.type) or pa.types.is_binary(values.type)) and not values.null_count:
        return pa.DictionaryArray.from_arrays(numbers.cast(pa.int32()), values)
    return values.take(numbers)


def _spread(count: int, axis: int, shape: tuple[int, ...]) -> Values:
    """Numbers along one axis, as a column of all rows."""
    across = [1] * len(shape)
    across[axis] = count
    return np.broadcast_to(np.arange(count).reshape(across), shape).reshape(-1)


def _times(dim: Dimension, moments: bool) -> Any:
    found = [moment(label) for label in dim.labels]
    if moments and all(one is not None for one in found):
        return pa.array(found, pa.timestamp("us", tz="UTC"))
    return pa.array([text(label) for label in dim.labels], pa.string())


def _labels(dim: Dimension) -> Any:
    if all(isinstance(label, int | float) for label in dim.labels):
        return pa.array([float(label) for label in dim.labels], pa.float64())
    return pa.array([text(label) for label in dim.labels], pa.string())


def collect(table: Table) -> list[Collected]:
    """Empty statistics, one for each column."""
    return [Collected() for _ in table.columns]


def described(table: Table, path: Path, media_type: str, collected: Sequence[Collected]) -> ResultFile:
    """What is said of a file with such a table."""
    kind = table.kind
    dtype = kind.values.dtype
    numeric = dtype.kind in "iufb"
    return ResultFile(
        path,
        media_type,
        ", ".join(table.columns),
        bands=tuple(
            BandOfFile(name, dtype.name if numeric else "other", None, one.result() if numeric else None)
            for name, one in zip(table.columns, collected, strict=True)
        ),
        dimensions=place.dimensions(kind),
        **(place.of_geometries(kind.geometries) if kind.geometries is not None else {}),
        **place.of_labels(table.layout.labels_of_time),
    )

"""Signatures of many zones as Arrow: record batches of bounded size, and tables of them for pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.store.blocks import Blocks, Origins, RecordBlock
from hpckit.store.frames import PROVENANCE, RowLayout

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

Observed = Callable[[RecordBlock], npt.NDArray[np.int8]]
"""Of a block, shape (rows, bands): 1 if a zone was observed, 0 if not, -1 if that is not known."""

_NUMBERS: Final = {"relative_orbit": "int32", "cloud_cover": "float64"}
"""Provenance that is no text."""


def schema(layout: RowLayout, *, observed: bool = False) -> pa.Schema:
    """Columns of the batches of a layout."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    fields = [("zone", text), ("time", pa.timestamp("us")), ("band", text)]
    fields += [(name, pa.float64()) for name in ("valid", "total", "valid_fraction", *layout.statistics)]
    return pa.schema([*fields, *provenance_fields(), *([("observed", pa.bool_())] if observed else [])])


def record_batches(blocks: Blocks, observed: Observed | None = None) -> Iterator[pa.RecordBatch]:
    """One row for each zone, acquisition and band, in the order of the blocks; no statistic of nothing but null.

    Parameters
    ----------
    observed : callable, optional
        Adds the column `observed`.
    """
    columns, known = schema(blocks.layout, observed=observed is not None), KnownOrigins()
    for block in blocks:
        batch = _batch(block, columns, known, observed)
        if batch.num_rows:
            yield batch


class KnownOrigins:
    """Columns of the origins of a reading, made once."""

    def __init__(self) -> None:
        self._of: Origins | None = None
        self._made: dict[str, tuple[npt.NDArray[Any], Any]] = {}

    def column(self, origins: Origins, name: str) -> tuple[npt.NDArray[Any], Any]:
        """For each origin the place of its value, and the values."""
        import pyarrow as pa

        if self._of is not origins:
            self._of, self._made = origins, {}
        if name not in self._made:
            kind = pa.type_for_alias(_NUMBERS.get(name, "string"))
            coded = pa.array(list(origins.provenance[name]), kind).dictionary_encode(null_encoding="encode")
            self._made[name] = (coded.indices.to_numpy().astype(np.int32), coded.dictionary)
        return self._made[name]

    def values(self, origins: Origins, name: str, origin: npt.NDArray[np.int64]) -> Any:
        """A column with the value of each row's origin."""
        import pyarrow as pa

        places, values = self.column(origins, name)
        taken = pa.array(places[origin])
        return values.take(taken) if name in _NUMBERS else pa.DictionaryArray.from_arrays(taken, values)


def provenance_fields() -> list[tuple[str, Any]]:
    """Columns that say where a record comes from."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    return [(name, pa.type_for_alias(_NUMBERS[name]) if name in _NUMBERS else text) for name in PROVENANCE]


def _batch(block: RecordBlock, columns: pa.Schema, known: KnownOrigins, observed: Observed | None) -> pa.RecordBatch:
    import pyarrow as pa

    width = len(block.layout.bands)
    total = block.total.reshape(-1)
    kept = None if np.isfinite(total).all() else np.flatnonzero(np.isfinite(total))

    def rows(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values.reshape(-1) if kept is None else values.reshape(-1)[kept]

    def repeated(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return rows(np.repeat(values, width))

    valid, total = rows(block.valid), rows(block.total)
    fraction = np.divide(valid, total, out=np.full(len(total), np.nan), where=total > 0)
    band = rows(np.tile(np.arange(width, dtype=np.int32), len(block.zone)))
    made: list[Any] = [
        _coded(repeated(block.zone.astype(np.int32)), pa.array(block.names, pa.string())),
        pa.array(repeated(block.origins.time[block.origin].astype("datetime64[us]"))),
        _coded(band, pa.array(block.layout.bands, pa.string())),
        pa.array(valid),
        pa.array(total),
        *(pa.array(data, from_pandas=True) for data in (fraction, *map(rows, block.values))),
    ]
    origin = repeated(block.origin)
    made += [known.values(block.origins, name, origin) for name in PROVENANCE]
    if observed is not None:
        seen = rows(observed(block))
        made.append(pa.array(seen > 0, mask=seen < 0))
    return pa.RecordBatch.from_arrays(made, schema=columns)


def _coded(places: npt.NDArray[np.int32], values: pa.Array) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(places), values)


def to_frame(table: pa.Table) -> pandas.DataFrame:
    """Table of pandas with the columns and types of `series`, and `zone`."""
    import pandas as pd
    import pyarrow as pa

    plain = pa.schema(
        [(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in table.schema]
    )
    kinds = {pa.bool_(): pd.BooleanDtype()}
    frame: pandas.DataFrame = table.cast(plain).to_pandas(types_mapper=kinds.get, split_blocks=True)
    return frame

"""Binary COPY: records as PostgreSQL takes them, built as one numpy structured array."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import StoreError
from hpckit.reduce.signatures.spool import SignatureBatch

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, flags and length of the header extension."""
TRAILER: Final = b"\xff\xff"
_FLOAT4_OID: Final = 700
_ROWS_AT_A_TIME: Final = 5_000


class Stream(io.RawIOBase):
    """Blocks of bytes as a file to read; they are made when they are needed."""

    def __init__(self, blocks: Iterable[bytes | memoryview]) -> None:
        self._blocks = _ahead(iter(blocks))
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; nothing at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = memoryview(block).cast("B")
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return bytes(chunk)


def _ahead(blocks: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Make the next block while the server takes this one."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, blocks, None)
        while (block := waiting.result()) is not None:
            waiting = pool.submit(next, blocks, None)
            yield block


def record_stream(batches: Iterable[tuple[SignatureBatch, int, int]], first_zone: int) -> Stream:
    """Payload for `COPY record (zone, acquisition, observation, data)`.

    Parameters
    ----------
    batches : iterable of (SignatureBatch, int, int)
        With the ids of their acquisition and observation.
    first_zone : int
        Id of the zone of row 0.
    """
    return Stream(_blocks(batches, first_zone))


def _blocks(batches: Iterable[tuple[SignatureBatch, int, int]], first_zone: int) -> Iterator[bytes | memoryview]:
    yield HEADER
    for batch, acquisition, observation in batches:
        for start in range(0, len(batch.zone), _ROWS_AT_A_TIME):
            rows = slice(start, start + _ROWS_AT_A_TIME)
            zone, data, empty = batch.zone[rows] + first_zone, flat(batch, rows), _is_empty(batch, rows)
            full = _rows(zone[~empty], data[~empty], acquisition, observation)
            cut = _rows(zone[empty], data[empty][:, : counts_width(batch)], acquisition, observation)
            yield _interleave(full, cut, empty)
    yield TRAILER


def flat(batch: SignatureBatch, rows: slice) -> npt.NDArray[np.float32]:
    """Numbers of records in the order of a layout: valid, total, classes, statistics."""
    classes = [counts[rows] for _, counts in batch.classes.values()]
    values = batch.values[rows]
    return np.concatenate(
        [batch.valid[rows], batch.total[rows], *classes, values.reshape(len(values), -1)], axis=1, dtype=np.float32
    )


def counts_width(batch: SignatureBatch) -> int:
    """Numbers of a record before its statistics."""
    return 2 * len(batch.bands) + sum(len(codes) for codes, _ in batch.classes.values())


def _is_empty(batch: SignatureBatch, rows: slice) -> npt.NDArray[np.bool_]:
    values = batch.values[rows]
    return np.asarray(np.isnan(values.reshape(len(values), -1)).all(axis=1))


def _interleave(full: npt.NDArray[Any], cut: npt.NDArray[Any], empty: npt.NDArray[np.bool_]) -> bytes | memoryview:
    """Rows of two lengths in the order of the zones, so that the key is appended to and not inserted into."""
    if not len(cut) or not len(full):
        return (cut if len(cut) else full).view(np.uint8).data
    merged = np.empty(len(empty), dtype=object)
    for chosen, rows in ((~empty, full), (empty, cut)):
        merged[chosen] = rows.view(f"V{rows.itemsize}").tolist()
    return b"".join(merged.tolist())


def _rows(
    zone: npt.NDArray[Any], data: npt.NDArray[np.float32], acquisition: int, observation: int
) -> npt.NDArray[Any]:
    """Records with arrays of equal length."""
    width = data.shape[1]
    rows: npt.NDArray[Any] = np.empty(len(zone), dtype=_row_type(width))
    template: Any = np.zeros((), dtype=rows.dtype)
    template["fields"] = 4
    for name in ("zone_size", "acquisition_size", "observation_size"):
        template[name] = 4
    template["acquisition"], template["observation"] = acquisition, observation
    template["data_size"] = 20 + 8 * width
    template["dimensions"], template["element_type"] = 1, _FLOAT4_OID
    template["length"], template["lower_bound"] = width, 1
    template["data"]["size"] = 4
    rows[:] = template
    rows["zone"] = zone
    rows["data"]["value"] = data
    return rows


def _row_type(width: int) -> np.dtype[Any]:
    integers = ["zone_size", "zone", "acquisition_size", "acquisition", "observation_size", "observation"]
    array = ["data_size", "dimensions", "has_null", "element_type", "length", "lower_bound"]
    element = np.dtype([("size", ">i4"), ("value", ">f4")])
    return np.dtype([("fields", ">i2"), *((name, ">i4") for name in integers + array), ("data", element, (width,))])


def read_floats(payload: bytes, columns: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Rows of a binary `COPY (SELECT integer, real, …) TO STDOUT` without nulls: the keys, and the numbers."""
    element = np.dtype([("size", ">i4"), ("value", ">f4")])
    row = np.dtype([("fields", ">i2"), ("key_size", ">i4"), ("key", ">i4"), ("data", element, (columns,))])
    body = payload[len(HEADER) : len(payload) - len(TRAILER)]
    rows = np.frombuffer(body, dtype=row)
    return rows["key"].astype(np.int32), rows["data"]["value"].astype(np.float64)


def read_records(
    payload: bytes | memoryview, width: int, is_array: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Rows of a binary `COPY (SELECT integer, integer, …) TO STDOUT` without nulls: both keys, and the numbers.

    Parameters
    ----------
    width : int
        Numbers of a row.
    is_array : bool
        Whether they are one `real[]`, or a `real` each.
    """
    element = np.dtype([("size", ">i4"), ("value", ">f4")])
    names = ["zone_size", "zone", "observation_size", "observation"]
    names += ["data_size", "dimensions", "has_null", "element_type", "length", "lower_bound"] if is_array else []
    row = np.dtype([("fields", ">i2"), *((name, ">i4") for name in names), ("data", element, (width,))])
    rows = np.frombuffer(payload[len(HEADER) : len(payload) - len(TRAILER)], dtype=row)
    if is_array and not (rows["length"] == width).all():
        raise StoreError(
            "the store has records of another length than their layout says",
            hint="`hpckit sync` fills an empty store from the spool: set another `store.schema`",
        )
    numbers = rows["data"]["value"].astype(np.float32)
    return rows["zone"].astype(np.int32), rows["observation"].astype(np.int32), numbers

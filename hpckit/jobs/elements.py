"""From units to elements of job arrays: packed by estimated cost, so that elements of a stage end together.

Units of one tile stay together where that does not disturb the balance: an element then reads few indexes,
few records of the manifest, and one part of the catalogue.
"""

from __future__ import annotations

import heapq
import json
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from hpckit.base.files import atomic_path
from hpckit.base.quantities import format_duration
from hpckit.base.reading import parsed, read_table
from hpckit.errors import PlanError, SubmissionError
from hpckit.runs.plan import Bundle, Unit, bundles, cost_of, longest_first, read_text, tiles_of, units_of

_Value = TypeVar("_Value")
_CHUNKS_PER_ELEMENT: Final = 16
"""Pieces of an element that are moved between elements as a whole: the spread is below one of them."""
_ROWS_PER_GROUP: Final = 8192
"""Rows that an element reads at least to find its own."""
_STARTUP_S: Final = 120
"""Start of Python and libraries from a parallel file system, reading of catalogue and zones."""
_SAFETY: Final = 1.5
"""Walltime asked for over that expected: files are cold, neighbours busy, estimates rough."""
_WALLTIME_STEP_S: Final = 300
_LEAST_WALLTIME_S: Final = 600


@dataclass(frozen=True, slots=True)
class Element:
    """Units that one member of a job array works through."""

    units: tuple[Unit, ...]
    """Longest first, those of a bundle in a row."""
    cost: float
    """Estimated core-seconds."""

    @property
    def longest(self) -> float:
        """Core-seconds of what one rank does at least: the longest unit, or bundle."""
        if not self.units or not self.units[0].bundle:
            return self.units[0].cost if self.units else 0.0
        return cost_of([unit for unit in self.units if unit.bundle == self.units[0].bundle])

    def makespan(self, ranks: int) -> float:
        """Seconds until the last of the ranks ends, at most (Graham's bound for a list of tasks)."""
        return self.cost / ranks + self.longest * (1 - 1 / ranks)


def pack(units: Sequence[Unit], *, ranks: int, target_s: float, most: int | None) -> list[Element]:
    """Pack units into elements that last about as long as each other.

    Parameters
    ----------
    units : sequence of Unit
        In the order of the plan, so that units of one tile are neighbours.
    ranks : int
        Ranks of an element.
    target_s : float
        Seconds that an element should last.
    most : int or None
        Most elements that there may be; elements become longer then.

    Returns
    -------
    list of Element
        Costliest first, none empty.
    """
    total = sum(unit.cost for unit in units)
    made = bundles(units)
    count = max(1, ceil(total / max(1.0, ranks * target_s)))
    count = min(count, len(made), most or count)
    if not units:
        return []
    starts, costs = _chunks(made, total / (count * _CHUNKS_PER_ELEMENT))
    heap: list[tuple[float, int]] = [(0.0, number) for number in range(count)]
    owner = np.zeros(len(costs), dtype=np.int32)
    for chunk in np.argsort(-costs, kind="stable").tolist():
        load, number = heap[0]
        owner[chunk] = number
        heapq.heapreplace(heap, (load + costs[chunk], number))
    elements = [_element(made, starts, chunks) for chunks in _by_owner(owner, count)]
    return sorted(elements, key=lambda element: -element.cost)


def pack_as(groups: Sequence[frozenset[str]], units: Sequence[Unit]) -> list[Element]:
    """Pack units by their tiles, one element for each group of tiles, in the order of the groups."""
    of_tile = {tile: number for number, tiles in enumerate(groups) for tile in tiles}
    members: list[list[Unit]] = [[] for _ in groups]
    for unit in units:
        members[of_tile[tiles_of(unit)[0]]].append(unit)
    return [Element(tuple(longest_first(mine)), sum(unit.cost for unit in mine)) for mine in members]


def walltime(elements: Iterable[Element], ranks: int, limit_s: int | None, what: str, shorter: str) -> int:
    """Seconds to ask for: what the slowest element is expected to last, with room; within the limit.

    Parameters
    ----------
    what : str
        What has the limit.
    shorter : str
        How the longest unit becomes shorter.

    Raises
    ------
    PlanError
        If a single unit is expected to last longer than the limit.
    """
    slowest = max(elements, key=lambda element: element.makespan(ranks))
    if limit_s is not None and slowest.longest + min(_STARTUP_S, limit_s / 10) > limit_s:
        raise PlanError(
            f"unit {slowest.units[0].id} is expected to last {format_duration(slowest.longest)}, longer than the "
            f"{format_duration(limit_s)} that {what} allows",
            hint=f"{shorter}, or choose a partition with a longer walltime",
        )
    wanted = _STARTUP_S + _SAFETY * slowest.makespan(ranks)
    rounded = max(_LEAST_WALLTIME_S, -(-int(wanted) // _WALLTIME_STEP_S) * _WALLTIME_STEP_S)
    return rounded if limit_s is None else min(rounded, limit_s)


def write_elements(path: Path, stages: Mapping[str, Sequence[Element]]) -> None:
    """Write all elements to one Parquet file in which an element finds its rows quickly; atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("stage", pa.string()),
            ("element", pa.int32()),
            ("unit", pa.string()),
            ("cost", pa.float64()),
            ("inputs", pa.string()),
            ("args", pa.string()),
        ]
    )
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for stage, elements in stages.items():
            for rows in _batches(elements):
                columns = [
                    [stage] * len(rows),
                    [number for number, _ in rows],
                    [unit.id for _, unit in rows],
                    [unit.cost for _, unit in rows],
                    [unit.inputs for _, unit in rows],
                    [json.dumps(dict(unit.args), separators=(",", ":")) for _, unit in rows],
                ]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=_ROWS_PER_GROUP)


def read_element(path: Path, stage: str, number: int) -> list[Unit]:
    """Units of one element, longest first.

    Raises
    ------
    SubmissionError
        If the file is damaged, or has no such element.
    """
    units = _parsed(path, units_of, where={"stage": [stage], "element": [number]})
    if not units:
        raise SubmissionError(f"{path}: stage {stage} has no element {number}")
    return units


def _parsed(
    path: Path,
    parse: Callable[[Any], _Value],
    columns: Sequence[str] | None = None,
    where: Mapping[str, Collection[object]] | None = None,
) -> _Value:
    try:
        return parsed(
            path,
            lambda file: parse(read_table(file, columns, where)),
            lambda _: SubmissionError(f"{path}: damaged", hint="`hpckit retry` submits what is not done again"),
        )
    except FileNotFoundError:
        raise SubmissionError(f"{path}: no such file", hint="was the run directory deleted?") from None


def read_membership(path: Path) -> Iterator[tuple[str, int, str, str]]:
    """Stage, element, id and digest of the inputs of every unit.

    Raises
    ------
    SubmissionError
        If the file is damaged.
    """
    names = ("stage", "element", "unit", "inputs")
    yield from zip(*_parsed(path, _members, names), strict=True)


def read_units(path: Path, stages: Sequence[str]) -> tuple[Any, Any]:
    """Ids of the units of some stages, and digests of their inputs, as columns of Arrow.

    Raises
    ------
    SubmissionError
        If the file is damaged.
    """
    names = ("unit", "inputs")
    first, second = _parsed(path, lambda table: [read_text(table, name) for name in names], names, {"stage": stages})
    return first, second


def _members(table: Any) -> list[list[Any]]:
    stage, unit, inputs = (read_text(table, name).to_pylist() for name in ("stage", "unit", "inputs"))
    return [stage, [int(number) for number in table.column("element").to_pylist()], unit, inputs]


def _chunks(made: Sequence[Bundle], limit: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Starts (and the end) and costs of runs of neighbours of one tile, within `limit` unless one bundle is more."""
    starts, costs = array("q"), array("d")
    cost, place = 0.0, None
    for number, bundle in enumerate(made):
        here = bundle[0].args.get("tile") or tuple(bundle[0].args.get("tiles", ()))
        mine = cost_of(bundle)
        if number == 0 or here != place or cost + mine > limit:
            starts.append(number)
            costs.append(0.0)
            cost = 0.0
        cost, place = cost + mine, here
        costs[-1] = cost
    starts.append(len(made))
    return np.array(starts, dtype=np.int64), np.array(costs)


def _by_owner(owner: npt.NDArray[np.int32], count: int) -> Iterator[npt.NDArray[np.int64]]:
    """Chunks of each element that has any."""
    order = np.argsort(owner, kind="stable")
    for chunks in np.split(order, np.searchsorted(owner[order], np.arange(1, count))):
        if len(chunks):
            yield chunks


def _element(made: Sequence[Bundle], starts: npt.NDArray[np.int64], chunks: npt.NDArray[np.int64]) -> Element:
    mine = [
        unit for chunk in chunks.tolist() for bundle in made[starts[chunk] : starts[chunk + 1]] for unit in bundle
    ]
    return Element(tuple(longest_first(mine)), sum(unit.cost for unit in mine))


def _batches(elements: Sequence[Element]) -> Iterator[list[tuple[int, Unit]]]:
    """Rows of a row group's size, of whole elements."""
    rows: list[tuple[int, Unit]] = []
    for number, element in enumerate(elements):
        rows += [(number, unit) for unit in element.units]
        if len(rows) >= _ROWS_PER_GROUP:
            yield rows
            rows = []
    if rows:
        yield rows

"""Units of work, and the file that lists them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from hpckit.base.files import atomic_path, digest
from hpckit.base.reading import parsed, read_table
from hpckit.campaign.stages import Stage
from hpckit.errors import PlanError

_Value = TypeVar("_Value")
_ROWS_AT_ONCE: Final = 50_000


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest resumable piece of work: a pure function of its arguments and inputs to files."""

    id: str
    """`ingest/31UFU/r10m/B04/b0000/w03`"""
    stage: Stage
    cost: float
    """Estimated core-seconds."""
    inputs: str
    """Digest of all that the result depends on; a unit that was done with other inputs is not done."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """What identifies the piece; JSON values. Units with the same `bundle` are done together."""

    @property
    def bundle(self) -> str:
        """Units of a stage that read the same and are done together by one process; empty if it is done alone."""
        return str(self.args.get("bundle", ""))


Bundle = Sequence[Unit]
"""Units that one process does together: of one bundle, or a single one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All units of a campaign, and those of them that remain to be done."""

    units: Sequence[Unit]
    """Those of a stage before those of the stages that come after it."""
    pending: frozenset[str]
    """Ids of units that have no valid result yet."""

    @property
    def stages(self) -> list[Stage]:
        """Stages that have units, in the order in which they run."""
        return list(dict.fromkeys(unit.stage for unit in self.units))

    def of(self, stage: Stage) -> list[Unit]:
        """Units of a stage."""
        return [unit for unit in self.units if unit.stage == stage]

    def todo(self, stage: Stage) -> list[Unit]:
        """Units of a stage that remain, longest first, so that workers end together; those of a bundle in a row."""
        return longest_first(unit for unit in self.of(stage) if unit.id in self.pending)


def bundles(units: Iterable[Unit]) -> list[Bundle]:
    """Units as they are done together, in the order of the first of each bundle."""
    found: list[Bundle] = []
    known: dict[tuple[Stage, str], list[Unit]] = {}
    for unit in units:
        if not unit.bundle:
            found.append((unit,))
        elif (unit.stage, unit.bundle) in known:
            known[unit.stage, unit.bundle].append(unit)
        else:
            known[unit.stage, unit.bundle] = [unit]
            found.append(known[unit.stage, unit.bundle])
    return found


def cost_of(bundle: Bundle) -> float:
    """Estimated core-seconds of units that are done together."""
    return sum(unit.cost for unit in bundle)


def shares(bundle: Bundle) -> list[float]:
    """Share of each unit in what a bundle takes, by their costs; 1 in all."""
    whole = cost_of(bundle)
    return [unit.cost / whole if whole else 1 / len(bundle) for unit in bundle]


def longest_first(units: Iterable[Unit]) -> list[Unit]:
    """Units in the order in which they are handed out: costly bundles first, the units of each in a row."""
    # Rounded: what costs about the same stays in the order of names, and so of tiles.
    ordered = sorted(bundles(units), key=lambda bundle: (-round(cost_of(bundle), 1), bundle[0].id))
    return [unit for bundle in ordered for unit in bundle]


def tiles_of(unit: Unit) -> list[str]:
    """Tiles that a unit concerns; none, where it only looks at a product."""
    return list(unit.args["tiles"] if "tiles" in unit.args else [unit.args["tile"]])


def tiles_of_all(units: Iterable[Unit]) -> list[str]:
    """Tiles that any of some units concerns, sorted."""
    return sorted({tile for unit in units for tile in tiles_of(unit)})


def write_plan(path: Path, units: Iterable[Unit]) -> None:
    """Write units to a Parquet file, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("unit", "stage", "inputs", "args", "cost")
    schema = pa.schema([(name, pa.float64() if name == "cost" else pa.string()) for name in names])
    rows = iter(units)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            columns = [
                [unit.id for unit in batch],
                [unit.stage for unit in batch],
                [unit.inputs for unit in batch],
                [json.dumps(dict(unit.args)) for unit in batch],
                [unit.cost for unit in batch],
            ]
            writer.write_table(pa.table(columns, schema=schema))


def read_inputs(path: Path) -> tuple[Any, Any, Any]:
    """Ids, stages and digests of the inputs of all units, as columns of Arrow: fast, for counting.

    Raises
    ------
    PlanError
        If there is no plan, or it is damaged.
    """
    names = ("unit", "stage", "inputs")
    first, second, third = _parsed(path, lambda table: [read_text(table, name) for name in names], names)
    return first, second, third


def read_plan(path: Path) -> list[Unit]:
    """Read what `write_plan` wrote.

    Raises
    ------
    PlanError
        If there is no plan, or it is damaged.
    """
    return _parsed(path, units_of)


def plan_digest(path: Path) -> str:
    """Digest of the units that a file lists, whatever they are expected to cost.

    Raises
    ------
    PlanError
        If it is damaged.
    """
    return _parsed(path, _digest, ["unit", "stage", "inputs", "args"])


def _digest(table: Any) -> str:
    import pyarrow as pa

    table = table.combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return digest(memoryview(sink.getvalue()))


def read_text(table: Any, name: str) -> Any:
    """Column of text of a table, as an Arrow array.

    Raises
    ------
    LookupError, TypeError
        If there is none.
    """
    import pyarrow as pa

    column = table.column(name).combine_chunks()
    if column.type != pa.string() or column.null_count:
        raise TypeError(f"{name} is no column of text")
    return column


def units_of(table: Any) -> list[Unit]:
    """Units of the rows of a table.

    Raises
    ------
    LookupError, TypeError, ValueError
        If the table is none of units.
    """
    columns = [table.column(name).to_pylist() for name in ("unit", "stage", "cost", "inputs", "args")]
    units = []
    for unit, stage, cost, inputs, text in zip(*columns, strict=True):
        args = json.loads(text)
        if not all(isinstance(value, str) for value in (unit, stage, inputs)) or not isinstance(args, dict):
            raise TypeError("no unit")
        units.append(Unit(unit, stage, float(cost), inputs, args))
    return units


def _parsed(path: Path, parse: Callable[[Any], _Value], columns: Sequence[str] | None = None) -> _Value:
    try:
        return parsed(
            path,
            lambda file: parse(read_table(file, columns)),
            lambda _: PlanError(f"{path}: the plan is damaged", hint="delete it; the next run makes it again"),
        )
    except FileNotFoundError:
        raise PlanError(f"{path}: no plan there", hint="`hpckit plan CAMPAIGN` makes one") from None

"""Units of work, and the file that lists them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from hpckit.errors import PlanError
from hpckit.files import atomic_path

_ROWS_AT_ONCE: Final = 50_000

Stage = str
"""One of `STAGES`, or `exec-NAME`, a step of the campaign's own."""

STAGES: Final[tuple[Stage, ...]] = ("ingest", "index", "reduce", "composite", "export")
"""Hpckit's own, in the order in which they run; a stage begins when the one before it has ended."""


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
    """What identifies the piece; JSON values."""


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
        """Units of a stage that remain, longest first, so that workers end together."""
        return sorted((u for u in self.of(stage) if u.id in self.pending), key=lambda u: (-round(u.cost, 1), u.id))


def tiles_of(unit: Unit) -> list[str]:
    """Tiles that a unit concerns; none, where it only looks at a product."""
    return list(unit.args["tiles"] if "tiles" in unit.args else [unit.args["tile"]])


def write_plan(path: Path, units: Iterable[Unit]) -> None:
    """Write units to a Parquet file, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("unit", "stage", "inputs", "args", "cost")
    schema = pa.schema([(name, pa.float64() if name == "cost" else pa.string()) for name in names])
    rows = iter(units)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
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
    table = _read_table(path, ["unit", "stage", "inputs"])
    return tuple(table.column(name).combine_chunks() for name in ("unit", "stage", "inputs"))


def read_plan(path: Path) -> list[Unit]:
    """Read what `write_plan` wrote.

    Raises
    ------
    PlanError
        If there is no plan, or it is damaged.
    """
    columns = _read_table(path).to_pydict()
    return [
        Unit(unit, stage, cost, inputs, json.loads(args))
        for unit, stage, cost, inputs, args in zip(
            *(columns[name] for name in ("unit", "stage", "cost", "inputs", "args")), strict=True
        )
    ]


def _read_table(path: Path, columns: list[str] | None = None) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise PlanError(f"{path}: no plan there", hint="`hpckit plan CAMPAIGN` makes one") from None
    except (OSError, pa.ArrowException) as error:
        raise PlanError(f"{path}: the plan is damaged", hint="delete it; the next run makes it anew") from error

"""What a graph asks of a collection: which bands, and which acquisitions of its tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from hpckit.cubes.ingest import inputs_of_dates
from hpckit.errors import GraphError
from hpckit.processgraph.extents import Area
from hpckit.processgraph.process import Request, Value
from hpckit.processgraph.times import Period
from hpckit.reduce.graphs.collection import Collection, properties
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition

_INVALID: Final = "ProcessParameterInvalid"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a collection."""

    bands: tuple[tuple[str, BandRef], ...]
    """With their labels."""
    area: Area | None
    """None for all that the collection holds."""
    dates: tuple[tuple[str, Mapping[str, int]], ...]
    """Label of each time step, and for each tile that has it the position on its time axis; sorted by time."""


def wanted_of(collection: Collection, request: Request) -> Wanted:
    """Bands and acquisitions that a request stands for.

    Raises
    ------
    GraphError
        If there is no such band or property; `NoDataAvailable` if no acquisition is in the period, or fulfils the
        conditions.
    """
    dates = _dates(collection, request.period, request.properties)
    return Wanted(_bands(collection, request.bands), request.area, dates)


def _bands(collection: Collection, names: tuple[str, ...] | None) -> tuple[tuple[str, BandRef], ...]:
    if names is None:
        return tuple(collection.all_bands())
    found = [item for name in names for item in collection.find(name)]
    labels = [label for label, _ in found]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice or not found:
        fault = f"bands names {twice[0]!r} twice" if twice else "bands is empty"
        raise GraphError(fault, hint="name each band once, or write null for all", fault=_INVALID)
    return tuple(found)


def _dates(
    collection: Collection,
    period: Period | None,
    conditions: Mapping[str, Callable[..., Value]],
) -> tuple[tuple[str, Mapping[str, int]], ...]:
    found: dict[str, dict[str, int]] = {}
    times: dict[str, datetime] = {}
    fulfilled = _Conditions(collection.name, conditions)
    for tile, acquisitions in sorted(collection.tiles.acquisitions.items()):
        lost = _lost(collection, tile)
        for position, item in enumerate(acquisitions):
            if position in lost:
                continue
            times[item.id] = min(times.get(item.id, item.time), item.time)
            if fulfilled(item):
                found.setdefault(item.id, {})[tile] = position
    ordered = sorted(found, key=lambda name: (times[name], name))
    kept = [name for name in ordered if period is None or times[name] in period]
    if not kept:
        first, last = min(times.values(), default=None), max(times.values(), default=None)
        known = f"it has {len(times)} acquisitions from {first} to {last}" if times else "it has no acquisition"
        raise GraphError(
            f"collection {collection.name!r} has no acquisition in the period, or none fulfils the properties",
            hint=known,
            fault="NoDataAvailable",
        )
    return tuple((label(times[name]), found[name]) for name in kept)


def _lost(collection: Collection, tile: str) -> frozenset[int]:
    """Positions of the dates of a tile that cannot be decoded."""
    lost = collection.lost.get(tile)
    if not lost:
        return frozenset()
    inputs = inputs_of_dates(collection.tiles.spec, collection.tiles.acquisitions[tile])
    return frozenset(position for position, made_of in enumerate(inputs) if made_of in lost)


def label(time: datetime) -> str:
    """Label of a time step, by RFC 3339: `2024-03-01T10:50:31Z`."""
    fraction = f".{time.microsecond:06d}" if time.microsecond else ""
    return f"{time:%Y-%m-%dT%H:%M:%S}{fraction}Z"


class _Conditions:
    """Conditions on the metadata of products."""

    def __init__(self, collection: str, conditions: Mapping[str, Callable[..., Value]]) -> None:
        self._collection = collection
        self._conditions = conditions

    def __call__(self, acquisition: Acquisition) -> bool:
        """Whether all products of an acquisition fulfil all of them."""
        return not self._conditions or all(self._holds(known) for known in properties(acquisition))

    def _holds(self, known: Mapping[str, Any]) -> bool:
        for name, condition in self._conditions.items():
            if name not in known:
                raise GraphError(
                    f"products of collection {self._collection!r} have no property {name!r}",
                    hint=f"they have {', '.join(sorted(known))}",
                    fault=_INVALID,
                )
            if not _is_true(condition(value=known[name])):
                return False
        return True


def _is_true(value: Value) -> bool:
    return value is not None and bool(value) and not (isinstance(value, float) and np.isnan(value))

"""What compiles kernels: each task calls some with small arrays of the types that workers give them.

They are called in a process that compiles and does not run them (`compiling.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

FLOATS: Final = "float32"
"""Type of values that are computed."""


def _pixels(coverage: str) -> None:
    import shapely
    from affine import Affine

    from hpckit.reduce.signatures.index import build_index

    square = np.array([shapely.MultiPolygon([shapely.box(0, -1, 1, 0)])])
    index = build_index(square, np.zeros(1, np.int32), Affine(1, 0, 0, 0, -1, 0), (2, 2), coverage)  # type: ignore[arg-type]
    index.windows(1)


def _gather(dtype: str) -> None:
    from hpckit.reduce.signatures.index import ZoneIndex, gather

    offsets, pixels = np.array([0, 1], np.int64), np.zeros(1, np.uint32)
    index = ZoneIndex(np.zeros(1, np.int32), offsets, pixels, None, np.zeros(1), (2, 2))
    for ratio in (1.0, 2.0):
        gather(np.zeros((2, 2), dtype), index, ratio)


def _statistics(dtype: str, weights: Any = None) -> None:
    from hpckit.reduce.kernels import cpu

    offsets, pixels, excluded = np.array([0, 1], np.int64), np.zeros(1, np.uint32), np.zeros(1, np.bool_)
    cpu.signatures(np.zeros(4, dtype), offsets, pixels, weights, excluded, 0, np.array([50.0]))


def _classes() -> None:
    from hpckit.reduce.kernels import cpu

    cpu.histogram(np.zeros(4, np.uint8), np.array([0, 1], np.int64), np.zeros(1, np.uint32), None)


def _events() -> None:
    from hpckit.reduce.kernels import events

    rule, days, numbers = events.EventRule(0.1, 0.0, 30, 1, 0, 0, first=True), np.arange(2), np.zeros(2)
    events.find_events(numbers, numbers, days, days, np.array([0, 2]), rule)


def _stored(dtype: str) -> None:
    from hpckit.reduce.kernels import stored

    numbers, values = np.zeros((2, 2, 2), dtype), np.zeros((2, 2, 2, 2), FLOATS)
    for found in (values[0], values[:, 0]):
        stored.decode(numbers, 1.0, 0.0, 0, found, fresh=True)
    for table in (np.zeros(2, FLOATS), np.zeros(2, np.bool_)):
        stored.look_up(numbers, table, np.zeros(numbers.shape, table.dtype))


def _composites(step: str, dtype: str) -> None:
    from hpckit.reduce.kernels import composite_cpu, composite_float, nearness

    stack, mask, days = np.zeros((2, 1, 1), dtype), np.zeros((2, 1, 1), np.bool_), np.array([0, 1])
    kernels: Any = composite_float if dtype == FLOATS else composite_cpu
    calls: dict[str, Callable[[], object]] = {
        "percentiles": lambda: kernels.rounded(kernels.percentiles(stack, np.array([50.0]), mask)),
        "summary": lambda: kernels.rounded(kernels.summary(stack, mask).mean),
        "best": lambda: composite_cpu.best_score(
            np.zeros((2, 1, 1), np.uint16), np.zeros(2, np.float32), np.zeros((2, 1, 1), np.uint8),
            np.zeros(256, np.float32), mask,
        ),
        "max_ndvi": lambda: composite_cpu.max_ndvi(stack, stack, 0, mask),
        "medoid": lambda: composite_cpu.medoid(stack[None], mask),
        "geomad": lambda: composite_cpu.rounded(composite_cpu.geomad(stack[None], 1e-4, 0.0, mask).median[0]),
        "take": lambda: composite_cpu.take(stack, np.zeros((1, 1), np.int32)),
        "interpolate": lambda: kernels.rounded(kernels.interpolate(stack, days, days, mask)),
        "smooth": lambda: kernels.rounded(kernels.smooth(stack, days, days, 1.0, 0.5, 0, mask)),
        "nearness": lambda: nearness.squared_distance(mask, 1),
    }  # fmt: skip
    calls[step]()


def _pixels_of_graphs(step: str, dtype: str) -> None:
    from hpckit.processgraph.kernels import choice, ranks, series, sums

    stack, many = np.zeros((2, 1), dtype), np.zeros(choice.FEW, dtype)
    calls: dict[str, Callable[[], object]] = {
        "sums": lambda: (sums.total(stack, True), sums.count_valid(stack), sums.end(stack, True)),
        "ranks": lambda: (
            ranks.quantiles(stack, np.array([0.5]), True),
            ranks.sort(stack, False, False),
            ranks.order(stack, False, False, True),
        ),
        "series": lambda: (series.cumulate(stack, "sum", True), series.interpolate(stack, np.zeros(2))),
        "choice": lambda: (choice.select(many > 0, many, many), choice.blank(many > 0, many)),
    }
    calls[step]()


def _zones_of_graphs(dtype: str) -> None:
    from hpckit.processgraph.kernels.zonal import reduce_zones

    reduce_zones(np.zeros((1, 2), dtype), np.array([0, 2], np.int64), np.array([0.5]))


_SECONDS: Final = {"percentiles": 3.0, "smooth": 4.0, "geomad": 6.0, "medoid": 3.0}
_METHODS: Final = ("percentiles", "smooth", "summary", "interpolate", "take")
_OF_INTEGERS: Final = ("geomad", "medoid", "best", "max_ndvi")
TASKS: Final[dict[str, tuple[float, Callable[[], None]]]] = {
    **{
        f"{step} {dtype}": (_SECONDS.get(step, 1.0), partial(_composites, step, dtype))
        for dtype in ("uint16", FLOATS)
        for step in (*_METHODS, *(_OF_INTEGERS if dtype == "uint16" else ()))
    },
    "nearness": (1.0, partial(_composites, "nearness", "uint16")),
    **{f"plain {dtype}": (2.0, partial(_statistics, dtype)) for dtype in ("uint16", FLOATS)},
    **{
        f"weighted {dtype}": (2.5, partial(_statistics, dtype, np.ones(1, np.float32)))
        for dtype in ("uint16", FLOATS)
    },
    "pixels centre": (2.5, partial(_pixels, "centre")),
    "pixels fraction": (1.5, partial(_pixels, "fraction")),
    **{f"gather {dtype}": (0.3, partial(_gather, dtype)) for dtype in ("uint16", "uint8")},
    "classes": (0.3, _classes),
    "events": (1.0, _events),
    **{f"graph stored {dtype}": (1.0, partial(_stored, dtype)) for dtype in ("uint16", "uint8")},
    **{
        f"graph {step} {dtype}": (seconds, partial(_pixels_of_graphs, step, dtype))
        for dtype in (FLOATS, "float64")
        for step, seconds in (("sums", 2.5), ("ranks", 4.0), ("series", 2.0), ("choice", 0.5))
    },
    **{f"graph zones {dtype}": (2.0, partial(_zones_of_graphs, dtype)) for dtype in (FLOATS, "float64")},
}
"""By name: seconds that it takes, about, and what does it."""

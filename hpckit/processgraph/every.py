"""All modules that register processes."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Final

_MODULES: Final = (
    "cubes.aggregate_spatial",
    "cubes.apply",
    "cubes.bands",
    "cubes.climate",
    "cubes.dimensions",
    "cubes.inspect",
    "cubes.kernel",
    "cubes.labels",
    "cubes.load",
    "cubes.mask",
    "cubes.merge",
    "cubes.neighborhood",
    "cubes.points",
    "cubes.polygons",
    "cubes.ready",
    "cubes.reduce",
    "cubes.resample",
    "cubes.temporal",
    "cubes.trim",
    "cubes.udf",
    "cubes.vectors",
    "cubes.windows",
    "cubes.within",
    "values.arithmetic",
    "values.arrays",
    "values.callbacks",
    "values.comparison",
    "values.constants",
    "values.dates",
    "values.logic",
    "values.ordering",
    "values.series",
    "values.statistics",
    "values.text",
    "values.trigonometry",
)


@cache
def load() -> None:
    """Import them; what is imported is not imported again."""
    for name in _MODULES:
        import_module(f"hpckit.processgraph.{name}")

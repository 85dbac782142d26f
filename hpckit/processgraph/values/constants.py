"""Constants."""

from __future__ import annotations

import math

from hpckit.processgraph.process import Value, on_values


@on_values("e")
def euler() -> float:
    """Base of the natural logarithm."""
    return math.e


@on_values("pi")
def pi() -> float:
    """Ratio of a circle's circumference to its diameter."""
    return math.pi


@on_values("nan")
def nan() -> float:
    """Not a number."""
    return math.nan


@on_values("constant")
def constant(x: Value) -> Value:
    """A value as it is."""
    return x

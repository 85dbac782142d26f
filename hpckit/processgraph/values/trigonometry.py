"""Trigonometry in radians."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from hpckit.processgraph.process import Value
from hpckit.processgraph.values.operands import on_numbers

_FUNCTIONS: Final[dict[str, Any]] = {
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "arcsin": np.arcsin, "arccos": np.arccos, "arctan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "arsinh": np.arcsinh, "arcosh": np.arccosh, "artanh": np.arctanh,
}  # fmt: skip
"""NaN where they are not defined."""


def _register(name: str, function: Any) -> None:
    @on_numbers(name)
    def run(x: Value) -> Value:
        return function(x)


for _name, _function in _FUNCTIONS.items():
    _register(_name, _function)


@on_numbers("arctan2")
def arctan2(y: Value, x: Value) -> Value:
    """Angle of the point (`x`, `y`), in its quadrant."""
    return np.arctan2(y, x)

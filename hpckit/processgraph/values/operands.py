"""Operands of processes that make one value of single ones: scalars of JSON, or a number for each of many pixels.

Of a scalar None is null and NaN a number; of pixels, which are floating-point numbers, NaN is null. Scalars do not
change the type of pixels: float32 stays float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, TypeGuard

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Values
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Implementation, Value, on_values


def is_pixels(value: Value) -> TypeGuard[Values]:
    """Whether it is one value for each pixel."""
    return isinstance(value, np.ndarray | np.generic)


def is_number(value: Value) -> bool:
    """Whether it is a scalar number."""
    return isinstance(value, int | float) and not isinstance(value, bool | np.generic)


def floats(values: Values) -> Values:
    """Numbers of pixels as float32 or float64, whichever holds them; texts are refused.

    Raises
    ------
    GraphError
        If they are no numbers.
    """
    dtype = values.dtype
    if dtype in _FLOATS:
        return values
    if dtype.kind in "bui" and dtype.itemsize <= 2:
        return values.astype(np.float32)
    if dtype.kind in "ui":
        return values.astype(np.float64)
    if dtype.kind == "f":
        return values.astype(np.float64 if dtype.itemsize > 4 else np.float32)
    if dtype.kind == "O" and all(item is None or is_number(item) for item in values.flat):
        return values.astype(np.float64)
    raise GraphError("numbers are needed, and these values are none", fault="ProcessParameterInvalid")


_FLOATS = frozenset({np.dtype(np.float32), np.dtype(np.float64)})
"""In the byte order of this machine."""


def on_numbers(name: str) -> Callable[[Implementation], Implementation]:
    """Register a process all of whose arguments are numbers, and whose result is null if any of them is.

    The function is called with float64 scalars, or with arrays of pixels and Python floats, which numpy broadcasts.
    """

    def register(function: Implementation) -> Implementation:
        parameters = inspect.signature(function).parameters.values()
        defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}

        @wraps(function)
        def run(**given: Value) -> Value:
            return numeric(function, defaults | given)

        return on_values(name)(run)

    return register


def numeric(function: Implementation, operands: Mapping[str, Value]) -> Value:
    """Call a function of numbers.

    Raises
    ------
    GraphError
        If an operand is no number; it is named.
    """
    ready, pixels, arrays, null = dict(operands), [], [], False
    for name, value in operands.items():
        if isinstance(value, np.ndarray | np.generic):
            ready[name] = floats(np.asarray(value))
            pixels.append(ready[name])
        elif isinstance(value, int | float):
            ready[name] = _float(name, value)
        elif isinstance(value, Labelled):
            ready[name] = value.values
            arrays.append(value)
        elif value is None:
            null = True
        else:
            raise not_a(name, "number", value)
    if arrays:
        return replace(arrays[0], values=np.asarray(numeric(function, ready)))
    if null:
        return nulls(pixels) if pixels else None
    with np.errstate(all="ignore"):
        if not pixels:
            made = function(**{name: np.float64(value) for name, value in ready.items()})
            return tidy(made, operands.values())
        found = function(**ready)
    dtype = pixels[0].dtype if len(pixels) == 1 else np.result_type(*pixels)
    return found if found.dtype == dtype else found.astype(dtype)


def _float(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise GraphError(
            f"argument {name!r} is too large for a number of 64 bits", fault="ProcessParameterInvalid"
        ) from None


def tidy(made: Value, operands: Iterable[Value]) -> Value:
    """A result of scalars as a scalar of JSON: an integer if all operands are integers and it is one."""
    scalar = made.item() if isinstance(made, np.generic | np.ndarray) else made
    whole = isinstance(scalar, float) and scalar.is_integer() and abs(scalar) < _EXACT
    if whole and all(isinstance(value, int) for value in operands):
        return int(scalar)
    return scalar


_EXACT = 2.0**53
"""Integers up to this are exact in 64-bit floating-point numbers."""


def nulls(pixels: Iterable[Values]) -> Values:
    """Null for each pixel of some arrays."""
    listed = list(pixels)
    shape = np.broadcast_shapes(*(each.shape for each in listed))
    return np.full(shape, np.nan, np.result_type(*listed, np.float32))


def not_a(name: str, wanted: str, value: Value) -> GraphError:
    """The fault of an argument that is of another kind than is wanted."""
    return GraphError(
        f"argument {name!r} must be {'an' if wanted[0] in 'aeio' else 'a'} {wanted}, and is {kind_of(value)}",
        hint="a reducer or array process makes one value of an array" if kind_of(value) == "an array" else None,
        fault="ProcessParameterInvalid",
    )


def kind_of(value: Value) -> str:
    """What a value is, for messages."""
    kinds: list[tuple[Any, str]] = [
        (type(None), "null"), (bool, "a boolean"), (str, "a text"), ((int, float), "a number"),
        ((np.ndarray, np.generic), "pixels"), ((list, tuple, Labelled), "an array"), (Mapping, "an object"),
    ]  # fmt: skip
    return next((words for types, words in kinds if isinstance(value, types)), f"a {type(value).__name__.lower()}")

"""Messages about what a graph computes."""

from __future__ import annotations

import numpy as np

from hpckit.processgraph.cube import NOTHING, Cube, Values
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Call, Value, on_cubes


@on_cubes("inspect")
def inspect(call: Call) -> Value:
    """Keep a message, and hand the data on: of cubes and arrays of pixels the message tells what they are."""
    found = call.cube("data") if call.is_cube("data") else call.value("data")
    if call.asked != NOTHING and np.size(found.values if isinstance(found, Cube | Labelled) else found):
        call.once(lambda: _logged(call, found))
    return found


def _logged(call: Call, found: Value) -> bool:
    level, code = call.value("level", "info"), call.value("code", "User")
    call.environment.log(level, code, call.value("message", ""), summary(found))
    return True


def summary(found: Value) -> Value:
    """What a log says of a value: JSON."""
    match found:
        case Cube():
            sizes = {dim.name: len(dim.labels) or None for dim in found.dims}
            if found.grid is not None:
                sizes |= {
                    dim.name: found.grid.shape["yx".index(dim.axis)] for dim in found.dims if dim.axis in ("x", "y")
                }
            return {"dimensions": sizes, "dtype": str(found.values.dtype), **_numbers(found.values)}
        case Labelled():
            return {"elements": len(found), "dtype": str(found.values.dtype), **_numbers(found.values)}
        case np.ndarray():
            return {"dtype": str(found.dtype), **_numbers(found)}
        case _:
            return found


def _numbers(values: Values) -> dict[str, Value]:
    if values.dtype.kind not in "fiub" or not values.size:
        return {"values": int(values.size)}
    valid = values[np.isfinite(values)]
    extremes = {"min": float(valid.min()), "max": float(valid.max())} if valid.size else {}
    return {"values": int(values.size), "valid": int(valid.size), **extremes}

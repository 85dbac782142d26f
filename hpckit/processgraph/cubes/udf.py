"""Code of users on cubes, and in callbacks."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Dimension, Values
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Call, Value, on_cubes
from hpckit.processgraph.taken import TAKEN, OwnLabels, Taken, sample_box
from hpckit.processgraph.usercode import UserCode

_NAMES: Final = {"temporal": "t", "bands": "bands"}
"""Of dimensions that an array has lost."""


@on_cubes("run_udf")
def run_udf(call: Call) -> Value:
    """Run code of a user.

    The code gets a cube: of a callback that which the process around it takes its arrays or values from. It sees the
    part of the plane that is computed at a time, with all labels of other dimensions.
    """
    code = UserCode(_code(call.value("udf")), call.value("runtime"), call.value("version"), call.value("context", {}))
    data, taken = call.value("data"), call.given(TAKEN)
    if isinstance(data, Cube):
        return _on_cube(call, code, taken)
    if not isinstance(data, Labelled | np.ndarray):
        try:
            numbers = np.asarray(data, float)
        except (TypeError, ValueError):
            raise GraphError("argument 'data' holds no numbers", fault="ProcessParameterInvalid") from None
        data = Labelled(numbers) if isinstance(data, list) else numbers
    values = data
    # Values have no parts: without keeping them, code would run for their type, and run again.
    return call.once(lambda: _on_values(call, code, values, taken))


def _on_cube(call: Call, code: UserCode, taken: Taken | None) -> Cube:
    data = call.cube("data")
    if taken is not None:
        code = replace(code, process=taken.process, dimension=taken.dimension)
        return call.environment.run_udf(code, data, taken.sample)
    return call.environment.run_udf(code, data, lambda: call.cube("data", sample_box(call.type_of("data"))))


def _on_values(call: Call, code: UserCode, data: Labelled | Values, taken: Taken | None) -> Value:
    """Values of a callback as a cube, and what code makes of it as values."""
    cube = None if taken is None else _cube_of(data, taken)
    if taken is None or cube is None:
        cube, name = _bare(data)
        process, sample = ("reduce_dimension" if name else "apply"), cube
        made = call.environment.run_udf(replace(code, process=process, dimension=name), cube, lambda: sample)
        return made.values
    code = replace(code, process=taken.process, dimension=taken.dimension)
    made = call.environment.run_udf(code, cube, taken.sample)
    if taken.dimension not in made.names or not taken.dimension:
        return made.values
    dim = made.dim(taken.dimension)
    return OwnLabels(made.moved(taken.dimension, 0).values, dim.labels or None, dim.kind)


def _cube_of(data: Labelled | Values, taken: Taken) -> Cube | None:
    """The cube of which some values are; None if they are not of the one that is known."""
    known = taken.cube
    if not isinstance(data, Labelled):
        return known.with_values(data) if data.shape == known.values.shape and not taken.dimension else None
    if not taken.dimension:
        return None
    first = known.moved(taken.dimension, 0)
    if data.values.shape[1:] != first.values.shape[1:]:
        return None
    dim = first.dims[0]
    if len(data) != first.values.shape[0]:
        dim = replace(dim, labels=data.labels or tuple(range(len(data))), bands=())
    found = first.with_values(data.values, (dim, *first.dims[1:]))
    return found.moved(taken.dimension, known.axis(taken.dimension))


def _bare(data: Labelled | Values) -> tuple[Cube, str]:
    """A cube of values of which nothing else is known, and the name of the array's dimension."""
    if not isinstance(data, Labelled):
        return Cube(data, tuple(_pixels(data.shape))), ""
    name = _NAMES.get(data.kind, "data")
    along = Dimension(name, data.kind, data.labels or tuple(range(len(data))))
    return Cube(data.values, (along, *_pixels(data.values.shape[1:]))), name


def _pixels(shape: tuple[int, ...]) -> list[Dimension]:
    return [Dimension(f"pixels{number}", "other", tuple(range(length))) for number, length in enumerate(shape)]


def _code(given: Any) -> str:
    """Source code; addresses and files are not read here."""
    if isinstance(given, str) and re.search(r"[\r\n]", given):
        return given
    what = "an address" if isinstance(given, str) and re.match("https?://", given) else "a file"
    raise GraphError(
        f"`udf` is {what}, which is not read here",
        hint="give the source code itself, of several lines; clients do so with UDF.from_file",
        fault="FileNotFound",
    )

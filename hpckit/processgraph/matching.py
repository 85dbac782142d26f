"""Whether an argument may be one by the schemas of its parameter, as far as that is known without data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from hpckit.processgraph.graph import Argument, FromNode, FromParameter
from hpckit.processgraph.mismatch import Mismatch
from hpckit.processgraph.schema import mismatch, nearest
from hpckit.processgraph.specs import Parameter, Schema, Specification

_CUBES: Final = frozenset({"datacube", "raster-cube", "vector-cube"})


def mismatches(
    argument: Argument, parameter: Parameter, returned: Callable[[FromNode], Specification | None]
) -> Iterator[str]:
    """Why an argument is none for a parameter; at most one sentence.

    Parameters
    ----------
    argument : Argument
        A reference has no type yet: only a data cube where none can be is a mismatch.
    parameter : Parameter
    returned : callable
        Specification of the process whose result a reference is to, where it is known.
    """
    if not parameter.schemas or isinstance(argument, FromParameter):
        return
    if argument is None and parameter.optional and parameter.default is None:
        return
    if isinstance(argument, FromNode):
        process = returned(argument)
        if process is not None and _gives_cube(process) and not any(map(_takes_cube, parameter.schemas)):
            wanted = nearest(None, [], list(parameter.schemas)).reason.removeprefix("null is not ")
            yield f"it is a data cube, from process {process.name!r}, not {wanted}"
        return
    found: list[Mismatch] = []
    for schema in parameter.schemas:
        fault = mismatch(argument, schema)
        if fault is None:
            return
        found.append(fault)
    yield str(nearest(argument, found, list(parameter.schemas)))


def _gives_cube(process: Specification) -> bool:
    returns = process.document.get("returns", {}).get("schema", {})
    schemas = returns if isinstance(returns, list) else [returns]
    return all(schema.get("subtype") in _CUBES for schema in schemas)


def _takes_cube(schema: Schema) -> bool:
    return schema.get("subtype") in _CUBES or "type" not in schema or schema.get("subtype") == "geojson"

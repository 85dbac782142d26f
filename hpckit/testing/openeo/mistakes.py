"""Official tests (of openeo-processes 98ae014) that are wrong themselves, and what was meant by misspelt ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from hpckit.testing.openeo.cases import Case

JSON = Any

_NO_REFERENCE: Final = "refers to parameters by `from_argument`, which openEO does not know"
MISTAKEN: Final[Mapping[str, str]] = {
    "all-8": "expects true for null alone without `ignore_nodata`; the example of the specification does not",
    "any-8": "expects false for null alone without `ignore_nodata`; the example of the specification does not",
    "array_append-0": "expects 1 where 0 is appended",
    **{f"array_apply-{number}": _NO_REFERENCE for number in range(9)},
    "array_element-3": "asks for label `BO2` with the letter O, and expects the element of `B02`",
    **{f"array_filter-{number}": f"{_NO_REFERENCE}, in `process` instead of `condition`" for number in range(7)},
    "array_find-6": "expects position 1 for the first of two elements",
    "array_modify-3": "expects an element to be removed with `length` left out, whose default is 0",
    "count-4": "gives the condition as bare nodes, with a parameter `element` instead of `x`",
    "count-5": "gives the condition as bare nodes, with a parameter `element` instead of `x`",
    "lte-15": "expects infinity not to be less than or equal to itself; gte-13 and IEEE 754 do not",
    "reduce_dimension-1": _NO_REFERENCE,
    "product-10": "expects NaN for -infinity times infinity, which is -infinity",
    "mask_polygon-0": "expects pixels outside to be replaced with `inside: true`; mask_polygon-6 and the text do not",
    "mask_polygon-1": "expects pixels outside to stay with `inside: false`; mask_polygon-3 and the text do not",
    "mask_polygon-6": "four pixels are expected to stay here, and also in mask_polygon-3, which masks all others",
}
"""Tests that contradict others of the same process or its specification, and why."""
_WRONG_RESULT: Final = frozenset(
    {"array_apply-8", "array_filter-0", "array_filter-3", "array_filter-4", "array_filter-5", "reduce_dimension-1"}
)
"""Whose results stay wrong when names are right: a sign, nodata that is a number, conditions that are none."""
_MISSPELT: Final = ("array_apply", "array_filter", "array_element", "count", "reduce_dimension")
_NAMES: Final = {"mulitply": "multiply", "BO2": "B02"}


def corrected(case: Case) -> Case | None:
    """What a test means whose names are misspelt; None of one that is right, or whose result is wrong."""
    if case.name not in MISTAKEN or case.name in _WRONG_RESULT or case.process not in _MISSPELT:
        return None
    document = _respelt(case.document, {})
    given = document["arguments"]
    if case.process == "array_filter":
        given["condition"] = given.pop("process")
    if case.process == "count":
        given["condition"] = {"process_graph": given["condition"]}
    return replace(case, document=document)


def _respelt(item: JSON, nodes: Mapping[str, JSON]) -> JSON:
    match item:
        case {"from_argument": name}:
            return {"from_node" if name in nodes else "from_parameter": name}
        case {"from_parameter": "element"}:
            return {"from_parameter": "x"}
        case {"process_graph": graph}:
            return {"process_graph": _respelt(graph, graph)}
        case Mapping():
            return {_NAMES.get(key, key): _respelt(inner, nodes) for key, inner in item.items()}
        case list():
            return [_respelt(inner, nodes) for inner in item]
        case str():
            return _NAMES.get(item, item)
        case _:
            return item

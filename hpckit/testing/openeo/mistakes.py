"""Official tests (of openeo-processes 98ae014) that are wrong themselves, and what was meant by misspelt ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from hpckit.testing.openeo.cases import Case

JSON = Any

_NO_REFERENCE: Final = "refers to parameters by `from_argument`, which openEO does not know"
_OTHER_MONTH: Final = "has intervals in January, of data in June"
_OTHER_NAME: Final = "expects the dimension `t2` to be called `t`"
_SHOULD_STAY: Final = "expects pixels to stay where the mask is 1; the text replaces them"
_NO_TARGET: Final = "gives the new labels in `source`, and no `target`"
MISTAKEN: Final[Mapping[str, str]] = {
    **{f"aggregate_temporal-{number}": _OTHER_MONTH for number in range(5, 9)},
    "aggregate_temporal-9": f"{_OTHER_MONTH}, and expects labels that are not given",
    "aggregate_temporal-10": "expects the median, and has a reducer for the mean",
    "aggregate_temporal_period-3": "expects four hours from midnight to four o'clock, with labels of days",
    "aggregate_temporal_period-4": "expects labels of hours for days",
    "aggregate_temporal_period-8": _OTHER_NAME,
    "aggregate_temporal_period-9": _OTHER_NAME,
    "apply-1": _NO_REFERENCE,
    "apply-2": "expects ten times 165 where the data have no value",
    "apply_dimension-1": "expects quantiles of 165 where the data have no value",
    "apply_dimension-2": "applies to a dimension `bands` of data without one",
    "filter_bands-4": "has the arguments of filter_bands-3, and expects other bands",
    "mask-0": _SHOULD_STAY,
    "mask-1": "needs a file that does not exist",
    "mask-2": _SHOULD_STAY,
    "merge_cubes-3": _NO_REFERENCE,
    "rename_dimension-3": "renames `x`, and expects `y` to be renamed",
    "rename_dimension-4": "renames `y`, and expects `x` to be renamed",
    "rename_dimension-5": "has a key `order: `",
    "rename_labels-5": _NO_TARGET,
    "rename_labels-7": _NO_TARGET,
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
    {
        "aggregate_temporal-9",
        "aggregate_temporal_period-3",
        "apply-2",
        "array_apply-8",
        "array_filter-0",
        "array_filter-3",
        "array_filter-4",
        "array_filter-5",
        "reduce_dimension-1",
    }
)
"""Whose results stay wrong when names are right: a sign, nodata that is a number, conditions that are none."""
_MISSPELT: Final = (
    "aggregate_temporal",
    "aggregate_temporal_period",
    "apply",
    "array_apply",
    "array_element",
    "array_filter",
    "count",
    "merge_cubes",
    "reduce_dimension",
    "rename_labels",
)
_NAMES: Final = {"mulitply": "multiply", "BO2": "B02"}
_OTHERS: Final[Mapping[str, Mapping[str, str]]] = {
    **{f"aggregate_temporal-{number}": {"2020-01": "2020-06"} for number in range(5, 9)},
    "aggregate_temporal-10": {"mean": "median"},
    "aggregate_temporal_period-4": {
        "2020-06-01-00": "2020-153",
        "2020-06-02-00": "2020-154",
        "2020-06-03-00": "2020-155",
        "2020-06-04-00": "2020-156",
    },
    "aggregate_temporal_period-8": {"t2": "t"},
    "aggregate_temporal_period-9": {"t2": "t"},
}
"""Of some tests what is to be put in place of what, at the beginning of names and texts."""


def corrected(case: Case) -> Case | None:
    """What a test means whose names are misspelt; None of one that is right, or whose result is wrong."""
    if case.name not in MISTAKEN or case.name in _WRONG_RESULT or case.process not in _MISSPELT:
        return None
    document = _respelt(case.document, {}, {**_NAMES, **_OTHERS.get(case.name, {})})
    given = document["arguments"]
    if case.process == "aggregate_temporal":
        document["delta"] = 0.006  # numbers are rounded to two digits
    if case.process == "rename_labels":
        given["target"] = given.pop("source")
    if case.process == "array_filter":
        given["condition"] = given.pop("process")
    if case.process == "count":
        given["condition"] = {"process_graph": given["condition"]}
    return replace(case, document=document)


def _respelt(item: JSON, nodes: Mapping[str, JSON], names: Mapping[str, str]) -> JSON:
    def name_of(text: str) -> str:
        for wrong, right in names.items():
            if text.startswith(wrong):
                return right + text[len(wrong) :]
        return text

    match item:
        case {"from_argument": name}:
            return {"from_node" if name in nodes else "from_parameter": name}
        case {"from_parameter": "element"}:
            return {"from_parameter": "x"}
        case {"process_graph": graph}:
            return {"process_graph": _respelt(graph, graph, names)}
        case Mapping():
            return {name_of(key): _respelt(inner, nodes, names) for key, inner in item.items()}
        case list():
            return [_respelt(inner, nodes, names) for inner in item]
        case str():
            return name_of(item)
        case _:
            return item

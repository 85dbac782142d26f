"""Bodies of requests: JSON objects, with fields of the right kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.joblog import LEVELS
from hpckit.serve.openeo.options import DESCRIBED

_LONGEST: Final = 100_000
_DEEPEST: Final = 200
_PLANS: Final = ("free",)


async def read_object(request: Request) -> dict[str, Any]:
    """The body, which must be a JSON object.

    Raises
    ------
    OpenEoError
        If it is none.
    """
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise OpenEoError("ContentTypeInvalid", "the body is no JSON") from None
    if not isinstance(found, dict) or _depth(found) > _DEEPEST:
        raise OpenEoError("ContentTypeInvalid", "the body is no JSON object, or one that is nested too deep")
    return found


def _depth(value: object) -> int:
    """How deep objects and lists are nested; counted in levels, since nesting may be deeper than calls can be."""
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        depth += 1
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
            if isinstance(item, (dict, list))
        ]
    return depth


def process_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """The process of a body.

    Raises
    ------
    OpenEoError
        If it has none, or one without a graph.
    """
    process = body.get("process")
    if not isinstance(process, dict):
        raise OpenEoError("ProcessGraphMissing", "the body has no `process` with a `process_graph`")
    if not isinstance(process.get("process_graph"), dict) or not process["process_graph"]:
        raise OpenEoError("ProcessGraphMissing", "`process` has no `process_graph`, or an empty one")
    return process


def metadata_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """Title, description, plan, budget and log level of a body, as far as it has them.

    Raises
    ------
    OpenEoError
        If one is of the wrong kind.
    """
    found: dict[str, Any] = {}
    for name in ("title", "description", "plan"):
        if name in body:
            found[name] = _text(name, body[name])
    if found.get("plan") not in (None, *_PLANS):
        raise OpenEoError("BillingPlanInvalid", f"there is no plan {found['plan']!r}", hint="leave `plan` out")
    if "budget" in body:
        budget = body["budget"]
        is_number = isinstance(budget, (int, float)) and not isinstance(budget, bool)
        if budget is not None and not (is_number and budget >= 0):
            raise OpenEoError("BudgetInvalid", "budget: write a number that is not negative, or null")
        found["budget"] = budget
    if body.get("log_level") is not None:
        if body["log_level"] not in LEVELS:
            raise OpenEoError("ParameterInvalid", f"log_level: write one of {', '.join(LEVELS)}")
        found["log_level"] = body["log_level"]
    return found


def options_in(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Options of a job: `job_options`, and processing parameters of API 1.3 beside `process`; None without any.

    Raises
    ------
    OpenEoError
        If they are no object.
    """
    given = body.get("job_options")
    if given is not None and not isinstance(given, dict):
        raise OpenEoError("ProcessingParameterInvalid", "job_options is no JSON object")
    beside = {name: body[name] for name in DESCRIBED if name in body}
    return {**beside, **(given or {})} if given is not None or beside else None


def _text(name: str, value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) <= _LONGEST):
        raise OpenEoError("ParameterInvalid", f"{name}: write a text of at most {_LONGEST} characters")
    return value

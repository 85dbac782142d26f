"""Options of formats: checked against their schemas, with defaults for those that were not given."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hpckit.errors import GraphError
from hpckit.reduce.graphs.formats.result import Format, Option, Options

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "string": str,
    "boolean": bool,
    "object": dict,
    "array": list,
    "integer": int,
    "number": (int, float),
}
PREFIX: Final = Option(
    "First part of the names of all files.",
    {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"},
    "openEO",
)
_REASONS: Final = {
    "filename_prefix": "it begins with a letter or digit, and has only letters, digits and . _ + - (at most 100)",
}


def checked(format: Format, given: Mapping[str, Any] | None) -> Options:
    """Options of a format with defaults.

    Raises
    ------
    GraphError
        `ProcessParameterInvalid` if one is unknown or has a wrong value.
    """
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise invalid("options must be an object", hint='such as {"filename_prefix": "ndvi"}')
    for name, value in given.items():
        if name not in format.options:
            raise invalid(f"format {format.name} has no option {name!r}", hint=nearest(name, format.options))
        if value is not None:
            _check(f"option {name} of format {format.name}", name, value, format.options[name].schema)
    return {
        name: option.default if given.get(name) is None else given[name] for name, option in format.options.items()
    }


def _check(where: str, name: str, value: Any, schema: Mapping[str, Any]) -> None:
    wanted = schema["type"]
    kinds = [wanted] if isinstance(wanted, str) else wanted
    fits = any(isinstance(value, _TYPES[kind]) for kind in kinds)
    if not fits or (isinstance(value, bool) and "boolean" not in kinds):
        raise invalid(f"{where} must be of type {' or '.join(kinds)}, not {value!r}")
    if "enum" in schema and value not in schema["enum"]:
        listed = ", ".join(map(str, schema["enum"]))
        raise invalid(f"{where} cannot be {value!r}", hint=f"it is one of {listed}")
    if "pattern" in schema and not re.fullmatch(schema["pattern"].strip("^$"), value):
        raise invalid(f"{where} cannot be {value!r}", hint=_REASONS.get(name))


def nearest(word: str, known: Iterable[str]) -> str:
    """Hint that names the most similar of the words that are known, or all of them."""
    known = list(known)
    similar = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), similar, n=1)
    if close:
        return f"did you mean {similar[close[0]]}?"
    return f"known are {', '.join(known)}" if known else "there are none"


def invalid(message: str, hint: str | None = None) -> GraphError:
    """An option with a wrong value."""
    return GraphError(message, hint=hint, fault="ProcessParameterInvalid")

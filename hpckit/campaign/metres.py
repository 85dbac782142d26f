"""Lengths in campaign files: a number of metres, with or without its unit."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

_LENGTH: Final = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*m?\s*")
_MOST_M: Final = 10_000


def parse_metres(value: Any) -> Any:
    """Metres of a text; what is no text is left to the model.

    >>> parse_metres("-5m"), parse_metres("2.5 m"), parse_metres(10)
    (-5.0, 2.5, 10)

    Raises
    ------
    ValueError
        If the text is no length in metres.
    """
    if not isinstance(value, str):
        return value
    match = _LENGTH.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is no length in metres; write it like -5m or 2.5m")
    return float(match[1])


Metres = Annotated[
    float,
    BeforeValidator(parse_metres, json_schema_input_type=float | str),
    Field(ge=-_MOST_M, le=_MOST_M),
]
"""`-5m`, `-5 m` or -5; at most 10 km."""

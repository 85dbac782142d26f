"""Texts; null is passed through."""

from __future__ import annotations

import math
from collections.abc import Callable

from hpckit.processgraph.process import Value, on_values
from hpckit.processgraph.values.elements import elements_of, items_of
from hpckit.processgraph.values.operands import is_number, is_pixels, not_a


@on_values("text_begins")
def text_begins(data: Value, pattern: Value, case_sensitive: bool = True) -> Value:
    """Whether a text begins with another one."""
    return _compared(str.startswith, data, pattern, case_sensitive)


@on_values("text_contains")
def text_contains(data: Value, pattern: Value, case_sensitive: bool = True) -> Value:
    """Whether a text contains another one."""
    return _compared(str.__contains__, data, pattern, case_sensitive)


@on_values("text_ends")
def text_ends(data: Value, pattern: Value, case_sensitive: bool = True) -> Value:
    """Whether a text ends with another one."""
    return _compared(str.endswith, data, pattern, case_sensitive)


@on_values("text_find")
def text_find(data: Value, pattern: Value, case_sensitive: bool = True) -> Value:
    """Where a text first contains another one, from 0; null if it does not."""
    found = _compared(str.find, data, pattern, case_sensitive)
    return None if found is None or found < 0 else found


@on_values("text_concat")
def text_concat(data: Value, separator: Value = "") -> Value:
    """All elements as one text, with a separator between them."""
    return _text(separator, "separator").join(_text(item, "data") for item in items_of(elements_of(data)))


def _compared(function: Callable[[str, str], Value], data: Value, pattern: Value, case_sensitive: bool) -> Value:
    if data is None:
        return None
    for name, text in (("data", data), ("pattern", pattern)):
        if not isinstance(text, str):
            raise not_a(name, "text", text)
    return function(data, pattern) if case_sensitive else function(_folded(data), _folded(pattern))


def _folded(text: str) -> str:
    """Without case, letter by letter, so that positions stay: ß is no ss here."""
    return "".join(lower if len(lower := letter.lower()) == 1 else letter for letter in text)


def _text(value: Value, name: str) -> str:
    if is_pixels(value) and not value.ndim:
        value = value.item()
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not is_number(value):
        raise not_a(name, "text, number or boolean", value)
    if not math.isfinite(value):
        return {math.inf: "infinity", -math.inf: "-infinity"}.get(value, "nan")
    return str(int(value)) if value == int(value) and abs(value) < _PLAIN else repr(value)


_PLAIN = 1e16
"""Above it a number is written with an exponent."""

"""Expressions over bands, such as `(B08 - B04) / (B08 + B04)`: parsed once, evaluated on arrays.

Only arithmetic and a few functions are allowed; nothing of Python's is reachable from the campaign file. A band may
carry a resolution, `B8A@20m`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.campaign import interval
from hpckit.campaign.interval import Range

_OPERATIONS: Final[dict[str, tuple[int, Callable[..., Any], Callable[..., Range]]]] = {
    "+": (2, np.add, interval.add),
    "-": (2, np.subtract, interval.subtract),
    "*": (2, np.multiply, interval.multiply),
    "/": (2, np.divide, interval.divide),
    "**": (2, np.power, interval.power),
    "abs": (1, np.abs, interval.absolute),
    "sqrt": (1, np.sqrt, interval.square_root),
    "log": (1, np.log, interval.logarithm),
    "exp": (1, np.exp, interval.exponential),
    "minimum": (2, np.minimum, interval.minimum),
    "maximum": (2, np.maximum, interval.maximum),
}
FUNCTIONS: Final = tuple(name for name in _OPERATIONS if name.isalpha())
_ALLOWED: Final = "numbers, bands, + - * / ** ( ) and " + ", ".join(FUNCTIONS)
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![A-Za-z0-9_.])"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]*(?:@\d+m\b)?)|(?P<sign>\*\*|[-+*/(),]))",
    re.ASCII,
)
_NO_BANDS: Final = ("true", "false", "none", "nan", "inf", "infinity")
_LONGEST: Final = 1000
"""Characters; bounds what nests in the tree, too."""
_DEEPEST: Final = 50
_GREATEST: Final = float(np.finfo(np.float32).max)


class ExpressionError(ValueError):
    """The text is no expression over bands."""


@dataclass(frozen=True, slots=True)
class _Number:
    value: float


@dataclass(frozen=True, slots=True)
class _Band:
    name: str


@dataclass(frozen=True, slots=True)
class _Applied:
    operation: str
    arguments: tuple[_Node, ...]


_Node = _Number | _Band | _Applied


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression."""

    text: str
    bands: frozenset[str]
    """Bands in it, as they are written: `B08`, `B8A@20m`."""
    _tree: _Node

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse `text`.

        Raises
        ------
        ExpressionError
            If it is anything but numbers, bands, `+ - * / **`, parentheses and abs, sqrt, log, exp,
            minimum, maximum; names no band; or has no value whatever the bands are.
        """
        parser = _Parser(text)
        tree = parser.whole()
        if not parser.bands:
            raise ExpressionError(f"{_shown(text)} names no band")
        return cls(text, frozenset(parser.bands), tree)

    def evaluate(self, values: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Value in float32 for arrays of equal shape; where it is undefined (x/0, log of 0), NaN.

        Parameters
        ----------
        values : mapping of str to ndarray of float32
            One array per band, in reflectance (or the band's own unit).
        """
        with np.errstate(all="ignore"):
            result = np.asarray(_evaluate(self._tree, values), dtype=np.float32)
        return np.where(np.isfinite(result), result, np.float32(np.nan))

    def bounds(self, ranges: Mapping[str, Range]) -> Range:
        """Range that its values provably stay in; infinite where nothing can be proved.

        Parameters
        ----------
        ranges : mapping of str to two floats
            Least and greatest value of each band.
        """
        return _bounds(self._tree, ranges)

    def renamed(self, names: Mapping[str, str]) -> str:
        """Text of it with other names of bands."""
        found = [(match.span("name"), match["name"]) for match in _TOKEN.finditer(self.text) if match["name"]]
        text = self.text
        for (start, end), name in reversed(found):
            text = text[:start] + names.get(name, name) + text[end:]
        return text


class _Parser:
    """Recursive descent over the tokens of a text; what can nest is counted."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise ExpressionError(f"{_shown(text)} has {len(text)} characters; an expression has {_LONGEST} at most")
        self.bands: set[str] = set()
        self._text = text
        self._tokens = [*_tokens(text), ("end", "")]
        self._place = 0
        self._depth = 0

    def whole(self) -> _Node:
        tree = self._sum()
        if self._kind != "end":
            raise self._unexpected()
        return tree

    @property
    def _kind(self) -> str:
        return self._tokens[self._place][0]

    @property
    def _word(self) -> str:
        return self._tokens[self._place][1]

    def _take(self, *words: str) -> str:
        """Pass over the next token if it is one of some signs; empty if it is not."""
        word = self._word
        if self._kind != "sign" or word not in words:
            return ""
        self._place += 1
        return word

    def _sum(self) -> _Node:
        left = self._product()
        while sign := self._take("+", "-"):
            left = self._apply(sign, left, self._product())
        return left

    def _product(self) -> _Node:
        left = self._signed()
        while sign := self._take("*", "/"):
            left = self._apply(sign, left, self._signed())
        return left

    def _signed(self) -> _Node:
        negative = False
        while sign := self._take("+", "-"):
            negative ^= sign == "-"
        power = self._power()
        return self._apply("*", _Number(-1.0), power) if negative else power

    def _power(self) -> _Node:
        base = self._atom()
        if not self._take("**"):
            return base
        return self._apply("**", base, self._nested(self._signed))

    def _atom(self) -> _Node:
        kind, word = self._tokens[self._place]
        if self._take("("):
            inner = self._nested(self._sum)
            self._require(")")
            return inner
        if kind not in ("number", "name"):
            raise self._unexpected()
        self._place += 1
        if kind == "number":
            return self._number(word)
        if word in FUNCTIONS:
            return self._call(word)
        if (self._kind == "sign" and self._word == "(") or word.lower() in _NO_BANDS:
            raise ExpressionError(f"{_shown(word)} is not allowed in an expression; allowed are {_ALLOWED}")
        self.bands.add(word)
        return _Band(word)

    def _number(self, word: str) -> _Node:
        value = float(word)
        if value > _GREATEST:
            raise ExpressionError(f"{_shown(word)} is too large a number")
        return _Number(value)

    def _call(self, name: str) -> _Node:
        self._require("(")
        arguments = [self._nested(self._sum)]
        while self._take(","):
            arguments.append(self._nested(self._sum))
        self._require(")")
        wanted = _OPERATIONS[name][0]
        if len(arguments) != wanted:
            raise ExpressionError(f"{name} takes {wanted} argument{'s' if wanted > 1 else ''}")
        return self._apply(name, *arguments)

    def _apply(self, operation: str, *arguments: _Node) -> _Node:
        """Node of an operation; of numbers alone, its result."""
        last = arguments[-1]
        if operation == "/" and isinstance(last, _Number) and np.float32(last.value) == 0:
            raise ExpressionError(f"{_shown(self._text)} divides by 0")
        numbers = [argument.value for argument in arguments if isinstance(argument, _Number)]
        if len(numbers) < len(arguments):
            return _Applied(operation, arguments)
        with np.errstate(all="ignore"):
            value = float(_OPERATIONS[operation][1](*map(np.float64, numbers)))
        if not abs(value) <= _GREATEST:
            raise ExpressionError(f"{_shown(self._text)} has a part without a value, or with one that is too large")
        return _Number(value)

    def _nested(self, rule: Callable[[], _Node]) -> _Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ExpressionError(f"{_shown(self._text)} is nested more than {_DEEPEST} deep")
        found = rule()
        self._depth -= 1
        return found

    def _require(self, sign: str) -> None:
        if not self._take(sign):
            raise self._unexpected()

    def _unexpected(self) -> ExpressionError:
        where = f"{self._word!r} is out of place" if self._kind != "end" else "it ends too early"
        return ExpressionError(f"{_shown(self._text)} is no arithmetic expression: {where}")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            rest = text[place:].split()
            raise ExpressionError(f"{_shown(rest[0])} is not allowed in an expression; allowed are {_ALLOWED}")
        yield str(match.lastgroup), match[str(match.lastgroup)]
        place = match.end()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _evaluate(node: _Node, values: Mapping[str, Any]) -> Any:
    match node:
        case _Number(value):
            return np.float32(value)
        case _Band(name):
            return values[name]
        case _Applied(operation, arguments):
            return _OPERATIONS[operation][1](*(_evaluate(argument, values) for argument in arguments))


def _bounds(node: _Node, ranges: Mapping[str, Range]) -> Range:
    match node:
        case _Number(value):
            return value, value
        case _Band(name):
            return ranges[name]
        case _Applied(operation, arguments):
            low, high = _OPERATIONS[operation][2](*(_bounds(argument, ranges) for argument in arguments))
            return (-math.inf, math.inf) if math.isnan(low) or math.isnan(high) else (low, high)

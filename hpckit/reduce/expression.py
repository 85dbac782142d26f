"""Expressions over bands, such as `(B08 - B04) / (B08 + B04)`: parsed once, evaluated on arrays.

Only arithmetic and a few functions are allowed; nothing of Python's is reachable from the campaign file.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
_FUNCTIONS: Final[dict[str, tuple[int, Callable[..., Any]]]] = {
    "abs": (1, np.abs),
    "sqrt": (1, np.sqrt),
    "log": (1, np.log),
    "exp": (1, np.exp),
    "minimum": (2, np.minimum),
    "maximum": (2, np.maximum),
}


class ExpressionError(ValueError):
    """The text is no expression over bands."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression."""

    text: str
    bands: frozenset[str]
    """Names of the bands in it."""
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse `text`.

        Raises
        ------
        ExpressionError
            If it is anything but numbers, bands, `+ - * / **`, parentheses and abs, sqrt, log, exp,
            minimum, maximum; or names no band.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ExpressionError(f"{text!r} is no arithmetic expression") from None
        bands = frozenset(_names(tree))
        if not bands:
            raise ExpressionError(f"{text!r} names no band")
        return cls(text, bands, tree)

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


def _names(node: ast.expr) -> set[str]:
    match node:
        case ast.Constant(value=bool()):
            raise ExpressionError("True and False are not allowed in an expression")
        case ast.Constant(value=int() | float()):
            return set()
        case ast.Name(id=name):
            return {name}
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _names(operand)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
            return _names(left) | _names(right)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            wanted = _FUNCTIONS[name][0]
            if len(arguments) != wanted:
                raise ExpressionError(f"{name} takes {wanted} argument{'s' if wanted > 1 else ''}")
            return set().union(*map(_names, arguments))
    allowed = "numbers, bands, + - * / ** ( ) and " + ", ".join(_FUNCTIONS)
    raise ExpressionError(f"{ast.unparse(node)!r} is not allowed in an expression; allowed are {allowed}")


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return np.float32(number)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=operator, operand=operand):
            inner = _evaluate(operand, values)
            return np.negative(inner) if isinstance(operator, ast.USub) else inner
        case ast.BinOp(left=left, op=operator, right=right):
            return _BINARY[type(operator)](_evaluate(left, values), _evaluate(right, values))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name][1](*(_evaluate(argument, values) for argument in arguments))
    raise AssertionError("parse() lets nothing else through")

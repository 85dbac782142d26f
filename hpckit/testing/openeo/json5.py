"""JSON5 as the tests of openEO's processes use it, read by way of JSON."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_TOKENS: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>[+-]?(?:Infinity|NaN|0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))
      | (?P<word>[A-Za-z_$][\w$]*)
      | (?P<mark>[{}\[\]:,])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS: Final = frozenset({"true", "false", "null"})


def loads(text: str) -> Any:
    """Read a document.

    Raises
    ------
    ValueError
        If it is none.
    """
    parts: list[str] = []
    place = 0
    while place < len(text):
        found = _TOKENS.match(text, place)
        if found is None:
            line = text.count("\n", 0, place) + 1
            raise ValueError(f"line {line} is no JSON5: {text[place : place + 20]!r}")
        place = found.end()
        token = found.group()
        match found.lastgroup:
            case "text":
                parts.append(_text(token))
            case "number":
                parts.append(_number(token))
            case "word":
                parts.append(token if token in _WORDS else json.dumps(token))
            case "mark":
                if token in "}]" and parts and parts[-1] == ",":
                    parts.pop()
                parts.append(token)
    return json.loads("".join(parts))


def _text(token: str) -> str:
    if token.startswith('"'):
        return token.replace("\\\n", "")
    inner = token[1:-1].replace("\\'", "'").replace("\\\n", "")
    return '"' + re.sub(r'(?<!\\)"', r"\"", inner) + '"'


def _number(token: str) -> str:
    token = token.removeprefix("+")
    if token.lower().lstrip("-").startswith("0x"):
        return str(int(token, 16))
    if token.endswith("NaN"):
        return "NaN"
    token = re.sub(r"^(-?)\.", r"\g<1>0.", token)
    return re.sub(r"\.(?=$|[eE])", ".0", token)

"""YAML as plain values with their lines: text, numbers, booleans, lists, mappings, and nothing that becomes costly.

A file is refused if it is large, deep, or grows by aliases; so are tags other than YAML's own plain ones, lists as
field names, and numbers that are none. Dates stay text. One pass over the events of ruamel's parser.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode

MOST_BYTES: Final = 2**20
_MOST_VALUES: Final = 100_000
"""Of the whole file, aliases counted as what they stand for."""
_DEEPEST: Final = 40
_LONGEST_NUMBER: Final = 40
_CORE: Final = "tag:yaml.org,2002:"
_SCALARS: Final = ("str", "int", "float", "bool", "null")
_TEXT: Final = frozenset(f"{_CORE}{name}" for name in ("str", "timestamp", "value", "merge"))

Lines = dict[tuple[str | int, ...], int]
"""Line in the file, counted from 1, by the location of a field."""


class YamlTextError(ValueError):
    """What is wrong with a text, and in which line."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class _Node:
    """A value, with the lines of what is in it."""

    line: int
    value: Any
    """A scalar, a list of nodes, or a mapping of text to nodes."""
    size: int = 1
    height: int = 0
    key_lines: dict[str, int] = field(default_factory=dict)


def read_yaml(text: str) -> tuple[Any, Lines]:
    """Plain values of a YAML text, and the line of each field.

    Raises
    ------
    YamlTextError
        If it is no YAML, or holds what no file of hpckit needs.
    """
    if len(text) > MOST_BYTES:
        raise YamlTextError(f"too large: more than {MOST_BYTES // 2**20} MiB")
    try:
        node = _Reader(text).document()
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        raise YamlTextError(f"not valid YAML: {fault.problem}", mark.line + 1 if mark else None) from None
    except YAMLError as fault:
        position = getattr(fault, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
        raise YamlTextError(f"not valid YAML: {getattr(fault, 'reason', 'it cannot be read')}", line) from None
    lines: Lines = {}
    _collect_lines(node, (), lines)
    return _plain(node), lines


class _Reader:
    """Builds nodes from the events of one document."""

    def __init__(self, text: str) -> None:
        self._yaml = YAML(typ="safe", pure=True)
        self._events = self._parse(text)
        self._anchors: dict[str, _Node] = {}
        self._size = 0

    def document(self) -> _Node:
        """The only document of the text; null if there is none."""
        node = None
        for event in self._events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent" and node is not None:
                raise YamlTextError("a second document begins; a file holds one", _line(event))
            if kind in ("ScalarEvent", "AliasEvent", "SequenceStartEvent", "MappingStartEvent"):
                node = self._node(event, 0)
        return node or _Node(1, None)

    def _parse(self, text: str) -> Iterator[Any]:
        try:
            yield from self._yaml.parse(text)
        except (ValueError, OverflowError, TypeError, AttributeError, IndexError, AssertionError) as error:
            # ruamel's own faults with escapes and directives that make no sense.
            raise YamlTextError(f"not valid YAML: {type(error).__name__} in the parser") from None

    def _node(self, event: Any, depth: int) -> _Node:
        if depth > _DEEPEST:
            raise YamlTextError(f"nested more than {_DEEPEST} deep", _line(event))
        kind = type(event).__name__
        if kind == "AliasEvent":
            node = self._alias(event)
        elif kind == "ScalarEvent":
            node = _Node(_line(event), self._scalar(event))
        elif kind == "SequenceStartEvent":
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if kind in ("AliasEvent", "ScalarEvent"):
            self._count(node.size, event)
        if depth + node.height > _DEEPEST:
            raise YamlTextError(f"nested more than {_DEEPEST} deep", _line(event))
        if event.anchor and kind != "AliasEvent":
            self._anchors[event.anchor] = node
        return node

    def _count(self, size: int, event: Any) -> None:
        self._size += size
        if self._size > _MOST_VALUES:
            raise YamlTextError(f"more than {_MOST_VALUES} values, counting what aliases stand for", _line(event))

    def _alias(self, event: Any) -> _Node:
        if event.anchor not in self._anchors:
            raise YamlTextError(f"the alias *{event.anchor} stands for nothing before it", _line(event))
        return self._anchors[event.anchor]

    def _sequence(self, event: Any, depth: int) -> _Node:
        _require_tag(event, "seq")
        self._count(1, event)
        items: list[_Node] = []
        for inner in self._events:
            if type(inner).__name__ == "SequenceEndEvent":
                break
            items.append(self._node(inner, depth + 1))
        height = 1 + max((item.height for item in items), default=0)
        return _Node(_line(event), items, 1 + sum(item.size for item in items), height)

    def _mapping(self, event: Any, depth: int) -> _Node:
        _require_tag(event, "map")
        self._count(1, event)
        node = _Node(_line(event), {}, height=1)
        merged: list[_Node] = []
        for inner in self._events:
            if type(inner).__name__ == "MappingEndEvent":
                break
            key = self._key(inner)
            value = self._node(next(self._events), depth + 1)
            node.size += 1 + value.size
            node.height = max(node.height, 1 + value.height)
            if key == "<<" and inner.implicit[0] and not inner.style:
                merged += _merged(value)
            elif key in node.value:
                raise YamlTextError(f"not valid YAML: the field {key!r} stands here twice", _line(inner))
            else:
                node.value[key], node.key_lines[key] = value, _line(inner)
        for other in merged:
            for key, value in other.value.items():
                node.value.setdefault(key, value)
                node.key_lines.setdefault(key, other.key_lines[key])
        return node

    def _key(self, event: Any) -> str:
        if type(event).__name__ == "AliasEvent" and isinstance(self._alias(event).value, str):
            return str(self._alias(event).value)
        if type(event).__name__ != "ScalarEvent":
            raise YamlTextError("a list or mapping cannot be the name of a field", _line(event))
        _require_tag(event, *_SCALARS)
        if event.anchor:
            self._anchors[event.anchor] = _Node(_line(event), event.value)
        return str(event.value)

    def _scalar(self, event: Any) -> Any:
        _require_tag(event, *_SCALARS)
        tag = _tag(event) or str(self._yaml.resolver.resolve(ScalarNode, event.value, event.implicit))
        if tag in _TEXT:
            return event.value
        node = ScalarNode(tag, event.value, start_mark=event.start_mark, end_mark=event.end_mark)
        try:
            return _finite(self._construct(tag.removeprefix(_CORE), node))
        except (ValueError, KeyError, IndexError, OverflowError) as error:
            reason = (
                str(error) if isinstance(error, YamlTextError) else f"{event.value[:40]!r} is no {tag[len(_CORE) :]}"
            )
            raise YamlTextError(reason, _line(event)) from None

    def _construct(self, kind: str, node: ScalarNode) -> Any:
        if kind in ("int", "float") and len(node.value) > _LONGEST_NUMBER:
            raise YamlTextError(f"a number of {len(node.value)} digits; put text into quotes")
        return getattr(self._yaml.constructor, f"construct_yaml_{kind}")(node)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _tag(event: Any) -> str | None:
    tag = event.ctag if hasattr(event, "ctag") else event.tag
    return None if tag is None or str(tag) in ("None", "!") else str(tag)


def _require_tag(event: Any, *kinds: str) -> None:
    tag = _tag(event)
    if tag is not None and tag not in [f"{_CORE}{kind}" for kind in kinds]:
        shown = tag.replace(_CORE, "!!")
        raise YamlTextError(f"the tag {shown} is not read here; write the value without it", _line(event))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise YamlTextError(f"{value} is no number that any field takes")
    return value


def _merged(value: _Node) -> list[_Node]:
    """Mappings that `<<` brings in, the first of which wins."""
    given = value.value if isinstance(value.value, list) else [value]
    if not all(isinstance(item.value, dict) for item in given):
        raise YamlTextError("<< takes a mapping, or a list of them", value.line)
    return given


def _plain(node: _Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(value) for key, value in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(value) for value in node.value]
    return node.value


def _collect_lines(node: _Node, location: tuple[str | int, ...], lines: Lines) -> None:
    if isinstance(node.value, dict):
        for key, value in node.value.items():
            lines[(*location, key)] = node.key_lines[key]
            _collect_lines(value, (*location, key), lines)
    elif isinstance(node.value, list):
        for position, value in enumerate(node.value):
            lines[(*location, position)] = value.line
            _collect_lines(value, (*location, position), lines)

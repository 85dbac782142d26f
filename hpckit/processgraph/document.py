"""Process graphs as JSON: what is found in a document, and in which order nodes stand, without what processes are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from hpckit.errors import GraphError
from hpckit.processgraph.graph import ConstantObject

JSON = Any
Document = Mapping[str, JSON]

_MOST_BYTES: Final = 16 * 1024 * 1024
MOST_NODES: Final = 2_000
MOST_GRAPHS_NESTED: Final = 32
_DEEPEST: Final = 200
"""Of lists and objects in each other: graphs that are nested take four each."""
LARGE: Final = 256
"""Features of a collection that is looked at once, and not again wherever it stands."""
_REFERENCES: Final = frozenset({"from_node", "from_parameter", "process_graph"})


def load(text: str | bytes) -> JSON:
    """Read JSON.

    Raises
    ------
    GraphError
        If it is none, or more than 16 MB.
    """
    if len(text) > _MOST_BYTES:
        raise GraphError(
            f"the process graph has {len(text) / 2**20:.1f} MB",
            hint="at most 16 MB are read: put large geometries into a file",
            fault="ProcessGraphComplexity",
        )
    try:
        return json.loads(text, object_hook=_constant)
    except (ValueError, RecursionError) as cause:
        reason = "it is nested too deeply" if isinstance(cause, RecursionError) else str(cause)
        raise GraphError(f"the process graph is no JSON: {reason}", fault="ProcessGraphInvalid") from None


def _constant(item: dict[str, JSON]) -> dict[str, JSON]:
    """Many features as one constant, if nothing in them refers to anything or is nested too deeply."""
    features = item.get("features")
    if item.get("type") != "FeatureCollection" or not isinstance(features, list) or len(features) < LARGE:
        return item
    return ConstantObject(item) if _is_plain(item, _DEEPEST // 2) else item


def _is_plain(value: list[JSON] | dict[str, JSON], levels: int) -> bool:
    """Whether a list or an object refers to nothing, and has so many levels of lists and objects at most."""
    if levels == 0:
        return False
    items: Iterable[JSON] = value
    if isinstance(value, dict):
        if not _REFERENCES.isdisjoint(value):
            return False
        items = value.values()
    return all(_is_plain(each, levels - 1) for each in items if isinstance(each, (list, dict)))


def split(document: JSON) -> tuple[JSON, Document]:
    """A process, and the processes of its user that stand beside it as `user_defined`.

    Raises
    ------
    GraphError
        If it is no JSON.
    """
    known = load(document) if isinstance(document, str | bytes) else document
    if isinstance(known, Mapping) and isinstance(known.get("user_defined"), Mapping):
        return {name: item for name, item in known.items() if name != "user_defined"}, known["user_defined"]
    return known, {}


def graph_in(document: JSON) -> Document:
    """The nodes in a bare graph, in a process, or in a body of `POST /jobs` or `/result`.

    Raises
    ------
    GraphError
        If there are none (`ProcessGraphMissing`), or if lists and objects are nested too deeply.
    """
    if _depth(document) > _DEEPEST:
        raise GraphError(
            f"the process graph is nested more than {_DEEPEST} lists and objects deep", fault="ProcessGraphComplexity"
        )
    if not isinstance(document, Mapping):
        raise GraphError(f"a process graph is an object of nodes, not {shown(document)}", fault="ProcessGraphMissing")
    graph = process_in(document).get("process_graph")
    if not isinstance(graph, Mapping) or not graph:
        raise GraphError(
            "there is no process graph",
            hint='give nodes, {"process_graph": {…}}, or {"process": {"process_graph": {…}}}',
            fault="ProcessGraphMissing",
        )
    return graph


def process_in(document: Document) -> Document:
    """The process (`process_graph`, and maybe `parameters`) in a document; a bare graph is made one."""
    inner = document.get("process")
    if isinstance(inner, Mapping) and "process_graph" in inner:
        return inner
    if "process_graph" in document or not any(is_node(item) for item in document.values()):
        return document
    return {"process_graph": document}


def with_parameters(document: Document, values: Mapping[str, JSON]) -> Document:
    """A document whose process has other values of its parameters.

    Raises
    ------
    GraphError
        `ProcessParameterUnsupported` if the process has no parameter of a name.
    """
    process = process_in(document)
    declared = process.get("parameters")
    known = [dict(each) for each in declared if isinstance(each, Mapping)] if isinstance(declared, list) else []
    names = [str(each.get("name")) for each in known]
    for name in values:
        if name not in names:
            raise GraphError(
                f"the process has no parameter {name!r}",
                hint=f"it has {', '.join(names) or 'none'}",
                fault="ProcessParameterUnsupported",
            )
    made = [
        each | ({"default": values[name], "optional": True} if name in values else {})
        for each, name in zip(known, names, strict=True)
    ]
    changed = {**process, "parameters": made}
    return {**document, "process": changed} if process is document.get("process") else changed


def is_node(item: JSON) -> bool:
    """Whether it looks like a node of a graph."""
    return isinstance(item, Mapping) and "process_id" in item


def refers(item: JSON) -> bool:
    """Whether something in it may refer to nodes or parameters; geometries of megabytes are searched as text."""
    if isinstance(item, ConstantObject):
        return False
    try:
        text = json.dumps(item)
    except (TypeError, ValueError):
        return True
    return any(f'"{name}"' in text for name in _REFERENCES)


def node_references(item: JSON) -> Iterator[str]:
    """Nodes whose results an argument takes; child processes have nodes of their own."""
    within: Iterable[JSON] = ()
    if isinstance(item, Mapping):
        if isinstance(item.get("from_node"), str):
            yield item["from_node"]
        elif "process_graph" not in item:
            within = item.values()
    elif isinstance(item, list):
        within = item
    for inner in within:
        if isinstance(inner, list | Mapping) and refers(inner):
            yield from node_references(inner)


def order(graph: Document) -> tuple[list[str], list[str]]:
    """Nodes in an order in which each stands behind those that it takes results from, and those in cycles."""
    waits = {
        name: {used for used in node_references(node.get("arguments")) if used in graph}
        for name, node in graph.items()
        if isinstance(node, Mapping)
    }
    followers: dict[str, list[str]] = {name: [] for name in waits}
    for name, used in waits.items():
        for other in used:
            if other in followers:
                followers[other].append(name)
    left = {name: len(used & set(waits)) for name, used in waits.items()}
    ready = [name for name, count in left.items() if not count]
    for name in ready:
        for follower in followers[name]:
            left[follower] -= 1
            if not left[follower]:
                ready.append(follower)
    return ready, sorted(_in_cycle(waits, {name for name in waits if left[name]}))


def _in_cycle(waits: Mapping[str, set[str]], stuck: set[str]) -> set[str]:
    """Of nodes that no order reaches, those in cycles: the others only stand behind one."""
    while True:
        used = {other for name in stuck for other in waits[name]}
        if stuck <= used:
            return stuck
        stuck &= used


def closest(word: str, known: Iterator[str] | list[str]) -> str | None:
    """The nearest name, as a hint."""
    found = get_close_matches(str(word), list(known), n=1)
    return f"did you mean {found[0]!r}?" if found else None


def shown(value: JSON, longest: int = 60) -> str:
    """A value in a sentence."""
    text = json.dumps(value, default=str, ensure_ascii=False) if not isinstance(value, str) else repr(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _depth(item: JSON) -> int:
    deepest, stack = 0, [(item, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, ConstantObject):
            continue  # looked at when it was read
        if not isinstance(item, list | Mapping):
            deepest = max(deepest, depth)
            continue
        deepest = max(deepest, depth + 1 if item else depth)
        if deepest > _DEEPEST:
            break
        within = item if isinstance(item, list) else item.values()
        # Numbers of geometries are millions, and no deeper than this.
        stack += [(inner, depth + 1) for inner in within if not isinstance(inner, str | float | int)]
    return deepest

"""What the name of a process means: one of ours, or one that a user defined."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hpckit.errors import GraphError
from hpckit.processgraph.document import Document, closest, graph_in, process_in, shown
from hpckit.processgraph.process import processes
from hpckit.processgraph.specs import Parameter, Specification, specification

JSON = Any


@dataclass(frozen=True, slots=True)
class Callee:
    """What a node calls.

    Parameters
    ----------
    known : Specification, optional
        None of a process that is there without a specification.
    graph : Document, optional
        Of a user-defined process.
    key : str
        Of a user-defined process among all of them.
    """

    known: Specification | None
    graph: Document | None = None
    key: str = ""

    def parameter(self, name: str) -> Parameter | None:
        """One of its parameters; None if there is none of that name, or if that is unknown."""
        return None if self.known is None else self.known.parameters.get(name)


def callee(process: str, namespace: JSON, user_defined: Mapping[str, JSON], inside: Collection[str]) -> Callee:
    """Find a process.

    Parameters
    ----------
    process, namespace : str
        As in a node. Without a namespace a process of the user comes first, then one of ours.
    user_defined : mapping of str to JSON
        Processes of the user by name, and those of other servers by `URL#name`.
    inside : collection of str
        User-defined processes in whose graphs the node stands. A process may be named as one of ours that it calls.

    Raises
    ------
    GraphError
        `ProcessUnsupported` if there is none; `ProcessGraphInvalid` if it calls itself.
    """
    if namespace in (None, ""):
        own = process in user_defined and process not in inside
        if own or (process not in processes() and process in inside):
            return _of_user(process, user_defined, inside)
        return _ours(process, [*processes(), *user_defined])
    if namespace == "backend":
        return _ours(process, list(processes()))
    key = process if namespace == "user" else f"{namespace}#{process}"
    if key not in user_defined:
        raise GraphError(
            f"there is no process {process!r} in namespace {shown(namespace)}",
            hint=closest(process, list(user_defined)) if namespace == "user" else "leave `namespace` out",
            fault="ProcessUnsupported",
        )
    return _of_user(key, user_defined, inside)


def _ours(process: str, names: list[str]) -> Callee:
    if process not in processes():
        known = specification(process) is not None
        raise GraphError(
            f"process {process!r} of openEO is not supported" if known else f"there is no process {process!r}",
            hint=None if known else closest(process, names),
            fault="ProcessUnsupported",
        )
    return Callee(specification(process))


def _of_user(key: str, user_defined: Mapping[str, JSON], inside: Collection[str]) -> Callee:
    if key in inside:
        raise GraphError(f"user-defined process {key!r} calls itself", fault="ProcessGraphInvalid")
    document = user_defined[key]
    try:
        graph = graph_in(document)
        return Callee(Specification.of(process_in(document), key), graph, key)
    except GraphError as fault:
        raise GraphError(
            f"user-defined process {key!r}: {fault.message}", hint=fault.hint, fault=fault.fault
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError):
        raise GraphError(
            f"user-defined process {key!r}: `parameters` is a list of objects with `name` and `schema`",
            fault="ProcessGraphInvalid",
        ) from None

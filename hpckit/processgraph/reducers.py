"""Reducers that kernels know: found in the graph of a callback, computed for all geometries at once.

Of a callback such as `array_create([mean(data), sd(data)])` the nodes `mean` and `sd` are computed by kernels, and
the rest of the graph once for all geometries, each of which is a pixel to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import Values
from hpckit.processgraph.graph import Argument, ChildGraph, FromNode, FromParameter, Graph, Node, free_parameters
from hpckit.processgraph.kernels.zonal import STATISTICS, reduce_zones
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Callback, Value

_PLAIN: Final = {"sum", "mean", "variance", "sd", "min", "max", "product", "first", "last", "median"}
_OTHERS: Final = {"count", "quantiles", "extrema"}
_PREFIX: Final = "reduced:"
"""Of parameters that stand for nodes; no user can give this name to one."""


@dataclass(frozen=True, slots=True)
class _Reducer:
    """One call of a reducer with all values."""

    name: str
    ignores_null: bool
    fractions: tuple[float, ...]
    """Of quantiles."""


@dataclass(frozen=True)
class Fast:
    """A callback all of whose uses of `data` are reducers that kernels know."""

    callback: Callback
    reducers: Mapping[str, _Reducer]
    """By the node of the callback's graph."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of several results, if the graph shows them: of `array_create` of reducers, and of quantiles."""
        graph = self.callback.graph
        if graph.result in self.reducers:
            return _names(self.reducers[graph.result])
        node = graph.nodes[graph.result]
        items = node.arguments.get("data")
        if node.process != "array_create" or node.arguments.get("repeat", 1) not in (1, None):
            return None
        if not isinstance(items, list | tuple) or not items:
            return None
        known = [self.reducers.get(item.node) if isinstance(item, FromNode) else None for item in items]
        names = [each.name for each in known if each is not None and _names(each) is None]
        return tuple(names) if len(names) == len(items) == len(set(names)) else None

    def __call__(self, values: Values, offsets: npt.NDArray[np.int64], context: Value) -> Value:
        """Results of all geometries.

        Parameters
        ----------
        values : ndarray of float32 or float64, shape (layers, entries)
        offsets : ndarray of int64, shape (geometries + 1,)

        Returns
        -------
        ndarray, shape (geometries, layers); Labelled of these if there are several; or a constant
        """
        fractions = sorted({part for reducer in self.reducers.values() for part in reducer.fractions})
        found = reduce_zones(values, offsets, np.array(fractions, dtype=np.float64))
        complete = found[:, :, 0] == np.diff(offsets)[:, None]
        results = {
            name: self._result(reducer, found, fractions, complete, values, offsets)
            for name, reducer in self.reducers.items()
        }
        graph = self.callback.graph
        if graph.result in results:
            return results[graph.result]
        known = {_PREFIX + name: result for name, result in results.items()}
        return self.callback.over(_without(graph, self.reducers))(**known, context=context)

    @staticmethod
    def _result(
        reducer: _Reducer,
        found: npt.NDArray[np.float64],
        fractions: list[float],
        complete: npt.NDArray[np.bool_],
        values: Values,
        offsets: npt.NDArray[np.int64],
    ) -> Values | Labelled:
        parts = [len(STATISTICS) + fractions.index(fraction) for fraction in reducer.fractions]
        match reducer.name:
            case "quantiles" | "extrema":
                places = parts if reducer.name == "quantiles" else [STATISTICS.index("min"), STATISTICS.index("max")]
                several = np.stack([found[:, :, place] for place in places])
                return Labelled(several if reducer.ignores_null else np.where(complete, several, np.nan))
            case "median":
                result = found[:, :, parts[0]]
            case "sd":
                result = np.sqrt(found[:, :, STATISTICS.index("variance")])
            case "count all":
                return np.broadcast_to(np.diff(offsets)[:, None].astype(np.float64), complete.shape)
            case "first" | "last" if not reducer.ignores_null:
                return _ends(values, offsets, reducer.name)
            case name:
                result = found[:, :, STATISTICS.index(name)]
        return result if reducer.ignores_null else np.where(complete, result, np.nan)


def fast(callback: Callback) -> Fast | None:
    """The way by kernels for a callback; None if some node takes `data` that is no reducer that they know."""
    graph = callback.graph
    reducers = {name: known for name, node in graph.nodes.items() if (known := _reducer(node)) is not None}
    left = [node.arguments for name, node in graph.nodes.items() if name not in reducers]
    return None if any("data" in free_parameters(given) for given in left) else Fast(callback, reducers)


def _names(reducer: _Reducer) -> tuple[str, ...] | None:
    """Names of the several results of a reducer; None if there is one."""
    match reducer.name:
        case "extrema":
            return "min", "max"
        case "quantiles":
            return tuple(f"q{fraction:g}" for fraction in reducer.fractions)
    return None


def _reducer(node: Node) -> _Reducer | None:
    arguments = {name: given for name, given in node.arguments.items() if given is not None and name != "context"}
    if node.process not in _PLAIN | _OTHERS or arguments.pop("data", None) != FromParameter("data"):
        return None
    if node.process == "count":
        condition = arguments.pop("condition", False)
        name = {False: "count", True: "count all"}.get(condition) if isinstance(condition, bool) else None
        return None if arguments or name is None else _Reducer(name, True, ())
    ignores_null = arguments.pop("ignore_nodata", True)
    fractions: tuple[float, ...] = (0.5,) if node.process == "median" else ()
    if node.process == "quantiles":
        given = _fractions(arguments.pop("probabilities", None), arguments.pop("q", None))
        if given is None:
            return None
        fractions = given
    if arguments or not isinstance(ignores_null, bool):
        return None
    return _Reducer(node.process, ignores_null, fractions)


def _fractions(probabilities: Argument, q: Argument) -> tuple[float, ...] | None:
    """Probabilities of quantiles; None if they are wrong or not known here: then the process itself sees them."""
    if (probabilities is None) == (q is None):
        return None
    given = q if probabilities is None else probabilities
    if isinstance(given, int) and not isinstance(given, bool):
        return tuple(part / given for part in range(1, given)) if given > 1 else None
    if not isinstance(given, list) or not all(isinstance(each, int | float) for each in given):
        return None
    sound = bool(given) and sorted(given) == given and given[0] >= 0 and given[-1] <= 1
    return tuple(map(float, given)) if sound else None


def _without(graph: Graph, known: Mapping[str, Any]) -> Graph:
    """A graph in which parameters stand for some of the nodes."""
    nodes = {
        name: replace(node, arguments=_put_in(node.arguments, known))
        for name, node in graph.nodes.items()
        if name not in known
    }
    return replace(graph, nodes=nodes)


def _put_in(argument: Argument, known: Mapping[str, Any]) -> Argument:
    match argument:
        case FromNode(name) if name in known:
            return FromParameter(_PREFIX + name)
        case ChildGraph(graph=child):
            return replace(argument, graph=replace(child, parameters=_put_in(child.parameters, known)))
        case Mapping():
            return {key: _put_in(item, known) for key, item in argument.items()}
        case list() | tuple():
            return [_put_in(item, known) for item in argument]
    return argument


def _ends(values: Values, offsets: npt.NDArray[np.int64], name: str) -> Values:
    """First or last values, null or not."""
    there = np.diff(offsets) > 0
    result = np.full((len(there), len(values)), np.nan)
    places = (offsets[:-1] if name == "first" else offsets[1:] - 1)[there]
    result[there] = values[:, places].T
    return result

"""Process graphs from JSON: what is read, what is refused, and that all faults are told at once."""

from __future__ import annotations

import copy
import json
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.errors import GraphError
from hpckit.processgraph import process as registry
from hpckit.processgraph.document import MOST_NODES
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import ChildGraph, FromNode, FromParameter, Graph, references
from hpckit.processgraph.parse import faults, parse, read
from hpckit.processgraph.process import Process, processes
from hpckit.testing.graphs import GRID, MemoryEnvironment, bands, raster, times

JSON = Any


def _sum(data: Any, ignore_nodata: bool = True) -> Any:
    return np.asarray(getattr(data, "values", data), dtype=float).sum(axis=0)


def _of_numbers(run: Any) -> Any:
    """A process of numbers: null in, null out."""

    def process(**given: Any) -> Any:
        return None if any(value is None for value in given.values()) else run(*given.values())

    return process


MADE_UP = {
    "add": _of_numbers(operator.add),
    "multiply": _of_numbers(operator.mul),
    "absolute": _of_numbers(abs),
    "sum": _sum,
}


@pytest.fixture(autouse=True, scope="module")
def few_processes():
    """Processes of values, where the real ones are not there."""
    known = dict(processes())
    for name, run in MADE_UP.items():
        known.setdefault(name, Process(name, run, "values"))
    known.setdefault("load_collection", Process("load_collection", _load, "cubes"))
    known.setdefault("array_apply", Process("array_apply", lambda **_: None, "values"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_KNOWN", known)
        yield


def _load(call):
    source = call.environment.load_collection(call.value("id"), registry.Request())
    return (
        source.type if call.asked is not None and getattr(call.asked, "is_empty", False) else source.read(call.asked)
    )


def environment():
    values = np.arange(2 * 3 * GRID.rows * GRID.columns, dtype=np.float32).reshape(2, 3, GRID.rows, GRID.columns)
    cube = raster(
        values, times("2024-03-01T00:00:00Z", "2024-03-11T00:00:00Z"), bands(B02="blue", B03="green", B04="red")
    )
    return MemoryEnvironment({"S2": cube})


def node(process: str, result: bool = False, /, **arguments: JSON) -> dict[str, JSON]:
    return {"process_id": process, "arguments": arguments} | ({"result": True} if result else {})


def parameter(name: str) -> dict[str, str]:
    return {"from_parameter": name}


def result_of(name: str) -> dict[str, str]:
    return {"from_node": name}


LOAD = node("load_collection", id="S2", spatial_extent=None, temporal_extent=None)


def reduced(dimension: str = "t") -> dict[str, JSON]:
    reducer = {"process_graph": {"s": node("sum", True, data=parameter("data"))}}
    return {
        "load": LOAD,
        "reduce": node("reduce_dimension", True, data=result_of("load"), dimension=dimension, reducer=reducer),
    }


def told(process: JSON, **more: JSON) -> list[tuple[str, str]]:
    """Fault and node of all faults."""
    return [(fault.fault, fault.node) for fault in faults(process, environment(), **more)]


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda graph: graph,
        lambda graph: {"process_graph": graph},
        lambda graph: {"process": {"process_graph": graph}, "title": "of a job"},
        lambda graph: json.dumps({"process_graph": graph}),
        lambda graph: json.dumps(graph).encode(),
    ],
)
def test_a_graph_is_read_however_it_is_wrapped(wrapped):
    graph = parse(wrapped(reduced()))
    assert list(graph.nodes) == ["load", "reduce"]
    assert graph.result == "reduce"
    assert graph.nodes["reduce"].arguments["data"] == FromNode("load")
    reducer = graph.nodes["reduce"].arguments["reducer"]
    assert reducer.takes == ("data", "context")
    assert reducer.graph.nodes["s"].path == "reduce.reducer.s"
    assert reducer.graph.nodes["s"].arguments == {"data": FromParameter("data"), "ignore_nodata": True}
    assert Evaluation(graph, environment()).evaluate().names == ("bands", "y", "x")


def test_a_child_sees_parameters_around_it_and_its_own_come_first():
    inner = {"process_graph": {"a": node("add", True, x=parameter("x"), y=parameter("context"))}}
    outer = {
        "sum": node("sum", data=parameter("data")),
        "apply": node("array_apply", True, data=parameter("data"), process=inner, context=result_of("sum")),
    }
    document = reduced()
    document["reduce"]["arguments"]["reducer"] = {"process_graph": outer}
    graph, found = read(document)
    assert not found
    child = graph.nodes["reduce"].arguments["reducer"].graph.nodes["apply"].arguments["process"]
    assert isinstance(child, ChildGraph)
    assert child.takes == ("x", "index", "label", "context")


FAULTY = {
    "no graph": ({}, [("ProcessGraphMissing", "")]),
    "graph without nodes": ({"process_graph": {}}, [("ProcessGraphMissing", "")]),
    "a list": ([], [("ProcessGraphMissing", "")]),
    "text that is no JSON": ("{", [("ProcessGraphInvalid", "")]),
    "no result": ({"a": node("absolute", x=1)}, [("ProcessGraphInvalid", "")]),
    "two results": (
        {"a": node("absolute", True, x=1), "b": node("absolute", True, x=1)},
        [("ProcessGraphInvalid", "")],
    ),
    "unknown process": ({"a": node("absolut", True, x=1)}, [("ProcessUnsupported", "a")]),
    "missing argument": ({"a": node("absolute", True)}, [("ProcessParameterRequired", "a")]),
    "unknown argument": ({"a": node("absolute", True, x=1, y=2)}, [("ProcessParameterUnsupported", "a")]),
    "wrong type": ({"a": node("absolute", True, x="1")}, [("ProcessParameterInvalid", "a")]),
    "missing node": ({"a": node("absolute", True, x=result_of("c"))}, [("ProcessGraphInvalid", "a")]),
    "missing parameter": ({"a": node("absolute", True, x=parameter("c"))}, [("ProcessParameterMissing", "a")]),
    "cycle": (
        {"a": node("absolute", True, x=result_of("b")), "b": node("absolute", x=result_of("a"))},
        [("ProcessGraphInvalid", "a")],
    ),
    "itself": ({"a": node("absolute", True, x=result_of("a"))}, [("ProcessGraphInvalid", "a")]),
    "no node": ({"a": node("absolute", True, x=1), "b": 3}, [("ProcessGraphInvalid", "b")]),
    "no arguments": ({"a": {"process_id": "absolute", "result": True}}, [("ProcessGraphInvalid", "a")]),
    "a child process for a number": (
        {"a": node("absolute", True, x={"process_graph": {"b": node("absolute", True, x=1)}})},
        [("ProcessParameterInvalid", "a")],
    ),
    "a cube for a number": (
        {"load": LOAD, "a": node("absolute", True, x=result_of("load"))},
        [("ProcessParameterInvalid", "a")],
    ),
    "a number for a cube": (reduced() | {"load": node("absolute", x=1)}, [("ProcessParameterInvalid", "reduce")]),
    "a number for a child process": (
        reduced() | {"reduce": node("reduce_dimension", True, data=result_of("load"), dimension="t", reducer=1)},
        [("ProcessParameterInvalid", "reduce")],
    ),
    "a dimension that there is not": (reduced("time"), [("DimensionNotAvailable", "reduce")]),
    "a namespace that there is not": (
        {"a": node("absolute", True, x=1) | {"namespace": "mars"}},
        [("ProcessUnsupported", "a")],
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_told_with_its_node_and_its_name(name):
    document, expected = FAULTY[name]
    assert told(document) == expected
    with pytest.raises(GraphError):
        Evaluation(parse(document), environment()).evaluate()


def test_all_faults_are_told_at_once_and_none_that_follows_from_another():
    document = reduced("time") | {
        "one": node("absolut", x=1),
        "two": node("add", x=result_of("one"), y=True, z=1),
        "three": node("add", x=result_of("two"), y=1),
        "four": node("add", x=1),
    }
    document["reduce"]["result"] = False
    assert sorted(told(document)) == [
        ("DimensionNotAvailable", "reduce"),
        ("ProcessGraphInvalid", ""),
        ("ProcessParameterInvalid", "two"),
        ("ProcessParameterRequired", "four"),
        ("ProcessParameterUnsupported", "two"),
        ("ProcessUnsupported", "one"),
    ]


def test_the_nearest_name_is_the_hint():
    [fault] = faults({"a": node("absolut", True, x=1)}, environment())
    assert fault.hint == "did you mean 'absolute'?"
    [fault] = faults({"a": node("add", True, x=1, y=1, yy=2)}, environment())
    assert "'y'" in str(fault.hint)


DOUBLE = {
    "id": "double",
    "parameters": [
        {"name": "x", "schema": {"type": "number"}},
        {"name": "by", "schema": {"type": "number"}, "optional": True, "default": 2},
    ],
    "process_graph": {"m": node("multiply", True, x=parameter("x"), y=parameter("by"))},
}


def test_a_user_defined_process_becomes_nodes_of_the_graph():
    document = {"d": node("double", x=3), "a": node("add", True, x=result_of("d"), y=1)}
    graph = parse(document, user_defined={"double": DOUBLE})
    assert list(graph.nodes) == ["d.m", "a"]
    assert graph.nodes["d.m"].arguments == {"x": 3, "y": 2}
    assert Evaluation(graph, environment()).evaluate() == 7


def test_user_defined_processes_call_each_other_and_take_results():
    quadruple = {
        "parameters": [{"name": "x", "schema": {"type": "number"}}],
        "process_graph": {
            "one": node("double", x=parameter("x")),
            "two": node("double", True, x=result_of("one"), by=parameter("x")),
        },
    }
    document = {"a": node("absolute", x=-3), "q": node("quadruple", True, x=result_of("a"))}
    graph = parse(document, user_defined={"double": DOUBLE, "quadruple": quadruple})
    assert list(graph.nodes) == ["a", "q.one.m", "q.two.m"]
    assert Evaluation(graph, environment()).evaluate() == 18
    assert graph.nodes["q.two.m"].path == "q.two.m"


def test_a_cube_goes_through_a_user_defined_process_and_its_parameters_reach_child_processes():
    scaled = {
        "parameters": [
            {"name": "data", "schema": {"type": "object", "subtype": "datacube"}},
            {"name": "factor", "schema": {"type": "number"}},
            {"name": "along", "schema": {"type": "string"}, "default": "t", "optional": True},
        ],
        "process_graph": {
            "r": node(
                "reduce_dimension",
                True,
                data=parameter("data"),
                dimension=parameter("along"),
                reducer={
                    "process_graph": {
                        "s": node("sum", data=parameter("data")),
                        "m": node("multiply", True, x=result_of("s"), y=parameter("factor")),
                    }
                },
            )
        },
    }
    document = {
        "load": LOAD,
        "two": node("add", x=1, y=1),
        "scale": node("scaled", True, data=result_of("load"), factor=result_of("two")),
    }
    assert not told(document, user_defined={"scaled": scaled})
    found = Evaluation(parse(document, user_defined={"scaled": scaled}), environment()).evaluate()
    expected = environment().collections["S2"].values.sum(axis=0) * 2
    np.testing.assert_array_equal(found.values, expected)


def test_a_child_process_is_an_argument_of_a_user_defined_process():
    udp = {
        "parameters": [
            {"name": "data", "schema": {"type": "object", "subtype": "datacube"}},
            {
                "name": "how",
                "schema": {
                    "type": "object",
                    "subtype": "process-graph",
                    "parameters": [{"name": "data", "schema": {"type": "array"}}],
                },
            },
        ],
        "process_graph": {
            "r": node("reduce_dimension", True, data=parameter("data"), dimension="t", reducer=parameter("how"))
        },
    }
    how = {"process_graph": {"s": node("sum", True, data=parameter("data"))}}
    document = {"load": LOAD, "u": node("udp", True, data=result_of("load"), how=how)}
    found = Evaluation(parse(document, user_defined={"udp": udp}), environment()).evaluate()
    np.testing.assert_array_equal(found.values, environment().collections["S2"].values.sum(axis=0))


@pytest.mark.parametrize("chain", [("a",), ("a", "b"), ("a", "b", "c")])
def test_a_user_defined_process_that_calls_itself_is_refused(chain):
    following = dict(zip(chain, (*chain[1:], chain[0]), strict=True))
    user_defined = {
        name: {"parameters": [], "process_graph": {"n": node(other, True)}} for name, other in following.items()
    }
    [fault] = faults({"call": node("a", True)}, environment(), user_defined=user_defined)
    assert fault.fault == "ProcessGraphInvalid"
    assert "calls itself" in fault.message
    assert fault.node == ".".join(["call", *["n"] * len(chain)])


def test_namespaces_choose_between_processes_of_the_same_name():
    mine = {
        "parameters": [{"name": "x", "schema": {"type": "number"}}],
        "process_graph": {"m": node("add", True, x=100, y=result_of("b")), "b": node("absolute", x=parameter("x"))},
    }
    theirs = {"parameters": DOUBLE["parameters"], "process_graph": DOUBLE["process_graph"]}
    user_defined = {"absolute": mine, "https://example.org/a.json#absolute": theirs}

    def value(namespace: JSON) -> JSON:
        document = {"a": node("absolute", True, x=-3) | {"namespace": namespace}}
        return Evaluation(parse(document, user_defined=user_defined), environment()).evaluate()

    assert value("backend") == 3
    assert value(None) == value("user") == 103  # whose own call of `absolute` is ours
    assert value("https://example.org/a.json") == -6


def test_parameters_of_the_process_have_values_or_defaults():
    document = DOUBLE | {"id": "whatever"}
    assert Evaluation(parse(document, parameters={"x": 4}), environment()).evaluate() == 8
    assert Evaluation(parse(document, parameters={"x": 4, "by": 3}), environment()).evaluate() == 12
    assert told(document) == []
    assert told(document, parameters={"y": 1}) == [("ProcessParameterUnsupported", "")]


def test_null_stands_for_the_default_where_it_has_no_other_meaning():
    graph = parse({"s": node("sum", True, data=[1, 2], ignore_nodata=None)})
    assert graph.nodes["s"].arguments["ignore_nodata"] is True


def test_limits():
    many = {f"n{place}": node("absolute", x=1) for place in range(MOST_NODES)}
    many["n0"]["result"] = True
    assert told(many) == []
    many["one more"] = node("absolute", x=1)
    assert told(many) == [("ProcessGraphComplexity", "")]
    assert told(" " * (16 * 2**20 + 1)) == [("ProcessGraphComplexity", "")]
    assert told("[" * 100_000) in ([("ProcessGraphInvalid", "")], [("ProcessGraphComplexity", "")])
    deep: JSON = 1
    for _ in range(5_000):
        deep = [deep]
    assert told({"a": node("absolute", True, x=deep)}) == [("ProcessGraphComplexity", "")]


def test_graphs_may_be_nested_to_a_limit():
    def nested(levels: int) -> dict[str, JSON]:
        inner: JSON = {"s": node("sum", True, data=parameter("data"))}
        for _ in range(levels):
            inner = {
                "r": node(
                    "reduce_dimension", True, data=result_of("l"), dimension="t", reducer={"process_graph": inner}
                ),
                "l": LOAD,
            }
        return inner

    assert not any(fault.fault == "ProcessGraphComplexity" for fault in read(nested(30))[1])
    assert any(fault.fault == "ProcessGraphComplexity" for fault in read(nested(34))[1])


def test_processes_that_call_others_twice_each_stop_at_the_limit():
    user_defined = {
        f"p{level}": {
            "parameters": [],
            "process_graph": {"a": node(f"p{level + 1}"), "b": node(f"p{level + 1}", True)},
        }
        for level in range(20)
    } | {"p20": {"process_graph": {"x": node("absolute", True, x=1)}}}
    assert told({"go": node("p0", True)}, user_defined=user_defined)[-1][0] == "ProcessGraphComplexity"


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, JSON]:
    """Graphs of numbers without faults, with nodes in any order."""
    count = draw(st.integers(1, 8))
    names = draw(st.lists(st.text(min_size=1, max_size=4), min_size=count, max_size=count, unique=True))
    made: dict[str, JSON] = {}
    for name in names:
        value = st.integers(-9, 9) | (st.sampled_from(list(made)).map(result_of) if made else st.nothing())
        process = draw(st.sampled_from(["add", "multiply", "absolute", "double"]))
        keys = {"double": ["x"], "absolute": ["x"]}.get(process, ["x", "y"])
        made[name] = node(process, **{key: draw(value) for key in keys})
    made[draw(st.sampled_from(names))]["result"] = True
    return {name: made[name] for name in draw(st.permutations(names))}


def by_hand(graph: dict[str, JSON], name: str) -> int:
    def value(item: JSON) -> int:
        return by_hand(graph, item["from_node"]) if isinstance(item, dict) else item

    given = {key: value(item) for key, item in graph[name]["arguments"].items()}
    match graph[name]["process_id"]:
        case "add":
            return given["x"] + given["y"]
        case "multiply":
            return given["x"] * given["y"]
        case "double":
            return 2 * given["x"]
        case _:
            return abs(given["x"])


def is_ordered(graph: Graph) -> bool:
    before: set[str] = set()
    for name, each in graph.nodes.items():
        if not {used.node for used in references(each.arguments)} <= before:
            return False
        before.add(name)
    return True


@given(graphs())
def test_nodes_stand_behind_those_that_they_take_results_from(document):
    graph = parse(document, user_defined={"double": DOUBLE})
    assert is_ordered(graph)
    result = next(name for name, each in document.items() if each.get("result"))
    assert Evaluation(graph, environment()).evaluate() == by_hand(document, result)


SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3)
ANYTHING = st.recursive(
    SCALARS
    | st.sampled_from(
        [*map(result_of, ("load", "reduce", "s")), *map(parameter, ("data", "x")), *FAULTY["cycle"][0]]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["process_graph", "from_node", "x", "type"]) | st.text(max_size=2), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def places(item: JSON, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> JSON:
    document: JSON = {"document": copy.deepcopy(reduced() | draw(graphs()))}
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(places(document)[1:] or [("document",)]))
        part = document
        for key in path[:-1]:
            part = part[key]
        if path[-1] != "document" and draw(st.booleans()):
            del part[path[-1]]
        else:
            part[path[-1]] = copy.deepcopy(draw(ANYTHING))
    return document["document"]


@settings(max_examples=300)
@given(mutated())
def test_whatever_is_given_there_are_faults_or_an_ordered_graph_and_never_a_traceback(document):
    graph, found = read(document, user_defined={"double": DOUBLE})
    assert is_ordered(graph)
    for fault in found:
        assert fault.fault and fault.message and len(fault.message) < 1000
    if not found:
        assert graph.result in graph.nodes
    assert found or parse(json.dumps(document), user_defined={"double": DOUBLE}).nodes.keys() == graph.nodes.keys()


@settings(max_examples=200)
@given(mutated())
def test_faults_of_types_are_faults_too(document):
    for fault in faults(document, environment(), user_defined={"double": DOUBLE}):
        assert isinstance(fault, GraphError)

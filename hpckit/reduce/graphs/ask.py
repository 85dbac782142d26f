"""Graphs outside of a campaign: checked, computed at once, or made a job, which is a campaign of its own."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import write_bytes, write_text
from hpckit.errors import GraphError
from hpckit.processgraph.graph import Graph
from hpckit.processgraph.parse import faults_of_types, read_text
from hpckit.reduce.graphs.environment import GraphEnvironment
from hpckit.reduce.graphs.files import write_files
from hpckit.reduce.graphs.formats import ResultFile
from hpckit.reduce.graphs.job import EvaluatedResult, job_on, parsed
from hpckit.reduce.graphs.ondemand.fill import fill_here
from hpckit.reduce.graphs.ondemand.version import is_on_demand
from hpckit.reduce.udf.settings import settings_here

CAMPAIGN: Final = "campaign.yaml"
_GRAPH: Final = "graph.json"
_REDUCTION: Final = "result"


def check(document: Any, collections: Mapping[str, Path], hosts: Collection[str] = ()) -> list[GraphError]:
    """All faults of a graph: of its form, its arguments, and the types of its cubes; nothing is computed."""
    graph, found = read_text(_text(document))
    environment = GraphEnvironment(collections, hosts=frozenset(hosts), udf=settings_here(), reads_pixels=False)
    return [*found, *faults_of_types(graph, environment)]


def compute(
    document: Any, collections: Mapping[str, Path], folder: Path, hosts: Collection[str] = ()
) -> list[ResultFile]:
    """Compute a graph in this process, and write its result files into a folder.

    Raises
    ------
    GraphError
        If it has a fault, or no `save_result`.
    """
    job = job_on(document, collections, runs_code=True, hosts=hosts)
    outputs = [output for output in job.outputs if output.format]
    fill_here(job)
    if not outputs:
        raise GraphError("the graph has no save_result", hint="end it with save_result, which names a format")
    return [file for output in outputs for file in write_files(EvaluatedResult(job, output), output, folder)]


def prepare(
    document: Any, collections: Mapping[str, Path], folder: Path, title: str = "", hosts: Collection[str] = ()
) -> Path:
    """Write a graph and the campaign that computes it into a folder.

    Returns
    -------
    Path
        The campaign file.

    Raises
    ------
    GraphError
        Its first fault of form.
    """
    text = _text(document)
    names = sorted(_loaded(parsed(text)) & set(collections))
    write_bytes(folder / _GRAPH, text)
    lines = [f"# {line}" for line in title.splitlines()]
    lines += ["name: job", "reductions:", f"  - name: {_REDUCTION}", "    kind: graph", f"    graph: {_GRAPH}"]
    lines += ["    collections:" if names else "    collections: {}"]
    lines += [f"      {json.dumps(name)}: {json.dumps(str(collections[name].absolute()))}" for name in names]
    filled = [name for name in names if is_on_demand(collections[name])]
    lines += [f"    on_demand: {json.dumps(filled)}"] if filled else []
    lines += [f"    hosts: {json.dumps(sorted(hosts))}"] if hosts else []
    write_text(folder / CAMPAIGN, "\n".join([*lines, "    outputs: {path: results}"]) + "\n")
    return folder / CAMPAIGN


def _text(document: Any) -> bytes:
    """JSON as a text; one text is read once, however often it is asked for."""
    if isinstance(document, str):
        return document.encode()
    # Not indented, which only the encoder in Python can do: it takes twenty times as long.
    return document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()


def loaded(document: Any) -> set[str]:
    """Names of the collections that a graph loads; none of one with a fault of form."""
    graph, faults = read_text(_text(document))
    return set() if faults else _loaded(graph)


def _loaded(graph: Graph) -> set[str]:
    """Names of the collections that a graph loads."""
    return {str(node.arguments.get("id")) for node in graph.nodes.values() if node.process == "load_collection"}

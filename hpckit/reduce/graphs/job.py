"""A graph that is ready to be computed: its collections opened, its outputs found, and what each of them is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import digest_json
from hpckit.campaign.graph import GraphReduction
from hpckit.cubes.tiles import Tiles
from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube
from hpckit.processgraph.document import split
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import FromNode, Graph, Node
from hpckit.processgraph.parse import read, read_text
from hpckit.processgraph.process import Asked, Call, Value
from hpckit.processgraph.taken import runs_user_code
from hpckit.reduce.graphs import frozen
from hpckit.reduce.graphs.cutting import cut, is_local, put_together, rows_at_once
from hpckit.reduce.graphs.environment import GraphEnvironment
from hpckit.reduce.graphs.lowering import Lowered, lowered
from hpckit.reduce.graphs.memory import Shape, shape_of
from hpckit.reduce.udf.settings import settings_here
from hpckit.sites.udf import Udf
from hpckit.space.box import Box

_VERSION: Final = 1
"""Grows when the same graph and inputs give other numbers."""
SAVE: Final = "save_result"


@dataclass(frozen=True, slots=True)
class Output:
    """A result of a graph: what a node `save_result` takes, or the node of the graph's result."""

    node: str
    """Its node."""
    key: str
    """Name in the hierarchy of results, and in names of units."""
    format: str
    """Empty if there is no `save_result`."""
    options: Mapping[str, Value]
    type: Value
    """A cube without pixels; or JSON."""

    @property
    def is_raster(self) -> bool:
        """Whether its units are windows of pixels."""
        return isinstance(self.type, Cube) and self.type.grid is not None

    @property
    def is_vector(self) -> bool:
        """Whether its units are groups of geometries."""
        return isinstance(self.type, Cube) and self.type.geometries is not None


@dataclass(eq=False)
class Job:
    """A graph with all that it is computed from."""

    graph: Graph
    environment: GraphEnvironment
    lower: bool = True
    """Whether patterns are lowered to what hpckit computes anyway."""
    blocks: Mapping[str, Callable[[Call], Cube]] = field(default_factory=dict)
    """Nodes that are functions or models, and no processes."""

    @cached_property
    def evaluation(self) -> Evaluation:
        """The graph, ready to be evaluated by region."""
        return Evaluation(self.graph, self.environment, faster=self.blocks)

    @cached_property
    def lowered(self) -> Lowered | None:
        """The graph with its patterns as single nodes; None if it is computed as it was written."""
        return (
            lowered(self.evaluation, self.environment, [output.node for output in self.outputs])
            if self.lower
            else None
        )

    @cached_property
    def computing(self) -> Evaluation:
        """What computes pixels."""
        if self.lowered is None:
            return self.evaluation
        return Evaluation(self.lowered.graph, self.environment, faster=self.lowered.faster)

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """All results, with their types.

        Raises
        ------
        GraphError
            The first fault of types.
        """
        saving = [node for node in self.graph.nodes.values() if node.process == SAVE]
        nodes = saving or [self.graph.nodes[self.graph.result]]
        return _with_names(tuple(self._output(number, node) for number, node in enumerate(nodes)))

    def _output(self, number: int, node: Node) -> Output:
        known = self.evaluation.type_of(node.id)
        if node.process != SAVE:
            return Output(node.id, _key(node.id, number), "", {}, known)
        data = node.arguments.get("data")
        if not isinstance(known, Cube) and isinstance(data, FromNode):
            known = self.evaluation.type_of(data.node)
        name = str(self.evaluation.value(node.arguments.get("format")) or "")
        options = self.evaluation.value(node.arguments.get("options")) or {}
        return Output(node.id, _key(node.id, number), name, options, known)

    @cached_property
    def inputs(self) -> str:
        """Digest of what collections give, for the graph: products, bands, extents."""
        assert self.outputs
        known = {source.collection.name + source.inputs for source in self.environment.sources}
        return digest_json([_VERSION, sorted(known)])[:16]

    @property
    def user_bytes(self) -> int:
        """Memory that code of users may take beside that of this process."""
        udf = self.environment.udf
        return udf.limits.memory_bytes if udf is not None and runs_user_code(self.graph) else 0

    def evaluate(self, output: Output, asked: Asked) -> Value:
        """A part of a result; windows part by part, where that saves memory and costs nothing."""
        rows = self.rows_at_once(output, asked.shape[1]) if isinstance(asked, Box) and not asked.is_empty else None
        if rows is None or not isinstance(asked, Box) or rows >= asked.shape[0]:
            return self.computing.result_of(output.node, asked)
        parts = cut(asked, rows, self._first_row(output))
        return put_together(asked, parts, lambda part: self.computing.result_of(output.node, part))

    def rows_at_once(self, output: Output, columns: int) -> int | None:
        """Rows of a window that are computed at once; None if all are."""
        return rows_at_once(columns, self.shape(output).nbytes) if self._is_cut(output) else None

    def nbytes_of(self, output: Output, asked: Asked, pixels: float) -> float:
        """Bytes that a part of a result takes, while it is computed."""
        shape = self.shape(output)
        rows = self.rows_at_once(output, asked.shape[1]) if isinstance(asked, Box) else None
        if rows is None or not isinstance(asked, Box) or rows >= asked.shape[0]:
            return pixels * (shape.nbytes + shape.result_bytes)
        return rows * asked.shape[1] * shape.nbytes + 2 * pixels * shape.result_bytes

    def _is_cut(self, output: Output) -> bool:
        if output.node not in self._cut:
            self._cut[output.node] = output.is_raster and not self.blocks and is_local(self.computing, output.node)
        return self._cut[output.node]

    @cached_property
    def _cut(self) -> dict[str, bool]:
        return {}

    def _first_row(self, output: Output) -> int:
        """A row of a result at which a tile of its first collection begins."""
        for source in self.environment.sources[:1]:
            offset = output.type.grid.offset_in(source.grid)
            placed = source.placing.tiles[0].offset if source.placing.tiles else None
            if offset is not None and placed is not None:
                return int(placed[0] - offset[0])
        return 0

    def shape(self, output: Output) -> Shape:
        """Bytes that a pixel of a result takes, while it is computed."""
        if output.node not in self._shapes:
            self._shapes[output.node] = shape_of(self.computing, output.node)
        return self._shapes[output.node]

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        return {}


def _with_names(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """Outputs whose files are named after their nodes if there are several: all files lie in one folder."""
    if len(outputs) < 2:
        return outputs
    return tuple(replace(one, options={"filename_prefix": f"openEO-{one.key}", **one.options}) for one in outputs)


def _key(node: str, number: int) -> str:
    """A node's name as it may stand in paths."""
    clear = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_") else "-" for sign in node)
    return clear if clear == node and not clear.startswith("-") else f"{number}{clear}"


@dataclass(frozen=True)
class EvaluatedResult:
    """A result that is computed as it is read."""

    job: Job
    output: Output

    @property
    def type(self) -> Value:
        """The cube without pixels; or JSON."""
        return self.output.type

    def read(self, asked: Asked) -> Value:
        """A part: pixels of the grid, some geometries, or all (None)."""
        return self.job.evaluate(self.output, asked)


def parsed(document: Any, parameters: Mapping[str, Any] | None = None) -> Graph:
    """A graph with its user-defined processes put in.

    Raises
    ------
    GraphError
        Its first fault of form.
    """
    if isinstance(document, bytes):
        graph, faults = read_text(document, parameters or {})
    else:
        process, user_defined = split(document)
        graph, faults = read(process, user_defined=user_defined, parameters=parameters or {})
    if faults:
        raise faults[0]
    return graph


def job_of(tiles: Tiles, reduction: GraphReduction) -> Job:
    """The graph of a reduction, with the collections that were frozen.

    Raises
    ------
    GraphError
        Its first fault of form.
    PlanError
        If frozen inputs are missing.
    """
    graph = frozen.graph_of(tiles.run, reduction) or parsed(
        frozen.document(tiles.run, reduction), reduction.parameters
    )
    known = frozen.collections(tiles, reduction)
    trials = tiles.run.path / "udf"
    udf = settings_here(reduction.udf)
    stac, urls = frozen.loaded_of(tiles.run, reduction)
    environment = GraphEnvironment({}, opened=dict(known), udf=udf, runs_code=True, trials=trials)
    environment.of_stac |= stac
    environment.of_urls |= urls
    return Job(graph, environment)


def job_on(
    document: Any,
    collections: Mapping[str, Path],
    parameters: Mapping[str, Any] | None = None,
    *,
    udf: Udf | None = None,
    runs_code: bool = False,
    hosts: Collection[str] = (),
    reads_pixels: bool = True,
) -> Job:
    """A graph on campaigns as they are now.

    Parameters
    ----------
    document : JSON
    collections : mapping of str to Path
    parameters : mapping, optional
    udf : Udf, optional
        Where code of users runs; by default where this site runs it.
    runs_code : bool
        Whether it is run; where not, what it makes is only assumed.
    hosts : collection of str
        From which `load_stac` and `load_url` may read.
    reads_pixels : bool
        Whether pixels may be read to know what a cube is.

    Raises
    ------
    GraphError
        Its first fault of form.
    """
    environment = GraphEnvironment(
        collections,
        hosts=frozenset(hosts),
        udf=settings_here(udf),
        runs_code=runs_code,
        reads_pixels=reads_pixels,
    )
    return Job(parsed(document, parameters), environment)


def require_computable(output: Output) -> None:
    """Refuse a result that cannot be stored.

    Raises
    ------
    GraphError
        Names the reason.
    """
    if isinstance(output.type, Cube) and output.is_raster and output.type.values.dtype.kind not in "biuf":
        raise GraphError(
            f"the result has values of the type {output.type.values.dtype}, which no raster holds",
            hint="make numbers of them before save_result",
            node=output.node,
        )

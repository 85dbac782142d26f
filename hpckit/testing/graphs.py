"""Collections in memory, and short ways to write graphs: for tests of process graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cropping import cropped
from hpckit.processgraph.cube import NOTHING, Band, Cube, Dimension, Geometries, Grid, Values
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import Argument, ChildGraph, FromNode, FromParameter, Graph, Node
from hpckit.processgraph.process import Asked, Request, Value
from hpckit.processgraph.times import instants
from hpckit.processgraph.usercode import UserCode
from hpckit.space.box import Box

GRID: Final = Grid("EPSG:32632", 600000.0, 5200000.0, 10.0, -10.0, 12, 16)
"""A small grid: north is up, pixels of 10 m."""
X: Final = Dimension("x", "spatial", axis="x")
Y: Final = Dimension("y", "spatial", axis="y")


def times(*labels: str) -> Dimension:
    """A dimension `t`."""
    return Dimension("t", "temporal", labels)


def bands(**known: Band | str) -> Dimension:
    """A dimension `bands`: names of bands, with what is known of each or its common name."""
    made = tuple(Band(band) if isinstance(band, str) else band for band in known.values())
    return Dimension("bands", "bands", tuple(known), bands=made)


def raster(values: Values, *dims: Dimension, grid: Grid = GRID) -> Cube:
    """A raster cube of all pixels of a grid: dimensions before y and x, and values of their shape."""
    rows, columns = values.shape[-2:]
    return Cube(values, (*dims, Y, X), replace(grid, rows=rows, columns=columns), Box(0, 0, rows, columns))


@dataclass
class MemorySource:
    """A collection that is an array; notes which boxes were read."""

    cube: Cube
    boxes: list[Box] = field(default_factory=list)

    @property
    def type(self) -> Cube:
        """The cube without pixels."""
        return cropped(self.cube, NOTHING)

    def read(self, box: Box) -> Cube:
        """Pixels of a part; NaN beyond the grid."""
        self.boxes.append(box)
        assert self.cube.grid is not None
        inside = box.within(self.cube.grid.shape)
        if inside == box:
            return cropped(self.cube, box)
        whole = np.full((*self.cube.values.shape[:-2], *box.shape), np.nan, self.cube.values.dtype)
        place = inside.moved(-box.top, -box.left)
        whole[..., place.top : place.bottom, place.left : place.right] = cropped(self.cube, inside).values
        return replace(self.cube, values=whole, box=box)


@dataclass
class MemoryEnvironment:
    """An environment without files: collections by name, and what graphs asked of it."""

    collections: Mapping[str, Cube] = field(default_factory=dict)
    properties: Mapping[str, Sequence[Mapping[str, Value]]] = field(default_factory=dict)
    """Of each collection those of the product of each time."""
    vectors: Mapping[str, Geometries] = field(default_factory=dict)
    """Vector files, by address."""
    opened: list[MemorySource] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    formats: list[tuple[str, Mapping[str, Value]]] = field(default_factory=list)
    messages: list[tuple[str, str, str, Value]] = field(default_factory=list)
    runs: Callable[[UserCode, Cube, Callable[[], Cube]], Cube] | None = None
    """Runs code of users; None refuses it."""
    reads_pixels: bool = True
    """Whether pixels may be read to know what a cube is."""

    def load_collection(self, name: str, request: Request) -> MemorySource:
        """A collection with the times and bands that are wanted."""
        if name not in self.collections:
            raise GraphError(f"there is no collection {name!r}", fault="CollectionNotFound")
        return self._opened(self.collections[name], request, self.properties.get(name, ()))

    def load_stac(self, url: str, request: Request) -> MemorySource:
        """A collection whose name is an address."""
        if url not in self.collections:
            raise GraphError(f"{url} cannot be read", fault="CollectionNotFound")
        return self._opened(self.collections[url], request, self.properties.get(url, ()))

    def read_geometries(self, url: str, format: str, options: Mapping[str, Value]) -> Geometries:
        """Geometries of an address."""
        if url not in self.vectors:
            raise GraphError(f"{url} cannot be read", fault="FormatUnsuitable")
        return self.vectors[url]

    def require_format(self, name: str, options: Mapping[str, Value], data: Cube) -> None:
        """Note it; `NONE` is a format that there is not."""
        if name.upper() == "NONE":
            raise GraphError(f"there is no format {name!r}", fault="FormatUnsuitable")
        self.formats.append((name, options))

    def run_udf(self, code: UserCode, data: Cube, sample: Callable[[], Cube]) -> Cube:
        """Let the function run it that there is."""
        if self.runs is None:
            raise GraphError("code of users is not run here", fault="FeatureUnsupported")
        return self.runs(code, data, sample)

    def log(self, level: str, code: str, message: str, data: Value) -> None:
        """Note it."""
        self.messages.append((level, code, message, data))

    def _opened(self, cube: Cube, request: Request, products: Sequence[Mapping[str, Value]]) -> MemorySource:
        self.requests.append(request)
        for dim in tuple(cube.of_kind("temporal")):
            cube = cube.at(dim.name, list(_wanted_times(dim, request, products)))
            if not cube.dim(dim.name).labels:
                raise GraphError("there is no data in this period", fault="NoDataAvailable")
        for dim in tuple(cube.of_kind("bands")):
            cube = cube.at(dim.name, _wanted_bands(dim, request))
        self.opened.append(MemorySource(cube))
        return self.opened[-1]


def _wanted_times(dim: Dimension, request: Request, products: Sequence[Mapping[str, Value]]) -> Iterator[int]:
    for place, at in enumerate(instants(dim.labels, dim.name)):
        if request.period is not None and at not in request.period:
            continue
        if all(wanted(value=products[place].get(name)) for name, wanted in request.properties.items()):
            yield place


def _wanted_bands(dim: Dimension, request: Request) -> list[int]:
    if request.bands is None:
        return list(range(len(dim.labels)))
    known = dim.bands or (Band(),) * len(dim.labels)
    places = []
    for name in request.bands:
        named = [place for place, label in enumerate(dim.labels) if label == name]
        found = named or [place for place, band in enumerate(known) if band.common_name == name]
        if not found:
            listed = ", ".join(str(label) for label in dim.labels)
            raise GraphError(f"there is no band {name!r}", hint=f"bands are {listed}", fault="BandNotFound")
        places += found
    return places


def step(process: str, /, **arguments: Argument) -> Node:
    """A node without a name."""
    return Node("", process, arguments, "")


def graph(**steps: Node) -> Graph:
    """A graph of nodes by name, in order; the last one is its result."""
    nodes = {name: replace(node, id=name, path=name) for name, node in steps.items()}
    return Graph(nodes, tuple(nodes)[-1])


def child(**steps: Node) -> ChildGraph:
    """A child process."""
    return ChildGraph(graph(**steps))


def calling(process: str, /, *parameters: str, **arguments: Argument) -> ChildGraph:
    """A child process of one step, which takes parameters under their own names: `calling("mean", "data")`."""
    return child(call=step(process, **{name: FromParameter(name) for name in parameters}, **arguments))


def result_of(
    process: str, /, environment: MemoryEnvironment | None = None, box: Box | None = None, **arguments: Any
) -> Value:
    """What a process makes of arguments; cubes among them are given as collections of their own.

    Parameters
    ----------
    process : str
    environment : MemoryEnvironment, optional
    box : Box, optional
        Pixels that are asked for; all if it is not given.
    arguments
        By name: JSON, cubes and child processes.
    """
    return evaluation_of(process, environment, **arguments).evaluate(box)


def evaluation_of(process: str, /, environment: MemoryEnvironment | None = None, **arguments: Any) -> Evaluation:
    """An evaluation of one process, for tests that ask for several parts of its result."""
    cubes = {name: given for name, given in arguments.items() if isinstance(given, Cube)}
    given = {name: FromParameter(name) if name in cubes else value for name, value in arguments.items()}
    return Evaluation(graph(call=step(process, **given)), environment or MemoryEnvironment(), cubes)


def node(name: str) -> FromNode:
    """The result of a node of the same graph."""
    return FromNode(name)


@dataclass
class MemoryResult:
    """A result that is a cube in memory, or any other value; notes which parts were read."""

    value: Value
    asked: list[Asked] = field(default_factory=list)

    @property
    def type(self) -> Value:
        """The cube without pixels or features."""
        if not isinstance(self.value, Cube):
            return self.value
        return cropped(self.value, NOTHING if self.value.grid is not None else range(0))

    def read(self, asked: Asked) -> Value:
        """A part of the cube, or all."""
        self.asked.append(asked)
        return cropped(self.value, asked) if isinstance(self.value, Cube) else self.value


def in_parts(evaluation: Evaluation, rows: Sequence[int] = (), columns: Sequence[int] = ()) -> Cube:
    """A raster result put together from parts, each evaluated by itself.

    Parameters
    ----------
    evaluation : Evaluation
    rows, columns : sequence of int
        Where the result is cut; what lies beyond it cuts nothing.
    """
    kind = evaluation.type()
    assert isinstance(kind, Cube)
    assert kind.grid is not None
    edges = [
        sorted({0, count, *(cut for cut in cuts if 0 < cut < count)})
        for cuts, count in ((rows, kind.grid.rows), (columns, kind.grid.columns))
    ]
    axes = [next(place for place, dim in enumerate(kind.dims) if dim.axis == axis) for axis in ("y", "x")]
    bands = []
    for top, bottom in pairwise(edges[0]):
        parts = [evaluation.evaluate(Box(top, left, bottom, right)) for left, right in pairwise(edges[1])]
        bands.append(np.concatenate([part.values for part in parts], axes[1]))
    return replace(kind, values=np.concatenate(bands, axes[0]), box=kind.grid.box)

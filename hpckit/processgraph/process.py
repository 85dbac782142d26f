"""What a process is: a function of values, or of cubes that it asks for by region."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hpckit.processgraph.cube import Cube, Geometries
from hpckit.processgraph.extents import Area
from hpckit.processgraph.graph import Graph
from hpckit.processgraph.times import Period
from hpckit.processgraph.usercode import UserCode
from hpckit.space.box import Box

Value = Any
"""JSON, `Labelled`, ndarray (elementwise, one value a pixel), `Cube`, `Geometries`, or `Callback`."""
Asked = Box | range | tuple[int, ...] | None
"""What is wanted of a cube: pixels of its grid; some of its geometries, as a range or as their ascending numbers;
None for all (cubes of neither kind, too)."""


class Callback(Protocol):
    """A child process, ready to be called with the parameters that its parent gives it."""

    @property
    def graph(self) -> Graph:
        """What is evaluated: for processes that have a faster way for some graphs."""

    def over(self, graph: Graph) -> Callback:
        """A child process in the same place with another graph."""

    def __call__(self, **parameters: Value) -> Value:
        """Evaluate it."""


class Call(Protocol):
    """A call of a process on cubes.

    Cubes are computed when they are asked for, and only the part that is asked for. To infer what a cube is, without
    a pixel, the same processes are called for an empty part (`NOTHING`, or `range(0)`): so a process must work for
    arrays of no pixels, and give right dimensions, labels, data types and grids for them.
    """

    @property
    def asked(self) -> Asked:
        """Which part of the result is wanted."""

    @property
    def environment(self) -> Environment:
        """Where collections, files and user code come from."""

    def has(self, name: str) -> bool:
        """Whether an argument was given, and is not null."""

    def value(self, name: str, default: Value = None) -> Value:
        """An argument that is no cube: JSON, geometries, or a `Callback`."""

    def is_cube(self, name: str) -> bool:
        """Whether an argument is a cube."""

    def cube(self, name: str, asked: Asked | Literal["same"] = "same") -> Cube:
        """The part of a cube that is wanted: by default that of the result, in the cube's own grid."""

    def type_of(self, name: str) -> Cube:
        """An argument's cube without pixels: dimensions, grid, geometries, data type."""

    def given(self, name: str) -> Value:
        """A parameter that a process around gives to its callback, whatever the graph refers to; None without one."""

    def once(self, make: Callable[[], Value], what: str = "") -> Value:
        """What does not depend on the part that is asked for: made when this node first needs it, then kept.

        A node that keeps several things tells them apart by `what`.
        """


class Source(Protocol):
    """An opened collection: pixels of an extent that are read by region."""

    @property
    def type(self) -> Cube:
        """The cube without pixels."""

    def read(self, box: Box) -> Cube:
        """Pixels of a part of its grid, decoded; NaN where there is none, and beyond what there is."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a graph wants of a collection."""

    area: Area | None = None
    """Whose pixels are wanted; None for all. A source may have more: they are cut away exactly afterwards."""
    period: Period | None = None
    """Whose times are wanted; None for all. A source has no others."""
    bands: tuple[str, ...] | None = None
    """Names or common names, in the order that is wanted; None for all. A source has these bands and no others."""
    properties: Mapping[str, Callback] = field(default_factory=dict)
    """Conditions by names of properties of products: called with `value`, true for those that are wanted."""


class Environment(Protocol):
    """What processes need of the world."""

    @property
    def reads_pixels(self) -> bool:
        """Whether pixels may be read to know what a cube is; not where a graph is only checked or estimated."""

    def load_collection(self, name: str, request: Request) -> Source:
        """Open a collection for an extent, a period, bands and properties.

        Raises
        ------
        GraphError
            If there is none of that name, or it has no such band; the fault is openEO's (`CollectionNotFound`). An
            extent or period without data is `NoDataAvailable`.
        """

    def load_stac(self, url: str, request: Request) -> Source:
        """Open what a STAC item or collection at an address describes.

        Raises
        ------
        GraphError
            If the address is not allowed or cannot be read, or what it has is no raster that hpckit knows.
        """

    def read_geometries(self, url: str, format: str, options: Mapping[str, Value]) -> Geometries:
        """Read the vector file at an address.

        Raises
        ------
        GraphError
            If the address is not allowed or cannot be read, or the file is none of the format (`FormatUnsuitable`).
        """

    def require_format(self, name: str, options: Mapping[str, Value], data: Cube) -> None:
        """Refuse a file format that there is not, an option that it does not have, and data that it cannot hold.

        Raises
        ------
        GraphError
            `FormatUnsuitable` if the format cannot hold the data.
        """

    def run_udf(self, code: UserCode, data: Cube, sample: Callable[[], Cube]) -> Cube:
        """Run code of a user on a cube.

        Parameters
        ----------
        code : UserCode
        data : Cube
            What it gets; of one without values, what it makes of such a cube is returned, without values.
        sample : callable
            Reads a small part of the same cube, to try code on before its results are planned.

        Raises
        ------
        GraphError
            If there is no place to run it, it fails, passes a limit, or returns what the process around it cannot
            take.
        """

    def log(self, level: str, code: str, message: str, data: Value) -> None:
        """Keep a message of a graph: `level` is `error`, `warning`, `info` or `debug`."""


Implementation = Callable[..., Value]


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the language."""

    name: str
    run: Implementation
    takes: Literal["values", "cubes"]
    """`values`: called with its arguments by name, all evaluated. `cubes`: called with a `Call`."""


_KNOWN: dict[str, Process] = {}


def on_values(name: str) -> Callable[[Implementation], Implementation]:
    """Register a process of scalars and arrays: a function of its arguments by name."""
    return _register(name, "values")


def on_cubes(name: str) -> Callable[[Implementation], Implementation]:
    """Register a process of cubes: a function of a `Call`."""
    return _register(name, "cubes")


def _register(name: str, takes: Literal["values", "cubes"]) -> Callable[[Implementation], Implementation]:
    def register(run: Implementation) -> Implementation:
        if name in _KNOWN:
            raise ValueError(f"process {name} is there twice")
        _KNOWN[name] = Process(name, run, takes)
        return run

    return register


def processes() -> Mapping[str, Process]:
    """All processes, by name."""
    from hpckit.processgraph import every  # modules that register

    every.load()
    return _KNOWN

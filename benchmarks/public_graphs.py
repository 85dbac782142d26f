"""How many process graphs that others have published are read, and have right types on made-up collections.

    python benchmarks/public_graphs.py FOLDER … [--all]

Every JSON file below the folders is searched for process graphs (checkouts of repositories, for example
openeo-python-client, openeo-community-examples, apex_algorithms). A collection of any name has the dimensions t,
bands, y and x, any bands, and the extent that is asked for. Parameters of processes have a value if their type has a
plausible one; what depends on others is not checked for its types.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Band, Cube, Dimension, Geometries, Grid
from hpckit.processgraph.document import graph_in, is_node, process_in
from hpckit.processgraph.parse import faults, read
from hpckit.processgraph.process import Request, processes
from hpckit.space.box import Box

JSON = Any
BANDS = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071", "B06": "rededge075",
    "B07": "rededge078", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22",
    "SCL": "", "VV": "", "VH": "",
}  # fmt: skip
PLAUSIBLE: Mapping[str, JSON] = {
    "bounding-box": {"west": 11.0, "south": 46.0, "east": 11.1, "north": 46.1},
    "temporal-interval": ["2022-06-01", "2022-09-01"],
    "geojson": {"type": "Polygon", "coordinates": [[[11, 46], [11.1, 46], [11.1, 46.1], [11, 46]]]},
    "date": "2022-06-01",
    "collection-id": "SENTINEL2_L2A",
}


class AnyCollection:
    """A world in which every collection exists, and has what is asked of it."""

    def load_collection(self, name: str, request: Request) -> Source:
        """A cube of the extent, the period and the bands that are wanted."""
        return Source(_cube(request))

    load_stac = load_collection

    def read_geometries(self, url: str, format: str, options: Mapping[str, JSON]) -> Geometries:
        """Three parcels."""
        shapes = [shapely.box(11 + place / 100, 46, 11.005 + place / 100, 46.005) for place in range(3)]
        return Geometries(np.array(shapes, dtype=object), "EPSG:4326")

    def require_format(self, name: str, options: Mapping[str, JSON], data: Cube) -> None:
        """Any is known."""

    def run_udf(self, *given: JSON, **named: JSON) -> Cube:
        """User code is not run."""
        raise GraphError("user code has no type without a run", fault="UdfUnsupported")

    def log(self, level: str, code: str, message: str, data: JSON) -> None:
        """Nobody reads it."""


class Source:
    """A collection without pixels."""

    def __init__(self, type: Cube) -> None:
        self.type = type

    def read(self, box: Box) -> Cube:
        """Nothing is read: only types are inferred."""
        raise AssertionError("a pixel was read")


def _cube(request: Request) -> Cube:
    names = tuple(BANDS) if request.bands is None else request.bands
    dims = (
        Dimension("t", "temporal", _times(request)),
        Dimension("bands", "bands", names, bands=tuple(Band(BANDS.get(name, "")) for name in names)),
        Dimension("y", "spatial", axis="y"),
        Dimension("x", "spatial", axis="x"),
    )
    values = np.zeros((len(dims[0].labels), len(names), 0, 0), dtype=np.float32)
    return Cube(values, dims, _grid(request), NOTHING)


def _times(request: Request) -> tuple[str, ...]:
    start = (request.period and request.period.start) or datetime(2022, 6, 1, tzinfo=UTC)
    end = (request.period and request.period.end) or start + timedelta(days=90)
    step = max(timedelta(days=5), (end - start) / 100)
    found = [start + step * place for place in range(max(1, min(100, int((end - start) / step))))]
    return tuple(at.strftime("%Y-%m-%dT%H:%M:%SZ") for at in found)


def _grid(request: Request) -> Grid:
    if request.area is None:
        return Grid("EPSG:32632", 600000, 5200000, 10, -10, 10980, 10980)
    west, south, east, north = request.area.bounds("EPSG:4326")
    zone = min(60, max(1, int(((west + east) / 2 + 180) // 6) + 1))
    crs = f"EPSG:{(32600 if south + north >= 0 else 32700) + zone}"
    west, south, east, north = request.area.bounds(crs)
    columns, rows = max(1, round((east - west) / 10) + 2), max(1, round((north - south) / 10) + 2)
    return Grid(crs, west - 10, north + 10, 10, -10, rows, columns)


def graphs_in(document: JSON) -> Iterator[JSON]:
    """Process graphs in a document, the outermost ones."""
    if isinstance(document, Mapping):
        inner = process_in(document).get("process_graph")
        if isinstance(inner, Mapping) and inner and all(map(is_node, inner.values())):
            yield document
        else:
            for part in document.values():
                yield from graphs_in(part)
    elif isinstance(document, list):
        for part in document:
            yield from graphs_in(part)


def foreign(item: JSON) -> Iterator[tuple[str, str]]:
    """Namespaces and names of processes of other servers."""
    if isinstance(item, Mapping):
        namespace = item.get("namespace")
        if is_node(item) and isinstance(namespace, str) and namespace not in ("user", "backend"):
            yield namespace, str(item["process_id"])
        for part in item.values():
            yield from foreign(part)
    elif isinstance(item, list):
        for part in item:
            yield from foreign(part)


def plausible(document: JSON) -> dict[str, JSON]:
    """Values of parameters without a default."""
    found = {}
    for parameter in process_in(document).get("parameters") or ():
        schemas = parameter.get("schema", {})
        for schema in schemas if isinstance(schemas, list) else [schemas]:
            if "default" not in parameter and schema.get("subtype") in PLAUSIBLE:
                found.setdefault(parameter["name"], PLAUSIBLE[schema["subtype"]])
    return found


def checked(document: JSON, known: Mapping[str, JSON]) -> tuple[list[GraphError], list[GraphError]]:
    """Faults of form, and all faults."""
    own = {name: process for name, process in known.items() if process is not document and name not in processes()}
    user_defined = own | {f"{url}#{name}": known[name] for url, name in foreign(document) if name in known}
    form = read(document, user_defined=user_defined, parameters=plausible(document))[1]
    return form, faults(document, AnyCollection(), user_defined=user_defined, parameters=plausible(document))


def documents_in(folders: list[Path]) -> Iterator[tuple[Path, JSON]]:
    """All process graphs below folders, with their files."""
    for file in sorted(file for folder in folders for file in folder.rglob("*.json")):
        try:
            yield from ((file, document) for document in graphs_in(json.loads(file.read_text(encoding="utf-8"))))
        except ValueError:
            print(f"{file} is no JSON")


def all_faults(document: JSON, known: Mapping[str, JSON]) -> tuple[list[GraphError], list[GraphError]]:
    """Faults of form, and all; a traceback is one, too."""
    try:
        return checked(document, known)
    except GraphError as fault:
        return [fault], [fault]
    except Exception as error:
        return [], [GraphError(f"{type(error).__name__}: {error}", fault="Traceback")]


def main(folders: list[Path], every: bool) -> None:
    """Print the numbers, and the first reason of each graph that is refused, or every reason with its file."""
    found = list(documents_in(folders))
    known = {inner["id"]: inner for _, document in found if is_process(inner := process_in(document))}
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    readable = typed = 0
    started = time.perf_counter()
    for file, document in found:
        form, told = all_faults(document, known)
        readable += not form
        typed += not told
        for fault in told if every else told[:1]:
            reasons[fault.fault][fault.message[:150]] += 1
            if every:
                print(f"{file}: {fault.node}: {fault.fault}: {fault.message}")
    took = time.perf_counter() - started
    nodes = sum(len(graph_in(document)) for _, document in found)
    print(f"{len(found)} graphs, {nodes} nodes: {readable} are read, {typed} have right types")
    print(f"{took:.1f} s, {1000 * took / max(1, len(found)):.1f} ms a graph")
    for kind, messages in sorted(reasons.items(), key=lambda item: -item[1].total()):
        print(f"\n{kind}: {messages.total()}")
        for message, count in messages.most_common():
            print(f"  {count:4} {message}")


def is_process(document: JSON) -> bool:
    """Whether it is a process that others may call, and no example or test that calls one."""
    described = isinstance(document.get("parameters"), list) and "type" not in document
    return described and isinstance(document.get("id"), str)


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:] if word != "--all"], "--all" in sys.argv)

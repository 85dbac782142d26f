"""What graphs load from servers (`load_stac`, `load_url`), frozen with a run: workers ask nobody again.

::

    graphs/<reduction>/outside/
      urls.json                       address, without secrets, and digest of what each `load_url` read
      <key>.parquet                   its geometries
      stac-<key>/                     of `load_stac`: as a collection of a campaign
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from hpckit.base.files import digest_file, write_json
from hpckit.base.reading import folders_in, read_json
from hpckit.processgraph.cube import Geometries
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import Graph
from hpckit.reduce.graphs.environment import GraphEnvironment
from hpckit.reduce.graphs.geometryfile import read_geometries, write_geometries
from hpckit.reduce.graphs.stac import write_frozen

_LOADING: Final = ("load_stac", "load_url")
_URLS: Final = "urls.json"
STAC: Final = "stac"
"""Folder in the run directory for items."""


def freeze(graph: Graph, hosts: Iterable[str], folder: Path, items: Path) -> list[str]:
    """Read what a graph loads from servers into a folder.

    Parameters
    ----------
    hosts : iterable of str
        That may be asked.
    items : Path
        Folder for items, which stays where it is.

    Returns
    -------
    list of str
        Digests of the geometries; those of products are among the inputs of units.

    Raises
    ------
    GraphError
        If something cannot be loaded.
    """
    nodes = [node.id for node in graph.nodes.values() if node.process in _LOADING]
    if not nodes:
        return []
    environment = GraphEnvironment({}, hosts=frozenset(hosts), items=items)
    evaluation = Evaluation(graph, environment)
    for node in nodes:
        evaluation.type_of(node)
    for key, collection in environment.of_stac.items():
        write_frozen(folder / key, collection.tiles)
        place = {"campaign": str(collection.tiles.campaign.path), "run": str(items / key), "frozen": ""}
        write_json(folder / key / "place.json", {**place, "name": collection.name})
    for key, geometries in environment.of_urls.items():
        write_geometries(folder / f"{key}.parquet", geometries)
    digests = {key: digest_file(folder / f"{key}.parquet") for key in sorted(environment.of_urls)}
    write_json(folder / _URLS, {key: [environment.addresses[key], digest] for key, digest in digests.items()})
    return list(digests.values())


def urls(folder: Path) -> dict[str, Geometries]:
    """Geometries of addresses that were frozen, by key."""
    return {key: read_geometries(folder / f"{key}.parquet") for key in _known(folder)}


def addresses(folder: Path) -> list[tuple[str, str]]:
    """Address and digest of what each `load_url` read; of runs of earlier versions the address is empty."""
    known = _known(folder).values()
    return [("", item) if isinstance(item, str) else (item[0], item[1]) for item in known]


def _known(folder: Path) -> Mapping[str, str | Sequence[str]]:
    try:
        known: Mapping[str, str | Sequence[str]] = read_json(folder / _URLS)
    except FileNotFoundError:
        return {}
    return known


def stac(folder: Path) -> list[Path]:
    """Folders of the collections that were frozen."""
    try:
        return [path for path in folders_in(folder) if path.name.startswith(f"{STAC}-")]
    except FileNotFoundError:
        return []

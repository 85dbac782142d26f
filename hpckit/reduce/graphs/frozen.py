"""Process graphs and their collections, frozen with a run: units compute from these, whatever is planned since.

::

    frozen/<digest>/graphs/<reduction>/
      graph.json                the process graph; of a function or model its settings and digest
      read.json                 the process graph as it was read, with its parameters, and the digest of both
      geometries-<n>.parquet    of a process graph: what many geometries in it became
      outside/                  what a process graph loads from servers
      code/                     source files of a function that lie beside the campaign file
      collections/<name>/       of another campaign: its frozen inputs
        place.json                where that campaign's file and run directory lie
        campaign.json, selected.parquet, tiles.parquet, windows.parquet
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import digest_json, write_bytes, write_json, write_text
from hpckit.base.reading import read_bytes, read_json
from hpckit.campaign.blocks import FunctionReduction, OfWindows
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.functionfiles import Module, find_module
from hpckit.campaign.graph import GraphReduction
from hpckit.catalogue import tiling
from hpckit.cubes import held
from hpckit.cubes.tiles import Tiles
from hpckit.errors import PlanError
from hpckit.processgraph.compact import packed, unpacked
from hpckit.processgraph.cube import Geometries
from hpckit.processgraph.graph import Graph
from hpckit.processgraph.parse import read_text
from hpckit.reduce.graphs import outside
from hpckit.reduce.graphs.collection import Collection, open_collection
from hpckit.reduce.graphs.geometryfile import read_geometries, write_geometries
from hpckit.runs.run import CAMPAIGN_JSON, Run

_GRAPH: Final = "graph.json"
_READ: Final = "read.json"
_GEOMETRIES: Final = "geometries-{}.parquet"
_OUTSIDE: Final = "outside"
_PLACE: Final = "place.json"
_CODE: Final = "code"
_COPIED: Final = (CAMPAIGN_JSON, "selected.parquet", "tiles.parquet", "windows.parquet")


def freeze(run: Run, reduction: OfWindows) -> None:
    """Copy the graph of a reduction, and what its collections were last planned from, into the draft of a run.

    Raises
    ------
    CampaignError, GraphError
        If the graph cannot be read, or a collection was never planned.
    """
    folder = _folder(run, reduction)
    if isinstance(reduction, GraphReduction):
        write_bytes(folder / _GRAPH, reduction.text(run.campaign.folder))
        _write_read(folder, reduction, run)
    else:
        write_json(folder / _GRAPH, reduction.document(run.campaign.folder))
    if isinstance(reduction, FunctionReduction):
        _copy_code(find_module(reduction.module, run.campaign.folder), folder / _CODE)
    for name, path in sorted(reduction.collections.items()):
        collection = open_collection(name, run.campaign.resolve(path))
        source = collection.tiles.run
        target = folder / "collections" / name
        for file in _COPIED:
            write_bytes(target / file, read_bytes(source.inputs / file))
        place: dict[str, Any] = {
            "campaign": str(source.campaign.path),
            "run": str(source.path),
            "frozen": source.frozen,
        }
        if collection.lost:
            place["lost"] = {tile: sorted(inputs) for tile, inputs in collection.lost.items()}
        write_json(target / _PLACE, place)


def _write_read(folder: Path, reduction: GraphReduction, run: Run) -> None:
    campaign = run.campaign.folder
    graph, faults = read_text(reduction.text(campaign), reduction.parameters)
    if faults:
        raise faults[0]
    document, known = packed(graph)
    for number, geometries in enumerate(known):
        write_geometries(folder / _GEOMETRIES.format(number), geometries)
    digest = _digest(reduction.document(campaign), reduction)
    loaded = outside.freeze(graph, reduction.hosts, folder / _OUTSIDE, run.path / outside.STAC)
    inputs = digest_json([digest, *loaded])[:16] if loaded else digest
    # Not indented: nobody reads it, and a thousand nodes take a fifth of the time of their plan.
    write_text(folder / _READ, json.dumps({"graph": document, "geometries": len(known), "inputs": inputs}))


def graph_of(run: Run, reduction: GraphReduction) -> Graph | None:
    """The graph as it was read when it was frozen; None if an earlier version froze it.

    Raises
    ------
    PlanError
        If its geometries are missing.
    DamagedFileError
        If a file is not what was written.
    """
    folder = _folder(run, reduction)
    try:
        known = read_json(folder / _READ)
    except FileNotFoundError:
        return None
    try:
        geometries = [read_geometries(folder / _GEOMETRIES.format(number)) for number in range(known["geometries"])]
        return unpacked(known["graph"], geometries)
    except FileNotFoundError as error:
        raise PlanError(f"{error.filename}: missing", hint=_AGAIN) from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise PlanError(f"{folder / _READ}: the frozen graph does not fit this version", hint=_AGAIN) from error


def loaded_of(run: Run, reduction: GraphReduction) -> tuple[dict[str, Collection], dict[str, Geometries]]:
    """What the graph loaded from servers when it was frozen: collections, and geometries.

    Raises
    ------
    PlanError
        If frozen inputs are missing, or do not fit this version.
    """
    folder = _folder(run, reduction) / _OUTSIDE
    stac = {path.name: _thawed(str(_read(path / _PLACE)["name"]), path) for path in outside.stac(folder)}
    return stac, outside.urls(folder)


def addresses_of(run: Run, reduction: GraphReduction) -> list[tuple[str, str]]:
    """Address and digest of the geometries that each `load_url` read when the graph was frozen."""
    return outside.addresses(_folder(run, reduction) / _OUTSIDE)


def code(run: Run, reduction: FunctionReduction) -> Path:
    """Folder with the frozen source files of a function; it is not there for one of an installed package."""
    return _folder(run, reduction) / _CODE


def _copy_code(module: Module, target: Path) -> None:
    for file in module.files if module.is_own else ():
        write_bytes(target / file, read_bytes(module.folder / file))


def document(run: Run, reduction: OfWindows) -> Any:
    """The graph that was frozen.

    Raises
    ------
    PlanError
        If it is missing.
    """
    return _read(_folder(run, reduction) / _GRAPH)


def collections(tiles: Tiles, reduction: OfWindows) -> Mapping[str, Collection]:
    """Collections of a reduction by name: those that were frozen, and the campaign's own.

    Raises
    ------
    PlanError
        If frozen inputs are missing, or do not fit this version.
    """
    folder = _folder(tiles.run, reduction) / "collections"
    found = {name: _thawed(name, folder / name) for name in reduction.collections}
    if tiles.campaign.has_products:
        found.setdefault(tiles.campaign.name, Collection(tiles.campaign.name, tiles))
    return found


def inputs_of(tiles: Tiles, reduction: OfWindows) -> str:
    """Digest of a graph and the values of its parameters."""
    try:
        return str(read_json(_folder(tiles.run, reduction) / _READ)["inputs"])
    except FileNotFoundError:
        return _digest(document(tiles.run, reduction), reduction)


def _digest(document: Any, reduction: OfWindows) -> str:
    return digest_json([document, reduction.parameters])[:16]


def _thawed(name: str, folder: Path) -> Collection:
    place, known = _read(folder / _PLACE), _read(folder / CAMPAIGN_JSON)
    try:
        campaign = Campaign.model_validate(known["campaign"])
        campaign._path = Path(place["campaign"])
        campaign = campaign.with_contents(dict(known.get("contents", {})))
        run = Run(Path(place["run"]), "", campaign, str(place["frozen"]))
    except (KeyError, TypeError, ValueError) as error:
        raise PlanError(f"{folder}: the frozen collection does not fit this version", hint=_AGAIN) from error
    known_tiles = tiling.read(folder / "tiles.parquet", folder / "selected.parquet")
    lost = {tile: frozenset(inputs) for tile, inputs in place.get("lost", {}).items()}
    return Collection(name, Tiles(run, *known_tiles, held.read(folder / "windows.parquet")), lost)


_AGAIN: Final = "`hpckit plan CAMPAIGN` freezes it again"


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise PlanError(f"{path}: missing", hint=_AGAIN) from None


def _folder(run: Run, reduction: OfWindows) -> Path:
    return run.inputs / "graphs" / reduction.name

"""The campaign of a crate in another folder: the same settings, with inputs where they are here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from hpckit.campaign.blocks import MODELS_WITHOUT_CODE
from hpckit.errors import CrateError
from hpckit.production.provenance.crate import BY_HAND, CAMPAIGN, Crate, unpack
from hpckit.production.provenance.finding import Found
from hpckit.production.provenance.inputs import AOI, code_path, graph_path, zones_path

_OF_READING: Final = ("layer", "crs", "encoding", "buffer", "attributes")
"""How a zone layer is read; that of the crate is what was read, with its buffer and without attributes."""
_HEAD: Final = "# Made by `hpckit reproduce` from a crate; the settings are those of the crate.\n"


def campaign_of(crate: Crate, folder: Path, found: Found, *, run_code: bool) -> str:
    """Text of the campaign file, in JSON, which is YAML; the inputs of the crate are written to the folder.

    Outputs go into the folder, whatever paths the campaign had, and results into a GeoPackage: never into a database.

    Parameters
    ----------
    found : Found
        Inputs that the crate does not hold.
    run_code : bool
        Whether functions, and models that are code, may be run.

    Raises
    ------
    CrateError
        If the campaign has steps or extensions, or code that may not run.
    """
    values = crate.document(CAMPAIGN).get("campaign")
    if not isinstance(values, dict):
        raise CrateError(f"{crate.path}: {CAMPAIGN} holds no campaign")
    _require_pure(crate, values, found, run_code)
    unpack(crate, "inputs/", folder / "inputs")
    try:
        _place(crate, values, folder, found)
    except (KeyError, TypeError, AttributeError) as error:
        raise CrateError(f"{crate.path}: {CAMPAIGN} does not fit this version of hpckit") from error
    return f"{_HEAD}{json.dumps(values, indent=1, ensure_ascii=False)}\n"


def _require_pure(crate: Crate, values: dict[str, Any], found: Found, run_code: bool) -> None:
    for field in ("steps", "extensions"):
        if values.get(field):
            raise CrateError(f"{crate.path}: the campaign has {field}, which are not made again", hint=BY_HAND)
    code = [item.get("name") for item in values.get("reductions", ()) if _runs_code(crate, item, found)]
    if code and not run_code:
        raise CrateError(
            f"{crate.path}: reduction {code[0]!r} runs code of the crate's author",
            hint="look at `inputs/code` of the crate and at its models; with --run-code it is run, as you",
        )


def _runs_code(crate: Crate, reduction: dict[str, Any], found: Found) -> bool:
    """Whether a reduction runs a function, a model that is code, or code within a graph."""
    name, kind = str(reduction.get("name")), reduction.get("kind")
    # The file that is loaded counts, whatever name the crate has for it.
    model = found.fields.get(f"reductions.{name}.model")
    is_code = kind == "predict" and (model is None or model.suffix not in MODELS_WITHOUT_CODE)
    graph = crate.files.get(graph_path(name), b"")
    return is_code or kind == "function" or bool(reduction.get("udf")) or b"run_udf" in graph


def _place(crate: Crate, values: dict[str, Any], folder: Path, found: Found) -> None:
    values["store"] = {"path": f"{values['name']}.gpkg"}
    values["cube"]["path"] = _own(values["cube"]["path"])
    if AOI in crate.files:
        values["aoi"] = AOI
    scenes, has_products = values["scenes"], bool(values["scenes"]["paths"])
    scenes["paths"] = list(found.products)
    scenes["fetched"] = "fetched"
    places = {"signatures": _signatures, "graph": _graph, "function": _function, "predict": _predict}
    for reduction in values["reductions"]:
        if "outputs" in reduction:
            reduction["outputs"]["path"] = _own(reduction["outputs"]["path"])
        place: Callable[..., None] | None = places.get(reduction["kind"])
        if place is not None:
            place(crate, reduction, folder, found)
    for field, path in found.fields.items():
        top, option, *rest = field.split(".")
        if top == "scenes" and len(rest) == 1:
            scenes[option][rest[0]] = str(path)
    if not has_products:  # it only computes graphs of other campaigns
        for name in ("aoi", "period", "scenes", "cube"):
            del values[name]


def _own(path: str) -> str:
    """A path within the folder: the one that the campaign had, if it was within its own."""
    known = PurePosixPath(path)
    if not known.is_absolute() and ".." not in known.parts and known.parts[:1] != ("~",):
        return path
    return known.name.replace("..", "") or "outputs"


def _signatures(crate: Crate, reduction: dict[str, Any], folder: Path, found: Found) -> None:
    for name in _OF_READING:
        reduction.pop(name, None)
    reduction |= {"zones": zones_path(reduction["name"]), "id": "id"}


def _graph(crate: Crate, reduction: dict[str, Any], folder: Path, found: Found) -> None:
    reduction["graph"] = graph_path(reduction["name"])
    for name in reduction.get("collections") or {}:
        reduction["collections"][name] = str(found.fields[f"reductions.{reduction['name']}.collections.{name}"])


def _function(crate: Crate, reduction: dict[str, Any], folder: Path, found: Found) -> None:
    unpack(crate, code_path(reduction["name"]), folder)
    _collection(reduction, found)


def _predict(crate: Crate, reduction: dict[str, Any], folder: Path, found: Found) -> None:
    reduction["model"] = str(found.fields[f"reductions.{reduction['name']}.model"])
    _collection(reduction, found)


def _collection(reduction: dict[str, Any], found: Found) -> None:
    if reduction.get("collection"):
        reduction["collection"] = str(found.fields[f"reductions.{reduction['name']}.collection"])

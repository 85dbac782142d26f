"""YAML files that a model validates; whatever is wrong with one is said with its file, line, field and remedy."""

from __future__ import annotations

import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from hpckit.errors import HpckitError

Lines = dict[tuple[str | int, ...], int]
"""Line in the file, counted from 1, by the location of a field."""

_Model = TypeVar("_Model", bound=BaseModel)


def read_document(
    path: Path, model: type[_Model], error: type[HpckitError], *, what: str, missing: str, hint: str
) -> tuple[_Model, Lines]:
    """Read a YAML file into a model.

    Parameters
    ----------
    path : Path
        The file.
    model : type of BaseModel
        What it must be.
    error : type of HpckitError
        Raised for whatever is wrong.
    what : str
        What the file is called in messages, `campaign`.
    missing, hint : str
        Remedies where there is no file, and where a field is wrong.

    Returns
    -------
    tuple
        The model, and the line of each field.
    """
    document = _read_yaml(path, error, what, missing)
    lines = _line_numbers(document)
    try:
        return model.model_validate(_plain(document)), lines
    except ValidationError as fault:
        faults = "\n".join(_describe(path, lines, item, model, what) for item in fault.errors())
        raise error(faults, hint=hint) from None


def _read_yaml(path: Path, error: type[HpckitError], what: str, missing: str) -> CommentedMap:
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: no such file", hint=missing) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise error(f"{path}: cannot be read as UTF-8 text") from fault
    except MarkedYAMLError as fault:
        mark = fault.problem_mark
        where = f":{mark.line + 1}" if mark is not None else ""
        raise error(f"{path}{where}: not valid YAML: {fault.problem}") from None
    except YAMLError as fault:
        raise error(f"{path}: not valid YAML: {fault}") from None
    if not isinstance(document, CommentedMap):
        raise error(f"{path}: a {what} file is a mapping of fields (name, …)")
    return document


def _line_numbers(node: Any, location: tuple[str | int, ...] = ()) -> Lines:
    lines: Lines = {}
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            lines[(*location, key)] = node.lc.key(key)[0] + 1
            lines |= _line_numbers(value, (*location, key))
    elif isinstance(node, CommentedSeq):
        for position, value in enumerate(node):
            lines[(*location, position)] = node.lc.item(position)[0] + 1
            lines |= _line_numbers(value, (*location, position))
    return lines


def _plain(node: Any) -> Any:
    """YAML's commented types as plain ones, so that pydantic's messages show plain values."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return str(node) if isinstance(node, str) else node


def _describe(path: Path, lines: Lines, fault: Any, model: type[BaseModel], what: str) -> str:
    location = tuple(part for part in fault["loc"] if isinstance(part, int) or _is_written(part))
    line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), None)
    name = ".".join(str(part) for part in location) or what
    place = f"{path}:{line}" if line else str(path)
    return f"{place}: {name}: {_reason(fault, location, model)}"


def _is_written(part: str) -> bool:
    """Whether a part of a location stands in the file, and is no name of a type among several."""
    return "[" not in part and "(" not in part and part not in ("str", "signatures", "composite", "Mosaic", "Rolling")


def _reason(fault: Any, location: tuple[str | int, ...], model: type[BaseModel]) -> str:
    if fault["type"] == "missing":
        return "this field is missing; add it"
    if fault["type"] == "extra_forbidden":
        known = _known_fields(model, fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"known fields are {', '.join(known)}"
        return f"unknown field; {remedy}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    shown = fault.get("input")
    return message if isinstance(shown, (dict, list)) or str(shown) in message else f"{message} (it says {shown!r})"


def _known_fields(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Fields of the model at a location: numbers and keys of mappings lead to the model of the values."""
    among = [model]
    for part in location:
        if isinstance(part, str):
            chosen = [other for other in among if other.__name__.lower() == part.lower()]
            among = chosen or _field_models(among[0], part) or among
    return [field.alias or name for name, field in among[0].model_fields.items()]


def _field_models(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    for key, field in model.model_fields.items():
        if name in (key, field.alias):
            return _models_within(field.annotation)
    return []


def _models_within(annotation: Any) -> list[type[BaseModel]]:
    """The models in `Model`, `list[Model]`, `dict[str, Model]`, `Model | None`, `Model | Other`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for part in typing.get_args(annotation) for found in _models_within(part)]

"""YAML files that a model validates; whatever is wrong with one is said with its file, line, field and remedy."""

from __future__ import annotations

import ast
import difflib
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hpckit.base.credentials import find_secret
from hpckit.base.yamltext import MOST_BYTES, Lines, YamlTextError, read_yaml
from hpckit.errors import HpckitError

_LONGEST_SHOWN = 80

Places = dict[tuple[str | int, ...], tuple[Path, int]]
"""File and line of fields."""

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
    document, lines = _read(path, error, what, missing)
    places = {location: (path, line) for location, line in lines.items()}
    return _validated(Layers(document, places, (path,)), model, error, what, hint), lines


@dataclass(frozen=True)
class Layers:
    """What several files say together: each changes some fields of the one after it."""

    document: dict[str, Any]
    """Fields: mappings of all files together, anything else of the first file that has it."""
    places: Places
    """File and line of each field."""
    paths: tuple[Path, ...]
    """The files, nearest first."""


def read_layers(
    path: Path,
    model: type[_Model],
    error: type[HpckitError],
    *,
    what: str,
    missing: str,
    hint: str,
    base: Callable[[Path, Mapping[str, Any]], Path | None],
) -> tuple[_Model, Layers]:
    """Read a YAML file that may change some fields of another one into a model; see `read_document`.

    Parameters
    ----------
    base : callable
        Gives the file that a file with these fields changes; None for a file that stands by itself.

    Raises
    ------
    error
        Also if a file changes itself in the end.
    """
    found: list[tuple[Path, dict[str, Any], Lines]] = []
    here: Path | None = path
    while here is not None:
        chain = [known for known, *_ in found]
        if here.resolve() in [known.resolve() for known in chain]:
            shown = " → ".join(map(str, [*chain, here]))
            raise error(f"{path}: this file extends itself: {shown}", hint=f"take `extends` out of {chain[-1]}")
        document, lines = _read(here, error, what, missing)
        found.append((here, document, lines))
        here = base(here, document)
    layers = _merged(found)
    return _validated(layers, model, error, what, hint), layers


def _merged(found: Sequence[tuple[Path, dict[str, Any], Lines]]) -> Layers:
    whole: dict[str, Any] = {}
    places: Places = {}
    for path, document, lines in reversed(found):
        _lay_over(whole, document, places, {place: (path, line) for place, line in lines.items()})
    return Layers(whole, places, tuple(path for path, *_ in found))


def _lay_over(
    whole: dict[str, Any], nearer: Mapping[str, Any], places: Places, said: Places, at: tuple[str | int, ...] = ()
) -> None:
    """Lay the fields of a nearer file over a mapping; one that says null takes the field out."""
    for name, value in nearer.items():
        here = (*at, name)
        known = whole.get(name)
        if isinstance(known, dict) and isinstance(value, Mapping):
            _lay_over(known, value, places, said, here)
            continue
        for place in [place for place in places if place[: len(here)] == here]:
            del places[place]
        if value is None:
            whole.pop(name, None)
            continue
        whole[name] = value
        places |= {place: line for place, line in said.items() if place[: len(here)] == here}


def _validated(layers: Layers, model: type[_Model], error: type[HpckitError], what: str, hint: str) -> _Model:
    try:
        return model.model_validate(layers.document)
    except ValidationError as fault:
        faults = "\n".join(_describe(layers, item, model, what) for item in fault.errors())
        raise error(faults, hint=hint) from None


def explain(fault: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong with fields that stand in no file, in one line."""
    located = [(tuple(part for part in item["loc"] if part), item) for item in fault.errors()]
    return "; ".join(f"{'.'.join(map(str, place))}: {_reason(item, place, model)}" for place, item in located)


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a model; the text below each field in the source is its description."""
    schema = model.model_json_schema()
    known = {each.__name__: each for each in _models(BaseModel)}
    for name, part in {model.__name__: schema, **schema.get("$defs", {})}.items():
        texts = _texts(known[name]) if name in known else {}
        for field, described in part.get("properties", {}).items():
            if field in texts:
                described.setdefault("description", texts[field])
    return schema


def _models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in base.__subclasses__():
        if each.__module__.startswith("hpckit."):
            yield each
        yield from _models(each)


def _texts(model: type[BaseModel]) -> dict[str, str]:
    """Text below each field, by the field's name in files. pydantic would read all sources at every start."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if each.__module__.startswith("hpckit."):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            assert isinstance(tree, ast.ClassDef)
            found |= dict(_documented(tree.body))
    aliases = {name: field.alias or name for name, field in model.model_fields.items()}
    return {aliases[name]: text for name, text in found.items() if name in aliases}


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            value = text.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield field.target.id, inspect.cleandoc(value.value)


def _read(path: Path, error: type[HpckitError], what: str, missing: str) -> tuple[dict[str, Any], Lines]:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8-sig")
        document, lines = read_yaml(text)
    except FileNotFoundError:
        raise error(f"{path}: no such file", hint=missing) from None
    except UnicodeDecodeError as fault:
        line = fault.object[: fault.start].count(b"\n") + 1
        raise error(f"{path}:{line}: cannot be read as UTF-8 text", hint="save the file as UTF-8") from None
    except OSError as fault:
        raise error(f"{path}: cannot be read as UTF-8 text") from fault
    except YamlTextError as fault:
        raise error(f"{path}:{fault.line}: {fault}" if fault.line else f"{path}: {fault}") from None
    if not isinstance(document, dict):
        raise error(f"{path}: a {what} file is a mapping of fields (name, …)")
    secret = find_secret(document)
    if secret is not None:
        place = f"{path}:{lines[secret]}" if secret in lines else str(path)
        where = ".".join(map(str, secret))
        raise error(
            f"{place}: {where}: a password must not stand in a {what} file; put it into ~/.pgpass",
            hint="or a service file of PostgreSQL (postgresql://?service=NAME); write @ and / of names as %40, %2F",
        )
    return document, lines


def _describe(layers: Layers, fault: Any, model: type[BaseModel], what: str) -> str:
    location = tuple(part for part in fault["loc"] if isinstance(part, int) or _is_written(part))
    known = (layers.places.get(location[:n]) for n in range(len(location), 0, -1))
    path, line = next((place for place in known if place is not None), (layers.paths[0], None))
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
    if isinstance(shown, (dict, list)) or str(shown) in message or _may_be_secret(location, str(shown)):
        return message
    return f"{message} (it says {_short(shown)})"


def _may_be_secret(location: tuple[str | int, ...], text: str) -> bool:
    """Whether a value is, or may have been meant as, the address of a database."""
    return "dsn" in location or "@" in text or "://" in text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


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

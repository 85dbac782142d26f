"""Specifications of processes: openEO's own (2.0.0-rc.2), and those that users define in the same form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

JSON = Any
Schema = Mapping[str, JSON]
VERSION: Final = "2.0.0-rc.2"
"""Of openeo-processes."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a process.

    Parameters
    ----------
    schemas : tuple of Schema
        An argument must match one of them; empty if any value will do.
    optional : bool
        Whether it may be left out; then it is `default`.
    """

    name: str
    schemas: tuple[Schema, ...]
    optional: bool
    default: JSON = None

    @classmethod
    def of(cls, document: Mapping[str, JSON]) -> Parameter:
        """Read it from a specification."""
        schemas = document.get("schema", {})
        schemas = tuple(schemas if isinstance(schemas, list) else [schemas])
        return cls(
            str(document["name"]),
            () if any(not _says_something(schema) for schema in schemas) else schemas,
            bool(document.get("optional", False)) or "default" in document,
            document.get("default"),
        )

    @property
    def is_callback(self) -> bool:
        """Whether nothing but a child process may stand here."""
        return bool(self.schemas) and all(schema.get("subtype") == "process-graph" for schema in self.schemas)

    @property
    def takes_geometries(self) -> bool:
        """Whether GeoJSON may stand here."""
        return any(_takes_geometries(schema) for schema in self.schemas)

    @property
    def callback(self) -> tuple[Parameter, ...] | None:
        """What a child process in this argument is called with; None if no child process may stand here."""
        for schema in self.schemas:
            found = _callback_in(schema)
            if found is not None:
                return tuple(map(Parameter.of, found.get("parameters", ())))
        return None


@dataclass(frozen=True, slots=True)
class Specification:
    """What a process is called with, and what it says about itself."""

    name: str
    parameters: Mapping[str, Parameter]
    exceptions: Mapping[str, str]
    """Names of faults, with their sentences."""
    document: Mapping[str, JSON]
    """As `GET /processes` gives it."""

    @property
    def defaults(self) -> dict[str, JSON]:
        """Values of parameters that may be left out."""
        return {name: parameter.default for name, parameter in self.parameters.items() if parameter.optional}

    def takes_default(self, name: str) -> bool:
        """Whether null stands for the default: of a parameter that may be left out, and that has no null of its own.

        Clients write null for what they leave out.
        """
        parameter = self.parameters.get(name)
        if parameter is None or not parameter.optional or not parameter.schemas:
            return False
        return not any(_takes_null(schema) for schema in parameter.schemas)

    @property
    def lists_parameters(self) -> bool:
        """Whether it says what its parameters are; users need not."""
        return isinstance(self.document.get("parameters"), list)

    @classmethod
    def of(cls, document: Mapping[str, JSON], name: str = "") -> Specification:
        """Read it from JSON."""
        parameters = map(Parameter.of, document.get("parameters") or ())
        exceptions = {
            key: str(fault.get("message", key)) for key, fault in (document.get("exceptions") or {}).items()
        }
        known = {parameter.name: parameter for parameter in parameters}
        return cls(name or str(document.get("id", "")), known, exceptions, document)


def specification(name: str) -> Specification | None:
    """Specification of openEO for a process; None if openEO has none of that name."""
    document = documents().get(name)
    return None if document is None else _read(name)


@cache
def _read(name: str) -> Specification:
    return Specification.of(documents()[name])


@cache
def documents() -> Mapping[str, Mapping[str, JSON]]:
    """All specifications as JSON, by name."""
    return {document["id"]: document for document in _load("processes.json")}


@cache
def subtypes() -> Mapping[str, Schema]:
    """Schemas of openEO's subtypes, such as `bounding-box`, by name."""
    definitions: Mapping[str, Schema] = _load("subtypes.json")["definitions"]
    return definitions


def _load(name: str) -> JSON:
    return json.loads(files(__name__).joinpath(name).read_bytes())


def _says_something(schema: Schema) -> bool:
    return bool(set(schema) - {"description", "title", "default", "examples"})


def _takes_geometries(schema: Schema) -> bool:
    kinds = {dim.get("type") for dim in schema.get("dimensions", ())}
    return schema.get("subtype") in ("geojson", "vector-cube") or "geometry" in kinds


def _takes_null(schema: Schema) -> bool:
    kinds = schema.get("type", "null")
    return kinds == "null" or "null" in kinds


def _callback_in(schema: Schema) -> Schema | None:
    """Where a child process may stand: the argument itself, or a value or item in it."""
    if schema.get("subtype") == "process-graph":
        return schema
    inner = [schema.get("items"), schema.get("additionalProperties"), *schema.get("properties", {}).values()]
    for part in [*inner, *schema.get("anyOf", ())]:
        found = _callback_in(part) if isinstance(part, Mapping) else None
        if found is not None:
            return found
    return None

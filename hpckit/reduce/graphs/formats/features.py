"""Features of vector cubes: how they are called in files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hpckit.processgraph.cube import Cube, Geometries
from hpckit.reduce.graphs.formats.options import invalid, nearest


def check_identifier(geometries: Geometries, name: str | None) -> None:
    """Check that all features have the property that names them.

    Raises
    ------
    GraphError
        `ProcessParameterInvalid`, with the properties that there are.
    """
    if name is None:
        return
    if not geometries.properties:
        raise invalid(f"feature_id_property is {name!r}, and the features have no properties")
    for number, properties in enumerate(geometries.properties):
        if properties.get(name) is None:
            known = list(dict.fromkeys(key for one in geometries.properties for key in one))
            where = f"feature {number} has no property {name!r}"
            raise invalid(f"{where}, which feature_id_property names", nearest(name, known))


def identifiers(geometries: Geometries, name: str | None = None) -> list[str]:
    """A name for each feature: a property, else its identifier, else its number from 0."""
    if name is not None:
        return [str(properties[name]) for properties in geometries.properties]
    if geometries.ids:
        return [str(number) if one is None else str(one) for number, one in enumerate(geometries.ids)]
    return [str(number) for number in range(len(geometries))]


def has_names(geometries: Geometries | None, name: str | None) -> bool:
    """Whether features have names that say more than their number."""
    return geometries is not None and (name is not None or any(one is not None for one in geometries.ids))


def properties_of(kind: Cube, features: range) -> Iterator[dict[str, Any]]:
    """Properties of some features; empty if there are none."""
    assert kind.geometries is not None, "a vector cube has geometries"
    known = kind.geometries.properties
    for number in features:
        yield known[number] if known else {}

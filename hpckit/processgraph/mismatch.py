"""Why a value does not fit a schema, and what the schema wants, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hpckit.processgraph.document import shown
from hpckit.processgraph.specs import Schema, subtypes


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a value does not fit.

    Parameters
    ----------
    where : str
        In the value: `west`, `[0].crs`; empty for all of it.
    reason : str
        Without a subject: `1 is not a text`.
    other_type : bool
        Whether the value is of another JSON type, so that the schema was not meant.
    """

    where: str
    reason: str
    other_type: bool = False

    def __str__(self) -> str:
        """As one sentence."""
        return f"`{self.where}`: {self.reason}" if self.where else self.reason

    def within(self, place: str) -> Mismatch:
        """The same, of a value around it."""
        inner = self.where if not self.where or self.where.startswith("[") else f".{self.where}"
        return Mismatch(f"{place}{inner}", self.reason)


def described(schema: Schema) -> str:
    """What a schema wants, in words: `a text`, `a data cube`."""
    schema = resolved(schema)
    subtype = schema.get("subtype")
    if subtype in WORDS:
        return WORDS[subtype]
    if "enum" in schema:
        return f"one of {', '.join(map(shown, schema['enum']))}"
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    words = [WORDS[kind] for kind in kinds if kind != "null"] + ["null"] * ("null" in kinds)
    return " or ".join(words) or "any value"


def resolved(schema: Schema) -> Schema:
    """A schema, or that of the subtype that it refers to; others' schemas are not read."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    return subtypes().get(reference.removeprefix("#/definitions/"), {})


WORDS: Final = {
    "null": "null",
    "boolean": "true or false",
    "number": "a number",
    "integer": "a whole number",
    "string": "a text",
    "array": "a list",
    "object": "an object",
    "datacube": "a data cube",
    "raster-cube": "a data cube",
    "vector-cube": "a vector data cube",
    "process-graph": "a child process",
    "bounding-box": "a bounding box",
    "geojson": "GeoJSON",
    "temporal-interval": "a temporal interval",
    "date": "a date",
    "date-time": "a date and time",
    "epsg-code": "an EPSG code",
    "duration": "a duration such as P1M",
    "uri": "an address",
}

"""The period of a campaign."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from hpckit.campaign.model import Model


class Period(Model):
    """First and last day, both included, UTC; `2024-03-01/..` has no end."""

    start: dt.date
    end: dt.date | None = None
    """None: what comes later belongs to it, too."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Text `START/END`, or the two fields."""
        text = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}/(\d{4}-\d{2}-\d{2}|\.\.)$"}
        return {"anyOf": [text, handler(schema)], "description": cls.__doc__}

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        start, slash, end = value.partition("/")
        if not slash:
            raise ValueError("write START/END, for example 2024-03-01/2024-10-31, or 2024-03-01/.. without an end")
        return {"start": start.strip(), "end": None if end.strip() == ".." else end.strip()}

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"the period ends ({self.end}) before it starts ({self.start}); swap the dates")
        return self

    def __str__(self) -> str:
        """Interval of days as STAC and OGC write it: ISO 8601, or `..` for no end."""
        return f"{self.start}/{self.end or '..'}"

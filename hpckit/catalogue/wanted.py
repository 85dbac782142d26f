"""Which items a search wants: what members are asked for is checked again, since they do not all do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shapely
import shapely.geometry

from hpckit.catalogue.moments import span_of

if TYPE_CHECKING:
    from cql2 import Expr


@dataclass(frozen=True, slots=True)
class Wanted:
    """What items must be."""

    area: shapely.Geometry | None = None
    """In longitude and latitude."""
    start: int | None = None
    """First moment, microseconds since 1970."""
    end: int | None = None
    """Last moment."""
    expression: Expr | None = None

    def fits(self, item: Mapping[str, Any]) -> bool:
        """Whether an item fits; one without a time, or without a geometry where there is an area, does not."""
        span = span_of(item)
        if span is None or (self.start is not None and span[1] < self.start):
            return False
        if self.end is not None and span[0] > self.end:
            return False
        try:
            if self.area is not None:
                outline = shapely.make_valid(shapely.geometry.shape(item["geometry"]))
                if not shapely.intersects(outline, self.area):
                    return False
            # cql2 raises where a property is missing.
            return self.expression is None or bool(self.expression.matches(dict(item)))
        except Exception:  # whatever a catalogue has for a geometry; cql2 raises plain ones
            return False

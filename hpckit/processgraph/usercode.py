"""Code of users in graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

PROCESS: Final = "run_udf"


@dataclass(frozen=True, slots=True)
class UserCode:
    """Code that a graph runs."""

    code: str
    runtime: str
    version: str | None = None
    context: Any = None
    process: str = ""
    """That calls it for a callback, `reduce_dimension`; empty if it gets a whole cube."""
    dimension: str = ""
    """Along which that process works."""

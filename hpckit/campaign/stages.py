"""Names of stages: hpckit's own, and those of a user's steps."""

from __future__ import annotations

from typing import Final

Stage = str
"""One of `STAGES`, or `exec-NAME`, a step of the campaign's own."""

FETCH: Final[Stage] = "fetch"
"""Copies images from servers; it computes nothing, and the stages after it read the servers where it fails."""
STAGES: Final[tuple[Stage, ...]] = (
    FETCH,
    "ingest",
    "zones",
    "signatures",
    "composites",
    "export",
    "fill",
    "graph",
    "results",
)
"""Hpckit's own, in the order in which they run; a stage begins when the one before it has ended."""

STEP_PREFIX: Final = "exec-"


def is_step(stage: Stage) -> bool:
    """Whether a stage is one of a user's own."""
    return stage.startswith(STEP_PREFIX)

"""Campaigns that keep no cube: what they cannot have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpckit.campaign.composite import Composite
from hpckit.campaign.step import Step
from hpckit.campaign.words import words_in

REMEDY: Final = "write `cube.keep: true`"


def require_no_cube_needed(composites: Sequence[Composite], steps: Sequence[Step], *, has_work: bool) -> None:
    """Refuse what a campaign without a cube cannot compute.

    Parameters
    ----------
    has_work : bool
        Whether something is left to it: reductions to signatures, or extensions.

    Raises
    ------
    ValueError
        Names the field and the remedy.
    """
    for composite in composites:
        raise ValueError(
            f"composite {composite.name!r} is made from the cube, which `cube.keep: false` does not keep; {REMEDY}"
        )
    for step in steps:
        if step.waits_for() == "ingest" or any("cube" in words_in(text) for text in _texts(step)):
            raise ValueError(
                f"step {step.name!r} works on the cube of each tile, which `cube.keep: false` does not keep; {REMEDY}"
            )
    if not has_work:
        raise ValueError(
            f"`cube.keep: false` needs a reduction with zones, since nothing else is computed; add one, or {REMEDY}"
        )


def _texts(step: Step) -> list[str]:
    return [*step.command, *step.inputs.values(), *step.outputs.values()]

"""Signatures of several units at once from bands that are read once: in which order, and what is in memory meanwhile.

A band is in memory from the first step that takes it until the last one, whichever reductions these belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpckit.errors import CubeError
from hpckit.reduce.signatures.planes import DecodedPlanes
from hpckit.reduce.signatures.signatures import Draft, SignatureTask, Step
from hpckit.reduce.signatures.spool import SignatureBatch
from hpckit.sensors.bands import BandRef


@dataclass(frozen=True, slots=True)
class Turn:
    """Bands that are read together, and what is done then."""

    reads: tuple[BandRef, ...]
    steps: tuple[tuple[int, Step], ...]
    """What can be computed then, each with the number of its unit."""
    releases: tuple[BandRef, ...]
    """Bands that nothing takes any more."""


def turns(steps: Sequence[Sequence[Step]]) -> list[Turn]:
    """Order the steps of several units, so that each band is read once, and few are in memory at a time.

    Parameters
    ----------
    steps : sequence of sequence of Step
        Of each unit, its mask first.
    """
    waiting = [(number, step) for number, mine in enumerate(steps) for step in mine]
    waiting.sort(key=lambda item: item[1].kind != "mask")  # stable: what masks leave out is known before all else
    there: set[BandRef] = set()
    found = []
    while waiting:
        reads = tuple(sorted(_next(waiting, there) - there))
        there |= set(reads)
        ready = _ready(waiting, there)
        waiting = [item for item in waiting if item not in ready]
        spent = tuple(sorted(ref for ref in there if not any(ref in step.refs for _, step in waiting)))
        there -= set(spent)
        found.append(Turn(reads, ready, spent))
    return found


def _ready(waiting: Sequence[tuple[int, Step]], there: set[BandRef]) -> tuple[tuple[int, Step], ...]:
    """Steps whose bands are there, of units whose mask is known by then."""
    unmasked = {number for number, step in waiting if step.kind == "mask" and not step.refs <= there}
    return tuple(item for item in waiting if item[1].refs <= there and item[0] not in unmasked)


def _next(waiting: Sequence[tuple[int, Step]], there: set[BandRef]) -> frozenset[BandRef]:
    """Bands of the step to come: masks; then what takes a band that is there; then what takes most at once."""

    def rank(item: tuple[int, Step]) -> tuple[bool, bool, int, list[BandRef]]:
        step = item[1]
        new, begun = len(step.refs - there), bool(step.refs & there)
        return step.kind != "mask", not begun, new if begun else -new, sorted(step.refs)

    return min(waiting, key=rank)[1].refs


def most_in_memory(steps: Sequence[Sequence[Step]], nbytes: Callable[[BandRef], int]) -> int:
    """Bytes of the bands that are in memory at a time, at most."""
    most = now = 0
    for turn in turns(steps):
        now += sum(map(nbytes, turn.reads))
        most = max(most, now)
        now -= sum(map(nbytes, turn.releases))
    return most


def signatures_together(tasks: Sequence[SignatureTask], planes: DecodedPlanes) -> list[SignatureBatch | CubeError]:
    """Compute the signatures of several units; each window of each band is decoded once for all of them.

    Returns
    -------
    list of SignatureBatch or CubeError
        Of each unit; an error where windows that its zones touch cannot be decoded.
    """
    drafts = [Draft(task, planes) for task in tasks]
    failed: dict[int, CubeError] = {}
    for turn in turns([draft.steps for draft in drafts]):
        for number, step in turn.steps:
            if number not in failed:
                try:
                    drafts[number].compute(step)
                except CubeError as error:
                    failed[number] = error
        for ref in turn.releases:
            planes.release(ref)
    return [failed[number] if number in failed else draft.batch() for number, draft in enumerate(drafts)]

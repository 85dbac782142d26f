"""Signatures of a run, with digests of their numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hpckit.base.files import digest, digest_json
from hpckit.base.reading import is_there
from hpckit.cubes.made import Made
from hpckit.errors import SpoolError
from hpckit.reduce.signatures.results import STAGE, UnitResult, results_of
from hpckit.reduce.signatures.spool import SignatureBatch, read_segment
from hpckit.runs.plan import read_plan
from hpckit.runs.run import Run


def made(run: Run) -> Iterator[Made]:
    """Signatures of each reduction and tile, by the numbers that the spool holds.

    A digest is that of all units in their order, whichever segments hold them. Without the spool, which somebody may
    have removed, units are missing.
    """
    known = results_of(run)
    groups: dict[str, list[str]] = {}
    for unit in read_plan(run.plan):
        if unit.stage == STAGE:
            groups.setdefault(unit.id.rpartition("/")[0], []).append(unit.id)
    found = _read(run, known)
    for name, units in sorted(groups.items()):
        there = {unit: found[unit] for unit in units if unit in found}
        content = sorted((unit, what) for unit, (what, _) in there.items())
        rows = sum(count for _, count in there.values())
        yield Made(
            name, "signatures", digest_json(content) if there else "", rows, 0, missing=len(units) - len(there)
        )


def _read(run: Run, known: Mapping[str, UnitResult]) -> dict[str, tuple[str, int]]:
    """Digest and rows of each unit whose result is there."""
    found = {unit: ("", 0) for unit, result in known.items() if not result.segments}
    for name in sorted({name for result in known.values() for name in result.segments}):
        if not is_there(run.spool / name):
            continue
        try:
            segment = read_segment(run.spool / name)
        except SpoolError:
            continue
        for batch in segment.batches:
            if batch.unit in known and batch.inputs in (known[batch.unit].inputs, ""):
                found[batch.unit] = _digest(batch), len(batch.zone)
    return found


def _digest(batch: SignatureBatch) -> str:
    order = np.argsort(batch.zone, kind="stable")
    whole = hashlib.blake2b(digest_size=16)
    whole.update(digest_json([batch.acquisition.id, *_names(batch)]).encode())
    for column in (batch.zone, batch.valid, batch.total, batch.values, *(c for _, c in batch.classes.values())):
        rows = column[order]
        whole.update(np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).tobytes())
    return whole.hexdigest()


def _names(batch: SignatureBatch) -> list[Any]:
    classes = {band: digest(codes.tobytes()) for band, (codes, _) in batch.classes.items()}
    return [batch.bands, batch.statistics, classes]

"""Verify results of graphs: shards and parts against their manifest, files against the note that was kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from hpckit.cubes.audit import damage
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.objects import objects_at
from hpckit.cubes.verify import Fault, Kind, look_at, remove_leftovers
from hpckit.reduce.graphs import files
from hpckit.reduce.graphs.job import Output
from hpckit.reduce.graphs.work import Work, files_path

_STALE: Final = "made from another graph or other products than the campaign now has"


@dataclass(frozen=True, slots=True)
class _Check:
    key: str
    unit: str
    look: Callable[[], tuple[Kind, str] | None]


def verify_graphs(works: Sequence[Work], progress: Callable[[int, int], None]) -> list[Fault]:
    """Check what units of graphs have stored, and the result files; what is faulty is marked.

    Returns
    -------
    list of Fault
        *missing*: never made, or gone. *corrupt*: other bytes than were written. *stale*: made from something else.
    """
    faults = []
    for work in works:
        for output in work.job.outputs:
            faults += _verify_parts(work, output, progress)
            faults += _verify_files(work, output)
        remove_leftovers(work.path)
        remove_leftovers(files_path(work.tiles.campaign, work.reduction))
    return faults


def _verify_parts(work: Work, output: Output, progress: Callable[[int, int], None]) -> list[Fault]:
    manifest = Manifest.load(work.path, [output.key])
    checks = list(_checks(work, output, manifest))
    faults = []
    for check, found in look_at(checks, lambda check: check.look(), progress):
        if found is not None:
            faults.append(Fault(f"{work.path.name}/{check.key}", *found, check.unit))
            if found[0] in ("missing", "corrupt"):
                manifest.disown([check.key], "verify")
    return faults


def _checks(work: Work, output: Output, manifest: Manifest) -> Iterator[_Check]:
    for piece in work.pieces(output):
        unit = f"graph/{work.reduction.name}/{output.key}/{piece.name}"
        for key in work.keys(output, piece):
            yield _Check(key, unit, partial(_look, work, key, manifest))


def _look(work: Work, key: str, manifest: Manifest) -> tuple[Kind, str] | None:
    record = manifest.get(key)
    if record is None:
        return "missing", "never computed, or found faulty before"
    found = damage(objects_at(work.path), record)
    return ("stale", _STALE) if found is None and record.inputs != (work.inputs,) else found


def _verify_files(work: Work, output: Output) -> list[Fault]:
    if not output.format:
        return []
    path = files.note_path(work.tiles.campaign, work.reduction, output)
    unit = f"results/{work.reduction.name}/{output.key}"
    faults = [Fault(str(file.name), *found, unit) for file, found in files.damaged(path)]
    if not faults and files.noted(path)[0] != files.made_from(work.inputs, output):
        faults = [Fault(path.name, "stale", _STALE, unit)]
    if any(fault.kind in ("missing", "corrupt") for fault in faults):
        path.unlink(missing_ok=True)
    return faults

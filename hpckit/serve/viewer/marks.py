"""Parcels that somebody marked for follow-up, with a note: lines that are only ever added to a file."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from hpckit.base.files import make_folder
from hpckit.serve.answers import json_answer, text_of
from hpckit.serve.dataset import Dataset
from hpckit.serve.problems import bad_value
from hpckit.serve.seriesdata import zone_row
from hpckit.serve.service import Service
from hpckit.serve.zonemap import ZoneMap

STATES: Final = ("follow-up", "visit", "done")
_LONGEST_NOTE: Final = 2000
_FILE: Final = "marks.jsonl"


def read_marks(dataset: Dataset, reduction: str | None = None) -> Mapping[str, Mapping[str, Any]]:
    """Marks by zone: state, note, user and time of the last change.

    Parameters
    ----------
    reduction : str, optional
        Reductions over the same layer have the same marks.
    """
    path = dataset.state / _FILE
    try:
        status = path.stat()
    except FileNotFoundError:
        return {}
    return _marks(path, status.st_mtime_ns, status.st_size).get(_layer(dataset, reduction), {})


@lru_cache(maxsize=16)
def _marks(path: Path, changed: int, size: int) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Marks by layer and zone, read once for each state of the file: every tile of the map asks for them."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            mark = json.loads(line)
            layer, name = str(mark["layer"]), str(mark["zone"])
        except (ValueError, KeyError, TypeError):
            continue  # of a writer that was killed
        zones = found.setdefault(layer, {})
        zones.pop(name, None)
        if mark.get("state") in STATES:
            zones[name] = mark
    return found


def _layer(dataset: Dataset, reduction: str | None) -> str:
    """Name of the zones of a reduction in the file of marks."""
    chosen = dataset.view.reduction(reduction)
    return ":".join([chosen.zones.name, *([chosen.layer] if chosen.layer else []), chosen.id])


def append_mark(folder: Path, mark: Mapping[str, Any]) -> None:
    """Append a mark; one without a state takes the zone's mark away."""
    make_folder(folder)
    with (folder / _FILE).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.fchmod(file.fileno(), 0o600)
        # After a writer that was killed in the middle of a line.
        start = b"" if file.tell() == 0 or _ends_line(folder / _FILE) else b"\n"
        file.write(start + json.dumps(dict(mark), ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def listed(request: Request, dataset: Dataset) -> Response:
    """Answer with all marks of the zones of a reduction, newest last."""
    marks = read_marks(dataset, request.query_params.get("reduction"))
    return json_answer(request, {"marks": list(marks.values()), "states": STATES})


def adding(service: Service) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """The address to which marks are posted: JSON with `zone`, `state` and `note`."""

    async def add(request: Request) -> Response:
        # In a thread from here on: a password or a token may have to be looked at.
        return await run_in_threadpool(_added, service, request, await request.body())

    return add


def _added(service: Service, request: Request, content: bytes) -> Response:
    dataset = service.dataset(request, request.path_params["dataset"], "mark")
    try:
        body = json.loads(content)
        name, state, note = str(body["zone"]), str(body.get("state", STATES[0])), str(body.get("note", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise bad_value("body", "is no JSON object with `zone`, `state` and `note`") from None
    if state not in STATES:
        raise bad_value("state", f"is none of {', '.join(STATES)}")
    if len(note) > _LONGEST_NOTE:
        raise bad_value("note", f"is longer than {_LONGEST_NOTE} characters")

    zone_row(dataset, name, request.query_params.get("reduction"))
    mark = _write(service, request, dataset, "mark", {"zone": name, "state": state, "note": note})
    return json_answer(request, mark, status=201)


def removed(request: Request, service: Service, dataset: Dataset) -> Response:
    """Take the mark of a zone away; that it was there stays in the file."""
    name = text_of(request, "zone")
    if name in read_marks(dataset, request.query_params.get("reduction")):
        _write(service, request, dataset, "unmark", {"zone": name, "state": None, "note": ""})
    return Response(status_code=204)


def attributes(dataset: Dataset, zones: ZoneMap, reduction: str | None) -> dict[str, npt.NDArray[Any]]:
    """Attribute `mark` of the zones on the map: number of the state, NaN without one."""
    marks = read_marks(dataset, reduction)
    if not marks:
        return {}
    values = np.full(len(zones), np.nan)
    for name, mark in marks.items():
        row = zones.find_row(name)
        if row is not None:
            values[row] = STATES.index(mark["state"])
    return {"mark": values}


def _write(service: Service, request: Request, dataset: Dataset, what: str, mark: dict[str, Any]) -> dict[str, Any]:
    """Append a mark with user and time, and note who did it."""
    user = service.reader(request).name or "anyone"
    layer = _layer(dataset, request.query_params.get("reduction"))
    mark = mark | {"layer": layer, "user": user, "time": datetime.now(UTC).isoformat(timespec="seconds")}
    append_mark(dataset.state, mark)
    service.note(request, what, dataset, zone=mark["zone"])
    return mark

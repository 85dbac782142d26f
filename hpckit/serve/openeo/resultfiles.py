"""The list of a job's results: files that its run made, as `results.json` beside them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from hpckit import api
from hpckit.base.files import write_json
from hpckit.serve.openeo.jobfolder import JobFolder

INDEX: Final = "results.json"


def index_results(job: JobFolder) -> int:
    """Write the list of the files that a run made; gives their number."""
    found = [asdict(item) for item in api.graph_results(job.campaign)]
    for item in found:
        item["path"] = str(item["path"].absolute().relative_to(job.path.absolute()))
    write_json(job.path / INDEX, found)
    return len(found)


def listed_results(job: JobFolder) -> list[dict[str, Any]]:
    """Files of a finished job: fields of `ResultFile`, with paths relative to the job's folder."""
    found: list[dict[str, Any]] = json.loads((job.path / INDEX).read_bytes())
    return found

"""Addresses of results: the documents of a job, and its files by signed links."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hpckit.serve.files import send_file
from hpckit.serve.identity.links import Links
from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.expiring import are_over, ends_at
from hpckit.serve.openeo.jobfolder import Job, JobFolder, State, stamp
from hpckit.serve.openeo.joblog import last_error
from hpckit.serve.openeo.resultdocs import (
    COLLECTION,
    GRAPH,
    ITEMS,
    Address,
    collection_of,
    item_of,
    names_of,
    sources,
)
from hpckit.serve.openeo.resultfiles import listed_results
from hpckit.serve.service import Service

DOWNLOAD: Final = "/openeo/1.2/download"
_GEOJSON: Final = "application/geo+json"


class Results:
    """Documents and files of finished jobs.

    Parameters
    ----------
    service : Service
        Keys that sign links.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    def listed(self, request: Request, folder: JobFolder) -> Response:
        """Results of a job (GET /jobs/{id}/results), as an Item if there is one file, else as a Collection."""
        job, state = folder.job(), folder.shown()
        if state.status == "error":
            entry = last_error(folder.log) or {"id": "0", "level": "error", "message": "the job failed"}
            return JSONResponse({**entry, "code": entry.get("code", "JobFailed")}, 424)
        if state.status == "created":
            raise OpenEoError("JobNotStarted", "the job was not started", hint="POST to this address first")
        is_partial = request.query_params.get("partial", "false").lower() in ("", "true", "1")
        if state.status != "finished" and not is_partial:
            raise OpenEoError("JobNotFinished", f"the job is {state.status}, and its results are not complete")
        if self._are_over(state):
            raise _ended()
        files = listed_results(folder) if state.status == "finished" else []
        wants_item = _GEOJSON in request.headers.get("accept", "")
        found = self._document(request, job, state, files, as_item=wants_item or len(files) == 1)
        media = _GEOJSON if found["type"] == "Feature" and wants_item else "application/json"
        return JSONResponse(found, headers={"OpenEO-Costs": "0", "Cache-Control": "no-store"}, media_type=media)

    def send(self, request: Request, folder: JobFolder, token: str, key: str, path: str) -> Response:
        """A file or a document by a signed link.

        Raises
        ------
        OpenEoError
            410 if the link is not valid any more, 404 if it never was, or the job is gone.
        """
        links = self._links
        root = f"{folder.id}/{key}"
        is_right = links.is_valid(token, root)
        if not is_right and links.is_expired(token):
            raise _expired()
        job = _job(folder) if is_right else None
        if job is None:
            raise OpenEoError("NotFound", "there is nothing at this address")
        if job.key != key:
            raise _expired()
        state = folder.shown()
        if self._are_over(state):
            raise _ended()
        if state.status != "finished":  # it runs again
            raise _expired()
        return self._send(request, folder, job, state, path)

    def _send(self, request: Request, folder: JobFolder, job: Job, state: State, path: str) -> Response:
        if path == GRAPH:
            return JSONResponse(job.process)
        files = listed_results(folder)
        if path == COLLECTION:
            return JSONResponse(self._document(request, job, state, files, as_item=len(files) == 1))
        if path.startswith(ITEMS):
            name = path.removeprefix(ITEMS).removesuffix(".json")
            known = names_of(files)
            if name not in known:
                raise OpenEoError("NotFound", "there is nothing at this address")
            document = item_of(job, state, name, [known[name]], self._address(request, job))
            return JSONResponse(document, media_type=_GEOJSON)
        wanted = PurePosixPath(path)
        if not any(wanted.is_relative_to(item["path"]) for item in files):
            raise OpenEoError("NotFound", "there is nothing at this address")
        return send_file(request, folder.path, path)

    def _document(
        self, request: Request, job: Job, state: State, files: list[dict[str, Any]], *, as_item: bool
    ) -> dict[str, Any]:
        address = self._address(request, job)
        if as_item:
            name = next(iter(names_of(files)), "")
            found = item_of(job, state, name, files, address)
            found["id"] = job.id
            found["properties"]["expires"] = self._expires(state)
        else:
            found = collection_of(job, state, files, address)
            found["expires"] = self._expires(state)
        root = f"{self.service.address(request)}/openeo/1.2"
        own = f"{root}/jobs/{job.id}/results"
        found["links"] = [
            {"rel": "self", "href": own, "type": "application/json"},
            *found["links"],
            *sources(job, root),
        ]
        return found

    def _address(self, request: Request, job: Job) -> Address:
        root, origin = f"{job.id}/{job.key}", self.service.origin(request)
        start = self._links.to(root, base=DOWNLOAD)
        return lambda path: f"{origin}{start}{quote(path)}"

    @property
    def _links(self) -> Links:
        return self.service.links

    def _expires(self, state: State) -> str:
        """When links end, or results before them."""
        now, days = self._links.now(), self._links.days
        link, end = (now // 86400 + 1 + days) * 86400, ends_at(state, self._days)
        return stamp(link if end is None else min(link, end))

    def _are_over(self, state: State) -> bool:
        return are_over(state, self._days, self._links.now())

    @property
    def _days(self) -> float | None:
        return self.service.settings.openeo.result_days


def _job(folder: JobFolder) -> Job | None:
    try:
        return folder.job()
    except (OSError, ValueError):
        return None


def _expired() -> OpenEoError:
    hint = "GET the results of the job again for new links"
    return OpenEoError("ResultLinkExpired", "the link is not valid any more", hint=hint)


def _ended() -> OpenEoError:
    hint = "start the job again to compute them again"
    return OpenEoError("ResultLinkExpired", "the time is over for which results of jobs are kept", hint=hint)

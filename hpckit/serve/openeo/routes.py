"""Addresses of the openEO door, below `/openeo/1.2`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from hpckit import api
from hpckit.errors import SiteError
from hpckit.processgraph.specs import documents
from hpckit.serve.identity.access import TOKEN_S, client_address
from hpckit.serve.openeo import capabilities
from hpckit.serve.openeo.bodies import process_in, read_object
from hpckit.serve.openeo.border import ROOT, WELL_KNOWN
from hpckit.serve.openeo.collections import Collections
from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.followerprocess import FollowerProcess
from hpckit.serve.openeo.graphs import Graphs
from hpckit.serve.openeo.jobfolder import IDENTIFIER, JobFolder
from hpckit.serve.openeo.jobs import Jobs
from hpckit.serve.openeo.ondemand import OnDemand
from hpckit.serve.openeo.results import Results
from hpckit.serve.openeo.synchronous import SynchronousGraphs
from hpckit.serve.openeo.userfiles import UserFiles
from hpckit.serve.openeo.userprocesses import UserProcesses
from hpckit.serve.openeo.users import User, user_of
from hpckit.serve.service import Service

VERSION: Final = f"{ROOT}/1.2"
Endpoint = Callable[[Request], Response]
OfUser = Callable[[Request, User], Response]
WithBody = Callable[[Request, User, dict[str, Any]], Response]


def routes(service: Service) -> Sequence[BaseRoute]:
    """Addresses of the door."""
    door = OpenEoDoor(service)
    service.on_close(door.follower.close)
    service.on_close(door.synchronous.close)
    door.begin()
    versions = Route(WELL_KNOWN, door.versions, methods=["GET"])
    below = [*door.unlisted, *door.listed]
    return [
        versions,
        Mount(VERSION, routes=below),
        Route(f"{ROOT}{WELL_KNOWN}", door.versions, methods=["GET"]),
        Route(f"{ROOT}/", door.first, methods=["GET"]),
        Route(ROOT, door.first, methods=["GET"]),
    ]


@dataclass
class OpenEoDoor:
    """What the addresses answer."""

    service: Service

    def __post_init__(self) -> None:
        """Find the folders, and make what answers."""
        settings, service = self.service.settings.openeo, self.service
        folder = service.settings.resolve(settings.jobs) if settings.jobs is not None else service.state / "openeo"
        self.folder = folder.absolute()
        on_demand = OnDemand(service, self.folder)
        self.collections = Collections(service, on_demand)
        self.processes = UserProcesses(self.folder / "processes", frozenset(documents()))
        self.files = UserFiles(self.folder / "files", settings.quota_mib * 2**20)
        self.follower = FollowerProcess(self.folder / "jobs", settings.poll_s, settings.result_days)
        graphs = Graphs(self.collections, self.processes, on_demand, settings.hosts)
        self.graphs = graphs
        self.jobs = Jobs(service, self.folder / "jobs", graphs, self.follower)
        self.results = Results(service)
        self.synchronous = SynchronousGraphs(graphs, settings.synchronous, self.folder / "synchronous")

    def begin(self) -> None:
        """Remove what a killed server left, follow jobs, and let code of users run as the site says."""
        settings = self.service.settings
        with suppress(SiteError):  # said to whoever creates a job
            api.use_user_code_of(settings.openeo.site, settings.resolve(Path()))
        with suppress(SiteError):  # starting a job says what is wrong with it
            api.use_user_code_of(self.service.settings.openeo.site, self.service.settings.resolve(Path()))
        self.files.tidy()
        self.synchronous.tidy()
        self.follower.start_if_needed()

    # -- addresses ---------------------------------------------------------------------------------------------------
    @cached_property
    def listed(self) -> list[Route]:
        """Addresses that the capabilities list."""
        of_user, of_job, with_body = self._of_user, self._of_job, self._with_body
        found = [
            _get("/.well-known/openeo", self.versions),
            _get("/conformance", lambda request: JSONResponse(capabilities.conformance())),
            _get("/collections", self.list_collections),
            _get("/collections/{collection_id}", self.collection),
            _get("/collections/{collection_id}/queryables", self.queryables),
            _get("/processes", self.list_processes),
            _get("/file_formats", self.file_formats),
            _get("/udf_runtimes", self.udf_runtimes),
            _get("/service_types", lambda request: JSONResponse({})),
            _get("/processing_parameters", lambda request: JSONResponse(capabilities.processing_parameters())),
            _get("/me", of_user(self.me)),
            Route("/validation", with_body(self.validate), methods=["POST"]),
            Route("/result", self.compute, methods=["POST"]),
            _get("/process_graphs", of_user(self.list_own_processes)),
            _get("/process_graphs/{process_graph_id}", of_user(self.own_process)),
            Route("/process_graphs/{process_graph_id}", with_body(self.store_process), methods=["PUT"]),
            Route("/process_graphs/{process_graph_id}", of_user(self.delete_process), methods=["DELETE"]),
            _get("/files", of_user(self.files.listed)),
            _get("/files/{path:path}", of_user(self.read_file)),
            Route("/files/{path:path}", self.write_file, methods=["PUT"]),
            Route("/files/{path:path}", of_user(self.delete_file), methods=["DELETE"]),
            _get("/jobs", of_user(self.jobs.listed)),
            Route("/jobs", with_body(self.jobs.create), methods=["POST"]),
            _get("/jobs/{job_id}", of_job(lambda request, user, job: self.jobs.described(job))),
            Route("/jobs/{job_id}", with_body(self.change_job), methods=["PATCH"]),
            Route("/jobs/{job_id}", of_job(self.jobs.delete), methods=["DELETE"]),
            _get("/jobs/{job_id}/logs", of_job(lambda request, user, job: self.jobs.log(request, job))),
            _get("/jobs/{job_id}/estimate", of_job(self.jobs.estimate)),
            _get("/jobs/{job_id}/results", of_job(lambda request, user, job: self.results.listed(request, job))),
            Route("/jobs/{job_id}/results", of_job(self.jobs.start), methods=["POST"]),
            Route("/jobs/{job_id}/results", of_job(self.jobs.stop), methods=["DELETE"]),
        ]
        if self.service.settings.users is not None:
            found.append(_get("/credentials/basic", self.basic))
        if self.service.settings.oidc:
            found.append(_get("/credentials/oidc", self.oidc))
        return found

    @property
    def unlisted(self) -> list[Route]:
        """The first document, and signed links."""
        return [_get("/", self.first), _get("/download/{token}/{job_id}/{key}/{path:path}", self.download)]

    # -- what is told to everybody -----------------------------------------------------------------------------------
    def _root(self, request: Request) -> str:
        return f"{self.service.address(request)}{VERSION}"

    def versions(self, request: Request) -> Response:
        """Versions of the API."""
        return JSONResponse(capabilities.well_known(self._root(request), production=False))

    def first(self, request: Request) -> Response:
        """Capabilities."""
        return JSONResponse(capabilities.capabilities(self.service.settings, self._root(request), self.listed))

    def list_collections(self, request: Request) -> Response:
        """All collections that the reader may know of."""
        return JSONResponse({"collections": self.collections.listed(request), "links": []})

    def collection(self, request: Request) -> Response:
        """A collection."""
        return JSONResponse(self.collections.described(request, request.path_params["collection_id"]))

    def queryables(self, request: Request) -> Response:
        """What conditions on a collection may use."""
        found = self.collections.queryables(request, request.path_params["collection_id"])
        return JSONResponse(found, media_type="application/schema+json")

    def list_processes(self, request: Request) -> Response:
        """Processes that there are."""
        # Never in pages, whatever is asked for: builders of clients take the first page for all.
        return JSONResponse({"processes": [dict(item) for item in api.graph_processes()], "links": []})

    def file_formats(self, request: Request) -> Response:
        """Formats of results."""
        from hpckit.reduce.graphs.formats import FORMATS

        return JSONResponse(capabilities.file_formats(FORMATS))

    def udf_runtimes(self, request: Request) -> Response:
        """What runs code of users."""
        return JSONResponse(api.udf_runtimes())

    # -- logins ------------------------------------------------------------------------------------------------------
    def basic(self, request: Request) -> Response:
        """A token for a name and password."""
        if not request.headers.get("authorization", "").lower().startswith("basic "):
            raise OpenEoError("AuthenticationRequired", "send name and password (HTTP Basic)")
        reader = self.service.reader(request)
        self.service.audit.note(reader.name, client_address(request), "token", by="openeo")
        token = self.service.access.token_for(reader, TOKEN_S)
        return JSONResponse({"access_token": token}, headers={"Cache-Control": "no-store"})

    def oidc(self, request: Request) -> Response:
        """Providers of logins."""
        return JSONResponse(capabilities.providers(self.service.settings))

    def me(self, request: Request, user: User) -> Response:
        """Who asks, and which accounts they may compute under."""
        used = self.files.used(user)
        accounts = [account.name for account in user.accounts if account.name is not None]
        storage = {"free": max(0, min(self.files.quota - used, self.files.free())), "quota": self.files.quota}
        return JSONResponse({"user_id": user.id, "name": user.name, "storage": storage, "accounts": accounts})

    # -- processes of users ------------------------------------------------------------------------------------------
    def validate(self, request: Request, user: User, body: dict[str, Any]) -> Response:
        """Faults of a process."""
        try:
            process = process_in({"process": body} if "process_graph" in body else body)
        except OpenEoError as error:
            return JSONResponse({"errors": [{"code": error.code, "message": error.detail}]})
        return JSONResponse({"errors": self.graphs.errors(request, user, process)})

    def list_own_processes(self, request: Request, user: User) -> Response:
        """The user's processes."""
        return JSONResponse({"processes": self.processes.listed(user), "links": []})

    def own_process(self, request: Request, user: User) -> Response:
        """A process of the user."""
        return JSONResponse(self.processes.get(user, request.path_params["process_graph_id"]))

    def store_process(self, request: Request, user: User, body: dict[str, Any]) -> Response:
        """Store a process of the user."""
        self.processes.put(user, request.path_params["process_graph_id"], body)
        return Response(status_code=200)

    def delete_process(self, request: Request, user: User) -> Response:
        """Delete a process of the user."""
        self.processes.delete(user, request.path_params["process_graph_id"])
        return Response(status_code=204)

    # -- files of users ----------------------------------------------------------------------------------------------
    def read_file(self, request: Request, user: User) -> Response:
        """A file of the user."""
        return self.files.read(request, user, request.path_params["path"])

    async def write_file(self, request: Request) -> Response:
        """Store a file of the user."""
        user = await run_in_threadpool(user_of, self.service, request)
        return await self.files.write(request, user, request.path_params["path"])

    def delete_file(self, request: Request, user: User) -> Response:
        """Delete a file of the user."""
        return self.files.delete(user, request.path_params["path"])

    # -- jobs and results --------------------------------------------------------------------------------------------
    def change_job(self, request: Request, user: User, body: dict[str, Any]) -> Response:
        """Change a job."""
        return self.jobs.change(request, user, self.jobs.find(user, request.path_params["job_id"]), body)

    async def compute(self, request: Request) -> Response:
        """The result of a small graph."""
        user = await run_in_threadpool(user_of, self.service, request)
        return await self.synchronous.answer(request, user, process_in(await read_object(request)))

    def download(self, request: Request) -> Response:
        """A file of a job, by a signed link."""
        token, job, key, path = (request.path_params[name] for name in ("token", "job_id", "key", "path"))
        if not IDENTIFIER.fullmatch(job) or not re.fullmatch(r"[A-Za-z0-9]{1,64}", key):
            raise OpenEoError("NotFound", "there is nothing at this address")
        return self.results.send(request, JobFolder(self.jobs.folder / job), token, key, path)

    # -- wrappers ----------------------------------------------------------------------------------------------------
    def _of_user(self, endpoint: OfUser) -> Endpoint:
        return lambda request: endpoint(request, user_of(self.service, request))

    def _of_job(self, endpoint: Callable[[Request, User, JobFolder], Response]) -> Endpoint:
        def answer(request: Request) -> Response:
            user = user_of(self.service, request)
            return endpoint(request, user, self.jobs.find(user, request.path_params["job_id"]))

        return answer

    def _with_body(self, endpoint: WithBody) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            user = await run_in_threadpool(user_of, self.service, request)
            return await run_in_threadpool(endpoint, request, user, await read_object(request))

        return answer


def _get(path: str, endpoint: Endpoint) -> Route:
    return Route(path, endpoint, methods=["GET"])

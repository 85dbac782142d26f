"""Batch jobs: created, changed, started, stopped, deleted, and what is told of them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hpckit import api
from hpckit.errors import SiteError
from hpckit.serve.openeo.bodies import metadata_in, options_in, process_in
from hpckit.serve.openeo.descriptions import Descriptions, described
from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.followerprocess import FollowerProcess
from hpckit.serve.openeo.graphs import Graphs
from hpckit.serve.openeo.jobfolder import (
    BUSY,
    IDENTIFIER,
    Job,
    JobFolder,
    create,
    folders,
    new_id,
    stamp,
)
from hpckit.serve.openeo.joblog import LEVELS, Level, entries, note
from hpckit.serve.openeo.options import read_options, write_site
from hpckit.serve.openeo.paging import page
from hpckit.serve.openeo.runas import SITE, share
from hpckit.serve.openeo.users import Account, User
from hpckit.serve.service import Service
from hpckit.sites.site import Site

_MOST_LINES: Final = 10_000


class Jobs:
    """The batch jobs of all users.

    Parameters
    ----------
    service : Service
        What the doors share.
    folder : Path
        Of the jobs.
    graphs : Graphs
        What checks process graphs.
    follower : FollowerProcess
        What runs jobs.
    """

    def __init__(self, service: Service, folder: Path, graphs: Graphs, follower: FollowerProcess) -> None:
        self.service = service
        self.settings = service.settings.openeo
        self.folder = folder
        self.graphs = graphs
        self.follower = follower
        self._owners: dict[str, str] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self.descriptions = Descriptions()

    # -- finding -----------------------------------------------------------------------------------------------------
    def find(self, user: User, name: str) -> JobFolder:
        """The folder of a user's job.

        Raises
        ------
        OpenEoError
            If there is none, or it is somebody else's.
        """
        folder = JobFolder(self.folder / name)
        if not IDENTIFIER.fullmatch(name) or self._owner(folder) != user.id or _is_deleted(folder):
            raise _missing(name)
        return folder

    def _of(self, user: User) -> list[JobFolder]:
        """A user's jobs, oldest first."""
        return [item for item in folders(self.folder) if self._owner(item) == user.id and not _is_deleted(item)]

    def _owner(self, folder: JobFolder) -> str | None:
        known = self._owners.get(folder.id)
        if known is None:
            try:
                known = self._owners[folder.id] = self.descriptions.head(folder).user
            except (OSError, ValueError):
                return None
        return known

    @contextmanager
    def _changing(self, folder: JobFolder) -> Iterator[None]:
        """One change of a job at a time."""
        with self._lock:
            lock = self._locks.setdefault(folder.id, threading.Lock())
        with lock:
            yield

    # -- telling -----------------------------------------------------------------------------------------------------
    def listed(self, request: Request, user: User) -> Response:
        """All jobs (GET /jobs), newest first."""
        found, links = page(request, self._of(user)[::-1])
        return JSONResponse(
            {"jobs": [described(self.descriptions.head(item), item.shown()) for item in found], "links": links}
        )

    def described(self, folder: JobFolder) -> Response:
        """A job (GET /jobs/{id})."""
        return Response(self.descriptions.body(folder), media_type="application/json")

    def log(self, request: Request, folder: JobFolder) -> Response:
        """The log (GET /jobs/{id}/logs), from an entry on."""
        stored = self.descriptions.head(folder).log_level
        asked = request.query_params.get("level") or "debug"
        if asked not in LEVELS:
            raise OpenEoError("ParameterInvalid", f"level: write one of {', '.join(LEVELS)}")
        level: Level = LEVELS[min(LEVELS.index(asked), LEVELS.index(stored))]
        offset = request.query_params.get("offset") or "0"
        if not (offset.isascii() and offset.isdecimal() and len(offset) < 12):
            raise OpenEoError("ParameterInvalid", "offset: write the id of a log entry")
        found = list(entries(folder.log, level, int(offset)))
        limit = request.query_params.get("limit", "")
        most = int(limit) if limit.isascii() and limit.isdecimal() and 0 < len(limit) < 9 else _MOST_LINES
        links = []
        if len(found) > most > 0:
            query = request.url.include_query_params(offset=found[most - 1]["id"]).query
            links.append({"rel": "next", "href": f"?{query}", "type": "application/json"})
            found = found[:most]
        return JSONResponse({"level": level, "logs": found, "links": links})

    def estimate(self, request: Request, user: User, folder: JobFolder) -> Response:
        """How long a job would take, and how much it would write (GET /jobs/{id}/estimate)."""
        found = self.graphs.estimate(request, user, folder.job().process)
        return JSONResponse({"duration": f"PT{max(1, round(found.seconds))}S", "size": int(found.bytes)})

    # -- changing ----------------------------------------------------------------------------------------------------
    def create(self, request: Request, user: User, body: dict[str, Any]) -> Response:
        """Store a job (POST /jobs)."""
        process, metadata, options = process_in(body), metadata_in(body), options_in(body) or {}
        account = self._checked(user, options)
        warnings = self.graphs.require_sound(request, user, process)
        now = stamp()
        job = Job(
            id=new_id(),
            user=user.id,
            process=process,
            created=now,
            updated=now,
            site=self.settings.site,
            account=account.name,
            cluster_user=account.user if self.settings.run_as == "user" else None,
            command=self.settings.command if self.settings.run_as == "user" else None,
            options=options,
            retries=options.get("retries", self.settings.retries),
            key=secrets.token_urlsafe(9).replace("_", "a").replace("-", "b"),
            **metadata,
        )
        folder = create(self.folder, job)
        if job.cluster_user is not None and self.settings.group is not None:
            share(folder, self.settings.group)
        note(folder.log, "info", "created")
        for warning in warnings:
            note(folder.log, "warning", warning)
        address = f"{self.service.address(request)}/openeo/1.2/jobs/{job.id}"
        self._audit(request, user, "job created", job.id)
        return Response(status_code=201, headers={"Location": address, "OpenEO-Identifier": job.id})

    def change(self, request: Request, user: User, folder: JobFolder, body: dict[str, Any]) -> Response:
        """Change a job that neither waits nor runs (PATCH /jobs/{id})."""
        with self._changing(folder):
            if folder.shown().status in BUSY:
                raise OpenEoError("JobLocked", "the job waits or runs", hint="stop it first")
            job, options = folder.job(), options_in(body)
            changes = metadata_in(body)
            if "process" in body:
                changes["process"] = process_in(body)
                self.graphs.require_sound(request, user, changes["process"])
            if options is not None:
                account = self._checked(user, options)
                changes |= {"options": options, "account": account.name}
                changes["retries"] = options.get("retries", self.settings.retries)
            if changes:
                folder.write_job(replace(job, **changes, updated=stamp()))
        return Response(status_code=204)

    def start(self, request: Request, user: User, folder: JobFolder) -> Response:
        """Submit a job (POST /jobs/{id}/results); nothing happens if it waits or runs."""
        with self._changing(folder):
            if folder.shown().status in BUSY:
                return Response(status_code=202)
            job = folder.job()
            account = self._checked(user, job.options)
            self._require_room(user, account)
            self.graphs.prepare(request, user, job, folder, account.limits)
            options = read_options(job.options, self._site(), account.limits)
            write_site(self._site(), options, folder.path / SITE)
            runas_user = account.user if self.settings.run_as == "user" else None
            folder.write_job(
                replace(job, updated=stamp(), account=account.name, cluster_user=runas_user, site=self.settings.site)
            )
            folder.want("run")
        self.follower.wake(folder.id)
        self._audit(request, user, "job started", folder.id)
        return Response(status_code=202)

    def stop(self, request: Request, user: User, folder: JobFolder) -> Response:
        """Cancel a job (DELETE /jobs/{id}/results); nothing happens if it neither waits nor runs."""
        with self._changing(folder):
            if folder.shown().status in BUSY:
                folder.want("stop")
                self.follower.wake(folder.id)
                self._audit(request, user, "job stopped", folder.id)
        return Response(status_code=204)

    def delete(self, request: Request, user: User, folder: JobFolder) -> Response:
        """Delete a job and all that it has (DELETE /jobs/{id})."""
        with self._changing(folder):
            if folder.wanted() is None:
                folder.remove()
            else:
                folder.want("delete")
                self.follower.wake(folder.id)
        self._audit(request, user, "job deleted", folder.id)
        return Response(status_code=204)

    # -- checks ------------------------------------------------------------------------------------------------------
    def _checked(self, user: User, options: Mapping[str, Any]) -> Account:
        account = user.account(options.get("account"))
        read_options(options, self._site(), account.limits)
        return account

    def _site(self) -> Site:
        try:
            return api.find_site(self.settings.site, self.service.settings.resolve(Path()))
        except SiteError as error:
            raise OpenEoError("InfrastructureMaintenance", f"the site cannot be used: {error.message}") from None

    def _require_room(self, user: User, account: Account) -> None:
        most = account.limits.jobs
        if most is not None and sum(item.shown().status in BUSY for item in self._of(user)) >= most:
            raise OpenEoError(
                "PaymentRequired", f"{most} of your jobs wait or run, and no more may", hint="wait for one of them"
            )

    def _audit(self, request: Request, user: User, what: str, job: str) -> None:
        from hpckit.serve.identity.access import client_address

        self.service.audit.note(user.name, client_address(request), what, job=job)


def _is_deleted(folder: JobFolder) -> bool:
    try:
        wanted = folder.wanted()
    except (OSError, ValueError):
        return True
    return wanted is not None and wanted.want == "delete"


def _missing(name: str) -> OpenEoError:
    return OpenEoError("JobNotFound", f"the batch job {name!r} does not exist")

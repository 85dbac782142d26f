"""Process graphs of requests: checked, prepared as campaigns, estimated, computed; all by `api`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request

from hpckit import api
from hpckit.errors import GraphError
from hpckit.serve.openeo.collections import Collections
from hpckit.serve.openeo.errors import OpenEoError, code_of, of_fault, sentence
from hpckit.serve.openeo.jobfolder import Job, JobFolder
from hpckit.serve.openeo.joblog import note
from hpckit.serve.openeo.ondemand import OnDemand
from hpckit.serve.openeo.settings import AccountLimits
from hpckit.serve.openeo.userprocesses import UserProcesses
from hpckit.serve.openeo.users import User

if TYPE_CHECKING:
    from hpckit.reduce.graphs.estimating import GraphEstimate

_OF_DATA: Final = frozenset({"NoDataAvailable", "TemporalExtentEmpty", "SpatialExtentEmpty", "StorageQuotaExceeded"})
"""Faults that pass, or that other data would not have: a job may be stored with them, and not started."""


@dataclass(frozen=True)
class Graphs:
    """What is done with process graphs of users."""

    collections: Collections
    processes: UserProcesses
    on_demand: OnDemand
    hosts: tuple[str, ...] = ()
    """Servers that graphs may read."""

    def errors(self, request: Request, user: User, process: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All faults of a process (POST /validation)."""
        faults = self._faults(request, user, process)
        return [{"code": code_of(fault), "message": sentence(fault)} for fault in faults]

    def require_sound(self, request: Request, user: User, process: Mapping[str, Any]) -> list[str]:
        """Refuse a process with faults; those that are only of data are given as warnings.

        Raises
        ------
        OpenEoError
            The first fault.
        """
        faults = self._faults(request, user, process)
        for fault in faults:
            if fault.fault not in _OF_DATA:
                raise of_fault(fault)
        return [sentence(fault) for fault in faults]

    def prepare(self, request: Request, user: User, job: Job, folder: JobFolder, limits: AccountLimits) -> None:
        """Write the graph and the campaign of a job into its folder.

        Raises
        ------
        OpenEoError
            If the graph has a fault, or asks for more than the account allows.
        """
        paths, graph = self.collections.paths(request), self._whole(user, job.process)
        try:
            if limits.core_hours is not None:
                self._require_hours(api.estimate_graph(graph, paths, hosts=self.hosts), limits.core_hours)
            for message in self.on_demand.admit(job.id, graph, paths, self.hosts):
                note(folder.log, "info", message)
            api.prepare_graph(graph, paths, folder.path, title=job.title or job.id, hosts=self.hosts)
        except GraphError as fault:
            raise of_fault(fault) from None

    def estimate(self, request: Request, user: User, process: Mapping[str, Any]) -> GraphEstimate:
        """Time and bytes of a process.

        Raises
        ------
        OpenEoError
            If the graph has a fault, or there is no room for what it wants.
        """
        graph, paths = self._whole(user, process), self.collections.paths(request)
        try:
            found = api.estimate_graph(graph, paths, hosts=self.hosts)
        except GraphError as fault:
            raise of_fault(fault) from None
        for lacking in self.on_demand.faults(graph, paths, self.hosts):
            raise of_fault(lacking)
        return found

    def question(
        self, request: Request, user: User, process: Mapping[str, Any], name: str, seconds: float
    ) -> dict[str, Any]:
        """A graph and the paths of collections, for a process that computes it.

        Parameters
        ----------
        name : str
            Of the computation, for which windows of collections on demand are kept.
        seconds : float
            For how long.

        Raises
        ------
        OpenEoError
            If there is no room for these windows.
        """
        graph, paths = self._whole(user, process), self.collections.paths(request)
        try:
            self.on_demand.admit(name, graph, paths, self.hosts, seconds)
        except GraphError as fault:
            raise of_fault(fault) from None
        known = {name: str(path) for name, path in paths.items()}
        return {"graph": graph, "collections": known, "hosts": list(self.hosts)}

    def _faults(self, request: Request, user: User, process: Mapping[str, Any]) -> list[GraphError]:
        graph, paths = self._whole(user, process), self.collections.paths(request)
        found = api.check_graph(graph, paths, hosts=self.hosts)
        return found or self.on_demand.faults(graph, paths, self.hosts)

    def _whole(self, user: User, process: Mapping[str, Any]) -> dict[str, Any]:
        return whole(process, self.processes.all(user))

    def _require_hours(self, found: GraphEstimate, most: float) -> None:
        hours = found.seconds / 3600
        if hours > most:
            raise OpenEoError(
                "PaymentRequired",
                f"the job would take about {hours:.1f} core-hours, and a job of your account may take {most:g}",
                hint="take a smaller area or a shorter period",
            )


def whole(process: Mapping[str, Any], defined: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A process with those processes of its user that it calls, directly or through others: it stands alone."""
    called: dict[str, Any] = {}
    waiting: list[Any] = [process["process_graph"]]
    while waiting:
        for name in _called(waiting.pop()):
            if name in defined and name not in called:
                called[name] = defined[name]
                waiting.append(defined[name].get("process_graph"))
    return {**process, "user_defined": called} if called else dict(process)


def _called(value: Any) -> set[str]:
    """Names of the processes that a graph calls, child processes included."""
    found: set[str] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("process_id"), str):
                found.add(item["process_id"])
            stack += item.values()
        elif isinstance(item, list):
            stack += item
    return found

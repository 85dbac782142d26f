"""Collections whose cube is filled by jobs: which versions they read, and whether there is room for their wants."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit import api
from hpckit.base.quantities import format_bytes
from hpckit.errors import GraphError, HpckitError, ServeError
from hpckit.serve.openeo.jobfolder import BUSY, IDENTIFIER, JobFolder
from hpckit.serve.service import Service

if TYPE_CHECKING:
    from hpckit.reduce.graphs.ondemand.space import Space
    from hpckit.reduce.graphs.ondemand.wants import Want

_ADMITTED_S: Final = 120.0
"""For which a job keeps its windows before it is seen to wait."""


class OnDemand:
    """The collections of the door that are filled on demand.

    Parameters
    ----------
    service : Service
        Data sets.
    folder : Path
        Of the door: `cubes` and `jobs` lie in it.

    Raises
    ------
    ServeError
        If the settings name a data set that there is not.
    """

    def __init__(self, service: Service, folder: Path) -> None:
        from hpckit.reduce.graphs.ondemand.space import Space

        self._service = service
        self._jobs = folder / "jobs"
        settings = service.settings.openeo.on_demand
        for name in settings:
            if name not in service.datasets:
                raise ServeError(
                    f"openeo.on_demand names the data set {name!r}, which there is not",
                    hint=f"there is {', '.join(sorted(service.datasets)) or 'none'}",
                )
            _require_extent(service, name)
        self._spaces = {name: Space(name, folder / "cubes" / name, item.nbytes) for name, item in settings.items()}

    def __contains__(self, name: str) -> bool:
        """Whether a collection is filled on demand."""
        return name in self._spaces

    def path(self, name: str) -> Path:
        """What graphs read of a collection: the campaign, or the version of its cube for the campaign's last plan."""
        dataset = self._service.datasets[name]
        run = dataset.edition.run if name in self._spaces else None
        return dataset.path.absolute() if run is None else self._spaces[name].collection(run)

    def faults(self, graph: Mapping[str, Any], paths: Mapping[str, Path], hosts: Collection[str]) -> list[GraphError]:
        """Collections that have no room for what a sound graph wants."""
        found = []
        for space, wants in self._wants(graph, paths, hosts):
            try:
                space.require_room(wants, self._ended)
            except GraphError as fault:
                found.append(fault)
        return found

    def admit(
        self,
        name: str,
        graph: Mapping[str, Any],
        paths: Mapping[str, Path],
        hosts: Collection[str],
        seconds: float = _ADMITTED_S,
    ) -> list[str]:
        """Keep what a graph wants until the job of a name has ended; gives what its log is to say.

        Raises
        ------
        GraphError
            `StorageQuotaExceeded`, if there is no room.
        """
        said = []
        for space, wants in self._wants(graph, paths, hosts):
            removed = space.admit(name, wants, self._ended, seconds)
            if removed:
                said.append(
                    f"collection {space.name}: {format_bytes(removed)} that no job needs made room in its cube"
                )
        return said

    def release(self, name: str) -> None:
        """Keep no longer what was admitted under a name."""
        for space in self._spaces.values():
            space.release(name)

    def _wants(
        self, graph: Mapping[str, Any], paths: Mapping[str, Path], hosts: Collection[str]
    ) -> list[tuple[Space, list[Want]]]:
        if not any(name in self._spaces for name in api.loaded_collections(graph)):
            return []
        found: dict[str, list[Want]] = {}
        for want in api.graph_wants(graph, paths, hosts=hosts):
            found.setdefault(want.collection.name, []).append(want)
        return [(self._spaces[name], wants) for name, wants in sorted(found.items())]

    def _ended(self, name: str) -> float | None:
        """When a job last ended, 0 if it never did; None while it waits or runs. Others are released."""
        if not IDENTIFIER.fullmatch(name):
            return 0.0
        folder = JobFolder(self._jobs / name)
        try:
            state = folder.shown()
        except OSError:
            return None  # it cannot be read at the moment
        if state.status in BUSY:
            return None
        return state.updated


def _require_extent(service: Service, name: str) -> None:
    """Refuse a campaign that says of no window that it belongs to it."""
    try:
        campaign = service.datasets[name].edition.campaign
    except HpckitError:
        return  # said to whoever asks for it
    if not campaign.has_products or not campaign.cube.keep:
        raise ServeError(
            f"openeo.on_demand: campaign {campaign.path} has no extent of windows",
            hint="it needs `scenes`, and `cube.keep: true`; `hpckit plan` is enough, nothing has to be ingested",
        )

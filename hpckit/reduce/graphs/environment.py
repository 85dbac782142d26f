"""What process graphs need of the world, where campaigns are the collections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hpckit.base.files import digest_json
from hpckit.errors import GraphError
from hpckit.inputs.fetched import look_in
from hpckit.inputs.httpfiles import permit
from hpckit.inputs.transfer import without_secrets
from hpckit.processgraph.cube import Cube, Geometries
from hpckit.processgraph.process import Request, Value
from hpckit.processgraph.urls import read_url
from hpckit.processgraph.usercode import UserCode
from hpckit.reduce.graphs.collection import Collection, open_collection
from hpckit.reduce.graphs.source import CollectionSource, open_source
from hpckit.reduce.graphs.stac import key_of, open_stac
from hpckit.reduce.udf.fitting import assumed, without_pixels
from hpckit.reduce.udf.runner import UserCodeRunner
from hpckit.reduce.udf.settings import is_offered
from hpckit.sites.udf import Udf

_log: Final = logging.getLogger(__name__)
_LEVELS: Final = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


@dataclass(eq=False)
class GraphEnvironment:
    """Collections by name, each opened when a graph first asks for it.

    Parameters
    ----------
    paths : mapping of str to Path
        Campaign file, or run directory, of each collection.
    """

    paths: Mapping[str, Path]
    hosts: frozenset[str] = frozenset()
    """Hosts from which `load_url` and `load_stac` may read; `*` for all with public addresses."""
    items: Path | None = None
    """Folder for items of `load_stac`, which stays as long as the collections that were made of them."""
    of_stac: dict[str, Collection] = field(default_factory=dict)
    """What `load_stac` opened, by address and extents."""
    of_urls: dict[str, Geometries] = field(default_factory=dict)
    """What `load_url` read, by address, format and options."""
    addresses: dict[str, str] = field(default_factory=dict)
    """Of these, without secrets."""
    opened: dict[str, Collection] = field(default_factory=dict)
    sources: list[CollectionSource] = field(default_factory=list)
    """All that was loaded, in the order of the first load."""
    udf: Udf | None = None
    """Where code of users runs."""
    runs_code: bool = False
    """Whether it is run; where not, what it makes is only assumed."""
    reads_pixels: bool = True
    """Whether pixels may be read to know what a cube is."""
    trials: Path | None = None
    """Folder with what code of users made of samples, for all processes of a run."""

    def load_collection(self, name: str, request: Request) -> CollectionSource:
        """Open a collection for an extent, a period, bands and properties.

        Raises
        ------
        GraphError
            `CollectionNotFound` if there is none of that name; else the argument at fault.
        """
        found = open_source(self.open(name), request)
        self.sources.append(found)
        return found

    def open(self, name: str) -> Collection:
        """A collection by its name.

        Raises
        ------
        GraphError
            `CollectionNotFound` if there is none.
        """
        if name not in self.opened:
            if name not in self.paths:
                listed = ", ".join(sorted(self.paths)) or "none"
                raise GraphError(
                    f"there is no collection {name!r}", hint=f"there is {listed}", fault="CollectionNotFound"
                )
            self.opened[name] = open_collection(name, self.paths[name])
        campaign = self.opened[name].tiles.campaign
        permit(campaign.scenes.hosts)  # what its cube lacks may be decoded from products on servers
        look_in([campaign.fetched_path])
        return self.opened[name]

    def load_stac(self, url: str, request: Request) -> CollectionSource:
        """Open the products of STAC items at an address of a host that is allowed.

        Raises
        ------
        GraphError
            As `hpckit.reduce.graphs.stac.open_stac`.
        """
        key = key_of(url, request)
        if key not in self.of_stac:
            self._require_hosts(url, "load_stac", "make a campaign of its items, and load that as a collection")
            self.of_stac[key] = open_stac(url, request, self.hosts, self.items or Path(self._temporary.name))
        permit(self.of_stac[key].tiles.campaign.scenes.hosts)
        found = open_source(self.of_stac[key], request)
        self.sources.append(found)
        return found

    @cached_property
    def _temporary(self) -> TemporaryDirectory[str]:
        """Folder for items that no run keeps."""
        return TemporaryDirectory(prefix="hpckit-stac-")

    def read_geometries(self, url: str, format: str, options: Mapping[str, Value]) -> Geometries:
        """Read a vector file from a host that is allowed; see `hpckit.processgraph.urls.read_url`."""
        key = f"url-{digest_json([url, format, options])[:16]}"
        if key not in self.of_urls:
            self._require_hosts(url, "load_url", "put the geometries into the graph, with load_geojson")
            self.of_urls[key] = read_url(url, format, self.hosts)
            self.addresses[key] = without_secrets(url)
        return self.of_urls[key]

    def _require_hosts(self, url: str, process: str, hint: str) -> None:
        if not self.hosts:
            raise GraphError(
                f"{without_secrets(url)} is not read: hosts for {process} are not configured here",
                hint=f"name the server by --host, or in `hosts` of the reduction or of the door `openeo`; or {hint}",
                fault="ProcessParameterInvalid",
            )

    def require_format(self, name: str, options: Mapping[str, Value], data: Cube) -> None:
        """Refuse a file format that there is not, an option that it does not have, and data that it cannot hold."""
        from hpckit.reduce.graphs import formats  # rasterio and others, which not every graph needs

        formats.require_format(name, options, data)

    def run_udf(self, code: UserCode, data: Cube, sample: Callable[[], Cube]) -> Cube:
        """Run code of a user on a cube; of one without values, say what it makes of it."""
        if self.udf is None or not is_offered(self.udf):
            raise GraphError(
                "code of users is not run here",
                hint="it needs Apptainer, and `udf.runtimes` in the site file or in the reduction of the campaign",
                fault="FeatureUnsupported",
            )
        if self.runs_code:
            return self._runner.run(code, data, sample)
        self._runner.require_runtime(code)
        return without_pixels(data, assumed(code, data))

    @cached_property
    def _runner(self) -> UserCodeRunner:
        assert self.udf is not None
        return UserCodeRunner(self.udf, trials=self.trials)

    def log(self, level: str, code: str, message: str, data: Value) -> None:
        """Write a message of a graph to the log of the process."""
        _log.log(_LEVELS.get(level, logging.INFO), "%s%s", f"{code}: " if code else "", message)

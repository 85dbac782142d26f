"""Process graphs of openEO."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpckit.api.sites import find_site
from hpckit.errors import GraphError

if TYPE_CHECKING:
    from hpckit.reduce.graphs.describe import CollectionInfo
    from hpckit.reduce.graphs.estimating import GraphEstimate
    from hpckit.reduce.graphs.formats import ResultFile
    from hpckit.reduce.graphs.ondemand.wants import Want


def describe_collection(path: str | Path, *, name: str = "") -> CollectionInfo:
    """What a campaign holds as a collection of process graphs: bands, extent, period, properties of products.

    Parameters
    ----------
    path : str or Path
        Campaign file, or run directory.
    name : str
        By which graphs name it; that of the campaign if not given.

    Raises
    ------
    GraphError
        `CollectionNotFound`, if it was never planned.
    """
    from hpckit.reduce.graphs.collection import open_collection
    from hpckit.reduce.graphs.describe import describe

    found = open_collection(name or Path(path).stem, Path(path))
    return describe(found if name else found.renamed(found.tiles.campaign.name))


def graph_processes() -> list[Mapping[str, Any]]:
    """Processes that graphs may call, as openEO's specifications: each passes all official tests of it."""
    from hpckit.processgraph.listed import listed
    from hpckit.processgraph.specs import documents
    from hpckit.reduce.udf.settings import is_offered, settings_here

    return [documents()[name] for name in listed(user_code=is_offered(settings_here()))]


def use_user_code_of(site: str, folder: Path) -> None:
    """Run code of users in graphs as a site file says, in this process and those that it starts.

    Parameters
    ----------
    site : str
        Name, or file.
    folder : Path
        Whose site files come first.
    """
    from hpckit.sites.udf import UDF_SETTINGS

    found = find_site(site, folder)
    if found.udf is not None:
        os.environ[UDF_SETTINGS] = found.udf.model_dump_json(exclude_defaults=True)


def udf_runtimes() -> dict[str, Any]:
    """Images for code of users in graphs, as openEO describes them (`GET /udf_runtimes`); none without Apptainer."""
    from hpckit.reduce.udf.settings import runtimes, settings_here

    return runtimes(settings_here())


def with_parameters(graph: Any, values: Mapping[str, Any]) -> Any:
    """A process graph with other values of its parameters; arguments as of `check_graph`.

    Raises
    ------
    GraphError
        If it is no JSON, or has no parameter of a name.
    """
    from hpckit.processgraph.document import load, with_parameters

    document = load(graph) if isinstance(graph, (str, bytes)) else graph
    return with_parameters(document, values)


def check_graph(graph: Any, collections: Mapping[str, Path], *, hosts: Collection[str] = ()) -> list[GraphError]:
    """All faults of a process graph: of form, arguments, and types of cubes; no pixel is read.

    Parameters
    ----------
    graph : JSON, str or bytes
        Nodes, a process that has them as `process_graph`, or its text. Processes of the user may stand beside it as
        `user_defined`, by name.
    collections : mapping of str to Path
        Campaign file, or run directory, of each collection.
    hosts : collection of str
        Servers from which `load_stac` and `load_url` may read; `*` for all of public addresses.
    """
    from hpckit.reduce.graphs.ask import check as check_all

    return check_all(graph, collections, hosts)


def estimate_graph(
    graph: Any,
    collections: Mapping[str, Path],
    *,
    parameters: Mapping[str, Any] | None = None,
    hosts: Collection[str] = (),
) -> GraphEstimate:
    """Time, bytes and pixels of a process graph, from the types of its cubes; arguments as of `check_graph`.

    Raises
    ------
    GraphError
        Its first fault.
    """
    from hpckit.reduce.graphs.estimating import estimate
    from hpckit.reduce.graphs.job import job_on

    return estimate(job_on(graph, collections, parameters, hosts=hosts, reads_pixels=False))


def loaded_collections(graph: Any) -> set[str]:
    """Names of the collections that a process graph loads; none of one with a fault of form."""
    from hpckit.reduce.graphs.ask import loaded

    return loaded(graph)


def graph_wants(graph: Any, collections: Mapping[str, Path], *, hosts: Collection[str] = ()) -> list[Want]:
    """Windows of dates that a process graph wants of collections on demand; arguments as of `check_graph`.

    Raises
    ------
    GraphError
        Its first fault.
    """
    from hpckit.reduce.graphs.job import job_on
    from hpckit.reduce.graphs.ondemand.wants import wants_of

    return wants_of(job_on(graph, collections, hosts=hosts, reads_pixels=False))


def compute_graph(
    graph: Any, collections: Mapping[str, Path], folder: str | Path, *, hosts: Collection[str] = ()
) -> list[ResultFile]:
    """Compute a process graph in this process, and write its result files; for small extents.

    Parameters
    ----------
    graph, collections, hosts
        As of `check_graph`.
    folder : str or Path
        For the files.

    Raises
    ------
    GraphError
        Its first fault.
    CubeError
        If a cube lacks pixels, and its products cannot be decoded.
    """
    from hpckit.reduce.graphs.ask import compute

    return compute(graph, collections, Path(folder), hosts)


def prepare_graph(
    graph: Any,
    collections: Mapping[str, Path],
    folder: str | Path,
    *,
    title: str = "",
    options: Mapping[str, Any] | None = None,
    hosts: Collection[str] = (),
) -> Path:
    """Make a process graph a job: write it, and the campaign that computes it, into a folder.

    Parameters
    ----------
    graph, collections, hosts
        As of `check_graph`.
    title : str
        For people, in the file.
    options : mapping, optional
        None are known yet.

    Returns
    -------
    Path
        The campaign file, for `plan`, `run`, `submit`, `status`, `retry`, `verify`, and `graph_results`.

    Raises
    ------
    GraphError
        Its first fault of form, or an unknown option.
    """
    from hpckit.reduce.graphs.ask import prepare

    for name in options or {}:
        raise GraphError(f"there is no option {name!r} of graphs", fault="JobOptionUnsupported")
    return prepare(graph, collections, Path(folder), title, hosts)


def graph_results(campaign: str | Path) -> list[ResultFile]:
    """Files that the graphs of a campaign have become; those of results that are not whole are left out."""
    from hpckit.cubes.tiles import read_tiles
    from hpckit.reduce.graphs.files import results_of
    from hpckit.runs.run import find_run

    return results_of(read_tiles(find_run(Path(campaign))))

"""The door: everything that the command line, servers and notebooks do with a campaign.

Functions take the path of a campaign file; functions that only read also take a run directory. They print nothing
unless they get a console; in the kernel of a notebook, those that take long show their progress below the cell. They
work in any thread, and raise errors of `hpckit.errors`, each with a stable `code`.

Examples
--------
>>> from hpckit import api
>>> api.run("campaign.yaml", workers=1).exit_code
0
>>> api.series("campaign.yaml", "z17", "B04").band.unique().tolist()
['B04']
"""

from __future__ import annotations

from hpckit.api.arrays import median
from hpckit.api.copies import fetch, fetch_list, remove_fetched, verify_fetched
from hpckit.api.graphs import (
    check_graph,
    compute_graph,
    describe_collection,
    estimate_graph,
    graph_processes,
    graph_results,
    graph_wants,
    loaded_collections,
    prepare_graph,
    udf_runtimes,
    use_user_code_of,
    with_parameters,
)
from hpckit.api.here import Forecast, check, clean, overviews, plan, run, sample, verify
from hpckit.api.inputs import Selection, Tiling, scan, scenes, search, tile, tile_names
from hpckit.api.jobs import (
    Progress,
    cancel,
    follow,
    follow_shared,
    metrics,
    retry,
    status,
    submit,
    update,
    watch,
    write_jobs,
)
from hpckit.api.provenance import crate, energy_figures, energy_of, reproduce
from hpckit.api.results import (
    composite,
    cube,
    export,
    export_signatures,
    items,
    markers,
    open_campaign,
    series,
    signatures,
    zones,
)
from hpckit.api.sharing import cancel_shared, is_shared, logs_shared, retry_shared, share, take_over
from hpckit.api.shown import QUIET
from hpckit.api.sites import find_site, open_submission, refresh
from hpckit.api.stores import Synced, find_markers, has_current_markers, migrate_store, store_state, sync

__all__ = [
    "QUIET",
    "Forecast",
    "Progress",
    "Selection",
    "Synced",
    "Tiling",
    "cancel",
    "cancel_shared",
    "check",
    "check_graph",
    "clean",
    "composite",
    "compute_graph",
    "crate",
    "cube",
    "describe_collection",
    "energy_figures",
    "energy_of",
    "estimate_graph",
    "export",
    "export_signatures",
    "fetch",
    "fetch_list",
    "find_markers",
    "find_site",
    "follow",
    "follow_shared",
    "graph_processes",
    "graph_results",
    "graph_wants",
    "has_current_markers",
    "is_shared",
    "items",
    "loaded_collections",
    "logs_shared",
    "markers",
    "median",
    "metrics",
    "migrate_store",
    "open_campaign",
    "open_submission",
    "overviews",
    "plan",
    "prepare_graph",
    "refresh",
    "remove_fetched",
    "reproduce",
    "retry",
    "retry_shared",
    "run",
    "sample",
    "scan",
    "scenes",
    "search",
    "series",
    "share",
    "signatures",
    "status",
    "store_state",
    "submit",
    "sync",
    "take_over",
    "tile",
    "tile_names",
    "udf_runtimes",
    "update",
    "use_user_code_of",
    "verify",
    "verify_fetched",
    "watch",
    "with_parameters",
    "write_jobs",
    "zones",
]

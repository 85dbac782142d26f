"""hpckit: Sentinel scenes to Zarr cubes to parcel signatures, from one machine to a cluster."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from hpckit.base.distribution import namesake
from hpckit.base.version import __version__

if TYPE_CHECKING:
    from hpckit.api import (
        cancel,
        check,
        composite,
        cube,
        follow,
        items,
        median,
        open_campaign,
        plan,
        retry,
        run,
        sample,
        scan,
        scenes,
        search,
        series,
        signatures,
        status,
        submit,
        sync,
        tile,
        update,
        verify,
        watch,
        zones,
    )
    from hpckit.jobs.interactive import cluster, connect

__all__ = [
    "__version__",
    "cancel",
    "check",
    "cluster",
    "composite",
    "connect",
    "cube",
    "follow",
    "items",
    "median",
    "open_campaign",
    "plan",
    "retry",
    "run",
    "sample",
    "scan",
    "scenes",
    "search",
    "series",
    "signatures",
    "status",
    "submit",
    "sync",
    "tile",
    "update",
    "verify",
    "watch",
    "zones",
]
_OF_JOBS: Final = frozenset({"cluster", "connect"})
_VERBS: Final = frozenset(__all__) - _OF_JOBS - {"__version__"}


def __getattr__(name: str) -> object:
    # Lazy, so that `import hpckit` (and `hpckit --help`) does not import xarray and pandas.
    if name in __all__ and (foreign := namesake(__path__[0])):
        warnings.warn(foreign, stacklevel=2)
    if name in _VERBS:
        from hpckit import api

        return getattr(api, name)
    if name in _OF_JOBS:
        from hpckit.jobs import interactive

        return getattr(interactive, name)
    raise AttributeError(f"module 'hpckit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

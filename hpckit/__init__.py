"""hpckit: Sentinel scenes to Zarr cubes to parcel signatures, from one machine to a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"
__all__ = ["__version__", "cluster", "open_campaign"]

if TYPE_CHECKING:
    from hpckit.api import open_campaign
    from hpckit.interactive import cluster


def __getattr__(name: str) -> object:
    # Lazy, so that `import hpckit` (and `hpckit --help`) does not import xarray and pandas.
    if name == "open_campaign":
        from hpckit.api import open_campaign

        return open_campaign
    if name == "cluster":
        from hpckit.interactive import cluster

        return cluster
    raise AttributeError(f"module 'hpckit' has no attribute {name!r}")

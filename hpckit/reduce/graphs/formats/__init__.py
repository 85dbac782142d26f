"""Files of results: GeoTIFF, netCDF, Zarr, PNG, CSV, JSON, GeoJSON and Parquet, and what STAC says of them."""

from __future__ import annotations

from hpckit.reduce.graphs.formats.result import Format, Result, ResultFile
from hpckit.reduce.graphs.formats.stac import About, result_items, results_stac
from hpckit.reduce.graphs.formats.write import FORMATS, find_format, require_format, write

__all__ = [
    "FORMATS",
    "About",
    "Format",
    "Result",
    "ResultFile",
    "find_format",
    "require_format",
    "result_items",
    "results_stac",
    "write",
]

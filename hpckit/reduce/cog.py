"""Cloud-Optimised GeoTIFFs of rasters that are written window by window."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import rasterio
import rasterio.shutil

from hpckit.base.files import PARTIAL, atomic_path

BLOCK: Final = 512
"""Edge of the internal tiles, in pixels."""


@contextmanager
def cog(
    path: Path,
    profile: Mapping[str, Any],
    describe: Callable[[Any], None],
    *,
    compress: str,
    resampling: str,
    overviews: bool = True,
    threads: int = 1,
    window: int = BLOCK,
    finish: Callable[[Any], None] | None = None,
) -> Iterator[Any]:
    """Yield a dataset to write to; it becomes a Cloud-Optimised GeoTIFF when the block ends.

    Parameters
    ----------
    profile : mapping
        Of rasterio: width, height, count, dtype, crs, transform, nodata.
    describe : callable
        Called with the dataset before anything is written to it.
    resampling : str
        Of overviews: `AVERAGE`, `NEAREST` and others of GDAL.
    overviews : bool
        Whether overviews are made; none are made of rasters that fit one tile.
    window : int
        Edge of the windows in which the dataset is written: a multiple of 16.
    finish : callable, optional
        Called with the dataset when all is written to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{PARTIAL}.tif")
    # Tiles of the raw file are not larger than windows, so that each is written once and needs no cache.
    tile = min(BLOCK, window)
    tiled = {"tiled": True, "blockxsize": tile, "blockysize": tile, "BIGTIFF": "IF_SAFER", "driver": "GTiff"}
    options = {
        "COMPRESS": compress.upper(),
        "BLOCKSIZE": BLOCK,
        "OVERVIEWS": "AUTO" if overviews else "NONE",
        "OVERVIEW_RESAMPLING": resampling.upper(),
        "NUM_THREADS": str(threads),
        "BIGTIFF": "IF_SAFER",
    }
    if compress.upper() != "NONE":
        options["PREDICTOR"] = "YES"
    try:
        # Bands one after the other: they are written so, and read so when the final file is made.
        with rasterio.open(raw, "w", **{**profile, **tiled}, interleave="band") as target:
            describe(target)
            yield target
            if finish is not None:
                finish(target)
        with atomic_path(path) as temporary:
            rasterio.shutil.copy(raw, temporary, driver="COG", **options)
    finally:
        raw.unlink(missing_ok=True)

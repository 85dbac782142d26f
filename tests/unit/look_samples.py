"""Small cubes made from arrays, for the tests of `hpckit.look`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from hpckit.cube.layout import CubeSpec, prepare
from hpckit.scenes.bands import BandRef
from hpckit.scenes.model import Acquisition, Scene

ULX, ULY, EPSG = 500_000.0, 5_700_000.0, 32631


def acquisition(
    time: datetime, shapes: Mapping[int, tuple[int, int]], *, tile: str = "31UFU", cloud_cover: float | None = 10.0, **changes: Any
) -> Acquisition:
    stamp = f"{time:%Y%m%dT%H%M%S}"
    known = {
        "id": f"S2A_MSIL2A_{stamp}_N0509_R051_T{tile}_{stamp}",
        "href": "/products/none.SAFE",
        "root": "",
        "level": "L2A",
        "platform": "S2A",
        "sensed": time,
        "datatake": f"GS2A_{stamp}_012345_N05.09",
        "datastrip": "DS",
        "granule": "GR",
        "tile": tile,
        "epsg": EPSG,
        "baseline": "05.09",
        "relative_orbit": 51,
        "cloud_cover": cloud_cover,
        "nodata": 0.0,
        "quantification": 10000.0,
        "offsets": {},
        "ulx": ULX,
        "uly": ULY,
        "shapes": shapes,
        "assets": {},
    }
    scene = Scene(**{**known, **changes})
    return Acquisition(tile, scene.acquisition_id, time, (scene,))


def write_cube(
    cube: Path, arrays: Mapping[str, np.ndarray], acquisitions: Sequence[Acquisition], *, sharding: bool = True
) -> None:
    """Write stored integers, `{"B04@10m": array[time, y, x]}`."""
    refs = [BandRef(key.partition("@")[0], int(key.partition("@")[2].strip("m"))) for key in arrays]
    spec = CubeSpec(cube, tuple(refs), 4, sharding, 3, None, False)
    tile = acquisitions[0].tile
    prepare(spec, tile, acquisitions)
    for ref, values in zip(refs, arrays.values(), strict=True):
        zarr.open_array(spec.array(tile, ref), mode="r+")[:] = values

"""How much a place greens: highest less lowest NDVI of a tile's cube, as a GeoTIFF.

`amplitude.py CUBE TILE EPSG WEST NORTH OUT.tif`
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
import zarr
from rasterio.transform import from_origin

CLOUDY = (0, 1, 3, 8, 9, 10, 11)
ROWS = 512


def ndvi(red: np.ndarray, infrared: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """NDVI of stacks of digital numbers; NaN where a class is cloudy, or data are missing."""
    low, high = (np.where(stack == 0, np.nan, (stack - 1000.0) / 10000) for stack in (red, infrared))
    clear = ~np.isin(classes, CLOUDY).repeat(2, axis=1).repeat(2, axis=2)[:, : red.shape[1], : red.shape[2]]
    return np.where(clear, (high - low) / (high + low), np.nan)


def main(cube: Path, tile: str, epsg: int, west: float, north: float, target: Path) -> None:
    """Write the amplitude, float32, NaN where there are fewer than two clear dates."""
    fine, coarse = (zarr.open_group(cube / tile / name, mode="r") for name in ("r10m", "r20m"))
    red, infrared, classes = fine["B04"], fine["B08"], coarse["SCL"]
    place = {"crs": f"EPSG:{epsg}", "transform": from_origin(west, north, 10, 10)}
    shape = {"height": red.shape[1], "width": red.shape[2], "count": 1, "dtype": "float32"}
    with rasterio.open(
        target, "w", driver="GTiff", nodata=np.nan, tiled=True, compress="zstd", **shape, **place
    ) as out:
        for row in range(0, red.shape[1], ROWS):
            rows, half = slice(row, row + ROWS), slice(row // 2, (row + ROWS) // 2)
            values = ndvi(red[:, rows], infrared[:, rows], classes[:, half])
            enough = np.isfinite(values).sum(axis=0) > 1
            high, low = np.nanmax(values, axis=0, initial=-9), np.nanmin(values, axis=0, initial=9)
            window = rasterio.windows.Window(0, row, values.shape[2], values.shape[1])
            out.write(np.where(enough, high - low, np.nan).astype(np.float32), 1, window=window)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]), Path(sys.argv[6]))

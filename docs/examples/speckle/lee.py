"""Lee's filter for speckle on the GeoTIFF files of one Sentinel-1 product: `lee.py FIRST_FILE FOLDER`.

Copies a product of the series layout (`NAME/measurement/*.tiff` beside `NAME/NAME.json`) to FOLDER, with its pixels
filtered in linear power over 5 x 5 pixels, weighted by how much a window varies beyond what speckle of 4.4 looks does
(Lee, 1980, doi 10.1109/TPAMI.1980.4766994). Pixels without data, 0, stay so and are left out of the means.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window
from scipy.ndimage import uniform_filter

SIZE, LOOKS, ROWS = 5, 4.4, 512


def lee(power: np.ndarray) -> np.ndarray:
    """Filtered power, float32, of the shape of the input."""
    power = power.astype(np.float64)
    share = np.maximum(uniform_filter((power > 0).astype(np.float64), SIZE, mode="constant"), 1e-9)
    mean = uniform_filter(power, SIZE, mode="constant") / share
    variance = np.maximum(uniform_filter(power**2, SIZE, mode="constant") / share - mean**2, 0)
    speckle = mean**2 / LOOKS
    weight = np.clip((variance - speckle) / np.maximum(variance * (1 + 1 / LOOKS), 1e-30), 0, 1)
    return np.where(power > 0, mean + weight * (power - mean), 0).astype(np.float32)


def filter_file(path: Path, target: Path) -> None:
    """Write a filtered copy of one band, some rows at a time: products have 400 million pixels."""
    with rasterio.open(path) as band:
        profile = {key: band.profile[key] for key in ("height", "width", "count", "dtype", "crs", "transform")}
        options = {"nodata": 0, "tiled": True, "compress": "deflate", "bigtiff": "if_safer"}
        with rasterio.open(target, "w", driver="GTiff", **options, **profile) as out:
            for row in range(0, band.height, ROWS):
                first, last = max(0, row - SIZE), min(band.height, row + ROWS + SIZE)
                pixels = lee(band.read(1, window=Window(0, first, band.width, last - first)))
                kept = pixels[row - first : row - first + ROWS][: band.height - row]
                out.write(kept, 1, window=Window(0, row, band.width, len(kept)))


def main(first: Path, target: Path) -> None:
    """Write the filtered product."""
    source = first.parent.parent
    for path in sorted(file for file in source.rglob("*") if file.is_file()):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() not in (".tif", ".tiff"):
            shutil.copyfile(path, copy)
            continue
        try:
            filter_file(path, copy)
        except rasterio.RasterioIOError as error:
            sys.exit(f"{path.name}: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

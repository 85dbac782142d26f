"""Write two patches of WorldCereal as dated images and labelled polygons: `prepare.py WORLDCEREALTRAINING FOLDER`.

The patches are NetCDF files of Sentinel-2 L2A in Flanders, 640 x 640 m, with the land cover of the farmers' declarations:
https://github.com/WorldCereal/worldcereal-classification. For each patch this writes `YEAR/images/DATE_TIME_stack.tif`
(blue, green, red, nir, scene classification; 10 m), `YEAR/labels.gpkg`, and `YEAR/landcover.tif`, the labels as pixels.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import rasterio.features
import shapely
import xarray
from affine import Affine

PATCHES = {"2018": "00002806639B424A", "2019": "0000280849BAC91C"}
COVERS = {11: "cropland", 13: "grassland"}
BANDS = ("B02", "B03", "B04", "B08")


def write_images(patch: Path, folder: Path) -> None:
    """Write one file of five layers for each time of a patch."""
    fine, coarse = (
        xarray.open_dataset(next(patch.glob(f"S2_L2A_{size}_*.nc")), mask_and_scale=False) for size in ("10m", "20m")
    )
    folder.mkdir(parents=True, exist_ok=True)
    for time in fine.timestamp.values:
        bands = [fine[band].sel(timestamp=time).values for band in BANDS]
        classes = coarse.SCL.sel(timestamp=time).values.repeat(2, axis=0).repeat(2, axis=1)
        stamp = str(time)[:19].replace("-", "").replace(":", "").replace("T", "_")
        write_raster(folder / f"{stamp}_stack.tif", np.stack([*bands, classes]).astype(np.uint16), place(fine))


def write_labels(patch: Path, folder: Path) -> None:
    """Write the labelled pixels, and polygons of equal crop and land cover."""
    labels = xarray.open_dataset(next(patch.glob("OUTPUT_*.nc")), mask_and_scale=False)
    cover, crop, where = labels.LC.values, labels.CT.values.astype(np.int32), place(labels)
    known = np.isin(cover, list(COVERS)) & (crop > 0)
    write_raster(folder / "landcover.tif", np.where(known, cover, 0)[None].astype(np.uint16), where)
    found = list(
        rasterio.features.shapes(
            np.where(known, 100_000 * (cover == 13) + crop, 0).astype(np.int32), known, transform=where
        )
    )
    shapes = [shapely.from_geojson(json.dumps(outline)) for outline, _ in found]
    names = np.array([COVERS[13 if value >= 100_000 else 11] for _, value in found], dtype=object)
    wkb = np.array(shapely.to_wkb(shapes), dtype=object)
    pyogrio.raw.write(
        folder / "labels.gpkg",
        wkb,
        [names],
        ["cover"],
        geometry_type="Polygon",
        crs="EPSG:32631",
        layer="labels",
        driver="GPKG",
    )


def place(data: xarray.Dataset) -> Affine:
    """From (column, row) to metres; coordinates are those of the middle of pixels."""
    return Affine(10, 0, float(data.x[0]) - 5, 0, -10, float(data.y[0]) + 5)


def write_raster(path: Path, values: np.ndarray, transform: Affine) -> None:
    """Write layers as a GeoTIFF; 0 is no data."""
    count, height, width = values.shape
    profile = {"count": count, "height": height, "width": width, "dtype": values.dtype, "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32631", transform=transform, **profile) as target:
        target.write(values)


if __name__ == "__main__":
    for year, name in PATCHES.items():
        made = Path(sys.argv[2]) / year
        write_images(Path(sys.argv[1]) / name, made / "images")
        write_labels(Path(sys.argv[1]) / name, made)

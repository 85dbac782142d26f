"""Ingest onto a grid against odc-stac: the same scenes, grid, resampling, decoder and cores.

One pass over two granules of full size, of neighbouring UTM zones, is made in a temporary folder. Both load every
tile of the grid within a part of the overlap and around it, in one process with one thread; files are in the page
cache. hpckit also compresses and writes the shards. Where the resampling is equal (nearest, and all pixels on the
product's own lattice) the pixels are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio

os.environ["GDAL_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import odc.stac
import pystac

from hpckit.campaign import Campaign
from hpckit.cube import ingest, layout, read
from hpckit.cube.layout import CubeSpec
from hpckit.cube.manifest import Manifest
from hpckit.scenes import catalogue
from hpckit.scenes.bands import BandRef
from hpckit.testing.ground import granule_at
from hpckit.testing.landscape import noise
from hpckit.testing.safe import ProductSpec, write_product
from hpckit.tiling import group

EDGE = 10980
GRIDS = {
    "utm:20480@10": [5.90, 51.25, 6.30, 51.45],
    "utm:102400@10": [5.95, 51.25, 6.10, 51.45],
    "EPSG:3035:20000@10": [5.90, 51.25, 6.30, 51.45],
    "EPSG:3035:20000@20": [5.90, 51.25, 6.30, 51.45],
}


def make_products(folder: Path) -> None:
    """Two granules of one pass, overlapping by some forty kilometres across the border of zones 31 and 32."""
    ground = np.tile(noise(1098, 1.2, 1), (10, 10))
    random = np.random.default_rng(0)
    for tile, epsg, longitude in (("31UGT", 32631, 5.65), ("32ULC", 32632, 6.65)):
        spec = granule_at(ProductSpec(tile=tile, epsg=epsg), longitude, 51.35, EDGE)
        values = 2500 + 500 * ground + 45 * random.standard_normal((EDGE, EDGE), dtype=np.float32)
        arrays = {"B04@10m": values.astype(np.uint16), "SCL@60m": np.full((1830, 1830), 4, np.uint8)}
        write_product(folder, replace(spec, relative_orbit=8), arrays)


def campaign(grid: str, resampling: str, folder: Path) -> Campaign:
    """The campaign that is measured."""
    return Campaign.model_validate(
        {
            "name": "bench",
            "aoi": GRIDS[grid],
            "period": "2024-01-01/2024-12-31",
            "scenes": {"paths": [str(folder)]},
            "grid": grid,
            "cube": {"bands": ["B04"], "resampling": resampling},
        }
    )


def with_hpckit(made: Campaign, scenes: list, path: Path) -> tuple[float, int]:
    """Seconds to ingest all tiles, and pixels decoded."""
    start = time.perf_counter()
    by_tile, _ = group(made, scenes)
    spec = replace(CubeSpec.of(made), path=path)
    manifest = Manifest.load(path)
    decoded = 0
    for tile, acquisitions in by_tile.items():
        layout.prepare(spec, tile, acquisitions)
        for unit in ingest.ingest_units(spec, tile, acquisitions):
            result = ingest.ingest(spec, unit, acquisitions, manifest, "w")
            assert not result.failures, result.failures
            decoded += result.decoded_pixels
    return time.perf_counter() - start, decoded


def with_odc(made: Campaign, scenes: list, resampling: str) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds to load all tiles, and their pixels."""
    pixel = made.grid_spec.pixel_m
    by_tile, _ = group(made, scenes)
    boxes = {tile: CubeSpec.of(made).frame(tile, items).geobox(pixel) for tile, items in by_tile.items()}
    items = [item_of(scene) for scene in by_tile[next(iter(by_tile))][0].scenes] if len(boxes) == 1 else None
    loaded = {}
    start = time.perf_counter()
    for tile, box in boxes.items():
        items = [item_of(scene) for scene in by_tile[tile][0].scenes]
        data = odc.stac.load(
            items, bands=["B04"], geobox=box, resampling=resampling, groupby="solar_day", preserve_original_order=True
        )
        loaded[tile] = data["B04"].values[0]
    return time.perf_counter() - start, loaded


def item_of(scene) -> pystac.Item:
    """A scene as odc-stac wants it: with the properties that spare it opening the file first."""
    item = pystac.Item(scene.id, dict(scene.footprint), None, scene.sensed, {"proj:code": f"EPSG:{scene.epsg}"})
    asset = pystac.Asset(scene.gdal_path("B04@10m"), media_type="image/jp2", roles=["data"])
    asset.extra_fields = {
        "proj:shape": [EDGE, EDGE],
        "proj:transform": list(scene.transform(10))[:6],
        "raster:bands": [{"nodata": 0, "data_type": "uint16"}],
    }
    item.add_asset("B04", asset)
    return item


def equal_fraction(cube: Path, pixel: int, loaded: dict[str, np.ndarray]) -> float:
    """Pixels that are equal, of those that both have."""
    same = count = 0
    for tile, theirs in loaded.items():
        ours = read.read_plane(cube, tile, BandRef("B04", pixel), 0)
        both = (ours > 0) & (theirs > 0)
        same, count = same + int((ours == theirs)[both].sum()), count + int(both.sum())
    return same / count


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--grids", nargs="*", default=list(GRIDS))
    parser.add_argument("--resampling", nargs="*", default=["nearest", "bilinear", "cubic", "average"])
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hpckit-bench-"))
    result: dict[str, dict[str, float]] = {}
    try:
        make_products(folder / "scenes")
        scenes = list(catalogue.scan([folder / "scenes"]).scenes)
        for scene in scenes:  # into the page cache
            Path(scene.gdal_path("B04@10m")).read_bytes()
        for grid in options.grids:
            for resampling in options.resampling:
                made = campaign(grid, resampling, folder / "scenes")
                with_hpckit(made, scenes, folder / "warm")  # compile
                shutil.rmtree(folder / "warm")
                ours, theirs = [], []
                for number in range(options.rounds):
                    seconds, decoded = with_hpckit(made, scenes, folder / f"cube{number}")
                    ours.append(seconds)
                    with rasterio.Env(GDAL_NUM_THREADS="1"):
                        seconds, loaded = with_odc(made, scenes, resampling)
                    theirs.append(seconds)
                pixel = made.grid_spec.pixel_m
                pixels = sum(plane.size for plane in loaded.values())
                result[f"{grid} {resampling}"] = {
                    "tiles": len(loaded),
                    "hpckit_s": min(ours),
                    "odc_stac_s": min(theirs),
                    "odc_stac_over_hpckit": min(theirs) / min(ours),
                    "decoded_over_target": decoded / pixels,
                    "equal": equal_fraction(folder / "cube0", pixel, loaded),
                }
                if not options.json:
                    print(f"{grid:<22}{resampling:<10}", end="")
                    print("".join(f"{name} {value:.3f}  " for name, value in result[f"{grid} {resampling}"].items()))
                for number in range(options.rounds):
                    shutil.rmtree(folder / f"cube{number}")
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""Ingest onto a grid against odc-stac: the same scenes, grid, resampling, decoder and cores.

One pass over two granules of full size, of neighbouring UTM zones, is made in a temporary folder. Both load every
tile of the grid within an area, in one process with one thread; files are in the page cache. Figures are CPU
seconds, since other processes may run. hpckit compresses and writes the shards, so odc-stac is timed with and
without writing the same arrays with the same codecs by zarr-python. In the areas marked `two` both granules reach
into the tiles, in those marked `one` a single one does, and what counts is how much of the JPEG 2000 tiles at the rim
of a tile is decoded. The pixels are compared: where resampling is needed, coordinates of GDAL's warper err by up to
an eighth of a pixel.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import rasterio

os.environ["GDAL_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import odc.stac
import pystac
import zarr

from hpckit.campaign.campaign import Campaign
from hpckit.catalogue import catalogue
from hpckit.catalogue.tiling import group
from hpckit.cubes import ingest, layout, read
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.sensors.regrid import source_band
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.footprint import geojson
from hpckit.testing.ground import granule_at
from hpckit.testing.landscape import noise
from hpckit.testing.safe import ProductSpec, write_product

EDGE = 10980
GRIDS = ("utm:20480@10", "EPSG:3035:20000@10", "EPSG:3035:20000@20")
AREAS = {"two": [5.95, 51.25, 6.25, 51.35], "one": [5.15, 51.25, 5.45, 51.35]}


def make_products(folder: Path) -> None:
    """Two granules of one pass, overlapping by some forty kilometres across the border of zones 31 and 32."""
    ground = np.tile(noise(1098, 1.2, 1), (10, 10))
    random = np.random.default_rng(0)
    for tile, epsg, longitude in (("31UGT", 32631, 5.65), ("32ULC", 32632, 6.65)):
        spec = granule_at(ProductSpec(tile=tile, epsg=epsg), longitude, 51.35, EDGE)
        values = 2500 + 500 * ground + 45 * random.standard_normal((EDGE, EDGE), dtype=np.float32)
        arrays = {
            "B04@10m": values.astype(np.uint16),
            "B04@20m": values.reshape(EDGE // 2, 2, EDGE // 2, 2).mean(axis=(1, 3)).astype(np.uint16),
            "SCL@60m": np.full((1830, 1830), 4, np.uint8),
        }
        write_product(folder, replace(spec, relative_orbit=8), arrays)


def campaign(grid: str, area: str, resampling: str, folder: Path) -> Campaign:
    """The campaign that is measured."""
    return Campaign.model_validate(
        {
            "name": "bench",
            "aoi": AREAS[area],
            "period": "2024-01-01/2024-12-31",
            "scenes": {"paths": [str(folder)]},
            "grid": grid,
            "cube": {"bands": ["B04"], "resampling": resampling},
        }
    )


def with_hpckit(made: Campaign, scenes: list, path: Path) -> tuple[float, int]:
    """Seconds to ingest all tiles, and pixels decoded."""
    by_tile, _ = group(made, scenes)
    start = time.process_time()
    spec = replace(CubeSpec.of(made), path=path)
    manifest = Manifest.load(path)
    decoded = 0
    for tile, acquisitions in by_tile.items():
        layout.prepare(spec, tile, acquisitions)
        for unit in ingest.ingest_units(spec, tile, acquisitions):
            result = ingest.ingest(spec, unit, acquisitions, manifest, "w")
            assert not result.failures, result.failures
            decoded += result.decoded_pixels
    return time.process_time() - start, decoded


def with_odc(made: Campaign, scenes: list, resampling: str) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds to load all tiles, and their pixels."""
    pixel = made.grid.pixel_m
    by_tile, _ = group(made, scenes)
    boxes = {tile: CubeSpec.of(made).frame(tile, items).geobox(pixel) for tile, items in by_tile.items()}
    loaded = {}
    start = time.process_time()
    for tile, box in boxes.items():
        items = [item_of(scene, pixel) for scene in by_tile[tile][0].scenes]
        data = odc.stac.load(
            items, bands=["B04"], geobox=box, resampling=resampling, groupby="solar_day", preserve_original_order=True
        )
        loaded[tile] = data["B04"].values[0]
    return time.process_time() - start, loaded


def write(loaded: dict[str, np.ndarray], path: Path, made: Campaign) -> float:
    """Seconds to write arrays as the cube has them."""
    chunks = CubeSpec.of(made).chunks(made.grid.pixel_m)
    start = time.process_time()
    group = zarr.open_group(path, mode="w")
    for tile, plane in loaded.items():
        array = group.create_array(
            tile,
            shape=(1, *plane.shape),
            dtype="uint16",
            chunks=(1, chunks.chunk, chunks.chunk),
            shards=(1, chunks.window, chunks.window),
            compressors=zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        )
        array[0] = plane
    return time.process_time() - start


def item_of(scene, pixel: int = 10) -> pystac.Item:
    """A scene as odc-stac wants it, with the file that hpckit reads too, and what spares it opening that first."""
    source = source_band(scene, SENTINEL2.parse("B04", pixel_m=pixel))
    edge = EDGE * 10 // source.resolution_m
    item = pystac.Item(
        scene.id, geojson(scene.footprint), None, scene.sensed, {"proj:code": f"EPSG:{scene.frame.epsg}"}
    )
    asset = pystac.Asset(scene.assets[source.key].uri, media_type="image/jp2", roles=["data"])
    asset.extra_fields = {
        "proj:shape": [edge, edge],
        "proj:transform": list(scene.assets[source.key].transform),
        "raster:bands": [{"nodata": 0, "data_type": "uint16"}],
    }
    item.add_asset("B04", asset)
    return item


def equal_fraction(cube: Path, pixel: int, loaded: dict[str, np.ndarray]) -> float:
    """Pixels that are equal, of those that both have."""
    same = count = 0
    for tile, theirs in loaded.items():
        ours = read.read_plane(cube, tile, SENTINEL2.parse("B04", pixel_m=pixel), 0)
        both = (ours > 0) & (theirs > 0)
        same, count = same + int((ours == theirs)[both].sum()), count + int(both.sum())
    return same / count


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--grids", nargs="*", default=list(GRIDS))
    parser.add_argument("--areas", nargs="*", default=list(AREAS))
    parser.add_argument("--resampling", nargs="*", default=["nearest", "bilinear", "cubic"])
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hpckit-bench-"))
    result: dict[str, dict[str, float]] = {}
    try:
        make_products(folder / "scenes")
        scenes = list(catalogue.scan([folder / "scenes"]).scenes)
        for scene in scenes:  # into the page cache
            Path(scene.assets["B04@10m"].uri).read_bytes()
        for grid, area in product(options.grids, options.areas):
            for resampling in options.resampling:
                made = campaign(grid, area, resampling, folder / "scenes")
                with_hpckit(made, scenes, folder / "warm")  # compile
                shutil.rmtree(folder / "warm")
                ours, theirs, writing = [], [], []
                for number in range(options.rounds):
                    seconds, decoded = with_hpckit(made, scenes, folder / f"cube{number}")
                    ours.append(seconds)
                    with rasterio.Env(GDAL_NUM_THREADS="1"):
                        seconds, loaded = with_odc(made, scenes, resampling)
                    theirs.append(seconds)
                    writing.append(write(loaded, folder / "odc.zarr", made))
                pixel = made.grid.pixel_m
                pixels = sum(plane.size for plane in loaded.values())
                result[f"{grid} {area} {resampling}"] = {
                    "tiles": len(loaded),
                    "hpckit_s": min(ours),
                    "odc_stac_s": min(theirs),
                    "odc_stac_over_hpckit": min(theirs) / min(ours),
                    "and_written": (min(theirs) + min(writing)) / min(ours),
                    "decoded_over_target": decoded / pixels,
                    "equal": equal_fraction(folder / "cube0", pixel, loaded),
                }
                if not options.json:
                    print(f"{grid:<20}{area:<5}{resampling:<10}", end="", flush=True)
                    print(
                        "".join(
                            f"{name} {value:.3f}  " for name, value in result[f"{grid} {area} {resampling}"].items()
                        ),
                        flush=True,
                    )
                for number in range(options.rounds):
                    shutil.rmtree(folder / f"cube{number}")
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

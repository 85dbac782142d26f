"""Sentinel-1 onto a granule: hpckit's path against GDAL's warper (what gdalwarp runs), one core each, in one run.

A CARD-BS product (ENVI, big-endian float32, 10 m) is resampled bilinearly onto the 10980 x 10980 pixels of 31UFU,
from the tile's own zone, half a pixel off, and from the next zone. Both read the same file in strips of 1024 lines,
nodata 0; hpckit besides codes as uint16. Also raw GRD: places of all pixels of a strip by their height, against the
same formulas by numpy at every pixel, if the annotation of a real product is given.

    python benchmarks/sentinel1.py [--edge 12000] [--rounds 3] [--annotation FILE]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.warp import Resampling, reproject

from hpckit.catalogue.discover import read_scenes
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel1.placing import place
from hpckit.sensors.sentinel1.reading import RadarReading
from hpckit.sensors.sentinel1.sensor import SENTINEL1
from hpckit.sensors.sentinel1.terrain import locate_pixels, read_geometry
from hpckit.sensors.sentinel1.windows import read_strip
from hpckit.sensors.sentinel2.bands import WINDOW
from hpckit.space.frame import Frame
from hpckit.space.mgrs import mgrs_tile
from hpckit.testing.radar import RadarSpec, write_card_bs

TILE = mgrs_tile("31UFU")
VV = SENTINEL1.parse("VV@10m")
ROWS = 11


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=12_000, help="pixels of the product")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--annotation", type=Path, help="annotation XML of a GRD product")
    options = parser.parse_args()
    print(
        f"GDAL {rasterio.__gdal_version__}, {options.edge} x {options.edge} product pixels, best of {options.rounds}"
    )
    for name, epsg in (("same zone", 32631), ("next zone", 32632)):
        with tempfile.TemporaryDirectory() as folder:
            _compare(name, _product(Path(folder), epsg, options.edge), options.rounds)
    if options.annotation:
        _positions(options.annotation, options.rounds)


def _product(folder: Path, epsg: int, edge: int) -> Scene:
    to_zone = pyproj.Transformer.from_crs(TILE.epsg, epsg, always_xy=True)
    x, y = to_zone.transform(TILE.xmin - 3_000, TILE.ymax + 3_000)
    spec = replace(RadarSpec(), epsg=epsg, ulx=x + 4.7, uly=y - 3.1)
    block = np.random.default_rng(1).gamma(4.4, 0.02, (1000, edge)).astype(np.float32)
    array = np.tile(block, (-(-edge // 1000), 1))[:edge]
    (scene,) = read_scenes(write_card_bs(folder, spec, {"VV": array}))
    return place(scene, TILE)


def _compare(name: str, scene: Scene, rounds: int) -> None:
    reading = RadarReading(erode_px=0)
    read_strip(reading, scene, VV, _frame(scene), 5, [5])  # compiles
    ways: dict[str, Callable[[], float]] = {
        "hpckit": lambda: _ours(reading, scene),
        "GDAL": lambda: _gdal(scene, 0.125),
        "reading": lambda: _only_read(scene),
    }
    best = dict.fromkeys(ways, np.inf)
    for _ in range(rounds):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            best[way] = min(best[way], time.perf_counter() - start)
    ours, gdal = best["hpckit"], best["GDAL"]
    print(
        f"{name}: hpckit {ours:.2f} s, GDAL {gdal:.2f} s: {gdal / ours:.2f} times as fast; reading alone "
        f"{best['reading']:.2f} s; mean power {_ours(reading, scene):.6f} and {_gdal(scene, 0.125):.6f}"
    )


def _frame(scene: Scene) -> Frame:
    return replace(scene.frame, edges=WINDOW)


def _ours(reading: RadarReading, scene: Scene) -> float:
    total = count = 0.0
    for row in range(ROWS):
        for window in read_strip(reading, scene, VV, _frame(scene), row, range(ROWS)).values():
            total, count = total + window.sum(dtype=np.float64), count + np.count_nonzero(window)
    return total * 1e-4 / count


def _gdal(scene: Scene, tolerance: float) -> float:
    total = count = 0.0
    with rasterio.open(scene.assets[VV.key].uri) as source:
        for row in range(ROWS):
            target = np.zeros((min(1024, 10980 - row * 1024), 10980), np.float32)
            reproject(
                rasterio.band(source, 1),
                target,
                src_nodata=0,
                dst_nodata=0,
                dst_transform=scene.frame.transform(10) * Affine.translation(0, row * 1024),
                dst_crs=f"EPSG:{scene.frame.epsg}",
                resampling=Resampling.bilinear,
                num_threads=1,
                warp_mem_limit=512,
                tolerance=tolerance,
            )
            total, count = total + target.sum(dtype=np.float64), count + np.count_nonzero(target)
    return total / count


def _only_read(scene: Scene) -> float:
    with rasterio.open(scene.assets[VV.key].uri) as source:
        return float(sum(source.read(1, window=window)[0, 0] for window in _strips(source.height, source.width)))


def _strips(height: int, width: int) -> list[rasterio.windows.Window]:
    return [rasterio.windows.Window(0, top, width, min(1024, height - top)) for top in range(0, height, 1024)]


def _positions(annotation: Path, rounds: int) -> None:
    geometry = read_geometry(annotation.name, annotation.read_bytes())
    x, y = 300_000 + 10.0 * np.arange(2048), 5_180_000 - 10.0 * np.arange(1024)
    heights = np.random.default_rng(1).uniform(200, 2200, (len(y), len(x))).astype(np.float32)
    locate_pixels(geometry, x, y, 32633, heights)  # compiles
    to_degrees = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    to_space = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)

    def everywhere() -> tuple[np.ndarray, np.ndarray]:
        longitude, latitude = to_degrees.transform(*np.meshgrid(x, y))
        return geometry.locate(np.stack(to_space.transform(longitude, latitude, heights), axis=-1))

    best = [np.inf, np.inf]
    for _ in range(rounds):
        for number, run in enumerate((lambda: locate_pixels(geometry, x, y, 32633, heights), everywhere)):
            start = time.perf_counter()
            run()
            best[number] = min(best[number], time.perf_counter() - start)
    ours, exact = locate_pixels(geometry, x, y, 32633, heights), everywhere()
    worst = max(float(np.abs(a - b).max()) for a, b in zip(ours, exact, strict=True))
    print(
        f"raw GRD, {heights.size / 1e6:.1f} million pixels: {heights.size / best[0] / 1e6:.0f} million a second, "
        f"{best[1] / best[0]:.0f} times the exact solution at every pixel; off by at most {worst:.4f} pixels"
    )


if __name__ == "__main__":
    main()

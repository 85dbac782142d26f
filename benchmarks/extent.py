"""Ingest of a part of a granule: against decoding its windows, odc-stac with the area, and the whole granule.

A product with full 10980² bands is made in a temporary folder. Two parts are ingested: the windows that an area of 10
km by 10 km touches, and windows that hold zones, on five percent of the windows. odc-stac loads the area from the
same files, without writing it, and its pixels must be equal. The area is also ingested as the one tile of a grid with
the granule's own pixels, `utm:10000+EAST+NORTH@10`, which holds no pixel more. With `--cog` the bands are Cloud-
Optimised GeoTIFF with STAC items instead of JPEG 2000. Figures are ratios of CPU times of one process in one run,
each the best of some rounds: a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import odc.stac
import pystac
import rasterio
import shapely
import zarr
from ingest import BANDS, make_products, spec
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpckit.campaign.campaign import Campaign
from hpckit.catalogue import catalogue
from hpckit.catalogue.tiling import group
from hpckit.cubes import ingest, layout, read
from hpckit.cubes.held import WHOLE, Held, pixels
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.sensors.model import Acquisition
from hpckit.sensors.reader import runs
from hpckit.sensors.source import open_band
from hpckit.sensors.verified import keep_notes
from hpckit.space.footprint import geojson, of_box
from hpckit.space.frame import Frame
from hpckit.space.windows import holding, touched
from tests.stac_samples import write_item, write_raster

TILE = "31UFU"
EPSG = 32631
AREA_M = 10_000
SHARE = 0.05


class Tile(NamedTuple):
    """A tile of a grid, and what is known of it."""

    spec: CubeSpec
    name: str
    acquisitions: list[Acquisition]


def corner(frame: Frame) -> tuple[float, float]:
    """Western and northern edge of the area."""
    return frame.ulx + 33_330, frame.uly - 47_770


def of_area(frame: Frame) -> Held:
    """Windows of a square of 10 km that lies anywhere."""
    west, north = corner(frame)
    area = shapely.box(west, north - AREA_M, west + AREA_M, north)
    return Held({(TILE, 10): touched(frame, 10, area)})


def of_zones(frame: Frame) -> Held:
    """Windows of zones that lie in five percent of the windows, one in each."""
    rows, columns = frame.windows(10)
    random, edge = np.random.default_rng(5), frame.edges[10] * 10
    chosen = random.choice((rows - 1) * (columns - 1), round(SHARE * rows * columns), replace=False)
    zones = [
        shapely.Point(
            frame.ulx + (n % (columns - 1) + 0.5) * edge, frame.uly - (n // (columns - 1) + 0.5) * edge
        ).buffer(300)
        for n in chosen.tolist()
    ]
    return Held({(TILE, 10): holding(frame, 10, np.array(zones, dtype=object))})


def with_odc(acquisitions: list[Acquisition]) -> Any:
    """The area, and no pixel more, by odc-stac."""
    west, north = corner(acquisitions[0].scenes[0].frame)
    items = []
    for acquisition in acquisitions:
        scene = acquisition.scenes[0]
        item = pystac.Item(scene.id, geojson(scene.footprint), None, scene.sensed, {"proj:epsg": scene.frame.epsg})
        for ref in BANDS:
            asset = scene.assets[ref.key]
            kind = "image/jp2" if asset.name.endswith(".jp2") else "image/tiff; application=geotiff"
            item.add_asset(ref.name, pystac.Asset(asset.uri, media_type=kind, roles=["data"]))
            item.assets[ref.name].extra_fields = {
                "proj:shape": list(asset.shape),
                "proj:transform": list(asset.transform),
                "raster:bands": [{"nodata": 0, "data_type": "uint16"}],
            }
        items.append(item)
    box = GeoBox.from_bbox((west, north - AREA_M, west + AREA_M, north), f"EPSG:{EPSG}", resolution=10)
    with rasterio.Env(GDAL_NUM_THREADS="1"):
        return odc.stac.load(items, bands=[ref.name for ref in BANDS], geobox=box)


def odc_to_zarr(acquisitions: list[Acquisition], tile: Tile) -> None:
    """The area by odc-stac, and written as the cube of the tile has it."""
    loaded, chunks = with_odc(acquisitions).load(), tile.spec.chunks(10)
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as folder:
        made = zarr.open_group(folder, mode="w")
        for ref in BANDS:
            values = loaded[ref.name].values
            array = made.create_array(
                ref.name,
                shape=values.shape,
                dtype=values.dtype,
                chunks=(1, chunks.chunk, chunks.chunk),
                shards=(1, chunks.window, chunks.window),
                compressors=zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
            )
            array[:] = values


def require_equal(acquisitions: list[Acquisition], loaded: Any, held: Held) -> None:
    """Compare the pixels of the area in a cube with those of odc-stac."""
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as folder:
        made = spec(Path(folder) / "cube.zarr")
        ingested(made, acquisitions, held)
        frame = acquisitions[0].scenes[0].frame
        west, north = corner(frame)
        row, column, edge = round((frame.uly - north) / 10), round((west - frame.ulx) / 10), AREA_M // 10
        for ref in BANDS:
            for number in range(len(acquisitions)):
                ours = read.read_plane(made.path, TILE, ref, number)[row : row + edge, column : column + edge]
                np.testing.assert_array_equal(ours, loaded[ref.name].values[number])


def as_tile(acquisitions: list[Acquisition]) -> Tile:
    """The area as the tile of a grid that has a corner there."""
    frame = acquisitions[0].scenes[0].frame
    west, north = corner(frame)
    inner = of_box((west + 1000, north - AREA_M + 1000, west + AREA_M - 1000, north - 1000), EPSG)
    made = Campaign.model_validate(
        {
            "name": "bench",
            "aoi": list(inner.bounds),
            "period": "2024-01-01/2024-12-31",
            "scenes": {"paths": ["."], "verify": False},
            "grid": f"utm:{AREA_M}+{west:.0f}+{north - AREA_M:.0f}@10",
            "cube": {"bands": [ref.key for ref in BANDS], "resampling": "nearest"},
        }
    )
    ((tile, items),) = group(made, [scene for item in acquisitions for scene in item.scenes])[0].items()
    return Tile(CubeSpec.of(made), tile, items)


def fill_tile(tile: Tile, path: Path) -> None:
    """Ingest the tile of a grid into an empty cube."""
    made = replace(tile.spec, path=path)
    layout.prepare(made, tile.name, tile.acquisitions)
    manifest = Manifest.load(path)
    for unit in ingest.ingest_units(made, tile.name, tile.acquisitions):
        result = ingest.ingest(made, unit, tile.acquisitions, manifest, "w")
        assert not result.failures, result.failures


def ingest_tile(tile: Tile) -> None:
    """The same, and remove the cube."""
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as folder:
        fill_tile(tile, Path(folder) / "cube.zarr")


def require_equal_tile(tile: Tile, loaded: Any) -> None:
    """Compare all pixels of the tile with those of odc-stac."""
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as folder:
        path = Path(folder) / "cube.zarr"
        fill_tile(tile, path)
        for ref in BANDS:
            for number in range(len(tile.acquisitions)):
                ours = read.read_plane(path, tile.name, ref, number)
                np.testing.assert_array_equal(ours, loaded[ref.name].values[number])


def decode(acquisitions: list[Acquisition], frame: Frame, held: Held) -> None:
    """Only decode windows, neighbours at once."""
    edge = frame.edges[10]
    for acquisition in acquisitions:
        for ref in BANDS:
            with open_band(acquisition.scenes[0], ref) as source:
                for row, windows in enumerate(held.windows(frame, ref)):
                    height = min(edge, source.height - row * edge)
                    for first, last in runs(np.flatnonzero(windows).tolist()):
                        width = min((last + 1) * edge, source.width) - first * edge
                        source.read(1, window=Window(first * edge, row * edge, width, height))


def fill(acquisitions: list[Acquisition], held: Held, *, verify: bool = False) -> None:
    """Ingest into an empty cube, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="hpckit-bench-"))
    try:
        if verify:
            keep_notes(folder / "notes", "w")
        ingested(spec(folder / "cube.zarr", verify=verify), acquisitions, held)
    finally:
        shutil.rmtree(folder)


def ingested(made: CubeSpec, acquisitions: list[Acquisition], held: Held) -> None:
    """Ingest into an empty cube."""
    layout.prepare(made, TILE, acquisitions, held)
    manifest = Manifest.load(made.path)
    for unit in ingest.ingest_units(made, TILE, acquisitions, held):
        result = ingest.ingest(made, unit, acquisitions, manifest, "w")
        assert not result.failures, result.failures


def as_cog(acquisitions: list[Acquisition], folder: Path) -> list[Acquisition]:
    """The same pixels as Cloud-Optimised GeoTIFF with STAC items, in tiles as large as those of JPEG 2000."""
    plain: Mapping[str, Any] = {"tiled": None, "blockxsize": None, "blockysize": None}
    for acquisition in acquisitions:
        scene, arrays = acquisition.scenes[0], {}
        for ref in BANDS:
            with open_band(scene, ref) as source:
                arrays[ref.key] = source.read(1)
        item = write_item(folder, arrays, "stactools", sensed=scene.sensed)
        for name, values in zip(json.loads(item.read_text())["assets"], arrays.values(), strict=True):
            layout_of = {**plain, "driver": "COG", "blocksize": 1024, "compress": "deflate", "predictor": "2"}
            write_raster(item.parent / f"{name}.tif", values, 10, **layout_of)
    return scanned([folder])


def scanned(places: Sequence[Path]) -> list[Acquisition]:
    """Acquisitions of products."""
    return catalogue.acquisitions(catalogue.scan(places).scenes)[0]


def seconds(work: Callable[[], None]) -> float:
    """CPU time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dates", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--products", type=Path, help="Keep the products in this folder, and use those that are there."
    )
    parser.add_argument("--cog", action="store_true", help="Ingest Cloud-Optimised GeoTIFF instead of JPEG 2000.")
    parser.add_argument("--make-only", action="store_true", help="Make the products, and measure nothing.")
    options = parser.parse_args()
    folder = options.products or Path(tempfile.mkdtemp(prefix="hpckit-bench-"))
    try:
        safe = sorted(folder.glob("*.SAFE"))
        acquisitions = scanned(safe) if safe else make_products(folder, options.dates)
        if options.cog:
            cogs = folder / "cog"
            acquisitions = scanned([cogs]) if cogs.exists() else as_cog(acquisitions, cogs)
        if not options.make_only:
            show(measure(acquisitions, options.rounds), as_json=options.json)
    finally:
        if options.products is None:
            shutil.rmtree(folder)


def measure(acquisitions: list[Acquisition], rounds: int) -> dict[str, float]:
    """All ratios."""
    frame, tile = spec(Path()).frame(TILE, acquisitions), as_tile(acquisitions)
    area, zones = of_area(frame), of_zones(frame)
    work: dict[str, Callable[[], None]] = {
        "decode_area": lambda: decode(acquisitions, frame, area),
        "area": lambda: fill(acquisitions, area),
        "area_checked": lambda: fill(acquisitions, area, verify=True),
        "tile": lambda: ingest_tile(tile),
        "odc_area": lambda: with_odc(acquisitions).load(),
        "odc_zarr": lambda: odc_to_zarr(acquisitions, tile),
        "decode_zones": lambda: decode(acquisitions, frame, zones),
        "zones": lambda: fill(acquisitions, zones),
    }
    loaded = with_odc(acquisitions).load()
    require_equal(acquisitions, loaded, area)
    require_equal_tile(tile, loaded)
    for task in work.values():
        task()  # files are in memory, code is loaded
    times = {name: min(seconds(task) for _ in range(rounds)) for name, task in work.items()}
    times["granule"] = seconds(lambda: fill(acquisitions, WHOLE))
    every = np.ones(frame.windows(10), np.bool_)
    share = {
        name: pixels(frame, held.wanted(frame, 10), 10) / pixels(frame, every, 10)
        for name, held in (("area", area), ("zones", zones))
    }
    return {
        "windows_area": float(area.wanted(frame, 10).sum()),
        "windows_zones": float(zones.wanted(frame, 10).sum()),
        "windows_granule": float(every.size),
        **{f"{name}_s": value for name, value in times.items()},
        "area_over_decoding_its_windows": times["area"] / times["decode_area"],
        "odc_stac_over_area": times["odc_area"] / times["area"],
        "odc_stac_over_area_as_a_tile": times["odc_area"] / times["tile"],
        "odc_stac_with_zarr_over_area": times["odc_zarr"] / times["area"],
        "odc_stac_with_zarr_over_area_as_a_tile": times["odc_zarr"] / times["tile"],
        "area_with_checksums_over_without": times["area_checked"] / times["area"],
        "granule_over_area": times["granule"] / times["area"],
        "zones_over_decoding_their_windows": times["zones"] / times["decode_zones"],
        "cost_of_a_pixel_area_over_granule": times["area"] / times["granule"] / share["area"],
        "cost_of_a_pixel_zones_over_granule": times["zones"] / times["granule"] / share["zones"],
    }


def show(result: dict[str, float], *, as_json: bool) -> None:
    """Print."""
    if as_json:
        print(json.dumps(result, indent=1))
        return
    for name, value in result.items():
        print(f"{name:<40}{value:14,.3f}")


if __name__ == "__main__":
    main()

"""Ingest against merely decoding the same JPEG 2000 windows, and against odc-stac with to_zarr.

Products with full 10980² bands of about seven bits a pixel are made in a temporary folder. Ingest and decoding
run in the same number of processes; figures are ratios of wall times in one run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

os.environ["GDAL_NUM_THREADS"] = "1"
os.environ["GDAL_CACHEMAX"] = "64"

from hpckit.catalogue import catalogue
from hpckit.cubes import ingest, layout
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.sensors.model import Acquisition
from hpckit.sensors.sentinel2.bands import WINDOW
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.sensors.source import open_band
from hpckit.sensors.verified import keep_notes
from hpckit.space.footprint import geojson
from hpckit.testing.landscape import noise
from hpckit.testing.safe import ProductSpec, write_product

EDGE = 10980
BANDS = (SENTINEL2.parse("B04@10m"), SENTINEL2.parse("B08@10m"))


def make_products(folder: Path, dates: int) -> list[Acquisition]:
    """Write products and read them as acquisitions."""
    random = np.random.default_rng(0)
    ground = np.tile(noise(1098, 1.2, 1), (10, 10))
    for number in range(dates):
        time_ = datetime(2024, 5, 1, 10, 50, 31, tzinfo=UTC) + timedelta(days=5 * number)
        arrays = {
            f"{ref.name}@10m": (
                2500 + 500 * ground + 45 * random.standard_normal((EDGE, EDGE), dtype=np.float32)
            ).astype(np.uint16)
            for ref in BANDS
        }
        arrays["SCL@60m"] = np.full((1830, 1830), 4, np.uint8)
        write_product(folder, ProductSpec(sensed=time_), arrays)
    found, _ = catalogue.acquisitions(catalogue.scan([folder]).scenes)
    return found


def tasks(acquisitions: list[Acquisition], processes: int) -> list[list[ingest.IngestUnit]]:
    """Units of each process."""
    units = list(ingest.ingest_units(spec(Path()), "31UFU", acquisitions))
    return [units[number::processes] for number in range(processes)]


def spec(path: Path, *, verify: bool = False) -> CubeSpec:
    """Layout of the benchmark's cubes."""
    return CubeSpec(path, BANDS, 16, True, 3, None, verify, SENTINEL2.grid, sensor=SENTINEL2)


def decode(acquisitions: list[Acquisition], units: list[ingest.IngestUnit]) -> None:
    """Only decode what the units decode."""
    from rasterio.windows import Window

    for unit in units:
        edge = WINDOW[unit.band.resolution_m]
        for acquisition in acquisitions:
            with open_band(acquisition.scenes[0], unit.band) as source:
                height = min(edge, source.height - unit.row * edge)
                source.read(1, window=Window(0, unit.row * edge, source.width, height))


def run_ingest(
    path: Path,
    acquisitions: list[Acquisition],
    units: list[ingest.IngestUnit],
    name: str,
    peaks,
    notes: Path | None = None,
) -> None:
    """Ingest units, and give the peak memory of the process; with notes files are compared with their checksums."""
    manifest = Manifest.load(path)
    if notes is not None:
        keep_notes(notes, name)
    for unit in units:
        result = ingest.ingest(spec(path, verify=notes is not None), unit, acquisitions, manifest, name)
        assert not result.failures, result.failures
    if peaks is not None:
        peaks.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def in_processes(target, arguments: list[tuple]) -> float:
    """Wall time of a function in several processes, seconds."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=target, args=each) for each in arguments]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers)
    return time.perf_counter() - start


def odc_to_zarr(acquisitions: list[Acquisition], path: Path, processes: int) -> float:
    """Wall time of odc-stac loading the same scenes and xarray writing them to Zarr, seconds."""
    import dask
    import odc.stac
    import pystac

    items = []
    for acquisition in acquisitions:
        scene = acquisition.scenes[0]
        item = pystac.Item(scene.id, geojson(scene.footprint), None, scene.sensed, {"proj:epsg": scene.frame.epsg})
        for ref in BANDS:
            item.add_asset(ref.name, pystac.Asset(scene.assets[ref.key].uri, media_type="image/jp2", roles=["data"]))
        items.append(item)
    start = time.perf_counter()
    data = odc.stac.load(
        items,
        bands=[ref.name for ref in BANDS],
        crs="EPSG:32631",
        resolution=10,
        chunks={"x": 2048, "y": 2048},
        x=(600000, 600000 + 109800),
        y=(5700000 - 109800, 5700000),
    )
    with dask.config.set(scheduler="processes", num_workers=processes):
        data.drop_vars("spatial_ref").to_zarr(path, mode="w", zarr_format=3, consolidated=False)
    return time.perf_counter() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dates", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--no-odc", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hpckit-bench-"))
    try:
        acquisitions = make_products(folder / "scenes", options.dates)
        jp2 = sum(path.stat().st_size for path in (folder / "scenes").rglob("*_10m.jp2"))
        shares = tasks(acquisitions, options.processes)
        decode(acquisitions, shares[0][:1])
        peaks = multiprocessing.get_context("fork").SimpleQueue()
        rounds = []
        for number in range(2):
            cube = folder / f"cube{number}.zarr"
            layout.prepare(spec(cube), "31UFU", acquisitions)
            decoding = in_processes(decode, [(acquisitions, units) for units in shares])
            ingesting = in_processes(
                run_ingest, [(cube, acquisitions, units, f"w{n}", peaks) for n, units in enumerate(shares)]
            )
            checked, notes = folder / f"checked{number}.zarr", folder / f"seen{number}"
            layout.prepare(spec(checked), "31UFU", acquisitions)
            verifying = in_processes(
                run_ingest, [(checked, acquisitions, units, f"w{n}", None, notes) for n, units in enumerate(shares)]
            )
            rounds.append((decoding, ingesting, verifying))
        decoding, ingesting, verifying = (min(values) for values in zip(*rounds, strict=True))
        pixels = EDGE * EDGE * len(BANDS) * options.dates
        written = sum(path.stat().st_size for path in (folder / "cube0.zarr").rglob("*") if path.is_file())
        result = {
            "bits_per_pixel_jp2": jp2 * 8 / pixels,
            "decode_s": decoding,
            "decode_mpx_per_s_and_process": pixels / decoding / options.processes / 1e6,
            "ingest_s": ingesting,
            "ingest_over_decode": ingesting / decoding,
            "ingest_with_checksums_over_without": verifying / ingesting,
            "cube_over_jp2_bytes": written / jp2,
            "peak_memory_mib": max(peaks.get() for _ in range(2 * options.processes)),
        }
        if not options.no_odc:
            odc = odc_to_zarr(acquisitions, folder / "odc.zarr", options.processes)
            result |= {
                "odc_stac_s": odc,
                "odc_stac_over_decode": odc / decoding,
                "odc_stac_over_ingest": odc / ingesting,
            }
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        for name, value in result.items():
            print(f"{name:<40}{value:14,.3f}")


if __name__ == "__main__":
    main()

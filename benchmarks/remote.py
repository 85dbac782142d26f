"""Images on a web server: ingest of an area of 10 km by 10 km from Cloud-Optimised GeoTIFF, JPEG 2000 and EOPF Zarr.

A band of 10980² pixels is made in a temporary folder and given, as that of some dates, by a server on loopback that
waits before each answer as a distant one does. Compared are hpckit's ingest, and GDAL's own reader of remote files
(`/vsicurl/`) that only decodes the same windows; both start without anything known of the files. JPEG 2000 is
ingested once more with what the first run noted of where tiles lie. Of EOPF Zarr there is one date, and no other
reader.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from extent import of_area
from rasterio.windows import Window

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpckit.catalogue import catalogue
from hpckit.cubes import ingest, layout
from hpckit.cubes.held import Held
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.inputs import httpfiles, remote, tileraster
from hpckit.sensors.model import Acquisition
from hpckit.sensors.reader import runs
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.frame import Frame
from hpckit.space.mgrs import mgrs_tile
from hpckit.testing.eopf import write_eopf
from hpckit.testing.safe import ProductSpec
from tests.servers.files import FileServer, serve
from tests.stac_samples import SENSED, product_name, write_item, write_raster

BAND = SENTINEL2.parse("B04")
EDGE = 10980
TILE = "31UFU"
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_NUM_THREADS": "1",
    "GDAL_HTTP_MAX_RETRY": "4",
    "VSI_CACHE": "FALSE",
}


def make(folder: Path, form: str) -> Path:
    """Write a band as a file of the form, and an item of it."""
    pixels = band()
    item = write_item(folder, {BAND.key: pixels}, "stactools")
    plain = {"tiled": None, "blockxsize": None, "blockysize": None}
    if form == "jp2":
        lossless = {"driver": "JP2OpenJPEG", "compress": None, "QUALITY": "100", "REVERSIBLE": "YES"}
        tiles = {"tiled": None, "blockxsize": 1024, "blockysize": 1024}
        write_raster(item.parent / "red.jp2", pixels, 10, **tiles, **lossless)
    else:
        write_raster(item.parent / "red.tif", pixels, 10, **plain, driver="COG", blocksize=1024, compress="deflate")
    told = json.loads(item.read_text())
    told["assets"]["red"]["href"] = f"red.{form}"
    item.write_text(json.dumps(told))
    return item


def fill(items: Path | str, held_of: Callable[[Frame], Held], notes: Path, spent: Any) -> None:
    """Ingest what an area touches into an empty cube."""
    httpfiles.permit(["127.0.0.1"])
    acquisitions, frame = scanned(items)
    remote._known.clear()
    tileraster.keep_notes(notes, "bench")
    start = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="hpckit-bench-"))
    spec = CubeSpec(folder / "cube.zarr", (BAND,), 4, False, 3, None, True, SENTINEL2.grid, sensor=SENTINEL2)
    held = held_of(frame)
    layout.prepare(spec, TILE, acquisitions, held)
    manifest = Manifest.load(spec.path)
    for unit in ingest.ingest_units(spec, TILE, acquisitions, held):
        result = ingest.ingest(spec, unit, acquisitions, manifest, "bench")
        assert not result.failures, result.failures
    spent.value = time.perf_counter() - start
    shutil.rmtree(folder)


def make_zarr(folder: Path, chunk_m: int) -> Path:
    """Write a product of one band as EOPF Zarr."""
    place = mgrs_tile(TILE)
    spec = ProductSpec(tile=TILE, epsg=place.epsg, ulx=place.xmin, uly=place.ymax)
    return write_eopf(folder, spec, {BAND.key: band()}, "2.8", chunk_m=chunk_m)


def band() -> np.ndarray:
    """Pixels that take as many bytes as real ones."""
    random = np.random.default_rng(3)
    smooth = random.integers(1000, 5000, (EDGE // 60, EDGE // 60)).repeat(60, 0).repeat(60, 1)
    return (smooth + random.normal(0, 60, smooth.shape)).astype(np.uint16)


def scanned(items: Path | str) -> tuple[list[Acquisition], Frame]:
    """Acquisitions of items, and their tile."""
    acquisitions, _ = catalogue.acquisitions(catalogue.scan([items]).scenes)
    scene = acquisitions[0].scenes[0]
    assert scene.frame is not None
    return acquisitions, SENTINEL2.grid.frame(TILE, [10], scene.frame)


def decode(urls: list[str], held: Held, frame: Frame, spent: Any) -> None:
    """Only decode these windows, by GDAL alone."""
    edge, start = frame.edges[10], time.perf_counter()
    for url in urls:
        with rasterio.Env(**GDAL), rasterio.open(f"/vsicurl/{url}") as source:
            for row, windows in enumerate(held.windows(frame, BAND)):
                height = min(edge, source.height - row * edge)
                for first, last in runs(np.flatnonzero(windows).tolist()):
                    width = min((last + 1) * edge, source.width) - first * edge
                    source.read(1, window=Window(first * edge, row * edge, width, height))
    spent.value = time.perf_counter() - start


def timed(run: Callable[..., None], arguments: tuple[object, ...], server: FileServer) -> tuple[float, int, float]:
    """Seconds in a process of its own, requests, and megabytes."""
    server.requests.clear()
    context = multiprocessing.get_context("fork")
    spent = context.Value("d", 0.0)
    process = context.Process(target=run, args=(*arguments, spent))
    process.start()
    process.join()
    assert process.exitcode == 0
    return spent.value, len(server.requests), server.nbytes / 1e6


def copies(item: Path, url: str, dates: int, folder: Path) -> list[str]:
    """Items of several dates in a folder, all of them of one file under several addresses."""
    folder.mkdir()
    urls = []
    for number in range(dates):
        sensed = SENSED + timedelta(days=number)
        told = json.loads(item.read_text())
        told["assets"]["red"]["href"] = f"{url}?{number}"
        told["id"] = product_name(sensed)
        strip = f"S2A_OPER_DS_S{sensed:%Y%m%dT%H%M%S}"
        told["properties"] |= {
            "datetime": f"{sensed:%Y-%m-%dT%H:%M:%SZ}",
            "s2:product_uri": f"{told['id']}.SAFE",
            "s2:datatake_id": f"GS2A_{sensed:%Y%m%dT%H%M%S}_046000_N05.10",
            "s2:datastrip_id": strip,
        }
        (folder / f"{number}.json").write_text(json.dumps(told))
        urls.append(f"{url}?{number}")
    return urls


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dates", type=int, default=8)
    parser.add_argument("--delay-ms", type=float, default=20, help="before each answer")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hpckit-bench-"))
    try:
        for form in ("tif", "jp2"):
            item = make(folder / form, form)
            local, frame = scanned(item)
            held = of_area(frame)
            file = local[0].scenes[0].assets[BAND.key].file
            with serve(FileServer(file.parent, delay_s=options.delay_ms / 1e3)) as server:
                items = folder / f"{form}-items"
                urls = copies(item, f"{server.url}/{file.name}", options.dates, items)
                ours, again, theirs = [], [], []
                for number in range(options.rounds):
                    notes = folder / f"{form}-notes-{number}"
                    ours.append(timed(fill, (items, of_area, notes), server))
                    if form == "jp2":
                        again.append(timed(fill, (items, of_area, notes), server))
                    theirs.append(timed(decode, (urls, held, frame), server))
                (mine, sent, mb), (gdal, asked, read) = min(ours), min(theirs)
                print(f"{form}: {options.dates} files of {file.stat().st_size / 1e6:.0f} MB, {options.delay_ms:g} ms")
                print(f"  hpckit, ingest:      {mine:.2f} s; with the scan {sent} requests, {mb:.1f} MB")
                if again:
                    known, sent, mb = min(again)
                    print(f"  with known tiles:    {known:.2f} s; with the scan {sent} requests, {mb:.1f} MB")
                    print(f"  known tiles / GDAL:  {known / gdal:.2f}")
                print(f"  GDAL, windows alone: {gdal:.2f} s; {asked} requests, {read:.1f} MB")
                print(f"  hpckit / GDAL:       {mine / gdal:.2f}")
        for chunk_m in (18_300, 54_900):
            product = make_zarr(folder / f"zarr-{chunk_m}", chunk_m)
            with serve(FileServer(product.parent, delay_s=options.delay_ms / 1e3)) as server:
                place = f"{server.url}/{product.name}"
                spent, sent, mb = min(
                    timed(fill, (place, of_area, folder / "notes"), server) for _ in range(options.rounds)
                )
                print(f"EOPF Zarr, chunks of {chunk_m // 10} pixels, one date, {options.delay_ms:g} ms")
                print(f"  hpckit, ingest:      {spent:.2f} s; with the scan {sent} requests, {mb:.1f} MB")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""Signatures of all zones from a store into Arrow: rows per second, memory, and the same by one series after another.

    python benchmarks/signatures_read.py --rows 10000000 --json read.json

Records are loaded by the stores' own path (`--keep FILE` keeps the GeoPackage for another run). A row is a zone, an
acquisition and a band. `--postgis` starts a server of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sync import BANDS, write, zone_layer
from hpckit.reduce.signatures.spool import read_segment
from hpckit.store import Store
from hpckit.store.batches import record_batches
from hpckit.store.geopackage import GeoPackage
from hpckit.store.postgis import PostGis
from tests.servers.postgres import PostgresServer

DATES = 72


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--cloudy", type=float, default=0.2, help="fraction of records without a valid pixel")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--postgis", action="store_true")
    parser.add_argument("--keep", type=Path, help="GeoPackage that is made if it is missing, and kept")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as folder:
        path = arguments.keep or Path(folder) / "bench.gpkg"
        results = measure("GeoPackage", lambda: GeoPackage(path), Path(folder), arguments, made=path.exists())
        if arguments.postgis:
            server = PostgresServer({"shared_buffers": "512MB", "max_wal_size": "8GB"}).start()
            try:
                dsn = server.create_database("bench")
                results |= measure("PostGIS", lambda: PostGis(dsn), Path(folder), arguments, made=False)
            finally:
                server.remove()
    for name, value in results.items():
        print(f"{name:52} {value:>14,.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(
    name: str, open_: Callable[[], Store], folder: Path, arguments: argparse.Namespace, *, made: bool
) -> dict[str, float]:
    if not made:
        fill(open_(), folder, arguments)
    results: dict[str, float] = {}
    for label, band in (("all bands", None), ("one band", "NDVI")):
        found = [fork(lambda band=band: read(open_(), band)) for _ in range(arguments.repeat)]
        rows, seconds, cpu, memory = min(found, key=lambda one: one[1])
        results |= {
            f"{name}, {label}, million rows": rows / 1e6,
            f"{name}, {label}, million rows per s": rows / seconds / 1e6,
            f"{name}, {label}, CPU s per million rows": cpu / rows * 1e6,
            f"{name}, {label}, peak memory, GB": memory,
        }
    store = open_()
    zones = store.zone_ids("parcels")[:200]
    start = time.perf_counter()
    rows = sum(len(store.series("parcels", zone, "NDVI")) for zone in zones)
    results[f"{name}, one band, by series, million rows per s"] = rows / (time.perf_counter() - start) / 1e6
    store.close()
    return results


def fill(store: Store, folder: Path, arguments: argparse.Namespace) -> None:
    layer = zone_layer(arguments.rows // (DATES * len(BANDS)))
    store.prepare()
    store.load_zones("parcels", layer)
    for first in range(0, DATES, 4):
        path = folder / "segment.h5"
        write(path, layer, range(first, first + 4), arguments.cloudy)
        store.load_segment(read_segment(path))
        path.unlink()
    store.close()


def read(store: Store, band: str | None) -> tuple[int, float, float, float]:
    """Rows, seconds, CPU seconds and peak memory (GB) of a reading that keeps nothing."""
    start, cpu = time.perf_counter(), time.process_time()
    rows = sum(batch.num_rows for batch in record_batches(store.blocks("parcels", band)))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    store.close()
    return rows, seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def fork(call: Callable[[], Any]) -> Any:
    """Answer of a process of its own, so that memory is its own."""
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=lambda: its.send(call()))
    process.start()
    answer = mine.recv()
    process.join()
    return answer


if __name__ == "__main__":
    main()

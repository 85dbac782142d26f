"""Sync into PostgreSQL: load rate against a bare COPY of the same bytes, size, and time of both queries.

    python benchmarks/sync.py --zones 100000 --acquisitions 40 --json sync.json

Starts a server of its own with default settings and durable commits. Every zone is valid at every date unless
`--cloudy` says otherwise: the largest store that the numbers of zones and dates can give.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pyproj
import shapely

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpckit.production.sync import read_ahead
from hpckit.reduce.signatures.spool import AcquisitionInfo, SignatureBatch, SpoolHeader, read_segment, write_segment
from hpckit.space.zones import ZoneLayer
from hpckit.store.copy import record_stream
from hpckit.store.geopackage import GeoPackage
from hpckit.store.postgis import PostGis
from tests.servers.postgres import PostgresServer

BANDS = ("B02", "B03", "B04", "B05", "B08", "B11", "NDVI")
STATISTICS = ("mean", "std", "min", "max", "p25", "p50", "p75")
COUNTRY = 500_000 * 73 * 7
JRC_TALL_BYTES = 109
"""Bytes of a row of JRC's table and of its key's index, measured on PostgreSQL 15."""


def main() -> None:
    arguments = parse()
    server = PostgresServer({"shared_buffers": "512MB", "max_wal_size": "8GB"}).start()
    try:
        with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as folder:
            results = measure(server, Path(folder), arguments)
    finally:
        server.remove()
    for name, value in results.items():
        print(f"{name:44} {value:>16,.4g}" if isinstance(value, float) else f"{name:44} {value:>16,}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zones", type=int, default=100_000)
    parser.add_argument("--acquisitions", type=int, default=40)
    parser.add_argument("--per-segment", type=int, default=4, help="acquisitions in one spool file")
    parser.add_argument("--cloudy", type=float, default=0.0, help="fraction of records without a valid pixel")
    parser.add_argument("--geopackage-acquisitions", type=int, default=4, help="also load so many into a GeoPackage")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def measure(server: PostgresServer, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    layer = zone_layer(arguments.zones)
    store = PostGis(server.create_database("bench"))
    store.prepare()
    start = time.perf_counter()
    store.load_zones("parcels", layer)
    results: dict[str, Any] = {"zones": len(layer), "acquisitions": arguments.acquisitions}
    results["zones loaded per s"] = len(layer) / (time.perf_counter() - start)
    connection = psycopg2.connect(server.dsn("bench"))
    seconds: dict[str, list[float]] = {"sync": [], "copy": []}
    for paths in groups(folder, layer, arguments):
        # Bare COPY and sync take turns, so that both see the same machine.
        seconds["copy"].append(sum(bare_copy(connection, path) for path in paths))
        start = time.perf_counter()
        for segment in read_ahead(paths):
            store.load_segment(segment)
        seconds["sync"].append(time.perf_counter() - start)
        spooled = sum(path.stat().st_size for path in paths)
    results["spool bytes per signature"] = spooled / (len(paths) * arguments.per_segment * len(layer) * len(BANDS))
    results |= rates(seconds, arguments)
    results |= sizes(connection, arguments)
    results |= reload_rate(store, paths[0], layer, arguments.per_segment)
    results |= queries(server, store, layer, arguments)
    results |= geopackage(folder, layer, arguments)
    store.close()
    connection.close()
    return results


def groups(folder: Path, layer: ZoneLayer, arguments: argparse.Namespace) -> Iterator[list[Path]]:
    """Spool files of all acquisitions, some at a time."""
    step = arguments.per_segment
    starts = range(0, arguments.acquisitions - step + 1, step)
    for number in range(0, len(starts), 5):
        group = starts[number : number + 5]
        paths = [folder / f"segment{first}.h5" for first in group]
        for path, first in zip(paths, group, strict=True):
            write(path, layer, range(first, first + step), arguments.cloudy)
        yield paths


def rates(seconds: dict[str, list[float]], arguments: argparse.Namespace) -> dict[str, float]:
    records = arguments.zones * arguments.acquisitions
    sync, copy = sum(seconds["sync"]), sum(seconds["copy"])
    pairs = [bare / loaded for bare, loaded in zip(seconds["copy"], seconds["sync"], strict=True)]
    return {
        "sync, million signatures per s": records * len(BANDS) / sync / 1e6,
        "bare COPY, million signatures per s": records * len(BANDS) / copy / 1e6,
        "sync / bare COPY (rate)": copy / sync,
        "  median over groups": statistics.median(pairs),
    }


def reload_rate(store: PostGis, path: Path, layer: ZoneLayer, count: int) -> dict[str, float]:
    """Rate at which results are replaced: the same zones and dates, made from other inputs."""
    segment = read_segment(path)
    write_segment(path, segment.header, [replace(batch, inputs="others") for batch in segment.batches])
    start = time.perf_counter()
    store.load_segment(read_segment(path))
    return {
        "replacing, million signatures per s": count * len(layer) * len(BANDS) / (time.perf_counter() - start) / 1e6
    }


def sizes(connection: Any, arguments: argparse.Namespace) -> dict[str, float]:
    signatures = arguments.zones * arguments.acquisitions * len(BANDS)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_table_size('bare'), pg_indexes_size('hpckit.record')")
        heap, index = cursor.fetchone()
    total = (heap + index) / signatures
    return {
        "signatures, million": signatures / 1e6,
        "bytes per signature, table": heap / signatures,
        "bytes per signature, indexes": index / signatures,
        "GB at 260 million signatures": total * COUNTRY / 1e9,
        "JRC's layout, GB at 260 million": JRC_TALL_BYTES * COUNTRY / 1e9,
    }


def queries(
    server: PostgresServer, store: PostGis, layer: ZoneLayer, arguments: argparse.Namespace
) -> dict[str, float]:
    """Times of a zone's series and of an image, through the API and in SQL, as medians; first with cold buffers."""
    store.close()
    server.stop()
    server.start()
    generator = np.random.default_rng(1)
    names = [layer.ids[row] for row in generator.integers(0, len(layer), 20)]
    dates = [f"GS2A_{number:06d}" for number in generator.integers(0, arguments.acquisitions, 5)]
    results = {
        "series, one band, first after restart, s": timed(lambda: store.series("parcels", names[0], "NDVI")),
        "series, one band, s": median(lambda name: store.series("parcels", name, "NDVI"), names),
        "series, all bands, s": median(lambda name: store.series("parcels", name), names),
        "image, one band, first after restart, s": timed(lambda: store.image("parcels", dates[0], "NDVI")),
        "image, one band, s": median(lambda name: store.image("parcels", name, "NDVI"), dates),
    }
    view = "SELECT time, mean FROM hpckit.signature WHERE reduction = 'parcels' AND zone = %s AND band = 'NDVI'"
    jrc = "SELECT obsid, mean FROM hpckit.sigs WHERE band = 'B04' AND pid = %s"
    with psycopg2.connect(server.dsn("bench")) as connection, connection.cursor() as cursor:
        results["view signature, one zone and band, s"] = median(lambda name: ask(cursor, view, name), names)
        results["view sigs, one pid and band, s"] = median(lambda number: ask(cursor, jrc, number), [3, 7, 11])
    image = results["image, one band, s"]
    results["image, one band, of 500,000 zones, s"] = image * 500_000 / arguments.zones
    return results


def geopackage(folder: Path, layer: ZoneLayer, arguments: argparse.Namespace) -> dict[str, float]:
    path, count = folder / "segment.h5", arguments.geopackage_acquisitions
    store = GeoPackage(folder / "bench.gpkg")
    store.prepare()
    store.load_zones("parcels", layer)
    before = store.path.stat().st_size
    write(path, layer, range(count), arguments.cloudy)
    start = time.perf_counter()
    store.load_segment(read_segment(path))
    signatures = count * len(layer) * len(BANDS)
    results = {
        "GeoPackage, million signatures per s": signatures / (time.perf_counter() - start) / 1e6,
        "GeoPackage, bytes per signature": (store.path.stat().st_size - before) / signatures,
        "GeoPackage, series, one band, s": median(lambda name: store.series("parcels", name, "NDVI"), layer.ids[:5]),
        "GeoPackage, image, one band, s": timed(lambda: store.image("parcels", "GS2A_000001", "NDVI")),
    }
    store.close()
    return results


def bare_copy(connection: Any, path: Path) -> float:
    """Time of a COPY of the same bytes into a table without keys; the bytes are made before."""
    segment = read_segment(path)
    stream = record_stream([(batch, 1, 1) for batch in segment.batches], 1)
    payload = io.BytesIO(b"".join(iter(lambda: stream.read(1 << 20), b"")))
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS bare (zone integer, acquisition integer, observation integer, data real[])"
        )
    start = time.perf_counter()
    with connection, connection.cursor() as cursor:
        cursor.copy_expert("COPY bare FROM STDIN (FORMAT binary)", payload, size=1 << 20)
    return time.perf_counter() - start


def zone_layer(count: int) -> ZoneLayer:
    """Fields of 100 m on a grid."""
    side = int(np.ceil(count**0.5))
    x, y = (np.arange(count) % side) * 110.0 + 400_000, (np.arange(count) // side) * 110.0 + 5_500_000
    boxes = shapely.multipolygons([[box] for box in shapely.box(x, y, x + 100, y + 100)])
    return ZoneLayer(tuple(f"FR{row:07d}" for row in range(count)), boxes, pyproj.CRS("EPSG:32631").to_wkt())


def write(path: Path, layer: ZoneLayer, acquisitions: range, cloudy: float) -> int:
    header = SpoolHeader("bench", "0", "run", "parcels", layer.digest, "0")
    write_segment(path, header, [batch(len(layer), number, cloudy) for number in acquisitions])
    return path.stat().st_size


def batch(zones: int, number: int, cloudy: float) -> SignatureBatch:
    """Plausible statistics: percentiles and extremes are whole digital numbers, means and deviations are not."""
    generator = np.random.default_rng(number)
    middle = generator.normal(0.25, 0.08, (zones, len(BANDS), 1))
    spread = generator.gamma(3, 0.005, (zones, len(BANDS), 1))
    whole = [np.round(middle + offset * spread, 4) for offset in (-3, 3, -0.67, 0, 0.67)]
    values = np.concatenate([middle, spread, *whole], axis=2).astype(np.float32)
    total = np.full((zones, len(BANDS)), 100, dtype=np.float32)
    valid = generator.integers(50, 101, (zones, 1)).astype(np.float32) * np.ones_like(total)
    empty = generator.random(zones) < cloudy
    values[empty], valid[empty] = np.nan, 0
    time_ = datetime(2024, 1, 1, 10, 30, tzinfo=UTC) + timedelta(days=5 * number)
    info = AcquisitionInfo(f"GS2A_{number:06d}", time_, "S2A", "L2A", "31UFU", "05.10", 51, (f"product {number}",))
    rows = np.arange(zones, dtype=np.int32)
    return SignatureBatch(f"signatures/parcels/{number}", info, rows, BANDS, STATISTICS, valid, total, values)


def ask(cursor: Any, query: str, value: Any) -> None:
    cursor.execute(query, [value])
    cursor.fetchall()


def median(call: Any, values: Any) -> float:
    return statistics.median(timed(lambda value=value: call(value)) for value in values)


def timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

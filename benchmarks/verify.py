"""Verify: rate at which segments and shards are read and compared with their checksums, by number of threads.

    python benchmarks/verify.py --latency-ms 5 --json verify.json

Files are in the page cache, so that threads are what is measured. With `--latency-ms`, each file costs the answer of
a file server besides.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hpckit.base.files import digest
from hpckit.base.quantities import available_cores, reading_threads
from hpckit.cubes.audit import damage
from hpckit.cubes.manifest import ShardRecord
from hpckit.reduce.signatures.spool import read_segment, write_segment
from hpckit.testing.signatures import batch, header, zone_layer

THREADS = (1, 2, 4, 8, 16)
REPEATS = 3


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as folder:
        results = measure(Path(folder), arguments)
    for name, value in results.items():
        print(f"{name:44} {value:>12,.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--zones", type=int, default=40_000, help="of a segment")
    parser.add_argument("--segments", type=int, default=24)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--shard-mib", type=int, default=4)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="that each file costs besides")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """MB/s by kind of file and number of threads."""
    segments, shards = make_segments(folder, arguments), make_shards(folder, arguments)
    results = {"cores": float(available_cores()), "threads of hpckit verify": float(reading_threads())}
    kinds: list[tuple[str, Sequence[Path], Callable[[Path], object]]] = [
        ("segments", segments, read_segment),
        ("shards", list(shards), lambda path: damage(path, shards[path])),
    ]
    for kind, paths, read in kinds:
        total = sum(path.stat().st_size for path in paths) / 1e6
        results[f"{kind} (MB)"] = total
        seconds: dict[int, list[float]] = {threads: [] for threads in THREADS}
        for _ in range(REPEATS):  # in turns: whatever else the machine does concerns all of them
            for threads in THREADS:
                seconds[threads].append(duration(paths, read, threads, arguments.latency_ms / 1000))
        for threads in THREADS:
            results[f"{kind}, {threads} threads (MB/s)"] = total / statistics.median(seconds[threads])
    return results


def duration(paths: Sequence[Path], read: Callable[[Path], object], threads: int, latency_s: float) -> float:
    def one(path: Path) -> None:
        time.sleep(latency_s)
        read(path)

    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, paths))
    return time.perf_counter() - begin


def make_segments(folder: Path, arguments: argparse.Namespace) -> list[Path]:
    layer, zones = zone_layer(), range(arguments.zones)
    paths = [folder / f"{number}.h5" for number in range(arguments.segments)]
    for number, path in enumerate(paths):
        write_segment(path, header(layer), [batch(number, zones)])
    return paths


def make_shards(folder: Path, arguments: argparse.Namespace) -> dict[Path, ShardRecord]:
    random, records = np.random.default_rng(0), {}
    for number in range(arguments.shards):
        data = random.bytes(arguments.shard_mib * 2**20)
        path = folder / f"shard-{number}"
        path.write_bytes(data)
        records[path] = ShardRecord(key=path.name, nbytes=len(data), digest=digest(data), inputs=("x",))
    return records


if __name__ == "__main__":
    main()

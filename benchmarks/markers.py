"""Marker rules over the series of many parcels: seconds and CPU seconds from the store to the store.

    python benchmarks/markers.py --zones 100000 --dates 70 --json markers.json

The series are one year of NDVI with noise, gaps and drops; the rules are the presets for mowing, ploughing and
harvest. Records are loaded by the stores' own path (`--keep FILE` keeps the GeoPackage for another run). `--postgis`
starts a server of its own. The CPU time of the PostgreSQL server is not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sync import batch, zone_layer
from hpckit.base.console import Console
from hpckit.campaign.markers import MarkerRule
from hpckit.production.markers import refresh
from hpckit.reduce.markers.detect import Observations, detect
from hpckit.reduce.signatures.spool import SignatureBatch, SpoolHeader, read_segment, write_segment
from hpckit.space.zones import ZoneLayer
from hpckit.store import Store
from hpckit.store.geopackage import GeoPackage
from hpckit.store.postgis import PostGis
from tests.servers.postgres import PostgresServer

BANDS = ("B04", "B08", "NDVI")
QUIET = Console(quiet=True)
RULES = [
    MarkerRule.model_validate({"name": name, "preset": name, "reduction": "parcels", "orbits": "all"})
    for name in ("mowing", "ploughing", "harvest")
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zones", type=int, default=100_000)
    parser.add_argument("--dates", type=int, default=70)
    parser.add_argument("--cloudy", type=float, default=0.4, help="fraction of records without a valid pixel")
    parser.add_argument("--postgis", action="store_true")
    parser.add_argument("--keep", type=Path, help="GeoPackage that is made if it is missing, and kept")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = rules_alone(arguments)
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as folder:
        path = arguments.keep or Path(folder) / "bench.gpkg"
        results |= measure("GeoPackage", lambda: GeoPackage(path), Path(folder), arguments, made=path.exists())
        if arguments.postgis:
            server = PostgresServer({"shared_buffers": "512MB", "max_wal_size": "8GB"}).start()
            try:
                dsn = server.create_database("bench")
                results |= measure("PostGIS", lambda: PostGis(dsn), Path(folder), arguments, made=False)
            finally:
                server.remove()
    results["peak memory, GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    for name, value in results.items():
        print(f"{name:52} {value:>14,.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def rules_alone(arguments: argparse.Namespace) -> dict[str, float]:
    """The rules without any store; kernels are compiled before."""
    zones, dates = arguments.zones, arguments.dates
    days = np.datetime64("2024-01-01", "us") + (np.arange(dates) * 365 // dates).astype("timedelta64[D]")
    value = np.stack([curves(zones, number, dates) for number in range(dates)], axis=1).reshape(-1)
    valid = np.where(np.random.default_rng(1).random(len(value)) < arguments.cloudy, 0.0, 90.0)
    seen = Observations(
        np.repeat(np.arange(zones), dates), np.tile(days, zones), np.zeros(len(value), np.int64), valid,
        np.full(len(value), 100.0), np.where(valid > 0, value, np.nan),
    )  # fmt: skip
    detect(seen.take(np.arange(dates)), RULES[0])
    cpu = time.process_time()
    for rule in RULES:
        detect(seen, rule)
    return {"three rules alone, CPU s": time.process_time() - cpu}


def measure(
    name: str, open_: Callable[[], Store], folder: Path, arguments: argparse.Namespace, *, made: bool
) -> dict[str, float]:
    store = open_()
    store.prepare()
    if not made:
        fill(store, folder, arguments)
    store.drop_markers("parcels", [rule.name for rule in RULES])
    changed = [RULES[0].model_copy(update={"drop": 0.2}), *RULES[1:]]
    results: dict[str, float] = {}
    for label, rules in (("three rules", RULES), ("nothing new", RULES), ("one rule changed", changed)):
        start, cpu = time.perf_counter(), time.process_time()
        report = refresh(store, rules, ["parcels"], QUIET)
        results[f"{name}, {label}, s"] = time.perf_counter() - start
        results[f"{name}, {label}, CPU s"] = time.process_time() - cpu
        results[f"{name}, {label}, markers"] = sum(report.made.values())
    store.close()
    return results


def fill(store: Store, folder: Path, arguments: argparse.Namespace) -> None:
    layer = zone_layer(arguments.zones)
    store.load_zones("parcels", layer)
    for first in range(0, arguments.dates, 5):
        path = folder / "segment.h5"
        numbers = range(first, min(first + 5, arguments.dates))
        header = SpoolHeader("bench", "0", "run", "parcels", layer.digest, "0")
        write_segment(path, header, [observed(layer, number, arguments) for number in numbers])
        store.load_segment(read_segment(path))
        path.unlink()


def observed(layer: ZoneLayer, number: int, arguments: argparse.Namespace) -> SignatureBatch:
    """All zones in one acquisition, with three bands of that benchmark and NDVI of this one."""
    made = batch(len(layer), number, arguments.cloudy)
    places = [made.bands.index(band) for band in BANDS]
    values = made.values[:, places].copy()
    empty = np.isnan(values[:, 2, 0])
    values[:, 2] += (curves(len(layer), number, arguments.dates) - 0.25)[:, None]
    values[empty] = np.nan
    day = datetime(2024, 1, 1, 10, 30, tzinfo=UTC) + timedelta(days=number * 365 // arguments.dates)
    info = replace(made.acquisition, time=day)
    return replace(
        made, bands=BANDS, values=values, valid=made.valid[:, places], total=made.total[:, places], acquisition=info
    )


def curves(zones: int, number: int, dates: int) -> np.ndarray:
    """NDVI of all zones on a date: a season for each, noise, and sudden drops."""
    generator = np.random.default_rng(7)
    peak, wide, cut = (
        generator.uniform(120, 200, zones),
        generator.uniform(40, 80, zones),
        generator.uniform(130, 270, zones),
    )
    day = number * 365 / dates
    value = 0.2 + 0.6 * np.exp(-(((day - peak) / wide) ** 2))
    value = np.where((day > cut) & (day < cut + 25), value * 0.5, value)
    return value + np.random.default_rng(number).normal(0, 0.02, zones)


if __name__ == "__main__":
    main()

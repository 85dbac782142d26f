"""Export of signatures to GeoParquet over writing the same table by pyarrow alone: time, memory.

    python benchmarks/export.py --rows 28000000 --geometry --json export.json

Records are loaded into a GeoPackage by the store's own path (`--keep FILE` keeps it for another run). A row is a
zone, an acquisition and a band. For the comparison, the file that was exported is read into memory a part at a time,
and only the writing of the parts is timed: same columns, same row groups, same compression.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import resource

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import shapely

from benchmarks.signatures_read import DATES, fill, fork
from benchmarks.sync import BANDS, zone_layer
from hpckit import api
from hpckit.store.geopackage import GeoPackage

_CAMPAIGN = """\
name: bench
aoi: zones.gpkg
period: 2024-01-01/2024-12-31
scenes: {{paths: [scenes]}}
cube: {{bands: [B04, B08]}}
store: {{path: {store}}}
reductions:
  - {{name: parcels, zones: zones.gpkg, id: name, bands: [B04, B08], indices: {{NDVI: B08 - B04}}, mask: null}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--cloudy", type=float, default=0.2, help="fraction of records without a valid pixel")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--geometry", action="store_true", help="with the polygon of its zone in each row")
    parser.add_argument("--keep", type=Path, help="GeoPackage that is made if it is missing, and kept")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as name:
        folder = Path(name)
        store = (arguments.keep or folder / "bench.gpkg").absolute()
        if not store.exists():
            fill(GeoPackage(store), folder, arguments)
        campaign = folder / "campaign.yaml"
        campaign.write_text(_CAMPAIGN.format(store=store))
        write_zones(folder / "zones.gpkg", arguments.rows)
        results = measure(campaign, folder, arguments)
    for name, value in results.items():
        print(f"{name:56} {value:>12,.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def write_zones(path: Path, rows: int) -> None:
    layer = zone_layer(rows // (DATES * len(BANDS)))
    ids = [np.array(layer.ids, dtype=object)]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(layer.geometries),
        ids,
        ["name"],
        geometry_type="MultiPolygon",
        crs=layer.crs,
        driver="GPKG",
    )


def measure(campaign: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    out, again = folder / "out.parquet", folder / "again.parquet"
    exported, written = [], []
    for _ in range(arguments.repeat):  # in turn, so that other work on the machine meets both
        exported.append(fork(lambda: export(campaign, out, geometry=arguments.geometry)))
        written.append(fork(lambda: write_alone(out, again)))
    rows, seconds, cpu, memory = min(exported, key=lambda one: one[1])
    alone, alone_cpu = min(written)
    return {
        "million rows": rows / 1e6,
        "file, GB": out.stat().st_size / 1e9,
        "export, s": seconds,
        "export, CPU s": cpu,
        "export, peak memory, GB": memory,
        "pyarrow alone, s": alone,
        "pyarrow alone, CPU s": alone_cpu,
        "export over pyarrow alone": seconds / alone,
        "export over pyarrow alone, CPU": cpu / alone_cpu,
    }


def export(campaign: Path, out: Path, *, geometry: bool) -> tuple[int, float, float, float]:
    """Rows, seconds, CPU seconds and peak memory (GB) of an export."""
    start, cpu = time.perf_counter(), time.process_time()
    rows = api.export(campaign, out, geometry=geometry, overwrite=True)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return rows, seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def write_alone(exported: Path, target: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of writing the same table by pyarrow."""
    file, seconds, cpu = pq.ParquetFile(exported, read_dictionary=_texts(exported)), 0.0, 0.0
    with pq.ParquetWriter(target, file.schema_arrow, compression="zstd", store_schema=False) as writer:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number)
            start, busy = time.perf_counter(), time.process_time()
            writer.write_table(table, row_group_size=len(table))
            seconds, cpu = seconds + time.perf_counter() - start, cpu + time.process_time() - busy
        start, busy = time.perf_counter(), time.process_time()
    return seconds + time.perf_counter() - start, cpu + time.process_time() - busy


def _texts(path: Path) -> list[str]:
    """Columns that the export had dictionary-encoded."""
    schema = pq.read_schema(path)
    return [name for name in schema.names if str(schema.field(name).type) in ("string", "binary")]


if __name__ == "__main__":
    main()

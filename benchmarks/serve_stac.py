"""Searches of the STAC API over a million items: time of a page over HTTP, and memory of the whole server.

    python benchmarks/serve_stac.py [--items N] [--folder FOLDER] [--rounds N] [--pgstac PYTHON]

Makes a stac-geoparquet file of that many items like those of Sentinel-2 (a hundred bytes of outline, twelve assets),
starts a server in a process of its own, waits for its index, and asks; each question many times with other values.
With an interpreter that has `stac-fastapi.pgstac` and `pypgstac[psycopg]`, the same items are loaded into PostgreSQL.
Then both servers run, and each question goes to one and at once to the other, so that other programs on the machine
slow both; both must find the same items.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from tests.servers.postgres import PostgresServer

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", "SCL")
BATCH = 50_000
ROUNDS = 60
START_US = 1_420_070_400_000_000
YEARS_US = 10 * 365 * 86_400 * 1_000_000

SERVER = """\
import sys
from pathlib import Path
import uvicorn
from hpckit.api import QUIET
from hpckit.serve.app import build
from hpckit.serve.service import open_service
from hpckit.serve.settings import CatalogueSettings, Grant, Limits, Settings
folder, port = Path(sys.argv[1]), int(sys.argv[2])
settings = Settings(
    catalogues=(CatalogueSettings(name="s2", path=folder / "items.parquet", folders=(folder / "eodata",)),),
    grants=(Grant(users=("anyone",)),), state=folder / "state", doors=("stac",),
    limits=Limits(requests_per_second=1e6, burst=10**9),
)
uvicorn.run(build(open_service(settings, QUIET)), port=port, log_level="error", access_log=False)
"""


def batch(first: int, count: int, folder: Path, random: np.random.Generator) -> Any:
    """Items as stac-geoparquet has them."""
    west = random.uniform(-179, 177, count)
    south = np.degrees(np.arcsin(random.uniform(-0.95, 0.95, count)))
    lean = random.uniform(0, 0.3, count)
    east, north = west + 1.4, np.minimum(south + 1.0, 89.9)
    rings = np.stack([west, south, east, south + lean / 9, east - lean, north, west + lean, north, west, south], 1)
    outlines = shapely.polygons(rings.reshape(count, 5, 2))
    box = shapely.bounds(outlines)
    times = START_US + random.integers(0, YEARS_US, count)
    tiles = [f"{n % 60 + 1:02d}U{'CDEFGHJK'[n % 8]}{'UVWX'[n % 4]}" for n in random.integers(0, 10**6, count)]
    stamps = [str(t)[:19].replace("-", "").replace(":", "") for t in times.astype("datetime64[us]")]
    names = [f"S2{'AB'[n % 2]}_MSIL2A_{s}_N0510_R{n % 143:03d}_T{t}_{first + n:09d}"
             for n, (s, t) in enumerate(zip(stamps, tiles, strict=True))]  # fmt: skip
    assets = {}
    for band in BANDS:
        hrefs = pa.array(
            [f"{folder}/eodata/Sentinel-2/{name}.SAFE/IMG_DATA/{name[-25:]}_{band}.jp2" for name in names]
        )
        assets[band] = pa.StructArray.from_arrays(
            [hrefs, pa.array(["image/jp2"] * count), pa.array([["data"]] * count)], ["href", "type", "roles"]
        )
    numbers = np.arange(first, first + count)
    return pa.table(
        {
            "type": pa.array(["Feature"] * count),
            "stac_version": pa.array(["1.1.0"] * count),
            "id": pa.array(names),
            "geometry": pa.array(shapely.to_wkb(outlines)),
            "bbox": pa.StructArray.from_arrays(
                [pa.array(column) for column in box.T], ["xmin", "ymin", "xmax", "ymax"]
            ),
            "datetime": pa.array(times, pa.timestamp("us", "UTC")),
            "eo:cloud_cover": pa.array(np.round(random.uniform(0, 100, count), 2)),
            "platform": pa.array([f"sentinel-2{'ab'[n % 2]}" for n in numbers]),
            "grid:code": pa.array([f"MGRS-{tile}" for tile in tiles]),
            "sat:relative_orbit": pa.array(numbers % 143),
            "s2:processing_baseline": pa.array([f"05.{n % 11:02d}" for n in numbers]),
            "assets": pa.StructArray.from_arrays(list(assets.values()), list(assets)),
        }
    )


def write(folder: Path, count: int) -> None:
    """Write the file, in batches."""
    generator, path = np.random.default_rng(7), folder / "items.parquet"
    first = batch(0, min(BATCH, count), folder, generator)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for start in range(BATCH, count, BATCH):
            writer.write_table(batch(start, min(BATCH, count - start), folder, generator))


def questions(rnd: random.Random) -> dict[str, Callable[[], dict[str, Any]]]:
    """Searches as clients send them, with other values each time."""

    def place() -> list[float]:
        west, south = rnd.uniform(-170, 160), rnd.uniform(-60, 60)
        return [west, south, west + 3, south + 3]

    def triangle() -> dict[str, Any]:
        west, south, east, north = place()
        return {"type": "Polygon", "coordinates": [[[west, south], [east, south], [west, north], [west, south]]]}

    def season() -> str:
        year = rnd.randint(2015, 2023)
        return f"{year}-03-01T00:00:00Z/{year}-10-31T23:59:59Z"

    clear = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]}
    by_cloud = [{"field": "properties.eo:cloud_cover", "direction": "asc"}]
    return {
        "newest of all": dict,
        "box of 3 degrees": lambda: {"bbox": place()},
        "box, season, clear": lambda: {"bbox": place(), "datetime": season(), "filter": clear},
        "triangle, season": lambda: {"intersects": triangle(), "datetime": season()},
        "season, clear, whole world": lambda: {"datetime": season(), "filter": clear},
        "box, by cloud cover": lambda: {"bbox": place(), "sortby": by_cloud},
        "all, by cloud cover": lambda: {"sortby": by_cloud},
        "whole continent, exact": lambda: {"intersects": {"type": "Polygon", "coordinates": [
            [[-10, 35], [40, 35], [30, 70], [-10, 60], [-10, 35]]]}},
        "100 items of a box": lambda: {"bbox": place(), "limit": 100},
    }  # fmt: skip


def memory(pid: int) -> dict[str, int]:
    """Memory of a process, MiB: of its own, and with mapped files."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    told = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines[1:]}
    peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"resident": told["Rss"], "anonymous": told["Anonymous"], "peak": int(peak.split()[1]) // 1024}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--pgstac", help="Python interpreter that has stac-fastapi.pgstac and pypgstac")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="times that each question is asked")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="stac-"))
    folder.mkdir(exist_ok=True)
    if not (folder / "items.parquet").exists():
        began = time.perf_counter()
        write(folder, options.items)
        size = (folder / "items.parquet").stat().st_size
        seconds = time.perf_counter() - began
        print(f"{options.items:,} items, {size / 2**20:,.0f} MiB of stac-geoparquet in {seconds:.0f} s")
    with ours(folder) as (url, pid):
        index = sum(path.stat().st_size for path in (folder / "state" / "stac").rglob("*") if path.is_file())
        print(f"index: {index / 2**20:,.0f} MiB; {memory(pid)} MiB")
        if options.pgstac:
            beside_pgstac(url, options.pgstac, folder, options.rounds)
        else:
            asked([url], options.rounds)
        print(f"memory: {memory(pid)} MiB")


def beside_pgstac(url: str, python: str, folder: Path, rounds: int) -> None:
    """Ask our server and that of pgstac by turns."""
    postgres = PostgresServer({"shared_buffers": "1GB", "work_mem": "64MB", "max_wal_size": "4GB"})
    try:
        postgres.start()
        load(postgres, python, folder)
        with pgstac(postgres, python) as theirs:
            medians = asked([url, theirs], rounds)
    finally:
        postgres.remove()
    for name, (mine, other) in medians.items():
        print(f"{name:30} stac-fastapi.pgstac / hpckit: {other / mine:.1f}")


@contextmanager
def ours(folder: Path) -> Iterator[tuple[str, int]]:
    """Address and process of our server, when it answers."""
    port, began = random.randint(20_000, 60_000), time.perf_counter()
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(folder), str(port)], env={**os.environ})
    url = f"http://127.0.0.1:{port}/stac"
    try:
        wait_for(url, server)
        print(f"ready after {time.perf_counter() - began:.1f} s")
        yield url, server.pid
    finally:
        server.terminate()
        server.wait()


def load(postgres: PostgresServer, python: str, folder: Path) -> None:
    """Load the items into a database of pgstac."""
    began = time.perf_counter()
    dsn, tool = postgres.create_database("stac"), [str(Path(python).with_name("pypgstac"))]
    subprocess.run([*tool, "migrate", "--dsn", dsn], check=True, capture_output=True)
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    told = {"type": "Collection", "stac_version": "1.1.0", "id": "s2", "description": "s2", "license": "other"}
    (folder / "collection.ndjson").write_text(json.dumps(told | {"extent": extent, "links": []}) + "\n")
    with (folder / "items.ndjson").open("w") as file:
        for part in pq.ParquetFile(folder / "items.parquet").iter_batches(BATCH):
            file.writelines(json.dumps(item_of(row)) + "\n" for row in part.to_pylist())
    for kind in ("collections", "items"):
        path = folder / ("collection.ndjson" if kind == "collections" else "items.ndjson")
        subprocess.run([*tool, "load", kind, str(path), "--dsn", dsn, "--method", "insert"], check=True)
    print(f"loaded into pgstac in {time.perf_counter() - began:.0f} s")


def item_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a STAC item."""
    shape, box = shapely.from_wkb(row["geometry"]), row["bbox"]
    known = {"type", "stac_version", "id", "geometry", "bbox", "assets", "datetime"}
    properties = {name: value for name, value in row.items() if name not in known}
    return {
        "type": "Feature",
        "stac_version": row["stac_version"],
        "id": row["id"],
        "collection": "s2",
        "geometry": shapely.geometry.mapping(shape),
        "bbox": [box["xmin"], box["ymin"], box["xmax"], box["ymax"]],
        "properties": {"datetime": row["datetime"].isoformat(), **properties},
        "assets": row["assets"],
        "links": [],
    }


@contextmanager
def pgstac(postgres: PostgresServer, python: str) -> Iterator[str]:
    """Address of stac-fastapi over a database of pgstac."""
    port = random.randint(20_000, 60_000)
    settings = {
        "PGUSER": "hpckit",
        "PGPASSWORD": "none",
        "PGHOST": quote(str(postgres.folder), safe=""),
        "PGPORT": "5432",
    }
    app = ["--factory", "stac_fastapi.pgstac.app:create_app"]
    command = [python, "-m", "uvicorn", *app, "--port", str(port), "--log-level", "error", "--no-access-log"]
    server = subprocess.Popen(command, env={**os.environ, **settings, "PGDATABASE": "stac", "USE_API_HYDRATE": "0"})
    try:
        wait_for(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server finds an item."""
    while server.poll() is None:
        try:
            if httpx.get(f"{url}/search", params={"limit": 1}, timeout=120).json().get("features"):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{url}: the server ended")


def asked(urls: list[str], rounds: int) -> dict[str, list[float]]:
    """Ask all questions, each of one server after the other; medians of the times by server, milliseconds."""
    rnd, medians = random.Random(1), dict[str, list[float]]()
    with httpx.Client(timeout=300) as client:
        for name, ask in questions(rnd).items():
            times: list[list[float]] = [[] for _ in urls]
            items = [0] * len(urls)
            for turn in range(rounds):
                body = ask()
                for number in range(len(urls)) if turn % 2 else reversed(range(len(urls))):
                    began = time.perf_counter()
                    answer = client.post(f"{urls[number]}/search", json=body)
                    times[number].append(1000 * (time.perf_counter() - began))
                    items[number] += len(answer.raise_for_status().json()["features"])
            if len(set(items)) > 1:
                raise SystemExit(f"{name}: the servers found {items} items")
            medians[name] = []
            for url, each in zip(urls, times, strict=True):
                middle, high = np.percentile(each[1:], [50, 95])
                medians[name].append(float(middle))
                told = f"median {middle:6.1f} ms, 95 % {high:6.1f} ms, first {each[0]:6.1f} ms, {items[0]} items"
                print(f"{name:30} {url:32} {told}", flush=True)
    return medians


if __name__ == "__main__":
    main()

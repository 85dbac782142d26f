"""`hpckit serve`: series of parcels with many clients, and vector tiles of half a million zones.

    python benchmarks/serve.py --campaign demo/campaign.yaml

Without a campaign, only the vector tiles are measured. Peer of the tiles: mapbox-vector-tile, from the same shapes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mapbox_vector_tile
import numpy as np
import pyogrio
import pyproj
import shapely

from hpckit.api import open_campaign
from hpckit.look.mercator import bounds_of_map_tile
from hpckit.serve.viewer.vectortile import buffered
from hpckit.serve.viewer.zonetiles import zone_tile
from hpckit.serve.zonemap import ZoneMap, open_zones
from hpckit.space.zones import ZoneLayer

CAMPAIGN = """
name: bench
aoi: parcels.gpkg
period: 2024-03-01/2024-10-31
scenes: {paths: [scenes]}
cube: {bands: [B04, B08, SCL]}
reductions: [{name: parcels, zones: parcels.gpkg, id: parcel, bands: [B04, B08]}]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaign", type=Path, help="a campaign with results")
    parser.add_argument("--zones", type=int, default=500_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--pause", type=float, default=0.2, help="mean seconds between requests of a person")
    options = parser.parse_args()
    if options.campaign is not None:
        series(options.campaign, options.clients, options.requests, options.pause)
    tiles(options.zones)


def series(campaign: Path, clients: int, requests: int, pause: float) -> None:
    """Time of answers for clients that look at what they got, and for those that ask again as soon as they can."""
    zones = open_campaign(campaign).zones().ids
    state = tempfile.mkdtemp(prefix="hpckit-bench-")
    server = subprocess.Popen(
        [sys.executable, "-m", "hpckit", "serve", str(campaign), "--listen", "127.0.0.1:0", "--open"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_STATE_HOME": state},
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().rstrip("/\n").rpartition(":")[2])
        name = open_campaign(campaign).campaign.name
        asyncio.run(ask(port, name, zones, clients, 200))
        for count, waits in ((1, 0.0), (clients, pause), (clients, 0.0)):
            began = time.perf_counter()
            times = asyncio.run(ask(port, name, zones, count, requests, waits))
            rate = requests / (time.perf_counter() - began)
            middle, most = np.percentile(times, (50, 99)) * 1000
            kind = f"{count} clients, pauses of {waits:g} s"
            print(f"series, {kind}: median {middle:.1f} ms, p99 {most:.1f} ms, {rate:.0f}/s")
        peak = Path(f"/proc/{server.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
        print(f"memory of the server: {int(peak) / 1024:.0f} MB at most")
    finally:
        server.terminate()
        server.wait()


async def ask(
    port: int, name: str, zones: tuple[str, ...], clients: int, requests: int, pause: float = 0.0
) -> list[float]:
    times: list[float] = []
    left = iter(range(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            if pause:
                await asyncio.sleep(random.expovariate(1 / pause))
            zone = random.choice(zones)
            began = time.perf_counter()
            writer.write(
                f"GET /api/d/{name}/series?zone={zone}&bands=NDVI HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
            await reader.readexactly(length)
            assert " 200 " in head.splitlines()[0], head
            times.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*[client() for _ in range(clients)])
    return times


def tiles(count: int) -> None:
    """Time and memory of vector tiles over a plain full of parcels of 1 to 6 ha."""
    with tempfile.TemporaryDirectory() as folder:
        layer = parcels(count)
        path = Path(folder) / "parcels.gpkg"
        pyogrio.raw.write(
            path,
            shapely.to_wkb(layer.geometries),
            [np.array(layer.ids, object), np.full(count, "maize", object)],
            ["parcel", "crop"],
            geometry_type="MultiPolygon",
            crs="EPSG:32631",
        )
        del layer
        (Path(folder) / "campaign.yaml").write_text(CAMPAIGN)
        view = open_campaign(Path(folder) / "campaign.yaml")
        began = time.perf_counter()
        zones = open_zones(view, None, "parcels")
        print(f"{count} zones opened in {time.perf_counter() - began:.1f} s; process: {resident() / 2**20:.0f} MB")
    zones.find("P1", 10)
    center = zones.boxes.mean(axis=0)
    for z in (8, 10, 12, 14):
        times, sizes = [], []
        for k in range(20):
            edge = 2 * 20037508.342789244 / 2**z
            x = int((center[0] + 20037508.34) // edge) + k % 4 - 2
            y = int((20037508.34 - center[1]) // edge) + k // 4 - 2
            began = time.perf_counter()
            sizes.append(len(zone_tile(zones, z, x, y)))
            times.append(time.perf_counter() - began)
        middle, most = np.percentile(times, (50, 95)) * 1000
        print(f"vector tiles, zoom {z}: median {middle:.0f} ms, p95 {most:.0f} ms, {np.mean(sizes) / 1024:.0f} kB")
    peer(zones, 12)


def peer(zones: ZoneMap, z: int) -> None:
    """The tile in the middle, by mapbox-vector-tile."""
    edge = 2 * 20037508.342789244 / 2**z
    center = zones.boxes.mean(axis=0)
    x, y = int((center[0] + 20037508.34) // edge), int((20037508.34 - center[1]) // edge)
    box = bounds_of_map_tile(z, x, y)
    began = time.perf_counter()
    zone_tile(zones, z, x, y)
    own = time.perf_counter() - began
    began = time.perf_counter()
    rows = zones.within(*buffered(box))
    shapes = shapely.transform(zones.outlines(rows), zones.to_mercator.transform, interleaved=False)
    features = [
        {"geometry": shape, "properties": {"id": zones.ids[int(row)].as_py(), "label": zones.labels[row]}}
        for shape, row in zip(shapes, rows, strict=True)
    ]
    mapbox_vector_tile.encode({"name": "zones", "features": features}, default_options={"quantize_bounds": box})
    print(
        f"zoom {z}, {len(rows)} zones: {(time.perf_counter() - began) / own:.1f} times as fast as mapbox-vector-tile"
    )


def parcels(count: int) -> ZoneLayer:
    rng = np.random.default_rng(1)
    side = int(np.ceil(count**0.5))
    row, column = np.divmod(np.arange(count), side)
    west, south = 500_000 + column * 180.0, 5_500_000 + row * 180.0
    corners = np.stack([[0, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1]]) * 170
    rings = corners[None] + rng.uniform(-20, 20, (count, 6, 2)) + np.stack([west, south], axis=1)[:, None]
    shapes = shapely.multipolygons(shapely.polygons(rings)[:, None])
    return ZoneLayer(tuple(f"P{k}" for k in range(count)), shapes, pyproj.CRS(32631).to_wkt())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()

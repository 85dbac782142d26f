"""Search of three catalogues: 10,000 items, one member that never answers.

Two members on loopback hold the same 10,000 products, in pages of 250; the third accepts connections and is silent.

    python benchmarks/search.py [--items 10000]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import shapely

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpckit.catalogue.federation import search, write
from tests.servers.stac import StacServer, serve, silent

TIMEOUT_S = 3.0


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    items = [_item(number) for number in range(parser.parse_args().items)]
    healthy = [StacServer(items, page=250), StacServer(items, page=250, post=False)]
    dead = StacServer(items, every=silent(10 * TIMEOUT_S))
    with serve(healthy[0]), serve(healthy[1]), serve(dead), tempfile.TemporaryDirectory() as folder:
        urls = [server.url for server in (*healthy, dead)]
        start = time.perf_counter()
        found = search(
            urls, ["sentinel-2-l2a"], shapely.box(5, 52, 6, 53), (date(2020, 1, 1), None), timeout_s=TIMEOUT_S
        )
        print(f"search: {time.perf_counter() - start:.1f} s, {len(found.items):,} items")
        for member in found.members:
            counts = f"{member.pages} pages, {member.found:,} items, {member.copies:,} copies"
            print(f"  {counts}, {member.seconds} s {member.error}")
        start = time.perf_counter()
        write(Path(folder) / "items.parquet", found.items)
        print(f"write: {time.perf_counter() - start:.1f} s")
    if [item["id"] for item in found.items] != [item["id"] for item in items] or len(dead.requests) != 1:
        raise SystemExit("items are missing or not in order, or the dead member was asked twice")


def _item(number: int) -> dict:
    when = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    shape = shapely.box(5.2, 52.2, 5.3, 52.3)
    name = f"S2A_MSIL2A_{when:%Y%m%dT%H%M%S}_N0510_R051_T31UFU_{when:%Y%m%dT%H%M%S}"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": shapely.geometry.mapping(shape),
        "bbox": list(shape.bounds),
        "properties": {"datetime": when.isoformat(), "eo:cloud_cover": 10.0},
        "assets": {"red": {"href": f"https://example.org/{name}/B04.tif", "type": "image/tiff"}},
        "links": [{"rel": "self", "href": f"https://example.org/{name}"}],
    }


if __name__ == "__main__":
    main()

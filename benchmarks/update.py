"""`hpckit update` where nothing is new, and where one product is: what cron pays for a campaign of thousands.

Products of many granules and dates are made in a temporary folder: small images, and as many as ESA delivers. A
campaign without an end, of one band, is run once: cube, signatures and store. Then `hpckit update` is timed as cron
starts it, with the start of Python, on files whose metadata are in memory: with nothing new, and after one more
product has come. CPU time and memory are those of the command's own process, without the workers that it starts.
`--profile` prints where the time goes.

    python benchmarks/update.py [--products 5000] [--tiles 50]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path

import numpy as np
import pyogrio
import shapely

from hpckit import api
from hpckit.testing.safe import ProductSpec, write_product

EXTENT_M = 1920
"""Of a granule along an edge."""
BANDS = {
    10: "B02 B03 B04 B08 AOT WVP",
    20: "B01 B02 B03 B04 B05 B06 B07 B8A B11 B12 AOT WVP SCL",
    60: "B01 B02 B03 B04 B05 B06 B07 B8A B09 B11 B12 AOT WVP SCL",
}
"""Images of a product, as ESA delivers them."""
ZONES = 20
"""Of each granule."""
COLUMNS = "CDEFG"
ROWS = "ABCDEFGHJKLMNPQRSTUV"
START = date(2020, 1, 1)
ORBIT = 46_000


def granules(count: int) -> list[ProductSpec]:
    """Granules of one day, 100 km from one another."""
    noon = datetime.combine(START, clock(10, 50, 31), tzinfo=UTC)
    return [
        ProductSpec(
            tile=f"31U{COLUMNS[n % len(COLUMNS)]}{ROWS[n // len(COLUMNS)]}",
            ulx=300_000 + 100_000 * (n % len(COLUMNS)),
            uly=6_200_000 - 100_000 * (n // len(COLUMNS)),
            sensed=noon,
            absolute_orbit=ORBIT,
        )
        for n in range(count)
    ]


def images() -> dict[str, np.ndarray]:
    """Pixels of all bands."""
    random = np.random.default_rng(1)
    made = {}
    for size, names in BANDS.items():
        shape = (EXTENT_M // size, EXTENT_M // size)
        for name in names.split():
            made[f"{name}@{size}m"] = (
                np.full(shape, 4, np.uint8) if name == "SCL" else random.integers(1500, 4000, shape).astype(np.uint16)
            )
    return made


def repeat(product: Path, number: int) -> None:
    """The same product some passes later: metadata with other dates and orbits, and links to the images."""
    day = START + timedelta(days=5 * number)
    words = {f"{START:%Y%m%d}": f"{day:%Y%m%d}", f"{START}": f"{day}", f"{ORBIT:06d}": f"{ORBIT + number:06d}"}

    def renamed(text: str) -> str:
        for old, new in words.items():
            text = text.replace(old, new)
        return text

    for file in product.rglob("*"):
        target = product.parent / renamed(str(file.relative_to(product.parent)))
        if file.is_dir():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".jp2":
            os.link(file, target)
        else:
            target.write_text(renamed(file.read_text()))


def bring(folder: Path) -> None:
    """One more product of the first granule, some passes after all others."""
    products = sorted((folder / "scenes").glob(f"*_T{granules(1)[0].tile}_*.SAFE"))
    repeat(products[0], len(products))


def make_campaign(folder: Path, products: int, tiles: int) -> Path:
    """Write products, zones and the campaign file."""
    arrays, places = images(), granules(tiles)
    for place in places:
        product = write_product(folder / "scenes", place, arrays)
        for number in range(1, products // tiles):
            repeat(product, number)
    random = np.random.default_rng(2)
    corners = [(place.ulx, place.uly) for place in places for _ in range(ZONES)]
    inside = random.uniform(200, EXTENT_M - 200, (len(corners), 2))
    shapes = [
        shapely.Point(x + right, y - down).buffer(150) for (x, y), (right, down) in zip(corners, inside, strict=True)
    ]
    pyogrio.raw.write(
        folder / "zones.gpkg",
        geometry=np.array([shapely.to_wkb(shape) for shape in shapes], dtype=object),
        field_data=[np.array([f"z{n}" for n in range(len(shapes))], dtype=object)],
        fields=["name"],
        geometry_type="Polygon",
        crs="EPSG:32631",
        driver="GPKG",
    )
    path = folder / "campaign.yaml"
    path.write_text(
        "name: update\naoi: zones.gpkg\nperiod: 2020-01-01/..\nscenes: {paths: [scenes]}\n"
        "cube: {bands: [B11, SCL]}\n"
        "reductions: [{name: fields, zones: zones.gpkg, id: name, bands: [B11]}]\n"
    )
    return path


@dataclass(frozen=True, slots=True)
class Cost:
    """What an update took."""

    seconds: float
    cpu_s: float
    peak_memory_mib: float


def update(campaign: Path, new: int | None = 0) -> Cost:
    """Cost of an update by the command line, which finds this many new products: of its own process alone.

    This process must stay small, since the system counts the memory of the one that starts another to its peak.
    """
    command = [sys.executable, "-m", "hpckit", "update", str(campaign), "--here", "--json"]
    with tempfile.TemporaryFile() as answer:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=answer, stderr=subprocess.DEVNULL)
        _, code, used = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(code)
        answer.seek(0)
        said = answer.read()
    assert child.returncode == 0, said
    found = json.loads(said)
    if new is not None:
        assert (found["state"], len(found["new"])) == ("done" if new else "current", new), said
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def profile(campaign: Path, state: str) -> None:
    """Print where an update spends its time."""
    with cProfile.Profile() as profiled:
        assert api.update(campaign, here=True).state == state
    pstats.Stats(profiled).sort_stats("cumulative").print_stats(70)
    pstats.Stats(profiled).sort_stats("tottime").print_stats(30)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--products", type=int, default=5_000)
    parser.add_argument("--tiles", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--keep", type=Path, help="Keep the campaign in this folder, and use the one that is there.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as temporary:
        folder = options.keep or Path(temporary)
        campaign = folder / "campaign.yaml"
        if not campaign.exists():
            campaign = make_campaign(folder, options.products, options.tiles)
        first_s = update(campaign, new=None).seconds
        update(campaign)
        costs = [update(campaign) for _ in range(options.rounds)]
        one_new = []
        for _ in range(options.rounds):
            bring(folder)
            one_new.append(update(campaign, new=1))
        result = {
            "products": options.products,
            "first_run_s": first_s,
            "update_s": min(cost.seconds for cost in costs),
            "update_cpu_s": min(cost.cpu_s for cost in costs),
            "update_one_new_s": min(cost.seconds for cost in one_new),
            "update_one_new_cpu_s": min(cost.cpu_s for cost in one_new),
            "peak_memory_mib": max(cost.peak_memory_mib for cost in [*costs, *one_new]),
        }
        if options.json:
            print(json.dumps(result, indent=1))
        else:
            for name, value in result.items():
                print(f"{name:<40}{value:14,.3f}")
        if options.profile:
            profile(campaign, "current")
            bring(folder)
            profile(campaign, "done")


if __name__ == "__main__":
    main()

"""Map tiles and calendars, straight from the shards of a granule: near, far out with and without overviews, TiTiler.

A made-up cube has four bands of 10980² pixels, at about nine bits a pixel, and the scene classification. One date
covers the whole granule; in one window there are 70 dates. Map tiles of 256² pixels are drawn at random places within
the granule, each at most once while there are others, one after the other; files are in the page cache.

With `--titiler PYTHON`, an interpreter that has titiler.xarray draws the same map tiles of one band from the same
cube (Reader, `tile`, `render`; the dataset stays open).

    python benchmarks/serve_tiles.py [--tiles 200] [--titiler venv/bin/python]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyproj
import shapely

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpckit.campaign.campaign import load_campaign
from hpckit.cubes import overviews
from hpckit.cubes.arrays import array_key
from hpckit.cubes.layout import CubeSpec, prepare
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.shards import encode_window
from hpckit.cubes.shardwriter import write_shard
from hpckit.look.chips import calendar
from hpckit.look.tiles import Layer, draw_tile
from hpckit.look.view import CampaignView
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.frame import Frame
from hpckit.testing.landscape import noise
from tests.unit.look_samples import acquisition

TILE, EPSG, LEFT, TOP = "31UFU", 32631, 600_000.0, 5_800_020.0
SHAPES = {10: (10980, 10980), 20: (5490, 5490)}
DATES, BLOCK = 70, 16
FULL = 40
"""Window of which all dates are there."""
BANDS = ("B02", "B03", "B04", "B08", "SCL")
TIMES = [datetime(2024, 3, 1, 10, 50, 31, tzinfo=UTC) + timedelta(days=5 * n) for n in range(DATES)]
CAMPAIGN = """\
name: bench
aoi: [4, 51, 7, 53]
period: 2024-03-01/2025-03-01
scenes: {paths: none}
cube: {bands: [B02, B03, B04, B08, SCL]}
reductions:
  - {name: p, zones: none.gpkg, id: id, bands: [B04]}
"""
RGB = Layer("rgb", ("B04", "B03", "B02"), TIMES[0].date())
NDVI = Layer("index", ("NDVI",), TIMES[0].date())
RED = Layer("band", ("B04",), TIMES[0].date())

_TITILER = """
import json, sys, time
from titiler.xarray.io import Reader
path, variable, when, places = json.loads(sys.stdin.read())
found = []
for z, x, y in [places[0], *places]:
    start = time.perf_counter()
    with Reader(path, variable=variable, sel=["time=" + when]) as source:
        image = source.tile(x, y, z, tilesize=256)
        image.rescale(((0.0, 0.3),))
        image.render(img_format="PNG")
    found.append(time.perf_counter() - start)
print(json.dumps(found[1:]))
"""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=200)
    parser.add_argument("--titiler", help="Python interpreter that has titiler.xarray")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        view = make(Path(folder))
        cube = view.campaign.cube_path
        near, far = places(given.tiles, (12, 13, 14)), places(given.tiles, (6, 7, 8, 9, 10))
        for title, layer in (("true colour", RGB), ("NDVI", NDVI), ("one band", RED)):
            report(f"{title}, zoom 12 to 14", [drawn(view, layer, place) for place in near])
        for z in (12, 13, 14):
            report(f"true colour, zoom {z}", [drawn(view, RGB, place) for place in near if place[0] == z])
        few = [place for place in far if place[0] == 10][: given.tiles // 10]
        report("true colour, zoom 10, without overviews", [drawn(view, RGB, place) for place in few])
        start = time.perf_counter()
        built = overviews.build(cube)
        spent = time.perf_counter() - start
        print(f"overviews of {built.planes} dates of bands: {spent:.1f} s")
        start = time.perf_counter()
        overviews.build(cube)
        print(f"  again, nothing has changed: {time.perf_counter() - start:.2f} s")
        size = sum(path.stat().st_size for path in cube.rglob("overviews/**/c/**/*") if path.is_file())
        whole = sum(path.stat().st_size for path in cube.rglob(f"{TILE}/r*m/**/c/**/*") if path.is_file())
        print(f"  size of overviews / shards: {size / whole:.4f}")
        for title, layer in (("true colour", RGB), ("NDVI", NDVI)):
            report(f"{title}, zoom 6 to 10, with overviews", [drawn(view, layer, place) for place in far])
        chips(view)
        if given.titiler:
            compare(view, given.titiler, near, few, far)


def make(folder: Path) -> CampaignView:
    """Write the campaign file and the cube."""
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    campaign = load_campaign(folder / "campaign.yaml")
    refs = tuple(SENTINEL2.parse(name) for name in BANDS)
    spec = CubeSpec(campaign.cube_path, refs, BLOCK, True, 3, None, False, SENTINEL2.grid, sensor=SENTINEL2)
    frame = Frame(TILE, EPSG, LEFT, TOP, SHAPES, {})
    found = [acquisition(when, SHAPES, tile=TILE, frame=frame) for when in TIMES]
    prepare(spec, TILE, found)
    manifest, random = Manifest.load(spec.path), np.random.default_rng(1)
    for ref in refs:
        grid = spec.chunks(ref.resolution_m)
        samples = [_chunks(random, ref.name, grid) for _ in range(4)]
        across = -(-SHAPES[ref.resolution_m][0] // grid.window)
        for row, column in np.ndindex(across, across):
            number = row * across + column
            for block in range(-(-DATES // BLOCK)):
                held = min(BLOCK, DATES - block * BLOCK) if number == FULL else int(block == 0)
                if held:
                    dates = [samples[(number + date) % 4] for date in range(held)]
                    chunks = [*(chunk for date in dates for chunk in date), *[None] * (BLOCK - held) * grid.per_date]
                    key = f"{array_key(TILE, ref)}/c/{block}/{row}/{column}"
                    inputs = tuple(f"{number}-{block}-{date}" for date in range(min(BLOCK, DATES - block * BLOCK)))
                    manifest.append([write_shard(spec.objects, key, chunks, inputs)], "bench")
    return CampaignView(campaign)


def _chunks(random: np.random.Generator, name: str, grid) -> list[bytes | None]:
    if name == "SCL":
        pixels = np.kron(random.integers(3, 10, (grid.window // 8, grid.window // 8)), np.ones((8, 8))).astype(
            np.uint8
        )
    else:
        smooth = 1800 + 300 * noise(grid.window, 1.6, int(random.integers(1000)))
        pixels = np.clip(smooth + random.normal(0, 90, smooth.shape), 1, 65535).astype(np.uint16)
    return encode_window(pixels, grid, 3)


def places(count: int, zooms: Sequence[int]) -> list[tuple[int, int, int]]:
    """Map tiles at random places within the granule; none twice, near the pixels."""
    random = np.random.default_rng(2)
    to_mercator = pyproj.Transformer.from_crs(EPSG, 3857, always_xy=True)
    half, found = 20037508.342789244, {}
    for number in range(20 * count):
        z = zooms[number % len(zooms)]
        x, y = to_mercator.transform(*(np.array([LEFT, TOP - 109_800]) + random.uniform(5_000, 104_800, 2)))
        edge = 2 * half / 2**z
        found[(z, int((x + half) / edge), int((half - y) / edge))] = None
        if len(found) >= count:
            break
    listed = list(found)
    while len(listed) < count:  # far out there are few
        listed += list(found)[: count - len(listed)]
    return listed


def drawn(view: CampaignView, layer: Layer, place: tuple[int, int, int]) -> float:
    """Seconds of a map tile."""
    start = time.perf_counter()
    tile = draw_tile(view, layer, *place)
    spent = time.perf_counter() - start
    if tile.is_empty or tile.notes:
        raise SystemExit(f"{place}: {tile.notes or 'nothing is on it'}")
    return spent


def report(title: str, seconds: Sequence[float]) -> float:
    """Print the median and the 95th percentile; return the median."""
    middle, slow = np.percentile(seconds[min(3, len(seconds) - 1) :], [50, 95]) * 1000
    print(f"{title}: p50 {middle:.0f} ms, p95 {slow:.0f} ms ({len(seconds)} map tiles)")
    return float(middle)


def chips(view: CampaignView) -> None:
    """Calendars of parcels of 70 dates."""
    row, column = divmod(FULL, 11)
    left, top = LEFT + column * 10_240, TOP - row * 10_240
    random = np.random.default_rng(3)
    for title, layer in (("true colour", RGB), ("NDVI", NDVI)):
        spent = []
        for _ in range(20):
            x, y = random.uniform(500, 9_500, 2)
            zone = shapely.Point(left + x, top - y).buffer(float(random.uniform(60, 200)))
            start = time.perf_counter()
            sprite = calendar(view, zone, layer, crs=EPSG)
            spent.append(time.perf_counter() - start)
            if len(sprite.cells) != DATES or not all(cell.valid == 1 for cell in sprite.cells):
                raise SystemExit("dates are missing")
        middle, slow = np.percentile(spent[2:], [50, 95])
        print(f"calendar of {DATES} dates, {title}: p50 {middle:.2f} s, p95 {slow:.2f} s")


def compare(view: CampaignView, python: str, near: Sequence, few: Sequence, far: Sequence) -> None:
    """The same map tiles by TiTiler."""
    cube, when = view.campaign.cube_path, f"{TIMES[0]:%Y-%m-%dT%H:%M:%S}"
    ours: Callable[[Sequence], list[float]] = lambda chosen: [drawn(view, RED, place) for place in chosen]  # noqa: E731
    for title, group, chosen in (
        ("zoom 12 to 14", "r10m", near),
        ("zoom 10, TiTiler at full resolution", "r10m", few[:5]),
        ("zoom 6 to 10, TiTiler on the group r80m", "overviews/r10m/r80m", far),
    ):
        asked = json.dumps([str(cube / TILE / group), "B04", when, list(chosen)])
        answer = subprocess.run(
            [python, "-W", "ignore", "-c", _TITILER], input=asked, text=True, capture_output=True, check=False
        )
        if answer.returncode:
            raise SystemExit(answer.stderr)
        theirs = report(f"TiTiler, one band, {title}", json.loads(answer.stdout.splitlines()[-1]))
        mine = report(f"hpckit, one band, {title}", ours(chosen))
        print(f"  time of TiTiler / hpckit: {theirs / mine:.1f}")


if __name__ == "__main__":
    main()

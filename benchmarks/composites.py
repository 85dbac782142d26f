"""Composites: kernels against bottleneck, numbagg, geomad, whittaker-eilers; the stage against reading and writing.

Kernels: uint16 with half of the values masked, against float32 with NaN, on one core each and in the layout that
the other likes better. Stage: from a campaign's Zarr cube to GeoTIFFs in one process, against reading the same
Zarr pixels and writing the same GeoTIFFs alone. Figures are ratios of the best of some runs, all in this process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from hpckit.base.compiled import limit_threads
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.read import band_array
from hpckit.cubes.region import read_region
from hpckit.production.planning import lay_stores_out, plan_all
from hpckit.production.stages import execute, load_context
from hpckit.reduce.composites.geotiff import as_cog, in_order
from hpckit.reduce.composites.products import groups, layers
from hpckit.reduce.kernels import composite_cpu
from hpckit.runs.run import open_run
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.box import Box
from hpckit.testing.landscape import Landscape, season, write_pass

QUANTILES = np.array([10.0, 25.0, 50.0, 75.0, 90.0])
CAMPAIGN = """\
name: bench
aoi: [4.9, 51.1, 5.5, 51.4]
period: 2024-03-01/2024-10-31
scenes: {paths: [scenes]}
cube: {bands: [B02, B03, B04, B08, SCL]}
reductions:
  - {name: summer, kind: composite, bands: [B02, B03, B04, B08], methods: [median], mask: {dilate: 60m}}
"""


def best(function: Callable[[], Any], runs: int) -> float:
    function()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def kernels(dates: int, pixels: int) -> dict[str, float]:
    import bottleneck
    import numbagg

    random = np.random.default_rng(0)
    stack = random.integers(1000, 9000, (dates, pixels), dtype=np.uint16)
    mask = random.random(stack.shape) < 0.5
    floats = np.where(mask, np.nan, stack).astype(np.float32)
    by_pixel = np.ascontiguousarray(floats.T)
    median = best(lambda: composite_cpu.median(stack, mask), 7)
    five = best(lambda: composite_cpu.percentiles(stack, QUANTILES, mask), 5)
    q = QUANTILES / 100
    return {
        "median_ns_per_pixel": median / pixels * 1e9,
        "bottleneck_over_median": best(lambda: bottleneck.nanmedian(by_pixel, axis=1), 3) / median,
        "bottleneck_over_median_same_layout": best(lambda: bottleneck.nanmedian(floats, axis=0), 2) / median,
        "numbagg_over_median": best(lambda: numbagg.nanmedian(by_pixel, axis=1), 2) / median,
        "five_percentiles_ns_per_pixel": five / pixels * 1e9,
        "numbagg_over_five_percentiles": best(lambda: numbagg.nanquantile(by_pixel, q, axis=1), 1) / five,
        "numpy_over_five_percentiles": best(lambda: np.nanpercentile(by_pixel[: pixels // 100], QUANTILES, axis=1), 1)
        * 100
        / five,
    }


def geomads(dates: int, pixels: int, bands: int = 6) -> dict[str, float]:
    import geomad

    random = np.random.default_rng(1)
    season_ = np.sin(np.arange(dates) / dates * np.pi)[None, :, None] * random.normal(0, 800, (bands, 1, pixels))
    stack = random.integers(1300, 4000, (bands, 1, pixels)) + season_ + random.normal(0, 80, (bands, dates, pixels))
    stack = (stack + (random.random((1, dates, pixels)) < 0.1) * 3000).clip(1, 65535).astype(np.uint16)
    mask = random.random((dates, pixels)) < 0.5
    cube = np.where(mask[None], np.nan, stack * 1e-4 - 0.1).astype(np.float32)
    cube = np.ascontiguousarray(cube.transpose(2, 0, 1)[None])

    def other() -> Any:
        centre = geomad.nangeomedian_pcm(cube, eps=1e-5, num_threads=1, nocheck=True)
        return centre, *(
            function(cube, centre, num_threads=1) for function in (geomad.smad_pcm, geomad.emad_pcm, geomad.bcmad_pcm)
        )

    mine = composite_cpu.geomad(stack, 1e-4, -0.1, mask)
    theirs = other()
    seconds = best(lambda: composite_cpu.geomad(stack, 1e-4, -0.1, mask), 3)
    return {
        "geomad_us_per_pixel": seconds / pixels * 1e6,
        "geomad_package_over_ours": best(other, 1) / seconds,
        "largest_difference_of_medians": float(np.abs(mine.median * 1e-4 - 0.1 - theirs[0][0].T).max()),
        "largest_difference_of_emad": float(np.abs(mine.emad - theirs[2][0]).max()),
    }


def smoothing(dates: int, pixels: int) -> dict[str, float]:
    """Dekads of a year; the other with a row for each date and dekad, and with one for each day, as ours means it."""
    from whittaker_eilers import WhittakerSmoother

    random = np.random.default_rng(2)
    days = np.sort(random.choice(360, dates, replace=False))
    stack = random.integers(1000, 9000, (dates, pixels), dtype=np.uint16)
    mask, wanted = random.random(stack.shape) < 0.5, np.arange(5, 360, 10)
    some = min(pixels, 2000)

    def other(knots: np.ndarray, **where: Any) -> tuple[Callable[[], Any], np.ndarray]:
        values, weights = np.zeros((some, len(knots))), np.zeros((some, len(knots)))
        place = np.searchsorted(knots, days)
        values[:, place], weights[:, place] = stack[:, :some].T, ~mask[:, :some].T
        series = [(one.tolist(), other.tolist()) for one, other in zip(values, weights, strict=True)]
        smoother = WhittakerSmoother(lmbda=1000.0, order=2, data_length=len(knots), weights=series[0][1], **where)

        def smooth_all() -> Any:
            for one, weight in series:
                smoother.update_weights(weight)
                smoother.smooth(one)

        return smooth_all, np.array(smoother.smooth(series[0][0]))[np.searchsorted(knots, wanted)]

    daily, curve = other(np.arange(360))
    knots = np.union1d(days, wanted)
    sparse, _ = other(knots, x_input=knots.astype(float).tolist())
    mine = composite_cpu.smooth(stack, days, wanted, 1000.0, 0.5, 360, mask)
    seconds = best(lambda: composite_cpu.smooth(stack, days, wanted, 1000.0, 0.5, 360, mask), 5) / pixels
    envelope = best(lambda: composite_cpu.smooth(stack, days, wanted, 1000.0, 0.9, 360, mask), 3) / pixels
    return {
        "smooth_us_per_pixel": seconds * 1e6,
        "smooth_envelope_us_per_pixel": envelope * 1e6,
        "whittaker_eilers_over_ours": best(sparse, 2) / some / seconds,
        "whittaker_eilers_daily_over_ours": best(daily, 1) / some / seconds,
        "largest_difference_of_a_series": float(np.abs(mine[:, 0] - curve).max()),
    }


def stage(dates: int, edge: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        landscape = Landscape(edge=edge)
        for overpass in season()[:dates]:
            write_pass(folder / "scenes", landscape, overpass)
        (folder / "campaign.yaml").write_text(CAMPAIGN)
        run = open_run(load_campaign(folder / "campaign.yaml"))
        planned = plan_all(run, Console(quiet=True))
        lay_stores_out(planned)
        plan, prepared = planned.plan, planned.tiles
        context = load_context(run.path, "bench", 1, frozen=planned.run.frozen)
        for unit in plan.of("ingest"):
            execute(context, unit)
        composing, exporting = plan.of("composites"), plan.of("export")
        whole = best(lambda: [execute(context, unit) for unit in (*composing, *exporting)], 3)
        read = best(lambda: _read_alone(prepared), 3)
        write = best(lambda: _write_alone(prepared, folder / "alone.tif"), 3)
        return {
            "dates": len(prepared.acquisitions[landscape.tile]),
            "stage_s": whole,
            "reading_s": read,
            "writing_s": write,
            "stage_over_reading_and_writing": whole / (read + write),
        }


def _read_alone(prepared: Any) -> None:
    (tile,) = prepared.acquisitions
    for name, metres, window in (*((band, 10, 1024) for band in ("B02", "B03", "B04", "B08")), ("SCL", 20, 640)):
        array = band_array(prepared.spec.path, tile, SENTINEL2.parse(name, pixel_m=metres))
        for top in range(0, array.shape[1], window):
            for left in range(0, array.shape[2], window):
                read_region(array, Box(top, left, top + window, left + window).within(array.shape))


def _write_alone(prepared: Any, path: Path) -> None:
    import rasterio

    (source,) = prepared.run.campaign.resolve(Path("composites")).glob("summer/*/*/*.tif")
    (composite,) = prepared.run.campaign.composites
    with rasterio.open(source) as made:
        profile, values = dict(made.profile), made.read()
    profile = {name: profile[name] for name in ("width", "height", "count", "dtype", "crs", "transform", "nodata")}
    wanted = in_order(layers(composite, groups(composite, prepared.run.campaign.ref)[0]))
    with as_cog(path, {"driver": "GTiff", **profile}, wanted, compress="deflate", threads=1) as target:
        target.write(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dates", type=int, default=60)
    parser.add_argument("--pixels", type=int, default=100_000)
    parser.add_argument("--edge", type=int, default=1536, help="pixels of 10 m on a side, of the stage's granule")
    parser.add_argument("--scenes", type=int, default=12)
    arguments = parser.parse_args()
    numba.set_num_threads(1)  # of numbagg
    limit_threads(1)
    warnings.simplefilter("ignore")
    for part in (
        lambda: kernels(arguments.dates, arguments.pixels),
        lambda: geomads(arguments.dates, min(arguments.pixels, 10_000)),
        lambda: smoothing(arguments.dates, arguments.pixels),
        lambda: stage(arguments.scenes, arguments.edge),
    ):
        print(json.dumps({name: round(value, 6) for name, value in part().items()}, indent=1), flush=True)


if __name__ == "__main__":
    main()

"""Signatures of 30,000 parcels on a full 10 m band: hpckit against exactextract and rasterstats.

Nine statistics (count, valid fraction, mean, std, min, max, p25, p50, p75), one date. All run in this process on
the same cores; figures are ratios of wall times in one run.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import warnings

import numpy as np
import shapely
from affine import Affine

from hpckit.reduce.kernels import cpu
from hpckit.reduce.signatures.index import build_index

SHAPE = (10980, 10980)
TRANSFORM = Affine(10, 0, 600000, 0, -10, 5700000)
PERCENTILES = np.array([25.0, 50.0, 75.0])
DATES = 30
STATISTICS = ["count", "mean", "stdev", "min", "max", "quantile(q=0.25)", "quantile(q=0.5)", "quantile(q=0.75)"]


def parcels(count: int) -> np.ndarray:
    """Convex polygons of 6 to 30 vertices on a jittered lattice; together about half of the band."""
    random = np.random.default_rng(1)
    side = int(np.ceil(np.sqrt(count)))
    step = SHAPE[0] * 10 / side
    shapes = []
    for number in range(count):
        row, column = divmod(number, side)
        x, y = 600000 + (column + 0.5) * step, 5700000 - (row + 0.5) * step
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(6, 31)))
        radius = step * 0.5 * random.uniform(0.75, 0.95, len(angles))
        shapes.append(
            shapely.convex_hull(
                shapely.MultiPoint(np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)]))
            )
        )
    return np.array(shapes, dtype=object)


def timed(function, repeat: int = 3) -> float:
    """Least wall time of several calls, seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--zones", type=int, default=30_000)
    parser.add_argument("--sample", type=int, default=1500, help="zones for rasterstats, scaled up")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    band = (2000 + 400 * random.standard_normal(SHAPE, dtype=np.float32)).clip(1, 65535).astype(np.uint16)
    zones = parcels(options.zones)
    rows = np.arange(len(zones), dtype=np.int32)
    flat = band.reshape(-1)
    result: dict[str, float] = {"zones": len(zones)}
    for coverage in ("centre", "fraction"):
        build_index(zones[:10], rows[:10], TRANSFORM, SHAPE, coverage)  # compiles
        start = time.perf_counter()
        index = build_index(zones, rows, TRANSFORM, SHAPE, coverage)
        result[f"{coverage}_index_s"] = time.perf_counter() - start
        arguments = (flat, index.offsets, index.pixels, index.weights, None, 0, PERCENTILES)
        cpu.signatures(*arguments)
        result[f"{coverage}_date_s"] = timed(lambda a=arguments: cpu.signatures(*a))
        result["pixels"] = len(index.pixels)
    result["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result |= peers(band, zones, options.sample)
    for coverage in ("centre", "fraction"):
        date, index_s = result[f"{coverage}_date_s"], result[f"{coverage}_index_s"]
        result[f"{coverage}_over_exactextract"] = result["exactextract_s"] / date
        with_index = date + index_s / DATES
        result[f"{coverage}_with_index_over_exactextract"] = result["exactextract_s"] / with_index
        result[f"{coverage}_over_rasterstats"] = result["rasterstats_s"] / date
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        for name, value in result.items():
            print(f"{name:<40}{value:14,.3f}")


def peers(band: np.ndarray, zones: np.ndarray, sample: int) -> dict[str, float]:
    """Wall times of exactextract on all zones, and of rasterstats on some of them, scaled up."""
    import exactextract
    import geopandas
    import rasterstats
    from exactextract.raster import NumPyRasterSource

    bounds = {"xmin": 600000, "ymax": 5700000, "xmax": 600000 + 109800, "ymin": 5700000 - 109800}
    source = NumPyRasterSource(band, nodata=0, **bounds)
    frame = geopandas.GeoDataFrame(geometry=list(zones), crs="EPSG:32631")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        exactextract.exact_extract(source, frame, STATISTICS, output="pandas")
        exact = time.perf_counter() - start
        start = time.perf_counter()
        names = ["count", "mean", "std", "min", "max", "percentile_25", "percentile_50", "percentile_75"]
        rasterstats.zonal_stats(list(zones[:sample]), band, affine=TRANSFORM, nodata=0, stats=names)
        slow = (time.perf_counter() - start) * len(zones) / sample
    return {"exactextract_s": exact, "rasterstats_s": slow}


if __name__ == "__main__":
    main()

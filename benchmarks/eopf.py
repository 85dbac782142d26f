"""Reading and ingest of EOPF Zarr against SAFE of the same product, in one process and one run.

One product with a full 10980² band of about seven bits a pixel is made in a temporary folder: as SAFE, and as EOPF
Zarr with chunks of 1830² pixels and of 5490². What is read is compared; figures are ratios of wall times.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

os.environ["GDAL_NUM_THREADS"] = "1"
os.environ["GDAL_CACHEMAX"] = "64"

from hpckit.catalogue import catalogue
from hpckit.cubes import ingest, layout
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.sensors.model import Acquisition
from hpckit.sensors.reader import Treatment, WindowRequest
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.testing.eopf import write_eopf
from hpckit.testing.landscape import noise
from hpckit.testing.safe import ProductSpec, write_product

BAND = SENTINEL2.parse("B04@10m")
CHUNKS_M = (18_300, 54_900)


def make(folder: Path, edge: int) -> dict[str, Acquisition]:
    """Write the product in all forms and read them as acquisitions."""
    random = np.random.default_rng(0)
    ground = np.tile(noise(1098, 1.2, 1), (10, 10))[:edge, :edge]
    pixels = 2500 + 500 * ground + 45 * random.standard_normal((edge, edge), dtype=np.float32)
    arrays: dict[str, npt.NDArray[np.uint16]] = {"B04@10m": pixels.astype(np.uint16)}
    write_product(folder / "safe", ProductSpec(), arrays)
    names = {"safe": folder / "safe"}
    for chunk_m in CHUNKS_M:
        name = f"eopf_{chunk_m // 10}"
        names[name] = write_eopf(folder / name, ProductSpec(), arrays, chunk_m=chunk_m)
    return {name: catalogue.acquisitions(catalogue.scan([path]).scenes)[0][0] for name, path in names.items()}


def read(acquisition: Acquisition) -> tuple[float, list[npt.NDArray[np.uint16]]]:
    """Wall time of reading all windows, seconds, and the rows of windows."""
    scene = acquisition.scenes[0]
    assert scene.frame is not None
    frame = SENTINEL2.grid.frame(scene.tile, scene.frame.shapes, scene.frame)
    rows, columns = frame.windows(10)
    start, found = time.perf_counter(), []
    for row in range(rows):
        answer = SENTINEL2.read_windows(
            WindowRequest(frame, BAND, row, range(columns), acquisition, Treatment(verify=False))
        )
        found.append(np.hstack([answer.windows[column] for column in range(columns)]))
    return time.perf_counter() - start, found


def run_ingest(path: Path, acquisition: Acquisition) -> float:
    """Wall time of ingest, seconds."""
    spec = CubeSpec(path, (BAND,), 16, True, 3, None, False, SENTINEL2.grid, sensor=SENTINEL2)
    layout.prepare(spec, "31UFU", [acquisition])
    manifest, start = Manifest.load(path), time.perf_counter()
    for unit in ingest.ingest_units(spec, "31UFU", [acquisition]):
        assert not ingest.ingest(spec, unit, [acquisition], manifest, "benchmark").failures
    return time.perf_counter() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--edge", type=int, default=10980, help="pixels, a multiple of 6")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hpckit-bench-"))
    try:
        forms = make(folder, options.edge)
        bytes_ = {name: sum(f.stat().st_size for f in (folder / name).rglob("*") if f.is_file()) for name in forms}
        rounds = [{name: read(acquisition) for name, acquisition in forms.items()} for _ in range(2)]
        for name in forms:
            assert all(map(np.array_equal, rounds[0][name][1], rounds[0]["safe"][1])), name
        reading = {name: min(each[name][0] for each in rounds) for name in forms}
        ingesting = {
            name: min(run_ingest(folder / f"{name}{number}.zarr", acquisition) for number in range(2))
            for name, acquisition in forms.items()
        }
        result = {"safe_read_s": reading["safe"], "safe_ingest_s": ingesting["safe"]}
        for name in forms:
            if name != "safe":
                result[f"safe_over_{name}_read"] = reading["safe"] / reading[name]
                result[f"safe_over_{name}_ingest"] = ingesting["safe"] / ingesting[name]
                result[f"{name}_over_safe_bytes"] = bytes_[name] / bytes_["safe"]
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        for name, value in result.items():
            print(f"{name:<40}{value:14,.3f}")


if __name__ == "__main__":
    main()

"""JPEG 2000 by every decoder that is there: GDAL's drivers, and packages for Python.

A band with tiles of 1024² pixels is made in a temporary folder, lossless as Sentinel-2's are, and its tiles are
decoded on one thread. Figures are CPU times of one process in one run, the best of some rounds, divided by that of
GDAL's driver for OpenJPEG; all pixels must be equal. Drivers and packages that are not installed are named and left
out.

    python benchmarks/decoders.py [--edge 2048] [--rounds 3]
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import rasterio

os.environ["GDAL_NUM_THREADS"] = "1"

from hpckit.inputs.jpeg2000 import decode_part
from hpckit.testing.landscape import noise

DRIVERS = ("JP2OpenJPEG", "JP2KAK", "JP2Grok", "JP2ECW", "JP2MrSID")
PACKAGES = ("imagecodecs", "openjpeg")
"""`openjpeg` is that of pylibjpeg-openjpeg."""

Decoder = Callable[[], np.ndarray]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hpckit-bench-") as folder:
        path = Path(folder) / "band.jp2"
        pixels = make(path, options.edge)
        decoders, absent = there(path, pixels.shape)
        for name, decode in decoders.items():
            np.testing.assert_array_equal(np.squeeze(decode()), pixels, err_msg=name)
        times = {name: min(seconds(decode) for _ in range(options.rounds)) for name, decode in decoders.items()}
    for name, spent in times.items():
        rate = pixels.size / spent / 1e6
        print(f"{name:<40}{spent:9.3f} s{rate:8.1f} million pixels/s{spent / times[DRIVERS[0]]:8.2f}")
    print(f"not there: {', '.join(absent) or 'none'}")


def make(path: Path, edge: int) -> np.ndarray:
    """Write a band of about nine bits a pixel."""
    random = np.random.default_rng(0)
    ground = np.tile(noise(512, 1.2, 1), (-(-edge // 512),) * 2)[:edge, :edge]
    pixels = (2500 + 500 * ground + 45 * random.standard_normal((edge, edge), dtype=np.float32)).astype(np.uint16)
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "blockxsize": 1024, "blockysize": 1024}
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000)}
    with rasterio.open(path, "w", DRIVERS[0], edge, edge, 1, dtype="uint16", **place, **lossless) as target:
        target.write(pixels, 1)
    return pixels


def there(path: Path, shape: tuple[int, ...]) -> tuple[dict[str, Decoder], list[str]]:
    """Decoders of this machine, OpenJPEG in GDAL first; and what is not there."""
    with rasterio.Env() as environment:
        known = environment.drivers()
    found: dict[str, Decoder] = {name: by_gdal(path, name) for name in DRIVERS if name in known}
    absent = [name for name in DRIVERS if name not in known]
    found["OpenJPEG of GDAL, called for parts"] = lambda: decode_part(
        path, slice(0, shape[0]), slice(0, shape[1]), 0, "uint16"
    )
    content = path.read_bytes()
    for name in PACKAGES:
        if find_spec(name) is None:
            absent.append(name)
        else:
            found[name] = by_package(name, content)
    return found, absent


def by_gdal(path: Path, driver: str) -> Decoder:
    """All pixels, by one of GDAL's drivers."""

    def decode() -> np.ndarray:
        with rasterio.open(path, driver=driver) as source:
            return source.read(1)

    return decode


def by_package(name: str, content: bytes) -> Decoder:
    """All pixels, by a package."""
    if name == "imagecodecs":
        import imagecodecs

        return lambda: imagecodecs.jpeg2k_decode(content, numthreads=1)
    import openjpeg

    return lambda: openjpeg.decode(io.BytesIO(content))


def seconds(decode: Decoder) -> float:
    """CPU time."""
    start = time.process_time()
    decode()
    return time.process_time() - start


if __name__ == "__main__":
    main()

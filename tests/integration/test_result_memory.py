"""Memory of writing: a large result is written window by window, and never held in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_MIB = 384
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from hpckit.processgraph.cube import Cube, Grid
from hpckit.reduce.graphs.formats import write
from hpckit.space.box import Box
from hpckit.testing.graphs import X, Y, bands, times

EDGE = 8000
DIMS = (times("2022-06-01"), bands(B02="", B03="", B04=""), Y, X)

class Computed:
    grid = Grid("EPSG:32632", 6e5, 52e5, 10.0, -10.0, EDGE, EDGE)
    type = Cube(np.zeros((1, 3, 0, 0), "f4"), DIMS, grid, Box(0, 0, 0, 0))

    def read(self, asked):
        y, x = (axis.astype("f4") for axis in np.ogrid[asked.top : asked.bottom, asked.left : asked.right])
        values = np.empty((1, 3, *asked.shape), "f4")
        for band in range(3):
            np.multiply(np.sin(y / (50 * (band + 1))), np.cos(x / 77), out=values[0, band])
        return replace(self.type, values=values, box=asked)

(file,) = write(Computed(), sys.argv[1], {}, Path(sys.argv[2]))
# Not `ru_maxrss`, which begins with what the process had that started this one.
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(file.path, int(peak) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GTiff", "netCDF", "Zarr"])
def test_a_result_of_768_mb_needs_less_than_half(name, tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        timeout=280,
    )
    path, memory = told.stdout.split()
    assert Path(path).exists() and int(memory) < LIMIT_MIB, memory
    print(f"{name}: {memory} MiB")

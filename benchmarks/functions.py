"""Functions on blocks over numpy alone, and `predict` over scikit-learn's own predict, on the same pixels.

    python benchmarks/functions.py [EDGE] [TREES]

Both read nothing: a window of EDGE² pixels of two bands and eight dates is in memory. What is compared is what hpckit
adds: xarray around the block, checks, dimensions, codes. The function on blocks makes its result with xarray, as a
user's does, which is part of what is measured. It is called in a process that keeps freed memory, as workers do;
numpy alone in such a process, and in one whose memory is as Python has it. The same function on one xarray block that
is made before, in a process that keeps freed memory, tells how much of the rest is hpckit's.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from hpckit.base.allocator import keep_freed_memory  # noqa: E402
from hpckit.base.files import digest_file  # noqa: E402
from hpckit.campaign.blocks import FunctionReduction, PredictReduction  # noqa: E402
from hpckit.processgraph.cube import Cube  # noqa: E402
from hpckit.reduce.blocks.block import as_block  # noqa: E402
from hpckit.reduce.blocks.features import feature_names  # noqa: E402
from hpckit.reduce.blocks.function import FunctionBlocks  # noqa: E402
from hpckit.reduce.blocks.predict import PredictBlocks  # noqa: E402
from hpckit.testing.graphs import bands, raster, times  # noqa: E402

CODE = """\
import numpy as np

def on_numpy(values):
    red, nir = values[:, 0], values[:, 1]
    return np.nanmax((nir - red) / (nir + red), axis=0)

def on_blocks(block):
    return block.isel(time=0, band=0).copy(data=on_numpy(block.values))
"""


DATES = 8


def best(call: Callable[[], object], times: int = 5) -> float:
    """Least processor time of this thread, in seconds: other processes of a machine do not count."""
    return min(processor_time(call) for _ in range(times))


def processor_time(call: Callable[[], object]) -> float:
    start = time.thread_time()
    call()
    return time.thread_time() - start


def data(edge: int) -> Cube:
    values = np.random.default_rng(0).random((DATES, 2, edge, edge), np.float32)
    values[:, :, : edge // 8] = np.nan
    labels = [f"2024-0{month}-01T10:00:00Z" for month in range(1, DATES + 1)]
    return raster(values, times(*labels), bands(B04="red", B08="nir"))


def serve(pipe: Connection, folder: Path, edge: int, side: str) -> None:
    """A process that calls one of the two sides once for each request, and answers with its processor time."""
    warnings.simplefilter("ignore")
    cube, names = data(edge), dict[str, Callable[[object], object]]()
    if side == "blocks":
        keep_freed_memory()
        made = {"bands": ["ndvi"]}
        reduction = FunctionReduction(name="ndvi", kind="function", function="bench_own:on_blocks", makes=made)
        blocks = FunctionBlocks(reduction, folder)
    elif side != "numpy":
        keep_freed_memory()
    exec(CODE, names)
    on_numpy, on_blocks, block = names["on_numpy"], names["on_blocks"], as_block(cube)
    call = {
        "blocks": lambda: blocks.made(cube),
        "xarray, kept": lambda: on_blocks(block),
    }.get(side, lambda: on_numpy(cube.values))
    call()
    while pipe.recv():
        pipe.send(processor_time(call))


def functions(folder: Path, edge: int, times: int = 25) -> dict[str, float]:
    """Least time of the function on blocks over that of each of the others."""
    (folder / "bench_own.py").write_text(CODE)
    spawn, pipes, processes = get_context("spawn"), dict[str, Connection](), []
    for side in ("blocks", "numpy", "numpy, kept", "xarray, kept"):
        pipes[side], theirs = spawn.Pipe()
        processes.append(spawn.Process(target=serve, args=(theirs, folder, edge, side)))
        processes[-1].start()
    found: dict[str, list[float]] = {side: [] for side in pipes}
    for _ in range(times):  # by turns, so that all have the same state of the machine
        for side, pipe in pipes.items():
            pipe.send(True)
            found[side].append(pipe.recv())
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()
    return {side: min(found["blocks"]) / min(seconds) for side, seconds in found.items() if side != "blocks"}


def models(folder: Path, cube: Cube, trees: int) -> tuple[float, float]:
    import joblib
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier

    random, names = np.random.default_rng(1), feature_names(cube)
    table = pd.DataFrame(random.random((2000, len(names)), np.float32), columns=names)
    labels = (table[names[0]] * 3 + table[names[3]]).astype(int)
    forest = RandomForestClassifier(trees, random_state=0, n_jobs=1).fit(table, labels)
    joblib.dump(forest, folder / "forest.joblib")
    path = folder / "forest.joblib"
    reduction = PredictReduction(name="crops", kind="predict", model=path)
    blocks = PredictBlocks(reduction, path, digest_file(path))
    flat = cube.values.reshape(len(names), -1).T
    whole = np.ascontiguousarray(flat[~np.isnan(flat).any(axis=1)])
    plain = RandomForestClassifier(trees, random_state=0, n_jobs=1).fit(table.to_numpy(), labels)
    blocks.made(cube)
    theirs = best(lambda: plain.predict(whole), 3)
    return best(lambda: blocks.made(cube), 3) / theirs, theirs


def main(edge: int = 1024, trees: int = 100) -> None:
    cube = data(edge)
    with tempfile.TemporaryDirectory() as name:
        for side, over in functions(Path(name), edge).items():
            print(f"function on blocks of {edge}² pixels over {side}: {over:.3f}")
        ratio, seconds = models(Path(name), cube, trees)
        print(f"predict over scikit-learn's, {trees} trees, {edge}² pixels: {ratio:.3f} ({seconds:.1f} s)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

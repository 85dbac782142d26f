"""The median over time in a notebook (xarray, dask, two workers) against the same as a composite of hpckit.

    python benchmarks/notebook.py FOLDER [--edge 2048] [--dates 24]

Processor time of this process with all of its threads, so other programs on the machine do not count. The notebook
computes `campaign.cube(chunks=...)["B08"].median("time")` with the default chunks, and with those of one date and
256² pixels, as the arrays have them, which were the default of early versions. The composite is its units, with the
Zarr array that they write. Both begin at the shards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import dask  # noqa: E402
import graphs_data  # noqa: E402
import numpy as np  # noqa: E402

from hpckit import open_campaign  # noqa: E402
from hpckit.base.console import Console  # noqa: E402
from hpckit.campaign.campaign import load_campaign  # noqa: E402
from hpckit.production.driver import run_campaign  # noqa: E402
from hpckit.production.planning import lay_stores_out, plan_all  # noqa: E402
from hpckit.production.stages import execute, load_context  # noqa: E402
from hpckit.runs.run import open_run  # noqa: E402

COMPOSITE = """\
reductions:
  - name: median
    kind: composite
    bands: [B08]
    methods: [median]
    period: campaign
    mask: null
    outputs: {cog: false}
"""
CHUNKS: dict[str, Mapping[str, int] | str] = {
    "whole windows (default)": "auto",
    "one date, 256² pixels": {"time": 1, "y": 256, "x": 256},
}


def least(call: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Least processor time of some calls, in seconds, and what the last one gave."""
    seconds, made = [], None
    for _ in range(rounds):
        start = time.process_time()
        made = call()
        seconds.append(time.process_time() - start)
    return min(seconds), made


def in_notebook(
    folder: Path, chunks: Mapping[str, int] | str, rounds: int
) -> tuple[float, int, np.ndarray[Any, Any]]:
    """Processor time, number of tasks, and the median."""
    campaign = open_campaign(folder / "campaign.yaml")

    def median() -> tuple[int, np.ndarray[Any, Any]]:
        data = campaign.cube(resolution_m=10, chunks=chunks)["B08"]
        if data.chunksizes["time"] != (data.sizes["time"],):
            data = data.chunk(time=-1)  # dask computes a median of whole series only
        lazily = data.median("time")
        with dask.config.set(scheduler="threads", num_workers=2):
            return len(lazily.__dask_graph__()), lazily.compute().values

    seconds, (tasks, values) = least(median, rounds)
    return seconds, tasks, values


def as_composite(folder: Path, rounds: int) -> tuple[float, np.ndarray[Any, Any]]:
    run = open_run(load_campaign(folder / "campaign.yaml"))
    planned = plan_all(run, Console(quiet=True))
    lay_stores_out(planned)
    context = load_context(run.path, "bench", 1, frozen=planned.run.frozen)
    units = list(planned.plan.of("composites"))
    seconds, _ = least(lambda: [execute(context, unit) for unit in units], rounds)
    made = open_campaign(folder / "campaign.yaml").composite("median", chunks=None)
    return seconds, made["B08_median"].values.squeeze()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edge", type=int, default=2048)
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    folder = given.folder / "notebook"
    graphs_data.make(given.folder, given.edge, given.dates, 1)
    folder.mkdir(exist_ok=True)
    text = graphs_data.CAMPAIGN.replace("[scenes]", "[../scenes]").replace("B04, B08, SCL", "B08")
    (folder / "campaign.yaml").write_text(text + COMPOSITE)
    assert run_campaign(load_campaign(folder / "campaign.yaml"), Console(quiet=True), workers=2).exit_code == 0
    shutil.rmtree(folder / "composites", ignore_errors=True)
    ours, expected = as_composite(folder, given.rounds)
    print(f"{given.dates} dates of {given.edge}² pixels, one band; composite {ours:.2f} s")
    for words, chunks in CHUNKS.items():
        seconds, tasks, values = in_notebook(folder, chunks, given.rounds)
        different = np.nanmax(np.abs(values - expected))
        print(f"{words}: {seconds:.2f} s, {tasks} tasks, {seconds / ours:.1f} times the composite")
        print(f"  largest difference {different:.2g}")


if __name__ == "__main__":
    main()

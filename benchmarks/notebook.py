"""The median over time in a notebook (xarray, dask with two workers) against the same as a composite of hpckit.

    python benchmarks/notebook.py FOLDER [--edge 4096] [--dates 73]

Processor time of all processes, so that other programs on the machine count little; each median of a notebook is
computed once. The first default of `campaign.cube()` were the chunks of the files: one date, and 256² pixels. Without
numbagg dask takes numpy's median. The composite is its units, with the Zarr array that they write. All begin at the
shards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import graphs_data  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
import xarray  # noqa: E402
from dask.array import reductions  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

import hpckit  # noqa: E402
from hpckit.base.console import Console  # noqa: E402
from hpckit.campaign.campaign import load_campaign  # noqa: E402
from hpckit.look.view import CampaignView  # noqa: E402
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
Median = Callable[[xarray.DataArray], xarray.DataArray]


def plain(data: xarray.DataArray) -> xarray.DataArray:
    return data.median("time")


class Case(NamedTuple):
    words: str
    opened: Callable[[CampaignView], xarray.DataArray]
    median: Median
    numbagg: bool = False
    """Whether dask may use it, where it is installed."""


def by_default(view: CampaignView) -> xarray.DataArray:
    return view.cube(resolution_m=10)["B08"]


def by_files(view: CampaignView) -> xarray.DataArray:
    """As `campaign.cube()` was at first: read by zarr-python and decoded by xarray, in chunks of the files."""
    group = view.campaign.cube_path / view.tiles[0] / "r10m"
    return xarray.open_zarr(group, chunks={}, consolidated=False)["B08"]


CASES = (
    Case("hpckit.median, default chunks", by_default, hpckit.median),
    Case(".median, default chunks", by_default, plain),
    Case(".median, default chunks, with numbagg", by_default, plain, numbagg=True),
    Case(".median, chunks of the files", by_files, plain),
    Case("hpckit.median, chunks of the files", by_files, hpckit.median),
)


class Measured(NamedTuple):
    processor_s: float
    wall_s: float
    tasks: int
    values: np.ndarray[Any, Any]


def processor_s() -> float:
    """Of this process and those that it started and that still run."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def load_kernels() -> None:
    """Import and compile in a worker what the first computation of a session does."""
    import hpckit.cubes.lazy

    hpckit.median(xarray.DataArray(np.zeros((2, 1, 1), np.float32), dims=("time", "y", "x")))
    hpckit.median(xarray.DataArray(np.zeros((2, 1, 1)), dims=("time", "y", "x")))


def in_notebook(view: CampaignView, case: Case) -> Measured:
    """One median, computed by two workers of dask, which run already."""
    reductions.HAS_NUMBAGG = case.numbagg and find_spec("numbagg") is not None
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(load_kernels)
        before, start = processor_s(), time.perf_counter()
        lazily = case.median(case.opened(view))
        tasks = len(lazily.__dask_graph__())
        values = lazily.compute().values
        return Measured(processor_s() - before, time.perf_counter() - start, tasks, values)


def as_composite(folder: Path, rounds: int) -> tuple[float, np.ndarray[Any, Any]]:
    run = open_run(load_campaign(folder / "campaign.yaml"))
    planned = plan_all(run, Console(quiet=True))
    lay_stores_out(planned)
    context = load_context(run.path, "bench", 1, frozen=planned.run.frozen)
    units = list(planned.plan.of("composites"))
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        for unit in units:
            execute(context, unit)
        seconds.append(time.process_time() - start)
    made = hpckit.open_campaign(folder / "campaign.yaml").composite("median", chunks=None)
    return min(seconds), made["B08_median"].values.squeeze()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edge", type=int, default=4096)
    parser.add_argument("--dates", type=int, default=73)
    parser.add_argument("--rounds", type=int, default=3, help="of the composite; its least time counts")
    parser.add_argument("--cases", type=int, nargs="+", default=range(len(CASES)), help=f"of 0 to {len(CASES) - 1}")
    given = parser.parse_args()
    folder = given.folder / "notebook"
    graphs_data.make(given.folder, given.edge, given.dates, 1, ("B08",))
    folder.mkdir(exist_ok=True)
    text = graphs_data.CAMPAIGN.replace("[scenes]", "[../scenes]").replace("B04, B08, SCL", "B08")
    text = text.replace("2024-12-31", "2025-12-31")  # 73 dates from April on
    (folder / "campaign.yaml").write_text(text + COMPOSITE)
    assert run_campaign(load_campaign(folder / "campaign.yaml"), Console(quiet=True), workers=2).exit_code == 0
    shutil.rmtree(folder / "composites", ignore_errors=True)
    ours, expected = as_composite(folder, given.rounds)
    print(f"{given.dates} dates of {given.edge}² pixels, one band; composite {ours:.2f} s", flush=True)
    view = hpckit.open_campaign(folder / "campaign.yaml")
    for number in given.cases:
        found = in_notebook(view, CASES[number])
        print(
            f"{CASES[number].words}: {found.processor_s:.1f} s of processor time, {found.processor_s / ours:.1f}"
            f" times the composite; {found.wall_s:.1f} s; {found.tasks} tasks; load {os.getloadavg()[0]:.1f};"
            f" largest difference {np.nanmax(np.abs(found.values - expected)):.2g}",
            flush=True,
        )


if __name__ == "__main__":
    main()

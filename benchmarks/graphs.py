"""Process graphs: whole commands and evaluation alone, against openeo-processes-dask, `hpckit run` and numpy by hand.

A made cube of 24 dates of B04, B08 and SCL (`graphs_data.py`; made once for a folder), and 30,000 parcels on it:

- scalar: NDVI, threshold, scale, of all dates; the peer is numpy written by hand, which reads the same Zarr by zarr
  and writes float32 with the same compression;
- composite: clouds masked by the classes, median of each month; once lowered, and once as it was written (blocks);
- parcels: statistics of 30,000 parcels on all dates; the peer is `hpckit run` with signatures of the same cube;
- parcels_dask: means of them; the peer is openeo-processes-dask on 1 and on 25 of the parcels, on 4 of the dates. The
  others would cost as much each as these 24 more, and all dates no less than these: the ratio is a least one.

Whole commands take two workers or threads, from start to result in Zarr or a file; memory is the proportional set
size of all their processes, looked at every 50 ms. Evaluation alone is processor time of one thread, without writing.

    python benchmarks/graphs.py FOLDER [--dask PYTHON] [--case scalar …]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import graphs_data
import numpy as np

from hpckit.base.compiled import limit_threads
from hpckit.cubes.read import band_array
from hpckit.cubes.region import read_region
from hpckit.processgraph.cube import Cube
from hpckit.reduce.graphs.job import Job, job_on
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.box import Box

HERE = Path(__file__).parent
SOME_PARCELS = (1, 25)
"""That openeo-processes-dask computes: all would take days. The difference is what each one more costs."""
SOME_DATES = 4
"""Of these parcels: more dates cost no less."""
HIDDEN = (3, 8, 9, 10)
_ORDER = ("t", "bands", "y", "x")
Graph = dict[str, Any]


def node(process: str, *, result: bool = False, **arguments: Any) -> Graph:
    """A node of a graph."""
    return {"process_id": process, "arguments": arguments, **({"result": True} if result else {})}


def load(bands: Sequence[str], dates: int = 0) -> Graph:
    """Bands of all dates, or of the first ones."""
    last = graphs_data.FIRST + dates * graphs_data.timedelta(days=5)
    period = [f"{graphs_data.FIRST:%Y-%m-%d}", f"{last:%Y-%m-%d}"] if dates else None
    return node("load_collection", id="S2", spatial_extent=None, temporal_extent=period, bands=list(bands))


def of(name: str) -> Graph:
    """The result of a node."""
    return {"from_node": name}


DATA = {"from_parameter": "data"}


def child(**nodes: Graph) -> Graph:
    """A child process."""
    return {"process_graph": nodes}


def scalar() -> Graph:
    """NDVI, null where it is low, else scaled to 0 to 255."""
    ndvi = child(
        nir=node("array_element", data=DATA, index=1),
        red=node("array_element", data=DATA, index=0),
        ndvi=node("normalized_difference", x=of("nir"), y=of("red")),
        high=node("gt", x=of("ndvi"), y=0.3),
        scaled=node("linear_scale_range", x=of("ndvi"), inputMin=-1, inputMax=1, outputMax=255),
        kept=node("if", value=of("high"), accept=of("scaled"), result=True),
    )
    return {
        "load": load(["B04", "B08"]),
        "ndvi": node("reduce_dimension", data=of("load"), dimension="bands", reducer=ndvi, result=True),
    }


def masked(dates: int = 0) -> Graph:
    """Bands without clouds and their shadows."""
    nodes = {"class": node("array_element", data=DATA, index=0)}
    for number in HIDDEN:
        nodes[f"is{number}"] = node("eq", x=of("class"), y=number)
    for name, one, other in (("a", "is3", "is8"), ("b", "is9", "is10"), ("any", "a", "b")):
        nodes[name] = node("or", x=of(one), y=of(other), result=name == "any")
    return {
        "load": load(["B04", "B08"], dates),
        "scl": load(["SCL"], dates),
        "clouds": node("reduce_dimension", data=of("scl"), dimension="bands", reducer=child(**nodes)),
        "clear": node("mask", data=of("load"), mask=of("clouds")),
    }


def monthly() -> Graph:
    """Medians of months."""
    median = child(median=node("median", data=DATA, result=True))
    months = node("aggregate_temporal_period", data=of("clear"), period="month", reducer=median, result=True)
    return {**masked(), "months": months}


def monthly_in_blocks() -> Graph:
    """The same, with a reducer that is computed as it was written."""
    median = child(median=node("median", data=DATA), same=node("add", x=of("median"), y=0, result=True))
    months = node("aggregate_temporal_period", data=of("clear"), period="month", reducer=median, result=True)
    return {**masked(), "months": months}


def parcels(folder: Path, names: Sequence[str], dates: int = 0) -> Graph:
    """Statistics of parcels on all dates, or the first ones, to a Parquet file."""
    nodes = {name: node(name, data=DATA) for name in names}
    several = node("array_create", data=[of(name) for name in names], result=True)
    reducer = child(**nodes, several=several) if len(names) > 1 else child(one=node(names[0], data=DATA, result=True))
    geometries = json.loads((folder / "parcels.geojson").read_text())
    return {
        **masked(dates),
        "parcels": node("aggregate_spatial", data=of("clear"), geometries=geometries, reducer=reducer),
        "save": node("save_result", data=of("parcels"), format="Parquet", result=True),
    }


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    seconds: float
    cpu: float
    """Processor time of all its processes, seconds."""
    mib: float
    output: str


def run(command: Sequence[Any]) -> Cost:
    """Run a command: its wall time, and the most memory of all its processes together."""
    import psutil

    start, most, spent = time.perf_counter(), 0, dict[int, float]()
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, cwd=HERE) as started:
        process = psutil.Process(started.pid)
        while started.poll() is None:
            most = max(most, _pss(process, spent))
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        output = started.stdout.read() if started.stdout else ""
    if started.returncode:
        raise SystemExit(f"{command}: exit code {started.returncode}\n{output}")
    return Cost(seconds, sum(spent.values()), most / 2**20, output)


def _pss(process: Any, spent: dict[int, float]) -> int:
    """Memory of a process and those below it; notes the processor time of each."""
    import psutil

    total = 0
    for each in (process, *_children(process)):
        try:
            times = each.cpu_times()
            spent[each.pid] = times.user + times.system
            total += each.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            continue
    return total


def _children(process: Any) -> list[Any]:
    import psutil

    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


@dataclass(frozen=True)
class Bench:
    """Folder, and how often each command runs."""

    folder: Path
    rounds: int
    dask: str

    @property
    def campaign(self) -> Path:
        return self.folder / "campaign.yaml"

    def commands(self, **commands: Callable[[], Cost]) -> dict[str, Cost]:
        """The least cost of each of some commands, which take turns."""
        found: dict[str, Cost] = {}
        for _ in range(self.rounds):
            for name, command in commands.items():
                cost = command()
                if name not in found or cost.seconds < found[name].seconds:
                    found[name] = cost
        return found

    def graph(self, name: str, graph: Graph) -> Cost:
        """`hpckit graph run`, into a new folder."""
        out, file = self.folder / "out" / name, self.folder / f"{name}.json"
        shutil.rmtree(out, ignore_errors=True)
        file.write_text(json.dumps({"process_graph": graph}))
        options = ["--collection", f"S2={self.campaign}", "-o", out, "--workers", "2"]
        return run([sys.executable, "-m", "hpckit", "graph", "run", file, *options])

    def job(self, graph: Graph, lower: bool = True) -> Job:
        """A graph in this process."""
        job = job_on({"process_graph": graph}, {"S2": self.campaign})
        job.lower = lower
        return job

    def by_dask(
        self, graph: Graph, threads: int, *, dates: int = 0, edge: int = 0, write: bool = False
    ) -> tuple[Cost, Any, Any]:
        """openeo-processes-dask on the first dates and pixels, or all: its cost, its own figures, and its result."""
        cube, result = self.folder / "cube.zarr", self.folder / "dask.npy"
        groups = {"B04": "r10m", "B08": "r10m", "SCL": "r20m"}
        job = {
            "graph": graph,
            "cube": str(cube),
            "bands": {name: f"{graphs_data.TILE}/{group}" for name, group in groups.items()},
            "threads": threads,
            "dates": dates,
            "edge": edge,
            "crs": f"EPSG:{graphs_data.EPSG}",
            "result": "" if write else str(result),
            "zarr": str(self.folder / "dask.zarr") if write else "",
        }
        (self.folder / "dask.json").write_text(json.dumps(job))
        cost = run([self.dask, HERE / "graphs_dask.py", self.folder / "dask.json"])
        figures = json.loads(cost.output.splitlines()[-1])
        return cost, figures, None if write else np.load(result)


def windows(job: Job, edge: int = 1024) -> list[Box]:
    """Windows of a result."""
    (output,) = job.outputs
    assert isinstance(output.type, Cube) and output.type.grid is not None
    rows, columns = output.type.grid.shape
    places = [(row, column) for row in range(0, rows, edge) for column in range(0, columns, edge)]
    return [Box(row, column, row + edge, column + edge).within((rows, columns)) for row, column in places]


def evaluated(job: Job, boxes: Sequence[Box]) -> tuple[float, list[Any]]:
    """Processor time of all windows, and their values."""
    (output,) = job.outputs
    start = time.process_time()
    found = [job.evaluate(output, box).values for box in boxes]
    return time.process_time() - start, found


def require_same(one: Any, other: Any) -> None:
    """Stop if values differ, but for rounding, which decides in a few of a million pixels whether they are null."""
    both = np.isfinite(one) & np.isfinite(other)
    np.testing.assert_allclose(one[both], other[both], rtol=1e-4)
    assert (np.isfinite(one) != np.isfinite(other)).mean() < 1e-4


def case_scalar(bench: Bench) -> dict[str, float]:
    """NDVI, threshold and scale of all dates."""
    by_hand = [sys.executable, HERE / "graphs_by_hand.py", bench.folder / "cube.zarr", bench.folder / "hand.zarr"]
    whole = bench.commands(graph=lambda: bench.graph("scalar", scalar()), hand=lambda: run(by_hand))
    job = bench.job(scalar())
    boxes = windows(job)[:3]
    evaluated(job, boxes[:1])
    cpu = {"graph": np.inf, "hand": np.inf}
    for _ in range(bench.rounds):
        spent, found = evaluated(job, boxes)
        cpu["graph"] = min(cpu["graph"], spent)
        start = time.process_time()
        wanted = [hand(bench.folder / "cube.zarr", box) for box in boxes]
        cpu["hand"] = min(cpu["hand"], time.process_time() - start)
    for one, other in zip(found, wanted, strict=True):
        require_same(one, other)
    return {
        "scalar_graph_s": whole["graph"].seconds,
        "scalar_graph_mib": whole["graph"].mib,
        "scalar_hand_s": whole["hand"].seconds,
        "scalar_hand_mib": whole["hand"].mib,
        "scalar_graph_over_hand": whole["graph"].seconds / whole["hand"].seconds,
        "scalar_evaluation_over_hand": cpu["graph"] / cpu["hand"],
    }


def hand(cube: Path, box: Box) -> Any:
    """What the graph computes, by numpy: stored integers of two bands, decoded, in one window."""
    from graphs_by_hand import computed

    arrays = [band_array(cube, graphs_data.TILE, SENTINEL2.parse(name, pixel_m=10)) for name in ("B04", "B08")]
    red, infrared = (read_region(array, box) for array in arrays)
    return computed(red, infrared)


def case_composite(bench: Bench) -> dict[str, float]:
    """Medians of months without clouds."""
    graph = monthly()
    whole = bench.commands(
        lowered=lambda: bench.graph("monthly", graph),
        blocks=lambda: bench.graph("blocks", monthly_in_blocks()),
        **({"dask": lambda: bench.by_dask(graph, 2, write=True)[0]} if bench.dask else {}),
    )
    result = {f"composite_{name}_s": cost.seconds for name, cost in whole.items()}
    result |= {f"composite_{name}_mib": cost.mib for name, cost in whole.items()}
    jobs = {"lowered": bench.job(graph), "blocks": bench.job(graph, lower=False)}
    cpu, values = dict.fromkeys(jobs, np.inf), {}
    for _ in range(bench.rounds + 1):
        for name, job in jobs.items():
            spent, values[name] = evaluated(job, windows(job)[:1])
            cpu[name] = min(cpu[name], spent)
    require_same(values["lowered"][0], values["blocks"][0])
    result |= {f"composite_{name}_window_cpu_s": seconds for name, seconds in cpu.items()}
    if bench.dask:
        cost, figures, found = bench.by_dask(graph, 1, edge=1024)
        require_same(values["blocks"][0], found.transpose([figures["dims"].index(dim) for dim in _ORDER]))
        result["composite_dask_window_mib"] = cost.mib
        for name in jobs:
            result[f"composite_dask_over_{name}"] = whole["dask"].seconds / whole[name].seconds
            result[f"composite_dask_over_{name}_window"] = figures["cpu_seconds"] / cpu[name]
            result[f"composite_{name}_memory_over_dask"] = whole[name].mib / whole["dask"].mib
    return result


def case_parcels(bench: Bench) -> dict[str, float]:
    """Statistics of parcels."""
    several = parcels(bench.folder, ("count", "mean", "sd", "min", "max", "median"))
    whole = bench.commands(
        graph=lambda: bench.graph("parcels", several), signatures=lambda: signatures(bench.folder / "signatures")
    )
    result = {f"parcels_{name}_s": cost.seconds for name, cost in whole.items()}
    result |= {f"parcels_{name}_cpu_s": cost.cpu for name, cost in whole.items()}
    result |= {f"parcels_{name}_mib": cost.mib for name, cost in whole.items()}
    result["parcels_graph_over_run_cpu"] = whole["graph"].cpu / whole["signatures"].cpu
    result["parcels_graph_over_run"] = whole["graph"].seconds / whole["signatures"].seconds
    return result


def case_parcels_dask(bench: Bench) -> dict[str, float]:
    """Means of all parcels by hpckit, and of some on some dates by openeo-processes-dask: a least ratio."""
    if not bench.dask:
        raise SystemExit("--case parcels_dask needs --dask PYTHON")
    graph = parcels(bench.folder, ["mean"], SOME_DATES)
    collection = graph["parcels"]["arguments"]["geometries"]

    def some(count: int) -> Graph:
        # Without `crs`, of which the peer takes a text only: coordinates are degrees.
        features = {"type": collection["type"], "features": collection["features"][:count]}
        nodes = {name: item for name, item in graph.items() if name != "save"}
        arguments = {**graph["parcels"]["arguments"], "geometries": features}
        return {**nodes, "parcels": node("aggregate_spatial", **arguments, result=True)}

    (few, many), every = SOME_PARCELS, len(collection["features"])
    cpu: dict[int, float] = {}
    for count in SOME_PARCELS:
        cost, figures, found = bench.by_dask(some(count), 1, dates=SOME_DATES)
        cpu[count] = cost.cpu  # of all its processes: it starts one for each core
        order = [figures["dims"].index(name) for name in ("geometry", "t", "bands")]
        job = bench.job(some(count))
        values = job.evaluate(job.outputs[0], range(count)).values
        np.testing.assert_allclose(np.nanmean(values), np.nanmean(found.transpose(order)), rtol=0.05)
    each = (cpu[many] - cpu[few]) / (many - few)
    mean = bench.commands(mean=lambda: bench.graph("mean", parcels(bench.folder, ["mean"])))["mean"]
    return {
        "parcels_mean_s": mean.seconds,
        "parcels_mean_cpu_s": mean.cpu,
        "parcels_dask_few_cpu_s": cpu[few],
        "parcels_dask_many_cpu_s": cpu[many],
        "parcels_dask_each_cpu_s": each,
        "parcels_dask_over_graph_cpu_at_least": each * every / mean.cpu,
    }


def signatures(folder: Path) -> Cost:
    """`hpckit run` of signatures, on a copy of the cube, into a new store."""
    for path in folder.iterdir():
        if path.name != "campaign.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(folder.parent / "cube.zarr", folder / "cube.zarr")
    return run([sys.executable, "-m", "hpckit", "run", folder / "campaign.yaml", "--workers", "2"])


CASES = {
    "scalar": case_scalar,
    "composite": case_composite,
    "parcels": case_parcels,
    "parcels_dask": case_parcels_dask,
}


def main() -> None:
    """Make the data, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edge", type=int, default=3072, help="pixels of 10 m on a side")
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--parcels", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dask", default="", help="Python interpreter that has openeo-processes-dask")
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=None)
    options = parser.parse_args()
    limit_threads(1)
    folder = options.folder.resolve()
    graphs_data.make(folder, options.edge, options.dates, options.parcels)
    run([sys.executable, "-m", "hpckit", "run", folder / "campaign.yaml", "--workers", "2"])
    for name in options.case or [name for name in CASES if options.dask or name != "parcels_dask"]:
        figures = CASES[name](Bench(folder, options.rounds, options.dask))
        print(json.dumps({key: round(figure, 3) for key, figure in figures.items()}, indent=1), flush=True)


if __name__ == "__main__":
    main()
